"""Blocks of time and their embargo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset.splits.pools import pool_with
from zifbench.dataset.splits.by_time import Blocked, blocked
from zifbench.dataset.splits.draws import RandomKeys
from zifbench.errors import DataError


def split(pool, seed=0, **parameters):
    return blocked(pool, Blocked(**parameters), RandomKeys(seed))


def least_gap(pool, subsets, clock_of):
    """Shortest distance between frames of different subsets in one trajectory, by brute force."""
    gaps = [np.inf]
    for k, trajectory in enumerate(pool.trajectories):
        clock = clock_of(trajectory)
        parts = [
            clock[ids[(ids >= pool.starts[k]) & (ids < pool.starts[k + 1])] - pool.starts[k]]
            for ids in subsets.values()
        ]
        for a in range(len(parts)):
            for b in range(a):
                gaps += np.abs(parts[a][:, None] - parts[b][None, :]).ravel().tolist()
    return min(gaps)


@given(
    steps=st.lists(
        st.lists(st.sampled_from([0.5, 0.5, 0.5, 3.0, 11.0]), min_size=5, max_size=60),
        min_size=1,
        max_size=3,
    ),
    block=st.floats(1.0, 10.0),
    share=st.floats(0.0, 0.9),
    seed=st.integers(0, 20),
)
def test_the_embargo_in_fs_is_kept(steps, block, share, seed):
    """Also across gaps in the times, and for blocks that hold no frame."""
    times = [np.cumsum(step) for step in steps]
    pool = pool_with(*(np.zeros(len(t)) for t in times), times=times)
    embargo = share * block
    try:
        drawn = split(pool, seed, block=block, embargo=embargo, fractions=(0.5, 0.2, 0.3))
    except DataError as error:
        assert "blocks for 3 subsets" in str(error)
        return
    assert least_gap(pool, drawn.subsets, lambda t: t.time_fs) > embargo
    ids = np.concatenate([np.zeros(0, int), *drawn.subsets.values()])
    assert len(np.unique(ids)) == len(ids)


@given(st.lists(st.integers(1, 80), min_size=1, max_size=3), st.integers(1, 12), st.data())
def test_so_many_frames_lie_between_subsets(lengths, block, data):
    embargo = data.draw(st.integers(0, block - 1))
    pool = pool_with(*(np.zeros(n) for n in lengths))
    try:
        drawn = split(pool, 1, block=block, embargo=embargo, unit="frames")
    except DataError:
        return
    gap = least_gap(pool, drawn.subsets, lambda t: np.arange(len(t)))
    assert gap >= embargo + 1


def test_shares_of_the_blocks():
    pool = pool_with(np.zeros(1000), np.zeros(1000))
    drawn = split(pool, block=20, embargo=0, unit="frames", fractions=(7, 1, 2))
    counts = {name: len(ids) for name, ids in drawn.subsets.items()}
    assert counts == {"train": 1400, "validation": 200, "test": 400}


def test_without_embargo_no_frame_is_lost_and_blocks_stay_whole():
    pool = pool_with(np.zeros(100))
    drawn = split(pool, block=10, embargo=0, unit="frames")
    for ids in drawn.subsets.values():
        assert all(len(set(ids[ids // 10 == b])) == 10 for b in set(ids // 10))
    assert sum(map(len, drawn.subsets.values())) == 100


def test_frames_left_out_are_stated_and_only_follow_a_change():
    pool = pool_with(np.zeros(30))
    drawn = split(pool, block=10, embargo=2, unit="frames", fractions=(1, 0, 1))
    n = sum(map(len, drawn.subsets.values()))
    assert drawn.notes == (f"3 blocks; {30 - n} frames are left out by the embargo",)
    assert n in (26, 28)  # two blocks of one subset, side by side or not


def test_counts_are_drawn_from_the_blocks():
    pool = pool_with(np.zeros(1000))
    drawn = split(pool, block=50, embargo=5, unit="frames", train=100, validation=0, test=20)
    assert {name: len(ids) for name, ids in drawn.subsets.items()} == {"train": 100, "test": 20}
    with pytest.raises(DataError, match="test: 5000 frames asked for"):
        split(pool, block=50, embargo=5, unit="frames", test=5000)


def test_refusals():
    pool = pool_with(np.zeros(10), times=[np.arange(10.0)])
    with pytest.raises(DataError, match="leaves nothing"):
        split(pool, block=2.0, embargo=2.0)
    with pytest.raises(DataError, match="wanted a length above 0"):
        split(pool, block=0.0, embargo=0.0)
    with pytest.raises(DataError, match="wanted fs or frames"):
        split(pool, block=2.0, embargo=0.0, unit="ps")
    with pytest.raises(DataError, match="2 blocks for 3 subsets"):
        split(pool, block=5.0, embargo=0.0)
    with pytest.raises(DataError, match="not negative"):
        split(pool, block=2.0, embargo=0.0, fractions=(1.0, -0.5, 0.5))
    with pytest.raises(DataError, match="t0 has no times"):
        split(pool_with(np.zeros(10)), block=2.0, embargo=1.0)
    backwards = pool_with(np.zeros(4), times=[[0.0, 1.0, 1.0, 2.0]])
    with pytest.raises(DataError, match="time does not increase at frame 2 of trajectory t0"):
        split(backwards, block=2.0, embargo=1.0)
