"""`deck.json`: what a deck runs, and what is needed to read it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from zifbench.dynamics.plan import Segment
from zifbench.errors import ResultError
from zifbench.frames import FloatArray, IntArray
from zifbench.validation import problem

DECK_SCHEMA = 1
DECK_FILE = "deck.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StartRecord(_Strict):
    """A structure.

    Attributes:
        numbers: Atomic numbers.
        masses: In amu.
        cell: Its cell in Å.
        rotation: Row vectors of LAMMPS times this are those of the structure; see `cells`.
    """

    numbers: tuple[int, ...]
    masses: tuple[float, ...]
    cell: tuple[tuple[float, float, float], ...]
    rotation: tuple[tuple[float, float, float], ...]

    @property
    def numbers_array(self) -> IntArray:
        """Shape (N,)."""
        return np.array(self.numbers, dtype=np.int64)

    @property
    def masses_array(self) -> FloatArray:
        """Shape (N,)."""
        return np.array(self.masses)

    @property
    def rotation_array(self) -> FloatArray:
        """Shape (3, 3)."""
        return np.array(self.rotation)


class ReplicaRecord(_Strict):
    """A replica: a folder of the deck.

    Attributes:
        name: Its name and that of its folder.
        start: Name of its structure.
        segments: Its plan.
    """

    name: str
    start: str
    segments: tuple[Segment, ...]


class DeckRecord(_Strict):
    """A deck.

    Attributes:
        schema_version: `DECK_SCHEMA`.
        zifbench: Version that wrote it.
        digest: Of all that identifies what is run; its tables carry it.
        run: What was asked for, as in the `run.json` of a run with ASE.
        stop_on: Rules that end a replica, held against the frames as they are read.
        starts: Structures by name.
        replicas: In this order.
    """

    schema_version: int
    zifbench: str
    digest: str
    run: dict[str, Any]
    stop_on: tuple[str, ...]
    starts: dict[str, StartRecord]
    replicas: tuple[ReplicaRecord, ...]

    def title(self, replica: str, stage: str) -> str:
        """First line of the tables of a stage, after the comment sign."""
        return f"zifbench deck {self.digest} replica {replica} stage {stage}"


def read_deck(folder: Path) -> DeckRecord:
    """The record of a deck.

    Raises:
        ResultError: no deck, or one of another version of zifbench.
    """
    path = folder / DECK_FILE
    if not path.is_file():
        raise ResultError(
            f"{folder} holds no {DECK_FILE}, so that it is no LAMMPS deck; give the directory that "
            "`zifbench md lammps` wrote"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(
            f"{path} is no record of a deck ({error}); write the deck anew"
        ) from error
    if schema != DECK_SCHEMA:
        raise ResultError(f"{path}: schema {schema!r}, wanted {DECK_SCHEMA}; write the deck anew")
    try:
        return DeckRecord.model_validate(content)
    except ValidationError as error:
        raise ResultError(
            f"{path} is damaged: {problem(error, content)}; write the deck anew"
        ) from error
