"""Tables of entries, for the terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zifbench.benchmark.result import Measurement
from zifbench.errors import unknown_name
from zifbench.formatting import format_interval, format_spread, format_value
from zifbench.leaderboard.entries import Entry


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: With its unit.
        quantity: The measurement that it shows; None for text.
        when_narrow: Whether a narrow terminal shows it too.
        subset: What the measurement is restricted to.
        if_any: Leave it out where no entry has it.
    """

    heading: str
    quantity: str | None = None
    when_narrow: bool = True
    subset: Mapping[str, str] = field(default_factory=dict)
    if_any: bool = False

    def of(self, entry: Entry) -> Measurement | None:
        """Its measurement of an entry, None where there is none."""
        return None if self.quantity is None else entry.find(self.quantity, self.subset)


_NAMES_SHOWN = 3  # in the caption of a table
# Key for --sort -> column. Small is good in every column with errors and times.
COLUMNS: dict[str, Column] = {
    "model": Column("model"),
    "architecture": Column("architecture", when_narrow=False),
    "energy": Column("E MAE\nmeV/atom", "energy_mae"),
    "energy-shifted": Column(
        "E MAE, offset removed\nmeV/atom", "energy_mae_offset_removed", when_narrow=False
    ),
    "force": Column("F MAE\nmeV/Å", "force_mae"),
    "seeds": Column("seeds\nF MAE sd", if_any=True),
    "force-rmse": Column("F RMSE\nmeV/Å", "force_rmse", when_narrow=False),
    "stress": Column("σ MAE\nMPa", "stress_mae"),
    "speed": Column("speed\nµs/atom/call", "time_per_call"),
    "coordination": Column(
        "CN\ncrystal", "coordination", subset={"system": "crystal"}, if_any=True
    ),
    "rdf": Column(
        "W1 Zn–N, glass\nÅ",
        "rdf_w1",
        subset={"system": "ab initio glass", "pair": "Zn–N"},
        if_any=True,
    ),
    "bulk-modulus": Column(
        "K\nGPa",
        "bulk_modulus",
        subset={"system": "crystal", "method": "finite strain"},
        if_any=True,
    ),
    "bulk-modulus-static": Column(
        "K at rest\nGPa",
        "bulk_modulus",
        subset={"system": "crystal", "method": "static strain"},
        if_any=True,
    ),
    "survival": Column(
        "survival\n1100–1900 K",
        "completed_share",
        subset={"system": "crystal", "protocol": "stability"},
        if_any=True,
    ),
    "profile": Column("profile", when_narrow=False),
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
    column = COLUMNS[sort]
    if column.quantity is None:
        return sorted(entries, key=lambda entry: cell(entry, sort).lower(), reverse=reverse)
    sign = -1.0 if reverse else 1.0

    def key(entry: Entry) -> float:
        measurement = column.of(entry)
        return math.inf if measurement is None else sign * measurement.value

    return sorted(entries, key=key)


def cell(entry: Entry, column: str, *, intervals: bool = True) -> str:
    """Text of one cell."""
    if COLUMNS[column].quantity is not None:
        measurement = COLUMNS[column].of(entry)
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
        "profile": entry.profile,
        "device": f"{_device(entry)}",
        "seeds": _seeds(entry),
    }
    return texts[column]


def _seeds(entry: Entry) -> str:
    """How many models were trained, and how far apart they are."""
    force = entry.find("force_mae")
    if not entry.seeds or force is None or force.seed_sd is None:
        return "–"
    return f"{len(entry.seeds)}: {format_spread(0.0, force.seed_sd).partition(' ')[2]}"


def _device(entry: Entry) -> str:
    made = entry.provenance
    return f"{made.cpu}, {made.n_threads} threads" if made.device == "cpu" else made.device


def columns_of(entries: Sequence[Entry]) -> dict[str, Column]:
    """The columns of a table: all but those that would be empty and may be left out."""
    return {
        key: column
        for key, column in COLUMNS.items()
        if not column.if_any or any(cell(entry, key) != "–" for entry in entries)
    }


def caption(entries: Sequence[Entry]) -> str:
    """What the entries of one table were evaluated on."""
    data = entries[0].data
    shown = data.names if len(data.names) <= _NAMES_SHOWN else data.names[: _NAMES_SHOWN - 1]
    more = len(data.names) - len(shown)
    names = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"{names}: {data.n_frames} frames of {', '.join(data.formulas)} ({data.digest[:12]})"


def markdown_table(entries: Sequence[Entry]) -> str:
    """One Markdown table of entries made on the same frames."""
    columns = columns_of(entries)
    rows = [
        [column.heading.replace("\n", ", ") for column in columns.values()],
        ["---" if column.quantity is None else "---:" for column in columns.values()],
        *([cell(entry, key).replace("|", "\\|") for key in columns] for entry in entries),
    ]
    lines = [f"**{caption(entries)}**", "", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"
