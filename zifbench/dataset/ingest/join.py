"""Joining files on the step number, by one rule for steps that come several times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from zifbench.dataset.ingest.source import Keep
from zifbench.errors import DataError
from zifbench.frames import FloatArray, IntArray


@dataclass(frozen=True)
class Rows:
    """Steps of one file, as far as joining needs them.

    Attributes:
        name: The file, for messages.
        step: Step number of each row in the order of the file, shape (n,).
        same: (rows, rows) -> how far the two are apart in units of what tells a branch from a
            repeated frame; above 1 they are different.
        what: What `same` compares, for messages.
    """

    name: str
    step: IntArray
    same: Callable[[IntArray, IntArray], FloatArray] | None = None
    what: str = ""


@dataclass(frozen=True)
class Joined:
    """Frames that every file has.

    Attributes:
        step: Their steps, rising, shape (n,).
        rows: File -> row of each frame, shape (n,).
        missing: File -> steps that others have and it has not.
        duplicates: File -> number of rows whose step occurs again.
    """

    step: IntArray
    rows: Mapping[str, IntArray]
    missing: Mapping[str, IntArray]
    duplicates: Mapping[str, int]


def join_on_step(files: Mapping[str, Rows], keep: Keep) -> Joined:
    """Keep the steps that all files have, each once.

    A run that was killed leaves steps past its last restart file, and writes them again. The last
    occurrence is what the rest of the run continues from, and the only one that is complete in all
    files when the kill lost the tails of some; `keep="first"` takes the other one. The same rule
    holds for all files.

    Raises:
        DataError: a step comes again with other values (another branch, or a counter that was set
            back), or no step is in all files.
    """
    chosen = {key: _choose(rows, keep) for key, rows in files.items()}
    steps = {key: rows.step[chosen[key]] for key, rows in files.items()}
    common = reduce(_intersection, steps.values())
    if not len(common):
        spans = ", ".join(
            f"{files[k].name} {s.min()} to {s.max()}" for k, s in steps.items() if len(s)
        )
        raise DataError(f"no step is in all files: {spans}; these files are not of one run")
    everything = reduce(_union, steps.values())
    return Joined(
        step=common,
        rows={
            key: rows if len(rows) == len(common) else rows[np.searchsorted(steps[key], common)]
            for key, rows in chosen.items()
        },
        missing={
            key: np.setdiff1d(everything, step, assume_unique=True)
            for key, step in steps.items()
            if len(step) < len(everything)
        },
        duplicates={
            key: len(rows.step) - len(chosen[key])
            for key, rows in files.items()
            if len(rows.step) > len(chosen[key])
        },
    )


def _intersection(one: IntArray, other: IntArray) -> IntArray:
    if np.array_equal(one, other):
        return one
    return np.intersect1d(one, other, assume_unique=True)


def _union(one: IntArray, other: IntArray) -> IntArray:
    return one if np.array_equal(one, other) else np.union1d(one, other)


def _choose(rows: Rows, keep: Keep) -> IntArray:
    """Row of each step, steps rising."""
    step = rows.step
    if np.all(np.diff(step) > 0):
        return np.arange(len(step))
    order = np.argsort(step, kind="stable")
    ordered = step[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if not new.all() and rows.same is not None:
        first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
        _refuse_branches(rows, first[~new], order[~new])
    if keep == "last":
        new = np.concatenate([new[1:], [True]])
    chosen: IntArray = order[new]
    return chosen


def _refuse_branches(rows: Rows, first: IntArray, again: IntArray) -> None:
    """Rows of the same step must be the same frame."""
    if rows.same is None:
        return
    apart = rows.same(first, again)
    worst = np.flatnonzero(~(apart <= 1.0))
    if len(worst):
        k = worst[0]
        raise DataError(
            f"{rows.name}: step {rows.step[first[k]]} comes again (entry {first[k] + 1} and entry "
            f"{again[k] + 1}) with another {rows.what}; that is another branch or a counter that "
            "was set back, so split the files there into two runs"
        )
