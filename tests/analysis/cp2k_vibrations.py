"""Small reader of a CP2K vibrational analysis, for tests and benchmarks only."""

from __future__ import annotations

import bz2
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zifbench.units import BOHR_A, HARTREE_EV


@dataclass(frozen=True)
class Crystal:
    """Structure of a CP2K input: symbols, positions (N, 3) and orthorhombic cell (3, 3) in Å."""

    symbols: list[str]
    positions: np.ndarray
    cell: np.ndarray


def read_input(path: Path) -> Crystal:
    """Cell and scaled coordinates of the `&COORD` section of a CP2K input."""
    text = path.read_text()
    cell = np.array(
        [re.search(rf"^ +{v} +(.*)$", text, re.M).group(1).split() for v in "ABC"], dtype=float
    )
    block = re.search(r"&COORD\n(.*?)\n +SCALED", text, re.S).group(1).split("\n")
    symbols = [line.split()[0] for line in block]
    scaled = np.array([line.split()[1:4] for line in block], dtype=float)
    return Crystal(symbols, scaled @ cell, cell)


def read_forces(path: Path, n_atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forces of the + and the - displacements in eV/Å, (3N, N, 3) each, and printed cm⁻¹."""
    blocks: list[list[str]] = []
    wavenumbers: list[float] = []
    rows = 0
    with bz2.open(path, "rt") as file:
        for line in file:
            if "Energy and Forces for particle" in line:
                blocks.append([])
                rows = n_atoms + 2
            elif rows:
                rows -= 1
                if rows < n_atoms:
                    blocks[-1].append(line[25:])
            elif "VIB|Frequency (cm^-1)" in line:
                wavenumbers += [float(x) for x in line.split()[2:]]
    if len(blocks) != 6 * n_atoms:
        raise ValueError(f"{path}: {len(blocks)} displacements, wanted {6 * n_atoms}")
    forces = np.array([" ".join(block).split() for block in blocks], dtype=float)
    forces = forces.reshape(2, 3 * n_atoms, n_atoms, 3) * HARTREE_EV / BOHR_A
    return forces[0], forces[1], np.array(wavenumbers)
