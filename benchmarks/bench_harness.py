"""What our harness costs: the accuracy task beside a bare loop over the same model.

The reference calls the same model on the same frames with the same neighbour-list library and keeps
the results; ours also batches, checks for NaN, writes the predictions to disk, reads them back, and
reduces them to measurements with bootstrap intervals.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import vesin

from tests.published import published_file
from zifbench.ase_io import read_frames
from zifbench.benchmark.accuracy_task import run_accuracy
from zifbench.benchmark.run import Profile, Run, no_progress
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames
from zifbench.potentials.core import compute
from zifbench.potentials.loading import load_potential


def repeated(frames: Frames, n_frames: int) -> Frames:
    """So many frames out of few."""
    return frames[np.arange(n_frames) % len(frames)]


def bare_loop(module, card, frames: Frames):
    """What a user writes by hand: vesin, tensors, model, frame by frame; results kept in lists.

    It uses nothing of ours but the loaded module.
    """
    legacy = (card.software or {}).get("nequip", "").startswith("0.5")
    real = torch.float32 if legacy else torch.float64
    index = {symbol: number for number, symbol in enumerate(card.species)}
    types = torch.tensor([index[symbol] for symbol in frames.symbols])
    neighbours = vesin.NeighborList(cutoff=card.cutoff_A, full_list=True)
    results = []
    for positions, cell in zip(frames.positions, frames.cell, strict=True):
        i, j, shifts = neighbours.compute(
            points=positions, box=cell, periodic=True, quantities="ijS"
        )
        output = module(
            {
                "pos": torch.tensor(positions, dtype=real),
                "cell": torch.tensor(cell, dtype=real)[None],
                "pbc": torch.ones(1, 3, dtype=torch.bool),
                "edge_index": torch.tensor(np.stack([i, j]).astype(np.int64)),
                "edge_cell_shift": torch.tensor(shifts, dtype=real),
                "atom_types": types[:, None] if legacy else types,
            }
        )
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
        progress=no_progress,
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
        benchmark.pedantic(
            bare_loop, args=(potential._module, potential.card, frames), rounds=ROUNDS
        )
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
