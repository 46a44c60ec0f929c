"""Splits by what trajectories and frames are called: whole states left out, or labels given."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zifbench.dataset.splits.draws import RandomKeys
from zifbench.dataset.splits.pool import Pool, PoolTrajectory, attribute_of
from zifbench.dataset.splits.subsets import SUBSETS, Drawn, draw_counts
from zifbench.errors import DataError
from zifbench.frames import IntArray

# Names of subsets that occur in labels, and ours.
_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class LeaveStateOut:
    """Parameters of `leave_state_out`.

    Attributes:
        by: Attribute of the trajectories (temperature_K, state, volume_change, …), or "name".
        test_states: Values of it that are for test only.
        validation_states: Values of it that are for validation only.
        train: How many frames to draw from the other trajectories; None means all.
        validation: The same from those for validation.
        test: The same from those for test.
    """

    by: str
    test_states: tuple[str, ...]
    validation_states: tuple[str, ...] = ()
    train: int | None = None
    validation: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class ByLabel:
    """Parameters of `by_label`.

    Attributes:
        label: Label of the frames that says train, validation (val, valid) or test.
        train: How many of the training frames to draw; None means all.
        validation: The same for validation.
        test: The same for test.
    """

    label: str = "subset"
    train: int | None = None
    validation: int | None = None
    test: int | None = None


def leave_state_out(pool: Pool, parameters: LeaveStateOut, keys: RandomKeys) -> Drawn:
    """Whole trajectories to each subset, by their state: nothing of a test state is trained on.

    Raises:
        DataError: a trajectory without the attribute, a value that none has or that is asked for
            twice, or counts that cannot be met.
    """
    values = [_value(trajectory, parameters.by) for trajectory in pool.trajectories]
    wanted = {"test": parameters.test_states, "validation": parameters.validation_states}
    subset_of = ["train"] * len(values)
    for name, states in wanted.items():
        for state in states:
            places = [k for k, value in enumerate(values) if _same(value, state)]
            if not places:
                known = ", ".join(sorted({str(value) for value in values}))
                raise DataError(f"no trajectory has {parameters.by} = {state}; there are: {known}")
            for k in places:
                if subset_of[k] != "train":
                    raise DataError(f"{parameters.by} = {state} is asked for twice")
                subset_of[k] = name
    subsets = {name: _join(pool, [k for k, s in enumerate(subset_of) if s == name])
               for name in SUBSETS}  # fmt: skip
    return Drawn(draw_counts(subsets, {n: getattr(parameters, n) for n in SUBSETS}, keys))


def by_label(pool: Pool, parameters: ByLabel, keys: RandomKeys) -> Drawn:
    """The split that a label of the frames states; frames without it are in no subset.

    Raises:
        DataError: a label that names no subset, no frame has the label, or counts that cannot be
            met.
    """
    members: dict[str, list[IntArray]] = {name: [] for name in SUBSETS}
    unlabelled = 0
    for k, trajectory in enumerate(pool.trajectories):
        texts = trajectory.labels.get(parameters.label)
        if texts is None:
            unlabelled += len(trajectory)
            continue
        column = np.array([_subset(text, parameters.label, trajectory.name) for text in texts])
        unlabelled += int((column == "").sum())
        for name in SUBSETS:
            members[name].append(pool.only_usable(pool.numbers_of(k)[column == name]))
    if not any(map(len, members["train"] + members["test"])):
        raise DataError(f"by-label: no frame has a label {parameters.label!r} that names a subset")
    subsets = {name: np.concatenate(ids) for name, ids in members.items()}
    notes = (f"{unlabelled} frames without a label {parameters.label!r} are left out",)
    drawn = draw_counts(subsets, {n: getattr(parameters, n) for n in SUBSETS}, keys)
    return Drawn(drawn, notes if unlabelled else ())


def _value(trajectory: PoolTrajectory, by: str) -> Any:
    if by == "name":
        return trajectory.name
    value = attribute_of(trajectory.attributes, by)
    if value is None:
        known = ", ".join(["name", *sorted(trajectory.attributes)])
        raise DataError(f"trajectory {trajectory.name} has no attribute {by!r}; it has: {known}")
    return value


def _same(value: Any, text: str) -> bool:
    """Whether an attribute is what a person wrote: 300 is 300.0."""
    if str(value) == text:
        return True
    with contextlib.suppress(TypeError, ValueError):
        return float(value) == float(text)
    return False


def _join(pool: Pool, trajectories: Sequence[int]) -> IntArray:
    parts = [pool.only_usable(pool.numbers_of(k)) for k in trajectories]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _subset(text: str, label: str, trajectory: str) -> str:
    if text and text not in _ALIASES:
        raise DataError(
            f"by-label: {label} = {text!r} in trajectory {trajectory} names no subset; wanted "
            f"{', '.join(_ALIASES)}"
        )
    return _ALIASES[text] if text else ""
