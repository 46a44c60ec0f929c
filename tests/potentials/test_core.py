"""Applicability, batches within memory, and the neighbour list against a loop."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.potentials.models import changed
from zifbench.errors import DataError, ModelError, OutOfMemoryError, SpeciesError
from zifbench.frames import Frames, cell_heights
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import (
    Prediction,
    check_applicable,
    check_finite,
    compute,
    compute_within_memory,
)
from zifbench.potentials.neighbours import neighbour_list

CARD = ModelCard(name="m", file="m.pth", format="TorchScript", sha256="0", size_bytes=1)


class Sums:
    """Energy: the sum of all coordinates. Memory for `room` frames; counts its calls."""

    card = CARD
    device = "cpu"

    def __init__(self, *, room: int = 99, batched: bool = True) -> None:
        self.room = room
        self.batched = batched
        self.calls: list[int] = []

    def prepare(self, frames: Frames) -> Any:
        return frames.positions

    def forward(self, batch: Any) -> Any:
        self.calls.append(len(batch))
        if len(batch) > self.room:
            raise OutOfMemoryError("m.pth needs more memory")
        return batch

    def collect(self, output: Any, frames: Frames) -> Prediction:
        return Prediction(
            energy=output.sum(axis=(1, 2)),
            forces=-output,
            stress=None,
            atomic_energy=output.sum(axis=2),
            dtype="float64",
        )


@pytest.fixture
def five(frames: Frames) -> Frames:
    """Five different frames."""
    return frames[[0, 1, 2, 1, 0]]


@pytest.mark.parametrize(
    ("room", "calls"),
    [(5, [5]), (3, [5, 2, 3]), (2, [5, 2, 3, 1, 2]), (1, [5, 2, 1, 1, 3, 1, 2, 1, 1])],
)
def test_batch_is_halved_until_it_fits(five: Frames, room: int, calls: list[int]) -> None:
    potential = Sums(room=room)
    prediction = compute_within_memory(potential, five)
    assert potential.calls == calls
    np.testing.assert_array_equal(prediction.energy, five.positions.sum(axis=(1, 2)))
    np.testing.assert_array_equal(prediction.forces, -five.positions)
    np.testing.assert_array_equal(prediction.atomic_energy, five.positions.sum(axis=2))
    assert prediction.stress is None


def test_single_frame_that_does_not_fit(five: Frames) -> None:
    with pytest.raises(OutOfMemoryError, match="needs more memory"):
        compute_within_memory(Sums(room=0), five)


def test_one_by_one_where_the_potential_cannot_batch(five: Frames) -> None:
    potential = Sums(batched=False)
    prediction = compute(potential, five)
    assert potential.calls == [1] * 5
    np.testing.assert_array_equal(prediction.forces, -five.positions)


# -- applicable -----------------------------------------------------------------------------------


def card(**known: Any) -> ModelCard:
    return CARD.model_copy(update=known)


def test_applicable(frames: Frames) -> None:
    check_applicable(CARD, frames)
    check_applicable(card(species=("Zn", "N", "C", "H"), cutoff_A=4.0), frames)


def test_unknown_species_are_named(frames: Frames) -> None:
    with pytest.raises(SpeciesError, match=r"m\.pth knows C H N but not Zn, which test contains"):
        check_applicable(card(species=("C", "H", "N")), frames)


def test_thin_cell_is_named(frames: Frames) -> None:
    """Heights of a triclinic cell, not lengths of its vectors, and the frame that has them."""
    cell = frames.cell.copy()
    cell[1] = [[5.0, 0, 0], [4.0, 3.9, 0], [0, 0, 9.0]]  # lengths 5.0, 5.6, 9.0; height 3.49 Å
    height = 5.0 * 3.9 / np.hypot(4.0, 3.9)
    message = rf"the cell is {height:.2f} Å thin in frame 1 of test, less than .* m\.pth, 4 Å"
    with pytest.raises(DataError, match=message):
        check_applicable(card(cutoff_A=4.0), changed(frames, cell=cell))
    check_applicable(card(cutoff_A=3.4), changed(frames, cell=cell))


def test_thickness_counts_along_periodic_vectors_only(frames: Frames) -> None:
    cell = np.tile(np.diag([9.0, 9.0, 2.0]), (3, 1, 1))
    slab = changed(frames, cell=cell, pbc=np.array([True, True, False]))
    check_applicable(card(cutoff_A=4.0), slab)
    with pytest.raises(DataError, match=r"the cell is 2\.00 Å thin in frame 0"):
        check_applicable(card(cutoff_A=4.0), changed(slab, pbc=np.array([True, True, True])))


def test_flat_cell(frames: Frames) -> None:
    cell = frames.cell.copy()
    cell[2, 2] = cell[2, 0] + cell[2, 1]
    cell[2, :, 2] = 0.0
    with pytest.raises(DataError, match="the cell has no volume in frame 2 of test"):
        check_applicable(card(cutoff_A=4.0), changed(frames, cell=cell))


def test_no_cell_is_fine_without_periodicity(frames: Frames) -> None:
    nowhere = changed(frames, cell=np.zeros((3, 3, 3)), pbc=np.zeros(3, dtype=bool))
    check_applicable(card(cutoff_A=4.0), nowhere)


def test_no_atoms() -> None:
    empty = Frames(
        numbers=np.zeros(0, dtype=int),
        masses=np.zeros(0),
        pbc=np.ones(3, dtype=bool),
        positions=np.zeros((1, 0, 3)),
        cell=np.eye(3)[None] * 9,
    )
    with pytest.raises(DataError, match="memory holds frames without atoms"):
        check_applicable(CARD, empty)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_results_must_be_finite(frames: Frames, name: str, value: float) -> None:
    arrays = {"energy": np.zeros(3), "forces": np.zeros((3, 24, 3)), "stress": np.zeros((3, 3, 3))}
    check_finite(Prediction(**arrays, atomic_energy=None, dtype="float64"), frames, CARD)
    arrays[name][2] = value
    broken = Prediction(**arrays, atomic_energy=None, dtype="float64")
    with pytest.raises(ModelError, match=rf"NaN or infinite {name} for frame 2 of test"):
        check_finite(broken, frames, CARD)


# -- neighbours -----------------------------------------------------------------------------------


def test_heights_of_known_cells() -> None:
    """A box, a hexagonal cell (a·√3/2) and a flat one."""
    box, hexagonal, flat = np.diag([2.0, 3.0, 4.0]), np.diag([2.0, 0.0, 5.0]), np.diag([1.0, 1, 0])
    hexagonal[1] = [-1.0, np.sqrt(3), 0]
    heights = cell_heights(np.stack([box, hexagonal, flat]))
    wanted = [[2, 3, 4], [np.sqrt(3), np.sqrt(3), 5], [0, 0, 0]]
    np.testing.assert_allclose(heights, wanted, atol=1e-15)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("outside", [False, True])
def test_neighbours_against_a_loop(frames: Frames, pbc: tuple[int, ...], outside: bool) -> None:
    """Also for atoms that lie outside the cell, as in published trajectories."""
    positions = frames.positions[:1]
    if outside:
        jumps = np.random.default_rng(1).integers(-2, 3, size=(24, 3)) * np.array(pbc)
        positions = positions + jumps @ frames.cell[0]
    frame = changed(frames[0], positions=positions, pbc=np.array(pbc, dtype=bool))
    pairs, shifts = neighbour_list(frame, 0, 3.1)
    vectors = positions[0][pairs[1]] - positions[0][pairs[0]] + shifts @ frame.cell[0]
    found = sorted(np.column_stack([*pairs, vectors.round(6) + 0.0]).tolist())
    reach = [range(-6, 7) if periodic else range(1) for periodic in pbc]
    images = np.array(list(itertools.product(*reach))) @ frame.cell[0]
    wanted = []
    for i, j in itertools.product(range(24), range(24)):
        vectors = positions[0][j] - positions[0][i] + images
        r = np.linalg.norm(vectors, axis=1)
        wanted += [[i, j, *(v.round(6) + 0.0)] for v in vectors[(r > 0) & (r <= 3.1)]]
    assert len(wanted) > 50
    np.testing.assert_allclose(found, sorted(wanted), atol=2e-6)
