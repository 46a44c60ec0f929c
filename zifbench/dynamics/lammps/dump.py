"""What LAMMPS writes while it runs: dumps, frame by frame, and tables of energy and pressure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from zifbench.dynamics.lammps.cells import cell_of
from zifbench.errors import DataError
from zifbench.frames import FloatArray, IntArray

_HEADER = ("ITEM: TIMESTEP", "", "ITEM: NUMBER OF ATOMS", "", "ITEM: BOX BOUNDS xy xz yz")
_COLUMNS = "ITEM: ATOMS id type xu yu zu vx vy vz"
_N_COLUMNS = 8
_N_HEADER = 9  # lines before the atoms
_TABLE_COLUMNS = 9
_PER_PS_IN_PER_FS = 1.0e-3


@dataclass(frozen=True)
class Snapshot:
    """One frame of a dump, in the frame of LAMMPS.

    Attributes:
        step: Step of the stage.
        cell: Lower triangular, in Å, shape (3, 3).
        types: Type of each atom in the order of their ids, shape (N,).
        positions: Unwrapped, from the corner of the cell, in Å, shape (N, 3).
        velocities: In Å/fs, shape (N, 3).
    """

    step: int
    cell: FloatArray
    types: IntArray
    positions: FloatArray
    velocities: FloatArray


class CutError(DataError):
    """A dump that ends within a frame: LAMMPS was stopped there, or is writing it."""


class LostAtomsError(DataError):
    """A frame with fewer atoms than the one before; the simulation blew up.

    Args:
        step: Its step.
        reason: In words.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


def read_dump(path: Path, n_atoms: int) -> Iterator[Snapshot]:
    """Frames one by one.

    Args:
        path: A dump of `script.stage_script`.
        n_atoms: Atoms that it should hold.

    Raises:
        CutError: after the whole frames, if the last one is cut.
        LostAtomsError: a frame that has fewer atoms than those before.
        DataError: another kind of file, or other atoms.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        begun = False
        while header := list(islice(file, _N_HEADER)):
            step, n_found, cell, origin = _parsed(header, path)
            if begun and n_found < n_atoms:
                raise LostAtomsError(step, f"LAMMPS lost {n_atoms - n_found} of {n_atoms} atoms")
            if n_found != n_atoms:
                raise DataError(
                    f"{path}: {n_found} atoms at step {step}, wanted {n_atoms}; is it of another "
                    "replica?"
                )
            rows = _rows(file, path, step, n_atoms)
            yield Snapshot(
                step=step,
                cell=cell,
                types=rows[:, 1].astype(np.int64),
                positions=rows[:, 2:5] - origin,
                velocities=rows[:, 5:8] * _PER_PS_IN_PER_FS,
            )
            begun = True


def _parsed(header: list[str], path: Path) -> tuple[int, int, FloatArray, FloatArray]:
    """Step, number of atoms, cell and its corner, from the lines before the atoms."""
    if len(header) < _N_HEADER or not header[-1].endswith("\n"):
        raise CutError(f"{path}: its last frame is cut within its header")
    words = [line.rstrip("\n") for line in header]
    fits = all(line.startswith(want) for line, want in zip(words, _HEADER, strict=False) if want)
    if not fits or words[-1].rstrip() != _COLUMNS:
        raise DataError(f"{path} is no dump of a zifbench deck: a frame begins with {words[0]!r}")
    try:
        bounds = np.array([[float(x) for x in line.split()] for line in words[5:8]])
        return int(words[1]), int(words[3]), *_box(bounds)
    except ValueError as error:
        raise DataError(f"{path}: the header of a frame is damaged ({error})") from error


def _rows(file: TextIO, path: Path, step: int, n_atoms: int) -> FloatArray:
    lines = list(islice(file, n_atoms))
    if len(lines) < n_atoms or not lines[-1].endswith("\n"):
        raise CutError(f"{path}: its last frame, step {step}, is cut")
    try:
        rows = np.array(" ".join(lines).split(), dtype=float).reshape(n_atoms, _N_COLUMNS)
    except ValueError as error:
        raise DataError(f"{path}: step {step} is damaged ({error})") from error
    if not np.array_equal(rows[:, 0], np.arange(1, n_atoms + 1)):
        raise DataError(f"{path}: atoms of step {step} are not 1 to {n_atoms} in order")
    return rows


def _box(bounds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cell and its corner; LAMMPS gives the box around the tilted cell."""
    (x0, x1, xy), (y0, y1, xz), (z0, z1, yz) = bounds
    tilts = (0.0, xy, xz, xy + xz)
    x0, x1 = x0 - min(tilts), x1 - max(tilts)
    y0, y1 = y0 - min(0.0, yz), y1 - max(0.0, yz)
    return cell_of(x1 - x0, y1 - y0, z1 - z0, xy, xz, yz), np.array([x0, y0, z0])


@dataclass(frozen=True)
class Table:
    """Energies and pressures by step.

    Attributes:
        title: First line, without the comment sign.
        rows: Step -> potential energy and kinetic energy in eV, and the potential part of the
            pressure in bar: xx, yy, zz, xy, xz, yz.
    """

    title: str
    rows: dict[int, tuple[float, ...]]


def read_table(path: Path) -> Table:
    """A table; a last line that is cut is left out.

    Raises:
        DataError: something else.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    whole, _, _ = text.rpartition("\n")
    title, *lines = whole.split("\n") if whole else [""]
    rows = {}
    for line in lines:
        words = line.split()
        if len(words) != _TABLE_COLUMNS:
            raise DataError(f"{path}: {line[:60]!r} is no line of a table of a zifbench deck")
        try:
            step, *values = (int(words[0]), *map(float, words[1:]))
        except ValueError as error:
            raise DataError(f"{path}: {line[:60]!r} is damaged ({error})") from error
        rows[int(step)] = tuple(values)
    return Table(title.removeprefix("# "), rows)
