"""`sweep`: every training of a grid, one after the other, or those that are picked.

Cells do not know of each other, so that several processes, or jobs of a cluster, may work in one
directory; what is finished is not done again, and what another process trains is left to it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from zifbench.benchmark.result import parse_record
from zifbench.errors import BusyError, ResultError, ZifbenchError
from zifbench.progress import Progress, no_progress
from zifbench.training.paths import RECORD_FILE
from zifbench.training.process import locked
from zifbench.training.record import LOCK_FILE, TrainingRecord
from zifbench.training.run import Machine, Report, Say, train, train_dummy
from zifbench.training.sweep.grid import Cell
from zifbench.training.sweep.outcome import differs, outcome_of
from zifbench.training.sweep.plan import Plan, keep_splits

TASKS = ("accuracy", "speed")


def run_cells(
    plan: Plan,
    cells: Sequence[Cell],
    machine: Machine,
    *,
    replace: bool = False,
    progress: Progress = no_progress,
    say: Say = lambda sentence: None,
) -> dict[str, ZifbenchError]:
    """Train some cells of a plan, from where each is.

    A training that fails does not keep the others from being done.

    Args:
        plan: The sweep.
        cells: Those to train.
        machine: Where and how.
        replace: Whether to begin anew what was trained with another recipe, split or store.
        progress: Shows a person how far it is.
        say: Takes a sentence now and then.

    Returns:
        Name of each cell that failed -> why.

    Raises:
        ResultError: the directory holds other splits.
    """
    keep_splits(plan)
    failed: dict[str, ZifbenchError] = {}
    n_finished = 0
    for number, cell in enumerate(cells, start=1):
        try:
            _make_ours(plan, cell, replace=replace)
            if isinstance(outcome_of(plan, cell), str):
                say(f"{cell.name}, training {number} of {len(cells)}")
                _train(plan, cell, machine, progress, say)
            else:
                n_finished += 1
        except BusyError:
            say(f"{cell.name} is trained by another process, and left to it")
        except ZifbenchError as error:  # the input was checked with the plan: it is about the cell
            failed[cell.name] = error
            say(f"{cell.name} failed: {error}")
    if cells and n_finished == len(cells):
        say(f"nothing was left to do: finished before, {n_finished} of {n_finished}")
    return failed


def _train(plan: Plan, cell: Cell, machine: Machine, progress: Progress, say: Say) -> None:
    data, split, out = plan.data, plan.splits[cell.split], plan.folder(cell)
    report = Report(TASKS, conformance=True, profile=plan.grid.profile)
    if cell.recipe is None:
        train_dummy(data, split, out, report=report, progress=progress)
        return
    train(
        cell.recipe,
        data,
        split,
        out,
        [cell.seed],
        machine,
        report=report,
        progress=progress,
        say=say,
    )


def _make_ours(plan: Plan, cell: Cell, *, replace: bool) -> None:
    """Refuse a training that is not the one of this sweep, or remove it."""
    folder = plan.folder(cell)
    if not (folder / RECORD_FILE).is_file():
        return
    other = differs(plan, cell, parse_record(TrainingRecord, folder / RECORD_FILE))
    if other is None:
        return
    if not replace:
        raise ResultError(
            f"{folder} was trained with another {other}; --replace begins it anew, another --out "
            "leaves it"
        )
    with locked(folder / LOCK_FILE):
        # The record last: until then the folder says what it is.
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (RECORD_FILE, LOCK_FILE):
                path.unlink()
        (folder / RECORD_FILE).unlink()
