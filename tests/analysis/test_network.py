"""The Zn–Im graph and its rings: published counts, invariances, matscipy, geometry of linkers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.analysis.structures import INVARIANCES, crystal, glasses, supercell, wrapped
from zifbench.analysis.linker_geometry import linker_angle_distribution, ring_orientation_index
from zifbench.analysis.network import ZifGraph, contracted, ring_statistics, zif_graphs
from zifbench.errors import NotDefinedError
from zifbench.frames import Frames

pytestmark = pytest.mark.published

CRYSTAL_RINGS = {8: 4, 12: 16, 16: 32}
GLASS_RINGS = {6: 1.5, 8: 2.4, 10: 2.1, 12: 6.9, 14: 5.1, 16: 8.2, 18: 2.3, 20: 2.1}
GLASS_RINGS |= {22: 2.3, 24: 0.2, 26: 0.4}


def _sizes(counts: np.ndarray) -> dict[int, float]:
    return {int(k): float(counts[k]) for k in np.flatnonzero(counts)}


def test_published_graphs() -> None:
    """64 edges in the crystal; in the glasses one for each Zn–N bond below 3.088 Å."""
    graph = next(zif_graphs(crystal()))
    assert (len(graph.zinc), len(graph.linkers), len(graph.edges)) == (16, 32, 64)
    assert np.bincount(graph.edges[:, 0]).tolist() == [4] * 16
    assert np.bincount(graph.edges[:, 1]).tolist() == [2] * 32
    for graph in zif_graphs(glasses()):
        assert np.bincount(graph.edges[:, 0]).max() <= 4
        assert np.bincount(graph.edges[:, 1]).max() <= 2


def test_edges_lead_from_zinc_to_its_nitrogen() -> None:
    """The image of the linker that an edge names holds a N bonded to the Zn."""
    frames = glasses()[3]
    cell = frames.cell[0]
    graph = next(zif_graphs(frames))
    for (zn, im), shift in zip(graph.edges, graph.shifts, strict=True):
        ring = graph.linkers[im]
        place = frames.positions[0, ring] + (graph.offsets[im] + shift) @ cell
        step = np.linalg.norm(place - frames.positions[0, graph.zinc[zn]], axis=1)
        assert step[frames.numbers[ring] == 7].min() < 3.088
        assert np.linalg.norm(place - np.roll(place, 1, axis=0), axis=1).max() < 1.6


@pytest.mark.parametrize("move", ["as published", *INVARIANCES])
def test_published_rings(move: str) -> None:
    """analysis.md, section 6: exact for the crystal, mean of the ten glasses."""
    change = INVARIANCES.get(move, lambda frames: frames)
    rings = ring_statistics(change(crystal()))
    assert _sizes(rings.counts[0]) == CRYSTAL_RINGS
    np.testing.assert_allclose(rings.node_fraction[0, [8, 12, 16]], [2 / 3, 1, 1])
    rings = ring_statistics(change(glasses()))
    assert _sizes(rings.mean.round(10)) == GLASS_RINGS
    assert rings.n_nodes.tolist() == [48] * 10
    assert _sizes(rings.counts[0]) == CRYSTAL_RINGS  # glass01 has the crystal's network


def test_a_supercell_has_eight_times_the_rings() -> None:
    rings = ring_statistics(supercell(crystal()))
    assert _sizes(rings.counts[0] / 8) == CRYSTAL_RINGS
    rings = ring_statistics(supercell(glasses()[4:6]))
    single = ring_statistics(glasses()[4:6])
    np.testing.assert_array_equal(rings.counts, 8 * single.counts)
    np.testing.assert_allclose(rings.node_fraction, single.node_fraction)


def matscipy_rings(graph: ZifGraph) -> dict[int, float]:
    """Shortest-path rings of matscipy on the 3×3×3 replicated graph, per cell."""
    from matscipy.ffi import distances_on_graph, find_sp_rings

    repeats = 3
    images = np.stack(np.meshgrid(*[np.arange(repeats)] * 3, indexing="ij"), -1).reshape(-1, 3)
    place = np.random.default_rng(0).uniform(size=(graph.n_nodes, 3))
    first, second, vectors = [], [], []
    n_zinc = len(graph.zinc)
    for (zn, im), shift in zip(graph.edges, graph.shifts, strict=True):
        for image in images:
            other = (image + shift) % repeats
            a = np.ravel_multi_index(image, (repeats,) * 3) * graph.n_nodes + zn
            b = np.ravel_multi_index(other, (repeats,) * 3) * graph.n_nodes + n_zinc + im
            step = place[n_zinc + im] + shift - place[zn]
            first += [a, b]
            second += [b, a]
            vectors += [step, -step]
    order = np.lexsort((second, first))
    i = np.array(first, dtype=np.int32)[order]
    j = np.array(second, dtype=np.int32)[order]
    r = np.array(vectors)[order]
    counts = find_sp_rings(i, j, r, distances_on_graph(i, j), 33)
    return {int(k): counts[k] / repeats**3 for k in np.flatnonzero(counts)}


@pytest.mark.parametrize("row", [-1, 1, pytest.param(6, marks=pytest.mark.slow)])
def test_matscipy_agrees(row: int) -> None:
    """matscipy.ffi.find_sp_rings on 3×3×3 with maxlength 33; −1 is the crystal."""
    pytest.importorskip("matscipy")
    frames = crystal() if row < 0 else glasses()[row]
    graph = next(zif_graphs(frames))
    assert matscipy_rings(graph) == pytest.approx(_sizes(ring_statistics(frames).counts[0]))


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 2, 3, 4, 5, 7, 8, 9])
def test_matscipy_agrees_on_the_other_glasses(row: int) -> None:
    pytest.importorskip("matscipy")
    graph = next(zif_graphs(glasses()[row]))
    expected = _sizes(ring_statistics(glasses()[row]).counts[0])
    assert matscipy_rings(graph) == pytest.approx(expected)


def test_a_graph_seen_before_is_not_searched_again() -> None:
    """Thermal motion and wrapping leave the graph, so that one search serves all frames."""
    frames = crystal()
    noise = np.random.default_rng(0).normal(scale=0.02, size=(20, 272, 3))
    moved = dataclasses.replace(
        frames,
        positions=frames.positions + noise,
        cell=np.repeat(frames.cell, 20, axis=0),
        source_index=None,
        labels={},
    )
    scaled = moved.positions.copy()
    scaled[10:] = wrapped(moved).positions[10:]
    rings = ring_statistics(dataclasses.replace(moved, positions=scaled).chunks(6))
    assert rings.n_searches == 1
    assert rings.counts.shape == (20, 33)
    assert (rings.counts == rings.counts[0]).all()


def test_contraction_keeps_every_linker_between_two_zinc() -> None:
    frames = glasses()[1]
    graph = next(zif_graphs(frames))
    edges, shifts, linker = contracted(graph)
    degree = np.bincount(graph.edges[:, 1], minlength=32)
    assert sorted(linker.tolist()) == np.flatnonzero(degree == 2).tolist()
    zinc = frames.positions[0, graph.zinc]
    span = zinc[edges[:, 1]] + shifts @ frames.cell[0] - zinc[edges[:, 0]]
    assert np.linalg.norm(span, axis=1).max() < 7.0  # Zn–Im–Zn spans 6 Å


@pytest.mark.parametrize("move", ["as published", *INVARIANCES, "2×2×2"])
def test_linker_geometry(move: str) -> None:
    """First values of this code, held; 139.3° is the known Zn–Im–Zn angle of ZIF-4, 137–145°."""
    change = INVARIANCES.get(move, supercell if move == "2×2×2" else lambda frames: frames)
    angles = linker_angle_distribution(change(crystal()))
    assert angles.n_angles == 32 * (8 if move == "2×2×2" else 1)
    assert angles.mean_deg == pytest.approx(139.27, abs=0.005)
    assert angles.sd_deg == pytest.approx(3.92, abs=0.005)
    angles = linker_angle_distribution(change(glasses()))
    assert angles.mean_deg == pytest.approx(137.72, abs=0.005)
    assert ring_orientation_index(change(crystal()))[0] == pytest.approx(-0.19098, abs=1e-5)


def test_orientation_against_planes_by_singular_values() -> None:
    frames = glasses()[2]
    graph = next(zif_graphs(frames))
    normals = []
    for ring, offset in zip(graph.linkers, graph.offsets, strict=True):
        place = frames.positions[0, ring] + offset @ frames.cell[0]
        normals.append(np.linalg.svd(place - place.mean(axis=0))[2][2])
    terms = []
    for zn in range(16):
        held = graph.edges[graph.edges[:, 0] == zn, 1]
        terms += [
            1.5 * (normals[a] @ normals[b]) ** 2 - 0.5 for k, a in enumerate(held) for b in held[:k]
        ]
    assert ring_orientation_index(frames)[0] == pytest.approx(np.mean(terms), abs=0.01)


def _without(frames: Frames, symbol_number: int) -> Frames:
    keep = frames.numbers != symbol_number
    return dataclasses.replace(
        frames,
        numbers=frames.numbers[keep],
        masses=frames.masses[keep],
        positions=frames.positions[:, keep],
    )


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match="no Zn atoms in frame 0 of memory"):
        ring_statistics(_without(crystal(), 30))
    with pytest.raises(NotDefinedError, match="no N atoms"):
        ring_statistics(_without(crystal(), 7))
    exploded = dataclasses.replace(crystal(), positions=crystal().positions * 3.0)
    exploded = dataclasses.replace(exploded, cell=exploded.cell * 3.0)
    with pytest.raises(NotDefinedError, match="no imidazolate recognised in frame 0"):
        ring_statistics(exploded)
    with pytest.raises(NotDefinedError, match="of zero volume"):
        ring_statistics(dataclasses.replace(crystal(), cell=np.zeros((1, 3, 3))))


def test_graphs_known_from_other_pieces_are_not_searched_again() -> None:
    known: dict = {}
    frames = glasses()
    first = ring_statistics(frames[:3], known=known)
    again = ring_statistics(wrapped(frames[:4]), known=known)
    assert (first.n_searches, again.n_searches, len(known)) == (3, 1, 4)
    np.testing.assert_array_equal(again.counts[:3], first.counts)
