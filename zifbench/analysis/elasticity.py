"""Elastic constants from the fluctuations of the cell in constant-stress MD.

Cells h have their vectors as rows: r = s h, and a deformation F turns h0 into h = h0 Fᵀ. The
strain is then ε = ½ (h0⁻¹ h hᵀ h0⁻ᵀ - 1) = ½ (FᵀF - 1), exact for any cell; the form for cell
vectors in columns, applied to rows, gives wrong shear constants. h0 is the mean cell, after the
rotation of each cell is removed; the first cell as h0 doubles the scatter.

Source: Parrinello and Rahman, J. Chem. Phys. 76 (1982) 2662.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.moduli import born_stability, hill_average
from zifbench.analysis.resampling import BootstrapEstimate, Statistic, bootstrap_mean
from zifbench.analysis.timeseries import as_series
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.units import BOLTZMANN_EV_PER_K, EV_PER_A3_IN_GPA

_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
_UPPER = np.triu_indices(6)
MAX_SCAN_VOLUMES = 12  # more are a cell that fluctuates, and no scan
_MIN_FRAMES = 64  # a 6 × 6 covariance and eight blocks of it
# Smallest to largest eigenvalue of the strain covariance below which a strain is frozen.
_FROZEN = 1.0e-10


@dataclass(frozen=True)
class StiffnessConvergence:
    """Elastic constants of the first n frames, for rising n.

    Attributes:
        n_frames: Frames used, shape (P,).
        stiffness_GPa: C_ij, shape (P, 6, 6).
        standard_error_GPa: Block-bootstrap standard error, shape (P, 6, 6).
        reach_GPa: Half width of the 95 % interval (Student's t of the blocks), shape (P, 6, 6).
    """

    n_frames: IntArray
    stiffness_GPa: FloatArray
    standard_error_GPa: FloatArray
    reach_GPa: FloatArray


@dataclass(frozen=True)
class ConvergenceVerdict:
    """Whether elastic constants are known well enough.

    Attributes:
        converged: Errors small enough and no trend left.
        reason: One sentence with the constant that decides.
    """

    converged: bool
    reason: str


def cell_strains(cells: npt.ArrayLike) -> FloatArray:
    """Strain of each cell against the mean cell, in Voigt notation.

    Args:
        cells: Cell vectors as rows in Å, shape (T, 3, 3), in any orientation.

    Returns:
        (ε11, ε22, ε33, 2ε23, 2ε13, 2ε12), shape (T, 6), in the frame where the first cell vector
        lies along x and the second in the xy plane.

    Raises:
        NotDefinedError: fewer than two frames, or a cell without volume.
        DataError: a wrong shape or a value that is not finite.
    """
    return _strains(_upright(_checked(cells)))


def stiffness_GPa(cells: npt.ArrayLike, *, temperature_K: float) -> FloatArray:
    """Isothermal elastic constants C = S⁻¹ with S = ⟨V⟩/(kT) cov(e), shape (6, 6).

    The axes are those of `cell_strains`. The inverse of a noisy covariance is too large: with n
    independent frames by a share of about 7/n.

    Args:
        cells: Cell vectors as rows in Å, shape (T, 3, 3), from a run with a fully flexible cell.
        temperature_K: Temperature of that run.

    Raises:
        NotDefinedError: fewer than 64 frames, a cell without volume, or a strain that never
            changes (constant volume, or a barostat that keeps the shape).
        DataError: a wrong shape, a value that is not finite, a temperature that is not positive.
    """
    moments = _moments(cells, temperature_K)
    return _stiffness(moments.mean(0), temperature_K)


def stiffness_estimate(
    cells: npt.ArrayLike, *, temperature_K: float, seed: int, n_resamples: int = 500
) -> BootstrapEstimate:
    """Elastic constants with errors from blocks of frames; see `stiffness_GPa`."""
    return bootstrap_mean(
        _moments(cells, temperature_K),
        transform=_or_nan(lambda mean: _stiffness(mean, temperature_K), (6, 6)),
        seed=seed,
        n_resamples=n_resamples,
    )


def hill_estimate(
    cells: npt.ArrayLike, *, temperature_K: float, seed: int, n_resamples: int = 500
) -> BootstrapEstimate:
    """(K, E, G, ν) of the Hill average with errors from blocks of frames, shape (4,), GPa."""

    def moduli(mean: FloatArray) -> list[float]:
        hill = hill_average(_stiffness(mean, temperature_K))
        return [hill.bulk_GPa, hill.young_GPa, hill.shear_GPa, hill.poisson]

    moments = _moments(cells, temperature_K)
    transform = _or_nan(moduli, (4,))
    return bootstrap_mean(moments, transform=transform, seed=seed, n_resamples=n_resamples)


def stability_estimate(
    cells: npt.ArrayLike, *, temperature_K: float, seed: int, n_resamples: int = 500
) -> BootstrapEstimate:
    """Smallest eigenvalue of C in GPa, the softest strain, with its error from blocks of frames.

    A tensor from strain fluctuations is positive definite by construction (Born's criterion holds
    for any run); what tells is how far the interval stays from zero.
    """
    return bootstrap_mean(
        _moments(cells, temperature_K),
        transform=_or_nan(
            lambda mean: born_stability(_stiffness(mean, temperature_K)).eigenvalues_GPa[0], ()
        ),
        seed=seed,
        n_resamples=n_resamples,
    )


def _or_nan(statistic: Statistic, shape: tuple[int, ...]) -> Statistic:
    """NaN where the strains of a resample do not fluctuate: no error there, not no estimate."""

    def found(mean: FloatArray) -> FloatArray:
        try:
            return np.asarray(statistic(mean), dtype=float)
        except (NotDefinedError, np.linalg.LinAlgError):
            return np.full(shape, np.nan)

    return found


def bulk_modulus_from_volumes_GPa(volume_A3: npt.ArrayLike, *, temperature_K: float) -> float:
    """K = kT ⟨V⟩ / var(V), the Reuss modulus, in GPa.

    Args:
        volume_A3: Volume of each frame in Å³, shape (T,).
        temperature_K: Temperature of the run.

    Raises:
        NotDefinedError: fewer than two frames, or a volume that never changes.
        DataError: a value that is not finite, a temperature that is not positive.
    """
    return _bulk_modulus(_volume_moments(volume_A3, temperature_K).mean(0), temperature_K)


def distinct_volumes(volume_A3: FloatArray) -> FloatArray:
    """The volumes that occur, apart from rounding, rising."""
    return np.unique(np.round(volume_A3 / volume_A3.mean(), 6)) * float(volume_A3.mean())


def check_fluctuates(volume_A3: FloatArray) -> None:
    """Refuse the few volumes of a scan, whose scatter says nothing about the material.

    Raises:
        NotDefinedError: several volumes, but at most `MAX_SCAN_VOLUMES`.
    """
    n = len(distinct_volumes(volume_A3))
    if 1 < n <= MAX_SCAN_VOLUMES:
        raise NotDefinedError(
            f"{n} volumes only: a scan, or a cell that was changed by hand, and no fluctuation"
        )


def bulk_modulus_from_volumes_estimate(
    volume_A3: npt.ArrayLike, *, temperature_K: float, seed: int, n_resamples: int = 1000
) -> BootstrapEstimate:
    """Volume-fluctuation K in GPa with its error from blocks of frames."""
    return bootstrap_mean(
        _volume_moments(volume_A3, temperature_K),
        transform=lambda mean: _bulk_modulus(mean, temperature_K),
        seed=seed,
        n_resamples=n_resamples,
    )


def stiffness_convergence(
    cells: npt.ArrayLike,
    *,
    temperature_K: float,
    seed: int,
    n_points: int = 20,
    n_resamples: int = 200,
) -> StiffnessConvergence:
    """Each C_ij against the length of the run, with block errors.

    Args:
        cells: Cell vectors as rows in Å, shape (T, 3, 3).
        temperature_K: Temperature of the run.
        seed: Seed of the bootstrap.
        n_points: Number of lengths, evenly spaced up to T.
        n_resamples: Bootstrap resamples at each.

    Raises:
        NotDefinedError: as `stiffness_GPa`, for the shortest length, T / n_points.
    """
    array = _checked(cells)
    lengths = np.linspace(len(array) / n_points, len(array), n_points).round().astype(np.int64)
    estimates = [
        stiffness_estimate(
            array[:n], temperature_K=temperature_K, seed=seed, n_resamples=n_resamples
        )
        for n in lengths
    ]
    return StiffnessConvergence(
        n_frames=lengths,
        stiffness_GPa=np.array([e.estimate for e in estimates]),
        standard_error_GPa=np.array([e.standard_error for e in estimates]),
        reach_GPa=np.array([e.high - e.estimate for e in estimates]),
    )


def check_convergence(track: StiffnessConvergence, *, tolerance: float = 0.1) -> ConvergenceVerdict:
    """Judge C11 … C66 by their errors and by their change over the second half of the run.

    Converged means: every relative standard error is at most `tolerance`, and no value differs
    from the one at half the run by more than three of the errors it had there.

    Args:
        track: At least two lengths of one run.
        tolerance: Largest relative standard error accepted.
    """
    value, error = (
        np.diagonal(x, axis1=1, axis2=2) for x in (track.stiffness_GPa, track.standard_error_GPa)
    )
    half = (len(value) - 1) // 2
    relative = error[-1] / value[-1]
    change = np.abs(value[-1] - value[half]) / error[half]
    loose, moving = int(np.argmax(relative)), int(np.argmax(change))
    reasons = []
    if not np.isfinite(relative).all() or not np.isfinite(change).all():
        reasons.append("an error could not be had: the strains of some resamples stand still")
    if relative[loose] > tolerance:
        reasons.append(f"{_name(loose)} is known to {100 * relative[loose]:.0f} %")
    if change[moving] > 3.0:
        reasons.append(f"{_name(moving)} moved {change[moving]:.1f} errors since half the run")
    passed = f"every C_ii to {100 * relative[loose]:.1f} % or better, none moving"
    return ConvergenceVerdict(not reasons, "; ".join(reasons) or passed)


def _name(index: int) -> str:
    return f"C{index + 1}{index + 1}"


def _upright(cells: FloatArray) -> FloatArray:
    """Lower triangular cells: the same shapes without their rotations."""
    return np.asarray(np.linalg.cholesky(cells @ cells.swapaxes(1, 2)), dtype=float)


def _strains(upright: FloatArray) -> FloatArray:
    inverse = np.linalg.inv(upright.mean(0))
    deformed = inverse @ upright
    strain = 0.5 * (deformed @ deformed.swapaxes(1, 2) - np.eye(3))
    engineering = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    return np.asarray(strain[:, _VOIGT[0], _VOIGT[1]] * engineering, dtype=float)


def _moments(cells: npt.ArrayLike, temperature_K: float) -> FloatArray:
    """What each frame contributes: volume, six strains, 21 products; shape (T, 28)."""
    upright = _upright(_checked(cells))
    _check_temperature(temperature_K)
    if len(upright) < _MIN_FRAMES:
        raise NotDefinedError(
            f"elastic constants: {len(upright)} frames, wanted at least {_MIN_FRAMES}"
        )
    e = _strains(upright)
    _check_flexible(e)
    volume = np.linalg.det(upright)
    return np.column_stack([volume, e, e[:, _UPPER[0]] * e[:, _UPPER[1]]])


def _check_flexible(strains: FloatArray) -> None:
    eigenvalues = np.linalg.eigvalsh(np.cov(strains.T))
    if eigenvalues[0] <= max(_FROZEN * eigenvalues[-1], 1.0e-24):
        moving = int((eigenvalues > max(_FROZEN * eigenvalues[-1], 1.0e-24)).sum())
        raise NotDefinedError(
            f"elastic constants: {moving} of 6 strains fluctuate; run at constant stress with a "
            "fully flexible cell"
        )


def _stiffness(mean: FloatArray, temperature_K: float) -> FloatArray:
    """C in GPa from the mean moments of `_moments`."""
    second = np.zeros((6, 6))
    second[_UPPER] = mean[7:]
    second = second + np.triu(second, 1).T
    covariance = second - np.outer(mean[1:7], mean[1:7])
    stiffness = _kT_GPa_A3(temperature_K) / mean[0] * np.linalg.inv(covariance)
    return np.asarray(0.5 * (stiffness + stiffness.T), dtype=float)


def _volume_moments(volume_A3: npt.ArrayLike, temperature_K: float) -> FloatArray:
    volume = as_series(volume_A3, name="volume")
    _check_temperature(temperature_K)
    if volume.ndim != 1:
        raise DataError(f"volume: shape {volume.shape}, wanted (frames,)")
    if np.ptp(volume) <= 1.0e-12 * volume.mean():
        raise NotDefinedError(
            "bulk modulus from volume fluctuations: the volume never changes; run at constant "
            "pressure"
        )
    reference = volume.mean()  # the variance as a difference of squares needs a near origin
    return np.column_stack([volume, (volume - reference), (volume - reference) ** 2])


def _bulk_modulus(mean: FloatArray, temperature_K: float) -> float:
    return float(_kT_GPa_A3(temperature_K) * mean[0] / (mean[2] - mean[1] ** 2))


def _kT_GPa_A3(temperature_K: float) -> float:
    return BOLTZMANN_EV_PER_K * temperature_K * EV_PER_A3_IN_GPA


def _check_temperature(temperature_K: float) -> None:
    if not temperature_K > 0.0:
        raise DataError(f"temperature_K: {temperature_K}, wanted a positive temperature")


def _checked(cells: npt.ArrayLike) -> FloatArray:
    array = as_series(cells, name="cell")
    if array.shape[1:] != (3, 3):
        raise DataError(f"cell: shape {array.shape}, wanted (frames, 3, 3)")
    empty = np.flatnonzero(np.abs(np.linalg.det(array)) < 1.0e-6)
    if len(empty):
        raise NotDefinedError(f"elastic constants: frame {empty[0]} has no cell, or a flat one")
    return array
