"""What a sweep will train, and where: every cell of a grid, with its split.

A directory of a sweep holds

    splits/NAME.json                 the splits that it has drawn
    cells/CANDIDATE/SPLIT/SEED/      a training (`zifbench.training.run`) for each
    sweep.json, table.md, table.csv  what came of all of them
    *.png                            the same to look at
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zifbench.dataset.named import open_named
from zifbench.dataset.splits.generators import load_split, make_split, write_split
from zifbench.dataset.splits.manifest import Split, StoreName
from zifbench.dataset.store import Store
from zifbench.errors import DataError, ResultError
from zifbench.training.record import check_frames
from zifbench.training.sweep.grid import Cell, Draws, Grid, cells_of

SPLITS_FOLDER = "splits"
CELLS_FOLDER = "cells"


@dataclass(frozen=True)
class Plan:
    """All trainings of a sweep, before any is done.

    Attributes:
        grid: What is swept over.
        data: Where the store lies.
        store: Its name and version, which all splits belong to.
        out: Directory of the sweep.
        splits: Name -> its file.
        cells: The trainings.
        drawn: Name -> the split that belongs into its file; none where they were given.
    """

    grid: Grid
    data: str
    store: StoreName
    out: Path
    splits: Mapping[str, Path]
    cells: tuple[Cell, ...]
    drawn: Mapping[str, Split]

    def folder(self, cell: Cell) -> Path:
        """Where the training of a cell lies."""
        return self.out / CELLS_FOLDER / cell.candidate / cell.split / str(cell.seed)

    def picked(self, patterns: Sequence[str]) -> tuple[Cell, ...]:
        """The cells of these names or patterns (`hdnnp-small/*`); all if there are none.

        Raises:
            DataError: a pattern that no cell has.
        """
        for pattern in patterns:
            if not any(_is_named(cell, pattern) for cell in self.cells):
                raise DataError(
                    f"--only {pattern}: no training has this name; --list shows the names, "
                    f"{self.cells[0].name} for instance"
                )
        return tuple(
            cell
            for cell in self.cells
            if not patterns or any(_is_named(cell, pattern) for pattern in patterns)
        )


def make_plan(
    grid: Grid,
    folder: Path,
    data: str,
    out: Path,
    *,
    split_files: Sequence[Path] = (),
    changes: Sequence[str] = (),
) -> Plan:
    """Say what a sweep will train, and refuse what cannot be.

    Args:
        grid: The grid.
        folder: Where recipes that are files lie.
        data: The store.
        out: Directory of the sweep.
        split_files: Splits to train on, in place of those that the grid would draw.
        changes: Entries to change in every recipe, each `key=value`.

    Raises:
        ZifbenchError: bad input; nothing is written yet.
    """
    if any(change.partition("=")[0].strip() == "seed" for change in changes):
        raise DataError("--set seed: the seeds of a sweep are those of its grid")
    store, trajectory = open_named(data)
    with store:
        if trajectory is not None:
            raise DataError(f"--data {data} is one trajectory; a sweep wants the whole store")
        if split_files:
            files, splits = _given(split_files), {}
            for name, file in files.items():
                splits[name] = load_split(file)
                splits[name].check(store)
        elif grid.splits is not None:
            splits = _drawn(store, grid.splits)
            files = {name: out / SPLITS_FOLDER / f"{name}.json" for name in splits}
        else:
            raise DataError(f"sweep {grid.name} draws no splits; give one or more with --split")
        cells = cells_of(grid, folder, tuple(splits), tuple(changes))
        for cell in cells:
            if cell.recipe is not None:
                check_frames(cell.recipe, store, splits[cell.split])
    belongs_to = next(iter(splits.values())).store
    return Plan(grid, data, belongs_to, out, files, tuple(cells), {} if split_files else splits)


def keep_splits(plan: Plan) -> None:
    """Write the splits that were drawn, or see that they are there already.

    Raises:
        ResultError: another split of this name is there, or files of something else.
    """
    _check_directory(plan.out)
    for name, split in plan.drawn.items():
        _keep(split, plan.splits[name])


def _check_directory(out: Path) -> None:
    """Refuse a directory of something else."""
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and not names & {SPLITS_FOLDER, CELLS_FOLDER}:
        raise ResultError(f"{out} holds other files than a sweep; give another --out")


def _is_named(cell: Cell, pattern: str) -> bool:
    return pattern == cell.name or fnmatch.fnmatchcase(cell.name, pattern)


def _given(files: Sequence[Path]) -> dict[str, Path]:
    named = {file.stem: file for file in files}
    if len(named) < len(files):
        raise DataError("two splits have the same file name; their rows could not be told apart")
    return named


def _drawn(store: Store, draws: Draws) -> dict[str, Split]:
    """The splits of a grid, all with the same test and validation frames."""
    # Only its test and validation frames count, and of a training frame there must be one.
    held = make_split(
        store,
        "random",
        seed=draws.seed,
        name=f"held-out-{draws.seed}",
        train=1,
        test=draws.test,
        validation=draws.validation,
    )
    return {
        name: make_split(
            store,
            generator,
            seed=draws.seed,
            name=name,
            taken_from={"test": held, "validation": held},
            train=size,
            grouped=True if draws.grouped and generator == "flat-histogram" else None,
        )
        for name, (generator, size) in draws.names().items()
    }


def _keep(split: Split, file: Path) -> None:
    """Write a split that was drawn, or see that it is there already."""
    if not file.is_file():
        write_split(split, file, overwrite=True)  # another process may have been faster
        return
    there = load_split(file)
    same = all(there.ids(name) == split.ids(name) for name in split.subsets)
    if not same or there.store.version != split.store.version:
        raise ResultError(
            f"{file} is not the split that this sweep draws from this store (version "
            f"{split.store.version[:12]}); go on with the same sweep and store, or give another "
            "--out"
        )
