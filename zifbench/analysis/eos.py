"""Equation of state: bulk modulus and density at zero pressure from pressures at fixed volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.units import AMU_PER_A3_IN_G_PER_CM3

MAX_POINTS = 5  # the paper's choice: at most five volumes around P = 0, 1.5 % apart
MIN_POINTS = 3  # two unknowns and one point to contradict them


@dataclass(frozen=True)
class EquationOfState:
    """Second-order Birch–Murnaghan fit.

    Attributes:
        bulk_modulus_GPa: K0, the isothermal bulk modulus at the equilibrium volume.
        bulk_modulus_error_GPa: Its standard error.
        equilibrium_volume_A3: V0, where the pressure vanishes.
        equilibrium_volume_error_A3: Its standard error.
        density_g_cm3: Density at V0.
        density_error_g_cm3: Its standard error.
        covariance: Covariance of (K0, V0), GPa and Å³, shape (2, 2).
        points: Rows of the input that were fitted, rising in volume.
        chi_squared: Σ (residual / error)² of the fitted pressures; NaN without errors.
    """

    bulk_modulus_GPa: float
    bulk_modulus_error_GPa: float
    equilibrium_volume_A3: float
    equilibrium_volume_error_A3: float
    density_g_cm3: float
    density_error_g_cm3: float
    covariance: FloatArray
    points: IntArray
    chi_squared: float


def birch_murnaghan_pressure_GPa(
    volume_A3: npt.ArrayLike, *, bulk_modulus_GPa: float, equilibrium_volume_A3: float
) -> FloatArray:
    """Pressure of the second-order Birch–Murnaghan equation, K0' = 4, in GPa.

    P(V) = 3/2 K0 [(V0/V)^(7/3) - (V0/V)^(5/3)].

    Source: Birch, Phys. Rev. 71 (1947) 809.
    """
    ratio = equilibrium_volume_A3 / np.asarray(volume_A3, dtype=float)
    pressure = 1.5 * bulk_modulus_GPa * (ratio ** (7.0 / 3.0) - ratio ** (5.0 / 3.0))
    return np.asarray(pressure, dtype=float)


def points_around_zero_pressure(
    volume_A3: npt.ArrayLike, pressure_GPa: npt.ArrayLike, *, max_points: int = MAX_POINTS
) -> IntArray:
    """The volumes to fit: the one of smallest |P| and up to two neighbours on either side.

    Args:
        volume_A3: Volumes in any order, shape (n,).
        pressure_GPa: Mean pressure at each, shape (n,).
        max_points: Largest number of points, odd.

    Returns:
        Rows of the input, rising in volume; fewer than `max_points` where the scan ends.

    Raises:
        NotDefinedError: the pressure keeps its sign over the whole scan, or fewer than three
            points are left.
        DataError: arrays that do not fit, that are not finite, or a volume that occurs twice.
    """
    volume, pressure = _checked(volume_A3, pressure_GPa)
    if pressure.min() > 0.0 or pressure.max() < 0.0:
        raise NotDefinedError(
            f"equation of state: pressures from {pressure.min():.4g} to {pressure.max():.4g} GPa "
            "do not enclose zero; add larger or smaller volumes"
        )
    order = np.argsort(volume)
    centre = int(np.argmin(np.abs(pressure[order])))
    reach = max_points // 2
    rows = order[max(0, centre - reach) : centre + reach + 1]
    if len(rows) < MIN_POINTS:
        raise NotDefinedError(
            f"equation of state: {len(rows)} volumes around zero pressure, wanted at least "
            f"{MIN_POINTS}"
        )
    return np.asarray(rows, dtype=np.int64)


def fit_birch_murnaghan(
    volume_A3: npt.ArrayLike,
    pressure_GPa: npt.ArrayLike,
    *,
    mass_amu: float,
    pressure_error_GPa: npt.ArrayLike | None = None,
    max_points: int = MAX_POINTS,
) -> EquationOfState:
    """Fit P(V) around zero pressure.

    Args:
        volume_A3: Volumes, shape (n,).
        pressure_GPa: Mean pressure at each, compression positive, shape (n,).
        mass_amu: Mass of the cell's contents, for the density.
        pressure_error_GPa: Standard error of each mean pressure, shape (n,). Without it the errors
            of K0 and V0 come from the scatter about the curve.
        max_points: See `points_around_zero_pressure`.

    Raises:
        NotDefinedError: zero pressure not enclosed, fewer than three points, a pressure that
            rises with volume, or no curve that fits.
        DataError: arrays that do not fit, values that are not finite, an error that is not
            positive.
    """
    rows = points_around_zero_pressure(volume_A3, pressure_GPa, max_points=max_points)
    volume, pressure = (np.asarray(x, dtype=float)[rows] for x in (volume_A3, pressure_GPa))
    sigma = _errors(pressure_error_GPa, np.asarray(volume_A3).shape)
    sigma = None if sigma is None else sigma[rows]
    try:
        parameters, covariance = scipy.optimize.curve_fit(
            lambda v, k, v0: birch_murnaghan_pressure_GPa(
                v, bulk_modulus_GPa=k, equilibrium_volume_A3=v0
            ),
            volume,
            pressure,
            p0=_first_guess(volume, pressure),
            sigma=sigma,
            absolute_sigma=sigma is not None,
        )
    except RuntimeError as error:
        raise NotDefinedError("equation of state: no curve fits these pressures") from error
    width = np.ptp(volume)
    if not volume.min() - width < parameters[1] < volume.max() + width:
        raise NotDefinedError(
            f"equation of state: the fit is at rest at {parameters[1]:.4g} Å³, far from the "
            f"volumes {volume.min():.4g} to {volume.max():.4g} Å³"
        )
    return _result(parameters, covariance, rows, volume, pressure, sigma, mass_amu)


def _first_guess(volume: FloatArray, pressure: FloatArray) -> tuple[float, float]:
    """K0 and V0 of the straight line through the points."""
    slope, offset = np.polyfit(volume, pressure, 1)
    if slope >= 0.0:
        raise NotDefinedError(
            "equation of state: the pressure rises with volume, so there is no bulk modulus; the "
            "material is unstable or the volumes and pressures are not paired"
        )
    return float(-slope * volume.mean()), float(-offset / slope)


def _result(
    parameters: FloatArray,
    covariance: FloatArray,
    rows: IntArray,
    volume: FloatArray,
    pressure: FloatArray,
    sigma: FloatArray | None,
    mass_amu: float,
) -> EquationOfState:
    k, v0 = (float(x) for x in parameters)
    k_error, v0_error = (float(x) for x in np.sqrt(np.diag(covariance)))
    fitted = birch_murnaghan_pressure_GPa(volume, bulk_modulus_GPa=k, equilibrium_volume_A3=v0)
    density = mass_amu / v0 * AMU_PER_A3_IN_G_PER_CM3
    return EquationOfState(
        bulk_modulus_GPa=k,
        bulk_modulus_error_GPa=k_error,
        equilibrium_volume_A3=v0,
        equilibrium_volume_error_A3=v0_error,
        density_g_cm3=density,
        density_error_g_cm3=density * v0_error / v0,
        covariance=covariance,
        points=rows,
        chi_squared=np.nan if sigma is None else float(np.sum(((pressure - fitted) / sigma) ** 2)),
    )


def _checked(
    volume_A3: npt.ArrayLike, pressure_GPa: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    volume, pressure = (np.asarray(x, dtype=float) for x in (volume_A3, pressure_GPa))
    if volume.ndim != 1 or volume.shape != pressure.shape or not len(volume):
        raise DataError(
            f"equation of state: volumes of shape {volume.shape}, pressures of shape "
            f"{pressure.shape}, wanted one pressure a volume"
        )
    if not np.isfinite(volume).all() or not np.isfinite(pressure).all() or volume.min() <= 0.0:
        raise DataError("equation of state: a volume is not positive or a pressure is not finite")
    if len(np.unique(volume)) < len(volume):
        raise DataError("equation of state: a volume occurs twice; average its pressures first")
    return volume, pressure


def _errors(errors: npt.ArrayLike | None, shape: tuple[int, ...]) -> FloatArray | None:
    if errors is None:
        return None
    values = np.asarray(errors, dtype=float)
    if values.shape != shape or not (values > 0.0).all() or not np.isfinite(values).all():
        raise DataError(
            f"equation of state: pressure errors of shape {values.shape}, wanted {shape}, all "
            "positive"
        )
    return values
