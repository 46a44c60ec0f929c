"""Tables of entries, for the terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zifbench.errors import unknown_name
from zifbench.formatting import format_interval, format_value
from zifbench.leaderboard.entries import Entry


@dataclass(frozen=True)
class Column:
    """A column: heading, the measurement it shows or None for text, and if it is always shown."""

    heading: str
    quantity: str | None = None
    when_narrow: bool = True


# Key for --sort -> column. Small is good in every column with numbers.
COLUMNS: dict[str, Column] = {
    "model": Column("model"),
    "architecture": Column("architecture", when_narrow=False),
    "energy": Column("E MAE\nmeV/atom", "energy_mae"),
    "energy-shifted": Column(
        "E MAE, offset removed\nmeV/atom", "energy_mae_offset_removed", when_narrow=False
    ),
    "force": Column("F MAE\nmeV/Å", "force_mae"),
    "force-rmse": Column("F RMSE\nmeV/Å", "force_rmse", when_narrow=False),
    "stress": Column("σ MAE\nMPa", "stress_mae"),
    "speed": Column("speed\nµs/atom/call", "time_per_call"),
    "device": Column("device", when_narrow=False),
    "conforms": Column("conforms"),
}


def sorted_entries(entries: Sequence[Entry], sort: str, *, reverse: bool = False) -> list[Entry]:
    """Entries sorted by a column; those without a value come last either way.

    Raises:
        UnknownNameError: no such column.
    """
    if sort not in COLUMNS:
        raise unknown_name("column", sort, COLUMNS)
    quantity = COLUMNS[sort].quantity
    if quantity is None:
        return sorted(entries, key=lambda entry: cell(entry, sort).lower(), reverse=reverse)
    sign = -1.0 if reverse else 1.0

    def key(entry: Entry) -> float:
        measurement = entry.find(quantity)
        return math.inf if measurement is None else sign * measurement.value

    return sorted(entries, key=key)


def cell(entry: Entry, column: str, *, intervals: bool = True) -> str:
    """Text of one cell."""
    quantity = COLUMNS[column].quantity
    if quantity is not None:
        measurement = entry.find(quantity)
        if measurement is None:
            return "–"
        interval = measurement.interval_95
        if not intervals:
            return format_value(measurement.value, interval)
        return format_interval(measurement.value, interval)
    if column == "conforms":
        failed = ", ".join(entry.failed_checks)
        return {True: "yes", False: f"NO: {failed}", None: "not checked"}[entry.conforms]
    texts = {
        "model": entry.name,
        "architecture": entry.model.architecture or "–",
        "device": f"{_device(entry)}",
    }
    return texts[column]


def _device(entry: Entry) -> str:
    made = entry.provenance
    return f"{made.cpu}, {made.n_threads} threads" if made.device == "cpu" else made.device


def caption(entries: Sequence[Entry]) -> str:
    """What the entries of one table were evaluated on."""
    data = entries[0].data
    names = ", ".join(data.names)
    return f"{names}: {data.n_frames} frames of {', '.join(data.formulas)} ({data.digest[:12]})"


def markdown_table(entries: Sequence[Entry]) -> str:
    """One Markdown table of entries made on the same frames."""
    rows = [
        [column.heading.replace("\n", ", ") for column in COLUMNS.values()],
        ["---" if column.quantity is None else "---:" for column in COLUMNS.values()],
        *([cell(entry, key).replace("|", "\\|") for key in COLUMNS] for entry in entries),
    ]
    lines = [f"**{caption(entries)}**", "", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"
