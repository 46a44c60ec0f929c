"""LMDB as nequip ≥ 0.7 trains from it: a pickled `AtomicDataDict` a frame, with the keys "0", "1".

A record is a dictionary of torch tensors: pos, cell, pbc, atomic_numbers, num_atoms, total_energy,
forces, stress, as `nequip.data.from_dict` shapes them. The file is written without torch: a tensor
is pickled as the call `torch.from_numpy(array)`, which makes it when nequip reads it. Like every
LMDB of nequip, the file runs code when it is read, so take it from whom you trust only.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.export.selection import Selection
from zifbench.errors import MissingDependencyError, ResultError
from zifbench.frames import Frames

_PROTOCOL = 4
_BATCH = 1000  # records of one transaction
_PAGE_ROOM = 3  # address space for each byte of a record: pages, their rest, the tree


class _Module:
    """Pickled as the import of a module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.name,)


class _FromNumpy:
    """Pickled as `torch.from_numpy`."""

    def __call__(self, array: npt.NDArray[Any]) -> None:
        """Never called: pickle wants a callable."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_Module("torch"), "from_numpy")


_FROM_NUMPY = _FromNumpy()


class _Tensor:
    """Pickled as a tensor."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = np.ascontiguousarray(array)

    def __reduce__(self) -> tuple[Any, ...]:
        return _FROM_NUMPY, (self.array,)


def write_lmdb(selection: Selection, directory: Path) -> None:
    """Write `SUBSET.lmdb` for each subset.

    Raises:
        MissingDependencyError: the package lmdb is not there.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError(
            "the package lmdb is not installed; run: pip install lmdb"
        ) from error

    try:
        _write(selection, directory, lmdb)
    except lmdb.Error as error:
        raise ResultError(
            f"{directory.parent}: LMDB cannot write there ({error}); is the disk full?"
        ) from error


def _write(selection: Selection, directory: Path, lmdb: Any) -> None:
    for subset in selection.subsets:
        per_frame = max(len(_first_record(selection, subset)), 4096)
        size = (selection.count(subset) + 1024) * per_frame * _PAGE_ROOM
        path = directory / f"{subset}.lmdb"
        # Written under a temporary name as a whole, so that no commit needs to reach the disk
        # before the last one.
        with contextlib.closing(
            lmdb.open(str(path), map_size=size, subdir=False, sync=False, lock=False)
        ) as database:
            _fill(database, selection, subset)
            database.sync(True)


def _fill(database: Any, selection: Selection, subset: str) -> None:
    n_atoms: list[int] = []
    transaction = database.begin(write=True)
    for number, (n, record) in enumerate(_records(selection, subset)):
        transaction.put(str(number).encode(), record)
        n_atoms.append(n)
        if number % _BATCH == _BATCH - 1:
            transaction.commit()
            transaction = database.begin(write=True)
    metadata = {
        "num_atoms_per_entry": np.array(n_atoms),
        "num_frames": len(n_atoms),
        "zifbench": selection.about(subset),
    }
    transaction.put(b"__metadata__", pickle.dumps(metadata, protocol=_PROTOCOL))
    transaction.commit()


def _records(selection: Selection, subset: str) -> Iterator[tuple[int, bytes]]:
    for _, frames in selection.chunks(subset):
        for row in range(len(frames)):
            yield frames.n_atoms, _record(frames, row)
        selection.advance(len(frames))


def _first_record(selection: Selection, subset: str) -> bytes:
    """A record of the largest cell."""
    largest = max(selection.trajectories(subset), key=lambda trajectory: trajectory.n_atoms)
    return _record(largest.read(selection.subsets[subset][largest.name][:1]), 0)


def _record(frames: Frames, row: int) -> bytes:
    """One frame as nequip holds it: a leading axis of one frame on whatever is not per atom."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "pos": frames.positions[row],
        "cell": frames.cell[row][None],
        "pbc": frames.pbc[None],
        "atomic_numbers": frames.numbers,
        "num_atoms": np.array([frames.n_atoms]),
    }
    if frames.energy is not None:
        arrays["total_energy"] = frames.energy[row : row + 1, None]
    if frames.forces is not None:
        arrays["forces"] = frames.forces[row]
    if frames.stress is not None:
        arrays["stress"] = frames.stress[row][None]
    return pickle.dumps({key: _Tensor(array) for key, array in arrays.items()}, protocol=_PROTOCOL)
