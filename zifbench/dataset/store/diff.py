"""What changed from one version of a store to another, without reading the frames.

The commit records hold digests of all blocks; two trajectories with the same digests hold the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zifbench.dataset.store.commit import UNVERSIONED, ArrayRecord, TrajectoryRecord
from zifbench.dataset.store.layout import BLOCK_ROWS
from zifbench.dataset.store.reader import Store, Trajectory

_ATOMS = ("numbers", "masses", "pbc")
_KINDS = ("fields", "labels", "arrays")


@dataclass(frozen=True)
class Change:
    """One trajectory that is not the same in both stores.

    Attributes:
        trajectory: Its name.
        kind: "added", "removed", "extended" (all frames of the old one are in the new one) or
            "changed".
        frames: Number of frames in the old and in the new store.
        details: What differs, in words.
    """

    trajectory: str
    kind: str
    frames: tuple[int, int]
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Differences of two stores.

    Attributes:
        versions: Version of the old and of the new store.
        attributes: Names of attributes of the store that differ.
        changes: Trajectories that differ.
    """

    versions: tuple[str, str]
    attributes: tuple[str, ...]
    changes: tuple[Change, ...]


def diff(old: Store, new: Store) -> Difference:
    """Compare two stores by their commit records, and where frames were added by the last block."""
    changes: list[Change] = []
    for name in sorted({*old.trajectories, *new.trajectories}):
        a, b = old.trajectories.get(name), new.trajectories.get(name)
        if a is None and b is not None:
            changes.append(Change(name, "added", (0, len(b))))
        elif b is None and a is not None:
            changes.append(Change(name, "removed", (len(a), 0)))
        elif a is not None and b is not None and (change := _compare(a, b)):
            changes.append(change)
    return Difference(
        versions=(old.version, new.version),
        attributes=tuple(_differing(dict(old.attributes), dict(new.attributes))),
        changes=tuple(changes),
    )


def _compare(a: Trajectory, b: Trajectory) -> Change | None:
    details = _of_whole(a.record, b.record)
    parts_a, parts_b = a.record.records(), b.record.records()
    shrunk = len(b) < len(a)
    changed = bool(details) or shrunk
    for name in sorted(parts_a.keys() & parts_b.keys()):
        if len(a) == len(b) and parts_a[name].rows != parts_b[name].rows:
            details.append(f"{name} has {parts_b[name].rows} rows, had {parts_a[name].rows}")
            changed = True
        if parts_a[name].layout.item != parts_b[name].layout.item:
            continue
        if frames := _first_difference(a, b, name):
            details.append(f"{name} of frames {frames[0]} to {frames[1] - 1}")
            changed = True
    attributes = [f"attribute {key}" for key in _differing(dict(a.attributes), dict(b.attributes))]
    if changed or (attributes and len(a) == len(b)):
        return Change(a.name, "changed", (len(a), len(b)), (*sorted(details), *attributes))
    if len(b) > len(a):
        return Change(a.name, "extended", (len(a), len(b)), tuple(attributes))
    return None


def _of_whole(a: TrajectoryRecord, b: TrajectoryRecord) -> list[str]:
    """Atoms, and the names and types of arrays."""
    details = [f"other {what}" for what in _ATOMS if getattr(a, what) != getattr(b, what)]
    for kind in _KINDS:
        have, got = getattr(a, kind), getattr(b, kind)
        details += [f"{kind[:-1]} {name} only in the old one" for name in sorted(have - got.keys())]
        details += [f"{kind[:-1]} {name} only in the new one" for name in sorted(got - have.keys())]
        for name in sorted(have.keys() & got.keys()):
            types = _type(have[name]), _type(got[name])
            if types[0] != types[1]:
                details.append(f"{name} is {types[1]}, was {types[0]}")
    return details


def _type(array: ArrayRecord) -> str:
    shape = "×".join(str(n) for n in array.layout.item)
    return f"{array.layout.dtype} {shape}".strip()


def _first_difference(a: Trajectory, b: Trajectory, name: str) -> tuple[int, int] | None:
    """The first block of frames that differs, of those that both have."""
    blocks_a, blocks_b = a.readers[name].record.blocks, b.readers[name].record.blocks
    rows = min(a.readers[name].record.rows, b.readers[name].record.rows)
    for number, (x, y) in enumerate(zip(blocks_a, blocks_b, strict=False)):
        first, stop = number * BLOCK_ROWS, min((number + 1) * BLOCK_ROWS, rows)
        if x != y and not _equal_rows(a, b, name, first, stop):
            return first, stop
    return None


def _equal_rows(a: Trajectory, b: Trajectory, name: str, first: int, stop: int) -> bool:
    """Compare rows themselves: a block that was extended has another digest and the same rows."""
    rows = np.arange(first, stop)
    x, y = a.readers[name].rows(rows), b.readers[name].rows(rows)
    if isinstance(x, list):
        return x == y
    return bool(np.array_equal(x, y, equal_nan=True))


def _differing(a: dict[str, object], b: dict[str, object]) -> list[str]:
    keys = ({*a} | {*b}) - UNVERSIONED
    missing = object()
    return sorted(key for key in keys if a.get(key, missing) != b.get(key, missing))
