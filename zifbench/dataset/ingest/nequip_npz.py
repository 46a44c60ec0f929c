"""The npz layout of nequip 0.5: one array for each quantity, read a piece at a time.

An npz is a zip of npy files; each is read through the zip in order, so that memory stays bounded
whether it is compressed or not, and the zip's own checksum is tested.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zifbench.ase_io import full_stress
from zifbench.dataset.ingest.source import IngestReport, Options
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, Frames, IntArray

# What it is -> the names under which nequip's inputs and papers store it.
_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "numbers": ("Z", "z", "atomic_numbers"),
        "positions": ("R", "positions", "pos", "coords"),
        "energy": ("energy", "E", "total_energy"),
        "forces": ("force", "forces", "F"),
        "stress": ("stress",),
        "cell": ("cell", "lattice", "lattices"),
        "pbc": ("pbc",),
    }
)
# Shape of one frame of each quantity; cells and pbc may also be given once for all frames.
_CHUNK_VALUES = 1 << 20


def is_npz(path: Path) -> bool:
    """Whether a file is a zip of arrays with atoms and positions under names of this layout."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    return all(names & set(_KEYS[kind]) for kind in ("numbers", "positions"))


@dataclass(frozen=True)
class _Member:
    """One array in the zip."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self, wanted: IntArray, per_read: int) -> Iterator[npt.NDArray[Any]]:
        """Rising rows, at most `per_read` at a time, reading through the member once."""
        width = int(np.prod(self.shape[1:], dtype=np.int64))
        n_bytes = width * self.dtype.itemsize
        with zipfile.ZipFile(self.path) as archive, archive.open(self.name) as file:
            _header(file, self.path, self.name)
            at = 0
            for first in range(0, len(wanted), per_read):
                rows = wanted[first : first + per_read]
                out = np.empty((len(rows), width), dtype=self.dtype)
                for k, row in enumerate(rows.tolist()):
                    file.seek((row - at) * n_bytes, 1)
                    out[k] = np.frombuffer(_exactly(file, n_bytes, self), dtype=self.dtype)
                    at = row + 1
                yield out.reshape(len(rows), *self.shape[1:])

    def whole(self) -> npt.NDArray[Any]:
        """All of it."""
        with zipfile.ZipFile(self.path) as archive, archive.open(self.name) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _exactly(file: IO[bytes], n_bytes: int, member: _Member) -> bytes:
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise DataError(f"{printable(str(member.path))}: {member.name} is truncated")
    return data


def _header(file: IO[bytes], path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise DataError(
            f"{printable(str(path))}: {name} is npy version {version}, which is not read"
        )
    shape, fortran, dtype = reader(file)
    if fortran and len(shape) > 1:
        raise DataError(f"{printable(str(path))}: {name} is in Fortran order; save it in C order")
    if dtype.hasobject:
        raise DataError(f"{printable(str(path))}: {name} holds Python objects, wanted numbers")
    return shape, dtype


class NpzSource:
    """One npz file."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options

    def trajectories(self) -> list[NpzTrajectory]:
        """One for each composition.

        Raises:
            DataError: arrays whose shapes do not fit together, or damage.
        """
        try:
            members = _members(self._path)
            return _trajectories(self._path, members, self._options)
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{printable(str(self._path))}: damaged ({error})") from error


def _members(path: Path) -> dict[str, _Member]:
    found: dict[str, _Member] = {}
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        for kind, keys in _KEYS.items():
            there = [key for key in keys if key in names]
            if len(there) > 1:
                raise DataError(f"{printable(str(path))}: {kind} under {' and '.join(there)}")
            if there:
                with archive.open(names[there[0]]) as file:
                    shape, dtype = _header(file, path, there[0])
                found[kind] = _Member(path, names[there[0]], shape, dtype)
    return found


def _trajectories(
    path: Path, members: Mapping[str, _Member], options: Options
) -> list[NpzTrajectory]:
    n_frames, n_atoms = _check_shapes(path, members)
    numbers = members["numbers"].whole().astype(np.int64).reshape(-1, n_atoms)
    compositions, group = np.unique(numbers, axis=0, return_inverse=True)
    group = np.broadcast_to(group.reshape(-1), n_frames) if len(numbers) == 1 else group.reshape(-1)
    stem = options.name or path.stem
    names = (
        [stem] if len(compositions) == 1 else [f"{stem}-{k + 1}" for k in range(len(compositions))]
    )
    return [
        NpzTrajectory(path, members, options, name, z, np.flatnonzero(group == k))
        for k, (name, z) in enumerate(zip(names, compositions, strict=True))
    ]


def _check_shapes(path: Path, members: Mapping[str, _Member]) -> tuple[int, int]:
    """T and N of the positions, which all others must have."""
    for kind in ("numbers", "positions", "energy"):
        if kind not in members:
            raise DataError(
                f"{printable(str(path))}: no {kind} (under {', '.join(_KEYS[kind])}); not the npz "
                "layout of nequip"
            )
    shape = members["positions"].shape
    if len(shape) != 3 or shape[2] != 3:
        raise DataError(f"{printable(str(path))}: positions {shape}, wanted (frames, atoms, 3)")
    t, n = shape[:2]
    wanted: dict[str, Sequence[tuple[int, ...]]] = {
        "numbers": [(n,), (t, n), (1, n)],
        "energy": [(t,), (t, 1)],
        "forces": [(t, n, 3)],
        "stress": [(t, 3, 3), (t, 6), (t, 9)],
        "cell": [(3, 3), (1, 3, 3), (t, 3, 3), (t, 9)],
        "pbc": [(3,), (1, 3), (t, 3)],
    }
    for kind, shapes in wanted.items():
        if kind in members and members[kind].shape not in shapes:
            raise DataError(
                f"{printable(str(path))}: {kind} {members[kind].shape}, wanted {shapes[0]}"
            )
    return t, n


class NpzTrajectory:
    """Frames of one composition; see `zifbench.dataset.ingest.source.SourceTrajectory`."""

    exact = False
    arrays: Mapping[str, FloatArray] = {}

    def __init__(
        self,
        path: Path,
        members: Mapping[str, _Member],
        options: Options,
        name: str,
        numbers: IntArray,
        rows: IntArray,
    ) -> None:
        from ase.data import atomic_masses, chemical_symbols

        self._path = path
        self._members = members
        self._numbers = numbers
        self._rows = rows
        self._masses = np.array(
            [options.masses.get(chemical_symbols[z], atomic_masses[z]) for z in numbers]
        )
        self._cell, self._pbc = _fixed_cell(members), _pbc(path, members)
        self.name = name
        self.n_frames = len(rows)
        self.attributes: dict[str, Any] = {
            "source_format": "nequip-npz",
            "source": printable(path.name),
            **options.attributes,
        }
        self.report = IngestReport(files={"frames": printable(path.name)}, n_frames=len(rows))
        # Not its path: the same file elsewhere is the same input, and makes the same store.
        layout = [(kind, m.name, m.shape, m.dtype) for kind, m in sorted(members.items())]
        digest = hashlib.sha256(repr(layout).encode())
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                digest.update(f"{info.filename} {info.file_size} {info.CRC}".encode())
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int = 0) -> Iterator[Frames]:
        """All frames from `start` on; each array is read through once."""
        rows = self._rows[start:]
        if not len(rows):
            return
        size = max(1, _CHUNK_VALUES // (3 * len(self._numbers)))
        kinds = [k for k in ("positions", "energy", "forces", "stress") if k in self._members]
        if self._cell is None:
            kinds.append("cell")
        try:
            streams = [self._members[kind].rows(rows, size) for kind in kinds]
            for k, parts in enumerate(zip(*streams, strict=True)):
                values = dict(zip(kinds, parts, strict=True))
                yield self._frames(rows[k * size : (k + 1) * size], values)
        except zipfile.BadZipFile as error:
            raise DataError(f"{printable(str(self._path))}: damaged ({error})") from error

    def _frames(self, rows: IntArray, values: Mapping[str, npt.NDArray[Any]]) -> Frames:
        t = len(rows)
        numbers = {key: value.astype(float) for key, value in values.items()}
        stress = numbers.get("stress")
        if stress is not None:
            stress = full_stress(stress if stress.shape[1:] == (6,) else stress.reshape(t, 3, 3))
        cell = np.repeat(self._cell[None], t, axis=0) if self._cell is not None else numbers["cell"]
        return Frames(
            numbers=self._numbers,
            masses=self._masses,
            pbc=self._pbc,
            positions=numbers["positions"],
            cell=cell.reshape(t, 3, 3),
            energy=numbers["energy"].reshape(t),
            forces=numbers.get("forces"),
            stress=stress,
            source=printable(self._path.name),
            source_index=rows,
        )


def _fixed_cell(members: Mapping[str, _Member]) -> FloatArray | None:
    """A cell given once for all frames, or zeros where there is none."""
    member = members.get("cell")
    if member is None:
        return np.zeros((3, 3))
    if member.shape in ((3, 3), (1, 3, 3)):
        return member.whole().astype(float).reshape(3, 3)
    return None


def _pbc(path: Path, members: Mapping[str, _Member]) -> npt.NDArray[np.bool_]:
    member = members.get("pbc")
    if member is None:
        return np.full(3, "cell" in members)
    found = np.unique(member.whole().astype(bool).reshape(-1, 3), axis=0)
    if len(found) != 1:
        raise DataError(f"{printable(str(path))}: pbc differs between frames; store them apart")
    return np.asarray(found[0])
