"""Nearest frames in time and in structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zifbench.analysis.nearest import nearest_in_time, nearest_structure
from zifbench.errors import DataError

CELL = np.array([[8.0, 0.0, 0.0], [0.5, 8.5, 0.0], [0.2, -0.3, 9.0]])
times = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=20)


@given(times, times)
def test_time_against_a_loop(asked, known):
    known = sorted(known)
    place, distance = nearest_in_time(asked, known)
    for k, time in enumerate(asked):
        gaps = [abs(time - other) for other in known]
        assert distance[k] == min(gaps)
        assert gaps[place[k]] == min(gaps)


def test_structure_against_a_loop():
    rng = np.random.default_rng(0)
    asked, known = rng.uniform(0, 8, (3, 6, 3)), rng.uniform(0, 8, (5, 6, 3))
    place, rmsd = nearest_structure(asked, known, CELL)
    for k in range(3):
        distances = [naive_rmsd(asked[k], other) for other in known]
        assert place[k] == np.argmin(distances)
        assert rmsd[k] == pytest.approx(min(distances), rel=1e-12)


def naive_rmsd(one, other):
    fractional = (one - other) @ np.linalg.inv(CELL)
    d = (fractional - np.round(fractional)) @ CELL
    return np.sqrt((d**2).sum(axis=1).mean() - (d.mean(axis=0) ** 2).sum())


def test_images_and_the_origin_do_not_matter():
    rng = np.random.default_rng(1)
    one = rng.uniform(0, 8, (1, 10, 3))
    moved = one + rng.integers(-2, 3, (1, 10, 3)) @ CELL + np.array([0.3, -0.2, 0.1])
    assert nearest_structure(moved, one, CELL)[1][0] == pytest.approx(0.0, abs=1e-7)


def test_a_known_displacement():
    """One of two atoms moves by 1 Å: d = (1, 0), mean square 1/2, mean 1/2, RMSD 1/2."""
    one = np.zeros((1, 2, 3))
    other = one.copy()
    other[0, 0, 0] = 1.0
    assert nearest_structure(other, one, CELL)[1][0] == pytest.approx(0.5, rel=1e-12)


def test_refusals():
    with pytest.raises(DataError, match="no reference times"):
        nearest_in_time([1.0], [])
    with pytest.raises(DataError, match="wanted the same atoms"):
        nearest_structure(np.zeros((1, 2, 3)), np.zeros((1, 3, 3)), CELL)
    with pytest.raises(DataError, match="at least one reference"):
        nearest_structure(np.zeros((1, 2, 3)), np.zeros((0, 2, 3)), CELL)
