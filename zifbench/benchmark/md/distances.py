"""Distances between distributions of a candidate and of single reference structures.

The reference of a glass is one frame of it. A perfect candidate would still be as far from that
frame as one of its own frames is from all of them: that is the noise floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.distances import spread, wasserstein_1
from zifbench.analysis.observation import Curve
from zifbench.analysis.resampling import BootstrapEstimate, Level, bootstrap_mean
from zifbench.analysis.timeseries import MIN_BLOCKS, mean_estimate, student_quantile
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray

_DRAWS = 500
_MIN_REPLICAS = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Distance:
    """Wasserstein-1 distance of a candidate from its reference.

    Attributes:
        value: In the unit of the abscissa.
        interval_95: Of the value; None where it cannot be had.
        noise_floor: What 95 % of perfect candidates stay below; None where it cannot be had.
        reference_spread: Standard deviation of the reference distribution, in the same unit.
        reliable: Whether the interval holds; None where there is none.
    """

    value: float
    interval_95: tuple[float, float] | None
    noise_floor: float | None
    reference_spread: float
    reliable: bool | None


def paired_distance(
    candidate: Sequence[Curve],
    reference: Sequence[FloatArray],
    singles: Sequence[FloatArray],
    *,
    seed: int,
) -> Distance:
    """Distance where each run of the candidate began from one of the reference structures.

    Args:
        candidate: Mean distribution of each run, with its blocks.
        reference: Distribution of the frame that each began from, shapes (B,).
        singles: Distributions of single frames of each run, shapes (S, B).
        seed: Of the bootstrap and of the draws.
    """
    edges = _edges(candidate[0])
    means = np.array([curve.y for curve in candidate])
    against = np.array(reference)
    value = wasserstein_1(means.mean(axis=0), against.mean(axis=0), edges=edges)
    estimate = _paired_estimate(candidate, means, against, edges, seed)
    floor = None
    if min(len(rows) for rows in singles) >= MIN_BLOCKS:
        rng = np.random.default_rng(seed)
        drawn = [
            wasserstein_1(
                means.mean(axis=0),
                np.mean([rows[rng.integers(len(rows))] for rows in singles], axis=0),
                edges=edges,
            )
            for _ in range(_DRAWS)
        ]
        floor = float(np.quantile(drawn, _CONFIDENCE))
    return _distance(value, estimate, floor, spread(against.mean(axis=0), edges=edges))


def _paired_estimate(
    candidate: Sequence[Curve], means: FloatArray, against: FloatArray, edges: FloatArray, seed: int
) -> BootstrapEstimate | None:
    """Over runs where there are several, else over blocks of the one."""
    if len(candidate) >= _MIN_REPLICAS:
        both = np.stack([means, against], axis=1)  # (runs, 2, B): a run and its reference together
        return bootstrap_mean(
            [pair[None] for pair in both],
            seed=seed,
            level=Level.REPLICAS,
            transform=lambda mean: wasserstein_1(mean[0], mean[1], edges=edges),
        )
    blocks = candidate[0].blocks
    if len(candidate) > 1 or blocks is None or len(blocks) < MIN_BLOCKS:
        return None
    to_reference = _to(against[0], edges)
    return bootstrap_mean(blocks, seed=seed, transform=to_reference)


def paired_error(
    candidate: Sequence[FloatArray], reference: Sequence[float], *, seed: int
) -> tuple[float, tuple[float, float] | None, float | None, bool]:
    """Mean difference of runs from the structures that they began from.

    Args:
        candidate: A number of each frame of each run, shapes (T,).
        reference: The number of the structure that each began from.
        seed: Of the draws.

    Returns:
        The difference, its 95 % interval (Student's t over runs, or blocks of a single one), the
        size that 95 % of perfect candidates stay below, and whether the interval holds. As with
        distances, a perfect candidate is as far from a single frame as its own frames are from
        their mean.
    """
    means = np.array([values.mean() for values in candidate])
    gaps = means - np.array(reference)
    value, ends, reliable = float(gaps.mean()), None, True
    if len(gaps) >= _MIN_REPLICAS:
        n = len(gaps)
        reach = student_quantile(n - 1, _CONFIDENCE) * float(gaps.std(ddof=1)) / np.sqrt(n)
        ends = (value - reach, value + reach)
    elif len(gaps) == 1 and len(candidate[0]) >= MIN_BLOCKS:
        found = mean_estimate(candidate[0] - reference[0])
        ends, reliable = (found.low, found.high), found.reliable
    if min(map(len, candidate)) < MIN_BLOCKS:
        return value, ends, None, reliable
    rng = np.random.default_rng(seed)
    rows = zip(candidate, means, strict=True)
    drawn = np.mean(
        [values[rng.integers(len(values), size=_DRAWS)] - m for values, m in rows], axis=0
    )
    return value, ends, float(np.quantile(np.abs(drawn), _CONFIDENCE)), reliable


def unpaired_distance(
    candidate: Sequence[Curve], reference: Sequence[FloatArray], *, seed: int
) -> Distance:
    """Distance of glasses that a candidate made from the glasses of the reference.

    The noise floor is what as many glasses drawn from the reference show against the others.

    Args:
        candidate: Mean distribution of each glass.
        reference: Distribution of each reference glass, shapes (B,).
        seed: Of the draws.
    """
    edges = _edges(candidate[0])
    means, against = np.array([curve.y for curve in candidate]), np.array(reference)
    value = wasserstein_1(means.mean(axis=0), against.mean(axis=0), edges=edges)
    rng = np.random.default_rng(seed)

    def drawn(rows: FloatArray, n: int) -> FloatArray:
        return np.asarray(rows[rng.integers(len(rows), size=n)].mean(axis=0), dtype=float)

    floor = None
    if len(against) >= _MIN_REPLICAS:
        distances = [
            wasserstein_1(drawn(against, len(means)), drawn(against, len(against)), edges=edges)
            for _ in range(_DRAWS)
        ]
        floor = float(np.quantile(distances, _CONFIDENCE))
    estimate = None
    if len(means) >= _MIN_REPLICAS:
        to_reference = _to(against.mean(axis=0), edges)
        estimate = bootstrap_mean(
            [row[None] for row in means], seed=seed, level=Level.REPLICAS, transform=to_reference
        )
    return _distance(value, estimate, floor, spread(against.mean(axis=0), edges=edges))


def _to(reference: FloatArray, edges: FloatArray) -> Callable[[FloatArray], float]:
    return lambda mean: wasserstein_1(mean, reference, edges=edges)


def _distance(
    value: float, estimate: BootstrapEstimate | None, floor: float | None, reference_spread: float
) -> Distance:
    if estimate is None or not np.isfinite(estimate.standard_error):
        return Distance(value, None, floor, reference_spread, None)
    reach = float(estimate.high - estimate.estimate)
    ends = (max(0.0, value - reach), value + reach)
    return Distance(value, ends, floor, reference_spread, estimate.reliable)


def _edges(curve: Curve) -> FloatArray:
    """Edges of evenly spaced bins from their centres."""
    x = curve.x
    if len(x) < 2:
        raise NotDefinedError(f"{curve.title}: one bin is no distribution")
    width = float(x[1] - x[0])
    return np.asarray(np.append(x - 0.5 * width, x[-1] + 0.5 * width), dtype=float)
