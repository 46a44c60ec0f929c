"""One observable of one run, with error bars: over blocks of one file, or over several files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from zifbench.analysis.bootstrap import bootstrap_interval
from zifbench.analysis.observables import (
    Curve,
    Observable,
    Observation,
    Scalar,
    Scope,
    Series,
    Settings,
)
from zifbench.analysis.resampling import BootstrapEstimate, Level, bootstrap_mean
from zifbench.analysis.timeseries import MIN_BLOCKS, mean_estimate
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames

_MAX_BLOCKS = 64  # pieces of one file whose curves scatter about the mean
_MIN_FILES = 3  # two curves say nothing about their scatter
_RESAMPLES = 400
_ROUNDING = 1.0e-12  # relative differences below are those of equal numbers, computed twice

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Run:
    """Frames under one name.

    Attributes:
        name: Label in tables and figures.
        files: The parts of each file in order; several files are independent samples of the same
            thing, and every file counts the same.
        reference: Whether it is what others are compared with.
    """

    name: str
    files: tuple[tuple[Frames, ...], ...]
    reference: bool = False

    @property
    def n_frames(self) -> int:
        """Frames of all files."""
        return sum(len(part) for parts in self.files for part in parts)


@dataclass(frozen=True)
class Value:
    """A number with its 95 % interval.

    Attributes:
        title: What it is.
        unit: Unit of value, interval and scatter.
        value: Mean over frames, or over files.
        interval_95: Interval of the mean; None where it cannot be had.
        scatter: Standard deviation of the single samples; None for one sample.
        n: Number of samples.
        n_of: "frames" or "files".
        reliable: Whether the interval holds; None where there is none.
        note: Anything a reader must know.
    """

    title: str
    unit: str
    value: float
    interval_95: tuple[float, float] | None
    scatter: float | None
    n: int
    n_of: str
    reliable: bool | None = None
    note: str | None = None


@dataclass(frozen=True)
class CurveEstimate:
    """A curve with its 95 % band; the ends are NaN where it cannot be had, shapes (B,)."""

    curve: Curve
    y: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class RunObservation:
    """What one observable says about one run.

    Attributes:
        values: Key -> number.
        curves: Key -> curve.
        series: Key -> the series of each file.
        events: What happened, in words.
        gaps: What could not be had, with the reason.
    """

    values: dict[str, Value]
    curves: dict[str, CurveEstimate]
    series: dict[str, list[Series]]
    events: tuple[str, ...]
    gaps: tuple[str, ...]


def observe(
    run: Run, observable: Observable, settings: Settings, advance: Advance = lambda n: None
) -> RunObservation:
    """One observable of one run.

    Args:
        run: The frames.
        observable: A line of `OBSERVABLES`.
        settings: What the frames do not say.
        advance: Told how many frames were done.

    Raises:
        NotDefinedError: the observable is not defined for a file of the run, with the reason.
    """
    if observable.scope is Scope.FILES:
        found = observable.function([_trajectory(parts) for parts in run.files], settings)
        advance(run.n_frames)
        return _of_files([[found]], [[1]], settings)
    observations: list[list[Observation]] = []
    weights: list[list[int]] = []
    for parts in run.files:
        observations.append([])
        weights.append([])
        for piece in _pieces(parts, observable.scope):
            observations[-1].append(observable.function(piece, settings))
            weights[-1].append(len(piece))
            advance(len(piece))
    return _of_files(observations, weights, settings)


def _pieces(parts: Sequence[Frames], scope: Scope) -> Iterator[Frames]:
    if scope is Scope.TRAJECTORY:
        yield _trajectory(parts)
        return
    n_frames = sum(len(part) for part in parts)
    for part in parts:
        yield from part.chunks(-(-n_frames // _MAX_BLOCKS))


def _trajectory(parts: Sequence[Frames]) -> Frames:
    if len(parts) != 1:
        raise NotDefinedError(
            f"the frames of {parts[0].source} hold different atoms or values ({len(parts)} kinds): "
            "no trajectory"
        )
    return parts[0]


def _of_files(
    observations: list[list[Observation]], weights: list[list[int]], settings: Settings
) -> RunObservation:
    every = [o for file in observations for o in file]
    gaps = [gap for o in every for gap in o.gaps]
    series = {key: [_joined(file, key) for file in observations] for key in every[0].series}
    values = {key: _mean_of_series(rows, settings) for key, rows in series.items()}
    for key in dict.fromkeys(key for o in every for key in o.scalars):
        values[key] = _mean_of_scalars(
            [o.scalars[key] for o in every if key in o.scalars], settings
        )
    curves = {}
    for key, first in every[0].curves.items():
        try:
            rows = [[o.curves[key] for o in file] for file in observations]
            curves[key] = _mean_curve(rows, weights, settings)
        except NotDefinedError as error:
            gaps.append(f"{first.title}: {error}")
    events = tuple(event for o in every for event in o.events)
    return RunObservation(values, curves, series, events, tuple(gaps))


def _joined(file: Sequence[Observation], key: str) -> Series:
    first = file[0].series[key]
    return Series(first.title, first.unit, np.concatenate([o.series[key].values for o in file]))


def _mean_of_series(rows: Sequence[Series], settings: Settings) -> Value:
    """Blocks of one file, or the means of several files."""
    title, unit = rows[0].title, rows[0].unit
    if len(rows) > 1:
        means = np.array([row.values.mean() for row in rows])
        return _mean_of_files(title, unit, means, settings)
    values = rows[0].values
    mean, n = float(values.mean()), len(values)
    scatter = float(values.std(ddof=1)) if n > 1 else None
    if n < MIN_BLOCKS:
        return Value(title, unit, mean, None, scatter, n, "frames")
    found = mean_estimate(values)
    interval = (found.low, found.high)
    return Value(title, unit, mean, interval, scatter, n, "frames", found.reliable)


def _mean_of_scalars(found: Sequence[Scalar], settings: Settings) -> Value:
    one = found[0]
    if len(found) > 1:
        values = np.array([scalar.value for scalar in found])
        return _mean_of_files(one.title, one.unit, values, settings, note=one.note)
    return Value(
        one.title, one.unit, one.value, one.interval_95, None, 1, "runs", one.reliable, one.note
    )


def _mean_of_files(
    title: str, unit: str, values: FloatArray, settings: Settings, note: str | None = None
) -> Value:
    if np.ptp(values) <= _ROUNDING * np.abs(values).max():
        one, n = float(values[0]), len(values)
        return Value(title, unit, one, (one, one), 0.0, n, "files", n >= _MIN_FILES, note)
    ends = bootstrap_interval(
        lambda weights: (weights @ values / weights.sum(axis=1))[:, None],
        len(values),
        seed=settings.seed,
    )
    interval = None if ends is None else (float(ends[0, 0]), float(ends[0, 1]))
    scatter = float(values.std(ddof=1))
    return Value(
        title, unit, float(values.mean()), interval, scatter, len(values), "files",
        len(values) >= _MIN_FILES, note,
    )  # fmt: skip


def _mean_curve(
    curves: list[list[Curve]], weights: list[list[int]], settings: Settings
) -> CurveEstimate:
    """Mean over the pieces of a file, then over files; the band from what there is more of."""
    first = curves[0][0]
    if any(c.x.shape != first.x.shape or not np.allclose(c.x, first.x) for f in curves for c in f):
        raise NotDefinedError(
            f"{first.title}: the files give it at different {first.x_label}; analyse them as "
            "separate runs"
        )
    means = [
        np.average([c.y for c in file], axis=0, weights=row)
        for file, row in zip(curves, weights, strict=True)
    ]
    function = first.of_mean or (lambda mean: mean)
    y = np.asarray(function(np.mean(means, axis=0)), dtype=float)
    found: BootstrapEstimate | None = None
    estimate = partial(
        bootstrap_mean, seed=settings.seed, n_resamples=_RESAMPLES, transform=function
    )
    if len(means) >= _MIN_FILES:
        found = estimate([mean[None] for mean in means], level=Level.REPLICAS)
    elif len(means) == 1 and len(curves[0]) >= MIN_BLOCKS:
        found = estimate(np.array([c.y for c in curves[0]]))
    reach = np.full(y.shape, np.nan) if found is None else found.high - found.estimate
    return CurveEstimate(first, y, y - reach, y + reach)
