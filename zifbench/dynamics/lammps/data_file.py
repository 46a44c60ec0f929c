"""Data files: atoms with types, masses, unwrapped positions and velocities in a triclinic box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from zifbench.dynamics.lammps.cells import box_of
from zifbench.frames import FloatArray, IntArray

_FS_PER_PS = 1000.0


@dataclass(frozen=True)
class AtomTypes:
    """Types of LAMMPS: one for each element, and for each mass of it (deuterium beside hydrogen).

    Attributes:
        symbols: Element of each type, in the order of the types.
        masses: Mass of each type in amu.
        of_atoms: Type of each atom, from 1, shape (N,).
    """

    symbols: tuple[str, ...]
    masses: tuple[float, ...]
    of_atoms: IntArray


def atom_types(numbers: IntArray, masses: FloatArray) -> AtomTypes:
    """Types by atomic number, then by mass.

    Args:
        numbers: Atomic numbers, shape (N,).
        masses: In amu, shape (N,).
    """
    pairs = list(zip(numbers.tolist(), masses.tolist(), strict=True))
    kinds = sorted(set(pairs))
    index = {kind: number for number, kind in enumerate(kinds, start=1)}
    return AtomTypes(
        tuple(chemical_symbols[z] for z, _ in kinds),
        tuple(mass for _, mass in kinds),
        np.array([index[pair] for pair in pairs], dtype=np.int64),
    )


def data_text(
    title: str,
    types: AtomTypes,
    lower: FloatArray,
    positions: FloatArray,
    velocities: FloatArray,
) -> str:
    """A data file of `atom_style atomic`, units metal, with all digits.

    Args:
        title: First line.
        types: Of the atoms.
        lower: Lower triangular cell in Å, shape (3, 3).
        positions: In its frame, in Å, shape (N, 3). They may lie outside the cell: LAMMPS wraps
            them and counts the images, so that its unwrapped coordinates begin here.
        velocities: In its frame, in Å/fs, shape (N, 3).
    """
    lx, ly, lz, *tilts = box_of(lower)
    lines = [
        title, "",
        f"{len(positions)} atoms",
        f"{len(types.symbols)} atom types", "",
        *(f"0.0 {length!r} {k}lo {k}hi" for k, length in zip("xyz", (lx, ly, lz), strict=True)),
        f"{' '.join(map(repr, tilts))} xy xz yz", "",
        "Masses", "",
        *(
            f"{number} {mass!r} # {symbol}"
            for number, (symbol, mass) in enumerate(
                zip(types.symbols, types.masses, strict=True), start=1
            )
        ), "",
        "Atoms # atomic", "",
        *(
            f"{number} {kind} {_row(x)}"
            for number, (kind, x) in enumerate(zip(types.of_atoms, positions, strict=True), start=1)
        ), "",
        "Velocities", "",
        *(f"{number} {_row(v)}" for number, v in enumerate(velocities * _FS_PER_PS, start=1)), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(vector: FloatArray) -> str:
    return " ".join(repr(float(x)) for x in vector)
