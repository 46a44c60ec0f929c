"""What came of one training of a sweep, as far as it belongs to this sweep."""

from __future__ import annotations

from dataclasses import dataclass

from zifbench.benchmark.result import RESULT_FILE, Result, load_result, parse_record
from zifbench.potentials.formats import sha256_of
from zifbench.training.paths import EVALUATION_FOLDER, RECORD_FILE
from zifbench.training.record import Trained, TrainingRecord, digest_of_entries
from zifbench.training.run import seed_folder
from zifbench.training.sweep.grid import Cell
from zifbench.training.sweep.plan import Plan

NOT_BEGUN = "not trained yet"
NOT_FINISHED = "not finished yet"


@dataclass(frozen=True)
class Finished:
    """A training that is finished.

    Attributes:
        result: On the test frames.
        record: What was asked for.
        trained: How it went; None of the dummy.
    """

    result: Result
    record: TrainingRecord
    trained: Trained | None


def outcome_of(plan: Plan, cell: Cell) -> Finished | str:
    """What came of a training, or why there is nothing that counts.

    Raises:
        ResultError: a damaged file.
    """
    folder = plan.folder(cell)
    if not (folder / RECORD_FILE).is_file():
        return NOT_BEGUN
    record = parse_record(TrainingRecord, folder / RECORD_FILE)
    other = differs(plan, cell, record)
    if other is not None:
        return f"trained with another {other}"
    evaluated, trained = folder / EVALUATION_FOLDER, None
    if cell.recipe is not None:
        trained = next((t for t in record.trained if t.seed == cell.seed), None)
        if trained is None:
            return NOT_FINISHED
        if trained.ended != "completed":
            return f"{trained.ended}: {trained.reason}"
        evaluated = seed_folder(folder, cell.seed) / EVALUATION_FOLDER
    if not (evaluated / RESULT_FILE).is_file():
        return NOT_FINISHED
    return Finished(load_result(evaluated), record, trained)


def differs(plan: Plan, cell: Cell, record: TrainingRecord) -> str | None:
    """In what a training is not the one that this sweep wants, None if it is."""
    entries = {} if cell.recipe is None else cell.recipe.dump()
    wanted = {
        "store": (record.request.store_version, plan.store.version),
        "split": (record.request.split_digest, sha256_of(plan.splits[cell.split])),
        "recipe": (record.request.recipe_digest, digest_of_entries(entries)),
    }
    return next((name for name, (there, here) in wanted.items() if there != here), None)
