"""Pressure against volume as an observable: one volume a file, or the few volumes of one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from zifbench.analysis.elasticity import MAX_SCAN_VOLUMES, distinct_volumes
from zifbench.analysis.eos import (
    EquationOfState,
    birch_murnaghan_pressure_GPa,
    fit_birch_murnaghan,
    points_around_zero_pressure,
)
from zifbench.analysis.observation import Curve, Observation, Scalar, Settings, check_alike
from zifbench.analysis.timeseries import (
    MIN_BLOCKS,
    MeanEstimate,
    mean_estimate,
    student_quantile,
)
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray
from zifbench.units import AMU_PER_A3_IN_G_PER_CM3

_FLUCTUATES = (
    "the cell fluctuates, which is no scan; P(V) wants runs at fixed volumes, as NAME=FILE,FILE…"
)
_MISFIT = 0.99  # share of scans whose χ² is below, were the curve right


def equation_of_state(
    files: Sequence[Mapping[str, Observation]], settings: Settings
) -> Observation:
    """Birch–Murnaghan fit of P(V): one volume a file, or the few volumes of one file."""
    points = _points(files)
    volumes, means = (np.array([values[k].mean() for values in points]) for k in (0, 1))
    rows = points_around_zero_pressure(volumes, means)
    estimates = _estimates([points[row][1] for row in rows])
    errors = np.array([found.standard_error for found in estimates]) if estimates else None
    mass = _mass_amu(files)
    fit = fit_birch_murnaghan(volumes[rows], means[rows], mass_amu=mass, pressure_error_GPa=errors)
    judged = _judge(fit, estimates)
    potential = "potential part" in files[0]["pressure"].series["pressure"].title
    notes = ["potential pressure only: no temperature was given"] if potential else []
    notes += [judged.note] if judged.note else []
    scalars = {
        key: Scalar(
            title, unit, value, _within(value, error, judged.spread), judged.reliable,
            "; ".join(notes) or None,
        )
        for key, title, unit, value, error in (
            ("bulk_modulus_eos", "Bulk modulus K, P(V)", "GPa",
             fit.bulk_modulus_GPa, fit.bulk_modulus_error_GPa),
            ("density_eos", "Density at zero pressure", "g/cm³",
             fit.density_g_cm3, fit.density_error_g_cm3),
        )
    }  # fmt: skip
    whole = _estimates([pressures for _, pressures in points])
    return Observation(curves=_curves(volumes, means, whole, fit), scalars=scalars)


@dataclass(frozen=True)
class _Judged:
    """Half width of the intervals in standard errors, and whether they hold."""

    spread: float
    reliable: bool | None
    note: str | None = None


def _judge(fit: EquationOfState, estimates: Sequence[MeanEstimate]) -> _Judged:
    free = len(fit.points) - 2
    if not estimates:  # errors from the residuals of the points
        return _Judged(student_quantile(free, 0.95), None)
    if fit.chi_squared > float(scipy.stats.chi2.ppf(_MISFIT, free)):
        spread = student_quantile(free, 0.95) * float(np.sqrt(fit.chi_squared / free))
        note = (
            f"the points miss the curve by more than their errors (χ² {fit.chi_squared:.0f} for "
            f"{free} degrees of freedom)"
        )
        return _Judged(spread, False, note)
    least = min(found.n_blocks for found in estimates) - 1  # of the least known pressure
    return _Judged(student_quantile(least, 0.95), all(found.reliable for found in estimates))


def _estimates(pressures: Sequence[FloatArray]) -> list[MeanEstimate]:
    """Each mean pressure with its error; nothing where one of them has none."""
    if any(len(values) < MIN_BLOCKS for values in pressures):
        return []
    found = [mean_estimate(values) for values in pressures]
    return found if all(one.standard_error > 0.0 for one in found) else []


def _mass_amu(files: Sequence[Mapping[str, Observation]]) -> float:
    """Mass of the cell, which must be the same in all files."""
    masses = [
        float(found["density"].series["density"].values[0] / AMU_PER_A3_IN_G_PER_CM3)
        * float(found["density"].series["volume"].values[0])
        for found in files
    ]
    if max(masses) > 1.001 * min(masses):
        raise NotDefinedError(
            "the files hold different masses: cells of one composition are wanted"
        )
    return masses[0]


def _curves(
    volumes: FloatArray, means: FloatArray, estimates: Sequence[MeanEstimate], fit: EquationOfState
) -> dict[str, Curve]:
    """The points with their intervals, and the fit through them."""
    order = np.argsort(volumes)
    band = None
    if estimates:
        low, high = (np.array([getattr(e, end) for e in estimates]) for end in ("low", "high"))
        band = (low[order], high[order])
    x = np.linspace(volumes.min(), volumes.max(), 101)
    y = birch_murnaghan_pressure_GPa(
        x,
        bulk_modulus_GPa=fit.bulk_modulus_GPa,
        equilibrium_volume_A3=fit.equilibrium_volume_A3,
    )
    axes = ("volume, Å³", "pressure, GPa")
    return {
        "pressure_of_volume": Curve(
            "P(V)", *axes, volumes[order], means[order], band=band, points=True, panel="P(V)"
        ),
        "pressure_fit": Curve("Birch–Murnaghan fit", *axes, x, y, panel="P(V)"),
    }


def _points(files: Sequence[Mapping[str, Observation]]) -> list[tuple[FloatArray, FloatArray]]:
    """Volumes and pressures of each point of the scan."""
    rows = [
        (file["density"].series["volume"].values, file["pressure"].series["pressure"].values)
        for file in files
    ]
    for file in files[1:]:
        check_alike(
            files[0]["pressure"].series["pressure"], file["pressure"].series["pressure"], "files"
        )
    if len(rows) > 1:
        return _checked_volumes(rows)
    volumes, pressures = rows[0]
    if len(distinct_volumes(volumes)) > MAX_SCAN_VOLUMES:
        raise NotDefinedError(_FLUCTUATES)
    shares = np.round(volumes / volumes.mean(), 6)
    distinct, which, counts = np.unique(shares, return_inverse=True, return_counts=True)
    if np.ptp(counts):
        raise NotDefinedError(
            f"one file with {counts.min()} to {counts.max()} frames at its volumes: no scan; P(V) "
            "wants as many at each, or runs at fixed volumes as NAME=FILE,FILE…"
        )
    return [(volumes[which == k], pressures[which == k]) for k in range(len(distinct))]


def _checked_volumes(
    rows: list[tuple[FloatArray, FloatArray]],
) -> list[tuple[FloatArray, FloatArray]]:
    """Files at one volume each, all different."""
    if any(len(distinct_volumes(volumes)) > 1 for volumes, _ in rows):
        raise NotDefinedError(_FLUCTUATES)
    means = np.array([volumes.mean() for volumes, _ in rows])
    if len(distinct_volumes(means)) < len(rows):
        raise NotDefinedError("several files at one volume; P(V) wants each volume once: no scan")
    return rows


def _within(value: float, error: float, spread: float) -> tuple[float, float] | None:
    if not np.isfinite(error):
        return None
    return value - spread * error, value + spread * error
