"""Figures of the tasks of molecular dynamics, as data URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from zifbench.analysis.combine import CurveEstimate
from zifbench.analysis.runs import RunObservation, RunResult
from zifbench.analysis.survival import Survival
from zifbench.benchmark.plots import data_url, new_figure
from zifbench.frames import FloatArray
from zifbench.reports.figures import draw_curves

_INK, _ACCENT, _SOFT = "#1f5fa8", "#c8553d", "#777777"
_REFERENCE = "reference"
# Observable -> its curves that are drawn, in words.
_DRAWN = {
    "rdf": ("Radial distribution functions", ("zn_n_g", "zn_zn_g", "n_n_g")),
    "angles": ("Bond angles", ("n_zn_n", "zn_im_zn")),
    "rings": ("Primitive rings of the Zn–imidazolate network", ("ring_sizes",)),
}


def draw_structure(
    name: str, candidate: RunResult, about: str, reference: RunResult | None
) -> dict[str, str]:
    """RDFs, angles and rings of candidate and reference, title -> figure."""
    pictures = {}
    for observable, (title, keys) in _DRAWN.items():
        runs = {
            label: _only(result.found[observable], keys, band)
            for label, result, band in ((name, candidate, True), (_REFERENCE, reference, False))
            if result is not None and observable in result.found
        }
        url = draw_curves(runs, [_REFERENCE])
        if url is not None:
            pictures[f"{title}, reference: {about}" if _REFERENCE in runs else title] = url
    return pictures


def _only(found: RunObservation, keys: tuple[str, ...], band: bool) -> RunObservation:
    curves = {key: found.curves[key] for key in keys if key in found.curves}
    if not band:  # of single structures
        curves = {key: _without_band(curve) for key, curve in curves.items()}
    return replace(found, curves=curves)


def _without_band(estimate: CurveEstimate) -> CurveEstimate:
    nothing = np.full(len(estimate.y), np.nan)
    return replace(estimate, low=nothing, high=nothing)


def draw_pressure(
    volumes_A3: FloatArray,
    pressures_GPa: FloatArray,
    errors_GPa: FloatArray | None,
    fit: tuple[FloatArray, FloatArray] | None,
    *,
    name: str,
) -> str:
    """P(V): the points, with 95 % intervals where there are any, and the fitted curve."""
    figure = new_figure(5.6, 3.8)
    axes = figure.add_subplot()
    axes.axhline(0.0, lw=0.8, color=_SOFT)
    if fit is not None:
        axes.plot(*fit, lw=1.4, color=_ACCENT, label="Birch–Murnaghan, at most five points")
    axes.errorbar(
        volumes_A3, pressures_GPa, errors_GPa, fmt="o", ms=5, capsize=3, color=_INK, label=name
    )
    axes.set(xlabel="volume of the cell, Å³", ylabel="pressure, GPa", title="Pressure and volume")
    axes.legend(fontsize=8)
    return data_url(figure)


def draw_energy(
    time_ps: FloatArray, energy_meV: FloatArray, slope_meV_per_ps: float, *, name: str
) -> str:
    """Total energy per atom about its mean, and its drift."""
    figure = new_figure(5.6, 3.4)
    axes = figure.add_subplot()
    axes.plot(time_ps, energy_meV, lw=0.9, color=_INK, label=name)
    line = slope_meV_per_ps * (time_ps - time_ps.mean())
    axes.plot(time_ps, line, lw=1.4, color=_ACCENT, label=f"{slope_meV_per_ps:.3g} meV/atom/ps")
    axes.set(xlabel="time, ps", ylabel="energy, meV/atom", title="Total energy, about its mean")
    axes.legend(fontsize=8)
    return data_url(figure)


def draw_survival(
    curve: Survival, ends: Mapping[float, Sequence[tuple[float, bool]]], *, name: str
) -> str:
    """Share of all runs that last, with its band; when each ended, by temperature."""
    figure = new_figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    left.step(curve.time, curve.survival, where="post", color=_INK, label=name)
    left.fill_between(curve.time, curve.low, curve.high, step="post", alpha=0.2, lw=0, color=_INK)
    left.set(xlabel="time, ps", ylabel="share that lasts", title="All temperatures, 95 % band")
    left.set_ylim(0.0, 1.05)
    left.set_xlim(left=0.0)
    for wanted, colour, marker, label in (
        (False, _ACCENT, "x", "failed"),
        (True, _INK, "^", "lasted to the end of the run"),
    ):
        points = [(k, t) for k, rows in ends.items() for t, done in rows if done is wanted]
        if points:
            right.plot(*np.array(points).T, marker, color=colour, label=label)
    right.set(xlabel="temperature, K", ylabel="time, ps", title="End of each run")
    right.set_ylim(bottom=0.0)
    right.legend(fontsize=8)
    return data_url(figure)
