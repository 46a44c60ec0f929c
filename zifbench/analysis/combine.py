"""One number, one curve from what each file of a run gives, with its error.

The error comes from blocks of one file, or from the scatter of several files, which are
independent samples and count the same. Where some files lack something, or give another thing
under the same name, there is no mean, and the gap says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from zifbench.analysis.bootstrap import bootstrap_interval
from zifbench.analysis.observation import (
    Curve,
    Observation,
    Scalar,
    Series,
    Settings,
    check_alike,
)
from zifbench.analysis.resampling import BootstrapEstimate, Level, bootstrap_mean
from zifbench.analysis.run_length import check_run_length
from zifbench.analysis.timeseries import MIN_BLOCKS, mean_estimate
from zifbench.errors import DataError, NotDefinedError, ZifbenchError
from zifbench.frames import FloatArray

_MIN_FILES = 3  # two curves say nothing about their scatter
_RESAMPLES = 400
_ROUNDING = 1.0e-12  # relative differences below are those of equal numbers, computed twice
Titled = TypeVar("Titled", Series, Curve, Scalar)


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
        n_of: "frames", "files" or "runs".
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


@dataclass
class Combined:
    """What all files of a run together give.

    Attributes:
        values: Key -> number.
        curves: Key -> curve.
        series: Key -> the series of each file.
        gaps: What could not be had, with the reason; a dictionary for its order.
    """

    values: dict[str, Value] = field(default_factory=dict)
    curves: dict[str, CurveEstimate] = field(default_factory=dict)
    series: dict[str, list[Series]] = field(default_factory=dict)
    gaps: dict[str, None] = field(default_factory=dict)


def combine(
    rows: Sequence[Observation], names: Sequence[str], n_frames: int, settings: Settings
) -> Combined:
    """Numbers and curves of all files, with errors.

    Args:
        rows: What each file gives, or one row for all of them.
        names: What each row came from, for messages.
        n_frames: Frames of the first.
        settings: The seed of the bootstrap is used.
    """
    found = Combined()
    found.gaps.update(dict.fromkeys(gap for row in rows for gap in row.gaps))
    for key, series in _common([row.series for row in rows], found).items():
        with _gap_in(found, series[0].title):
            value = _mean_of_series(series, names, settings)
            found.values[key] = _with_run_length(value, series, names)
            found.series[key] = series
    for key, scalars in _common([row.scalars for row in rows], found).items():
        with _gap_in(found, scalars[0].title):
            found.values[key] = _mean_of_scalars(scalars, names, settings)
    for key, curves in _common([row.curves for row in rows], found).items():
        with _gap_in(found, curves[0].title):
            _add_curve(key, curves, n_frames, settings, found)
    return found


@contextmanager
def _gap_in(found: Combined, title: str) -> Iterator[None]:
    """What is not defined becomes a gap, and the rest goes on."""
    try:
        yield
    except ZifbenchError as error:
        found.gaps[f"{title}: {error}"] = None


def _common(tables: Sequence[Mapping[str, Titled]], found: Combined) -> dict[str, list[Titled]]:
    """Key -> what each file has under it; what only some have, or not alike, is a gap."""
    common = {}
    for key in dict.fromkeys(key for table in tables for key in table):
        have = [table[key] for table in tables if key in table]
        if len(have) < len(tables):
            found.gaps[f"{have[0].title}: only {len(have)} of {len(tables)} files give it"] = None
            continue
        with _gap_in(found, have[0].title):
            for other in have[1:]:
                check_alike(have[0], other, "files")
            common[key] = have
    return common


# -- numbers --------------------------------------------------------------------------------------


def _mean_of_series(rows: Sequence[Series], names: Sequence[str], settings: Settings) -> Value:
    """Blocks of one file, or the means of several files."""
    title, unit = rows[0].title, rows[0].unit
    for name, row in zip(names, rows, strict=True):
        bad = np.flatnonzero(~np.isfinite(row.values))
        if len(bad):
            raise NotDefinedError(f"no number in {len(bad)} frames of {name}, first {bad[0]}")
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
    reliable = found.reliable if found.low < found.high else None  # no scatter was seen yet
    return Value(title, unit, mean, interval, scatter, n, "frames", reliable)


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


def _mean_of_scalars(rows: Sequence[Scalar], names: Sequence[str], settings: Settings) -> Value:
    one = rows[0]
    values = np.array([row.value for row in rows])
    if not np.isfinite(values).all():
        raise NotDefinedError(f"no number in {names[int(np.argmin(np.isfinite(values)))]}")
    value = Value(one.title, one.unit, one.value, one.interval_95, None, 1, "runs", one.reliable)
    if len(rows) > 1:
        value = _mean_of_files(one.title, one.unit, values, settings)
        if any(row.reliable is False for row in rows):
            value = replace(value, reliable=False)
    if value.interval_95 is None or not np.isfinite(value.interval_95).all():
        value = replace(value, interval_95=None, reliable=None)
    note = _joined([row.note for row in rows], names)
    if one.verdict is not None:
        note = one.verdict(value.value, value.interval_95)
    return replace(value, note=note)


def _joined(notes: Sequence[str | None], names: Sequence[str]) -> str | None:
    """One note where all files say the same, else each with its file."""
    if len(set(notes)) == 1:
        return notes[0]
    return "; ".join(f"{name}: {note}" for name, note in zip(names, notes, strict=True) if note)


def _mean_of_files(title: str, unit: str, values: FloatArray, settings: Settings) -> Value:
    n, enough = len(values), len(values) >= _MIN_FILES
    if np.ptp(values) <= _ROUNDING * np.abs(values).max():
        one = float(values[0])
        return Value(title, unit, one, (one, one), 0.0, n, "files")  # no scatter was seen yet
    ends = bootstrap_interval(
        lambda weights: (weights @ values / weights.sum(axis=1))[:, None], n, seed=settings.seed
    )
    interval = None if ends is None else (float(ends[0, 0]), float(ends[0, 1]))
    scatter = float(values.std(ddof=1))
    return Value(title, unit, float(values.mean()), interval, scatter, n, "files", enough)


# -- curves ---------------------------------------------------------------------------------------


def _add_curve(
    key: str, curves: Sequence[Curve], n_frames: int, settings: Settings, found: Combined
) -> None:
    """Mean over the files; the band from them, or from the blocks of a single one."""
    first = curves[0]
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
    n_samples, n_of = (len(curves), "files") if len(curves) > 1 else (n_frames, "frames")
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
        if not np.isfinite(value):
            found.gaps[f"{reading.title}: no number"] = None
            continue
        reliable = None
        if estimate is not None and ends is not None:  # three files bear an interval of their mean
            reliable = estimate.reliable if len(curves) == 1 else len(curves) >= _MIN_FILES
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
        try:
            y = self.ordinate(mean)
        except NotDefinedError:  # a resample of nothing but empty blocks
            return np.full(len(mean) + len(self._readings), np.nan)
        return np.concatenate([y, [_read_or_nan(reading.read, y) for reading in self._readings]])


def _read_or_nan(read: Callable[[FloatArray], float], y: FloatArray) -> float:
    try:
        return read(y)
    except NotDefinedError:
        return float("nan")
