"""Coordination numbers, bonds that come and go, and how long they live."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms

from tests.analysis.structures import INVARIANCES, crystal, glasses, random_frames, supercell
from zifbench.analysis.coordination import (
    BondHistory,
    bond_history,
    coordination_histogram,
    coordination_numbers,
)
from zifbench.errors import NotDefinedError
from zifbench.frames import Frames

CELL = np.diag([20.0, 20.0, 20.0])


def test_against_ase() -> None:
    from ase.neighborlist import neighbor_list

    cell = np.array([[9.0, 0, 0], [3, 8, 0], [-2, 1.5, 10]])
    frames = random_frames({"N": 20, "Zn": 6}, cell=cell, n_frames=3)
    counts = coordination_numbers(frames, cutoff_A=4.5)
    same = coordination_numbers(frames, centre="N", neighbour="N", cutoff_A=4.5)
    for t, atoms in enumerate(frames.to_ase()):
        i = neighbor_list("i", atoms, {("Zn", "N"): 4.5})
        np.testing.assert_array_equal(counts[t], np.bincount(i, minlength=26)[20:])
        i = neighbor_list("i", atoms, {("N", "N"): 4.5})
        np.testing.assert_array_equal(same[t], np.bincount(i, minlength=26)[:20])


@pytest.mark.published
@pytest.mark.parametrize("move", ["as published", *INVARIANCES])
def test_published_structures(move: str) -> None:
    """analysis.md, section 1: 4.000, and 3.931 with sd 0.034 between the glasses."""
    change = INVARIANCES.get(move, lambda frames: frames)
    assert coordination_numbers(change(crystal())).mean() == 4.0
    counts = coordination_numbers(change(glasses()))
    assert counts.mean() == pytest.approx(3.93125)
    assert counts.mean(axis=1).std() == pytest.approx(0.034, abs=0.0005)
    assert coordination_numbers(change(glasses()), cutoff_A=3.0).mean() == pytest.approx(3.9375)


@pytest.mark.published
def test_supercell_of_the_glasses() -> None:
    counts = coordination_numbers(supercell(glasses()))
    assert counts.shape == (10, 128)
    assert counts.mean() == pytest.approx(3.93125)


def test_histogram() -> None:
    np.testing.assert_allclose(
        coordination_histogram(np.array([[4, 4], [3, 4]])), [0, 0, 0, 0.25, 0.75]
    )


def _one_nitrogen(x: list[float], *, step_fs: float | None = 10.0) -> Frames:
    """One N that walks along x between a Zn at 0 and a Zn at 6 Å."""
    frames = Frames.from_ase(
        [Atoms("NZn2", positions=[[k, 0, 0], [0, 0, 0], [6, 0, 0]], cell=CELL, pbc=True) for k in x]
    )
    if step_fs is None:
        return frames
    return dataclasses.replace(frames, time_fs=np.arange(len(x)) * step_fs)


def test_hysteresis_ignores_a_vibration_across_the_cutoff() -> None:
    history = bond_history(_one_nitrogen([2.0, 2.6, 2.4, 2.9, 2.0]))
    assert history.bonds.tolist() == [[1, 0]]
    assert history.censored.tolist() == [True]
    assert history.mean_lifetime_fs == np.inf
    assert bond_history(_one_nitrogen([2.0, 2.6, 2.4, 2.9, 2.0]), break_A=2.5).bonds.shape == (3, 2)


def test_exchange_and_return() -> None:
    history = bond_history(_one_nitrogen([2.0, 3.0, 2.2, 3.0, 3.8, 3.8, 2.1]))
    assert history.bonds.tolist() == [[1, 0], [1, 0], [2, 0], [1, 0]]
    assert history.born.tolist() == [0, 2, 4, 6]
    assert history.broken.tolist() == [1, 3, 6, 7]
    assert history.exchange.tolist() == [False, False, True, True]
    assert history.n_exchanges == 2
    np.testing.assert_allclose(history.lifetimes_fs, [10, 10, 20, 10])
    assert history.mean_lifetime_fs == pytest.approx(50.0 / 3.0)


def test_an_exchange_without_a_free_moment_counts() -> None:
    history = bond_history(_one_nitrogen([2.0, 3.6]))
    assert history.n_exchanges == 1
    history = bond_history(_one_nitrogen([2.4, 3.6, 3.6]), break_A=4.0)  # both bonds at once
    assert history.bonds.tolist() == [[1, 0], [2, 0]]
    assert history.exchange.tolist() == [False, True]


def test_bonds_do_not_depend_on_pieces_or_images() -> None:
    frames = random_frames({"N": 12, "Zn": 4}, cell=np.eye(3) * 7.0, n_frames=40)
    whole = bond_history(frames, frame_interval_fs=1.0)
    pieces = bond_history(frames.chunks(7), frame_interval_fs=1.0)
    moved = bond_history(INVARIANCES["moved by lattice vectors"](frames), frame_interval_fs=1.0)
    for other in (pieces, moved):
        np.testing.assert_array_equal(whole.bonds, other.bonds)
        np.testing.assert_array_equal(whole.broken, other.broken)
        np.testing.assert_array_equal(whole.exchange, other.exchange)


def test_formed_and_broken_bonds_against_a_naive_table() -> None:
    """form = break: the bonds of each frame are those within the cutoff, nothing else."""
    frames = random_frames({"N": 9, "Zn": 4}, cell=np.eye(3) * 8.0, n_frames=30, seed=8)
    history = bond_history(frames, form_A=2.5, break_A=2.5, frame_interval_fs=1.0)
    step = frames.positions[:, 9:, None] - frames.positions[:, None, :9]
    step -= np.round(step / 8.0) * 8.0
    bonded = np.linalg.norm(step, axis=-1) < 2.5
    found = np.zeros_like(bonded)
    for (zn, n), born, broken in zip(history.bonds, history.born, history.broken, strict=True):
        found[born:broken, zn - 9, n] = True
    np.testing.assert_array_equal(found, bonded)


def test_lifetimes_of_an_exponential_process() -> None:
    """Kaplan–Meier and the censored mean find the true mean, the mean of broken bonds does not."""
    rng = np.random.default_rng(0)
    n, n_frames = 20_000, 500
    life = np.ceil(rng.exponential(300.0, n)).astype(int)
    born = rng.integers(0, n_frames, n)
    history = BondHistory(
        bonds=np.zeros((n, 2), int),
        born=born,
        broken=np.minimum(born + life, n_frames),
        exchange=np.zeros(n, bool),
        n_frames=n_frames,
        frame_interval_fs=1.0,
    )
    assert history.mean_lifetime_fs == pytest.approx(300.0, rel=0.03)
    assert history.lifetimes_fs[~history.censored].mean() < 200.0
    times, survival = history.survival()
    np.testing.assert_allclose(survival, np.exp(-times / 300.0), atol=0.04)


def test_bad_input() -> None:
    frames = _one_nitrogen([2.0, 2.1, 2.2])
    with pytest.raises(NotDefinedError, match="at least two frames, got 1"):
        bond_history(frames[0])
    with pytest.raises(NotDefinedError, match="; give --frame-interval"):
        bond_history(_one_nitrogen([2.0, 2.1], step_fs=None))
    with pytest.raises(NotDefinedError, match="wanted two elements and break_A"):
        bond_history(frames, form_A=2.5, break_A=2.0)
    uneven = dataclasses.replace(frames, time_fs=np.array([0.0, 10.0, 30.0]))
    with pytest.raises(NotDefinedError, match="frame 2 of memory comes 20 fs after the one before"):
        bond_history(uneven)
    with pytest.raises(NotDefinedError, match="comes 20 fs after the one before"):
        bond_history(uneven.chunks(2))
    with pytest.raises(NotDefinedError, match="frame 1 of memory comes 10 fs"):
        bond_history(frames, frame_interval_fs=5.0)
    with pytest.raises(NotDefinedError, match="no Zn atoms"):
        coordination_numbers(random_frames({"N": 3}, cell=CELL))
    crowd = random_frames({"N": 2, "Zn": 30}, cell=np.eye(3) * 4.0, n_frames=2)
    with pytest.raises(NotDefinedError, match=r"a N holds more than 6 Zn within 3\.0 Å"):
        bond_history(crowd, frame_interval_fs=1.0)
