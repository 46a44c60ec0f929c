"""Blocks of time with an embargo between them.

Frames of molecular dynamics that follow each other are near-copies, so a random test frame has a
training frame half a femtosecond away. Here whole stretches of time go to one subset, and the
frames just after each change of subset to none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.dataset.splits.draws import RandomKeys
from zifbench.dataset.splits.pool import Pool, PoolTrajectory
from zifbench.dataset.splits.subsets import SUBSETS, Drawn, draw_counts
from zifbench.errors import DataError
from zifbench.frames import FloatArray, IntArray

UNITS = ("fs", "frames")


@dataclass(frozen=True)
class Blocked:
    """Parameters of `blocked`.

    Attributes:
        block: Length of a block, in `unit`.
        embargo: Least gap between frames of different subsets, in `unit`.
        unit: "fs", by the times of the frames, or "frames", by their number.
        fractions: Share of the blocks for training, validation and test; scaled to 1.
        train: How many training frames to draw from the training blocks; None means all.
        validation: The same for validation; 0 for none.
        test: The same for test.
    """

    block: float
    embargo: float
    unit: str = "fs"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    train: int | None = None
    validation: int | None = None
    test: int | None = None


def blocked(pool: Pool, parameters: Blocked, keys: RandomKeys) -> Drawn:
    """Whole blocks of time to each subset, with a gap of more than `embargo` between subsets.

    Each trajectory is cut into blocks [t0 + k·block, t0 + (k + 1)·block) from its first frame; the
    blocks of all trajectories together are dealt at random, in the numbers that come nearest to the
    fractions (at least one for each that is not zero). Where a block follows one of another subset,
    its frames up to `embargo` after the last frame of that one are left out. So any two frames of
    one trajectory and different subsets are more than `embargo` apart; with unit "frames", at least
    that many frames lie between them.

    Raises:
        DataError: no time where it is needed, time that does not increase, fewer blocks than
            subsets, or counts that cannot be met.
    """
    _check(parameters)
    blocks = [_blocks(_clock(t, parameters.unit), parameters.block) for t in pool.trajectories]
    n_blocks = [len(np.unique(numbers)) for numbers in blocks]
    dealt = _deal(sum(n_blocks), parameters.fractions, keys)
    subset_of_block = np.split(dealt, np.cumsum(n_blocks)[:-1])
    members: dict[str, list[IntArray]] = {name: [] for name in SUBSETS}
    n_embargoed = 0
    for k, trajectory in enumerate(pool.trajectories):
        order = np.unique(blocks[k], return_inverse=True)[1]
        subset = subset_of_block[k][order]
        kept = _outside_embargo(_clock(trajectory, parameters.unit), subset, parameters.embargo)
        n_embargoed += int((~kept).sum())
        for number, name in enumerate(SUBSETS):
            ids = pool.numbers_of(k)[kept & (subset == number)]
            members[name].append(pool.only_usable(ids))
    subsets = {name: np.concatenate(ids) for name, ids in members.items()}
    counts = {name: getattr(parameters, name) for name in SUBSETS}
    note = f"{sum(n_blocks)} blocks; {n_embargoed} frames are left out by the embargo"
    return Drawn(draw_counts(subsets, counts, keys), (note,))


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Shares of training, validation and test, from text such as "0.8,0.1,0.1".

    Raises:
        DataError: not three numbers.
    """
    try:
        train, validation, test = map(float, text.split(","))
    except ValueError as error:
        raise DataError(
            f"fractions {text!r}: wanted three numbers, for train, validation and test, e.g. "
            "0.8,0.1,0.1"
        ) from error
    return train, validation, test


def _check(parameters: Blocked) -> None:
    if parameters.unit not in UNITS:
        raise DataError(f"unit of the blocks: {parameters.unit!r}, wanted fs or frames")
    if not parameters.block > 0 or not parameters.embargo >= 0:
        raise DataError(
            f"blocks of {parameters.block:g} {parameters.unit} with an embargo of "
            f"{parameters.embargo:g}: wanted a length above 0 and an embargo of 0 or more"
        )
    if not parameters.embargo < parameters.block:
        raise DataError(
            f"an embargo of {parameters.embargo:g} {parameters.unit} leaves nothing of blocks of "
            f"{parameters.block:g}; give longer blocks"
        )
    if min(parameters.fractions) < 0 or not sum(parameters.fractions) > 0:
        raise DataError(f"fractions {parameters.fractions}: wanted three that are not negative")


def _clock(trajectory: PoolTrajectory, unit: str) -> FloatArray:
    """When each frame is, in the unit of the blocks, shape (T,)."""
    if unit == "frames":
        return np.arange(len(trajectory), dtype=float)
    if trajectory.time_fs is None:
        raise DataError(
            f"blocked: trajectory {trajectory.name} has no times; give blocks in frames "
            "(--unit frames) if its frames follow each other, or leave it out"
        )
    steps = np.diff(trajectory.time_fs)
    if not (steps > 0).all():
        frame = int(np.argmin(steps > 0)) + 1
        raise DataError(
            f"blocked: time does not increase at frame {frame} of trajectory {trajectory.name}; "
            "it is no series in time"
        )
    return trajectory.time_fs


def _blocks(clock: FloatArray, length: float) -> IntArray:
    """Number of the block of each frame, shape (T,); not every number need occur."""
    if not len(clock):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(np.floor((clock - clock[0]) / length), dtype=np.int64)


def _deal(n_blocks: int, fractions: Sequence[float], keys: RandomKeys) -> IntArray:
    """Subset (0 training, 1 validation, 2 test) of each block, shape (n_blocks,)."""
    weights = np.asarray(fractions, dtype=float)
    if n_blocks < int((weights > 0).sum()):
        raise DataError(
            f"blocked: {n_blocks} blocks for {int((weights > 0).sum())} subsets; give shorter ones"
        )
    exact = n_blocks * weights / weights.sum()
    counts = np.maximum(np.floor(exact).astype(np.int64), weights > 0)
    while counts.sum() < n_blocks:
        counts[np.argmax(exact - counts)] += 1
    while counts.sum() > n_blocks:
        counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
    order = np.argsort(keys.take(n_blocks), kind="stable")
    dealt = np.empty(n_blocks, dtype=np.int64)
    dealt[order] = np.repeat(np.arange(len(counts)), counts)
    return dealt


def _outside_embargo(clock: FloatArray, subset: IntArray, embargo: float) -> npt.NDArray[np.bool_]:
    """Whether each frame is more than the embargo after the last frame of the other subset.

    Compared with the last frame of the run of blocks before, kept or not: then a gap holds to all
    earlier runs too.
    """
    if not len(clock):
        return np.zeros(0, dtype=bool)
    changes = np.flatnonzero(np.diff(subset)) + 1  # first frame of each run but the first
    run = np.searchsorted(changes, np.arange(len(clock)), side="right")
    last_before = np.concatenate([[-np.inf], clock[changes - 1]])[run]
    return np.asarray(clock - last_before > embargo)
