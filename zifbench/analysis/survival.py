"""Survival: the probability to last longer than t, from times that are partly lower bounds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray


@dataclass(frozen=True)
class Survival:
    """Kaplan–Meier estimate; a step function that holds from each time to the next.

    Attributes:
        time: 0, then every time at which something ended or was no longer watched, shape (K,).
        survival: Probability to last longer, shape (K,).
        low: Lower end of its 95 % interval, at each time alone, shape (K,).
        high: Upper end, shape (K,).
        n: Number of samples.
        n_ended: How many of them ended; the others were watched to their time and lasted.
    """

    time: FloatArray
    survival: FloatArray
    low: FloatArray
    high: FloatArray
    n: int
    n_ended: int

    def mean_time(self, until: float) -> float:
        """Mean time within the first `until`: the area below the curve, in the unit of time."""
        inside = self.time < until
        edges = np.append(self.time[inside], until)
        return float(np.diff(edges) @ self.survival[inside])


def survival_curve(
    time: npt.ArrayLike, ended: npt.ArrayLike, *, confidence: float = 0.95
) -> Survival:
    """Survival from n samples that were watched until they ended, or to the end of the watch.

    As long as none has been lost from sight, the number that is left is binomial and the interval
    is Clopper and Pearson's, which never covers less than it says. Later it is Greenwood's with
    log(-log S), and where that does not exist (nothing or everything has ended) Clopper and
    Pearson's of those still watched.

    Args:
        time: When each ended, or until when it was watched, shape (n,).
        ended: Whether it ended, shape (n,).
        confidence: Coverage wanted.

    Raises:
        NotDefinedError: no samples.
        DataError: shapes that do not fit, or times that are negative or not finite.

    Source: Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958) 457; Clopper and Pearson, Biometrika 26
    (1934) 404; the estimate and Greenwood's interval are scipy's.
    """
    times, over = np.asarray(time, dtype=float), np.asarray(ended, dtype=bool)
    if times.ndim != 1 or times.shape != over.shape:
        raise DataError(f"survival: times of shape {times.shape}, ends of shape {over.shape}")
    if not len(times):
        raise NotDefinedError("survival: no samples, wanted at least one")
    if not np.isfinite(times).all() or times.min() < 0.0:
        raise DataError("survival: a time is negative or not finite")
    sample = scipy.stats.CensoredData(uncensored=times[over], right=times[~over])
    found = scipy.stats.ecdf(sample).sf
    at = np.asarray(found.quantiles, dtype=float)
    share = np.asarray(found.probabilities, dtype=float)
    low, high = _greenwood(found, confidence)
    n_lost = (~over & (times < at[:, None])).sum(axis=1)
    n_watched = (times >= at[:, None]).sum(axis=1)
    n_left = np.rint(share * len(times))
    exact = _clopper_pearson(n_left, len(times), confidence)
    of_watched = _clopper_pearson(np.where(share > 0.0, n_watched, 0), n_watched, confidence)
    rows = np.isfinite(low) & np.isfinite(high)
    for ends, whole, still in zip((low, high), exact, of_watched, strict=True):
        ends[~rows] = still[~rows]
        ends[n_lost == 0] = whole[n_lost == 0]
    if at[0] == 0.0:
        return Survival(at, share, low, high, len(times), int(over.sum()))
    start = _clopper_pearson(len(times), len(times), confidence)[0]
    return Survival(
        np.append(0.0, at),
        np.append(1.0, share),
        np.append(start, low),
        np.append(1.0, high),
        len(times),
        int(over.sum()),
    )


def _greenwood(found: Any, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Ends of scipy's interval; NaN where it is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it says that there are such places
        ends = found.confidence_interval(confidence, method="log-log")
    return ends.low.probabilities.copy(), ends.high.probabilities.copy()


def _clopper_pearson(
    left: npt.ArrayLike, n: npt.ArrayLike, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Exact interval of a share of which k of n are left; any shapes that fit together."""
    k, n = np.asarray(left, dtype=float), np.asarray(n, dtype=float)
    tail = 0.5 * (1.0 - confidence)
    beta = scipy.stats.beta.ppf
    low = np.where(k > 0, beta(tail, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta(1.0 - tail, k + 1, np.maximum(n - k, 1)), 1.0)
    return np.asarray(low, dtype=float), np.asarray(high, dtype=float)
