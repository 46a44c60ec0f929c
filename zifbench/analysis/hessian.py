"""Hessians from forces: finite differences with any force function, symmetry, known defects.

Rows and columns of a Hessian run over (atom, axis), atom slowest: shape (3N, 3N), eV/Å².
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, IntArray

ForceFunction = Callable[[FloatArray], npt.ArrayLike]


@dataclass(frozen=True)
class HessianDefects:
    """What an exact Hessian has none of; all in eV/Å².

    Attributes:
        largest: Largest |H_ij|, for scale.
        asymmetry: Largest |H_ij - H_ji|.
        translation: Largest |Σ_j H_ij| over the atoms j, one axis at a time: the force on an atom
            when all move together.
    """

    largest: float
    asymmetry: float
    translation: float


@dataclass(frozen=True)
class SymmetryOperation:
    """A rotation of the crystal and what it does to its atoms.

    Attributes:
        rotation: Orthogonal matrix that acts on Cartesian column vectors, shape (3, 3).
        image_of: Atom onto which each atom is moved, shape (N,).
    """

    rotation: FloatArray
    image_of: IntArray


def displaced_positions(
    positions: FloatArray, *, displacement_A: float, atoms: Sequence[int] | None = None
) -> Iterator[tuple[int, int, int, FloatArray]]:
    """(atom, axis, sign, positions) of each displaced structure, in this order: +, - alternating.

    Args:
        positions: Cartesian positions in Å, shape (N, 3).
        displacement_A: Step in Å.
        atoms: Atoms to displace; all if not given.
    """
    for atom in range(len(positions)) if atoms is None else atoms:
        for axis in range(3):
            for sign in (1, -1):
                moved = np.array(positions, dtype=float)
                moved[atom, axis] += sign * displacement_A
                yield atom, axis, sign, moved


def hessian_from_forces(
    forces_plus: npt.ArrayLike, forces_minus: npt.ArrayLike, *, displacement_A: float
) -> FloatArray:
    """Rows of the Hessian from forces at structures displaced either way.

    H_ij = -[F_j(+i) - F_j(-i)] / (2 d), not symmetrised.

    Args:
        forces_plus: Forces in eV/Å with coordinate i moved by +d, shape (n, N, 3).
        forces_minus: The same for -d.
        displacement_A: d in Å.

    Returns:
        Rows, shape (n, 3N); the whole Hessian where n = 3N.

    Raises:
        DataError: shapes that differ or are not (n, N, 3), values that are not finite, or a
            displacement that is not positive.
    """
    plus, minus = (np.asarray(f, dtype=float) for f in (forces_plus, forces_minus))
    if plus.shape != minus.shape or plus.ndim != 3 or plus.shape[2] != 3:
        raise DataError(
            f"Hessian: forces of shape {plus.shape} and {minus.shape}, wanted the same "
            "(displacements, atoms, 3) twice"
        )
    if not displacement_A > 0.0:
        raise DataError(f"displacement_A: {displacement_A}, wanted a positive step, e.g. 0.005")
    for name, forces in (("+", plus), ("-", minus)):
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=(1, 2)))
        if len(bad):
            raise DataError(f"Hessian: NaN or infinite force in displacement {name}{bad[0]}")
    return np.asarray((minus - plus).reshape(len(plus), -1) / (2.0 * displacement_A), dtype=float)


def hessian_by_finite_differences(
    positions: FloatArray,
    forces: ForceFunction,
    *,
    displacement_A: float = 0.005,
    atoms: Sequence[int] | None = None,
) -> FloatArray:
    """Hessian of any force function by central differences, 6 calls an atom.

    Args:
        positions: Cartesian positions in Å at a minimum, shape (N, 3).
        forces: Function of positions, shape (N, 3), to forces in eV/Å, shape (N, 3).
        displacement_A: Step in Å; larger for noisy forces, smaller for anharmonic ones.
        atoms: Atoms whose rows are wanted; all if not given.

    Returns:
        Rows, shape (3n, 3N), not symmetrised.

    Raises:
        DataError: as `hessian_from_forces`.
    """
    sides: dict[int, list[FloatArray]] = {1: [], -1: []}
    moved = displaced_positions(positions, displacement_A=displacement_A, atoms=atoms)
    for _, _, sign, structure in moved:
        sides[sign].append(np.array(forces(structure), dtype=float))
    return hessian_from_forces(
        np.array(sides[1]), np.array(sides[-1]), displacement_A=displacement_A
    )


def symmetrised(hessian: npt.ArrayLike) -> FloatArray:
    """(H + Hᵀ)/2."""
    h = checked_hessian(hessian)
    return np.asarray(0.5 * (h + h.T), dtype=float)


def hessian_defects(hessian: npt.ArrayLike) -> HessianDefects:
    """Asymmetry and broken translation invariance of a Hessian."""
    h = checked_hessian(hessian)
    n = len(h) // 3
    return HessianDefects(
        largest=float(np.abs(h).max()),
        asymmetry=float(np.abs(h - h.T).max()),
        translation=float(np.abs(h.reshape(3 * n, n, 3).sum(1)).max()),
    )


def complete_by_symmetry(
    rows: FloatArray, atoms: Sequence[int], operations: Sequence[SymmetryOperation]
) -> FloatArray:
    """Whole Hessian from the rows of some atoms and the symmetry of the crystal.

    H_{g(a) g(b)} = R H_{ab} Rᵀ for an operation g with rotation R. Where several operations reach
    the same atom the results are averaged.

    Args:
        rows: Rows of the given atoms, shape (3n, 3N).
        atoms: The atoms, n of them.
        operations: The space group's operations, the identity among them.

    Raises:
        NotDefinedError: an atom that no operation reaches from the given ones.
        DataError: rows of another shape.
    """
    n_atoms = len(operations[0].image_of)
    if np.shape(rows) != (3 * len(atoms), 3 * n_atoms):
        raise DataError(
            f"Hessian rows: shape {np.shape(rows)}, wanted {(3 * len(atoms), 3 * n_atoms)}"
        )
    blocks = np.asarray(rows, dtype=float).reshape(len(atoms), 3, n_atoms, 3)
    full = np.zeros((n_atoms, 3, n_atoms, 3))
    reached = np.zeros(n_atoms)
    for operation in operations:
        turned = np.einsum("ij,ajbk,lk->aibl", operation.rotation, blocks, operation.rotation)
        for index, atom in enumerate(atoms):
            image = operation.image_of[atom]
            full[image][:, operation.image_of] += turned[index]
            reached[image] += 1.0
    missing = np.flatnonzero(reached == 0.0)
    if len(missing):
        raise NotDefinedError(
            f"Hessian: no operation takes the given atoms to atom {missing[0]} "
            f"({len(missing)} such atoms); compute its rows, too"
        )
    full /= reached[:, None, None, None]
    return full.reshape(3 * n_atoms, 3 * n_atoms)


def checked_hessian(hessian: npt.ArrayLike) -> FloatArray:
    """The Hessian as an array.

    Raises:
        DataError: not a finite (3N, 3N) matrix.
    """
    h = np.asarray(hessian, dtype=float)
    if h.ndim != 2 or h.shape[0] != h.shape[1] or not len(h) or len(h) % 3:
        raise DataError(f"Hessian: shape {h.shape}, wanted (3 atoms, 3 atoms)")
    if not np.isfinite(h).all():
        raise DataError("Hessian: NaN or infinite")
    return h
