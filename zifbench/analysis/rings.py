"""Primitive (shortest-path) rings of a periodic graph, searched on the infinite graph.

A ring is primitive when for every two of its nodes the graph distance equals the distance along
the ring (Franzblau 1991; "primitive" in R.I.N.G.S., Le Roux 2010). For even rings it is enough that
antipodal nodes are at the full distance, for odd ones that each node is from both its antipodes.

The search walks (node, image) pairs, never minimum images: in a cell smaller than the rings a path
round the boundary would look like a shortcut and hide real rings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.ring_search import IMAGE_RANGE, adjacency, search
from zifbench.errors import NotDefinedError
from zifbench.frames import IntArray
from zifbench.jit import jit

BoolArray = npt.NDArray[np.bool_]

_FIRST_CAPACITY = 4096  # places that a table can hold, twice those within 8 steps of a Zn
_MAX_CAPACITY = 1 << 22


@dataclass(frozen=True)
class RingCounts:
    """Primitive rings per cell of a periodic graph, by number of nodes.

    Attributes:
        counts: Rings of each size per cell, shape (max_size + 1,).
        node_on_ring: A node lies on a ring of that size, shape (max_size + 1, n_nodes).
        edge_on_ring: An edge does, shape (max_size + 1, n_edges).
    """

    counts: IntArray
    node_on_ring: BoolArray
    edge_on_ring: BoolArray


def primitive_rings(
    n_nodes: int, edges: IntArray, shifts: IntArray, *, max_size: int
) -> RingCounts:
    """Count the primitive rings of a periodic multigraph.

    From each node of the home cell: breadth-first over (node, image), then from each meeting point
    (a node reached twice: even; an edge within a level: odd) both arms are walked back in
    lock-step, keeping only pairs at the distance that a primitive ring demands. Each ring of n
    nodes is found n times.

    Args:
        n_nodes: Nodes in the cell.
        edges: Node numbers (u, v), shape (E, 2); parallel edges are different edges.
        shifts: Cell of v as seen from u in the home cell, shape (E, 3).
        max_size: Largest ring looked for, in nodes.

    Returns:
        Counts per cell, whole numbers.

    Raises:
        NotDefinedError: more nodes within reach than a network has, or shifts beyond ±4096 cells.
    """
    gauged = spanning_gauge(n_nodes, edges, shifts)
    depth = max_size // 2
    if np.abs(gauged).max(initial=0) * (depth + 1) * 2 >= IMAGE_RANGE // 2:
        raise NotDefinedError(
            f"rings: an edge reaches over {np.abs(gauged).max()} cells; choose less skewed vectors"
        )
    capacity = _FIRST_CAPACITY
    while capacity <= _MAX_CAPACITY:
        found, nodes, on_edges = search(n_nodes, edges, gauged, max_size, capacity)
        if found[0] >= 0:
            sizes = np.maximum(np.arange(max_size + 1), 1)
            return RingCounts(found // sizes, nodes, on_edges)
        capacity *= 4
    raise NotDefinedError(
        f"rings: more than {_MAX_CAPACITY // 2} nodes within {depth} steps of one; "
        "this is no framework, or max_size is too large"
    )


@jit
def spanning_gauge(n_nodes: int, edges: IntArray, shifts: IntArray) -> IntArray:
    """Move nodes by lattice vectors so that the edges of a spanning tree have no shift.

    The counts cannot depend on it; the shifts become small and the same for a wrapped frame and
    its unwrapped original.
    """
    heads, following = adjacency(n_nodes, edges)
    moved = np.zeros((n_nodes, 3), np.int64)
    seen = np.zeros(n_nodes, np.bool_)
    queue = np.empty(n_nodes, np.int64)
    for root in range(n_nodes):
        if seen[root]:
            continue
        seen[root], queue[0], first, last = True, root, 0, 1
        while first < last:
            u = queue[first]
            first += 1
            h = heads[u]
            while h >= 0:
                e, back = h // 2, h % 2
                v = edges[e, 1 - back]
                if not seen[v]:
                    for k in range(3):
                        step = -shifts[e, k] if back else shifts[e, k]
                        moved[v, k] = moved[u, k] + step
                    seen[v], queue[last] = True, v
                    last += 1
                h = following[h]
    gauged = np.empty_like(shifts)
    for e in range(len(edges)):
        for k in range(3):
            gauged[e, k] = shifts[e, k] + moved[edges[e, 0], k] - moved[edges[e, 1], k]
    return gauged
