"""Primitive rings: nets known on paper, a naive search, every choice of cell."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from zifbench.analysis.rings import primitive_rings, spanning_gauge
from zifbench.errors import NotDefinedError
from zifbench.frames import IntArray

Place = tuple[int, int, int, int]  # node and image

# name: nodes, edges, shifts, rings per cell
NETS = {
    "square": (1, [[0, 0]] * 2, np.eye(3, dtype=int)[:2], {4: 1}),
    "cubic": (1, [[0, 0]] * 3, np.eye(3, dtype=int), {4: 3, 6: 4}),
    "honeycomb": (2, [[0, 1]] * 3, [[0, 0, 0], [-1, 0, 0], [0, -1, 0]], {6: 1}),
    "triangular": (1, [[0, 0]] * 3, [[1, 0, 0], [0, 1, 0], [1, 1, 0]], {3: 2}),
    "diamond": (2, [[0, 1]] * 4, [[0, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], {6: 4}),
    "fcc": (
        1,
        [[0, 0]] * 6,
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0], [0, 1, -1], [1, 0, -1]],
        {3: 8, 4: 3},
    ),
    "chain of double bonds": (2, [[0, 1], [0, 1], [1, 0]], [[0, 0, 0]] * 2 + [[1, 0, 0]], {2: 1}),
    "chain": (1, [[0, 0]], [[1, 0, 0]], {}),
    "two interpenetrating cubic nets": (
        2,
        [[0, 0]] * 3 + [[1, 1]] * 3,
        np.tile(np.eye(3, dtype=int), (2, 1)),
        {4: 6, 6: 8},
    ),
}


def _count(n_nodes: int, edges: object, shifts: object, max_size: int) -> dict[int, int]:
    rings = primitive_rings(n_nodes, np.array(edges), np.array(shifts), max_size=max_size)
    return {size: int(rings.counts[size]) for size in np.flatnonzero(rings.counts)}


@pytest.mark.parametrize("name", NETS)
def test_known_nets(name: str) -> None:
    n_nodes, edges, shifts, expected = NETS[name]
    assert _count(n_nodes, edges, shifts, 14) == expected


def _neighbours(
    edges: IntArray, shifts: IntArray
) -> dict[int, list[tuple[int, tuple[int, ...], int]]]:
    table: dict[int, list[tuple[int, tuple[int, ...], int]]] = {}
    for e, ((u, v), s) in enumerate(zip(edges.tolist(), shifts.tolist(), strict=True)):
        table.setdefault(u, []).append((v, tuple(s), e))
        table.setdefault(v, []).append((u, tuple(-k for k in s), e))
    return table


def _distances(table: dict, start: Place, depth: int) -> dict[Place, int]:
    found, queue = {start: 0}, [start]
    for place in queue:
        if found[place] == depth:
            continue
        for v, s, _ in table.get(place[0], []):
            other = (v, *(a + b for a, b in zip(place[1:], s, strict=True)))
            if other not in found:
                found[other] = found[place] + 1
                queue.append(other)
    return found


def _cycles(table: dict, home: Place, size: int) -> Iterator[tuple[tuple[Place, ...], tuple]]:
    """Closed walks without repeated places, each in both directions."""

    def extend(path: list[Place], used: list[tuple]) -> Iterator[tuple[tuple[Place, ...], tuple]]:
        for v, s, e in table.get(path[-1][0], []):
            other = (v, *(a + b for a, b in zip(path[-1][1:], s, strict=True)))
            edge = (e, frozenset((path[-1], other)))
            if len(path) == size and other == home and edge not in used:
                yield tuple(path), (*used, edge)
            elif len(path) < size and other not in path:
                yield from extend([*path, other], [*used, edge])

    yield from extend([home], [])


def _naive(n_nodes: int, edges: IntArray, shifts: IntArray, max_size: int) -> dict[int, int]:
    table = _neighbours(edges, shifts)
    counts: Counter[int] = Counter()
    for home in range(n_nodes):
        start = (home, 0, 0, 0)
        for size in range(2, max_size + 1):
            for path, _ in _cycles(table, start, size):
                good = all(
                    _distances(table, path[a], size).get(path[b]) == min(b - a, size - b + a)
                    for a, b in itertools.combinations(range(size), 2)
                )
                counts[size] += good
    return {size: n // (2 * size) for size, n in counts.items() if n}  # two directions, n starts


@pytest.mark.parametrize("seed", range(8))
def test_random_multigraphs_against_a_naive_search(seed: int) -> None:
    """Loops to images, parallel edges, odd and even rings, disconnected parts."""
    rng = np.random.default_rng(seed)
    n_nodes = 4
    edges = rng.integers(0, n_nodes, (7, 2))
    shifts = rng.integers(-1, 2, (7, 3))
    keep = (edges[:, 0] != edges[:, 1]) | shifts.any(axis=1)
    edges, shifts = edges[keep], shifts[keep]
    assert _count(n_nodes, edges, shifts, 6) == _naive(n_nodes, edges, shifts, 6)


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_of_cell_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_nodes, edges = 12, rng.integers(0, 12, (22, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    shifts = rng.integers(-1, 2, (len(edges), 3))
    before = primitive_rings(n_nodes, edges, shifts, max_size=14)
    gauge = rng.integers(-5, 6, (n_nodes, 3))
    skew = np.array([[1, 2, 0], [0, 1, 0], [3, -1, 1]])
    order = rng.permutation(n_nodes)
    flip = rng.random(len(edges)) < 0.5
    new_edges = order[np.where(flip[:, None], edges[:, ::-1], edges)]
    moved = (shifts + gauge[edges[:, 0]] - gauge[edges[:, 1]]) @ skew
    after = primitive_rings(n_nodes, new_edges, np.where(flip[:, None], -moved, moved), max_size=14)
    np.testing.assert_array_equal(after.counts, before.counts)
    np.testing.assert_array_equal(after.node_on_ring[:, order], before.node_on_ring)
    np.testing.assert_array_equal(after.edge_on_ring, before.edge_on_ring)
    assert before.counts.sum() > 0


def test_nodes_and_edges_on_rings() -> None:
    """A triangle with a tail: the tail is on no ring."""
    edges = np.array([[0, 1], [1, 2], [2, 0], [2, 3]])
    rings = primitive_rings(4, edges, np.zeros((4, 3), int), max_size=6)
    assert rings.counts.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert rings.node_on_ring[3].tolist() == [True, True, True, False]
    assert rings.edge_on_ring[3].tolist() == [True, True, True, False]


def test_max_size_is_inclusive() -> None:
    n_nodes, edges, shifts, _ = NETS["diamond"]
    assert _count(n_nodes, edges, shifts, 6) == {6: 4}
    assert _count(n_nodes, edges, shifts, 5) == {}


def test_gauge_takes_the_shifts_off_a_tree() -> None:
    edges = np.array([[0, 1], [1, 2], [0, 2]])
    shifts = np.array([[5, 0, 0], [0, -7, 1], [5, -7, 2]])
    gauged = spanning_gauge(3, edges, shifts)
    assert (gauged == 0).all(axis=1).sum() >= 2
    np.testing.assert_array_equal(np.abs(gauged).sum(axis=0), [0, 0, 1])


def test_a_dense_graph_grows_its_tables() -> None:
    """A cubic net searched to 30 steps is beyond the first table."""
    assert _count(1, [[0, 0]] * 3, np.eye(3, dtype=int), 30) == {4: 3, 6: 4}


def test_no_edges() -> None:
    rings = primitive_rings(3, np.zeros((0, 2), int), np.zeros((0, 3), int), max_size=8)
    assert rings.counts.sum() == 0


def test_edges_that_reach_too_far_are_refused() -> None:
    edges = np.array([[0, 1], [0, 1]])
    with pytest.raises(NotDefinedError, match="an edge reaches over 900 cells"):
        primitive_rings(2, edges, np.array([[0, 0, 0], [900, 0, 0]]), max_size=16)
