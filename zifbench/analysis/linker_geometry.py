"""Where the linkers stand: Zn–Im–Zn angles and how the rings are turned to each other."""

from __future__ import annotations

import numpy as np

from zifbench.analysis.angles import AngleDistribution, AngleHistogram, add_angle
from zifbench.analysis.checks import FrameStream
from zifbench.analysis.linkers import BREAK_A
from zifbench.analysis.network import ZifGraph, placed_graphs
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit


def linker_angle_distribution(
    frames: FrameStream,
    *,
    bin_width_deg: float = 1.0,
    break_A: float = BREAK_A,
    may_be_empty: bool = False,
) -> AngleDistribution:
    """Zn–Im–Zn angles, Im standing at the centroid of its five ring atoms.

    The centroid and not the centre of mass, so that the isotopes of a run do not move it.

    Args:
        frames: T frames, or a stream of pieces.
        bin_width_deg: Width of a bin; must divide 180.
        break_A: Length beyond which a ring bond is broken.
        may_be_empty: Give zero counts where no linker joins two Zn: for a piece of a run.

    Raises:
        NotDefinedError: no Zn, no imidazolate, or no linker between two Zn in any frame.
    """
    histogram = AngleHistogram(bin_width_deg=bin_width_deg)
    graphs = placed_graphs(frames, break_A=break_A, may_be_empty=may_be_empty)
    for graph, positions, cell in graphs:
        centroids, _ = _place(positions, cell, graph.linkers, graph.offsets)
        images = centroids[graph.edges[:, 1]] + graph.shifts @ cell
        arms = positions[graph.zinc[graph.edges[:, 0]]] - images
        order = np.argsort(graph.edges[:, 1], kind="stable")
        _bin_arms(arms[order], graph.edges[order, 1], histogram.counts, histogram.sums)
        histogram.n_frames += 1
    return histogram.result(None if may_be_empty else "no linker joins two Zn")


@jit
def _bin_arms(arms: FloatArray, linker: IntArray, counts: IntArray, sums: FloatArray) -> None:
    for e in range(1, len(linker)):
        if linker[e] == linker[e - 1]:
            add_angle(arms[e - 1], arms[e], counts, sums)


@jit
def _place(
    positions: FloatArray, cell: FloatArray, rings: IntArray, offsets: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Centroid and unit normal of each ring, shapes (L, 3)."""
    centroids, normals = np.zeros((len(rings), 3)), np.zeros((len(rings), 3))
    place = np.empty((5, 3))
    for ring in range(len(rings)):
        for k in range(5):
            for x in range(3):
                place[k, x] = positions[rings[ring, k], x]
                for m in range(3):
                    place[k, x] += offsets[ring, k, m] * cell[m, x]
                centroids[ring, x] += place[k, x] / 5.0
        for k in range(5):
            a, b = place[k] - centroids[ring], place[(k + 1) % 5] - centroids[ring]
            normals[ring, 0] += a[1] * b[2] - a[2] * b[1]
            normals[ring, 1] += a[2] * b[0] - a[0] * b[2]
            normals[ring, 2] += a[0] * b[1] - a[1] * b[0]
        normals[ring] /= np.sqrt((normals[ring] ** 2).sum())
    return centroids, normals


def ring_orientation_index(frames: FrameStream, *, break_A: float = BREAK_A) -> FloatArray:
    """How parallel the imidazolate rings around one Zn stand, frame by frame, shape (T,).

    ⟨½ (3 (n_a · n_b)² − 1)⟩ over all pairs of linkers a, b bonded to one Zn, n the normals of
    their rings: 1 if all are parallel, 0 if they are turned at random, −½ if all are perpendicular.

    Du et al. 2024 introduced an index of this name for the turning of the rings in ZIF glasses;
    its formula could not be checked against this one, so compare values of this function only.

    Args:
        frames: T frames, or a stream of pieces.
        break_A: Length beyond which a ring bond is broken.

    Raises:
        NotDefinedError: no Zn, no imidazolate, or a frame in which no Zn holds two linkers.

    Source: our definition, after the idea of Du et al., Natl. Sci. Rev. 2024, 11, nwae023.
    """
    return np.array(
        [
            _orientation(graph, positions, cell)
            for graph, positions, cell in placed_graphs(frames, break_A=break_A)
        ]
    )


def _orientation(graph: ZifGraph, positions: FloatArray, cell: FloatArray) -> float:
    _, normals = _place(positions, cell, graph.linkers, graph.offsets)
    order = np.argsort(graph.edges[:, 0], kind="stable")
    zinc, linker = graph.edges[order].T
    total, n_pairs = 0.0, 0
    for shift in (1, 2, 3):  # at most four linkers a Zn
        same = zinc[shift:] == zinc[:-shift]
        cosine = (normals[linker[shift:]] * normals[linker[:-shift]]).sum(axis=1)[same]
        total += float((1.5 * cosine**2 - 0.5).sum())
        n_pairs += int(same.sum())
    if n_pairs == 0:
        raise NotDefinedError("ring orientation index: no Zn holds two linkers")
    return total / n_pairs
