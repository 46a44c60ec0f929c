"""Entries: the part of a result that a leaderboard keeps, one JSON file for each model or recipe.

A board is a directory with one folder for each set of frames (named by the start of its digest), so
that only numbers made on the same frames stand in one table.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from zifbench.benchmark.result import (
    RESULT_FILE,
    DataCard,
    Measurement,
    Provenance,
    Record,
    Result,
    load_result,
    parse_record,
)
from zifbench.errors import ResultError
from zifbench.files import write_text_atomically
from zifbench.leaderboard.directories import without_result
from zifbench.leaderboard.seeds import (
    card_of_seeds,
    check_alike,
    check_trainings,
    measurements_of_seeds,
)
from zifbench.potentials.card import ModelCard
from zifbench.potentials.formats import ModelFormat


class Entry(Record):
    """One model, or several of one recipe, on one set of frames.

    Attributes:
        name: Name on the board, unique within its data.
        seeds: Digest of each model, where there are several that differ in their seed only; the
            measurements are then means over them.
        conforms: Whether all required conformance checks passed, None if they were not run.
        failed_checks: Names of the checks that failed.
        measurements: All measurements of the result.
    """

    schema_version: Literal[1] = 1
    name: str
    seeds: list[str] = Field(default_factory=list)
    model: ModelCard
    data: DataCard
    profile: str
    conforms: bool | None
    failed_checks: list[str]
    measurements: list[Measurement]
    provenance: Provenance

    def find(
        self, quantity: str, subset: Mapping[str, str] = MappingProxyType({})
    ) -> Measurement | None:
        """The measurement of a quantity over everything, None if it was not made.

        Args:
            quantity: Its name.
            subset: What it is restricted to, if not over everything.
        """
        for measurement in self.measurements:
            restricted = {k: v for k, v in measurement.subset.items() if k != "atoms"}
            if measurement.quantity == quantity and restricted == subset:
                return measurement
        return None


def make_entry(results: Sequence[Result], name: str | None = None) -> Entry:
    """The entry of a result, or of several of one recipe, one for each seed.

    Raises:
        ResultError: several that are not of one recipe, or that have no name.
    """
    first = results[0]
    if len(results) == 1:
        model, measurements, seeds = first.model, first.measurements(), []
    else:
        if name is None:
            raise ResultError(f"{len(results)} results make one entry; give its --name")
        check_alike(results)
        model, measurements = card_of_seeds(results, name), measurements_of_seeds(results)
        seeds = [result.model.digest for result in results]
    return Entry(
        name=name or model.name,
        seeds=seeds,
        model=model,
        data=first.data,
        profile=first.profile,
        conforms=first.conforms,
        failed_checks=sorted({check for result in results for check in result.failed_checks}),
        measurements=measurements,
        provenance=first.provenance,
    )


def entry_file(board: Path, entry: Entry) -> Path:
    """Where an entry lies on a board."""
    return board / _data_folder(board, entry.data) / f"{_slug(entry.name)}.json"


def add_entry(
    paths: Sequence[Path], board: Path, *, name: str | None = None, replace: bool = False
) -> Path:
    """Put a result on a board, or several of one recipe as their mean.

    Args:
        paths: The result directory or its `result.json`; one for each seed.
        board: Directory of the leaderboard.
        name: Name on the board; if None the model's own, of several that of their recipe.
        replace: Replace an entry of the same name.

    Raises:
        ResultError: no valid result, results that do not belong together, the name is taken, or a
            model that is on the board under another name.
    """
    for path in paths:
        if path.is_dir() and not (path / RESULT_FILE).is_file():
            raise without_result(path)
    results = [load_result(path) for path in paths]
    recipe = check_trainings(paths)
    if name is None and all(result.model.name == recipe for result in results):
        name = recipe
    entry = make_entry(results, name)
    if not _slug(entry.name):
        raise ResultError(f"the name {entry.name!r} has no letter or digit; give another --name")
    file = entry_file(board, entry)
    if file.is_file() and not replace:
        raise ResultError(
            f"{file} is there already; give --replace to replace it, or another --name"
        )
    _check_new(dict(zip(paths, results, strict=True)), file)
    write_text_atomically(file, entry.model_dump_json(indent=1) + "\n")
    return file


def _check_new(results: Mapping[Path, Result], file: Path) -> None:
    """Refuse a model that stands in another entry on the same frames, alone or as a seed.

    Args:
        results: What the entry is made of, and where that lies.
        file: Where it will lie; what is there now is replaced.

    Raises:
        ResultError: there is one.
    """
    known = {_told_by(result.model): path for path, result in results.items() if _is_known(result)}
    for other in sorted(file.parent.glob("*.json")):
        if other == file:
            continue
        entry = parse_record(Entry, other)
        there = entry.seeds or ([_told_by(entry.model)] if _is_known(entry) else [])
        twice = next((digest for digest in there if digest in known), None)
        if twice is not None:
            part = f"a seed of {entry.name!r}" if entry.seeds else repr(entry.name)
            raise ResultError(
                f"the model of {known[twice]} is on this board already, as {part} ({other}); give "
                f"--name {shlex.quote(entry.name)} --replace to replace that entry, or delete its "
                "file first to give the model another name"
            )


def _told_by(card: ModelCard) -> str:
    """What tells a model from others: one file of code may make several from the same weights."""
    return f"{card.digest} {card.name}" if card.format == ModelFormat.PYTHON else card.digest


def _is_known(made: Result | Entry) -> bool:
    """Whether the digest tells the model from others: not of code whose weights nobody named."""
    return made.model.format != ModelFormat.PYTHON or bool(made.model.weights_sha256)


def load_board(board: Path) -> list[Entry]:
    """All entries of a board, checked.

    Raises:
        ResultError: no such directory, no entries, or a file that is no valid entry.
    """
    if not board.is_dir():
        raise ResultError(f"no leaderboard at {board}; add a result first, or give --board")
    files = sorted(board.glob("*/*.json"))
    if not files:
        raise ResultError(f"{board} holds no entries; add one with zifbench leaderboard add")
    return [_checked(parse_record(Entry, file), file, board) for file in files]


def by_data(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Data digest -> the entries made on these frames."""
    tables: dict[str, list[Entry]] = {}
    for entry in entries:
        tables.setdefault(entry.data.digest, []).append(entry)
    return tables


def _checked(entry: Entry, file: Path, board: Path) -> Entry:
    """Refuse a file that has been moved below other data or renamed."""
    wanted = entry_file(board, entry)
    if wanted != file:
        raise ResultError(f"{file} holds the entry that belongs to {wanted}; move it there")
    return entry


def _data_folder(board: Path, data: DataCard) -> str:
    """Folder of a set of frames: the one that holds it already, whatever its file was called."""
    for folder in sorted(board.glob(f"*-{data.digest[:8]}")):
        return folder.name
    name = data.names[0] if data.names else "data"
    first = _slug(PurePath(name.rpartition(".")[0] or name).name)
    return f"{first}-{data.digest[:8]}"


def _slug(name: str) -> str:
    """A file name from a model name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
