"""Bootstrap intervals over independent samples.

Frames are resampled with replacement, so the samples must be independent: frames of one trajectory
closer than its autocorrelation time make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from zifbench.frames import FloatArray

FEW_SAMPLES = 10  # below this, resamples cannot reach far enough
_WEIGHTS_AT_ONCE = 4_000_000  # entries of the resampling matrix held in memory


def bootstrap_interval(
    statistic: Callable[[FloatArray], FloatArray],
    n_samples: int,
    *,
    seed: int,
    n_resamples: int = 1000,
    level: float = 0.95,
    lowest: float = -np.inf,
) -> FloatArray | None:
    """Interval of any statistic of weighted samples that holds for few samples too.

    From ten samples on, an expanded percentile interval: plain percentiles are too narrow, so they
    are taken at Φ(-√(n/(n-1)) t), with Student's t for n - 1 degrees of freedom, which gives the
    usual t interval for the mean of normal data (Hesterberg, Am. Stat. 2015, 69, 371). Resamples
    of fewer samples cannot reach beyond the samples themselves, two of which say little; there it
    is value ± t·√(n/(n-1))·s with s the standard deviation of the resamples, wide as it must be.

    Args:
        statistic: From weights, shape (B, n), to values, shape (B, K). NaN in a resample (nothing
            drawn of a subset) is left out of the percentiles.
        n_samples: Number n of independent samples.
        seed: Seed of the resampling.
        n_resamples: Number of resamples in all.
        level: Coverage wanted.
        lowest: Smallest value that the statistic can have, 0 for absolute errors.

    Returns:
        Lower and upper end for each of the K values, shape (K, 2); None for fewer than two samples.
    """
    if n_samples < 2:
        return None
    rng = np.random.default_rng(seed)
    rows = max(1, _WEIGHTS_AT_ONCE // n_samples)
    uniform = np.full(n_samples, 1.0 / n_samples)
    values = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        values.append(statistic(rng.multinomial(n_samples, uniform, size=size).astype(float)))
    resampled = np.concatenate(values)
    if n_samples < FEW_SAMPLES:
        centre = statistic(np.ones((1, n_samples)))[0]
        ends = _t_interval(centre, resampled, n_samples, level)
    else:
        tail = expanded_tail(n_samples, level)
        ends = np.stack([_nan_quantile(resampled, q) for q in (tail, 1 - tail)], axis=-1)
    return np.maximum(ends, lowest)


def _t_interval(
    centre: FloatArray, resampled: FloatArray, n_samples: int, level: float
) -> FloatArray:
    """Student's interval with the standard error from the resamples, shape (K, 2)."""
    error = np.full(len(centre), np.nan)
    defined = (~np.isnan(resampled)).sum(axis=0) > 1
    error[defined] = np.nanstd(resampled[:, defined], axis=0)
    # Resampling n samples underestimates their variance by (n - 1)/n.
    half = stats.t.ppf((1 + level) / 2, df=n_samples - 1) * error
    half *= np.sqrt(n_samples / (n_samples - 1))
    return np.stack([centre - half, centre + half], axis=-1)


def expanded_tail(n_samples: int, level: float) -> float:
    """Tail probability to read off the bootstrap distribution for n samples."""
    t = float(stats.t.ppf((1 + level) / 2, df=n_samples - 1))
    return float(stats.norm.cdf(-np.sqrt(n_samples / (n_samples - 1)) * t))


def _nan_quantile(values: FloatArray, q: float) -> FloatArray:
    """Column-wise quantile without NaN; NaN for a column that has nothing else."""
    out = np.full(values.shape[1], np.nan)
    defined = ~np.isnan(values).all(axis=0)
    if defined.any():
        out[defined] = np.nanquantile(values[:, defined], q, axis=0)
    return out


def bootstrap_ratio(
    numerator: FloatArray,
    denominator: FloatArray,
    *,
    seed: int,
    n_resamples: int = 1000,
    lowest: float = -np.inf,
) -> FloatArray | None:
    """Interval of Σ numerator / Σ denominator over independent samples, for K ratios at once.

    A mean over all force components of frames of different size is such a ratio: sums of errors
    over counts.

    Args:
        numerator: Sums of each sample, shape (n, K).
        denominator: Counts of each sample, shape (n, K).
        seed: Seed of the resampling.
        n_resamples: Number of resamples.
        lowest: Smallest value that the ratio can have.

    Returns:
        Shape (K, 2), or None for fewer than two samples.
    """

    def ratio(weights: FloatArray) -> FloatArray:
        counts = weights @ denominator
        sums = weights @ numerator
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    return bootstrap_interval(
        ratio, len(numerator), seed=seed, n_resamples=n_resamples, lowest=lowest
    )
