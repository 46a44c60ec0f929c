"""Small stores for the tests of splits, exports and loading."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.dataset.splits.pools import correlated_energies
from zifbench.dataset.store import StoreWriter
from zifbench.frames import Frames


def series(make_frames, n_frames=60, *, symbols="ZnNCH", seed=0, interval_fs=0.5, tau=5.0):
    """Frames that follow each other in time: a random walk, with the energies of one."""
    frames = make_frames(n_frames, symbols=symbols, seed=seed)
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=0.01, size=frames.positions.shape)
    return dataclasses.replace(
        frames,
        positions=frames.positions[:1] + np.cumsum(steps, axis=0),
        energy=correlated_energies(n_frames, tau=tau, seed=seed, mean=-100.0),
        velocities=rng.normal(scale=0.01, size=frames.positions.shape),
        step=np.arange(n_frames) + 100,
        time_fs=(np.arange(n_frames) + 100) * interval_fs,
        masses=np.array([65.38, 14.007, 12.011, 2.0141])[: frames.n_atoms]
        if symbols == "ZnNCH"
        else frames.masses,
        info={},
    )


def write_store(path, trajectories: dict[str, tuple[Frames, dict[str, object]]], **attributes):
    """A store of whole trajectories: name -> frames and attributes."""
    with StoreWriter(path, attributes=attributes) as writer:
        for name, (frames, about) in trajectories.items():
            trajectory = writer.trajectory(name, frames, attributes=about)
            trajectory.append(frames)
            trajectory.commit()
    return path


ABOUT = {
    "level_of_theory": "PBE-D3",
    "licence": "CC-BY-4.0",
    "citation": "Somebody, Some Journal 2024",
    "temperature_K": 1500.0,
    "stress_components": "all",
}


def two_liquids(path, make_frames, n_frames=60):
    """Two trajectories of the same atoms in time."""
    return write_store(
        path,
        {
            "liquid_0": (series(make_frames, n_frames, seed=1), ABOUT | {"state": "V0"}),
            "liquid_m2": (series(make_frames, n_frames, seed=2), ABOUT | {"state": "-2 %"}),
        },
    )
