"""Distances between distributions, and how far apart two runs of the same model would lie.

A distribution is a histogram: bin edges and non-negative counts or densities, normalised here. The
noise floor of a distance is what a perfect model would score with this much sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from zifbench.analysis.draws import resampled_means
from zifbench.analysis.resampling import as_replicas, automatic_block_length
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray

Distance = Callable[[FloatArray, FloatArray], float]


@dataclass(frozen=True)
class NoiseFloor:
    """Distance between two runs drawn from the same distribution.

    Attributes:
        mean: Mean distance.
        high: Distance that is exceeded by chance in a share 1 - confidence of the pairs.
        samples: The distances of the pairs drawn, shape (n_resamples,).
    """

    mean: float
    high: float
    samples: FloatArray


def wasserstein_1_samples(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Wasserstein-1 distance between two samples, in their unit: ∫ |F_1 - F_2| dx.

    Raises:
        NotDefinedError: an empty sample.
        DataError: a value that is not finite.
    """
    samples = [np.ravel(np.asarray(values, dtype=float)) for values in (first, second)]
    for name, values in zip(("first", "second"), samples, strict=True):
        if not len(values):
            raise NotDefinedError(f"Wasserstein distance: the {name} sample is empty")
        if not np.isfinite(values).all():
            raise DataError(f"Wasserstein distance: NaN or infinite in the {name} sample")
    return float(scipy.stats.wasserstein_distance(*samples))


def wasserstein_1(first: npt.ArrayLike, second: npt.ArrayLike, *, edges: npt.ArrayLike) -> float:
    """Wasserstein-1 distance between two histograms, in the unit of the bin edges.

    W1 = ∫ |F_1(x) - F_2(x)| dx, F linear inside a bin: counts spread evenly over their bin.

    Args:
        first: Counts or probabilities (not densities) of each bin, shape (K,).
        second: The same for the other distribution.
        edges: Bin edges, rising, shape (K + 1,).

    Raises:
        NotDefinedError: a histogram without counts.
        DataError: shapes that do not fit, negative counts, edges that do not rise.
    """
    widths = bin_widths(edges)
    gap = np.cumsum(_probability(first, widths) - _probability(second, widths))
    left = np.concatenate([[0.0], gap[:-1]])
    # |linear| over a bin: a trapezium, or two triangles where the distribution functions cross.
    size = np.abs(left) + np.abs(gap)
    crossing = left * gap < 0.0
    triangles = np.divide(left**2 + gap**2, size, out=np.zeros_like(gap), where=crossing)
    return float(np.sum(0.5 * widths * np.where(crossing, triangles, size)))


def kolmogorov_smirnov(
    first: npt.ArrayLike, second: npt.ArrayLike, *, edges: npt.ArrayLike
) -> float:
    """Largest gap between the two distribution functions at the bin edges, 0 to 1."""
    widths = bin_widths(edges)
    gap = np.cumsum(_probability(first, widths) - _probability(second, widths))
    return float(np.abs(gap).max())


def total_variation(first: npt.ArrayLike, second: npt.ArrayLike, *, edges: npt.ArrayLike) -> float:
    """½ Σ |p_1 - p_2|: 0 the same, 1 no overlap, and then blind to how far apart."""
    widths = bin_widths(edges)
    difference = _probability(first, widths) - _probability(second, widths)
    return float(0.5 * np.abs(difference).sum())


def jensen_shannon(first: npt.ArrayLike, second: npt.ArrayLike, *, edges: npt.ArrayLike) -> float:
    """Jensen–Shannon divergence in bits, 0 to 1."""
    widths = bin_widths(edges)
    p, q = _probability(first, widths), _probability(second, widths)
    middle = 0.5 * (p + q)
    return 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))


def _relative_entropy(p: FloatArray, q: FloatArray) -> float:
    held = p > 0.0
    return float(np.sum(p[held] * np.log2(p[held] / q[held])))


def spread(counts: npt.ArrayLike, *, edges: npt.ArrayLike) -> float:
    """Standard deviation of a histogram in the unit of its edges: W1 is divided by it.

    Counts spread evenly over their bin, hence width²/12 on top of the scatter of bin centres.
    """
    widths = bin_widths(edges)
    p = _probability(counts, widths)
    centres = np.asarray(edges, dtype=float)[:-1] + 0.5 * widths
    variance = p @ (centres - p @ centres) ** 2 + p @ widths**2 / 12.0
    return float(np.sqrt(variance))


def noise_floor(
    reference: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    distance: Distance,
    n_candidate_frames: int,
    seed: int,
    block_length: int | None = None,
    n_resamples: int = 500,
    confidence: float = 0.95,
) -> NoiseFloor:
    """Distance between the reference and a perfect candidate of a given length.

    Both are drawn from the reference by moving blocks, one as long as the reference and one with
    `n_candidate_frames` frames, and compared as the real pair is.

    Args:
        reference: Histogram of each frame of one run, shape (T, K), or a list of replicas.
        distance: Function of two mean histograms, `wasserstein_1` with its edges for instance.
        n_candidate_frames: Length of the candidate's run; its frames are spaced alike.
        seed: Seed of the random draws.
        block_length: Frames a block; ten autocorrelation times if not given.
        n_resamples: Number of pairs.
        confidence: Share of pairs below `high`.

    Raises:
        NotDefinedError: too few frames, or a candidate shorter than one block.
        DataError: values that are not finite, or replicas that do not fit together.
    """
    runs = as_replicas(reference)
    length = block_length or automatic_block_length(runs, shortest_use=n_candidate_frames)
    if n_candidate_frames < length:
        raise NotDefinedError(
            f"noise floor: a candidate of {n_candidate_frames} frames is shorter than one block "
            f"of {length} frames of the reference, ten autocorrelation times or more"
        )
    draws = np.random.SeedSequence(seed).generate_state(2)
    own = resampled_means(runs, seed=int(draws[0]), block_length=length, n_resamples=n_resamples)
    other = resampled_means(
        runs,
        seed=int(draws[1]),
        block_length=length,
        n_resamples=n_resamples,
        n_frames=n_candidate_frames,
    )
    samples = np.array([distance(a, b) for a, b in zip(own, other, strict=True)], dtype=float)
    return NoiseFloor(float(samples.mean()), float(np.quantile(samples, confidence)), samples)


def bin_widths(edges: npt.ArrayLike) -> FloatArray:
    """Widths of the bins between rising edges, shape (K,).

    Raises:
        DataError: fewer than two edges, or edges that do not rise.
    """
    values = np.asarray(edges, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) > 0.0).all():
        raise DataError(f"edges: shape {values.shape}, wanted at least two rising numbers")
    return np.diff(values)


def _probability(counts: npt.ArrayLike, widths: FloatArray) -> FloatArray:
    values = np.asarray(counts, dtype=float)
    if values.shape != widths.shape:
        raise DataError(f"histogram: shape {values.shape}, wanted {widths.shape}, one a bin")
    if not (values >= 0.0).all() or not np.isfinite(values).all():
        raise DataError("histogram: a count is negative or not finite")
    total = values.sum()
    if total == 0.0:
        raise NotDefinedError("histogram: no counts, so there is no distribution to compare")
    return np.asarray(values / total, dtype=float)
