"""Frames per second of each structural observable, beside other programs where they install.

    ZIFBENCH_MIRROR=... python benchmarks/structure_speed.py [frames]

A published glass with thermal noise, 272 atoms and 2×2×2 = 2176 (a tenth of the frames), one
thread; then all observables for 272 atoms on two threads. Compilation is not timed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from zifbench.analysis.angles import bond_angle_distribution
from zifbench.analysis.coordination import bond_history, coordination_numbers
from zifbench.analysis.linker_geometry import linker_angle_distribution, ring_orientation_index
from zifbench.analysis.linker_series import linker_events, ring_bond_maxima
from zifbench.analysis.msd import mean_square_displacement
from zifbench.analysis.network import graph_rings, ring_statistics, zif_graphs
from zifbench.analysis.pores import pore_volumes
from zifbench.analysis.rdf import partial_rdfs
from zifbench.analysis.spheres import largest_spheres
from zifbench.frames import Frames

GLASS = "gaillac2020/ZIF4_15glass04.cif"
FRAME_INTERVAL_FS = 100.0

OBSERVABLES: dict[str, Callable[[Frames], Any]] = {
    "three RDFs to 12 Å": partial_rdfs,
    "N–Zn–N angles": bond_angle_distribution,
    "coordination numbers": coordination_numbers,
    "bond history": lambda f: bond_history(f, frame_interval_fs=FRAME_INTERVAL_FS),
    "MSD, 40 lags, 4 elements": lambda f: mean_square_displacement(
        f, max_lag_fs=min(20_000.0, 50.0 * len(f)), frame_interval_fs=FRAME_INTERVAL_FS
    ),
    "linkers": linker_events,
    "ring bonds": ring_bond_maxima,
    "rings, graph known": ring_statistics,
    "Zn–Im–Zn angles": linker_angle_distribution,
    "ring orientation": ring_orientation_index,
    "pore volume, 0.3 Å": pore_volumes,
}


def _glass(repeat: int) -> Frames:
    for folder in os.environ.get("ZIFBENCH_MIRROR", "").split(os.pathsep):
        path = Path(folder) / GLASS
        if folder and path.is_file():
            return Frames.from_ase(ase.io.read(path).repeat(repeat))
    raise SystemExit(f"{GLASS} is not in ZIFBENCH_MIRROR")


def _thermal(glass: Frames, n_frames: int) -> Frames:
    noise = np.random.default_rng(0).normal(scale=0.06, size=(n_frames, glass.n_atoms, 3))
    cell = np.repeat(glass.cell, n_frames, axis=0)
    return dataclasses.replace(
        glass, positions=glass.positions + noise, cell=cell, labels={}, source_index=None
    )


def _each_graph(frames: Frames) -> None:
    for graph in zif_graphs(frames):
        graph_rings(graph)


def _others(frames: Frames) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What else can do one of these, for ten frames."""
    atoms = frames[:10].to_ase()
    zinc, nitrogen = frames.numbers == 30, frames.numbers == 7
    from ase.neighborlist import neighbor_list

    yield "ASE: coordination", lambda: [neighbor_list("i", a, {("Zn", "N"): 2.5}) for a in atoms]
    from vesin import NeighborList

    search = NeighborList(cutoff=12.0, full_list=True)
    both = zinc | nitrogen
    yield (
        "vesin: pairs to 12 Å, no histogram",
        lambda: [
            search.compute(
                points=a.positions[both], box=a.cell.array, periodic=True, quantities="ijd"
            )
            for a in atoms
        ],
    )
    try:
        import freud
    except ImportError:
        return
    box = freud.box.Box.from_matrix(frames.cell[0].T)
    r_max = 0.49 * min(box.L)
    rdf = freud.density.RDF(bins=int(r_max / 0.01), r_max=r_max)
    yield (
        f"freud: one RDF to {r_max:.1f} Å",
        lambda: [
            rdf.compute((box, box.wrap(a.positions[nitrogen])), box.wrap(a.positions[zinc]))
            for a in atoms
        ],
    )


def _line(name: str, seconds: float, n_frames: int) -> None:
    rate = n_frames / seconds
    sys.stdout.write(f"{name:36s}{1e3 / rate:10.3f} ms{rate:10.0f} frames/s\n")


# Time of this process alone with one thread; the wall clock counts where two are at work.
def _timed(run: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    run()
    return clock() - start


def _all_at_once(pool: ThreadPoolExecutor, frames: Frames) -> None:
    for job in [pool.submit(observable, frames) for observable in OBSERVABLES.values()]:
        job.result()


def main(n_frames: int) -> None:
    """Time everything and write a table."""
    for repeat in (1, 2):
        glass = _glass(repeat)
        frames = _thermal(glass, n_frames if repeat == 1 else max(20, n_frames // 10))
        sys.stdout.write(f"\n{glass.n_atoms} atoms, {len(frames)} frames, one thread\n")
        total = 0.0
        for name, observable in OBSERVABLES.items():
            observable(frames[:20])
            seconds = _timed(functools.partial(observable, frames))
            total += seconds
            _line(name, seconds, len(frames))
        _line("all together", total, len(frames))
        few = frames[:20]
        _line("rings, each graph searched", _timed(functools.partial(_each_graph, few)), 20)
        largest_spheres(frames[:1])
        _line("largest spheres", _timed(functools.partial(largest_spheres, frames[:5])), 5)
        for name, run in _others(frames):
            run()
            _line(name, _timed(run), 10)
        if repeat == 1:
            with ThreadPoolExecutor(2) as pool:
                seconds = _timed(functools.partial(_all_at_once, pool, frames), time.perf_counter)
            _line("all together, two threads", seconds, len(frames))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
