"""Cells as LAMMPS wants them: lower triangular, which takes a rotation."""

from __future__ import annotations

import numpy as np

from zifbench.errors import DataError
from zifbench.frames import FloatArray


def lower_triangular(cell: FloatArray, *, where: str) -> tuple[FloatArray, FloatArray]:
    """A cell turned so that a lies along x and b in the xy plane.

    cell = lower · rotation, from the QR decomposition of the transposed cell. Row vectors go to
    LAMMPS as x · rotationᵀ and come back as x · rotation.

    Args:
        cell: Cell vectors as rows in Å, shape (3, 3).
        where: Name of the structure, for messages.

    Returns:
        The lower triangular cell with a positive diagonal, and the rotation, both of shape (3, 3).

    Raises:
        DataError: cell vectors that are left-handed, or in one plane.
    """
    if not np.linalg.det(cell) > 0.0:
        raise DataError(
            f"{where}: the cell vectors are left-handed or in one plane (a·(b×c) = "
            f"{np.linalg.det(cell):.4g} Å³), which LAMMPS does not take; exchange two of them"
        )
    orthogonal, upper = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(upper))
    lower = np.tril((upper * signs[:, None]).T)
    return lower, (orthogonal * signs).T


def box_of(lower: FloatArray) -> tuple[float, ...]:
    """lx, ly, lz, xy, xz, yz of a lower triangular cell."""
    places = ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1))
    return tuple(float(lower[place]) for place in places)


def cell_of(lx: float, ly: float, lz: float, xy: float, xz: float, yz: float) -> FloatArray:
    """The lower triangular cell of such a box, shape (3, 3)."""
    return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
