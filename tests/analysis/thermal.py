"""Thermal frames for tests: classical harmonic samples of the published DFT Hessian of ZIF-4.

Dürholt et al. 2019 give the forces of 2 × 816 displaced structures (CP2K, DX = 0.001 bohr); the
Hessian is their central difference.

A straight Cartesian step that turns a linker by 20° also blows it up by 6 %: at 1500 K it makes the
mean ring bond 1.48 Å, which no dynamics does. So each linker's displacement is taken apart into
translation, rotation and deformation, and the rotation is done as one. Nor does a harmonic sample
know that linkers repel each other: frames in which atoms of two linkers come closer than 0.55 of
their van der Waals distance (C–C 1.87 Å, H–H 1.32 Å) are drawn again. That is 0, 4, 24, 48 and 66 %
of the frames at 300, 600, 900, 1200 and 1500 K.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from scipy.spatial.transform import Rotation

from tests.published import published_file, published_vibrations
from zifbench.analysis.linkers import find_linkers
from zifbench.analysis.neighbours import find_pairs
from zifbench.dataset.ingest.cp2k_vibrations import read_structure
from zifbench.frames import FloatArray, Frames, IntArray
from zifbench.units import BOLTZMANN_EV_PER_K

_VDW_RADII_A = {1: 1.2, 6: 1.7, 7: 1.55, 30: 0.0}  # Bondi; Zn is bonded, not in contact
_OVERLAP = 0.55


@functools.cache
def optimised_zif4() -> Frames:
    """The DFT-optimised crystal whose Hessian is published, 272 atoms."""
    found = read_structure(published_file("duerholt2019/ZIF4.in"))
    numbers = np.array([atomic_numbers[s] for s in found.labels])
    return Frames(
        numbers=numbers,
        masses=atomic_masses[numbers],
        pbc=np.ones(3, dtype=bool),
        positions=found.positions[None],
        cell=found.cell[None],
        source="ZIF4.in",
    )


def hessian() -> FloatArray:
    """Second derivatives in eV/Å², symmetric, shape (3N, 3N)."""
    return published_vibrations().hessian()


@functools.cache
def _modes() -> tuple[FloatArray, FloatArray]:
    values, vectors = np.linalg.eigh(hessian())
    order = np.argsort(np.abs(values))[3:]  # without the three translations
    return values[order], vectors[:, order]


@functools.cache
def linker_atoms() -> tuple[IntArray, FloatArray]:
    """Atoms of the 32 linkers, three H included, shape (32, 8), and their places, centred."""
    crystal = optimised_zif4()
    linkers = next(find_linkers(crystal))
    pairs = find_pairs(crystal.positions[0], crystal.cell[0], cutoffs_A=1.2)
    bonded = {
        int(i): (int(j), vector)
        for i, j, vector in zip(pairs.i, pairs.j, pairs.vector, strict=True)
        if crystal.numbers[j] == 1
    }
    atoms, places = [], []
    for ring, offset in zip(linkers.rings, linkers.offsets, strict=True):
        place = crystal.positions[0, ring] + offset @ crystal.cell[0]
        held = [(*bonded[int(a)], k) for k, a in enumerate(ring) if int(a) in bonded]
        atoms.append([*ring, *(h for h, _, _ in held)])
        places.append([*place, *(place[k] + vector for _, vector, k in held)])
    centred = np.array(places)
    return np.array(atoms), centred - centred.mean(axis=1, keepdims=True)


def thermal_frames(
    n_frames: int, *, temperature_K: float, seed: int, overlapping: bool = False
) -> Frames:
    """Samples of exp(−½ xᵀHx / k_B T) around the optimised crystal.

    `overlapping` keeps the frames in which linkers overlap.
    """
    crystal = optimised_zif4()
    values, vectors = _modes()
    rng = np.random.default_rng(seed)
    width = np.sqrt(BOLTZMANN_EV_PER_K * temperature_K / values)
    kept = np.zeros((0, crystal.n_atoms, 3))
    while len(kept) < n_frames:
        noise = rng.normal(size=(n_frames, len(values))) * width
        steps = (noise @ vectors.T).reshape(n_frames, crystal.n_atoms, 3)
        _turn_rigidly(steps)
        positions = crystal.positions + steps
        good = [overlapping or not _overlap(frame, crystal.cell[0]) for frame in positions]
        kept = np.concatenate([kept, positions[good]])
    cell = np.repeat(crystal.cell, n_frames, axis=0)
    return dataclasses.replace(crystal, positions=kept[:n_frames], cell=cell)


def _overlap(positions: FloatArray, cell: FloatArray) -> bool:
    """Atoms of two linkers are closer than 0.55 of the sum of their van der Waals radii."""
    numbers = optimised_zif4().numbers
    elements = np.array(sorted(_VDW_RADII_A))
    radii = np.array([_VDW_RADII_A[z] for z in elements])
    linker = np.full(len(numbers), -1)
    for k, atoms in enumerate(linker_atoms()[0]):
        linker[atoms] = k
    table = _OVERLAP * (radii[:, None] + radii)
    table[radii == 0] = table[:, radii == 0] = 0.0
    types = np.searchsorted(elements, numbers)
    pairs = find_pairs(positions, cell, cutoffs_A=table, types=types)
    return bool((linker[pairs.i] != linker[pairs.j]).any())


def _turn_rigidly(steps: FloatArray) -> None:
    """Replace ω × r by a rotation about ω in each linker, keeping its deformation."""
    atoms, places = linker_atoms()
    for unit, r in zip(atoms, places, strict=True):
        step = steps[:, unit]
        move = step.mean(axis=1, keepdims=True)
        inertia = (r**2).sum() * np.eye(3) - r.T @ r
        omega = np.cross(r, step - move).sum(axis=1) @ np.linalg.inv(inertia)
        deformed = r + step - move - np.cross(omega[:, None], r)
        turn = Rotation.from_rotvec(omega).as_matrix()
        steps[:, unit] = move + np.einsum("tab,tkb->tka", turn, deformed) - r
