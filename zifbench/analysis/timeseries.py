"""How much a correlated time series knows: autocorrelation time, block errors, run length.

A series is one number a frame, equally spaced in time. Times here are counted in frames; multiply
by the frame interval. Convention: tau = 1/2 + Σ_k rho(k), so that N frames are worth N / (2 tau)
independent ones and uncorrelated frames have tau = 1/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.stats

from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, IntArray

WINDOW_FACTOR = 5.0  # stop the sum at the first lag beyond 5 times the sum of |rho|
BLOCK_FACTOR = 10.0  # least block length in tau
MAX_BLOCKS = 32  # long blocks see slow motion under fast vibrations that tau may miss
MIN_BLOCKS = 8  # below this the error of the error, 1/sqrt(2 (n - 1)), exceeds a quarter
_RELIABLE_WINDOWS = 5.0  # series shorter than 5 windows give a tau that is too small


@dataclass(frozen=True)
class AutocorrelationTime:
    """Integrated autocorrelation time of a series.

    Attributes:
        tau: Integrated autocorrelation time in frames, at least 1/2.
        window: Lag in frames at which the sum was stopped.
        n_frames: Length N of the series.
        reliable: Whether N is at least five windows (25 tau where the decay is smooth); a tau from
            less is a lower limit.
    """

    tau: float
    window: int
    n_frames: int
    reliable: bool

    @property
    def effective_samples(self) -> float:
        """Number of independent frames that would know the mean as well: N / (2 tau)."""
        return self.n_frames / (2.0 * self.tau)


@dataclass(frozen=True)
class MeanEstimate:
    """Mean of a correlated series with its block-average error.

    Attributes:
        mean: Mean over all frames.
        standard_error: Standard error of the mean from the scatter of block means.
        low: Lower end of the confidence interval.
        high: Upper end.
        n_blocks: Number of blocks; their lengths differ by one frame at most.
        effective_samples: N / (2 tau); N for a series that never changes.
        reliable: Whether every block spans ten autocorrelation times. If not, the interval is
            too narrow.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n_blocks: int
    effective_samples: float
    reliable: bool


@dataclass(frozen=True)
class BlockErrors:
    """Standard error of the mean against block length (Flyvbjerg and Petersen).

    Attributes:
        block_length: Mean block length in frames, shape (L,), doubling.
        standard_error: Standard error of the mean, shape (L,): rises to a plateau.
        uncertainty: Standard error of that standard error, shape (L,).
    """

    block_length: FloatArray
    standard_error: FloatArray
    uncertainty: FloatArray


def as_series(values: npt.ArrayLike, *, name: str = "series", min_frames: int = 2) -> FloatArray:
    """A float array with frames first, refused where a statistic would be meaningless.

    Raises:
        NotDefinedError: fewer than `min_frames` frames.
        DataError: a value that is not finite.
    """
    series = np.asarray(values, dtype=float)
    if series.ndim == 0 or len(series) < min_frames:
        count = 1 if series.ndim == 0 else len(series)
        raise NotDefinedError(
            f"{name}: {count} frames, wanted a time series of at least {min_frames}"
        )
    if not np.isfinite(series).all():
        frame = int(np.argwhere(~np.isfinite(series))[0][0])
        raise DataError(f"{name}: NaN or infinite in frame {frame}; leave that frame out knowingly")
    return series


def _as_scalar_series(values: npt.ArrayLike) -> FloatArray:
    series = as_series(values)
    if series.ndim != 1:
        raise DataError(f"series: shape {series.shape}, wanted (frames,): one number a frame")
    return series


def autocorrelation(values: npt.ArrayLike) -> FloatArray:
    """Normalised autocorrelation rho(k) of a series about its mean, all lags.

    rho(k) = Σ_t x_t x_{t+k} / Σ_t x_t², x the deviation from the mean; no wrap-around. The divisor
    is the same at all lags, which damps the noise at long ones.

    Args:
        values: One number a frame, shape (N,).

    Returns:
        rho, shape (N,), rho[0] = 1.

    Raises:
        NotDefinedError: fewer than two frames, or a series that never changes.
    """
    series = _as_scalar_series(values)
    deviation = series - series.mean()
    if np.ptp(series) == 0.0:
        raise NotDefinedError(
            f"autocorrelation: the value never changes in {len(series)} frames, so it has no "
            "correlation time"
        )
    n = len(series)
    padded = scipy.fft.next_fast_len(2 * n, real=True)
    spectrum = scipy.fft.rfft(deviation, padded)
    covariance = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, padded)[:n]
    return np.asarray(covariance / covariance[0], dtype=float)


def autocorrelation_time(values: npt.ArrayLike) -> AutocorrelationTime:
    """Integrated autocorrelation time with an automatic window.

    tau(W) = 1/2 + Σ_{k=1..W} rho(k); W is the smallest lag with W >= 5 (1/2 + Σ_{k=1..W} |rho(k)|).
    For a smooth decay this is Sokal's rule. With the modulus the window outlasts vibrations, whose
    rho changes sign: Sokal's own rule stops within their first period. A value below 1/2
    (anticorrelated frames) is returned as 1/2, so that no error bar profits from it.

    Args:
        values: One number a frame, equally spaced in time, shape (N,).

    Raises:
        NotDefinedError: fewer than two frames, or a series that never changes.

    Source: Sokal, in Functional Integration (1997) p. 131; Goodman and Weare, Commun. Appl. Math.
    Comput. Sci. 5 (2010) 65.
    """
    rho = autocorrelation(values)
    wide_enough = np.arange(len(rho)) >= WINDOW_FACTOR * (np.cumsum(np.abs(rho)) - 0.5)
    window = int(np.argmax(wide_enough)) if wide_enough.any() else len(rho) - 1
    return AutocorrelationTime(
        tau=max(0.5, float(rho[: window + 1].sum() - 0.5)),
        window=window,
        n_frames=len(rho),
        reliable=bool(wide_enough.any()) and len(rho) >= _RELIABLE_WINDOWS * window,
    )


def block_means(values: npt.ArrayLike, n_blocks: int) -> FloatArray:
    """Means of consecutive blocks whose lengths differ by one frame at most; no frame is left out.

    Args:
        values: Frames first, shape (N, …).
        n_blocks: Number of blocks.

    Returns:
        Block means, shape (n_blocks, …).

    Raises:
        NotDefinedError: fewer frames than blocks.
    """
    series = as_series(values)
    if not 1 <= n_blocks <= len(series):
        raise NotDefinedError(f"block means: {len(series)} frames do not make {n_blocks} blocks")
    edges = block_edges(len(series), n_blocks)
    sums = np.add.reduceat(series, edges[:-1], axis=0)
    lengths = np.diff(edges).reshape(-1, *[1] * (series.ndim - 1))
    return np.asarray(sums / lengths, dtype=float)


def block_edges(n_frames: int, n_blocks: int) -> IntArray:
    """First frame of each block and, last, the number of frames, shape (n_blocks + 1,)."""
    return np.asarray(np.arange(n_blocks + 1) * n_frames // n_blocks, dtype=np.int64)


def block_errors(values: npt.ArrayLike) -> BlockErrors:
    """Standard error of the mean for doubling block lengths, down to 8 blocks.

    Raises:
        NotDefinedError: fewer than 8 frames.

    Source: Flyvbjerg and Petersen, J. Chem. Phys. 91 (1989) 461.
    """
    series = _as_scalar_series(values)
    if len(series) < MIN_BLOCKS:
        raise NotDefinedError(f"block errors: {len(series)} frames, wanted at least {MIN_BLOCKS}")
    levels = int(math.log2(len(series) / MIN_BLOCKS)) + 1
    counts = np.array([len(series) // 2**level for level in range(levels)])
    errors = np.array([block_means(series, n).std(ddof=1) / math.sqrt(n) for n in counts])
    return BlockErrors(
        block_length=len(series) / counts,
        standard_error=errors,
        uncertainty=errors / np.sqrt(2.0 * (counts - 1)),
    )


def mean_estimate(values: npt.ArrayLike, *, confidence: float = 0.95) -> MeanEstimate:
    """Mean of a correlated series with a confidence interval that holds for few blocks, too.

    The series is cut into at most 32 blocks of at least ten autocorrelation times (never fewer
    than eight blocks, and then the result is marked unreliable); the interval is
    mean ± t(n - 1) s/√n of the n block means.

    Args:
        values: One number a frame, equally spaced in time, shape (N,).
        confidence: Coverage wanted, between 0 and 1.

    Raises:
        NotDefinedError: fewer than eight frames.
    """
    series = _as_scalar_series(values)
    if len(series) < MIN_BLOCKS:
        raise NotDefinedError(
            f"error of a mean: {len(series)} frames, wanted at least {MIN_BLOCKS}"
        )
    mean = float(series.mean())
    if np.ptp(series) == 0.0:
        n = len(series)
        return MeanEstimate(mean, 0.0, mean, mean, n, float(n), reliable=True)
    time = autocorrelation_time(series)
    wanted = int(len(series) / max(1.0, BLOCK_FACTOR * time.tau))
    n_blocks = max(MIN_BLOCKS, min(wanted, MAX_BLOCKS))
    scatter = float(block_means(series, n_blocks).std(ddof=1)) / math.sqrt(n_blocks)
    error = scatter * math.sqrt(unseen_by_blocks(time.tau, len(series) / n_blocks))
    reach = student_quantile(n_blocks - 1, confidence) * error
    return MeanEstimate(
        mean=mean,
        standard_error=error,
        low=mean - reach,
        high=mean + reach,
        n_blocks=n_blocks,
        effective_samples=time.effective_samples,
        reliable=time.reliable and wanted >= MIN_BLOCKS,
    )


def unseen_by_blocks(tau: float, block_length: float) -> float:
    """Factor from the variance of block means to that of long ones.

    Correlation across the block edges is left out; for an exponential decay the share is
    (tau - 1 / (4 tau)) / L, nothing at tau = 1/2. At most a factor 2, where blocks are too short.
    """
    return 1.0 / max(0.5, 1.0 - (tau - 0.25 / tau) / block_length)


def student_quantile(degrees_of_freedom: float, confidence: float) -> float:
    """Half width of a two-sided interval in standard errors, Student's t.

    Raises:
        DataError: a confidence outside 0 … 1.
    """
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence: {confidence}, wanted a number between 0 and 1, e.g. 0.95")
    return float(scipy.stats.t.ppf(0.5 + 0.5 * confidence, degrees_of_freedom))
