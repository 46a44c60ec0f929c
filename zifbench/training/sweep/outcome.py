"""What came of one training of a sweep, as far as it belongs to this sweep."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from zifbench.benchmark.result import RESULT_FILE, Result, load_result, parse_record
from zifbench.dataset.splits.manifest import load_split
from zifbench.training.paths import EVALUATION_FOLDER, RECORD_FILE
from zifbench.training.record import TrainingRecord, digest_of_entries
from zifbench.training.run import seed_folder
from zifbench.training.sweep.grid import Cell
from zifbench.training.sweep.plan import Plan

NOT_BEGUN = "not trained yet"
NOT_FINISHED = "not finished yet"
ANOTHER = "trained with another"


def outcome_of(plan: Plan, cell: Cell) -> tuple[Result, TrainingRecord] | str:
    """Result and record of a training, or why there is none that counts.

    Raises:
        ResultError: a damaged file.
    """
    folder = plan.folder(cell)
    if not (folder / RECORD_FILE).is_file():
        return NOT_BEGUN
    record = parse_record(TrainingRecord, folder / RECORD_FILE)
    other = differs(plan, cell, record)
    if other is not None:
        return f"{ANOTHER} {other}"
    evaluated = folder / EVALUATION_FOLDER
    if cell.recipe is not None:
        if not record.trained:
            return NOT_FINISHED
        [trained] = record.trained
        if trained.ended != "completed":
            return f"{trained.ended}: {trained.reason}"
        evaluated = seed_folder(folder, cell.seed) / EVALUATION_FOLDER
    if not (evaluated / RESULT_FILE).is_file():
        return NOT_FINISHED
    return load_result(evaluated), record


def differs(plan: Plan, cell: Cell, record: TrainingRecord) -> str | None:
    """In what a training is not the one that this sweep wants, None if it is."""
    file = plan.splits[cell.split]
    entries = {} if cell.recipe is None else cell.recipe.dump()
    wanted = {
        "store": (record.request.store_version, _version_of(file)),
        "split": (record.request.split_digest, _digest_of(file)),
        "recipe": (record.request.recipe_digest, digest_of_entries(entries)),
    }
    return next((name for name, (there, here) in wanted.items() if there != here), None)


@lru_cache(maxsize=64)
def _version_of(split: Path) -> str:
    return load_split(split).store.version


@lru_cache(maxsize=64)
def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
