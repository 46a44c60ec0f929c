"""CP2K vibrational analysis: one labelled frame for each displacement, and the Hessian.

`PROJECT.out` (or `.out.bz2`) holds a block of energy and forces for each ± displacement of each
atom along each axis; `PROJECT.in` beside it holds the cell, the atoms and the displacement. All
numbers are in atomic units; forces are forces, not gradients. The Hessian is their central
difference, H_ij = −[F_j(+i) − F_j(−i)]/2DX: the matrix that the file itself prints is another one
(weighted with masses, transposed).
"""

from __future__ import annotations

import bz2
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zifbench.dataset.ingest.cp2k_inputs import element_of, mass_of, read_inputs, sections
from zifbench.dataset.ingest.source import Check, IngestReport, Options
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, Frames, IntArray
from zifbench.units import BOHR_A, HARTREE_EV, HARTREE_PER_BOHR_IN_EV_PER_A

_BLOCK = re.compile(r"Energy and Forces for particle:\s*(\d+)\s+coordinate: ([XYZ]) ([-+]) D[XYZ]")
_FREQUENCY = "VIB|Frequency (cm^-1)"
_MARK = b"VIBRATIONAL_ANALYSIS"
_HEAD_BYTES = 1 << 16
_CHUNK = 64
_FALSE = frozenset({"F", "FALSE", ".FALSE.", "NO", "N", "OFF"})


@dataclass(frozen=True)
class Vibrations:
    """What a vibrational analysis holds.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        masses: Masses in amu, shape (N,).
        positions: Positions at the minimum in Å, shape (N, 3).
        cell: Cell vectors as rows in Å, shape (3, 3).
        displacement_A: Length of each displacement.
        particle: Displaced atom of each block, shape (6N,).
        axis: Its axis, shape (6N,).
        sign: +1 or −1, shape (6N,).
        energy: Energies in eV, shape (6N,).
        forces: Forces in eV/Å, shape (6N, N, 3).
        wavenumbers_per_cm: Frequencies that the file prints.
        version: CP2K's version.
    """

    numbers: IntArray
    masses: FloatArray
    positions: FloatArray
    cell: FloatArray
    displacement_A: float
    particle: IntArray
    axis: IntArray
    sign: IntArray
    energy: FloatArray
    forces: FloatArray
    wavenumbers_per_cm: FloatArray
    version: str

    def displaced(self, sign: int) -> FloatArray:
        """Forces of all displacements of one sign, atom by atom and axis by axis, (3N, N, 3)."""
        chosen = np.flatnonzero(self.sign == sign)
        order = np.lexsort((self.axis[chosen], self.particle[chosen]))
        return self.forces[chosen[order]]

    def hessian(self) -> FloatArray:
        """Second derivatives in eV/Å², symmetric, shape (3N, 3N)."""
        n = 3 * len(self.numbers)
        difference = (self.displaced(+1) - self.displaced(-1)).reshape(n, n)
        matrix = -difference / (2.0 * self.displacement_A)
        symmetric: FloatArray = 0.5 * (matrix + matrix.T)
        return symmetric


def is_vibrations(path: Path) -> bool:
    """Whether a file is the output of a CP2K vibrational analysis, by what it says at its head."""
    if not path.name.endswith((".out", ".out.bz2")) or not path.is_file():
        return False
    with _open(path) as file:
        try:
            head = file.read(_HEAD_BYTES)
        except (OSError, EOFError):
            return False
    return b"CP2K|" in head and _MARK in head


def _open(path: Path) -> BinaryIO:
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")  # type: ignore[return-value]


def input_of(path: Path) -> Path:
    """The input beside an output: the same name with `.in` or `.inp`.

    Raises:
        DataError: it is not there.
    """
    stem = path.name.removesuffix(".bz2").removesuffix(".out")
    for suffix in (".in", ".inp"):
        if (path.parent / f"{stem}{suffix}").is_file():
            return path.parent / f"{stem}{suffix}"
    raise DataError(
        f"{printable(str(path))}: {stem}.in is not beside it, and only it holds the "
        "cell and the atoms"
    )


@dataclass(frozen=True)
class Structure:
    """Atoms of a CP2K input: labels, positions (N, 3) in Å, cell (3, 3) in Å, DX in bohr."""

    labels: tuple[str, ...]
    positions: FloatArray
    cell: FloatArray
    displacement_bohr: float


def read_structure(path: Path) -> Structure:
    """Cell vectors and coordinates of an input, scaled or in Å.

    Raises:
        DataError: no `&CELL` with A, B, C, no `&COORD`, or another unit than CP2K's default.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    cells = [cell for _, body in sections(text, "CELL") if (cell := _vectors(body)) is not None]
    blocks = [body for _, body in sections(text, "COORD")]
    if not cells or not blocks:
        raise DataError(f"{printable(str(path))}: no &CELL with A, B and C, or no &COORD")
    cell = cells[0]
    lines = [line.split() for line in blocks[0].splitlines()]
    keywords = {w[0].upper(): w[1:] for w in lines if 0 < len(w) < 4}
    atoms = [words for words in lines if len(words) >= 4]
    scaled = "SCALED" in keywords and "".join(keywords["SCALED"]).upper() not in _FALSE
    step = re.search(r"^\s*DX\s+(\S+)", text, re.M)
    for word in (*keywords.get("UNIT", ()), *(step.groups() if step else ())):
        if word.upper().startswith("[") or (word.isalpha() and word.upper() != "ANGSTROM"):
            raise DataError(
                f"{printable(str(path))}: a unit {word}, which is not read; wanted &COORD in "
                "angstrom and DX in bohr, CP2K's defaults"
            )
    coordinates = np.array([words[1:4] for words in atoms], dtype=float)
    return Structure(
        labels=tuple(words[0] for words in atoms),
        positions=coordinates @ cell if scaled else coordinates,
        cell=cell,
        displacement_bohr=float(step[1]) if step else 1.0e-2,  # CP2K's default
    )


def _vectors(section: str) -> FloatArray | None:
    """A, B and C of a `&CELL`; elsewhere, a line that begins so is a carbon or boron atom."""
    rows = [re.search(rf"^\s*{v}\s+([-+.\dEe ]+)$", section, re.M) for v in "ABC"]
    return np.array([row[1].split()[:3] for row in rows if row], dtype=float) if all(rows) else None


def read_vibrations(path: Path, masses: Mapping[str, float] | None = None) -> Vibrations:
    """Read an output and the input beside it.

    Raises:
        DataError: not finished, displacements missing, other atoms than in the input.
    """
    structure = read_structure(input_of(path))
    blocks = _read_blocks(path, structure.labels)
    n = len(structure.labels)
    found = {(p, a, s) for p, a, s in zip(blocks.particle, blocks.axis, blocks.sign, strict=True)}
    if len(blocks.energy) != 6 * n or len(found) != 6 * n:
        raise DataError(
            f"{printable(str(path))}: {len(found)} displacements in {len(blocks.energy)} blocks, "
            f"wanted 6 × {n} = {6 * n}; the run did not finish"
        )
    if not blocks.ended:
        raise DataError(f"{printable(str(path))} does not end with PROGRAM ENDED; truncated")
    inputs = read_inputs([input_of(path)], masses or {})
    elements = [element_of(label, inputs) for label in structure.labels]
    from ase.data import atomic_numbers

    pairs = zip(structure.labels, elements, strict=True)
    return Vibrations(
        numbers=np.array([atomic_numbers[element] for element in elements]),
        masses=np.array([mass_of(*pair, inputs, masses or {}) for pair in pairs]),
        positions=structure.positions,
        cell=structure.cell,
        displacement_A=structure.displacement_bohr * BOHR_A,
        particle=np.array(blocks.particle),
        axis=np.array(blocks.axis),
        sign=np.array(blocks.sign),
        energy=np.array(blocks.energy) * HARTREE_EV,
        forces=np.array(blocks.forces).reshape(-1, n, 3) * HARTREE_PER_BOHR_IN_EV_PER_A,
        wavenumbers_per_cm=np.array(blocks.wavenumbers),
        version=blocks.version,
    )


@dataclass
class _Blocks:
    particle: list[int] = field(default_factory=list)
    axis: list[int] = field(default_factory=list)
    sign: list[int] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    forces: list[FloatArray] = field(default_factory=list)
    wavenumbers: list[float] = field(default_factory=list)
    version: str = "unknown"
    ended: bool = False


def _read_blocks(path: Path, labels: tuple[str, ...]) -> _Blocks:
    """Everything that is needed, in one pass over the lines."""
    found = _Blocks()
    try:
        with io.TextIOWrapper(_open(path), encoding="ascii", errors="replace") as lines:
            for line in lines:
                if "VIB|" in line:
                    _vibration_line(line, lines, found, labels, path)
                elif "CP2K| version string" in line:
                    found.version = line.split()[-1]
                elif "PROGRAM ENDED" in line:
                    found.ended = True
    except (EOFError, StopIteration) as error:
        raise DataError(
            f"{printable(str(path))}: truncated after {len(found.energy)} blocks"
        ) from (error)
    return found


def _vibration_line(
    line: str, lines: Iterator[str], found: _Blocks, labels: tuple[str, ...], path: Path
) -> None:
    if _FREQUENCY in line:
        found.wavenumbers += [float(word) for word in line.split()[2:]]
        return
    match = _BLOCK.search(line)
    if match is None:
        return
    energy = next(lines)
    next(lines)  # the heading of the columns
    rows = [next(lines).split() for _ in labels]
    where = f"{printable(str(path))}, block {len(found.energy) + 1}"
    if "Total Energy" not in energy or [row[1:2] for row in rows] != [[name] for name in labels]:
        raise DataError(f"{where}: not the atoms of the input in their order, or no energy")
    try:
        found.energy.append(float(energy.split()[-1]))
        found.forces.append(np.array([row[2:5] for row in rows], dtype=float))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    found.particle.append(int(match[1]) - 1)
    found.axis.append("XYZ".index(match[2]))
    found.sign.append(1 if match[3] == "+" else -1)


class Cp2kVibrationsSource:
    """The output of one vibrational analysis."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options

    def trajectories(self) -> list[VibrationsTrajectory]:
        """The 6N displaced structures.

        Raises:
            DataError: see `read_vibrations`.
        """
        return [VibrationsTrajectory(self._path, self._options)]


class VibrationsTrajectory:
    """6N frames; their energies differ by less than their precision: one label for the material."""

    exact = True  # a displacement of 5e-4 Å is 500 steps of float32 only

    def __init__(self, path: Path, options: Options) -> None:
        self.vibrations = vibrations = read_vibrations(path, options.masses)
        self.name = options.name or path.name.removesuffix(".bz2").removesuffix(".out")
        self.n_frames = len(vibrations.energy)
        self._source = printable(path.name)
        spread = float(np.ptp(vibrations.energy))
        self.attributes: dict[str, Any] = {
            "source_format": "cp2k-vibrations",
            "source": self._source,
            "code": f"CP2K {vibrations.version}",
            "displacement_A": vibrations.displacement_A,
            "energy_labels": "one for the material: the spread is below what a model resolves",
            **options.attributes,
        }
        self.arrays = {
            "hessian": vibrations.hessian(),
            "wavenumbers_per_cm": vibrations.wavenumbers_per_cm,
        }
        net = float(np.abs(vibrations.forces.sum(axis=1)).max())
        self.report = IngestReport(
            files={"vibrations": self._source, "input": printable(input_of(path).name)},
            n_frames=self.n_frames,
            checks=[
                Check("displacements", True, self.n_frames, f"6 × {len(vibrations.numbers)}"),
                Check("energy-spread", None, spread, detail="eV over all displacements"),
                Check("net-force", None, net, detail="eV/Å, largest component of all frames"),
            ],
        )
        digest = hashlib.sha256()
        for array in (vibrations.forces, vibrations.energy, vibrations.positions):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int = 0) -> Iterator[Frames]:
        """Frames in the order of the file, labelled with what was displaced."""
        for first in range(start, self.n_frames, _CHUNK):
            yield self._frames(np.arange(first, min(first + _CHUNK, self.n_frames)))

    def _frames(self, rows: IntArray) -> Frames:
        v = self.vibrations
        positions = np.repeat(v.positions[None], len(rows), axis=0)
        particle, axis, sign = v.particle[rows], v.axis[rows], v.sign[rows]
        positions[np.arange(len(rows)), particle, axis] += sign * v.displacement_A
        names = tuple(
            f"atom {p} {'xyz'[a]}{'+' if s > 0 else '-'}"
            for p, a, s in zip(particle, axis, sign, strict=True)
        )
        return Frames(
            numbers=v.numbers,
            masses=v.masses,
            pbc=np.ones(3, dtype=bool),
            positions=positions,
            cell=np.repeat(v.cell[None], len(rows), axis=0),
            energy=v.energy[rows],
            forces=v.forces[rows],
            labels={"name": names},
            source=self._source,
            source_index=rows,
        )
