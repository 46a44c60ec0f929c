"""Numbers, intervals and reasons as people read them: as many digits as the interval supports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

TOO_FEW = "*"
TOO_SHORT = "†"
MARKS = {
    TOO_FEW: "too few independent samples: the interval is too narrow",
    TOO_SHORT: "the run is too short for this number",
}

_ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (frame|run|file|block|event)s\b")


def format_value(
    value: float, interval: tuple[float, float] | None = None, *, significant: int = 3
) -> str:
    """A number with digits down to two places of its error, or so many significant ones.

    >>> format_value(15.0312, (14.1, 16.2))
    '15.0'
    """
    if not math.isfinite(value):
        return "–"
    error = abs(interval[1] - interval[0]) / 2 if interval else 0.0
    if error > 0:
        digits = 1 - math.floor(math.log10(error))
    elif value:
        digits = significant - 1 - math.floor(math.log10(abs(value)))
    else:
        digits = 0
    return f"{value:.{max(0, min(digits, 6))}f}"


def format_spread(mean: float, spread: float | None) -> str:
    """A mean and its standard deviation, both with the digits that the latter supports.

    >>> format_spread(671.83, 402.7)
    '672 ± 403'
    """
    if not spread:
        return format_value(mean)
    around = (mean - spread, mean + spread)
    return f"{format_value(mean, around)} ± {format_value(spread, around)}"


def format_interval(
    value: float, interval: tuple[float, float] | None, *, significant: int = 3
) -> str:
    """The number with its interval, "15.0 (14.1–16.2)", or alone."""
    shown = format_value(value, interval, significant=significant)
    if interval is None:
        return shown
    between = " to " if any(end < 0 for end in interval) else "–"
    ends = (format_value(end, interval, significant=significant) for end in interval)
    return f"{shown} ({between.join(ends)})"


def marks(
    interval: tuple[float, float] | None, reliable: bool | None, long_enough: bool | None
) -> str:
    """What is to be said of a number, as keys of `MARKS` with a blank between them."""
    few = interval is not None and reliable is False
    return " ".join([TOO_FEW] * few + [TOO_SHORT] * (long_enough is False))


def by_reason(reasons: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Reason -> the names it is given for, both in the order in which they come.

    >>> by_reason([("rdf", "no cell"), ("msd", "one frame"), ("angles", "no cell")])
    {'no cell': ['rdf', 'angles'], 'one frame': ['msd']}
    """
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons:
        names = grouped.setdefault(reason, [])
        if name not in names:
            names.append(name)
    return grouped


def singular(text: str) -> str:
    """The text with one of a thing in the singular.

    >>> singular("1 frames, wanted at least 11 frames")
    '1 frame, wanted at least 11 frames'
    """
    return _ONE_OF_MANY.sub(r"1 \1", text)


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
