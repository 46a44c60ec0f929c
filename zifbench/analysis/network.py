"""The periodic graph of Zn and imidazolate nodes: edges, rings against time, linker geometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.checks import FrameStream, checked_chunks
from zifbench.analysis.linkers import BREAK_A, UnitSearch, ring_kernel
from zifbench.analysis.neighbours import pairs_kernel
from zifbench.analysis.rings import primitive_rings, spanning_gauge
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit

MAX_RING_SIZE = 32
_MAX_BONDS_PER_ZINC = 4
# Graphs remembered; 1000 of 272 atoms are 3 MB.
_MAX_KNOWN_GRAPHS = 1000
# Graph -> rings per cell and share of nodes on a ring, by size.
KnownGraphs = dict[bytes, tuple[IntArray, FloatArray]]


@dataclass(frozen=True)
class ZifGraph:
    """Bipartite periodic graph of one frame: Z zinc and L linker nodes, E edges.

    Attributes:
        zinc: Atom number of each Zn node, shape (Z,).
        linkers: Ring atoms of each imidazolate node in order round it, shape (L, 5).
        offsets: Cell of each ring atom that makes the ring contiguous, shape (L, 5, 3).
        edges: Node numbers (Zn, Im), each counted from 0, shape (E, 2).
        shifts: Cell of the Im node seen from the Zn node, shape (E, 3). The cell of an Im node is
            that of the first atom of its ring; both hold for the positions as they came.
    """

    zinc: IntArray
    linkers: IntArray
    offsets: IntArray
    edges: IntArray
    shifts: IntArray

    @property
    def n_nodes(self) -> int:
        """Zn and Im nodes together."""
        return len(self.zinc) + len(self.linkers)


@dataclass(frozen=True)
class RingSeries:
    """Primitive rings of the Zn–Im graph against time; sizes count Zn and Im.

    Attributes:
        counts: Rings per cell, shape (T, max_size + 1); odd sizes cannot occur.
        node_fraction: Share of the nodes on a ring of each size, shape (T, max_size + 1).
        n_nodes: Nodes of the graph, shape (T,): less than in the crystal where a linker is broken.
        n_searches: Frames whose graph differed from those before and was searched.
    """

    counts: IntArray
    node_fraction: FloatArray
    n_nodes: IntArray
    n_searches: int

    @property
    def mean(self) -> FloatArray:
        """Mean rings per cell of each size, shape (max_size + 1,)."""
        return np.asarray(self.counts.mean(axis=0), dtype=np.float64)


def zif_graphs(frames: FrameStream, *, break_A: float = BREAK_A) -> Iterator[ZifGraph]:
    """The Zn–Im graph of each frame.

    Nodes are the Zn atoms and the intact five-rings. Zn–N bonds are shorter than 3.088 Å, the
    closest pair first, each N used once, at most four a Zn (aMOF's rule).

    Args:
        frames: T frames, or a stream of pieces.
        break_A: Length beyond which a ring bond is broken.

    Raises:
        NotDefinedError: no Zn, no C or no N, no imidazolate, or frames without cell or with NaN.
    """
    for graph, _, _ in placed_graphs(frames, break_A=break_A):
        yield graph


def placed_graphs(
    frames: FrameStream, *, break_A: float = BREAK_A, may_be_empty: bool = False
) -> Iterator[tuple[ZifGraph, FloatArray, FloatArray]]:
    """Each graph of `zif_graphs` with the positions and the cell of its frame.

    With `may_be_empty`, a frame without an intact linker gives a graph without one.
    """
    for chunk in checked_chunks(frames, species=("Zn", "C", "N")):
        unit = UnitSearch(chunk, break_A=break_A)
        zinc = np.flatnonzero(unit.types == 3)
        for row in range(len(chunk)):
            rings, offsets, edges, shifts = _graph(
                unit.positions[row], unit.cell[row], unit.inverse[row], unit.types, unit.table
            )
            if not len(rings) and not may_be_empty:
                raise NotDefinedError(
                    f"no imidazolate recognised in {chunk.where(row)}; the Zn–Im graph needs one"
                )
            edges[:, 0] = np.searchsorted(zinc, edges[:, 0])
            graph = ZifGraph(unit.atoms[zinc], unit.atoms[rings], offsets, edges, shifts)
            yield graph, chunk.positions[row], chunk.cell[row]


@jit
def _graph(
    positions: FloatArray, cell: FloatArray, inverse: FloatArray, types: IntArray, table: FloatArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Rings and their offsets, edges (Zn atom, ring) and their shifts of one frame."""
    i, j, shift, vector = pairs_kernel(positions, cell, inverse, types, table)
    rings, offsets, ring_of = ring_kernel(i, j, shift, vector, types)
    chosen = zinc_bonds(i, j, vector, types)
    edges, shifts = np.empty((len(chosen), 2), np.int64), np.empty((len(chosen), 3), np.int64)
    count = 0
    for p in chosen:
        ring = ring_of[j[p]]
        if ring >= 0:
            k = 0
            while rings[ring, k] != j[p]:
                k += 1
            edges[count, 0], edges[count, 1] = i[p], ring
            shifts[count] = shift[p] - offsets[ring, k]
            count += 1
    return rings, offsets, edges[:count].copy(), shifts[:count].copy()


@jit
def zinc_bonds(i: IntArray, j: IntArray, vector: FloatArray, types: IntArray) -> IntArray:
    """Pair numbers of the Zn–N bonds: closest first, each N once, at most four a Zn."""
    candidates = np.flatnonzero((types[i] == 3) & (types[j] == 2))
    squared = np.empty(len(candidates))
    for c in range(len(candidates)):
        squared[c] = (vector[candidates[c]] ** 2).sum()
    bonds, used = np.zeros(len(types), np.int64), np.zeros(len(types), np.bool_)
    kept = np.zeros(len(candidates), np.bool_)
    for c in np.argsort(squared):
        a, b = i[candidates[c]], j[candidates[c]]
        if bonds[a] < _MAX_BONDS_PER_ZINC and not used[b]:
            bonds[a] += 1
            used[b] = kept[c] = True
    return candidates[kept]


def contracted(graph: ZifGraph) -> tuple[IntArray, IntArray, IntArray]:
    """Zn–Zn multigraph with one edge for each Im that joins two Zn.

    An Im has at most two bonds, so that each primitive ring of n Zn here is one of 2n nodes in the
    Zn–Im graph, and no other exists there.

    Returns:
        Edges (Zn, Zn), shape (M, 2), their shifts, shape (M, 3), and the Im of each, shape (M,).
    """
    order = np.argsort(graph.edges[:, 1], kind="stable")
    linker = graph.edges[order, 1]
    first = np.flatnonzero(linker[1:] == linker[:-1])
    left, right = order[first], order[first + 1]
    edges = np.stack([graph.edges[left, 0], graph.edges[right, 0]], axis=1)
    return edges, graph.shifts[left] - graph.shifts[right], linker[first]


def graph_rings(graph: ZifGraph, *, max_size: int = MAX_RING_SIZE) -> tuple[IntArray, FloatArray]:
    """Primitive rings of one Zn–Im graph.

    Args:
        graph: The graph.
        max_size: Largest ring, Zn and Im counted; 32 is published.

    Returns:
        Rings per cell and share of nodes on a ring of each size, shapes (max_size + 1,).

    Source: Castel et al. 2024 (primitive rings of R.I.N.G.S., depth 32).
    """
    edges, shifts, linker = contracted(graph)
    proper = (edges[:, 0] != edges[:, 1]) | shifts.any(axis=1)  # an Im with both N on one Zn
    rings = primitive_rings(len(graph.zinc), edges[proper], shifts[proper], max_size=max_size // 2)
    on_linker = np.zeros((max_size // 2 + 1, len(graph.linkers)), dtype=bool)
    on_linker[:, linker[proper]] = rings.edge_on_ring
    counts, fraction = np.zeros(max_size + 1, np.int64), np.zeros(max_size + 1)
    even = slice(0, 2 * (max_size // 2) + 1, 2)
    counts[even] = rings.counts
    n_on = rings.node_on_ring.sum(axis=1) + on_linker.sum(axis=1)
    fraction[even] = n_on / graph.n_nodes
    return counts, fraction


def ring_statistics(
    frames: FrameStream,
    *,
    max_size: int = MAX_RING_SIZE,
    break_A: float = BREAK_A,
    known: KnownGraphs | None = None,
) -> RingSeries:
    """Primitive rings of the Zn–Im graph, frame by frame: a melting indicator.

    A graph that was seen before is not searched again; at 300 K it rarely changes.

    Args:
        frames: T frames, or a stream of pieces.
        max_size: Largest ring, Zn and Im counted.
        break_A: Length beyond which a ring bond is broken.
        known: Graphs searched before with the same `max_size`; new ones are added.

    Raises:
        NotDefinedError: no Zn, no imidazolate, or frames without cell or with NaN.

    Source: Castel et al. 2024.
    """
    known = {} if known is None else known
    counts, fractions, n_nodes, n_searches = [], [], [], 0
    for graph in zif_graphs(frames, break_A=break_A):
        key = _graph_key(graph)
        if key not in known:
            if len(known) >= _MAX_KNOWN_GRAPHS:
                known.clear()
            known[key] = graph_rings(graph, max_size=max_size)
            n_searches += 1
        counts.append(known[key][0])
        fractions.append(known[key][1])
        n_nodes.append(graph.n_nodes)
    return RingSeries(np.array(counts), np.array(fractions), np.array(n_nodes), n_searches)


def _graph_key(graph: ZifGraph) -> bytes:
    """The same for a frame and its wrapped copy, different for different graphs."""
    edges, shifts, _ = contracted(graph)
    swap = edges[:, 0] > edges[:, 1]
    edges[swap], shifts[swap] = edges[swap, ::-1], -shifts[swap]
    gauged = spanning_gauge(len(graph.zinc), edges, shifts)
    table = np.concatenate([edges, gauged], axis=1)
    table = table[np.lexsort(table.T)]
    return table.tobytes() + np.int64(len(graph.linkers)).tobytes()
