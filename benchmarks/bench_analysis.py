"""Frames per second of every observable, beside ASE, freud, MDAnalysis and matscipy.

A published glass with thermal noise: 272 atoms, and 2×2×2 = 2176 with an eighth of the frames, so
that a cost linear in the atoms takes the same time. Times are of the processor and not of the wall,
because other work on a machine slows the wall only. Nothing is compiled while it is timed.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import ase.io
import numpy as np
import pytest

from tests.analysis.test_network import matscipy_rings
from tests.published import published_file
from zifbench.analysis.coordination import coordination_numbers
from zifbench.analysis.meters import MemorySource, measure
from zifbench.analysis.msd import mean_square_displacement
from zifbench.analysis.network import graph_rings, zif_graphs
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Settings
from zifbench.analysis.rdf import partial_rdfs
from zifbench.frames import Frames

N_FRAMES = {272: 128, 2176: 16}
SETTINGS = Settings(temperature_K=300.0, frame_interval_fs=100.0)
ROUNDS = 3
# What `analyse` does unless asked for more; each with what it is made of.
CHOSEN = {
    name: line
    for name, line in OBSERVABLES.items()
    if not line.optional and name not in {"vibrations", "hessian", "elasticity", "pressure",
                                          "equation_of_state", "volume_fluctuations"}
}  # fmt: skip
SLOW = {"spheres": 8, "zeo": 16, "xray": 4}  # optional ones, with a share of the frames


@functools.cache
def thermal_glass(n_atoms: int) -> Frames:
    """A glass that shakes by 0.06 Å, correlated over a few frames."""
    atoms = ase.io.read(published_file("gaillac2020/ZIF4_15glass04.cif"))
    glass = Frames.from_ase(atoms.repeat({272: 1, 2176: 2}[n_atoms]))
    rng = np.random.default_rng(0)
    moves = np.zeros((N_FRAMES[n_atoms], n_atoms, 3))
    for t in range(1, len(moves)):
        moves[t] = 0.8 * moves[t - 1] + 0.6 * rng.normal(scale=0.06, size=moves[t].shape)
    cell = np.repeat(glass.cell, len(moves), axis=0)
    return dataclasses.replace(
        glass, positions=glass.positions + moves, cell=cell, labels={}, source_index=None
    )


def timed(benchmark, group: str, name: str, work: Callable[[], Any], n_frames: int) -> None:
    """Processor seconds of some rounds, and frames a second in the table's last column."""
    work()
    benchmark.group, benchmark.name = group, name
    benchmark.pedantic(work, rounds=ROUNDS)
    benchmark.extra_info["frames_per_second"] = n_frames / benchmark.stats.stats.min


def lines_of(name: str) -> dict[str, Any]:
    return {key: OBSERVABLES[key] for key in (*OBSERVABLES[name].of, name)}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("n_atoms", N_FRAMES)
@pytest.mark.parametrize("name", [*CHOSEN, *SLOW, "all but Zeo++"])
def bench_observable(benchmark, name, n_atoms):
    """Atoms × frames are the same for both sizes: the ratio tells whether the cost is linear."""
    if name == "zeo" and importlib.util.find_spec("pyzeo") is None:
        pytest.skip("pyzeo is not installed")
    lines = CHOSEN if name.startswith("all") else lines_of(name)
    frames = thermal_glass(n_atoms)
    frames = frames[: max(1, len(frames) // SLOW.get(name, 1))]
    size = "272 atoms, reference" if n_atoms == 272 else f"{n_atoms} atoms, an eighth of the frames"
    if name in SLOW:
        size += f", {len(frames)} frames"
    source = MemorySource((frames,))
    timed(
        benchmark, f"linear in atoms: {name}", size,
        lambda: measure(source, lines, SETTINGS, n_threads=1), len(frames),
    )  # fmt: skip


# -- the same by other programs -------------------------------------------------------------------


def ase_coordination(frames: Frames) -> None:
    from ase.neighborlist import neighbor_list

    for atoms in frames.to_ase():
        np.bincount(neighbor_list("i", atoms, {("Zn", "N"): 2.5}))


def ase_rdf(frames: Frames) -> None:
    from ase.geometry.analysis import get_rdf

    for atoms in frames.to_ase():
        get_rdf(atoms, 7.5, 750, elements=(30, 7), no_dists=True)


@functools.cache
def freud_histogram() -> Any:
    """Made once: its constructor takes a second."""
    import freud

    return freud.density.RDF(bins=750, r_max=7.5)


def freud_rdf(frames: Frames) -> None:
    import freud

    box = freud.box.Box.from_matrix(frames.cell[0].T)
    rdf = freud_histogram()
    zinc, nitrogen = frames.numbers == 30, frames.numbers == 7
    for positions in frames.positions:
        rdf.compute((box, box.wrap(positions[nitrogen])), box.wrap(positions[zinc]), reset=False)


def freud_coordination(frames: Frames) -> None:
    import freud

    box = freud.box.Box.from_matrix(frames.cell[0].T)
    zinc, nitrogen = frames.numbers == 30, frames.numbers == 7
    for positions in frames.positions:
        query = freud.locality.AABBQuery(box, box.wrap(positions[nitrogen]))
        query.query(box.wrap(positions[zinc]), {"r_max": 2.5}).toNeighborList()


def freud_msd(frames: Frames) -> None:
    import freud

    for number in np.unique(frames.numbers):
        msd = freud.msd.MSD(mode="window")
        msd.compute(frames.positions[:, frames.numbers == number])


def mdanalysis_rdf(frames: Frames) -> None:
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF
    from MDAnalysis.coordinates.memory import MemoryReader

    cell = np.concatenate([np.linalg.norm(frames.cell[0], axis=1), [90.0, 90.0, 90.0]])
    universe = MDAnalysis.Universe.empty(frames.n_atoms, trajectory=True)
    universe.load_new(frames.positions, format=MemoryReader, dimensions=cell)
    zinc, nitrogen = (universe.atoms[frames.numbers == z] for z in (30, 7))
    InterRDF(zinc, nitrogen, nbins=750, range=(0.0, 7.5)).run()


def matscipy_sp_rings(frames: Frames) -> None:
    matscipy_rings(next(zif_graphs(frames[0])))


def our_rings(frames: Frames) -> None:
    graph_rings(next(zif_graphs(frames[0])))


def our_rdf(frames: Frames) -> None:
    partial_rdfs(frames, pairs=(("Zn", "N"),), r_max_A=7.5)


def our_msd(frames: Frames) -> None:
    longest = 100.0 * (len(frames) // 4)
    mean_square_displacement(frames, max_lag_fs=longest, lag_step_fs=100.0, frame_interval_fs=100.0)


def ours(name: str, frames: Frames) -> None:
    measure(MemorySource((frames,)), lines_of(name), SETTINGS, n_threads=1)


# Group -> (program, its package, function of the frames).
OTHERS: dict[str, list[tuple[str, str, Callable[[Frames], None]]]] = {
    "Zn–N RDF to 7.5 Å": [
        ("ours, reference", "zifbench", our_rdf),
        ("freud", "freud", freud_rdf),
        ("ASE", "ase", ase_rdf),
        ("MDAnalysis", "MDAnalysis", mdanalysis_rdf),
    ],
    "Zn–N coordination": [
        ("ours, reference", "zifbench", coordination_numbers),
        ("freud", "freud", freud_coordination),
        ("ASE", "ase", ase_coordination),
    ],
    "MSD of 128 (16) frames": [
        ("ours, reference", "zifbench", our_msd),
        ("freud, all lags by Fourier transforms", "freud", freud_msd),
    ],
    "primitive rings of one graph": [
        ("ours, reference", "zifbench", our_rings),
        ("matscipy on 3×3×3", "matscipy", matscipy_sp_rings),
    ],
    "pore volume": [
        ("ours on a grid, reference", "zifbench", functools.partial(ours, "pores")),
        ("Zeo++, 50 000 samples", "pyzeo", functools.partial(ours, "zeo")),
    ],
}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("n_atoms", N_FRAMES)
@pytest.mark.parametrize(
    ("group", "name", "package", "work"),
    [(group, *row) for group, rows in OTHERS.items() for row in rows],
)
def bench_beside_others(benchmark, group, name, package, work, n_atoms):
    """Above 1 in the ratios is how many times slower the other program is."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if name.startswith("matscipy") and n_atoms > 272:
        pytest.skip("all distances of a graph of 10 000 nodes do not fit into memory")
    frames = thermal_glass(n_atoms)
    if not group.startswith("MSD"):
        frames = frames[:8]
    once = functools.partial(work, frames)
    timed(benchmark, f"{group}, {n_atoms} atoms", name, once, len(frames))
