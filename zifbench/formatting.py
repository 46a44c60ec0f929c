"""Numbers and intervals as people read them: as many digits as the interval supports."""

from __future__ import annotations

import math


def format_value(value: float, interval: tuple[float, float] | None = None) -> str:
    """A number with digits down to two places of its error, or three significant ones.

    >>> format_value(15.0312, (14.1, 16.2))
    '15.0'
    """
    if not math.isfinite(value):
        return "–"
    error = abs(interval[1] - interval[0]) / 2 if interval else 0.0
    if error > 0:
        digits = 1 - math.floor(math.log10(error))
    elif value:
        digits = 2 - math.floor(math.log10(abs(value)))
    else:
        digits = 0
    return f"{value:.{max(0, min(digits, 6))}f}"


def format_interval(value: float, interval: tuple[float, float] | None) -> str:
    """The number with its interval, "15.0 (14.1–16.2)", or alone."""
    if interval is None:
        return format_value(value)
    ends = "–".join(format_value(end, interval) for end in interval)
    if any(end < 0 for end in interval):
        ends = " to ".join(format_value(end, interval) for end in interval)
    return f"{format_value(value, interval)} ({ends})"


def format_bytes(n: int) -> str:
    """A size in decimal units, as file systems and archives state it.

    >>> format_bytes(2_058_674)
    '2.06 MB'
    """
    if n < 1000:
        return f"{n} bytes"
    power = min(4, (len(str(n)) - 1) // 3)
    value = n / 1000**power
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {'kMGT'[power - 1]}B"
