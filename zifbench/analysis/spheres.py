"""Largest included and largest free sphere of each frame, on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.checks import (
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    reduced_cells,
)
from zifbench.analysis.pores import ZEO_RADII_A, atom_radii, grid_points
from zifbench.frames import FloatArray, IntArray, cell_heights
from zifbench.jit import jit

# Distances that the atoms spread over the grid; the few points farther away are asked one by one.
_SPREAD_A = 3.0


@dataclass(frozen=True)
class LargestSpheres:
    """Diameters of spheres that touch no atom.

    Attributes:
        included_A: The largest that fits anywhere, diameter in Å, shape (T,).
        free_A: The largest that can travel through the crystal, diameter in Å, shape (T,); 0 where
            not even a point can.
    """

    included_A: FloatArray
    free_A: FloatArray


def largest_spheres(
    frames: FrameStream,
    *,
    spacing_A: float = 0.3,
    radii_A: Mapping[str, float] = ZEO_RADII_A,
) -> LargestSpheres:
    """Largest included sphere (D_i) and largest free sphere (D_f) of each frame.

    D_i is the maximum of the distance to the nearest atom's surface, refined from the best grid
    points; D_f the widest way through the periodic grid, over neighbours by face, edge or corner:
    a lower bound, 0.1–0.2 Å low at 0.3 Å.

    Args:
        frames: T frames, or a stream of pieces.
        spacing_A: Largest distance between grid planes.
        radii_A: Radius of each element.

    Raises:
        NotDefinedError: an element without radius, or frames without cell or with NaN.

    Source: the definitions are Zeo++'s, Willems 2012.
    """
    check_positive("spacing_A", spacing_A, unit="Å")
    included, free = [], []
    for chunk in checked_chunks(frames):
        radii = atom_radii(chunk, radii_A=radii_A)
        cells = reduced_cells(chunk.cell)
        heights, inverse = cell_heights(cells), inverse_cell(cells)
        for row in range(len(chunk)):
            n = grid_points(heights[row], spacing_A=spacing_A)
            frame = (chunk.positions[row], cells[row], inverse[row], radii)
            field = _field(*frame, n, _SPREAD_A)
            _fill_gaps(*frame, field, _SPREAD_A)
            included.append(2.0 * _refined_maximum(*frame, field, spacing_A))
            order = np.argsort(-field, axis=None)
            free.append(2.0 * max(0.0, _bottleneck(field, order)))
    return LargestSpheres(np.array(included), np.array(free))


@jit
def _field(
    positions: FloatArray,
    cell: FloatArray,
    inverse: FloatArray,
    radii: FloatArray,
    n: IntArray,
    reach: float,
) -> FloatArray:
    """Distance of each grid point to the nearest atom's surface, infinite beyond `reach`."""
    field = np.full((n[0], n[1], n[2]), np.inf)
    f, first, last = np.empty(3), np.empty(3, np.int64), np.empty(3, np.int64)
    for atom in range(len(positions)):
        limit = radii[atom] + reach
        for k in range(3):
            s = 0.0
            for m in range(3):
                s += positions[atom, m] * inverse[m, k]
            f[k] = s - np.floor(s)
            width = limit * np.sqrt((inverse[:, k] ** 2).sum())
            first[k] = int(np.ceil((f[k] - width) * n[k]))
            last[k] = int(np.floor((f[k] + width) * n[k]))
        for i in range(first[0], last[0] + 1):
            a = i / n[0] - f[0]
            for j in range(first[1], last[1] + 1):
                b = j / n[1] - f[1]
                run = field[i % n[0], j % n[1]]
                for k in range(first[2], last[2] + 1):
                    c = k / n[2] - f[2]
                    x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                    y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                    z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
                    squared = x * x + y * y + z * z
                    if squared < limit * limit:
                        here = k - n[2] * (k // n[2])
                        bound = run[here] + radii[atom]
                        if bound > 0.0 and squared < bound * bound:
                            run[here] = np.sqrt(squared) - radii[atom]
    return field


@jit
def _nearby(
    point: FloatArray,
    positions: FloatArray,
    cell: FloatArray,
    inverse: FloatArray,
    radii: FloatArray,
    reach: float,
) -> FloatArray:
    """Atoms and images whose surface may be within `reach` of a point: x, y, z, radius in rows."""
    found = []
    f, width = np.empty(3), np.empty(3)
    for atom in range(len(positions)):
        for k in range(3):
            s = 0.0
            for m in range(3):
                s += (positions[atom, m] - point[m]) * inverse[m, k]
            f[k] = s - np.round(s)
            width[k] = (reach + radii[atom]) * np.sqrt((inverse[:, k] ** 2).sum())
        for i in range(int(np.ceil(-width[0] - f[0])), int(np.floor(width[0] - f[0])) + 1):
            for j in range(int(np.ceil(-width[1] - f[1])), int(np.floor(width[1] - f[1])) + 1):
                for k in range(int(np.ceil(-width[2] - f[2])), int(np.floor(width[2] - f[2])) + 1):
                    found.append((f[0] + i, f[1] + j, f[2] + k, radii[atom]))
    rows = np.empty((len(found), 4))
    for n in range(len(found)):
        for x in range(3):
            rows[n, x] = point[x]
            for m in range(3):
                rows[n, x] += found[n][m] * cell[m, x]
        rows[n, 3] = found[n][3]
    return rows


@jit
def _clearance(point: FloatArray, near: FloatArray) -> float:
    """Distance of one point to the nearest surface of the atoms in `near`."""
    best = np.inf
    for n in range(len(near)):
        squared = 0.0
        for x in range(3):
            squared += (point[x] - near[n, x]) ** 2
        best = min(best, np.sqrt(squared) - near[n, 3])
    return best


@jit
def _fill_gaps(
    positions: FloatArray,
    cell: FloatArray,
    inverse: FloatArray,
    radii: FloatArray,
    field: FloatArray,
    reach: float,
) -> None:
    """Distances of the points that the spheres of `_field` did not get to."""
    n0, n1, n2 = field.shape
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                limit = reach
                while field[i, j, k] > limit:
                    limit *= 2.0
                    point = i / n0 * cell[0] + j / n1 * cell[1] + k / n2 * cell[2]
                    near = _nearby(point, positions, cell, inverse, radii, limit)
                    field[i, j, k] = _clearance(point, near)


@jit
def _refined_maximum(
    positions: FloatArray,
    cell: FloatArray,
    inverse: FloatArray,
    radii: FloatArray,
    field: FloatArray,
    spacing: float,
) -> float:
    """Climb from every grid maximum that could lie below the highest peak, by halved steps."""
    n0, n1, n2 = field.shape
    top = field.max()
    best = float(top)
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                value = field[i, j, k]
                if value < top - 0.87 * spacing or not _is_maximum(field, i, j, k):
                    continue
                point = i / n0 * cell[0] + j / n1 * cell[1] + k / n2 * cell[2]
                near = _nearby(point, positions, cell, inverse, radii, value + 4.0 * spacing)
                best = max(best, _climb(point, value, near, spacing))
    return best


@jit
def _is_maximum(field: FloatArray, i: int, j: int, k: int) -> bool:
    n0, n1, n2 = field.shape
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                if field[(i + a) % n0, (j + b) % n1, (k + c) % n2] > field[i, j, k]:
                    return False
    return True


@jit
def _climb(point: FloatArray, value: float, near: FloatArray, spacing: float) -> float:
    """Pattern search over the 26 directions until the step is below 0.001 Å."""
    step = 0.5 * spacing
    while step > 1.0e-3:
        moved = False
        for code in range(27):
            trial = point.copy()
            trial[0] += step * (code % 3 - 1)
            trial[1] += step * (code // 3 % 3 - 1)
            trial[2] += step * (code // 9 - 1)
            reached = _clearance(trial, near)
            if reached > value:
                point, value, moved = trial, reached, True
        if not moved:
            step *= 0.5
    return value


@jit
def _root(parent: IntArray, offset: IntArray, node: int, moved: IntArray) -> int:
    """Root of a grid point; `moved` becomes its cell relative to the root, the path is halved."""
    moved[:] = 0
    while parent[node] != node:
        above = parent[node]
        if parent[above] != above:
            for k in range(3):
                offset[node, k] += offset[above, k]
            parent[node] = parent[above]
        for k in range(3):
            moved[k] += offset[node, k]
        node = parent[node]
    return node


@jit
def _bottleneck(field: FloatArray, order: IntArray) -> float:
    """Radius at which the points, added from the widest on, first connect to their own image."""
    n0, n1, n2 = field.shape
    flat = field.ravel()
    parent = np.full(flat.size, -1, np.int64)
    offset = np.zeros((flat.size, 3), np.int64)
    size = np.ones(flat.size, np.int64)
    here, there, cross = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    for node in order:
        parent[node] = node
        i, j, k = node // (n1 * n2), node // n2 % n1, node % n2
        for code in range(27):
            a, b, c = i + code % 3 - 1, j + code // 3 % 3 - 1, k + code // 9 - 1
            other = ((a % n0) * n1 + b % n1) * n2 + c % n2
            if parent[other] < 0 or code == 13:
                continue
            cross[0], cross[1], cross[2] = a // n0, b // n1, c // n2
            u, v = _root(parent, offset, node, here), _root(parent, offset, other, there)
            if u == v:
                for x in range(3):
                    if here[x] != there[x] + cross[x]:
                        return float(flat[node])
                continue
            if size[u] < size[v]:
                parent[u] = v
                size[v] += size[u]
                for x in range(3):
                    offset[u, x] = there[x] + cross[x] - here[x]
            else:
                parent[v] = u
                size[u] += size[v]
                for x in range(3):
                    offset[v, x] = here[x] - there[x] - cross[x]
    return 0.0
