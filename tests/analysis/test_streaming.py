"""Every observable takes a stream of pieces: the same values, and memory that does not grow."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.analysis.structures import glasses
from zifbench.analysis.angles import bond_angle_distribution
from zifbench.analysis.coordination import bond_history, coordination_numbers
from zifbench.analysis.linker_geometry import linker_angle_distribution, ring_orientation_index
from zifbench.analysis.linker_series import intact_by_cutoff, linker_events, ring_bond_maxima
from zifbench.analysis.msd import mean_square_displacement
from zifbench.analysis.network import ring_statistics
from zifbench.analysis.pores import pore_volumes
from zifbench.analysis.rdf import partial_rdfs
from zifbench.errors import NotDefinedError
from zifbench.frames import Frames

OBSERVABLES: dict[str, Callable[[Any], Any]] = {
    "rdf": lambda f: partial_rdfs(f, r_max_A=8.0)["Zn", "N"].g,
    "angles": lambda f: bond_angle_distribution(f).counts,
    "coordination": coordination_numbers,
    "bonds": lambda f: bond_history(f, frame_interval_fs=100.0).broken,
    "msd": lambda f: mean_square_displacement(f, max_lag_fs=1000.0, frame_interval_fs=100.0).msd_A2[
        "Zn"
    ],
    "linkers": lambda f: linker_events(f).broken_fraction,
    "ring bonds": lambda f: ring_bond_maxima(f)[0],
    "cutoff linkers": intact_by_cutoff,
    "rings": lambda f: ring_statistics(f).counts,
    "Zn–Im–Zn": lambda f: linker_angle_distribution(f).counts,
    "orientation": ring_orientation_index,
    "pores": lambda f: pore_volumes(f, spacing_A=0.6),
}

pytestmark = pytest.mark.published


def _pieces(n_pieces: int, *, size: int = 32) -> Iterator[Frames]:
    """A vibrating glass, made piece by piece."""
    glass = glasses()[4]
    rng = np.random.default_rng(0)
    for _ in range(n_pieces):
        noise = rng.normal(scale=0.04, size=(size, glass.n_atoms, 3))
        yield dataclasses.replace(
            glass,
            positions=glass.positions + noise,
            cell=np.repeat(glass.cell, size, axis=0),
            labels={},
            source_index=None,
        )


def _whole(n_pieces: int) -> Frames:
    pieces = list(_pieces(n_pieces))
    return dataclasses.replace(
        pieces[0],
        positions=np.concatenate([piece.positions for piece in pieces]),
        cell=np.concatenate([piece.cell for piece in pieces]),
    )


@pytest.mark.parametrize("name", OBSERVABLES)
def test_pieces_give_what_the_whole_gives(name: str) -> None:
    observable = OBSERVABLES[name]
    np.testing.assert_allclose(observable(_pieces(3)), observable(_whole(3)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_memory_does_not_grow_with_the_frames(name: str) -> None:
    """Four times the frames: only what is returned for each frame may be added."""
    observable = OBSERVABLES[name]
    observable(_pieces(1))  # compiled and cached before anything is measured
    peaks, results = [], []
    for n_pieces in (4, 16):
        tracemalloc.start()
        results.append(np.asarray(observable(_pieces(n_pieces))))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    allowed = 1.1 * peaks[0] + 4 * (results[1].nbytes - results[0].nbytes) + 50_000
    assert peaks[1] < allowed


@pytest.mark.parametrize("name", OBSERVABLES)
def test_what_no_observable_accepts(name: str) -> None:
    observable = OBSERVABLES[name]
    frames = _whole(1)
    broken = frames.positions.copy()
    broken[5, 17, 2] = np.nan
    with pytest.raises(NotDefinedError, match="NaN or infinite at atom 17 in frame 5"):
        observable(dataclasses.replace(frames, positions=broken))
    with pytest.raises(NotDefinedError, match="cell: missing or of zero volume in frame 0"):
        observable(dataclasses.replace(frames, cell=0 * frames.cell))
    with pytest.raises(NotDefinedError, match="not periodic along all three"):
        observable(dataclasses.replace(frames, pbc=np.zeros(3, dtype=bool)))
    with pytest.raises(NotDefinedError, match="no frames"):
        observable(frames[:0])
    swapped = dataclasses.replace(frames, numbers=frames.numbers[::-1].copy())
    with pytest.raises(NotDefinedError, match="change from piece to piece"):
        observable([frames, swapped])
