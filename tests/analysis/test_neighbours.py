"""The pair search against vesin, a naive loop and its own definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import vesin

from zifbench.analysis.neighbours import find_pairs

CELLS = {
    "cube": np.diag([6.0, 6.0, 6.0]),
    "flat": np.diag([4.0, 9.0, 30.0]),
    "triclinic": np.array([[8.0, 0, 0], [3, 7, 0], [-2, 1.5, 9]]),
    "left-handed and skewed": np.array([[0, 8.0, 0], [8, 21, 0], [1, 1, 9]]),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("cutoff_A", [1.5, 3.7, 11.0])
def test_same_pairs_as_vesin(name: str, cutoff_A: float) -> None:
    cell = CELLS[name]
    positions = np.random.default_rng(0).normal(size=(40, 3)) * 20.0
    pairs = find_pairs(positions, cell, cutoffs_A=cutoff_A)
    i, j, shift = vesin.NeighborList(cutoff=cutoff_A, full_list=True).compute(
        points=positions, box=cell, periodic=True, quantities="ijS"
    )
    own = sorted(map(tuple, np.c_[pairs.i, pairs.j, pairs.shift].tolist()))
    assert own == sorted(map(tuple, np.c_[i, j, shift].astype(int).tolist()))
    expected = positions[pairs.j] + pairs.shift @ cell - positions[pairs.i]
    np.testing.assert_allclose(pairs.vector, expected, atol=1e-11)
    assert (np.diff(pairs.i) >= 0).all()


def test_one_cutoff_for_each_pair_of_types() -> None:
    cell = CELLS["triclinic"]
    positions = np.random.default_rng(4).uniform(size=(25, 3)) @ cell
    types = np.arange(25) % 3
    table = np.array([[0.0, 2.5, 4.0], [2.5, 3.0, 0.0], [4.0, 0.0, 6.5]])
    pairs = find_pairs(positions, cell, cutoffs_A=table, types=types)
    naive = set()
    for a, b in itertools.product(range(25), repeat=2):
        for image in itertools.product(range(-3, 4), repeat=3):
            r = np.linalg.norm(positions[b] + np.array(image) @ cell - positions[a])
            if 0 < r < table[types[a], types[b]]:
                naive.add((a, b, *image))
    assert set(map(tuple, np.c_[pairs.i, pairs.j, pairs.shift].tolist())) == naive


def test_one_atom_meets_its_own_images_only() -> None:
    pairs = find_pairs(np.array([[7.0, -3.0, 1.0]]), np.eye(3) * 2.0, cutoffs_A=2.1)
    assert len(pairs.i) == 6
    np.testing.assert_allclose(pairs.distance, 2.0)
    assert np.abs(pairs.shift).sum() == 6


def test_the_cutoff_itself_is_outside() -> None:
    assert len(find_pairs(np.zeros((1, 3)), np.eye(3) * 2.0, cutoffs_A=2.0).i) == 0


def test_an_atom_on_the_cell_face_is_counted_once() -> None:
    positions = np.array([[0.0, 0, 0], [-1e-17, 0.5, 0.5]])
    assert len(find_pairs(positions, np.eye(3), cutoffs_A=0.8).i) == 8
