"""Decks that LAMMPS itself runs, beside our own engine: one point, NVE, means, ramps, kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from tests.dynamics.lennard_jones import PAIR, PAIR_COEFF, ShiftedForce
from zifbench.dataset.store import open_store
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.lammps.deck import write_deck
from zifbench.dynamics.lammps.output import StageOutput
from zifbench.dynamics.lammps.pair import classical_pair
from zifbench.dynamics.lammps.read import read_back
from zifbench.dynamics.lammps.record import read_deck
from zifbench.dynamics.lammps.script import stage_files
from zifbench.dynamics.lammps.shell import Machine
from zifbench.dynamics.protocol import Protocol, parse_protocol
from zifbench.dynamics.replica import Replica
from zifbench.dynamics.run import cases
from zifbench.frames import Frames
from zifbench.profiles import Profile

pytestmark = pytest.mark.skipif(
    shutil.which("lmp") is None, reason="LAMMPS (lmp) is not on the PATH"
)


def lengths(ps: float) -> dict[str, float]:
    return dict.fromkeys(("quick", "standard", "paper"), ps)


def protocol(*stages: dict, **settings) -> Protocol:
    table = {
        "schema": 1, "name": "test", "about": "", "source": "", "start": "argon",
        "time_step_fs": 2.0, "stages": stages, **settings,
    }  # fmt: skip
    return parse_protocol(table, where="test")


def argon(n: int = 3) -> Atoms:
    """A crystal in a sheared and turned cell, atoms off their places and some out of the cell."""
    atoms = bulk("Ar", cubic=True, a=5.3).repeat(n)
    shear = np.eye(3) + np.array([[0.0, 0.06, 0.03], [0.0, 0.0, -0.05], [0.0, 0.0, 0.02]])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    atoms.set_cell(atoms.cell.array @ shear @ turn, scale_atoms=True)
    atoms.positions += [3.0, -9.0, 1.0]
    atoms.rattle(0.05, seed=2)
    return atoms


def deck(out: Path, what: Protocol, atoms: Atoms, **options) -> Path:
    write_deck(
        what, classical_pair(PAIR, [PAIR_COEFF]), {"argon": atoms}, out,
        profile=Profile.QUICK, machine=Machine(0, 1), **options,
    )  # fmt: skip
    return out


def lmp(out: Path, **environment: str) -> int:
    environment = {"OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(["bash", str(out / "run.sh")], env={**os.environ, **environment})
    return done.returncode


def kill_after(out: Path, *, n_bytes: int) -> None:
    """Run a deck, and kill all of it once its dumps are that large together."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        ["bash", str(out / "run.sh")], env=environment, start_new_session=True
    ) as process:
        while sum(path.stat().st_size for path in out.glob("*/*.dump")) < n_bytes:
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)


def stage_frames(out: Path, number: int) -> list[Frames]:
    """Frames of a stage in double precision, before they go into a store."""
    record = read_deck(out)
    replica = record.replicas[0]
    segment = replica.segments[number]
    title = record.title(replica.name, segment.name)
    output = StageOutput(
        out / replica.name, stage_files(number, segment), title, segment, record.starts["argon"]
    )
    return list(output.frames(0, 0.0))


def ours(what: Protocol, atoms: Atoms, *, seed: int = 0) -> Replica:
    """The same replica on our own engine."""
    (case,) = cases(what, Profile.QUICK, ["argon"], seed=seed, replicas=None)
    atoms = atoms.copy()
    atoms.calc = ShiftedForce(atoms)
    damping = Damping(what.thermostat_fs, what.barostat_fs)
    return Replica(atoms, case.segments, damping, case.seed)


NVE = {"name": "alone", "ensemble": "nve", "length_ps": lengths(0.6), "sample_fs": 20}
NVT = {"name": "hold", "ensemble": "nvt", "temperature_K": 40, "length_ps": lengths(0.1)}


def test_nve_is_our_trajectory(tmp_path) -> None:
    """Also the single point: energy and stress along the way, forces through the motion."""
    what, atoms = protocol(NVE, NVT), argon()
    out = deck(tmp_path / "deck", what, atoms, seed=5)
    assert lmp(out) == 0
    found = stage_frames(out, 0)
    replica = ours(what, atoms, seed=5)
    assert len(found) == 30
    for frame in found:
        for _ in range(10):
            replica.advance()
        expected = replica.frame()
        assert frame.step == expected.step
        assert frame.cell == pytest.approx(expected.cell, abs=1e-12)
        assert frame.positions == pytest.approx(expected.positions, abs=1e-6)
        assert frame.velocities == pytest.approx(expected.velocities, abs=1e-8)
        assert frame.energy == pytest.approx(expected.energy, abs=1e-6)
        assert frame.stress == pytest.approx(expected.stress, abs=1e-9)
    moved = found[-1].positions - atoms.positions
    assert np.abs(moved).max() > 0.1


def test_a_single_point_has_our_energy_forces_and_stress(tmp_path) -> None:
    """LAMMPS reads the data file and writes forces, which decks do not need."""
    atoms = argon(2)
    out = deck(tmp_path / "deck", protocol(NVE, NVT), atoms)
    script = f"""
units metal
box tilt large
read_data data.lmp
pair_style {PAIR}
pair_coeff {PAIR_COEFF}
compute virial all pressure NULL virial
variable e equal pe
thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
run 0
print "$(pe:%.15g) $(c_virial[1]:%.15g) $(c_virial[2]:%.15g) $(c_virial[3]:%.15g) \
$(c_virial[4]:%.15g) $(c_virial[5]:%.15g) $(c_virial[6]:%.15g)" file point
write_dump all custom forces id fx fy fz modify sort id format float %.15g
"""
    folder = out / "argon"
    (folder / "point.in").write_text(script)
    subprocess.run(
        ["lmp", "-in", "point.in", "-screen", "none"], cwd=folder, check=True, timeout=60
    )
    energy, *pressure = map(float, (folder / "point").read_text().split())
    forces = np.loadtxt(folder / "forces", skiprows=9)[:, 1:]
    rotation = read_deck(out).starts["argon"].rotation_array
    atoms.calc = ShiftedForce(atoms)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert forces @ rotation == pytest.approx(atoms.get_forces(), abs=1e-9)
    full = -np.array(pressure)[[[0, 3, 4], [3, 1, 5], [4, 5, 2]]] / 1.6021765e6
    stress = rotation.T @ full @ rotation
    assert stress == pytest.approx(atoms.get_stress(voigt=False), abs=1e-11)
    assert np.abs(atoms.get_forces()).max() > 0.01


RAMPS = protocol(
    {"name": "down", "ensemble": "minimise", "volume_change_percent": -1, "keep": True,
     "force_eV_per_A": 1e-5},
    {**NVT, "name": "warm", "temperature_K": [20, 40]},
    {**NVT, "name": "squeeze", "volume_change_percent": -4, "sample_fs": 10},
    {**NVT, "name": "hold", "sample_fs": 10},
    {**NVT, "name": "stretch", "volume_change_percent": 2, "sample_fs": 10},
    {"name": "free", "ensemble": "npt", "temperature_K": 40, "pressure_GPa": 0.1,
     "length_ps": lengths(0.1), "sample_fs": 10},
)  # fmt: skip


def test_stages_ramps_and_the_store(tmp_path) -> None:
    atoms = argon()
    out = deck(tmp_path / "deck", RAMPS, atoms)
    assert lmp(out) == 0
    found = read_back(out)
    assert [(o.replica, o.ended, o.time_fs) for o in found.outcomes] == [
        ("argon", "completed", 500.0)
    ]
    assert found.notes == []
    with open_store(out / "frames.zarr") as store:
        frames = {name: t.read(range(len(t))) for name, t in store.trajectories.items()}
        assert store.trajectories["argon.hold"].attributes["temperature_K"] == 40.0
    assert {name: len(f) for name, f in frames.items()} == {
        "argon.down": 1, "argon.squeeze": 10, "argon.hold": 10, "argon.stretch": 10,
        "argon.free": 10,
    }  # fmt: skip
    replica, minimum = ours(RAMPS, atoms), None
    while replica.segment.name != "stretch":
        replica.advance()
        if replica.at_end_of_segment:
            minimum = minimum or replica.frame()
            last = replica.frame()
            replica.next_segment()
    down = frames["argon.down"]
    assert down.energy == pytest.approx(minimum.energy, abs=1e-6)
    assert down.positions == pytest.approx(minimum.positions, abs=1e-3)
    squeeze = frames["argon.squeeze"]
    assert squeeze.time_fs == pytest.approx(100.0 + 10.0 * np.arange(1, 11))
    assert squeeze.step.tolist() == list(range(55, 101, 5))
    for name, begin, end in (("squeeze", 0.99, 0.96), ("stretch", 0.96, 1.02)):
        edges = np.cbrt(frames[f"argon.{name}"].volume / atoms.get_volume())
        wanted = np.cbrt(begin) + (np.cbrt(end) - np.cbrt(begin)) * np.arange(1, 11) / 10
        assert edges == pytest.approx(wanted, abs=1e-12)
    assert frames["argon.hold"].cell[-1] == pytest.approx(last.cell[0], abs=1e-10)
    # Thermostats are integrated in another way; for this long it hardly matters.
    assert frames["argon.hold"].positions[-1] == pytest.approx(last.positions[0], abs=0.02)
    assert np.ptp(frames["argon.free"].volume) > 0.1


def test_killed_and_continued_has_every_frame_once(tmp_path) -> None:
    long = {**NVT, "length_ps": lengths(16.0), "sample_fs": 100}
    what = protocol({**NVT, "name": "begin"}, long, {**NVE, "name": "end"})
    whole = deck(tmp_path / "whole", what, argon())
    assert lmp(whole) == 0
    out = deck(tmp_path / "deck", what, argon(), restart_every=70)
    for k in range(1, 6):
        kill_after(out, n_bytes=k * 200_000)
        assert read_back(out).outcomes == []  # at any time
    assert lmp(out) == 0
    assert len(list((out / "argon").glob("02-hold.*.dump"))) == 6
    found = read_back(out)
    assert [o.ended for o in found.outcomes] == ["completed"]
    assert found.notes == []
    assert found.n_frames == read_back(whole).n_frames == {"argon.hold": 160, "argon.end": 30}
    expected, frames = stage_frames(whole, 1), stage_frames(out, 1)
    steps = [int(frame.step[0]) for frame in frames]
    assert steps == list(range(50, 8001, 50))
    # The order of sums changes the last digit at each restart; trajectories part slowly.
    for a, b in zip(expected[:40], frames[:40], strict=True):
        assert a.positions == pytest.approx(b.positions, abs=1e-6)
    assert not list((out / "argon").glob("*.[ab].restart"))


def test_an_explosion_is_a_result(tmp_path) -> None:
    atoms = argon()
    atoms.positions[5] = atoms.positions[6] + [0.3, 0.0, 0.0]
    out = deck(tmp_path / "deck", protocol({**NVT, "sample_fs": 2}), atoms)
    lmp(out)
    found = read_back(out)
    (outcome,) = found.outcomes
    assert outcome.ended in {"contact", "runaway", "lost atom", "not a number"}
    assert outcome.last_good_fs < 10.0


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_means_agree_within_their_errors(tmp_path, ensemble) -> None:
    """Temperature, volume, energy and pressure of 30 ps, errors from blocks of 2.5 ps."""
    stage = {
        "name": "run", "ensemble": ensemble, "temperature_K": 40, "sample_fs": 50,
        "length_ps": lengths(40.0),
    }  # fmt: skip
    what = protocol(stage, time_step_fs=5.0, barostat_fs=500.0)
    atoms = bulk("Ar", cubic=True, a=5.3).repeat(2)
    shear = np.eye(3) + 0.02 * np.eye(3, k=1)
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    out = deck(tmp_path / "deck", what, atoms)
    assert lmp(out) == 0
    theirs = np.array([_observed(frame) for frame in stage_frames(out, 0)])
    replica, rows = ours(what, atoms), []
    while not replica.at_end_of_segment:
        replica.advance()
        if replica.step % 10 == 0:
            rows.append(_observed(replica.frame()))
    (mean_a, error_a), (mean_b, error_b) = _blocks(theirs), _blocks(np.array(rows))
    names = ("temperature", "volume", "energy", "pressure")
    for name, a, b, error in zip(names, mean_a, mean_b, np.hypot(error_a, error_b), strict=True):
        assert abs(a - b) <= max(4.0 * error, 1e-9 * abs(a)), (name, a, b, error)
    assert mean_a[0] == pytest.approx(40.0, abs=max(1.0, 4.0 * error_a[0]))


def _observed(frame: Frames) -> list[float]:
    momenta = frame.velocities[0] / units.fs * frame.masses[:, None]
    kinetic = 0.5 * (momenta**2 / frame.masses[:, None]).sum()
    kelvin = 2.0 * kinetic / (3 * (frame.n_atoms - 1) * units.kB)
    volume = float(frame.volume[0])
    pressure = -np.trace(frame.stress[0]) / 3 + 2.0 * kinetic / (3.0 * volume)
    return [kelvin, volume, float(frame.energy[0]), pressure]


def _blocks(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means after 10 ps and their standard errors."""
    means = rows[200:].reshape(12, -1, rows.shape[1]).mean(axis=1)
    return means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(12)
