"""What came of a sweep: one row for each candidate and split, mean and spread over its seeds.

Table 1 of Castel et al. (Digital Discovery 2024, 3, 355) has such rows, of one seed each.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from zifbench.benchmark.result import Measurement, Provenance, Record, Result
from zifbench.files import write_text_atomically
from zifbench.formatting import format_spread
from zifbench.training.curve import CURVE_FILE, Row, read_curve
from zifbench.training.run import seed_folder
from zifbench.training.sweep.outcome import outcome_of
from zifbench.training.sweep.plan import Plan

SWEEP_FILE = "sweep.json"
MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
# Quantity -> heading; errors first, small is good in all.
QUANTITIES: Mapping[str, str] = {
    "energy_mae": "E MAE",
    "force_mae": "F MAE",
    "stress_mae": "σ MAE",
    "time_per_call": "speed",
}
SPEED = "time_per_call"


class CellResult(Record):
    """One training that is finished.

    Attributes:
        seed: Its seed; None of the dummy, which has none.
        epochs: Epochs that were trained.
        best_epoch: The one that was kept, counted from 1.
        seconds: Of training.
        model_sha256: Of the model.
        n_parameters: Of the model, where it says so.
        conforms: Whether it passes all required conformance checks.
        machine: What the speed was measured on.
        values: Quantity -> its value on the test frames.
    """

    seed: int | None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    model_sha256: str
    n_parameters: int | None
    conforms: bool | None
    machine: str
    values: dict[str, float]


class SweepRow(Record):
    """A candidate on a split.

    Attributes:
        candidate: Its name.
        split: Name of the split.
        n_train: Training frames.
        n_test: Test frames.
        test_digest: Of the test frames; rows with others do not compare.
        cells: One for each seed.
        missing: Seeds that there is no result of -> why.
    """

    candidate: str
    split: str
    n_train: int | None = None
    n_test: int | None = None
    test_digest: str | None = None
    cells: list[CellResult] = Field(default_factory=list)
    missing: dict[int, str] = Field(default_factory=dict)

    @property
    def is_dummy(self) -> bool:
        """Whether there is nothing to train, and no seed."""
        return bool(self.cells) and self.cells[0].seed is None

    def values(self, quantity: str) -> list[float]:
        """Of all seeds; speeds only where all were measured on one kind of machine."""
        if quantity == SPEED and not self.is_one_machine:
            return []
        return [cell.values[quantity] for cell in self.cells if quantity in cell.values]

    @property
    def is_one_machine(self) -> bool:
        """Whether all speeds were measured on one kind of machine."""
        return len({cell.machine for cell in self.cells}) < 2

    def mean(self, quantity: str) -> float | None:
        """Over the seeds; None where it was not measured."""
        values = self.values(quantity)
        return statistics.mean(values) if values else None

    def spread(self, quantity: str) -> float | None:
        """Standard deviation over the seeds; None below two."""
        values = self.values(quantity)
        return statistics.stdev(values) if len(values) > 1 else None


class Sweep(Record):
    """A whole sweep, as in `sweep.json`.

    Attributes:
        name: Of the grid.
        about: Of the grid.
        store: Name of the store.
        store_version: Its content digest.
        units: Quantity -> unit.
        rows: Candidates and splits.
        notes: What a reader must know.
    """

    schema_version: int = 1
    name: str
    about: str
    store: str
    store_version: str
    units: dict[str, str]
    rows: list[SweepRow]
    notes: list[str] = Field(default_factory=list)


def collect(plan: Plan, failed: Mapping[str, Exception]) -> Sweep:
    """Read what is finished.

    Args:
        plan: The sweep.
        failed: Name of each training that failed just now -> why.

    Raises:
        ResultError: a damaged file.
    """
    rows: dict[tuple[str, str], SweepRow] = {}
    units: dict[str, str] = {}
    notes: dict[str, None] = {}
    for cell in plan.cells:
        key = (cell.candidate, cell.split)
        row = rows.get(key) or SweepRow(candidate=cell.candidate, split=cell.split)
        found = outcome_of(plan, cell)
        if isinstance(found, str):
            why = str(failed.get(cell.name, found))
            rows[key] = row.model_copy(update={"missing": row.missing | {cell.seed: why}})
            continue
        result, trained = found.result, found.trained
        overall = _overall(result)
        units |= {name: m.unit for name, m in overall.items()}
        if "speed" in result.tasks:
            notes |= dict.fromkeys(f"{cell.name}: {gap}" for gap in result.tasks["speed"].gaps)
        finished = CellResult(
            seed=None if trained is None else trained.seed,
            epochs=None if trained is None else trained.epochs,
            best_epoch=None if trained is None else trained.best_epoch,
            seconds=None if trained is None else trained.seconds,
            model_sha256=result.model.digest,
            n_parameters=result.model.n_parameters,
            conforms=result.conforms,
            machine=_machine(result.provenance),
            values={name: m.value for name, m in overall.items()},
        )
        rows[key] = row.model_copy(
            update={
                "n_train": found.record.read["train"].n_frames,
                "n_test": result.data.n_frames,
                "test_digest": result.data.digest,
                "cells": [*row.cells, finished],
            }
        )
    every = list(rows.values())
    return Sweep(
        name=plan.grid.name,
        about=plan.grid.about,
        store=plan.store.name,
        store_version=plan.store.version,
        units={name: units[name] for name in QUANTITIES if name in units},
        rows=every,
        notes=[*_notes(plan, every), *notes],
    )


def _overall(result: Result) -> dict[str, Measurement]:
    """Quantity -> its measurement over all test frames."""
    return {
        m.quantity: m
        for m in result.measurements()
        if m.quantity in QUANTITIES and not set(m.subset) - {"atoms"}
    }


def _machine(made: Provenance) -> str:
    return f"{made.device}, {made.cpu}, {made.n_threads} threads"


def curves_of(plan: Plan) -> dict[tuple[str, str], list[list[Row]]]:
    """(candidate, split) -> the learning curve of each seed that is finished."""
    found: dict[tuple[str, str], list[list[Row]]] = {}
    for cell in plan.cells:
        if cell.recipe is None or isinstance(outcome_of(plan, cell), str):
            continue
        rows = read_curve(seed_folder(plan.folder(cell), cell.seed) / CURVE_FILE)
        if rows:
            found.setdefault((cell.candidate, cell.split), []).append(rows)
    return found


def write_tables(sweep: Sweep, out: Path) -> None:
    """Write `sweep.json`, `table.md` and `table.csv`."""
    write_text_atomically(out / SWEEP_FILE, sweep.model_dump_json(indent=1) + "\n")
    write_text_atomically(out / MARKDOWN_FILE, markdown(sweep))
    write_text_atomically(out / CSV_FILE, _csv(sweep))


def headings(sweep: Sweep) -> list[str]:
    """Of the table for people; what matters least stands last."""
    shown = [f"{QUANTITIES[name]}, {_unit(name, unit)}" for name, unit in sweep.units.items()]
    return ["candidate", "split", "seeds", *shown, "training frames", "parameters", "conforms"]


def lines(sweep: Sweep) -> list[list[str]]:
    """Its rows: mean ± standard deviation over the seeds."""
    return [
        [
            row.candidate,
            row.split,
            _counted(row),
            *(_spread_text(row, name) for name in sweep.units),
            "–" if row.n_train is None else str(row.n_train),
            _one_of(cell.n_parameters for cell in row.cells),
            _conforms(row),
        ]
        for row in sweep.rows
    ]


def markdown(sweep: Sweep) -> str:
    """The table as Markdown, its notes below it."""
    texts = [headings(sweep), ["---"] * 2 + ["---:"] * (len(headings(sweep)) - 2), *lines(sweep)]
    title = f"**{sweep.name}** on {sweep.store} ({sweep.store_version[:12]}): {sweep.about}"
    table = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in texts]
    notes = [f"- {note}" for note in ("errors are mean ± standard deviation over the seeds",
                                      *sweep.notes)]  # fmt: skip
    return "\n".join([title, "", *table, "", *notes]) + "\n"


def _csv(sweep: Sweep) -> str:
    """One line for each training."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{name} ({unit})" for name, unit in sweep.units.items()]
    columns = ["candidate", "split", "train_frames", "seed", "epochs", "best_epoch", "training_s"]
    writer.writerow([*columns, "parameters", *names])
    for row in sweep.rows:
        for cell in row.cells:
            about = [cell.epochs, cell.best_epoch, cell.seconds, cell.n_parameters]
            values = [cell.values.get(name) for name in sweep.units]
            writer.writerow([row.candidate, row.split, row.n_train, cell.seed, *about, *values])
    return text.getvalue()


def _notes(plan: Plan, rows: Sequence[SweepRow]) -> Iterable[str]:
    tested = sorted({row.n_test for row in rows if row.n_test is not None})
    if tested:
        yield f"errors are of {' or '.join(map(str, tested))} test frames"
    if len({row.test_digest for row in rows if row.test_digest}) > 1:
        yield "the splits have different test frames: rows of different splits do not compare"
    if len(plan.drawn) > 1:
        yield (
            "each split was drawn once: the spread over the seeds does not hold the luck of the "
            "draw, and differences between small splits may be no more than that"
        )
    for row in rows:
        if not row.is_one_machine:
            yield (
                f"{row.candidate} on {row.split}: no speed, its seeds were timed on different "
                f"machines ({'; '.join(sorted({cell.machine for cell in row.cells}))})"
            )
        for seed, why in row.missing.items():
            yield f"{row.candidate} on {row.split}, seed {seed}: {why}"


def _unit(quantity: str, unit: str) -> str:
    return f"{unit}/call" if quantity == "time_per_call" else unit


def _counted(row: SweepRow) -> str:
    n, lacking = len(row.cells), len(row.missing)
    if row.is_dummy:
        return "–"
    return f"{n} of {n + lacking}" if lacking else str(n)


def _spread_text(row: SweepRow, quantity: str) -> str:
    mean, spread = row.mean(quantity), row.spread(quantity)
    if mean is None:
        return "–"
    return format_spread(mean, spread)


def _one_of(values: Iterable[int | None]) -> str:
    known = {value for value in values if value is not None}
    return str(known.pop()) if len(known) == 1 else "–"


def _conforms(row: SweepRow) -> str:
    verdicts = [cell.conforms for cell in row.cells]
    if not verdicts or None in verdicts:
        return "–"
    return "yes" if all(verdicts) else "NO"
