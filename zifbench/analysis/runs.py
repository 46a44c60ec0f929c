"""Runs: several files each, with error bars over blocks of one file, or over several files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from zifbench.analysis.bootstrap import bootstrap_interval
from zifbench.analysis.meters import Advance, Axis, FileResult, FrameSource, measure
from zifbench.analysis.observation import (
    Curve,
    Observable,
    Observation,
    Scalar,
    Scope,
    Series,
    Settings,
)
from zifbench.analysis.resampling import BootstrapEstimate, Level, bootstrap_mean
from zifbench.analysis.run_length import check_run_length
from zifbench.analysis.timeseries import MIN_BLOCKS, mean_estimate
from zifbench.errors import DataError, NotDefinedError, ZifbenchError
from zifbench.frames import FloatArray

_MIN_FILES = 3  # two curves say nothing about their scatter
_RESAMPLES = 400
Titled = TypeVar("Titled", Series, Curve)
_ROUNDING = 1.0e-12  # relative differences below are those of equal numbers, computed twice


@dataclass(frozen=True)
class Run:
    """Frames under one name.

    Attributes:
        name: Label in tables and figures.
        files: Several files are independent samples of the same thing, and each counts the same.
        reference: Whether it is what others are compared with.
    """

    name: str
    files: tuple[FrameSource, ...]
    reference: bool = False

    @property
    def n_frames(self) -> int:
        """Frames of all files."""
        return sum(file.n_frames for file in self.files)

    @property
    def temperature_K(self) -> float | None:
        """What the files themselves say, if they all say the same."""
        said = {file.temperature_K for file in self.files}
        return said.pop() if len(said) == 1 else None


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
        n_of: "frames", "blocks", "files" or "runs".
        reliable: Whether the interval holds; None where there is none.
        note: Anything a reader must know.
        long_enough: Whether the run is long enough for this number; None where no series tells.
        run_length: The reason for that, in words.
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
    long_enough: bool | None = None
    run_length: str | None = None


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
        files: Name of each file.
        axes: Abscissa of the series of each file.
        events: What happened, in words.
        gaps: What could not be had, with the reason.
    """

    values: dict[str, Value]
    curves: dict[str, CurveEstimate]
    series: dict[str, list[Series]]
    files: tuple[str, ...] = ()
    axes: tuple[Axis, ...] = ()
    events: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """Everything about one run.

    Attributes:
        found: Observable -> what it says.
        failed: Observable -> why it is not defined.
        digests: sha256 of what was analysed of each file.
        formulas: Compositions that occur, sorted.
        temperature_K: Temperature used.
    """

    found: dict[str, RunObservation]
    failed: dict[str, str]
    digests: tuple[str, ...]
    formulas: tuple[str, ...]
    temperature_K: float | None = None


@dataclass
class _Found:
    """Numbers and curves under way."""

    values: dict[str, Value] = field(default_factory=dict)
    curves: dict[str, CurveEstimate] = field(default_factory=dict)
    gaps: dict[str, None] = field(default_factory=dict)


def observe(
    run: Run,
    chosen: Mapping[str, Observable],
    settings: Settings,
    advance: Advance = lambda n: None,
) -> RunResult:
    """All chosen observables of one run, each file in one pass.

    Args:
        run: The frames.
        chosen: Lines of the table `OBSERVABLES`.
        settings: What the frames do not say.
        advance: Told how many frames were done.

    Raises:
        DataError: a file cannot be read to its end.
    """
    if settings.temperature_K is None:
        settings = replace(settings, temperature_K=run.temperature_K)
    results = [measure(file, chosen, settings, advance=advance) for file in run.files]
    axes = tuple(result.axis for result in results)
    found: dict[str, RunObservation] = {}
    failed: dict[str, str] = {}
    for name, line in chosen.items():
        try:
            rows = _rows(name, line, results, settings)
            found[name] = _of_files(rows, axes, tuple(file.name for file in run.files), settings)
        except ZifbenchError as error:
            failed[name] = str(error)
    return RunResult(
        found,
        failed,
        tuple(result.digest for result in results),
        tuple(sorted(frozenset().union(*(result.formulas for result in results)))),
        settings.temperature_K,
    )


def _rows(
    name: str, line: Observable, results: Sequence[FileResult], settings: Settings
) -> list[Observation]:
    """What the observable found in each file, or in all of them together."""
    if line.scope is not Scope.FILES:
        _check_all(name, results)
        return [result.found[name] for result in results]
    for other in line.of:
        _check_all(other, results)
    files = [{other: result.found[other] for other in line.of} for result in results]
    return [line.function(files, settings)]


def _check_all(name: str, results: Sequence[FileResult]) -> None:
    reasons = [result.failed[name] for result in results if name in result.failed]
    if reasons:
        more = f" (and {len(reasons) - 1} more of the files)" if len(reasons) > 1 else ""
        raise NotDefinedError(f"{reasons[0]}{more}")


def _of_files(
    rows: Sequence[Observation], axes: tuple[Axis, ...], names: tuple[str, ...], settings: Settings
) -> RunObservation:
    found = _Found()
    found.gaps.update(dict.fromkeys(gap for row in rows for gap in row.gaps))
    series = _common([row.series for row in rows], found)
    for key, of_files in series.items():
        value = _mean_of_series(of_files, settings)
        found.values[key] = _with_run_length(value, of_files, names)
    for key in dict.fromkeys(key for row in rows for key in row.scalars):
        scalars = [row.scalars[key] for row in rows if key in row.scalars]
        found.values[key] = _mean_of_scalars(scalars, settings)
    for key, curves in _common([row.curves for row in rows], found).items():
        try:
            n_samples = len(curves) if len(curves) > 1 else len(axes[0].values)
            _add_curve(key, curves, n_samples, settings, found)
        except NotDefinedError as error:
            found.gaps[f"{curves[0].title}: {error}"] = None
    events = tuple(str(event) for row in rows for event in row.events)
    gaps = tuple(found.gaps)
    return RunObservation(found.values, found.curves, series, names, axes, events, gaps)


def _common(tables: Sequence[Mapping[str, Titled]], found: _Found) -> dict[str, list[Titled]]:
    """Key -> what each file has under it; what only some files have is a gap."""
    common = {}
    for key in dict.fromkeys(key for table in tables for key in table):
        have = [table[key] for table in tables if key in table]
        if len(have) == len(tables):
            common[key] = have
        else:
            found.gaps[f"{have[0].title}: only {len(have)} of {len(tables)} files give it"] = None
    return common


# -- numbers --------------------------------------------------------------------------------------


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


def _with_run_length(value: Value, rows: Sequence[Series], names: Sequence[str]) -> Value:
    """The verdict of every file; one that is too short makes the run too short."""
    verdicts: list[bool | None] = []
    reasons = []
    for name, row in zip(names, rows, strict=True):
        try:
            found = check_run_length(row.values)
        except DataError as error:
            verdicts.append(None)
            reasons.append(str(error))
            continue
        verdicts.append(found.long_enough)
        reasons.append(found.reason if len(rows) == 1 else f"{name}: {found.reason}")
    if False in verdicts:
        chosen = [r for r, v in zip(reasons, verdicts, strict=True) if v is False]
        return replace(value, long_enough=False, run_length="; ".join(chosen))
    if None in verdicts:
        return replace(value, long_enough=None, run_length=reasons[verdicts.index(None)])
    return replace(value, long_enough=True, run_length="; ".join(reasons))


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


# -- curves ---------------------------------------------------------------------------------------


def _add_curve(
    key: str, curves: Sequence[Curve], n_samples: int, settings: Settings, found: _Found
) -> None:
    """Mean over the files; the band from them, or from the blocks of a single one."""
    first = curves[0]
    if any(c.x.shape != first.x.shape or not np.allclose(c.x, first.x) for c in curves):
        raise NotDefinedError(
            f"the files give it at different {first.x_label}; analyse them as separate runs"
        )
    whole = _Readings(first)
    mean = np.mean([curve.y for curve in curves], axis=0)
    y = whole.ordinate(mean)
    estimate = _estimate(curves, whole, settings)
    n = len(y)
    if estimate is not None:
        reach = estimate.high[:n] - estimate.estimate[:n]
        low, high = y - reach, y + reach
    elif first.band is not None and len(curves) == 1:
        low, high = first.band
    else:
        low, high = np.full(n, np.nan), np.full(n, np.nan)
    found.curves[key] = CurveEstimate(replace(first, blocks=None), y, low, high)
    n_of = "files" if len(curves) > 1 else "frames"
    for k, (name, reading) in enumerate(first.readings.items()):
        try:
            if reading.check is not None:
                reading.check(y)
            value = reading.read(y)
        except NotDefinedError as error:
            found.gaps[f"{reading.title}: {error}"] = None
            continue
        ends = None
        if estimate is not None and np.isfinite(estimate.low[n + k]):
            reach_k = float(estimate.high[n + k] - estimate.estimate[n + k])
            ends = (value - reach_k, value + reach_k)
        reliable = None if estimate is None or ends is None else estimate.reliable
        found.values[name] = Value(
            reading.title, reading.unit, value, ends, None, n_samples, n_of, reliable
        )


def _estimate(
    curves: Sequence[Curve], whole: _Readings, settings: Settings
) -> BootstrapEstimate | None:
    """Ordinate and readings with their errors, where there are enough samples."""
    estimate = partial(bootstrap_mean, seed=settings.seed, n_resamples=_RESAMPLES, transform=whole)
    if len(curves) >= _MIN_FILES:
        return estimate([curve.y[None] for curve in curves], level=Level.REPLICAS)
    blocks = curves[0].blocks
    if len(curves) == 1 and blocks is not None and len(blocks) >= MIN_BLOCKS:
        return estimate(blocks)
    return None


class _Readings:
    """From a mean contribution to the ordinate and all that is read off it, in one row."""

    def __init__(self, curve: Curve) -> None:
        self._function: Callable[[FloatArray], FloatArray] = curve.of_mean or (lambda mean: mean)
        self._readings = tuple(curve.readings.values())

    def ordinate(self, mean: FloatArray) -> FloatArray:
        return np.asarray(self._function(mean), dtype=float)

    def __call__(self, mean: FloatArray) -> FloatArray:
        y = self.ordinate(mean)
        return np.concatenate([y, [_read_or_nan(reading.read, y) for reading in self._readings]])


def _read_or_nan(read: Callable[[FloatArray], float], y: FloatArray) -> float:
    try:
        return read(y)
    except NotDefinedError:
        return float("nan")
