"""What a sweep trains: a small YAML file, strict like a recipe.

    schema: 1
    about: …
    source: …
    candidates:                 the rows of the table
      l1-r6: {recipe: nequip-castel2024, set: [model.l_max=1]}
      l1-r5: {recipe: nequip-castel2024, set: {cutoff_A: 5, model: {l_max: 1}}}
      dummy-mean: {recipe: dummy-mean}
    seeds: [666, 667, 668]      one training of each candidate on each split for every seed
    profile: paper              how long the speed is measured (`zifbench tasks`)
    splits:                     what they are trained on; left out where --split gives it
      test: 10000               at random, the same for all
      validation: 200           likewise
      seed: 0                   of these, and of the draws
      train:                    of the rest; several numbers of frames make a learning curve
        random: [1000]
        flat-histogram: [1000, 2500]

`grids/NAME.yaml` beside this file, or a file of one's own. A candidate may be restricted to some
splits (`splits: [random-1000]`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from zifbench.dataset.splits.generators import GENERATORS
from zifbench.errors import DataError, unknown_name
from zifbench.profiles import Profile
from zifbench.training.recipe import DUMMY, Recipe, load_recipe
from zifbench.training.strict import (
    SUFFIXES,
    Count,
    Strict,
    check_schema,
    find_file,
    names_in,
    read_yaml,
    validated,
    yaml_module,
)

GRID_FOLDER = Path(__file__).with_name("grids")
GRID_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # it names a folder


class Candidate(Strict):
    """One row of the table.

    Attributes:
        recipe: Name of a recipe, or a file beside the grid; `dummy-mean` for the dummy.
        set: Entries of the recipe to change, each `key=value`; in the file a mapping means the
            same.
        splits: Names of the splits that it is trained on; empty means all.
    """

    recipe: str
    set: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    @field_validator("set", mode="before")
    @classmethod
    def _are_words(cls, entries: object) -> object:
        return _as_words(entries) if isinstance(entries, Mapping) else entries


def _as_words(entries: Mapping[Any, Any], section: str = "") -> tuple[str, ...]:
    """`key=value` and `section.key=value` of a mapping."""
    words: list[str] = []
    for key, value in entries.items():
        if not isinstance(key, str):
            raise ValueError(f"{section}{key!r} is no name of an entry")
        if isinstance(value, Mapping):
            words += _as_words(value, f"{section}{key}.")
        else:
            words.append(f"{section}{key}={_as_word(value)}")
    return tuple(words)


def _as_word(value: object) -> str:
    """YAML of a value, in one line."""
    text = yaml_module().safe_dump(value, default_flow_style=True, width=float("inf"))
    return str(text).removesuffix("\n").removesuffix("\n...")


class Draws(Strict):
    """Splits that the sweep draws itself.

    Attributes:
        test: Test frames, at random, the same for every training.
        validation: Validation frames, likewise.
        seed: Of all draws.
        train: Generator -> numbers of training frames to ask it for.
        grouped: Whether the flat histogram has bins of its own for each composition.
    """

    test: Count
    validation: Count
    seed: Annotated[int, Field(ge=0)] = 0
    train: Annotated[Mapping[str, tuple[Count, ...]], Field(min_length=1)]
    grouped: bool = False

    @field_validator("train")
    @classmethod
    def _are_drawn_by_number(
        cls, train: Mapping[str, tuple[int, ...]]
    ) -> Mapping[str, tuple[int, ...]]:
        able = [name for name, generator in GENERATORS.items() if generator.draws_counts]
        for name, sizes in train.items():
            if name not in able:
                raise ValueError(f"no generator {name!r} of so many frames: {', '.join(able)}")
            if not sizes or len(set(sizes)) < len(sizes):
                raise ValueError(f"{name}: wanted numbers of frames, each once")
        return train

    def names(self) -> dict[str, tuple[str, int]]:
        """Name of each split -> its generator and how many training frames are asked for."""
        return {
            f"{generator}-{size}": (generator, size)
            for generator, sizes in self.train.items()
            for size in sizes
        }


class Grid(Strict):
    """A sweep.

    Attributes:
        schema_version: `GRID_SCHEMA`; `schema` in the file.
        name: Its name.
        about: What it is, for people.
        source: Where it comes from.
        candidates: Name -> what is trained.
        seeds: Of the trainings.
        splits: Those to draw; None where they are given.
        profile: How long the speed is measured; the paper's 300 calls are "paper".
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: str
    about: str
    source: str = ""
    candidates: Annotated[Mapping[str, Candidate], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    splits: Draws | None = None
    profile: Profile = Profile.QUICK

    @field_validator("candidates")
    @classmethod
    def _name_folders(cls, candidates: Mapping[str, Candidate]) -> Mapping[str, Candidate]:
        for name in candidates:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: wanted letters, digits and . _ + -")
        return candidates

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice")
        return seeds


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        candidate: Name of the row.
        split: Name of the split.
        seed: Of the training; of the dummy, which has none, the first of the grid.
        recipe: With the changes of the candidate; None for the dummy.
    """

    candidate: str
    split: str
    seed: int
    recipe: Recipe | None

    @property
    def name(self) -> str:
        """What tells it from the others, and where it lies."""
        return f"{self.candidate}/{self.split}/{self.seed}"


def grid_names() -> list[str]:
    """Names of the grids that come with the package."""
    return names_in(GRID_FOLDER)


def load_grid(name: str) -> tuple[Grid, Path]:
    """A grid by its name or from a file, and the folder that its recipe files lie in.

    Raises:
        UnknownNameError: no such grid, or no such key in one.
        DataError: the file is no grid; the message names the first thing that is wrong.
    """
    path = find_file(name, GRID_FOLDER, "sweep")
    table = read_yaml(path, "sweep")
    check_schema(table, GRID_SCHEMA, where=path.name, kind="sweep")
    grid = validated(Grid, {"name": path.stem, **table}, where=path.name, sections=_SECTIONS)
    return grid, path.parent


_SECTIONS: Mapping[str, type[Strict]] = {"splits": Draws, "candidates": Candidate}


def cells_of(
    grid: Grid, folder: Path, splits: tuple[str, ...], changes: tuple[str, ...] = ()
) -> list[Cell]:
    """All trainings of a grid, in the order of the file.

    Args:
        grid: The grid.
        folder: Where recipes that are files lie.
        splits: Names of the splits there are.
        changes: Entries to change in every recipe, each `key=value`.

    Raises:
        UnknownNameError, DataError: a recipe that cannot be read, a split that there is not.
    """
    cells = []
    for name, candidate in grid.candidates.items():
        for split in candidate.splits:
            if split not in splits:
                raise unknown_name(f"split of candidate {name}", split, splits)
        recipe = None
        if candidate.recipe != DUMMY:
            file = folder / candidate.recipe
            known = str(file) if file.suffix in SUFFIXES else candidate.recipe
            recipe = load_recipe(known, (*candidate.set, *changes))
        elif candidate.set:
            raise DataError(f"candidate {name}: {DUMMY} has no entries to set")
        cells += [
            Cell(name, split, seed, recipe)
            for split in candidate.splits or splits
            for seed in (grid.seeds if recipe is not None else grid.seeds[:1])
        ]
    return cells
