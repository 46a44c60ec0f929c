"""Structures that several tests of the analysis use, and the moves that may not change a result."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import ase.io
import numpy as np
from ase import Atoms

from tests.published import published_file
from zifbench.frames import FloatArray, Frames

SKEW = np.array([[1, 1, 0], [0, 1, 2], [-1, -1, 1]])  # determinant 1


@functools.cache
def crystal() -> Frames:
    """The ZIF-4 crystal of Castel et al. 2024, a thermal frame with atoms outside the cell."""
    path = published_file("castel2024/crystal.lmp")
    return Frames.from_ase(ase.io.read(path, format="lammps-data", atom_style="atomic"))


@functools.cache
def glasses() -> Frames:
    """The ten ab initio glasses of Gaillac et al. 2020 as ten frames."""
    names = [f"gaillac2020/ZIF4_15glass{k:02d}.cif" for k in range(1, 11)]
    return Frames.from_ase([ase.io.read(published_file(name)) for name in names])


def random_frames(
    symbols: dict[str, int],
    *,
    cell: FloatArray,
    n_frames: int = 1,
    seed: int = 0,
) -> Frames:
    """Atoms thrown into a cell, and a cell away from it."""
    rng = np.random.default_rng(seed)
    names = [symbol for symbol, count in symbols.items() for _ in range(count)]
    return Frames.from_ase(
        [
            Atoms(names, positions=rng.uniform(-1, 2, (len(names), 3)) @ cell, cell=cell, pbc=True)
            for _ in range(n_frames)
        ]
    )


def wrapped(frames: Frames) -> Frames:
    scaled = frames.positions @ np.linalg.inv(frames.cell)
    return dataclasses.replace(frames, positions=(scaled - np.floor(scaled)) @ frames.cell)


def moved_by_lattice(frames: Frames) -> Frames:
    steps = np.random.default_rng(1).integers(-3, 4, frames.positions.shape)
    return dataclasses.replace(frames, positions=frames.positions + steps @ frames.cell)


def translated(frames: Frames) -> Frames:
    return dataclasses.replace(frames, positions=frames.positions + np.array([1.7, -20.3, 4.4]))


def rotated(frames: Frames) -> Frames:
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    return dataclasses.replace(frames, positions=frames.positions @ turn, cell=frames.cell @ turn)


def permuted(frames: Frames) -> Frames:
    order = np.random.default_rng(3).permutation(frames.n_atoms)
    return dataclasses.replace(
        frames,
        numbers=frames.numbers[order],
        masses=frames.masses[order],
        positions=frames.positions[:, order],
    )


def skewed(frames: Frames) -> Frames:
    return dataclasses.replace(frames, cell=SKEW @ frames.cell)


def supercell(frames: Frames, repeats: tuple[int, int, int] = (2, 2, 2)) -> Frames:
    steps = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    shift = np.einsum("sk,tkx->tsx", steps.astype(float), frames.cell)
    positions = frames.positions[:, None] + shift[:, :, None]
    return dataclasses.replace(
        frames,
        numbers=np.tile(frames.numbers, len(steps)),
        masses=np.tile(frames.masses, len(steps)),
        positions=positions.reshape(len(frames), -1, 3),
        cell=frames.cell * np.array(repeats)[:, None],
    )


INVARIANCES: dict[str, Callable[[Frames], Frames]] = {
    "wrapped": wrapped,
    "moved by lattice vectors": moved_by_lattice,
    "translated": translated,
    "rotated": rotated,
    "permuted": permuted,
    "skewed cell": skewed,
}
