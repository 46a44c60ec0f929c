"""Pairs of atoms within a cutoff, over all periodic images, in time linear in the atoms.

One compiled linked-cell search serves every observable: triclinic cells, positions outside the
cell, cutoffs beyond half the cell, several images of one pair, a cutoff for each pair of elements.
It is here, and not vesin's, because other compiled loops call it frame by frame without the
interpreter lock, at half the time; the tests hold the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.checks import inverse_cell
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit

# Bins narrower than this many atoms' worth of space cost more to visit than they save.
_ATOMS_PER_BIN = 3.0


@dataclass(frozen=True)
class Pairs:
    """P ordered pairs (i, j), sorted by i; every pair stands twice, once from each end.

    Attributes:
        i: Number of the central atom, shape (P,).
        j: Number of its neighbour, shape (P,).
        shift: Lattice vectors S to add to the neighbour, shape (P, 3):
            vector = r_j + S·cell − r_i with positions as they came, wrapped or not.
        vector: From i to the image of j in Å, shape (P, 3).
    """

    i: IntArray
    j: IntArray
    shift: IntArray
    vector: FloatArray

    @property
    def distance(self) -> FloatArray:
        """Length of each vector in Å, shape (P,)."""
        return np.asarray(np.linalg.norm(self.vector, axis=1))


def find_pairs(
    positions: FloatArray,
    cell: FloatArray,
    *,
    cutoffs_A: npt.ArrayLike,
    types: IntArray | None = None,
) -> Pairs:
    """All pairs closer than their cutoff in one periodic frame.

    Args:
        positions: Shape (N, 3) in Å.
        cell: Rows in Å, shape (3, 3).
        cutoffs_A: One cutoff in Å, or a symmetric table by type (0: pair not wanted).
        types: Row of each atom in that table, shape (N,); all 0 if not given.

    Returns:
        Ordered pairs; the distance is strictly below the cutoff, an atom is no pair with itself
        but is one with its own images.
    """
    table = np.atleast_2d(np.asarray(cutoffs_A, dtype=float))
    kinds = np.zeros(len(positions), dtype=np.int64) if types is None else types
    return Pairs(*pairs_kernel(positions, cell, inverse_cell(cell), kinds, table))


@jit
def pairs_kernel(
    positions: FloatArray, cell: FloatArray, inverse: FloatArray, types: IntArray, table: FloatArray
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """The search of `find_pairs`, callable from other compiled loops."""
    n = len(positions)
    n_bins, reach = _grid(cell, inverse, table.max(), n)
    fraction, image = _wrap(positions, inverse)
    bins, head, following = _fill_bins(fraction, n_bins)
    reduced = fraction @ np.ascontiguousarray(cell)
    capacity = _expected_pairs(cell, types, table)
    while True:
        i, j = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        shift, vector = np.empty((capacity, 3), np.int64), np.empty((capacity, 3))
        count = _fill_pairs(
            reduced, cell, types, table * table, n_bins, reach, bins, head, following,
            i, j, shift, vector,
        )  # fmt: skip
        if count <= capacity:
            break
        capacity = count
    i, j, shift, vector = i[:count], j[:count], shift[:count], vector[:count]
    for p in range(count):
        for k in range(3):
            shift[p, k] += image[i[p], k] - image[j[p], k]
    return i, j, shift, vector


@jit
def _expected_pairs(cell: FloatArray, types: IntArray, table: FloatArray) -> int:
    """Pairs of atoms spread evenly, half as many again, and some for bonds: room for one pass."""
    counts = np.zeros(len(table))
    for kind in types:
        counts[kind] += 1.0
    expected = 0.0
    for a in range(len(table)):
        for b in range(len(table)):
            expected += counts[a] * counts[b] * table[a, b] ** 3
    spheres = 4.0 / 3.0 * np.pi * expected / abs(np.linalg.det(cell))
    return int(1.5 * spheres) + 4 * len(types) + 64


@jit
def _fill_pairs(
    reduced: FloatArray,
    cell: FloatArray,
    types: IntArray,
    squared: FloatArray,
    n_bins: IntArray,
    reach: IntArray,
    bins: IntArray,
    head: IntArray,
    following: IntArray,
    i: IntArray,
    j: IntArray,
    shift: IntArray,
    vector: FloatArray,
) -> int:
    """Write the pairs of the wrapped atoms while there is room; return how many there are.

    A loop of its own with arrays that are never rebound: numba counts references in every pass of
    a loop that rebinds one, which made the search fifteen times slower.
    """
    bx, qx = _axis(n_bins[0], reach[0])
    by, qy = _axis(n_bins[1], reach[1])
    bz, qz = _axis(n_bins[2], reach[2])
    count = 0
    for a in range(len(reduced)):
        for kx in range(bins[a, 0], bins[a, 0] + 2 * reach[0] + 1):
            x0 = qx[kx] * cell[0, 0] - reduced[a, 0]
            x1 = qx[kx] * cell[0, 1] - reduced[a, 1]
            x2 = qx[kx] * cell[0, 2] - reduced[a, 2]
            for ky in range(bins[a, 1], bins[a, 1] + 2 * reach[1] + 1):
                y0 = x0 + qy[ky] * cell[1, 0]
                y1 = x1 + qy[ky] * cell[1, 1]
                y2 = x2 + qy[ky] * cell[1, 2]
                row = (bx[kx] * n_bins[1] + by[ky]) * n_bins[2]
                for kz in range(bins[a, 2], bins[a, 2] + 2 * reach[2] + 1):
                    c = head[row + bz[kz]]
                    home = qx[kx] == 0 and qy[ky] == 0 and qz[kz] == 0
                    while c >= 0:
                        d0 = reduced[c, 0] + y0 + qz[kz] * cell[2, 0]
                        d1 = reduced[c, 1] + y1 + qz[kz] * cell[2, 1]
                        d2 = reduced[c, 2] + y2 + qz[kz] * cell[2, 2]
                        near = d0 * d0 + d1 * d1 + d2 * d2 < squared[types[a], types[c]]
                        if near and not (home and a == c):
                            if count < len(i):
                                i[count], j[count] = a, c
                                shift[count, 0], vector[count, 0] = qx[kx], d0
                                shift[count, 1], vector[count, 1] = qy[ky], d1
                                shift[count, 2], vector[count, 2] = qz[kz], d2
                            count += 1
                        c = following[c]
    return count


@jit
def _axis(n_bins: int, reach: int) -> tuple[IntArray, IntArray]:
    """Bin and image met at each step along one axis, from `reach` bins before the cell on."""
    steps = np.arange(-reach, n_bins + reach)
    return steps % n_bins, steps // n_bins


@jit
def _grid(
    cell: FloatArray, inverse: FloatArray, cutoff: float, n_atoms: int
) -> tuple[IntArray, IntArray]:
    """Bins along each cell vector, and how many of them the cutoff reaches over."""
    volume = abs(np.linalg.det(cell))
    width = max(0.5 * cutoff, (volume * _ATOMS_PER_BIN / n_atoms) ** (1.0 / 3.0))
    n_bins, reach = np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(3):
        height = 1.0 / np.sqrt((inverse[:, k] ** 2).sum())
        n_bins[k] = max(1, int(height / width))
        reach[k] = int(np.ceil(cutoff * n_bins[k] / height))
    return n_bins, reach


@jit
def _wrap(positions: FloatArray, inverse: FloatArray) -> tuple[FloatArray, IntArray]:
    """Fractional coordinates in [0, 1) and the cell that each atom came from."""
    n = len(positions)
    fraction, image = np.empty((n, 3)), np.empty((n, 3), np.int64)
    for a in range(n):
        for k in range(3):
            s = 0.0
            for m in range(3):
                s += positions[a, m] * inverse[m, k]
            whole = np.floor(s)
            if s - whole >= 1.0:  # −1e-17 wraps to 1.0 in floating point
                whole += 1.0
            fraction[a, k], image[a, k] = s - whole, int(whole)
    return fraction, image


@jit
def _fill_bins(fraction: FloatArray, n_bins: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Linked lists: the first atom of each bin, and the next one after each atom."""
    n = len(fraction)
    bins = np.empty((n, 3), np.int64)
    head = np.full(n_bins[0] * n_bins[1] * n_bins[2], -1, np.int64)
    following = np.full(n, -1, np.int64)
    for a in range(n - 1, -1, -1):
        for k in range(3):
            bins[a, k] = min(int(fraction[a, k] * n_bins[k]), n_bins[k] - 1)
        index = (bins[a, 0] * n_bins[1] + bins[a, 1]) * n_bins[2] + bins[a, 2]
        following[a], head[index] = head[index], a
    return bins, head, following
