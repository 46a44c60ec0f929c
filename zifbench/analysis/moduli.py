"""Isotropic averages and stability of an elastic tensor in Voigt notation (11 22 33 23 13 12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray


@dataclass(frozen=True)
class Moduli:
    """Elastic moduli of the isotropic average.

    Attributes:
        bulk_GPa: K.
        young_GPa: E = 9KG/(3K + G).
        shear_GPa: G.
        poisson: ν = (3K - 2G)/(6K + 2G).
    """

    bulk_GPa: float
    young_GPa: float
    shear_GPa: float
    poisson: float


@dataclass(frozen=True)
class Stability:
    """Born criterion at zero pressure: every strain costs energy.

    Attributes:
        stable: All eigenvalues positive.
        eigenvalues_GPa: Eigenvalues of the stiffness matrix, rising, shape (6,).
    """

    stable: bool
    eigenvalues_GPa: FloatArray


def voigt_average(stiffness_GPa: npt.ArrayLike) -> Moduli:
    """Average at equal strain, an upper bound.

    9K = C11+C22+C33 + 2(C12+C13+C23), 15G = C11+C22+C33 - C12-C13-C23 + 3(C44+C55+C66).

    Raises:
        DataError: not a finite symmetric 6 × 6 matrix.
    """
    c = _checked(stiffness_GPa)
    diagonal, coupling = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2]
    shear = np.trace(c[3:, 3:])
    return _moduli((diagonal + 2.0 * coupling) / 9.0, (diagonal - coupling + 3.0 * shear) / 15.0)


def reuss_average(stiffness_GPa: npt.ArrayLike) -> Moduli:
    """Average at equal stress, a lower bound; its K is that of volume fluctuations.

    1/K = S11+S22+S33 + 2(S12+S13+S23), 15/G = 4(S11+S22+S33) - 4(S12+S13+S23) + 3(S44+S55+S66).

    Raises:
        NotDefinedError: a stiffness matrix that cannot be inverted.
        DataError: not a finite symmetric 6 × 6 matrix.
    """
    c = _checked(stiffness_GPa)
    if np.linalg.cond(c) > 1.0e12:
        raise NotDefinedError("Reuss average: the stiffness matrix is singular, no compliance")
    s = np.linalg.inv(c)
    diagonal, coupling = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2]
    shear = np.trace(s[3:, 3:])
    return _moduli(
        1.0 / (diagonal + 2.0 * coupling), 15.0 / (4.0 * (diagonal - coupling) + 3.0 * shear)
    )


def hill_average(stiffness_GPa: npt.ArrayLike) -> Moduli:
    """K and G halfway between Voigt and Reuss, E and ν from these two.

    Raises:
        NotDefinedError: a stiffness matrix that cannot be inverted.
        DataError: not a finite symmetric 6 × 6 matrix.

    Source: Hill, Proc. Phys. Soc. A 65 (1952) 349.
    """
    upper, lower = voigt_average(stiffness_GPa), reuss_average(stiffness_GPa)
    return _moduli(
        0.5 * (upper.bulk_GPa + lower.bulk_GPa), 0.5 * (upper.shear_GPa + lower.shear_GPa)
    )


def born_stability(stiffness_GPa: npt.ArrayLike) -> Stability:
    """Whether every small strain costs energy: the stiffness matrix is positive definite.

    A tensor from strain fluctuations is positive definite by construction; there the smallest
    eigenvalue beside its error is what tells.

    Raises:
        DataError: not a finite symmetric 6 × 6 matrix.

    Source: Mouhat and Coudert, Phys. Rev. B 90 (2014) 224104.
    """
    eigenvalues = np.asarray(np.linalg.eigvalsh(_checked(stiffness_GPa)), dtype=float)
    return Stability(bool(eigenvalues[0] > 0.0), eigenvalues)


def _moduli(bulk: float, shear: float) -> Moduli:
    return Moduli(
        bulk_GPa=float(bulk),
        young_GPa=float(9.0 * bulk * shear / (3.0 * bulk + shear)),
        shear_GPa=float(shear),
        poisson=float((3.0 * bulk - 2.0 * shear) / (6.0 * bulk + 2.0 * shear)),
    )


def _checked(stiffness_GPa: npt.ArrayLike) -> FloatArray:
    c = np.asarray(stiffness_GPa, dtype=float)
    if c.shape != (6, 6):
        raise DataError(f"stiffness: shape {c.shape}, wanted (6, 6) in Voigt notation")
    if not np.isfinite(c).all():
        raise DataError("stiffness: NaN or infinite")
    if np.abs(c - c.T).max() > 1.0e-6 * np.abs(c).max():
        raise DataError("stiffness: not symmetric; wanted C_ij = C_ji, symmetrise it knowingly")
    return c
