"""Appending frames to one trajectory of a store: checks, types, arrays of the whole trajectory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.store.array_writer import ArrayWriter
from zifbench.dataset.store.commit import ArrayRecord, TrajectoryRecord
from zifbench.dataset.store.layout import FIELDS, ArrayLayout, canonical, extra_layout
from zifbench.dataset.store.shards import Rows, block_digests
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import Frames

if TYPE_CHECKING:
    from zifbench.dataset.store.writer import StoreWriter

# Beyond this, a position in float32 would be off by more than 7.6e-6 Å; see `store/__init__.py`.
_FLOAT32_POSITION_A = 256.0
_NUMBERS = frozenset({"float32", "float64", "int64"})
_MAY_BE_NAN = frozenset({"stress"})  # a component that the source did not give
_RESERVED = frozenset({"name", "numbers", "masses", "pbc", "zifbench"})


class TrajectoryWriter:
    """Appends frames to one trajectory; made by `StoreWriter.trajectory`.

    Args:
        store: The store.
        record: State of the trajectory.
        some_fields: Whether fields of the frames that are not stored may be left out.
    """

    def __init__(
        self, store: StoreWriter, record: TrajectoryRecord, *, some_fields: bool = False
    ) -> None:
        self._store, self._record, self._some_fields = store, record, some_fields
        self.broken = False
        self._arrays = {
            name: ArrayWriter(store.path, array, f"{record.name}/{name}")
            for name, array in record.records().items()
        }

    @property
    def name(self) -> str:
        """Name of the trajectory."""
        return self._record.name

    @property
    def n_committed(self) -> int:
        """Number of committed frames."""
        return self._store.n_committed(self._record.name)

    @property
    def n_frames(self) -> int:
        """Number of frames appended so far, committed or not."""
        return self._arrays["positions"].rows

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes, committed or about to be."""
        return self._record.attributes

    def append(self, frames: Frames) -> None:
        """Add frames at the end; they are visible after the next commit.

        Raises:
            DataError: other atoms, a field or label that is missing or that the trajectory does not
                store, NaN, or positions too far out for float32. Nothing is appended then.
        """
        self._check_usable()
        self._check_atoms(frames)
        self._check_all_stored(frames)
        rows: dict[str, Rows] = {name: self._stored(frames, name) for name in self._record.fields}
        rows.update({f"label {key}": self._texts(frames, key) for key in self._record.labels})
        self.broken = True  # until all arrays have the same length again
        for name, values in rows.items():
            self._arrays[name].append(values)
        self.broken = False

    def set_attributes(self, **attributes: Any) -> None:
        """Add or replace attributes, with the next commit."""
        where = f"trajectory {self.name!r} of {self._store.path}"
        merged = merged_attributes(self._record.attributes, attributes, where)
        self._record = dataclasses.replace(self._record, attributes=merged)

    def remove_attributes(self, *names: str) -> None:
        """Take away attributes that no longer hold, with the next commit."""
        left = {key: value for key, value in self._record.attributes.items() if key not in names}
        self._record = dataclasses.replace(self._record, attributes=left)

    def set_array(self, name: str, values: npt.ArrayLike) -> None:
        """Add an array that belongs to the whole trajectory, with the next commit.

        Raises:
            DataError: another array of this name is there already, or it is no array of numbers.
        """
        array = np.asarray(values)
        if array.dtype.kind in "iub":
            array = array.astype(np.int64)
        if array.dtype.name not in _NUMBERS or array.ndim == 0 or array.size == 0:
            raise DataError(
                f"array {name!r} of trajectory {self.name!r}: {array.dtype} of shape "
                f"{array.shape} cannot be stored; wanted float32, float64 or integers, not empty"
            )
        layout = extra_layout(self._record.folder, name, array.shape, array.dtype.name)
        key = f"array {name}"
        if key in self._arrays:
            self._check_same_array(name, array, layout)
            return
        self._check_usable()
        self.broken = True  # until all of it is written
        writer = ArrayWriter(self._store.path, ArrayRecord(layout), f"{self.name}/{key}")
        writer.append(array)
        self._arrays[key] = writer
        arrays = {**self._record.arrays, name: writer.commit()}
        self._record = dataclasses.replace(
            self._record, arrays={key: arrays[key] for key in sorted(arrays)}
        )
        self.broken = False

    def commit(self) -> None:
        """Make everything appended so far durable, then visible."""
        self._store.commit_trajectory(self.flush())

    def flush(self) -> TrajectoryRecord:
        """Write all shards; returns the state to be recorded."""
        self._check_usable()
        self.broken = True  # until all arrays are written
        done = {name: array.commit() for name, array in self._arrays.items()}
        self.broken = False
        record = self._record
        self._record = dataclasses.replace(
            record,
            n_frames=done["positions"].rows,
            fields={name: done[name] for name in record.fields},
            labels={key: done[f"label {key}"] for key in record.labels},
            arrays={name: done[f"array {name}"] for name in record.arrays},
        )
        return self._record

    # -- checks -----------------------------------------------------------------------------------

    def _check_same_array(self, name: str, array: npt.NDArray[Any], layout: ArrayLayout) -> None:
        old = self._record.arrays[name]
        same = old.layout == layout and old.rows == len(array)
        if not same or list(old.blocks) != block_digests(array, layout):
            raise DataError(
                f"trajectory {self.name!r} of {self._store.path} already has another array "
                f"{name!r}; give the new one another name"
            )

    def _check_atoms(self, frames: Frames) -> None:
        record = self._record
        for key in ("numbers", "masses", "pbc"):
            if getattr(frames, key).tolist() != list(getattr(record, key)):
                raise DataError(
                    f"{frames.source} has other {key} than trajectory {self.name!r} of "
                    f"{self._store.path}; write it as a trajectory of its own"
                )

    def _check_all_stored(self, frames: Frames) -> None:
        """Refuse what would be lost, unless the caller chose the fields."""
        record = self._record
        given = [] if self._some_fields else [k for k in FIELDS if getattr(frames, k) is not None]
        lost = [key for key in given if key not in record.fields]
        lost += [f"label {key!r}" for key in sorted(frames.labels) if key not in record.labels]
        if lost:
            raise DataError(
                f"{frames.source} has {', '.join(lost)}, which trajectory {self.name!r} of "
                f"{self._store.path} does not store; write it as a trajectory of its own, or take "
                "that out of the frames"
            )

    def _stored(self, frames: Frames, name: str) -> npt.NDArray[Any]:
        """One field in its type on disk, checked."""
        values = getattr(frames, name)
        where = f"trajectory {self.name!r} of {self._store.path}"
        if values is None:
            raise DataError(f"{frames.source} has no {name}, which {where} stores for all frames")
        dtype = self._record.fields[name].layout.dtype
        if name == "positions" and dtype == "float32" and np.size(values):
            far = float(np.nanmax(np.abs(values)))
            if far >= _FLOAT32_POSITION_A:
                raise DataError(
                    f"{frames.source} has positions {far:.0f} Å from the origin, which float32 "
                    f"would round by more than 7.6e-6 Å; wrap them into the cell, or store {where} "
                    "with exact"
                )
        stored = np.ascontiguousarray(values, dtype=dtype)
        if name not in _MAY_BE_NAN and not np.isfinite(stored).all():
            row = int(np.argwhere(~np.isfinite(stored))[0][0])
            raise DataError(f"{name}: NaN or infinite in {frames.where(row)}; leave that frame out")
        return stored

    def _texts(self, frames: Frames, key: str) -> list[str]:
        if key not in frames.labels:
            raise DataError(
                f"{frames.source} has no label {key!r}, which trajectory {self.name!r} of "
                f"{self._store.path} stores for all frames"
            )
        for row, text in enumerate(frames.labels[key]):
            if text != printable(text):
                raise DataError(f"label {key!r} is no valid text in {frames.where(row)}")
        return list(frames.labels[key])

    def _check_usable(self) -> None:
        if self.broken:
            raise DataError(
                f"an earlier append to {self.name!r} of {self._store.path} failed half-way; open "
                "the store again to go on from the last commit"
            )


def merged_attributes(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Attributes as they will come back from JSON."""
    for key, value in new.items():
        if key in _RESERVED:
            raise DataError(f"attribute {key!r} of {where} is a name of the store's own; rename it")
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"attribute {key!r} of {where} is no JSON: {error}") from error
    merged: dict[str, Any] = json.loads(canonical({**old, **new}))
    return merged
