"""What simulating costs: our ASE path beside a bare ASE loop, batches beside one after the other.

The bare loop is ASE's own thermostat over the same calculator, and keeps nothing. Ours also looks
at every step for numbers that are not finite, holds rules against every sample, writes frames with
velocities to a store, and a checkpoint.
"""

from __future__ import annotations

import itertools

import pytest
from ase import units
from ase.md.nose_hoover_chain import NoseHooverChainNVT

from tests.published import published_file
from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.dynamics.protocol import parse_protocol
from zifbench.dynamics.replica import drawn_momenta
from zifbench.dynamics.run import run_protocol
from zifbench.potentials.loading import load_potential
from zifbench.profiles import Profile

ROUNDS = 3
N_STEPS = 60
N_GLASS_STEPS = 6
TIME_STEP_FS = 0.5


def protocol(n_steps: int):
    """Constant temperature, a frame every ten steps or at the end."""
    length = n_steps * TIME_STEP_FS
    stage = {
        "name": "nvt", "ensemble": "nvt", "temperature_K": 300,
        "length_ps": dict.fromkeys(Profile, length / 1000.0),
        "sample_fs": min(length, 10 * TIME_STEP_FS),
    }  # fmt: skip
    table = {
        "schema": 1, "name": "bench", "about": "", "source": "", "start": "here",
        "time_step_fs": TIME_STEP_FS, "stages": [stage],
    }  # fmt: skip
    return parse_protocol(table, where="bench")


def ours(potential, starts, out, n_steps, engine, **options):
    outcomes = run_protocol(
        protocol(n_steps), PotentialCalculator(potential, stress=True), starts, out,
        profile=Profile.QUICK, model={"model": "bench"}, engine=engine, **options,
    )  # fmt: skip
    assert {outcome.ended for outcome in outcomes} == {"completed"}


def bare(potential, start):
    atoms = start.copy()
    atoms.calc = PotentialCalculator(potential, stress=True)
    atoms.set_momenta(drawn_momenta(atoms, 300.0, (0, 0)))
    NoseHooverChainNVT(
        atoms, timestep=TIME_STEP_FS * units.fs, temperature_K=300, tdamp=100 * units.fs
    ).run(N_STEPS)


@pytest.fixture(scope="module")
def potential():
    return load_potential("nequip-small", device="cpu")


@pytest.mark.parametrize("what", ["bare ASE loop, reference", "md run, ASE engine"])
def bench_ase_path(benchmark, potential, what, tmp_path):
    start = read_frames(BUNDLED_DATA["zif4-own-train"].path)[0][0].to_ase()[0]
    start.calc = None
    numbers = itertools.count()
    benchmark.group = f"{N_STEPS} steps of 272 atoms"
    benchmark.name = what
    if what.endswith("reference"):
        benchmark.pedantic(bare, args=(potential, start), rounds=ROUNDS, warmup_rounds=1)
        return
    benchmark.pedantic(
        lambda: ours(potential, {"zif": start}, tmp_path / str(next(numbers)), N_STEPS, "ase"),
        rounds=ROUNDS, warmup_rounds=1,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["ASE engine, reference", "TorchSim engine"])
def bench_ten_glasses(benchmark, potential, what, tmp_path):
    names = [f"gaillac2020/ZIF4_15glass{number:02d}.cif" for number in range(1, 11)]
    starts = {}
    for name in names:
        atoms = read_frames(published_file(name))[0][0].to_ase()[0]
        atoms.calc = None
        starts[name.rpartition("/")[2].removesuffix(".cif")] = atoms
    engine = "ase"
    if not what.endswith("reference"):
        pytest.importorskip("torch_sim", reason="TorchSim needs Python 3.12 or newer")
        engine = "torchsim"
    numbers = itertools.count()
    benchmark.group = f"ten glasses, {N_GLASS_STEPS} steps each"
    benchmark.name = what
    benchmark.pedantic(
        lambda: ours(potential, starts, tmp_path / str(next(numbers)), N_GLASS_STEPS, engine),
        rounds=ROUNDS, warmup_rounds=1,
    )  # fmt: skip
