"""Is this run long enough? A flag with its reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.timeseries import as_series, autocorrelation_time, mean_estimate
from zifbench.errors import DataError

_DRIFT_LIMIT = 3.0  # standard errors between the halves; a steady run exceeds it once in 200


@dataclass(frozen=True)
class RunLength:
    """Verdict on the length of a run, judged by one observable.

    Attributes:
        long_enough: True or False, or None where the series cannot tell (it never changes).
        reason: One sentence with the numbers behind the verdict.
        effective_samples: Independent frames, N / (2 tau); NaN where undefined.
        drift: Second half minus first half, in its own standard errors; NaN where undefined.
    """

    long_enough: bool | None
    reason: str
    effective_samples: float
    drift: float


def check_run_length(
    values: npt.ArrayLike,
    *,
    min_effective_samples: float = 50.0,
    max_standard_error: float | None = None,
) -> RunLength:
    """Judge whether a run is long enough for the mean of one observable.

    Long enough means: at least `min_effective_samples` independent frames, no drift (the halves
    agree within three standard errors), and, if asked for, a standard error that is small enough.

    Args:
        values: One number a frame, equally spaced in time, shape (N,).
        min_effective_samples: Independent frames wanted; 50 give the error to 10 %.
        max_standard_error: Largest standard error accepted, in the unit of the series.

    Raises:
        NotDefinedError: fewer than 16 frames.
        DataError: a value that is not finite, or several numbers a frame.
    """
    series = as_series(values)
    if series.ndim != 1:
        raise DataError(f"series: shape {series.shape}, wanted (frames,): one number a frame")
    if np.ptp(series) == 0.0:
        reason = f"the value never changes in {len(series)} frames: nothing to judge the length by"
        return RunLength(None, reason, math.nan, math.nan)
    time = autocorrelation_time(series)
    drift = _drift(series)
    estimate = mean_estimate(series)
    failures = []
    if abs(drift) > _DRIFT_LIMIT:
        failures.append(
            f"the second half differs from the first by {drift:+.1f} standard errors: not yet "
            "steady"
        )
    if not time.reliable:
        failures.append(
            f"the memory of the series does not end within a fifth of its {len(series)} frames "
            f"(its autocorrelation was summed to {time.window}), so nobody knows how many of them "
            f"are independent; wanted {min_effective_samples:g}"
        )
    elif time.effective_samples < min_effective_samples:
        failures.append(
            f"{len(series)} frames are {time.effective_samples:.1f} independent ones (tau "
            f"{time.tau:.1f} frames), wanted {min_effective_samples:g}"
        )
    if max_standard_error is not None and estimate.standard_error > max_standard_error:
        failures.append(
            f"standard error {estimate.standard_error:.3g}, wanted {max_standard_error:.3g}"
        )
    passed = (
        f"{time.effective_samples:.0f} independent frames of {len(series)}, halves agree within "
        f"{abs(drift):.1f} standard errors"
    )
    return RunLength(not failures, "; ".join(failures) or passed, time.effective_samples, drift)


def _drift(series: npt.NDArray[np.float64]) -> float:
    """Difference of the halves' means in standard errors, each half with its own error."""
    half = len(series) // 2
    first, second = mean_estimate(series[:half]), mean_estimate(series[half:])
    difference = second.mean - first.mean
    error = math.hypot(first.standard_error, second.standard_error)
    if error == 0.0:
        return 0.0 if difference == 0.0 else math.copysign(math.inf, difference)
    return difference / error
