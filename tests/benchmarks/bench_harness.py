"""What our harness costs: the accuracy task beside a bare loop over the same model.

The reference calls the same model on the same frames with the same neighbour-list library and keeps
the results; ours also batches, checks for NaN, writes the predictions to disk, reads them back, and
reduces them to measurements with bootstrap intervals. Rounds alternate, so that both see the same
machine.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.published import published_file
from zifbench.ase_io import read_frames
from zifbench.benchmark.accuracy_task import run_accuracy
from zifbench.benchmark.evaluation import _no_progress
from zifbench.benchmark.run import Profile, Run
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames
from zifbench.potentials.core import compute
from zifbench.potentials.loading import load_potential


def repeated(frames: Frames, n_frames: int) -> Frames:
    """So many frames out of few."""
    return frames[np.arange(n_frames) % len(frames)]


def bare_loop(potential, frames: Frames):
    """Neighbour list (vesin) and model, frame by frame, results kept in lists."""
    results = []
    for row in range(len(frames)):
        output = potential.forward(potential.prepare(frames[row]))
        results.append(
            [output[key].detach().numpy() for key in ("atomic_energy", "forces", "stress")]
        )
    return results


def harness(potential, frames: Frames, directory: Path):
    run = Run(
        potential=potential,
        data=[frames],
        directory=directory,
        profile=Profile.QUICK,
        batch_atoms=512,
        group_key="phase",
        seed=0,
        progress=_no_progress,
    )
    return run_accuracy(run)


CASES = {"bundled model, 200 frames": 200, "published model, 6 frames": 6}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    n_frames = CASES[request.param]
    if "published" in request.param:
        model = str(published_file("castel2024/nequip_l2r6stress0.pth"))
    else:
        model = "nequip-small"
    potential = load_potential(model, device="cpu")
    frames = repeated(read_frames(BUNDLED_DATA["zif4-own-train"].path)[0], n_frames)
    for _ in range(4):
        compute(potential, frames[0])
    return request.param, potential, frames


ROUNDS = 3


@pytest.mark.parametrize("what", ["reference", "accuracy task"])
def bench_harness(benchmark, case, what, tmp_path):
    name, potential, frames = case
    benchmark.group = name
    benchmark.name = what
    numbers = itertools.count()
    if what == "reference":
        benchmark.pedantic(bare_loop, args=(potential, frames), rounds=ROUNDS)
    else:
        benchmark.pedantic(
            lambda: harness(potential, frames, tmp_path / str(next(numbers))), rounds=ROUNDS
        )


@pytest.fixture(scope="module")
def molecules():
    """64 frames of one imidazolate and its zinc in a box: 9 atoms, where batches pay."""
    frame = read_frames(BUNDLED_DATA["zif4-own-train"].path)[0][0]
    centre = frame.positions[0, int(np.flatnonzero(frame.numbers == 30)[0])]
    delta = frame.positions[0] - centre
    delta -= np.round(delta / np.diag(frame.cell[0])) * np.diag(frame.cell[0])
    near = np.argsort(np.linalg.norm(delta, axis=1))[:17]
    rng = np.random.default_rng(0)
    return Frames(
        numbers=frame.numbers[near],
        masses=frame.masses[near],
        pbc=frame.pbc,
        positions=delta[near] + 10 + 0.02 * rng.normal(size=(64, 17, 3)),
        cell=np.tile(np.eye(3) * 20.0, (64, 1, 1)),
    )


@pytest.mark.parametrize("what", ["one by one, reference", "as the harness batches"])
@pytest.mark.parametrize("system", ["272 atoms", "17 atoms"])
def bench_batching(benchmark, system, what, molecules):
    potential = load_potential("nequip-small", device="cpu")
    if system == "17 atoms":
        frames, size = molecules, 512 // 17
    else:
        frames = repeated(read_frames(BUNDLED_DATA["zif4-own-train"].path)[0], 16)
        size = 512 // 272
    if what.endswith("reference"):
        size = 1
    benchmark.group = f"batching, {system}"
    benchmark.name = what
    compute(potential, frames[:size])

    def predict():
        return [compute(potential, batch) for batch in frames.chunks(size)]

    benchmark.pedantic(predict, rounds=5, warmup_rounds=1)
