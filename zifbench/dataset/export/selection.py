"""What is exported: frames of a store, subset by subset, read a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.splits.pool import attribute_of
from zifbench.dataset.store import Store, Trajectory
from zifbench.errors import DataError, unknown_name
from zifbench.frames import Frames, IntArray

EVERYTHING = "frames"  # the one subset of an export without a split
_CHUNK_ATOMS = 65_536  # atoms held in memory at once: some megabytes


@dataclass(frozen=True, eq=False)
class Selection:
    """Frames to export.

    Attributes:
        store: The open store.
        split: Where the subsets come from, or None.
        subsets: Subset -> trajectory -> frames, ascending.
        advance: Called with the number of frames each time some are written.
    """

    store: Store
    split: Split | None
    subsets: Mapping[str, Mapping[str, IntArray]]
    advance: Callable[[int], None] = lambda n: None

    def count(self, subset: str) -> int:
        """Number of frames of a subset."""
        return sum(map(len, self.subsets[subset].values()))

    @property
    def n_frames(self) -> int:
        """Number of frames of all subsets."""
        return sum(map(self.count, self.subsets))

    def trajectories(self, subset: str | None = None) -> list[Trajectory]:
        """Trajectories that frames come from, of one subset or of all."""
        parts = self.subsets.values() if subset is None else [self.subsets[subset]]
        names = dict.fromkeys(name for part in parts for name in part)
        return [self.store.trajectories[name] for name in names]

    def fields(self, subset: str | None = None) -> tuple[str, ...]:
        """Per-frame arrays that at least one of the trajectories has."""
        return tuple(dict.fromkeys(f for t in self.trajectories(subset) for f in t.fields))

    def chunks(
        self, subset: str, fields: Sequence[str] | None = None
    ) -> Iterator[tuple[Trajectory, Frames]]:
        """The frames of a subset in order, so many at once as take some megabytes.

        Args:
            subset: Which.
            fields: Arrays wanted; None means all that a trajectory has.

        Yields:
            The trajectory, and frames whose `source_index` are their numbers in it.
        """
        for name, rows in self.subsets[subset].items():
            trajectory = self.store.trajectories[name]
            size = max(1, _CHUNK_ATOMS // trajectory.n_atoms)
            for start in range(0, len(rows), size):
                yield trajectory, trajectory.read(rows[start : start + size], fields)

    def dtype(self, field: str) -> str:
        """The narrowest float that holds a field of all trajectories without loss."""
        records = [t.record.fields[field] for t in self.trajectories() if field in t.fields]
        dtypes = {record.layout.dtype for record in records}
        return "float32" if dtypes == {"float32"} else "float64"

    def about(self, subset: str) -> dict[str, str]:
        """What every file says about itself: store, its version, split and subset."""
        words = {"store": self.store_name, "store_version": self.store.version, "subset": subset}
        return words if self.split is None else words | {"split": self.split.name}

    @property
    def store_name(self) -> str:
        """Name of the store without the folders of this machine."""
        return self.store.location.rstrip("/").rpartition("/")[2]

    def collected(self, attribute: str) -> list[str]:
        """Different values of an attribute of the exported trajectories, or that of the store."""
        found = {attribute_of(t.attributes, attribute) for t in self.trajectories()} - {None}
        if not found:
            found = {attribute_of(self.store.attributes, attribute)} - {None}
        return sorted(map(str, found))


def select(
    store: Store,
    split: Split | None = None,
    *,
    subsets: Sequence[str] = (),
) -> Selection:
    """What to export: the subsets of a split, some of them, or the whole store as one.

    Raises:
        DataError: the split belongs to another version of the store.
        UnknownNameError: a subset that the split does not have.
    """
    if split is None:
        if subsets:
            raise DataError(f"no split given, so there is no subset {subsets[0]}; give --split")
        whole = {name: np.arange(len(t)) for name, t in sorted(store.trajectories.items())}
        parts = {EVERYTHING: {name: rows for name, rows in whole.items() if len(rows)}}
        if not parts[EVERYTHING]:
            raise DataError(f"{store.location} has no frames to export")
        return Selection(store, None, parts)
    split.check(store)
    for subset in subsets:
        if subset not in split.subsets:
            raise unknown_name("subset", subset, split.subsets)
    return Selection(
        store,
        split,
        {s: split.rows(s) for s in split.subsets if not subsets or s in subsets},
    )
