"""Pictures of observables: every curve a panel, every run a line, its band behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zifbench.analysis.combine import CurveEstimate
from zifbench.analysis.meters import Axis
from zifbench.analysis.runs import RunObservation
from zifbench.analysis.timeseries import block_means
from zifbench.benchmark.plots import data_url, new_figure
from zifbench.frames import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f5fa8", "#c8553d", "#2f8f5b", "#8a5fb0", "#c99a1c", "#3aa6a6", "#7a4a2b")
_REFERENCE_COLOURS = ("#222222", "#777777", "#aaaaaa")
_COLUMNS = 3
_PANEL = (4.0, 3.0)  # inches
_MAX_POINTS = 1000  # of a line
_NOTHING = 1.0e-3  # of the highest value
_TIME_TICKS = 4  # intervals between labels that never touch
_NEVER_NEGATIVE = ("g(r)", "p(θ)", "within r of", "share")  # in the label of such an ordinate
_MOSTLY = 0.8  # of an abscissa; if more of it is in use, all is shown


def draw_curves(runs: Mapping[str, RunObservation], references: Collection[str]) -> str | None:
    """All curves of one observable as a data URL, or None where there are none."""
    keys = list(dict.fromkeys(key for found in runs.values() for key in found.curves))
    if not keys:
        return None
    grouped: dict[str, list[str]] = {}
    for key in keys:
        first = next(found.curves[key] for found in runs.values() if key in found.curves).curve
        grouped.setdefault(first.panel or key, []).append(key)
    panels = _Panels(len(grouped))
    colours = _colours(runs, references)
    for axes, members in zip(panels.axes, grouped.values(), strict=True):
        for key in members:
            _draw_key(axes, key, runs, colours)
    panels.legend()
    return data_url(panels.figure)


def _draw_key(
    axes: Axes, key: str, runs: Mapping[str, RunObservation], colours: Mapping[str, str]
) -> None:
    """One curve of every run."""
    drawn = {name: found.curves[key] for name, found in runs.items() if key in found.curves}
    first = next(iter(drawn.values())).curve
    for place, (name, estimate) in enumerate(drawn.items()):
        if first.bars:
            _draw_bars(axes, estimate, colours[name], name, place, len(drawn))
        elif first.points:
            _draw_points(axes, estimate, colours[name], name)
        else:
            _draw_line(axes, estimate, colours[name], None if first.panel else name)
    if first.measured is not None:
        measured = first.measured
        inside = (measured.x >= first.x[0]) & (measured.x <= first.x[-1])
        axes.plot(
            measured.x[inside], measured.y[inside], lw=0.9, ls=":", color="black",
            label=measured.name,
        )  # fmt: skip
    note = ""
    if first.drawn_bins > 1:
        width = first.drawn_bins * float(first.x[1] - first.x[0])
        note = f", bins of {width:g} {first.x_label.rpartition(' ')[2]}"
    title = first.panel or _joined(estimate.curve.title for estimate in drawn.values())
    x_label = _joined(estimate.curve.x_label for estimate in drawn.values())
    axes.set(title=title, xlabel=x_label, ylabel=f"{first.y_label}{note}")
    if first.x_label.startswith("time"):
        axes.locator_params(axis="x", nbins=_TIME_TICKS)
    if first.panel is None:
        _trim(axes, list(drawn.values()))


def _trim(axes: Axes, drawn: Sequence[CurveEstimate]) -> None:
    """Leave out the ends of the abscissa where all curves vanish, if that is much of it."""
    x = drawn[0].curve.x
    if any(estimate.curve.x.shape != x.shape for estimate in drawn) or len(x) < 2:
        return
    size = np.max([np.abs(np.nan_to_num(estimate.y, posinf=0.0)) for estimate in drawn], axis=0)
    if not size.any():
        return
    seen = np.flatnonzero(size > _NOTHING * size.max())
    step = float(x[1] - x[0])
    margin = 2.0 * step if drawn[0].curve.bars else 0.1 * float(x[seen[-1]] - x[seen[0]]) + step
    low, high = x[seen[0]] - margin, x[seen[-1]] + margin
    if high - low < _MOSTLY * (x[-1] - x[0]):
        axes.set_xlim(max(low, x[0] - step), min(high, x[-1] + step))
    if np.ptp(size) == 0.0 and size.max() == 1.0:
        axes.set_ylim(0.0, 1.05)


def draw_series(runs: Mapping[str, RunObservation], references: Collection[str]) -> str | None:
    """Series of one observable against time (or frame), where a file has several frames."""
    keys = [
        key
        for key in dict.fromkeys(key for found in runs.values() for key in found.series)
        if any(_moves(found, key) for found in runs.values())
    ]
    if not keys:
        return None
    panels = _Panels(len(keys))
    colours = _colours(runs, references)
    label = _common_label(runs)
    for axes, key in zip(panels.axes, keys, strict=True):
        for name, found in runs.items():
            rows = [row.values for row in found.series.get(key, ())]
            _draw_rows(axes, rows, found.axes if label else (), colours[name], name)
        drawn = [found.series[key][0] for found in runs.values() if key in found.series]
        first = drawn[0]
        axes.set(
            title=_joined(one.title for one in drawn), xlabel=label or "frame", ylabel=first.unit
        )
        axes.locator_params(axis="x", nbins=_TIME_TICKS)
    panels.legend()
    return data_url(panels.figure)


def _joined(texts: Iterable[str]) -> str:
    """One text where all say the same, else all of them."""
    return " / ".join(dict.fromkeys(texts))


def _common_label(runs: Mapping[str, RunObservation]) -> str | None:
    """The abscissa that all files with several frames share."""
    labels = {axis.label for found in runs.values() for axis in found.axes if len(axis.values) > 1}
    return labels.pop() if len(labels) == 1 else None


def _draw_rows(
    axes: Axes, rows: list[FloatArray], places: Sequence[Axis], colour: str, name: str
) -> None:
    """A line a file; single structures have no order, so that their mean stands for them."""
    if rows and all(len(row) == 1 for row in rows):
        axes.axhline(float(np.mean(rows)), lw=1.0, ls="--", color=colour, label=f"{name}, mean")
        return
    for number, row in enumerate(rows):
        x = places[number].values if places else np.arange(len(row), dtype=float)
        n_blocks = -(-len(row) // max(1, -(-len(row) // _MAX_POINTS)))
        if n_blocks < len(row):  # more than can be seen: means of stretches over the whole
            axes.plot(x, row, lw=0.3, alpha=0.25, color=colour, rasterized=True)
            x, row = block_means(x, n_blocks), block_means(row, n_blocks)
        axes.plot(x, row, lw=0.9, color=colour, label=name if number == 0 else None)


def _moves(found: RunObservation, key: str) -> bool:
    return any(len(row.values) > 1 and np.ptp(row.values) > 0 for row in found.series.get(key, ()))


class _Panels:
    """Axes in rows of three."""

    def __init__(self, n: int) -> None:
        rows = -(-n // _COLUMNS)
        self.figure = new_figure(_PANEL[0] * _COLUMNS, _PANEL[1] * rows)
        self.axes: list[Axes] = [
            self.figure.add_subplot(rows, _COLUMNS, number + 1) for number in range(n)
        ]

    def legend(self) -> None:
        """In the first panel that shows most of the runs."""
        n_labels = [len(axes.get_legend_handles_labels()[1]) for axes in self.axes]
        for axes in self.axes[n_labels.index(max(n_labels)) :][:1]:
            axes.legend(fontsize=8)


def _colours(runs: Collection[str], references: Collection[str]) -> dict[str, str]:
    own = [name for name in runs if name not in references]
    colours = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(own)}
    others = [name for name in runs if name in references]
    grey = {name: _REFERENCE_COLOURS[k % len(_REFERENCE_COLOURS)] for k, name in enumerate(others)}
    return colours | grey


def _draw_line(axes: Axes, estimate: CurveEstimate, colour: str, name: str | None) -> None:
    n = estimate.curve.drawn_bins
    x, y, low, high = (
        _coarse(values, n) for values in (estimate.curve.x, estimate.y, estimate.low, estimate.high)
    )
    axes.plot(x, np.where(np.isfinite(y), y, np.nan), lw=1.1, color=colour, label=name)
    if np.isfinite(low).any():
        low = _clipped(low, estimate)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _clipped(low: FloatArray, estimate: CurveEstimate) -> FloatArray:
    """The lower end of a band, not below zero where the ordinate cannot be."""
    bounded = any(text in estimate.curve.y_label for text in _NEVER_NEGATIVE)
    if bounded and not (estimate.y < 0.0).any():
        return np.maximum(low, 0.0)
    return low


def _coarse(values: FloatArray, n: int) -> FloatArray:
    """Means of n values at a time; what is left over at the end is a mean of fewer."""
    if n == 1:
        return values
    whole = len(values) // n * n
    means = values[:whole].reshape(-1, n).mean(axis=1)
    rest = values[whole:]
    return np.append(means, rest.mean()) if len(rest) else means


def _draw_points(axes: Axes, estimate: CurveEstimate, colour: str, name: str) -> None:
    reach = np.where(np.isfinite(estimate.high), estimate.high - estimate.y, 0.0)
    axes.errorbar(
        estimate.curve.x, estimate.y, reach, fmt="o", ms=4, capsize=2, color=colour, label=name
    )


def _draw_bars(
    axes: Axes, estimate: CurveEstimate, colour: str, name: str, place: int, n: int
) -> None:
    x = estimate.curve.x
    width = 0.8 * float(np.diff(x).min()) / n
    centres = x + (place - 0.5 * (n - 1)) * width
    axes.bar(centres, estimate.y, width, color=colour, alpha=0.85, label=name)
    known = np.isfinite(estimate.low)
    axes.vlines(
        centres[known], np.maximum(0.0, estimate.low[known]), estimate.high[known], color="black",
        lw=0.9,
    )  # fmt: skip
