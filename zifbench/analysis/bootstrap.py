"""Bootstrap intervals over independent samples.

Frames are resampled with replacement, so the samples must be independent: frames of one trajectory
closer than its autocorrelation time make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from zifbench.frames import FloatArray

_WEIGHTS_AT_ONCE = 4_000_000  # entries of the resampling matrix held in memory


def bootstrap_interval(
    statistic: Callable[[FloatArray], FloatArray],
    n_samples: int,
    *,
    seed: int,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> FloatArray | None:
    """Expanded percentile interval of any statistic of weighted samples.

    Plain percentile intervals are too narrow for few samples; here the percentiles are widened to
    Φ(-√(n/(n-1)) t) with Student's t for n - 1 degrees of freedom, which gives the usual t interval
    for the mean of normal data (Hesterberg, Am. Stat. 2015, 69, 371, section 3.3). For fewer than about
    ten samples it is still the best that resampling can do, not a guarantee.

    Args:
        statistic: From weights, shape (B, n), to values, shape (B, K). NaN in a resample (nothing
            drawn of a subset) is left out of the percentiles.
        n_samples: Number n of independent samples.
        seed: Seed of the resampling.
        n_resamples: Number of resamples in all.
        level: Coverage wanted.

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
    tail = expanded_tail(n_samples, level)
    quantiles = [_nan_quantile(np.concatenate(values), q) for q in (tail, 1 - tail)]
    return np.stack(quantiles, axis=-1)


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
    numerator: FloatArray, denominator: FloatArray, *, seed: int, n_resamples: int = 2000
) -> FloatArray | None:
    """Interval of Σ numerator / Σ denominator over independent samples, for K ratios at once.

    A mean over all force components of frames of different size is such a ratio: sums of errors
    over counts.

    Args:
        numerator: Sums of each sample, shape (n, K).
        denominator: Counts of each sample, shape (n, K).
        seed: Seed of the resampling.
        n_resamples: Number of resamples.

    Returns:
        Shape (K, 2), or None for fewer than two samples.
    """

    def ratio(weights: FloatArray) -> FloatArray:
        counts = weights @ denominator
        sums = weights @ numerator
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    return bootstrap_interval(ratio, len(numerator), seed=seed, n_resamples=n_resamples)
