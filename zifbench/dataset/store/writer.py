"""Writing a store: `StoreWriter`, `write_store`."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from zifbench.dataset.store.array_writer import flush_folder, write_durably
from zifbench.dataset.store.commit import ArrayRecord, Commit, TrajectoryRecord, parse_commit
from zifbench.dataset.store.layout import (
    COMMIT_FILE,
    FIELDS,
    LOCK_FILE,
    NEXT_FILE,
    field_layout,
    label_layout,
    safe_name,
)
from zifbench.dataset.store.leftovers import leftovers
from zifbench.dataset.store.locations import LocalFiles, read_record
from zifbench.dataset.store.trajectory_writer import TrajectoryWriter, merged_attributes
from zifbench.errors import DataError, unknown_name
from zifbench.frames import Frames


class StoreWriter:
    """Creates a store or appends to one; a context manager that commits when it is left.

    One writer at a time: a second one is refused. Nothing is visible to readers before a commit,
    and a writer that is killed leaves the last committed state.

    Args:
        path: Directory of the store, new, empty or a store.
        attributes: What holds for all of it (licence, citation, …), added to what is there.
        exact: Store all floats of new trajectories as float64.

    Raises:
        DataError: the directory holds something else, or another writer is at work.
    """

    def __init__(
        self, path: Path, *, attributes: Mapping[str, Any] | None = None, exact: bool = False
    ) -> None:
        self.path = Path(path)
        self._exact = exact
        self._writers: dict[str, TrajectoryWriter] = {}
        self._check_place()
        self._lock = self._locked()
        try:
            self._commit = self._open()
            if attributes:
                self.set_attributes(**attributes)
        except BaseException:
            self.close()
            raise

    # -- what is there --------------------------------------------------------------------------

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the store, committed or about to be."""
        return self._commit.attributes

    @property
    def version(self) -> str:
        """Version of the committed state."""
        return self._commit.version()

    def n_committed(self, name: str) -> int:
        """Committed frames of a trajectory; 0 if it does not exist."""
        record = self._commit.trajectories.get(name)
        return record.n_frames if record else 0

    def set_attributes(self, **attributes: Any) -> None:
        """Add or replace attributes of the store, with the next commit."""
        merged = merged_attributes(self._commit.attributes, attributes, str(self.path))
        self._commit = dataclasses.replace(self._commit, attributes=merged)

    # -- trajectories -----------------------------------------------------------------------------

    def trajectory(
        self,
        name: str,
        like: Frames,
        *,
        fields: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        dtypes: Mapping[str, str] | None = None,
        arrays: Mapping[str, npt.ArrayLike] | None = None,
    ) -> TrajectoryWriter:
        """Create a trajectory, or reopen one to append.

        Args:
            name: Any text that is not empty.
            like: Frames that show atoms, fields and labels; they are not appended.
            fields: What to store of `like`, and of all that is appended; the other fields are left
                out. By default all of it is stored, and frames that have more are refused.
            attributes: Thermodynamic state, level of theory, source, …; added to what is there.
            dtypes: Type on disk of some fields, instead of `FIELDS` or, with `exact`, float64.
            arrays: Arrays that belong to the whole trajectory.

        Raises:
            DataError: reopened with other atoms, fields, labels or types.
        """
        if name in self._writers:
            raise DataError(f"trajectory {name!r} of {self.path} is already open in this writer")
        if not name or len(safe_name(name)) > 200:
            raise DataError(f"{name[:50]!r} is no name of a trajectory; wanted 1 to 200 characters")
        new = self._described(name, like, fields, dtypes or {})
        old = self._commit.trajectories.get(name)
        if old is not None:
            if dtypes is None:
                new = _with_types_of(new, old)
            _check_same(old, new, self.path)
        writer = TrajectoryWriter(self, old or new, some_fields=fields is not None)
        writer.set_attributes(**(attributes or {}))
        for key, values in (arrays or {}).items():
            writer.set_array(key, values)
        self._writers[name] = writer
        return writer

    def _described(
        self, name: str, like: Frames, fields: Sequence[str] | None, dtypes: Mapping[str, str]
    ) -> TrajectoryRecord:
        """The record of an empty trajectory for such frames."""
        present = [key for key in FIELDS if getattr(like, key) is not None]
        for key in fields or ():
            if key not in present:
                raise unknown_name(f"field of {like.source}", key, present)
        for key, dtype in dtypes.items():
            wanted = ("int64",) if key == "step" else ("float32", "float64")
            if key not in FIELDS or dtype not in wanted:
                raise DataError(f"dtypes of trajectory {name!r}: {key} cannot be {dtype}")
        kept = [k for k in present if fields is None or k in (*fields, "positions", "cell")]
        folder = safe_name(name)
        return TrajectoryRecord(
            name=name,
            n_frames=0,
            numbers=tuple(like.numbers.tolist()),
            masses=tuple(like.masses.tolist()),
            pbc=tuple(like.pbc.tolist()),
            attributes={"info": dict(like.info)} if like.info else {},
            fields={
                k: ArrayRecord(field_layout(folder, k, like.n_atoms, self._dtype(k, dtypes)))
                for k in kept
            },
            labels={k: ArrayRecord(label_layout(folder, k)) for k in sorted(like.labels)},
            arrays={},
        )

    def _dtype(self, field: str, dtypes: Mapping[str, str]) -> str:
        usual = FIELDS[field].dtype
        return dtypes.get(field, "float64" if self._exact and usual == "float32" else usual)

    # -- commits ----------------------------------------------------------------------------------

    def commit(self) -> str:
        """Commit all open trajectories; returns the version."""
        for writer in self._writers.values():
            self._commit = _with_trajectory(self._commit, writer.flush())
        self.write_commit()
        return self.version

    def commit_trajectory(self, record: TrajectoryRecord) -> None:
        """Make the state of one trajectory the committed one; its shards are already on disk."""
        self._commit = _with_trajectory(self._commit, record)
        self.write_commit()

    def write_commit(self) -> None:
        """Make the state in memory the committed one.

        The new record is written beside the old one, then what changed of the other metadata, then
        it takes the old one's place. Stopped in between, the old record holds, and `verify` finds
        in the new one why some of the metadata is ahead.
        """
        data = self._commit.text().encode()
        path = self.path / COMMIT_FILE
        if path.is_file() and path.read_bytes() == data:
            return
        write_durably(self.path / NEXT_FILE, data)
        self._write_metadata()
        (self.path / NEXT_FILE).replace(path)
        flush_folder(self.path)

    def _write_metadata(self) -> None:
        for name, text in self._commit.metadata_files().items():
            path, data = self.path / name, text.encode()
            if not path.is_file() or path.read_bytes() != data:
                write_durably(path, data)

    def close(self) -> None:
        """Give up the lock; what was not committed is lost."""
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Interrupted between two frames, what is complete is kept; inside one, the last commit is.
        try:
            if not any(writer.broken for writer in self._writers.values()):
                self.commit()
        except OSError:
            if error is None:
                raise
        finally:
            self.close()

    # -- opening ----------------------------------------------------------------------------------

    def _check_place(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path} is a file; a store is written to a directory")
        self.path.mkdir(parents=True, exist_ok=True)
        ours = {COMMIT_FILE, NEXT_FILE, LOCK_FILE}
        names = {path.name for path in self.path.iterdir()}
        if names and not names & ours:
            raise DataError(
                f"{self.path} holds other files and no store; give a new or empty directory"
            )
        # Only the first commit makes folders: without a record, the next writer would remove all.
        folders = [path.name for path in self.path.iterdir() if path.is_dir()]
        if folders and not (self.path / COMMIT_FILE).is_file():
            raise DataError(
                f"{self.path} holds {folders[0]} and no {COMMIT_FILE}, which says what is "
                "committed; restore it from a copy of this version, or give another directory"
            )

    def _locked(self) -> int:
        """A lock of the system: it goes when the process does, however that ends."""
        number = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(number)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise DataError(
                f"another process is writing to {self.path}; wait until it has finished"
            ) from error
        return number

    def _open(self) -> Commit:
        if not (self.path / COMMIT_FILE).is_file():
            self._commit = Commit()
            self.write_commit()
            return self._commit
        commit = parse_commit(read_record(LocalFiles(self.path)), str(self.path))
        self._commit = commit
        self._write_metadata()
        self._remove_uncommitted(commit)
        (self.path / NEXT_FILE).unlink(missing_ok=True)  # last, as it says what may be removed
        return commit

    def _remove_uncommitted(self, commit: Commit) -> None:
        """Remove what a killed writer left: shards, metadata and temporary files of ours."""
        for path in leftovers(self.path, commit):
            path.unlink()
            with contextlib.suppress(OSError):  # until the first folder that is not empty
                for folder in path.relative_to(self.path).parents:
                    (self.path / folder).rmdir()


def _with_trajectory(commit: Commit, record: TrajectoryRecord) -> Commit:
    return dataclasses.replace(commit, trajectories={**commit.trajectories, record.name: record})


def _with_types_of(new: TrajectoryRecord, old: TrajectoryRecord) -> TrajectoryRecord:
    """Fields in the types that the trajectory already has."""
    fields = {
        name: ArrayRecord(old.fields[name].layout) if name in old.fields else record
        for name, record in new.fields.items()
    }
    return dataclasses.replace(new, fields=fields)


def _check_same(old: TrajectoryRecord, new: TrajectoryRecord, path: Path) -> None:
    """Refuse to append frames of another kind."""
    for what in ("numbers", "masses", "pbc"):
        if getattr(old, what) != getattr(new, what):
            raise DataError(
                f"trajectory {old.name!r} of {path} has other {what}; use another name for this one"
            )
    for what in ("fields", "labels"):
        have = {k: r.layout.dtype for k, r in getattr(old, what).items()}
        got = {k: r.layout.dtype for k, r in getattr(new, what).items()}
        if have != got:
            raise DataError(
                f"trajectory {old.name!r} of {path} stores the {what} {_listed(have)}; asked for "
                f"{_listed(got)}: use another name for this one"
            )


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in types.items()) or "none"


def write_store(
    path: Path,
    trajectories: Mapping[str, Frames],
    *,
    attributes: Mapping[str, Any] | None = None,
    exact: bool = False,
) -> str:
    """A new store, or an extended one, from frames in memory; returns its version.

    Args:
        path: Directory of the store.
        trajectories: Frames by name of the trajectory; appended where it exists already.
        attributes: What holds for all of it.
        exact: Store all floats as float64.
    """
    with StoreWriter(path, attributes=attributes, exact=exact) as store:
        for name, frames in trajectories.items():
            store.trajectory(name, frames).append(frames)
    return store.version
