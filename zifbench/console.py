"""Everything that is drawn in the terminal: tables on stdout, progress bars on stderr."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from zifbench.formatting import (
    MARKS,
    by_reason,
    format_bytes,
    format_interval,
    format_spread,
    format_value,
    marks,
    singular,
)

if TYPE_CHECKING:
    from zifbench.benchmark.result import Measurement, Result
    from zifbench.dataset.assets.fetch import Fetched
    from zifbench.leaderboard.entries import Entry
    from zifbench.progress import Advance
    from zifbench.reports.leakage_record import Leakage
    from zifbench.reports.record import Analysis
    from zifbench.training.record import TrainingRecord

_EVENTS_SHOWN = 10
_LOG_LINE_S = 30.0
_SIGNIFICANT = 4  # digits of an analysed number without an interval
_WIDE = 150  # columns of a terminal that shows a leaderboard with its intervals

# No markup: names and messages come from outside, and may hold square brackets.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


@contextlib.contextmanager
def progress_bar(
    title: str, total: int, done: int = 0, *, in_bytes: bool = False
) -> Iterator[Advance]:
    """A bar with the time left; see `zifbench.progress.Progress`.

    In a log file, where a bar cannot move, a line every half minute says the same.
    """
    if not err.is_terminal:
        yield _LogLines(title, total, done, format_bytes if in_bytes else str).advance
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(title, total=total, completed=done, status="")

        def advance(n: int, status: str = "") -> None:
            progress.update(task, advance=n)
            if status:
                progress.update(task, status=status)

        yield advance


class _LogLines:
    """Progress as lines of a log."""

    def __init__(
        self, title: str, total: int, done: int, shown: Callable[[int], str] = str
    ) -> None:
        self._title, self._total, self._done, self._shown = title, total, done, shown
        self._last = self._before = time.monotonic()
        self._counted_s = 0.0  # without a minimisation's, which counts nothing
        self._at_start = done
        self._status = ""

    def advance(self, n: int, status: str = "") -> None:
        """Count, and print if the last line is old or the work is finished."""
        self._done += n
        self._status = status or self._status
        now = time.monotonic()
        if n:
            self._counted_s += now - self._before
        self._before = now
        finished = self._done >= self._total > 0  # nobody knows how long a minimisation is
        if now - self._last < _LOG_LINE_S and not finished:
            return
        self._last = now
        left = ""
        if n and not finished:
            per_item = self._counted_s / max(1, self._done - self._at_start)
            left = f", {per_item * (self._total - self._done):.0f} s left"
        counted = f"{self._shown(self._done)} of {self._shown(self._total)}"
        told = f"; {self._status}" if self._status else ""
        err.print(f"{self._title}: {counted}{left}{told}", soft_wrap=True)


def say(style: str, word: str, text: str) -> None:
    """A coloured word and a sentence; the sentence is never read as markup."""
    out.print(Text.assemble((word, style), f": {text}"))


def note(sentence: str) -> None:
    """A remark while work goes on, on stderr."""
    err.print(sentence, style="yellow", soft_wrap=True)


def show_result(result: Result) -> None:
    """The scorecard of one evaluation."""
    from zifbench.benchmark.result import is_headline, title_of

    overall = [m for m in result.measurements() if is_headline(m)]
    table = Table(
        title=f"{result.model.name} on {', '.join(result.data.names)}", title_justify="left"
    )
    table.add_column("quantity")
    table.add_column("value (95 % interval)", justify="right")
    table.add_column("unit")
    table.add_column("samples", justify="right")
    for m in overall:
        table.add_row(
            title_of(m),
            format_interval(m.value, m.interval_95),
            m.unit,
            singular(f"{m.n} {m.n_of}"),
        )
    out.print(table)
    for key in ("element", "phase"):
        _show_subsets(result.measurements(), key)
    for task in result.tasks.values():
        for gap in task.gaps:
            say("yellow", task.task, gap)
    _show_conformance(result)


def _show_subsets(measurements: Sequence[Measurement], key: str) -> None:
    rows: dict[str, dict[str, Measurement]] = {}
    for m in measurements:
        if key in m.subset:
            rows.setdefault(m.subset[key], {})[m.quantity] = m
    if not rows:
        return
    shown = {
        "energy_mae": "E MAE meV/atom",
        "force_mae": "F MAE meV/Å",
        "force_rmse": "F RMSE meV/Å",
        "force_rms_reference": "F RMS of labels",
        "stress_mae": "σ MAE MPa",
    }
    columns = [name for name in shown if any(name in row for row in rows.values())]
    table = Table()
    table.add_column(key)
    for name in columns:
        table.add_column(shown[name], justify="right")
    for value, row in rows.items():
        cells = [
            format_interval(row[c].value, row[c].interval_95) if c in row else "–" for c in columns
        ]
        table.add_row(value, *cells)
    out.print(table)


def _show_conformance(result: Result) -> None:
    if result.conforms is None:
        say("yellow", "conformance", "not checked")
        return
    required = sum(check.required for check in result.conformance)
    if result.conforms:
        say("green", "conformance", f"all {required} required checks passed")
    for check in result.conformance:
        if check.passed:
            continue
        numbers = ""
        if check.deviation is not None and check.tolerance is not None:
            numbers = (
                f" deviation {format_value(check.deviation)}, tolerated "
                f"{format_value(check.tolerance)} {check.unit};"
            )
        style, word = (
            ("red", "conformance FAILED") if check.required else ("yellow", "for information")
        )
        say(style, word, f"{check.name}:{numbers} {check.detail}")


def show_analysis(analysis: Analysis) -> None:
    """Numbers of each run, and what is not defined."""
    for run in analysis.runs:
        used: set[str] = set()
        table = Table(title=run.name, title_justify="left")
        table.add_column("quantity")
        table.add_column("value (95 % interval)", justify="right")
        table.add_column("unit")
        table.add_column("samples", justify="right")
        for m in run.numbers:
            if m.value or not m.quantity.startswith("rings_"):
                value = format_interval(m.value, m.interval_95, significant=_SIGNIFICANT)
                said = marks(m.interval_95, m.reliable, m.long_enough)
                used.update(said.split())
                table.add_row(
                    m.title, f"{value} {said}".rstrip(), m.unit, singular(f"{m.n} {m.n_of}")
                )
        out.print(table)
        legend = "; ".join(f"{mark} {text}" for mark, text in MARKS.items() if mark in used)
        if legend:
            out.print(legend, soft_wrap=True)
        gaps = by_reason((gap.observable, singular(gap.reason)) for gap in run.gaps)
        for reason, names in gaps.items():
            say("yellow", f"{run.name}, not defined: {', '.join(names)}", reason)
        for event in run.events[:_EVENTS_SHOWN]:
            say("yellow", run.name, event)
        if len(run.events) > _EVENTS_SHOWN:
            say("yellow", run.name, f"{len(run.events)} events in all, see analysis.json")


def show_training(record: TrainingRecord) -> None:
    """What came of each seed, and their spread."""
    import statistics

    units = {q: unit for t in record.trained for q, (_, unit) in t.test_errors.items()}
    values = {q: [t.test_errors[q][0] for t in record.trained if q in t.test_errors] for q in units}
    rows = [
        [
            t.seed,
            t.ended,
            t.epochs,
            "–" if t.best_epoch is None else t.best_epoch,
            *(format_value(t.test_errors[q][0]) if q in t.test_errors else "–" for q in units),
        ]
        for t in record.trained
    ]
    if any(len(found) > 1 for found in values.values()):
        means = [format_spread(statistics.mean(v), statistics.stdev(v)) for v in values.values()]
        rows.append(["mean ± sd", "", "", "", *means])
    title = f"{record.request.recipe} on {record.request.store}, split {record.request.split}"
    short = {"energy_mae": "E MAE", "force_mae": "F MAE", "stress_mae": "σ MAE"}
    headings = ["seed", "ended", "epochs", "best", *(f"{short[q]} {u}" for q, u in units.items())]
    show_rows(title, headings, rows)
    names = " and ".join(record.read)
    say("green", "test frames", f"none of {record.test.n_frames} is among those of {names}")


def show_leakage(leakage: Leakage) -> None:
    """How near the frames of a subset are to the training frames."""
    rows = [
        [
            row.quantity,
            row.unit,
            row.n,
            *map(format_value, (row.least, row.percentile_5, row.median, row.greatest)),
        ]
        for row in leakage.distances
    ]
    title = f"{leakage.subset} of {leakage.split}: nearest training frame"
    headings = ["distance", "unit", "frames", "least", "5 % below", "median", "greatest"]
    show_rows(title, headings, rows)
    for row in leakage.distances:
        if row.share_within is not None:
            share = f"{100 * row.share_within:.3g} % of the frames are within {row.within:g}"
            say("yellow" if row.share_within else "green", "leakage", f"{share} {row.unit}")
    if leakage.n_not_compared:
        why = "no training frame of their trajectory, and none looked at with their atoms and cell"
        say("yellow", "not compared", f"{leakage.n_not_compared} of {leakage.n_frames}: {why}")
    for note in leakage.notes:
        say("yellow", "note", note)


def show_board(entries: Sequence[Entry]) -> None:
    """One leaderboard table, of entries made on the same frames."""
    from zifbench.leaderboard.tables import caption, cell, columns_of

    table = Table(title=caption(entries), title_justify="left")
    wide = out.width >= _WIDE
    columns = columns_of(entries)
    shown = {key: column for key, column in columns.items() if wide or column.when_narrow}
    for column in shown.values():
        justify: Literal["left", "right"] = "right" if column.quantity else "left"
        table.add_column(column.heading, justify=justify, no_wrap=column is columns["model"])
    for entry in entries:
        table.add_row(*(cell(entry, key, intervals=wide) for key in shown))
    out.print(table)


def show_fetched(items: Iterable[Fetched]) -> None:
    """One line for each file as it arrives; at the end whom to cite, once for each source."""
    sources: dict[tuple[str, str], None] = {}
    for item in items:
        word = "fetched" if item.new else "already there"
        seen = ", recorded: no checksum is published for it" if item.first_seen else ", verified"
        checksum = f"{item.checksum.partition(':')[0]} {item.checksum.partition(':')[2][:12]}…"
        out.print(f"{item.name}: {word} ({checksum}{seen}): {item.path}", soft_wrap=True)
        sources[item.citation, item.licence] = None
    for citation, licence in sources:
        out.print(f"please cite: {citation} (licence: {licence})", soft_wrap=True)


def show_assets(rows: Sequence[Mapping[str, Any]]) -> None:
    """What can be fetched: sets first, then single files."""
    sets = [row for row in rows if row["kind"] != "file"]
    show_rows(
        "sets",
        ["name", "files", "about", "in cache"],
        [[r["name"], r["n_files"] or "as the record says", r["about"], r["cached"]] for r in sets],
    )
    files = [row for row in rows if row["kind"] == "file"]
    show_rows(
        "files",
        ["name", "size", "checksum", "in cache"],
        [
            [
                row["name"],
                "–" if row["bytes"] is None else format_bytes(row["bytes"]),
                "first one seen" if row["checksum"] is None else "known",
                row["cached"],
            ]
            for row in files
        ],
    )


def fitting(
    headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """The first columns of a table, as many as the terminal has room for; at least three."""
    widths = [
        max(max((len(row[k]) for row in rows), default=0), *map(len, heading.split()))
        for k, heading in enumerate(headings)
    ]
    n = max(3, sum(total <= out.width for total in accumulate(w + 3 for w in widths)))
    return list(headings[:n]), [list(row[:n]) for row in rows]


def show_rows(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table; the first column, which holds names to be typed, is never cut."""
    table = Table(title=title or None, title_justify="left", show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    out.print(table)
