"""What an ingest found, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zifbench import console
from zifbench.dataset.ingest.run import Ingested, Summary, report_path
from zifbench.formatting import format_value


def show_summary(summary: Summary) -> None:
    """A row for each trajectory, then everything that is not as it should be."""
    from pathlib import Path

    headings = ["trajectory", "frames", "new", "checks", "net force eV/Å", "energy eV/atom"]
    rows = [_row(trajectory) for trajectory in summary.trajectories]
    console.show_rows(f"{summary.store}, version {summary.version[:12]}", headings, rows)
    for trajectory in summary.trajectories:
        for style, word, text in _remarks(trajectory.report):
            console.say(style, word, f"{trajectory.name}: {text}")
    if summary.offsets:
        first, other, offset = max(summary.offsets, key=lambda row: abs(row[2]))
        text = f"mean energies differ by up to {offset:+.3f} meV/atom ({other} from {first})"
        console.say("cyan", "offset", f"{text}; all are in the report")
    console.say("green", "report", str(report_path(Path(summary.store))))


def _row(trajectory: Ingested) -> list[str]:
    checks = trajectory.report["checks"]
    passed = sum(check.get("passed") is True for check in checks)
    tested = sum(check.get("passed") is not None for check in checks)
    net, energy = trajectory.net_force, trajectory.energy_eV_per_atom
    return [
        trajectory.name,
        str(trajectory.n_frames),
        str(trajectory.n_new),
        f"{passed} of {tested}",
        "–" if net is None else format_value(net["median"]),
        "–" if energy is None else f"{energy:.6f}",
    ]


def _remarks(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for file, steps in report["missing"].items():
        yield "yellow", "missing", f"steps {steps} are not in {file}; left out"
    for file, number in report["duplicates"].items():
        yield "yellow", "duplicates", f"{number} entries of {file} come again"
    for words in report["damaged"]:
        yield "yellow", "damaged", words
    for check in report["checks"]:
        if check.get("passed") is False:
            words = f"{check['value']:.6g}, wanted {check['wanted']}; {check.get('detail', '')}"
            yield "red", "check failed", f"{check['name']}: {words}"
    for words in report["notes"]:
        yield "cyan", "note", words
