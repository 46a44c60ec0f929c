"""Pictures of a sweep: accuracy against speed, learning curves, and what the sampling does.

The last two are the panels of Fig. 3 of Castel et al. (Digital Discovery 2024, 3, 355).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zifbench.benchmark.plots import new_figure
from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.splits.pool import Pool, pool_of
from zifbench.dataset.store import open_store
from zifbench.frames import FloatArray
from zifbench.training.curve import Row
from zifbench.training.sweep.plan import Plan
from zifbench.training.sweep.table import QUANTITIES, Sweep, SweepRow, curves_of
from zifbench.units import MEV_PER_EV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY_PICTURE = "accuracy.png"
CURVES_PICTURE = "learning-curves.png"
SAMPLING_PICTURE = "sampling.png"

_COLOURS = ("#1f5fa8", "#c8553d", "#2f8f5b", "#8a5fb0", "#c99a1c", "#3aa6a6", "#7a4a2b", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLES = ("-", "--", ":", "-.")
_BINS = 30

_CURVES = {
    "energy, validation RMSE (meV/atom)": "validation_per_atom_energy_rmse",
    "forces, validation RMSE (meV/Å)": "validation_forces_rmse",
}


def draw_sweep(plan: Plan, sweep: Sweep) -> list[Path]:
    """Draw what there is to draw.

    Returns:
        The pictures.
    """
    drawn = {
        ACCURACY_PICTURE: _accuracy(sweep),
        CURVES_PICTURE: _learning_curves(curves_of(plan)),
        SAMPLING_PICTURE: _sampling(plan, sweep),
    }
    paths = []
    for name, figure in drawn.items():
        path = plan.out / name
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        temporary = path.with_name(f".{name}.tmp")
        figure.savefig(temporary, dpi=150, format="png")
        temporary.replace(path)
        paths.append(path)
    return paths


def _accuracy(sweep: Sweep) -> Figure | None:
    """Force error against the time of a call: small seeds, a large mean with its spread."""
    rows = [row for row in sweep.rows if row.values("force_mae") and row.values("time_per_call")]
    if not rows:
        return None
    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    colour, marker = _looks(row.candidate for row in rows), _looks(row.split for row in rows)
    for row in rows:
        speed, error = row.values("time_per_call"), row.values("force_mae")
        look = _COLOURS[colour[row.candidate] % len(_COLOURS)]
        sign = _MARKERS[marker[row.split] % len(_MARKERS)]
        axes.scatter(speed, error, s=12, alpha=0.5, linewidths=0, color=look, marker=sign)
        axes.errorbar(
            np.mean(speed),
            np.mean(error),
            xerr=row.spread("time_per_call"),
            yerr=row.spread("force_mae"),
            linestyle="",
            markersize=7,
            capsize=2,
            color=look,
            marker=sign,
            label=row.candidate if len(marker) == 1 else f"{row.candidate}, {row.split}",
        )
    _logarithmic(axes, x=True)
    axes.set_xlabel(f"{QUANTITIES['time_per_call']} ({sweep.units['time_per_call']}/call)")
    axes.set_ylabel(f"force error on the test frames, MAE ({sweep.units['force_mae']})")
    axes.legend(fontsize=7, frameon=False)
    axes.set_title(
        "mean over the seeds; bars: standard deviation, that of the speed between timings",
        fontsize=9,
    )
    return figure


def _learning_curves(curves: Mapping[tuple[str, str], Sequence[Sequence[Row]]]) -> Figure | None:
    """Validation errors against epochs: the candidates, and below those on several splits."""
    if not curves:
        return None
    first: dict[str, str] = {}
    for candidate, split in curves:
        first.setdefault(candidate, split)
    several = {candidate for candidate, split in curves if first[candidate] != split}
    groups = []
    if len(first) > 1 or not several:
        groups.append({key: seeds for key, seeds in curves.items() if first[key[0]] == key[1]})
    if several:
        groups.append({key: seeds for key, seeds in curves.items() if key[0] in several})
    figure = new_figure(10.0, 0.4 + 3.8 * len(groups))
    panels = figure.subplots(len(groups), len(_CURVES), squeeze=False)
    for row, group in zip(panels, groups, strict=True):
        for axes, (label, column) in zip(row, _CURVES.items(), strict=True):
            _draw_curves(axes, group, column)
            axes.set_ylabel(label)
        row[0].legend(fontsize=7, frameon=False)
    figure.suptitle(
        "mean over the seeds that reached an epoch, and the band from the lowest to the highest",
        fontsize=9,
    )
    return figure


def _draw_curves(
    axes: Axes, curves: Mapping[tuple[str, str], Sequence[Sequence[Row]]], column: str
) -> None:
    """One line for each candidate and split: colours are splits where the candidates are few."""
    by_split = len({candidate for candidate, _ in curves}) < len({split for _, split in curves})
    colour = _looks((s if by_split else c) for c, s in curves)
    style = _looks((c if by_split else s) for c, s in curves)
    for (candidate, split), seeds in curves.items():
        known = [[row[column] for row in rows] for rows in seeds if column in rows[0]]
        if not known:
            continue
        errors = np.full((len(known), max(map(len, known))), np.nan)
        for k, values in enumerate(known):
            errors[k, : len(values)] = MEV_PER_EV * np.array(values)
        epochs = np.arange(1, errors.shape[1] + 1)
        main, other = (split, candidate) if by_split else (candidate, split)
        look = _COLOURS[colour[main] % len(_COLOURS)]
        axes.plot(
            epochs,
            np.nanmean(errors, axis=0),
            _STYLES[style[other] % len(_STYLES)],
            color=look,
            linewidth=1.3,
            marker="o" if len(epochs) == 1 else None,
            label=f"{candidate}, {split}",
        )
        low, high = np.nanmin(errors, axis=0), np.nanmax(errors, axis=0)
        axes.fill_between(epochs, low, high, color=look, alpha=0.15, linewidth=0)
    _logarithmic(axes)
    axes.set_xlabel("epoch")


def _sampling(plan: Plan, sweep: Sweep) -> Figure | None:
    """Energies of the training frames of each split, and errors against their number."""
    if len(plan.splits) < 2:
        return None
    figure = new_figure(13.0, 4.0)
    first, *others = figure.subplots(1, 3)
    with open_store(plan.data) as store:
        _draw_energies(first, pool_of(store), plan)
    generators = {name: load_split(file).generator for name, file in plan.splits.items()}
    for axes, quantity in zip(others, ("energy_mae", "force_mae"), strict=True):
        _draw_sizes(axes, sweep, quantity, generators)
    figure.suptitle(
        "bars: standard deviation over the seeds; each split was drawn once", fontsize=9
    )
    return figure


def _draw_energies(axes: Axes, pool: Pool, plan: Plan) -> None:
    energies = _above_lowest(pool)
    edges = np.histogram_bin_edges(energies[np.isfinite(energies)], bins=_BINS).tolist()
    axes.hist(energies, edges, density=True, color="#cccccc", label="all frames")
    for k, (name, file) in enumerate(plan.splits.items()):
        rows = load_split(file).rows("train")
        drawn = np.concatenate(
            [
                energies[pool.starts[n] : pool.starts[n + 1]][rows[trajectory.name]]
                for n, trajectory in enumerate(pool.trajectories)
                if trajectory.name in rows
            ]
        )
        axes.hist(
            drawn,
            edges,
            density=True,
            histtype="step",
            linewidth=1.2,
            color=_COLOURS[k % len(_COLOURS)],
            label=f"{name}, training",
        )
    axes.set_xlabel("total energy above the lowest of its composition (eV)")
    axes.set_ylabel("share of frames (1/eV)")
    axes.legend(fontsize=7, frameon=False)


def _above_lowest(pool: Pool) -> FloatArray:
    """Energies above the lowest one of the same composition and level of theory, eV."""
    energies = pool.energy.copy()
    for group in {trajectory.group for trajectory in pool.trajectories}:
        inside = np.concatenate(
            [np.full(len(t), t.group == group, dtype=bool) for t in pool.trajectories]
        )
        if np.isfinite(energies[inside]).any():
            energies[inside] -= np.nanmin(energies[inside])
    return energies


def _draw_sizes(axes: Axes, sweep: Sweep, quantity: str, generators: Mapping[str, str]) -> None:
    """Errors against training frames: colours are candidates, lines ways of sampling."""
    lines: dict[tuple[str, str], list[SweepRow]] = {}
    for row in sweep.rows:
        if not row.is_dummy and row.values(quantity):
            lines.setdefault((row.candidate, generators[row.split]), []).append(row)
    colour, style = _looks(c for c, _ in lines), _looks(s for _, s in lines)
    for (candidate, sampled), rows in lines.items():
        rows = sorted(rows, key=lambda row: row.n_train or 0)
        axes.errorbar(
            [row.n_train or 0 for row in rows],
            [row.mean(quantity) or np.nan for row in rows],
            yerr=[row.spread(quantity) or 0.0 for row in rows],
            color=_COLOURS[colour[candidate] % len(_COLOURS)],
            linestyle=_STYLES[style[sampled] % len(_STYLES)],
            marker=_MARKERS[style[sampled] % len(_MARKERS)],
            markersize=4,
            capsize=2,
            label=f"{candidate}, {sampled}",
        )
    for row in sweep.rows:
        if row.is_dummy and row.values(quantity):
            axes.axhline(
                row.mean(quantity) or np.nan,
                color="#777777",
                linewidth=0.8,
                linestyle=":",
                label=row.candidate,
            )
    _logarithmic(axes, x=True)
    axes.set_xlabel("training frames")
    axes.set_ylabel(f"{QUANTITIES[quantity]} on the test frames ({sweep.units.get(quantity, '')})")
    if lines:
        axes.legend(fontsize=7, frameon=False)


def _logarithmic(axes: Axes, *, x: bool = False) -> None:
    """Logarithmic axes with plain numbers at their ticks: few sweeps span a decade."""
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    if x:
        axes.set_xscale("log")
    for axis in (axes.xaxis, axes.yaxis) if x else (axes.yaxis,):
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.4)))
    axes.tick_params(which="both", labelsize=8)


def _looks(names: Iterable[str]) -> dict[str, int]:
    """Name -> a number for its colour, marker or line, in the order of the first sight."""
    return {name: k for k, name in enumerate(dict.fromkeys(names))}
