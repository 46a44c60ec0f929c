"""Pore volume on a grid: deterministic, for any cell, fast enough for every frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from ase.data import atomic_masses, chemical_symbols

from zifbench.analysis.checks import (
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    reduced_cells,
)
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames, IntArray, cell_heights
from zifbench.jit import jit

# Zeo++'s default radii in Å (Willems 2012), after the CSD.
ZEO_RADII_A: Mapping[str, float] = {"H": 1.09, "C": 1.70, "N": 1.55, "Zn": 1.39}
HELIUM_PROBE_A = 1.2
# 1 Å³/amu in cm³/kg: 1e-24 cm³ over 1.66053906660e-27 kg.
_CM3_PER_KG = 602.2140762


def pore_volumes(
    frames: FrameStream,
    *,
    probe_A: float = HELIUM_PROBE_A,
    spacing_A: float = 0.3,
    radii_A: Mapping[str, float] = ZEO_RADII_A,
) -> FloatArray:
    """Total pore volume of each frame: where the centre of a probe fits, reachable or not.

    The share of grid points outside all spheres of radius r_atom + probe, times V/m. Against Zeo++
    (50 000 samples) it is 0.9 cm³/kg lower on the published structures, which is Zeo++'s own
    sampling error; against a 0.1 Å grid, 0.1–0.3 off at 0.3 Å.

    Args:
        frames: T frames, or a stream of pieces.
        probe_A: Radius of the probe; 1.2 Å is helium.
        spacing_A: Largest distance between grid planes.
        radii_A: Radius of each element.

    Returns:
        Pore volumes in cm³/kg, shape (T,). The mass is that of the natural elements, whatever
        isotopes the run moves.

    Raises:
        NotDefinedError: an element without radius, or frames without cell or with NaN.

    Source: Castel et al. 2024; for the volume's name, Ongari 2017.
    """
    check_positive("spacing_A", spacing_A, unit="Å")
    if not probe_A >= 0:
        raise NotDefinedError(f"probe_A: {probe_A} Å, wanted zero or more")
    volumes = []
    for chunk in checked_chunks(frames):
        reach = atom_radii(chunk, radii_A=radii_A) + probe_A
        cells = reduced_cells(chunk.cell)
        heights, inverse = cell_heights(cells), inverse_cell(cells)
        mass = atomic_masses[chunk.numbers].sum()
        for row in range(len(chunk)):
            n_points = grid_points(heights[row], spacing_A=spacing_A)
            fraction = _free_fraction(
                chunk.positions[row], cells[row], inverse[row], reach, n_points
            )
            volumes.append(fraction * chunk.volume[row] / mass * _CM3_PER_KG)
    return np.array(volumes)


def atom_radii(frames: Frames, *, radii_A: Mapping[str, float]) -> FloatArray:
    """Radius of each atom in Å, shape (N,).

    Raises:
        NotDefinedError: an element that `radii_A` does not have.
    """
    symbols = [chemical_symbols[z] for z in frames.numbers]
    missing = sorted(set(symbols) - set(radii_A))
    if missing:
        raise NotDefinedError(
            f"no radius for {', '.join(missing)} in {frames.source}; give it in radii_A"
        )
    return np.array([radii_A[symbol] for symbol in symbols])


def grid_points(heights_A: FloatArray, *, spacing_A: float) -> IntArray:
    """Grid points along each cell vector so that the planes are at most `spacing_A` apart."""
    return np.ceil(heights_A / spacing_A - 1.0e-9).astype(np.int64)


@jit
def _free_fraction(
    positions: FloatArray, cell: FloatArray, inverse: FloatArray, reach: FloatArray, n: IntArray
) -> float:
    """Share of the grid points that no sphere covers."""
    covered = np.zeros((n[0], n[1], n[2]), np.bool_)
    for atom in range(len(positions)):
        _stamp(positions[atom], cell, inverse, reach[atom], covered)
    return float(1.0 - covered.sum() / covered.size)


@jit
def _stamp(
    centre: FloatArray,
    cell: FloatArray,
    inverse: FloatArray,
    radius: float,
    covered: npt.NDArray[np.bool_],
) -> None:
    """Cover the grid points within `radius` of one atom, a run along the third axis at a time."""
    n0, n1, n2 = covered.shape
    f = np.empty(3)
    for k in range(3):
        s = centre[0] * inverse[0, k] + centre[1] * inverse[1, k] + centre[2] * inverse[2, k]
        f[k] = s - np.floor(s)
    w0 = radius * np.sqrt((inverse[:, 0] ** 2).sum())
    w1 = radius * np.sqrt((inverse[:, 1] ** 2).sum())
    c2 = cell[2, 0] ** 2 + cell[2, 1] ** 2 + cell[2, 2] ** 2
    for i in range(int(np.ceil((f[0] - w0) * n0)), int(np.floor((f[0] + w0) * n0)) + 1):
        g0 = i / n0 - f[0]
        for j in range(int(np.ceil((f[1] - w1) * n1)), int(np.floor((f[1] + w1) * n1)) + 1):
            g1 = j / n1 - f[1]
            x = g0 * cell[0, 0] + g1 * cell[1, 0]
            y = g0 * cell[0, 1] + g1 * cell[1, 1]
            z = g0 * cell[0, 2] + g1 * cell[1, 2]
            half = -(x * cell[2, 0] + y * cell[2, 1] + z * cell[2, 2]) / c2
            root = half * half - (x * x + y * y + z * z - radius * radius) / c2
            if root < 0.0:
                continue
            root = np.sqrt(root)
            first = int(np.ceil((f[2] + half - root) * n2))
            last = int(np.floor((f[2] + half + root) * n2))
            run = covered[i % n0, j % n1]
            count = min(last - first + 1, n2)
            start = first % n2
            run[start : start + count] = True  # what runs over the end comes in at the beginning
            if start + count > n2:
                run[: start + count - n2] = True
