"""The compiled search behind `rings.primitive_rings`: places, arms, and rings that they close.

A place is a node in one cell of the infinite graph. An arm leads from a place to one a step nearer
to the source; a bridge joins two places equally far from it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zifbench.frames import IntArray
from zifbench.jit import jit

BoolArray = npt.NDArray[np.bool_]
LevelArray = npt.NDArray[np.int16]

# Images are packed as 13 bits an axis beside the node: shifts up to ±4096 cells.
IMAGE_RANGE = 1 << 13


@jit
def adjacency(n_nodes: int, edges: IntArray) -> tuple[IntArray, IntArray]:
    """Linked lists of half-edges 2e (from its first node) and 2e + 1 (from its second)."""
    heads = np.full(n_nodes, -1, np.int64)
    following = np.full(2 * len(edges), -1, np.int64)
    for h in range(2 * len(edges) - 1, -1, -1):
        u = edges[h // 2, h % 2]
        following[h], heads[u] = heads[u], h
    return heads, following


@jit
def _key(node: int, x: int, y: int, z: int) -> int:
    half = IMAGE_RANGE // 2
    return ((node * IMAGE_RANGE + x + half) * IMAGE_RANGE + y + half) * IMAGE_RANGE + z + half


@jit
def _slot(keys: IntArray, key: int) -> int:
    """Place of a key in an open-addressing table whose length is a power of two; −1 is free."""
    mask = len(keys) - 1
    slot = ((key * 0x9E3779B97F4A7C1) >> 40) & mask  # above the bits of the image
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@jit
def _distance(keys: IntArray, levels: LevelArray, home: IntArray, x: int, y: int) -> int:
    """Graph distance of two visited places, −1 beyond the depth of the search."""
    a = home[x, 0]
    key = _key(
        home[y, 0], home[y, 1] - home[x, 1], home[y, 2] - home[x, 2], home[y, 3] - home[x, 3]
    )
    slot = _slot(keys[a], key)
    return levels[a, slot] if keys[a, slot] == key else -1


@jit
def search(
    n_nodes: int, edges: IntArray, shifts: IntArray, max_size: int, capacity: int
) -> tuple[IntArray, BoolArray, BoolArray]:
    """All rings from all home nodes; found[0] = −1 says that a table was too small."""
    found = np.zeros(max_size + 1, np.int64)
    on_node = np.zeros((max_size + 1, n_nodes), np.bool_)
    on_edge = np.zeros((max_size + 1, len(edges)), np.bool_)
    heads, following = adjacency(n_nodes, edges)
    keys = np.full((n_nodes, capacity), -1, np.int64)
    levels = np.empty((n_nodes, capacity), np.int16)
    place = np.empty((capacity, 4), np.int64)  # node and image of each place visited
    arms = np.empty((capacity * 8, 3), np.int64)  # place before, edge, next arm into one place
    arm_heads = np.empty(capacity, np.int64)
    bridges = np.empty((capacity * 4, 3), np.int64)  # edges within a level: two places, edge
    place_levels = np.empty(capacity, np.int64)
    for repeat in range(2):  # all distances first, then the rings
        for source in range(n_nodes):
            if repeat == 0:
                keys[source, :] = -1
            sizes = _breadth_first(
                source, edges, shifts, heads, following, max_size // 2, keys[source],
                levels[source], place, place_levels, arm_heads, arms, bridges, repeat == 1,
            )  # fmt: skip
            if sizes[0] < 0:
                found[0] = -1
                return found, on_node, on_edge
            if repeat == 1:
                _rings_of_source(
                    sizes, keys, levels, place, place_levels, arm_heads, arms, bridges, max_size,
                    found, on_node, on_edge,
                )  # fmt: skip
    return found, on_node, on_edge


@jit
def _breadth_first(
    source: int,
    edges: IntArray,
    shifts: IntArray,
    heads: IntArray,
    following: IntArray,
    depth: int,
    keys: IntArray,
    levels: LevelArray,
    place: IntArray,
    place_levels: IntArray,
    arm_heads: IntArray,
    arms: IntArray,
    bridges: IntArray,
    again: bool,
) -> tuple[int, int]:
    """Visit every place within `depth`; return the numbers of places and of bridges.

    The first pass fills the hash table (keys -> level). The second, `again`, walks the same way
    and records where each place can be reached from.
    """
    capacity = len(keys)
    numbers = np.full(capacity if again else 1, -1, np.int64)
    slot = _slot(keys, _key(source, 0, 0, 0))
    keys[slot], levels[slot] = _key(source, 0, 0, 0), 0
    if again:
        numbers[slot] = 0
    place[0, 0], place[0, 1:], place_levels[0], arm_heads[0] = source, 0, 0, -1
    n_places, n_arms, n_bridges, current = 1, 0, 0, 0
    while current < n_places:
        level = place_levels[current]
        h = heads[place[current, 0]]
        while h >= 0:
            e, back = h // 2, h % 2
            sign = -1 if back else 1
            v = edges[e, 1 - back]
            x = place[current, 1] + sign * shifts[e, 0]
            y = place[current, 2] + sign * shifts[e, 1]
            z = place[current, 3] + sign * shifts[e, 2]
            key = _key(v, x, y, z)
            slot = _slot(keys, key)
            new = numbers[slot] < 0 if again else keys[slot] == -1
            if new and level < depth:
                if 2 * n_places >= capacity:
                    return -1, -1
                place[n_places, 0], place[n_places, 1] = v, x
                place[n_places, 2], place[n_places, 3] = y, z
                place_levels[n_places], arm_heads[n_places] = level + 1, -1
                keys[slot], levels[slot] = key, level + 1
                if again:
                    numbers[slot] = n_places
                n_places += 1
            if again and keys[slot] == key and numbers[slot] >= 0:
                other = numbers[slot]
                if place_levels[other] == level + 1:
                    if n_arms == len(arms):
                        return -1, -1
                    arms[n_arms, 0], arms[n_arms, 1] = current, e
                    arms[n_arms, 2] = arm_heads[other]
                    arm_heads[other] = n_arms
                    n_arms += 1
                elif place_levels[other] == level and current < other:
                    if n_bridges == len(bridges):
                        return -1, -1
                    bridges[n_bridges, 0], bridges[n_bridges, 1] = current, other
                    bridges[n_bridges, 2] = e
                    n_bridges += 1
            h = following[h]
        current += 1
    return n_places, n_bridges


@jit
def _rings_of_source(
    sizes: tuple[int, int],
    keys: IntArray,
    levels: LevelArray,
    place: IntArray,
    place_levels: IntArray,
    arm_heads: IntArray,
    arms: IntArray,
    bridges: IntArray,
    max_size: int,
    found: IntArray,
    on_node: BoolArray,
    on_edge: BoolArray,
) -> None:
    """Even rings close where two arms enter one place, odd ones over a bridge."""
    left, right = np.empty((max_size, 3), np.int64), np.empty((max_size, 3), np.int64)
    for target in range(1, sizes[0]):
        top = place_levels[target]
        if 2 * top > max_size:
            continue
        p = arm_heads[target]
        while p >= 0:
            q = arms[p, 2]
            while q >= 0:
                left[top, 0], right[top, 0] = target, target
                left[top - 1, 0], left[top - 1, 1] = arms[p, 0], arms[p, 1]
                right[top - 1, 0], right[top - 1, 1] = arms[q, 0], arms[q, 1]
                _walk_back(
                    2 * top, top - 1, keys, levels, place, arm_heads, arms, left, right,
                    found, on_node, on_edge,
                )  # fmt: skip
                q = arms[q, 2]
            p = arms[p, 2]
    for b in range(sizes[1]):
        top = place_levels[bridges[b, 0]]
        if 2 * top + 1 > max_size or top == 0:
            continue
        left[top, 0], right[top, 0] = bridges[b, 0], bridges[b, 1]
        left[top, 1], right[top, 1] = bridges[b, 2], bridges[b, 2]
        _walk_back(
            2 * top + 1, top, keys, levels, place, arm_heads, arms, left, right,
            found, on_node, on_edge,
        )  # fmt: skip


@jit
def _fits(
    size: int,
    k: int,
    keys: IntArray,
    levels: LevelArray,
    place: IntArray,
    left: IntArray,
    right: IntArray,
) -> bool:
    """Distances that the two places at level k must have to each other and to their antipodes."""
    half = size // 2
    if _distance(keys, levels, place, left[k, 0], right[k, 0]) != min(2 * k, size - 2 * k):
        return False
    for m in range(half - k, half - k + 1 + size % 2):  # odd rings have two antipodes a node
        if m >= k and m <= half and (m < half or size % 2):
            if _distance(keys, levels, place, left[k, 0], right[m, 0]) != half:
                return False
            if _distance(keys, levels, place, left[m, 0], right[k, 0]) != half:
                return False
    return True


@jit
def _walk_back(
    size: int,
    top: int,
    keys: IntArray,
    levels: LevelArray,
    place: IntArray,
    arm_heads: IntArray,
    arms: IntArray,
    left: IntArray,
    right: IntArray,
    found: IntArray,
    on_node: BoolArray,
    on_edge: BoolArray,
) -> None:
    """All pairs of arms from level `top` down to the source that make a primitive ring."""
    if top > 0 and not _fits(size, top, keys, levels, place, left, right):
        return
    k = top
    if k > 0:
        left[k, 2], right[k, 2] = arm_heads[left[k, 0]], arm_heads[right[k, 0]]
    while True:
        if k == 0:
            _record(size, place, left, right, found, on_node, on_edge)
            k = 1
        elif left[k, 2] < 0:
            k += 1
        else:
            p, q = left[k, 2], right[k, 2]
            right[k, 2] = arms[q, 2]
            if right[k, 2] < 0:
                left[k, 2], right[k, 2] = arms[p, 2], arm_heads[right[k, 0]]
            left[k - 1, 0], left[k - 1, 1] = arms[p, 0], arms[p, 1]
            right[k - 1, 0], right[k - 1, 1] = arms[q, 0], arms[q, 1]
            k -= 1
            if k > 0:
                left[k, 2], right[k, 2] = arm_heads[left[k, 0]], arm_heads[right[k, 0]]
                if not _fits(size, k, keys, levels, place, left, right):
                    k += 1
        if k > top:
            return


@jit
def _record(
    size: int,
    place: IntArray,
    left: IntArray,
    right: IntArray,
    found: IntArray,
    on_node: BoolArray,
    on_edge: BoolArray,
) -> None:
    found[size] += 1
    half = size // 2
    for k in range(half + 1):
        on_node[size, place[left[k, 0], 0]] = True
        on_node[size, place[right[k, 0], 0]] = True
        if k < half or size % 2:
            on_edge[size, left[k, 1]] = True
            on_edge[size, right[k, 1]] = True
