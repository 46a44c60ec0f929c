"""Reading a store: `open_store`, `Store`, `Trajectory`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.store.array_reader import ArrayReader
from zifbench.dataset.store.commit import Commit, TrajectoryRecord, parse_commit
from zifbench.dataset.store.locations import Files, read_record, resolve
from zifbench.errors import DataError, unknown_name
from zifbench.frames import FloatArray, Frames, IntArray

Index = int | slice | Sequence[int] | IntArray
CHUNK_FRAMES = 512
# Text of a trajectory that `Frames.info` carries too.
_INFO_KEYS = ("level_of_theory", "licence", "citation", "stress_components")
_ALWAYS = ("positions", "cell")


def open_store(location: str | Path) -> Store:
    """Open a store for reading.

    Args:
        location: A directory, a zip of one, or a URL of fsspec (http, https, s3, memory, …).

    Raises:
        DataError: nothing there, no store, a damaged record, or another schema.
        MissingDependencyError: a URL whose protocol needs a package that is not installed.
    """
    files = resolve(location)
    try:
        return Store(files, parse_commit(read_record(files), files.location))
    except DataError:
        files.close()
        raise


class Store:
    """A committed state of a store. A writer that goes on does not change what this one reads.

    Attributes:
        location: Where it lies.
        attributes: What holds for all of it.
        version: sha256 of the content, 64 hexadecimal digits; the first 12 are its short form.
        trajectories: By name, in sorted order.
    """

    def __init__(self, files: Files, commit: Commit) -> None:
        self._files = files
        self.commit = commit
        self.location = files.location
        self.attributes: Mapping[str, Any] = MappingProxyType(dict(commit.attributes))
        self.version = commit.version()
        self.trajectories: Mapping[str, Trajectory] = MappingProxyType(
            {
                name: Trajectory(files, commit.trajectories[name])
                for name in sorted(commit.trajectories)
            }
        )

    @property
    def files(self) -> Files:
        """The files below, for `verify`."""
        return self._files

    @property
    def n_frames(self) -> int:
        """Number of frames of all trajectories."""
        return sum(len(trajectory) for trajectory in self.trajectories.values())

    def read(self, ids: Sequence[tuple[str, int]]) -> list[Frames]:
        """Frames by (trajectory, number): one `Frames` a trajectory, in the order asked for.

        Trajectories come in the order of their first frame, as they can hold different atoms.

        Raises:
            UnknownNameError: no such trajectory.
            DataError: no such frame, or damage.
        """
        wanted: dict[str, list[int]] = {}
        for name, number in ids:
            wanted.setdefault(name, []).append(int(number))
        for name in wanted:
            if name not in self.trajectories:
                raise unknown_name(f"trajectory of {self.location}", name, self.trajectories)
        return [self.trajectories[name].read(rows) for name, rows in wanted.items()]

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes (workers that load data) open the same state again."""
        return _reopened, (self.location, self.commit)

    def close(self) -> None:
        """Release open files."""
        self._files.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Trajectory:
    """Frames of the same atoms, read on demand.

    Attributes:
        name: Its name in the store.
        numbers: Atomic numbers, shape (N,).
        masses: Masses in amu, shape (N,).
        pbc: Periodicity, shape (3,).
        fields: Names of the arrays of `Frames` that are stored.
        labels: Keys of the text that differs from frame to frame.
        attributes: Thermodynamic state, level of theory, licence, source, …
        arrays: Arrays that belong to the whole trajectory, read when looked up.
    """

    def __init__(self, files: Files, record: TrajectoryRecord) -> None:
        self.record = record
        self._location = files.location
        self.name = record.name
        self.source = f"{files.location}/{record.name}"
        self.numbers = np.array(record.numbers, dtype=np.int64)
        self.masses = np.array(record.masses, dtype=np.float64)
        self.pbc = np.array(record.pbc, dtype=np.bool_)
        self.attributes: Mapping[str, Any] = MappingProxyType(dict(record.attributes))
        self.fields = tuple(record.fields)
        self.labels = tuple(record.labels)
        self.readers = {
            name: ArrayReader(files, array, f"{record.name}/{name}")
            for name, array in record.records().items()
        }
        self.arrays: Mapping[str, npt.NDArray[Any]] = _LazyArrays(
            {name: self.readers[f"array {name}"] for name in record.arrays}
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """As that of `Store`."""
        return _reopened_trajectory, (self._location, self.record)

    def __len__(self) -> int:
        """Number of frames."""
        return self.record.n_frames

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    def read(self, index: Index, fields: Sequence[str] | None = None) -> Frames:
        """Frames in memory, floats as float64.

        Args:
            index: A number (negative from the end), slice, or numbers in any order.
            fields: Read only these beside positions and cell; labels are read when "labels" is
                among them. Default: everything.

        Raises:
            UnknownNameError: a field that is not stored.
            DataError: no such frame, or damage, named with its file and frames.
        """
        return self._read(self._rows(index), self._wanted(fields))

    def chunks(
        self,
        size: int = CHUNK_FRAMES,
        start: int = 0,
        stop: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> Iterator[Frames]:
        """Consecutive frames from `start` to `stop`, at most `size` in memory at a time."""
        if size < 1:
            raise DataError(f"chunks of {size} frames asked for of {self.source}; wanted 1 or more")
        wanted = self._wanted(fields)
        rows = np.arange(len(self))[start:stop]
        for first in range(0, len(rows), size):
            yield self._read(rows[first : first + size], wanted)

    def array(self, name: str) -> npt.NDArray[Any]:
        """One field of all frames, at once: for the small ones, such as energy and time."""
        if name not in self.record.fields:
            raise unknown_name(f"field of {self.source}", name, self.fields)
        return self._values(name, np.arange(len(self)))

    def _rows(self, index: Index) -> IntArray:
        if not isinstance(index, slice):
            index = np.atleast_1d(np.asarray(index))
            index = index if len(index) else index.astype(np.int64)
        try:
            return np.arange(len(self))[index]
        except IndexError as error:
            raise DataError(
                f"{self.source} has {len(self)} frames; asked for others ({error})"
            ) from error

    def _wanted(self, fields: Sequence[str] | None) -> tuple[str, ...]:
        if fields is None:
            return (*self.fields, "labels")
        for name in fields:
            if name not in (*self.fields, "labels"):
                raise unknown_name(f"field of {self.source}", name, (*self.fields, "labels"))
        return (*_ALWAYS, *(name for name in fields if name not in _ALWAYS))

    def _read(self, rows: IntArray, wanted: Sequence[str]) -> Frames:
        values: dict[str, Any] = {
            name: self._values(name, rows) for name in wanted if name != "labels"
        }
        keys = self.labels if "labels" in wanted else ()
        info = {key: str(self.attributes[key]) for key in _INFO_KEYS if key in self.attributes}
        return Frames(
            numbers=self.numbers,
            masses=self.masses,
            pbc=self.pbc,
            **values,
            labels={key: tuple(self.readers[f"label {key}"].rows(rows)) for key in keys},
            info={**self.attributes.get("info", {}), **info},
            source=self.source,
            source_index=rows,
        )

    def _values(self, name: str, rows: IntArray) -> FloatArray | IntArray:
        integer = self.record.fields[name].layout.dtype == "int64"
        return np.asarray(self.readers[name].rows(rows, np.int64 if integer else np.float64))


class _LazyArrays(Mapping[str, npt.NDArray[Any]]):
    """Arrays of a trajectory, read when looked up."""

    def __init__(self, readers: Mapping[str, ArrayReader]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        reader = self._readers[name]
        return np.asarray(reader.rows(np.arange(reader.record.rows)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def _reopened(location: str, commit: Commit) -> Store:
    return Store(resolve(location), commit)


def _reopened_trajectory(location: str, record: TrajectoryRecord) -> Trajectory:
    return Trajectory(resolve(location), record)
