"""`report.html` of an analysis, as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.runs import RunObservation
from zifbench.formatting import by_reason, marks, singular
from zifbench.pages import write_page
from zifbench.reports.figures import draw_curves, draw_series
from zifbench.reports.record import REPORT_FILE, Analysis, Number


def write_analysis_page(
    analysis: Analysis, found: Mapping[str, Mapping[str, RunObservation]], directory: Path
) -> Path:
    """Write the report.

    Args:
        analysis: The numbers.
        found: Run -> observable -> what it says, for the figures.
        directory: Where the report goes.
    """
    return write_page(
        Path(__file__).with_name("analysis.html.j2"),
        directory / REPORT_FILE,
        analysis=analysis,
        rows=_rows(analysis),
        lengths=_lengths(analysis),
        gaps=_gaps(analysis),
        marks=marks,
        singular=singular,
        pictures=_pictures(analysis, found),
    )


def _rows(analysis: Analysis) -> list[dict[str, object]]:
    """A row a quantity, a number a run; what is zero in all runs stays in the JSON."""
    table: dict[tuple[str, str, str], dict[str, Number]] = {}
    for run in analysis.runs:
        for number in run.numbers:  # what goes by another title is another quantity
            key = (number.observable, number.quantity, number.title)
            table.setdefault(key, {})[run.name] = number
    rows: list[dict[str, object]] = []
    for (_, quantity, _), numbers in table.items():
        first = next(iter(numbers.values()))
        sized = quantity.startswith("rings_")
        if sized and not any(number.value for number in numbers.values()):
            continue
        rows.append({"title": first.title, "unit": first.unit, "numbers": numbers})
    return rows


def _lengths(analysis: Analysis) -> list[tuple[str, Number]]:
    """Numbers of runs that have a verdict on their length, the short ones first."""
    judged = [
        (run.name, number)
        for run in analysis.runs
        for number in run.numbers
        if number.long_enough is not None
    ]
    return sorted(judged, key=lambda pair: bool(pair[1].long_enough))


def _gaps(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Run, observables and the reason that they share."""
    return [
        (run.name, ", ".join(names), reason)
        for run in analysis.runs
        for reason, names in by_reason(
            (gap.observable.replace("_", " "), singular(gap.reason)) for gap in run.gaps
        ).items()
    ]


def _pictures(
    analysis: Analysis, found: Mapping[str, Mapping[str, RunObservation]]
) -> list[dict[str, str]]:
    references = {run.name for run in analysis.runs if run.reference}
    pictures = []
    for name in analysis.observables:
        runs = {run: observed[name] for run, observed in found.items() if name in observed}
        about = OBSERVABLES[name].about
        title = about[0].upper() + about[1:]
        url = draw_curves(runs, references)
        if url is not None:
            pictures.append({"title": title, "url": url})
        url = draw_series(runs, references)
        if url is not None:
            pictures.append({"title": f"{title}, through the run", "url": url})
    return pictures
