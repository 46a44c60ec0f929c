"""Synthetic frames of ZIF-4: as many as wanted, any of them without those before it.

Each coordinate swings around its place in a bundled crystal frame with a few harmonics, from slow
cage motion to stretches of bonds, so that frames 0.5 fs apart resemble each other as those of an MD
do; compression and caches see what they would see in real data. Frame number and seed alone decide
what a frame holds. Forces are the harmonic ones of the same motion; the energy is its potential
energy above that of the bundled frame.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import ase.units
import numpy as np

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames

TIME_STEP_FS = 0.5
# Periods in fs, from cage motion to stretches of C–D bonds, and shares of the thermal energy.
_PERIODS_FS = np.array([2000.0, 700.0, 250.0, 90.0, 35.0, 22.0, 15.0])
_SHARES = np.array([0.25, 0.2, 0.2, 0.15, 0.1, 0.05, 0.05])
_AMU_FS2 = ase.units._amu * 1e10 / ase.units._e  # amu Å²/fs² in eV


def generated_frames(
    start: int, stop: int, *, temperature_K: float = 300.0, seed: int = 0
) -> Frames:
    """Frames `start` to `stop` of one endless trajectory of 272 atoms, all fields but velocities.

    Args:
        start: First frame.
        stop: The one after the last.
        temperature_K: Sets the amplitudes, σ = sqrt(share kT/m)/ω for each harmonic.
        seed: Another seed is another trajectory.
    """
    crystal = _crystal()
    n, modes = crystal.n_atoms, len(_PERIODS_FS)
    rng = np.random.default_rng(seed)
    omega = 2 * np.pi / _PERIODS_FS
    phases = rng.uniform(0, 2 * np.pi, size=(modes, n, 3))
    mass = crystal.masses[:, None] * _AMU_FS2  # eV fs²/Å²
    kT = ase.units.kB * temperature_K
    amplitude = np.sqrt(2 * _SHARES * kT)[:, None, None] / (omega[:, None, None] * np.sqrt(mass))
    step = np.arange(start, stop)
    shift = np.zeros((len(step), n, 3))
    forces = np.zeros_like(shift)
    for w, a, phase in zip(omega, amplitude, phases, strict=True):
        # cos(ωt + φ) = cos ωt cos φ − sin ωt sin φ: two sines a frame instead of one an atom.
        angle = w * step[:, None, None] * TIME_STEP_FS
        swing = np.cos(angle) * (a * np.cos(phase)) - np.sin(angle) * (a * np.sin(phase))
        shift += swing
        forces -= mass * w**2 * swing
    work = -0.5 * np.einsum("tni,tni->t", forces, shift)
    pressure = 0.01 * np.sin(0.01 * step)[:, None, None] * np.eye(3)
    return Frames(
        numbers=crystal.numbers,
        masses=crystal.masses,
        pbc=crystal.pbc,
        positions=crystal.positions + shift,
        cell=np.repeat(crystal.cell, len(step), axis=0),
        energy=crystal.energy[0] + work,
        forces=forces,
        stress=pressure + crystal.stress,
        step=step,
        time_fs=step * TIME_STEP_FS,
        source="generated",
        source_index=step,
    )


@functools.cache
def _crystal() -> Frames:
    return read_frames(BUNDLED_DATA["zif4-own-train"].path)[0][0]


def generated_chunks(
    n_frames: int, *, size: int = 512, start: int = 0, temperature_K: float = 300.0, seed: int = 0
) -> Iterator[Frames]:
    """The same frames in pieces of `size`."""
    for first in range(start, n_frames, size):
        stop = min(n_frames, first + size)
        yield generated_frames(first, stop, temperature_K=temperature_K, seed=seed)
