"""The nearest other frame, in time or in structure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit


def nearest_in_time(times: npt.ArrayLike, reference: npt.ArrayLike) -> tuple[IntArray, FloatArray]:
    """For each time the nearest of the reference times; of two equally near the earlier one.

    Args:
        times: Shape (n,), any unit.
        reference: Ascending, shape (m,), m > 0.

    Returns:
        Places in `reference`, shape (n,), and distances, shape (n,).

    Raises:
        DataError: no reference times.
    """
    asked, known = np.asarray(times, dtype=float), np.asarray(reference, dtype=float)
    if not len(known):
        raise DataError("nearest in time: no reference times to compare with")
    after = np.clip(np.searchsorted(known, asked), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    place = np.where(np.abs(known[before] - asked) <= np.abs(known[after] - asked), before, after)
    return place.astype(np.int64), np.abs(known[place] - asked)


def nearest_structure(
    positions: FloatArray, reference: FloatArray, cell: FloatArray
) -> tuple[IntArray, FloatArray]:
    """For each structure the reference structure with the least root mean square displacement.

    RMSD² = ⟨|d|²⟩ - |⟨d⟩|² over the atoms, with d the difference of the positions of an atom,
    brought to the nearest image: where an atom lies in units of the cell, and where the origin is,
    do not matter. Atoms are compared in their order: a rotated structure, or one whose equal atoms
    have changed places, is far away.

    Args:
        positions: In Å, shape (n, N, 3).
        reference: In Å, shape (m, N, 3), m > 0.
        cell: The cell that all of them have, rows in Å, shape (3, 3).

    Returns:
        Places in `reference`, shape (n,), and RMSD in Å, shape (n,).

    Raises:
        DataError: shapes that do not fit, or no reference.
    """
    if positions.shape[1:] != reference.shape[1:] or not len(reference):
        raise DataError(
            f"nearest structure: shapes {positions.shape} and {reference.shape}, wanted the same "
            "atoms and at least one reference"
        )
    inverse = np.linalg.inv(cell)
    place = np.zeros(len(positions), dtype=np.int64)
    rmsd = np.zeros(len(positions))
    _search(
        np.ascontiguousarray(positions @ inverse),
        np.ascontiguousarray(reference @ inverse),
        np.ascontiguousarray(cell, dtype=float),
        place,
        rmsd,
    )
    return place, rmsd


@jit
def _search(
    asked: FloatArray, known: FloatArray, cell: FloatArray, place: IntArray, rmsd: FloatArray
) -> None:
    """Fill `place` and `rmsd`; positions in units of the cell."""
    n_atoms = asked.shape[1]
    for i in range(len(asked)):
        best = np.inf
        for j in range(len(known)):
            square = sx = sy = sz = 0.0
            for k in range(n_atoms):
                a = asked[i, k, 0] - known[j, k, 0]
                b = asked[i, k, 1] - known[j, k, 1]
                c = asked[i, k, 2] - known[j, k, 2]
                a -= np.floor(a + 0.5)
                b -= np.floor(b + 0.5)
                c -= np.floor(c + 0.5)
                x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
                square += x * x + y * y + z * z
                sx += x
                sy += y
                sz += z
            found = square / n_atoms - (sx * sx + sy * sy + sz * sz) / n_atoms**2
            if found < best:
                best = found
                place[i] = j
        rmsd[i] = np.sqrt(max(0.0, best))
