"""npz in the layout that the published models were trained from, with nequip 0.5.

    Z (T, N)   energy (T,)   force (T, N, 3)   positions (T, N, 3)   stress (T, 3, 3)
    cell (T, 3, 3)   pbc (T, 3)

These are the keys of `key_mapping` in the published yaml, which names no fixed field, so every
array has a row a frame. (The reader of nequip ≥ 0.7 wants one Z for all frames: use lmdb there.)
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.export.selection import Selection
from zifbench.errors import DataError
from zifbench.frames import Frames

Array = npt.NDArray[Any]

# Key of the file -> array of `Frames`; those with a field are left out where the store lacks it.
_FIELDS: Mapping[str, str] = {
    "energy": "energy",
    "force": "forces",
    "positions": "positions",
    "stress": "stress",
    "cell": "cell",
}
_CONSTANTS: Mapping[str, Callable[[Frames], Array]] = {
    "Z": lambda frames: frames.numbers,
    "pbc": lambda frames: frames.pbc,
}
ABOUT = "zifbench"  # a text array of JSON: store, version, split, subset


def write_npz(selection: Selection, directory: Path) -> None:
    """Write `SUBSET.npz` for each subset; the store is read once for each array.

    Raises:
        DataError: a subset with several compositions, which one npz cannot hold.
    """
    for subset in selection.subsets:
        _check(selection, subset)
    for subset in selection.subsets:
        with zipfile.ZipFile(directory / f"{subset}.npz", "w", allowZip64=True) as archive:
            for key, field in _FIELDS.items():
                if all(field in t.fields for t in selection.trajectories(subset)):
                    _write_member(archive, key, selection, subset, field)
            for key, constant in _CONSTANTS.items():
                _write_constant(archive, key, selection, subset, constant)
            with archive.open(f"{ABOUT}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(json.dumps(selection.about(subset))))
        selection.advance(selection.count(subset))


def _check(selection: Selection, subset: str) -> None:
    first, *others = selection.trajectories(subset)
    for other in others:
        if not np.array_equal(first.numbers, other.numbers):
            raise DataError(
                f"npz holds one composition, and {subset} has frames of {first.name} and of "
                f"{other.name}, whose atoms or their order differ; take lmdb or extxyz"
            )


def _write_member(
    archive: zipfile.ZipFile, key: str, selection: Selection, subset: str, field: str
) -> None:
    """One array, chunk by chunk."""
    rows = (getattr(f, field) for _, f in selection.chunks(subset, fields=("positions", field)))
    first = next(rows)
    _write_rows(archive, key, (selection.count(subset), *first.shape[1:]), first.dtype, first, rows)


def _write_constant(
    archive: zipfile.ZipFile,
    key: str,
    selection: Selection,
    subset: str,
    constant: Callable[[Frames], Array],
) -> None:
    """The same row for every frame."""
    frames = next(f for _, f in selection.chunks(subset, fields=("positions",)))
    row = constant(frames)[None]
    n = selection.count(subset)
    _write_rows(archive, key, (n, *row.shape[1:]), row.dtype, row, (row for _ in range(n - 1)))


def _write_rows(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    first: Array,
    rows: Any,
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_2_0(member, header)
        member.write(np.ascontiguousarray(first).tobytes())
        for array in rows:
            member.write(np.ascontiguousarray(array).tobytes())
