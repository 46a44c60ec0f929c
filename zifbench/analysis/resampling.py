"""Moving-block bootstrap over frames and over replicas, for any observable, scalar or curve.

A run is an array with frames first, shape (T, …): one number, one histogram or one curve a frame.
Several runs of the same system are replicas. Frames that follow one another are correlated, so
blocks of consecutive frames are drawn, not frames; whole replicas are drawn where their spread is
what matters (ten glasses). Intervals are estimate ± t · standard error with as many degrees of
freedom as there are blocks, because the percentiles of few blocks are too narrow.

Source: Künsch, Ann. Stat. 17 (1989) 1217.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.analysis.draws import drawn_rows, resampled_means
from zifbench.analysis.timeseries import (
    BLOCK_FACTOR,
    MAX_BLOCKS,
    MIN_BLOCKS,
    AutocorrelationTime,
    as_series,
    autocorrelation_time,
    student_quantile,
    unseen_by_blocks,
)
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray

Statistic = Callable[[FloatArray], npt.ArrayLike]
_N_COMPONENTS = 10  # leading principal components searched for the slowest motion of a curve
_N_MOTIONS = 3  # combinations of them whose autocorrelation time is looked at
_MIN_REPLICAS = 3


class Level(StrEnum):
    """What is drawn: blocks of frames within each replica, or whole replicas."""

    FRAMES = "frames"
    REPLICAS = "replicas"


@dataclass(frozen=True)
class BootstrapEstimate:
    """An observable with its bootstrap error; every array has the shape of the observable.

    Attributes:
        estimate: The observable of all frames. Where it or a resample is not finite (an empty
            bin of a potential of mean force), the three arrays below are NaN: no error there.
        standard_error: Standard deviation over resamples, corrected for the number of blocks.
        low: Lower end of the confidence interval.
        high: Upper end.
        samples: The observable of each resample, shape (n_resamples, …), not corrected.
        n_units: Blocks, or replicas, behind the error.
        block_length: Frames a block; 0 where replicas were drawn.
        reliable: Whether there are at least 8 units, of ten autocorrelation times each, and the
            runs are long enough to tell those times.
    """

    estimate: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    samples: FloatArray
    n_units: int
    block_length: int
    reliable: bool


@dataclass(frozen=True)
class _Plan:
    """What to draw and how the scatter of the draws is to be scaled."""

    level: Level
    block_length: int
    n_units: int
    n_centres: int  # means about which the units scatter: degrees of freedom lost
    scale: float
    reliable: bool


def slowest_tau(replicas: npt.ArrayLike | Sequence[npt.ArrayLike]) -> float:
    """Autocorrelation time in frames of the slowest leading motion of an observable.

    A scalar's own; for a curve the longest of the three combinations of its ten principal
    components that remember most of themselves one frame later, because single bins hide the
    motion behind counting noise. 1/2 for an observable that never changes. The replica with the
    longest time counts.
    """
    return _slowest(as_replicas(replicas))[0]


def _slowest(runs: Sequence[FloatArray]) -> tuple[float, bool]:
    """`slowest_tau`, and whether every run is long enough to tell its times."""
    times = [time for run in runs for time in _slow_times(run)]
    if not times:
        return 0.5, True
    return max(time.tau for time in times), all(time.reliable for time in times)


def _slow_times(run: FloatArray) -> list[AutocorrelationTime]:
    """Autocorrelation times of the leading motions; none for what never changes."""
    flat = run.reshape(len(run), -1)
    if not np.ptp(flat, axis=0).any():
        return []
    deviation = flat - flat.mean(0)
    if flat.shape[1] > 1:
        deviation = _slow_motions(deviation)
    return [autocorrelation_time(x) for x in deviation.T]


def _slow_motions(deviation: FloatArray) -> FloatArray:
    """Projections of curves on the combinations of largest autocovariance at lag one."""
    if len(deviation) < deviation.shape[1]:  # few frames of long curves: the small side is cheap
        variance, vectors = np.linalg.eigh(deviation @ deviation.T / len(deviation))
        kept = variance >= max(variance[-1] * 1e-10, variance[-_N_COMPONENTS:][0])
        white = vectors[:, kept] * math.sqrt(len(deviation))
    else:
        variance, vectors = np.linalg.eigh(deviation.T @ deviation / len(deviation))
        kept = variance >= max(variance[-1] * 1e-10, variance[-_N_COMPONENTS:][0])
        white = deviation @ (vectors[:, kept] / np.sqrt(variance[kept]))
    lagged = white[1:].T @ white[:-1]
    return np.asarray(white @ np.linalg.eigh(lagged + lagged.T)[1][:, -_N_MOTIONS:])


def as_replicas(
    replicas: npt.ArrayLike | Sequence[npt.ArrayLike], *, min_frames: int = 2
) -> list[FloatArray]:
    """One array is one run, a list or tuple of arrays several; checked to fit together.

    Raises:
        NotDefinedError: no run, or one of fewer than `min_frames` frames.
        DataError: values that are not finite, or runs whose observables differ in shape.
    """
    runs: list[Any] = list(replicas) if isinstance(replicas, list | tuple) else [replicas]
    arrays = [
        as_series(run, name=f"replica {i}", min_frames=min_frames) for i, run in enumerate(runs)
    ]
    if not arrays:
        raise NotDefinedError("bootstrap: no replicas, wanted at least one run")
    for index, run in enumerate(arrays):
        if run.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                f"replica {index}: observable of shape {run.shape[1:]}, wanted "
                f"{arrays[0].shape[1:]} as in replica 0; use the same bins"
            )
    return arrays


def bootstrap_mean(
    replicas: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    seed: int,
    transform: Statistic | None = None,
    level: Level | str = Level.FRAMES,
    block_length: int | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> BootstrapEstimate:
    """Bootstrap of a mean over frames, or of any function of it.

    RDF, PMF, coordination, angle density, variance and ratios are all functions of the mean of
    something that each frame contributes. Replicas count by their frames.

    Args:
        replicas: Contributions of one run, shape (T, …), or a list of them.
        seed: Seed of the random draws.
        transform: Function of the mean contribution, shape (…), to the observable.
        level: Draw blocks of frames ("frames") or whole replicas ("replicas").
        block_length: Frames a block; ten times `slowest_tau` if not given.
        n_resamples: Number of resamples.
        confidence: Coverage wanted.

    Raises:
        NotDefinedError: too few frames for a block, or fewer than three replicas to draw from.
        DataError: values that are not finite, or replicas that do not fit together.
    """
    runs = as_replicas(replicas, min_frames=_min_frames(Level(level)))
    plan = _plan(runs, Level(level), block_length)
    means = resampled_means(
        runs,
        seed=seed,
        block_length=plan.block_length if plan.level is Level.FRAMES else None,
        n_resamples=n_resamples,
    )
    mean = sum(run.sum(0) for run in runs) / sum(len(run) for run in runs)
    function = transform if transform is not None else _identity
    samples = np.array([function(m) for m in means], dtype=float)
    return _summary(np.asarray(function(mean), dtype=float), samples, plan, confidence)


def bootstrap(
    replicas: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    statistic: Statistic,
    seed: int,
    level: Level | str = Level.FRAMES,
    block_length: int | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> BootstrapEstimate:
    """Bootstrap of any statistic of the frames themselves, a median for instance.

    As `bootstrap_mean`, but `statistic` gets the drawn frames of all replicas, shape (ΣT, …).
    """
    runs = as_replicas(replicas, min_frames=_min_frames(Level(level)))
    plan = _plan(runs, Level(level), block_length)
    rng = np.random.default_rng(seed)
    samples = [
        statistic(np.concatenate(_drawn_frames(runs, plan, rng))) for _ in range(n_resamples)
    ]
    estimate = np.asarray(statistic(np.concatenate(runs)), dtype=float)
    return _summary(estimate, np.array(samples, dtype=float), plan, confidence)


def automatic_block_length(runs: Sequence[FloatArray], *, shortest_use: int | None = None) -> int:
    """Frames a block: ten times `slowest_tau`, more where 32 blocks would do, at most an eighth.

    Args:
        runs: Replicas, each of shape (T_r, …).
        shortest_use: Frames of the shortest resample that is to be made of such blocks; all
            frames of the runs if not given.
    """
    return _automatic_length(runs, math.ceil(BLOCK_FACTOR * slowest_tau(runs)), shortest_use)


def _automatic_length(
    runs: Sequence[FloatArray], wanted: int, shortest_use: int | None = None
) -> int:
    # Few blocks are worse than short ones: keep about eight.
    n_frames = sum(len(run) for run in runs)
    longest = min(n_frames // MIN_BLOCKS, *(len(run) // 2 for run in runs))
    enough = min(n_frames, shortest_use or n_frames) // MAX_BLOCKS
    return max(1, min(max(wanted, enough), longest))


def _drawn_frames(
    runs: Sequence[FloatArray], plan: _Plan, rng: np.random.Generator
) -> list[FloatArray]:
    if plan.level is Level.REPLICAS:
        return [runs[i] for i in rng.integers(len(runs), size=len(runs))]
    return [run[drawn_rows(len(run), plan.block_length, rng)] for run in runs]


def _min_frames(level: Level) -> int:
    """Replicas may be single frames, such as the published glasses."""
    return 1 if level is Level.REPLICAS else 2


def _plan(runs: Sequence[FloatArray], level: Level, block_length: int | None) -> _Plan:
    if level is Level.REPLICAS:
        n = len(runs)
        if n < _MIN_REPLICAS:
            raise NotDefinedError(
                f"bootstrap over replicas: {n} replicas, wanted at least {_MIN_REPLICAS}; draw "
                "blocks of frames instead"
            )
        return _Plan(level, 0, n, 1, math.sqrt(n / (n - 1)), reliable=n >= MIN_BLOCKS)
    shortest = min(len(run) for run in runs)
    if block_length is not None:
        if not 1 <= block_length <= shortest // 2:
            raise NotDefinedError(
                f"bootstrap: blocks of {block_length} frames, wanted 1 to {shortest // 2}, half "
                "the shortest run"
            )
        return _frame_plan(runs, block_length, unseen=1.0, wanted=block_length)
    tau, known = _slowest(runs)
    wanted = math.ceil(BLOCK_FACTOR * tau)
    length = _automatic_length(runs, wanted)
    found = _frame_plan(runs, length, unseen=unseen_by_blocks(tau, length), wanted=wanted)
    return replace(found, reliable=found.reliable and known)


def _frame_plan(runs: Sequence[FloatArray], length: int, *, unseen: float, wanted: int) -> _Plan:
    n_units = sum(len(run) // length for run in runs)
    reliable = sum(len(run) // wanted for run in runs) >= MIN_BLOCKS
    scale = math.sqrt(unseen * n_units / (n_units - len(runs)))
    return _Plan(Level.FRAMES, length, n_units, len(runs), scale, reliable)


def _summary(
    estimate: FloatArray, samples: FloatArray, plan: _Plan, confidence: float
) -> BootstrapEstimate:
    if len(samples) < 2:
        raise DataError(f"n_resamples: {len(samples)}, wanted at least 2, 1000 for an interval")
    defined = np.isfinite(estimate) & np.isfinite(samples).all(0)
    error = np.full(estimate.shape, np.nan)
    error[defined] = plan.scale * samples[:, defined].std(axis=0, ddof=1)
    reach = student_quantile(plan.n_units - plan.n_centres, confidence) * error
    return BootstrapEstimate(
        estimate=estimate,
        standard_error=error,
        low=estimate - reach,
        high=estimate + reach,
        samples=samples,
        n_units=plan.n_units,
        block_length=plan.block_length,
        reliable=plan.reliable,
    )


def _identity(mean: FloatArray) -> FloatArray:
    return mean
