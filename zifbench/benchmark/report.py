"""`report.html`: a result as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zifbench.benchmark.accuracy_task import read_chunks
from zifbench.benchmark.plots import draw_bars, draw_parity, parity_data, png_url
from zifbench.benchmark.predictions import PredictionStore
from zifbench.benchmark.result import (
    Measurement,
    Published,
    Result,
    TaskResult,
    is_headline,
    title_of,
)
from zifbench.formatting import format_value, singular
from zifbench.frames import Frames
from zifbench.pages import write_page

REPORT_FILE = "report.html"


def write_report(result: Result, frames: Sequence[Frames], directory: Path) -> Path:
    """Write the report of a result beside it.

    Args:
        result: What to show.
        frames: The frames it was made on, for the parity plots.
        directory: Where the predictions lie, and the report will.
    """
    return write_page(
        Path(__file__).with_name("report.html.j2"),
        directory / REPORT_FILE,
        result=result,
        title_of=title_of,
        beside=_beside,
        singular=singular,
        figures={name: _figures(task, directory) for name, task in result.tasks.items()},
        headline={name: _overall(task.measurements) for name, task in result.tasks.items()},
        pictures=_pictures(result, frames, directory),
        by_phase=_subsets(result, "phase"),
    )


def _overall(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those over everything, not over an element or phase."""
    return [m for m in measurements if is_headline(m)]


def _beside(one: Published) -> str:
    """A number from elsewhere in words."""
    digits = 3 if one.citation else 4  # papers print three at most
    error = "" if one.error is None else f" ± {format_value(one.error)}"
    about = ", ".join(text for text in (one.method, one.source) if text)
    return f"{format_value(one.value, significant=digits)}{error} {one.model} ({about})"


def _figures(task: TaskResult, directory: Path) -> list[dict[str, str]]:
    """The task's own figures, into the page."""
    return [
        {"title": picture.title, "url": png_url((directory / picture.file).read_bytes())}
        for picture in task.pictures
    ]


def _pictures(result: Result, frames: Sequence[Frames], directory: Path) -> list[dict[str, str]]:
    if "accuracy" not in result.tasks:
        return []
    store = PredictionStore(directory, frames)
    n_values = sum(len(part) * part.n_atoms * 3 for part in frames)
    parities = parity_data(read_chunks(store, frames), seed=result.seed, n_values=n_values)
    pictures = [
        {
            "title": "Model against reference",
            "url": draw_parity(parities),
            "alt": "parity plots",
        }
    ]
    for key, title in (("element", "Force MAE by element"), ("phase", "Force MAE by phase")):
        rows = [m for m in result.measurements() if m.quantity == "force_mae" and key in m.subset]
        if rows:
            url = draw_bars(rows, key=key, title=title)
            pictures.append({"title": title, "url": url, "alt": title})
    return pictures


def _subsets(result: Result, key: str) -> dict[str, dict[str, Measurement]]:
    """Value of the subset `key` -> quantity -> measurement."""
    table: dict[str, dict[str, Any]] = {}
    for measurement in result.measurements():
        if key in measurement.subset:
            table.setdefault(measurement.subset[key], {})[measurement.quantity] = measurement
    return table
