"""`Frames`: atoms through time, the one core type.

The same type holds ab initio frames, single structures and MD run with a candidate, so that every
observable is written once. Symbols used in all docstrings: T frames, N atoms. Units: Å, eV, fs,
amu. Signs and conventions are ASE's: cell vectors are rows, tensile stress is positive.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Value of the entry `stress_components` of `info` where only the trace of the stress is the
# potential's: CP2K's MD stress without the velocities that would take all of its kinetic part away.
MEAN_STRESS_ONLY = "mean pressure exact; deviator kinetic-contaminated"
# Arrays with one entry a frame; slicing, concatenation and digests walk this table.
_PER_FRAME = ("positions", "cell", "energy", "forces", "stress", "velocities", "step", "time_fs")


@dataclass(frozen=True, eq=False)
class Frames:
    """T frames of the same N atoms in the same order.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        positions: Cartesian positions in Å, shape (T, N, 3); may lie outside the cell.
        cell: Cell vectors as rows in Å, shape (T, 3, 3).
        pbc: Periodicity along the three cell vectors, shape (3,).
        masses: Atomic masses in amu, shape (N,). Not always the natural ones: the published AIMD
            moves deuterium.
        energy: Total potential energy in eV, float64, shape (T,), or None where not given.
        forces: Forces in eV/Å, shape (T, N, 3), or None.
        stress: Potential part of the stress in eV/Å³, tension positive, shape (T, 3, 3), or None.
            A component that the source did not give is NaN.
        velocities: Velocities in Å/fs, shape (T, N, 3), or None.
        step: MD step number, shape (T,), or None.
        time_fs: Time in fs, shape (T,), or None.
        labels: Text that differs from frame to frame (`name`, `phase`, …): key -> T strings.
        info: Text that holds for all frames (`level_of_theory`, `stress_components`, …).
        source: Where the frames come from, for messages.
        source_index: Number of each frame in its source, shape (T,), for messages.
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: npt.NDArray[np.bool_]
    masses: FloatArray
    energy: FloatArray | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    velocities: FloatArray | None = None
    step: IntArray | None = None
    time_fs: FloatArray | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)
    source: str = "memory"
    source_index: IntArray | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)

    # -- size and access --------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of frames T."""
        return len(self.positions)

    @property
    def n_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.numbers)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbol of each atom."""
        from ase.data import chemical_symbols

        return tuple(chemical_symbols[z] for z in self.numbers)

    @property
    def formula(self) -> str:
        """Hill formula, for instance C96H96N64Zn16."""
        from ase.formula import Formula

        return str(Formula.from_list(list(self.symbols)).convert("hill"))

    @property
    def volume(self) -> FloatArray:
        """Cell volume of each frame in Å³, shape (T,)."""
        return np.asarray(np.abs(np.linalg.det(self.cell)), dtype=float)

    def __getitem__(self, index: int | slice | Sequence[int] | IntArray) -> Frames:
        """Frames at `index`; an integer gives one frame, still with the frame axis."""
        if isinstance(index, int | np.integer):
            index = [int(index)]
        rows = np.arange(len(self))[index]
        arrays: dict[str, Any] = {name: _rows(getattr(self, name), rows) for name in _PER_FRAME}
        return dataclasses.replace(
            self,
            **arrays,
            labels={key: tuple(texts[i] for i in rows) for key, texts in self.labels.items()},
            source_index=_rows(self.source_index, rows),
        )

    def chunks(self, size: int) -> Iterator[Frames]:
        """Consecutive pieces of at most `size` frames."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def where(self, row: int) -> str:
        """Words that name one frame in a message: its name if it has one, its number, its file."""
        number = row if self.source_index is None else int(self.source_index[row])
        name = self.labels.get("name", ("",) * len(self))[row]
        return f"frame {number}{f' ({name})' if name else ''} of {self.source}"

    def digest(self) -> str:
        """sha256 of atoms, positions, cells, reference values, labels: what a score depends on."""
        digest = hashlib.sha256()
        for name in ("numbers", "pbc", *_PER_FRAME):
            array = getattr(self, name)
            if array is not None:
                digest.update(f"{name}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr(sorted(self.labels.items())).encode())
        return digest.hexdigest()

    # -- ASE ----------------------------------------------------------------------------------

    @classmethod
    def from_ase(cls, atoms: Atoms | Sequence[Atoms], *, source: str = "memory") -> Frames:
        """Frames from ASE structures that all hold the same atoms in the same order.

        Energy, forces and stress come from an attached `SinglePointCalculator`, as ASE's readers
        leave them; a property must be there in all structures or in none.

        Raises:
            DataError: no structures, atoms that differ, or a property that only some have.
        """
        from zifbench.ase_io import frames_from_ase

        return frames_from_ase(atoms, source=source)

    def to_ase(self) -> list[Atoms]:
        """One ASE structure a frame, with the reference values in a `SinglePointCalculator`."""
        from zifbench.ase_io import frames_to_ase

        return frames_to_ase(self)


def cell_heights(cell: FloatArray) -> FloatArray:
    """Distances between opposite faces of each cell in Å, shape (..., 3) for cells (..., 3, 3).

    h_k = V / |a_l × a_m|; zero for a flat cell.
    """
    cross = np.cross(np.roll(cell, -1, axis=-2), np.roll(cell, -2, axis=-2))
    area = np.linalg.norm(cross, axis=-1)
    volume = np.abs(np.linalg.det(cell))[..., None]
    heights: FloatArray = np.divide(volume, area, out=np.zeros_like(area), where=area > 0)
    return heights


def _rows(array: npt.NDArray[Any] | None, rows: IntArray) -> npt.NDArray[Any] | None:
    return None if array is None else array[rows]


def _check_shapes(frames: Frames) -> None:
    """Refuse arrays that do not fit together: one table of shapes, one message."""
    if frames.positions.ndim != 3 or frames.positions.shape[2] != 3:
        raise DataError(
            f"positions: shape {frames.positions.shape}, wanted (frames, atoms, 3), "
            f"in {frames.source}"
        )
    t, n = frames.positions.shape[:2]
    wanted: dict[str, tuple[int, ...]] = {
        "numbers": (n,),
        "masses": (n,),
        "pbc": (3,),
        "cell": (t, 3, 3),
        "energy": (t,),
        "forces": (t, n, 3),
        "stress": (t, 3, 3),
        "velocities": (t, n, 3),
        "step": (t,),
        "time_fs": (t,),
        "source_index": (t,),
    }
    for name, shape in wanted.items():
        array = getattr(frames, name)
        if array is not None and array.shape != shape:
            raise DataError(f"{name}: shape {array.shape}, wanted {shape}, in {frames.source}")
    for key, texts in frames.labels.items():
        if len(texts) != t:
            raise DataError(f"label {key}: {len(texts)} texts, wanted {t}, in {frames.source}")


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Join frames of the same atoms, one part after the other.

    Raises:
        DataError: nothing to join, atoms or periodicity that differ, or an array or label that
            only some of the parts have.
    """
    if not parts:
        raise DataError("no frames to join")
    first = parts[0]
    for other in parts[1:]:
        _check_joinable(first, other)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*_PER_FRAME, "source_index")
        if getattr(first, name) is not None
    }
    labels = {key: sum((part.labels[key] for part in parts), ()) for key in first.labels}
    return dataclasses.replace(first, **arrays, labels=labels)


def _check_joinable(first: Frames, other: Frames) -> None:
    same_atoms = np.array_equal(first.numbers, other.numbers)
    if not same_atoms or not np.array_equal(first.pbc, other.pbc):
        raise DataError(f"frames of {other.source} hold other atoms than those of {first.source}")
    for name in (*_PER_FRAME, "source_index"):
        if (getattr(first, name) is None) != (getattr(other, name) is None):
            raise DataError(f"only one of {first.source} and {other.source} has {name}")
    if set(first.labels) != set(other.labels):
        raise DataError(f"{first.source} and {other.source} carry different labels")
