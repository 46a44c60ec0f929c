"""A split on disk: a small JSON file of frame numbers that names the version of its store.

    {"schema": 1, "kind": "zifbench split", "name": …, "generator": …, "seed": …, "parameters": {…},
     "store": {"name": …, "version": …, "n_frames": …},
     "subsets": {"train": {TRAJECTORY: [frame, …]}, "validation": {…}, "test": {…}},
     "notes": […], "provenance": {…}}

There is no date in it: the same store, generator, parameters, seed and versions give the same
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from zifbench.errors import DataError, unknown_name
from zifbench.files import write_text_atomically
from zifbench.frames import IntArray
from zifbench.validation import wanted

if TYPE_CHECKING:
    from zifbench.dataset.store import Store

SPLIT_SCHEMA = 1
KIND = "zifbench split"
_SHORT = 12  # digits of a version in messages
_LONGEST = 40  # characters of a wrong value in messages

# pydantic's name of a problem -> what was wanted, where a split says more than other files.
_COUNT = "a whole number from 0 to 2^63 - 1"
_WANTED: Mapping[str, str] = MappingProxyType(
    {
        "int_type": _COUNT,
        "int_parsing_size": _COUNT,
        "greater_than_equal": _COUNT,
        "less_than": _COUNT,
        "dict_type": "an object in braces",
        "model_type": "an object in braces",
    }
)

# A frame number, a seed; it must fit into int64.
_Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class StoreName(BaseModel):
    """Which store a split belongs to.

    Attributes:
        name: What it is called, for messages only.
        version: Its content digest.
        n_frames: Number of its frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    n_frames: NonNegativeInt


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["zifbench split"]
    name: str
    generator: str
    seed: _Count
    parameters: dict[str, Any]
    store: StoreName
    subsets: dict[str, dict[str, list[_Count]]]
    notes: list[str] = []
    provenance: dict[str, str]


@dataclass(frozen=True, eq=False)
class Split:
    """Frames for training, validation and test.

    Attributes:
        name: What it is called.
        generator: How it was made; see `zifbench.dataset.splits.generators.GENERATORS`.
        seed: Of its random draws.
        parameters: Of the generator.
        store: Which store it belongs to.
        subsets: Subset -> trajectory -> frames, ascending.
        notes: What a reader must know: frames left out, counts that came out smaller.
        provenance: Versions and the way in which random numbers were made.
    """

    name: str
    generator: str
    seed: int
    parameters: Mapping[str, Any]
    store: StoreName
    subsets: Mapping[str, Mapping[str, IntArray]]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_subsets(self.subsets, self.name)

    def count(self, subset: str) -> int:
        """Number of frames of a subset."""
        return sum(len(frames) for frames in self._subset(subset).values())

    def ids(self, subset: str) -> list[tuple[str, int]]:
        """(trajectory, frame) of every frame of a subset, in the order of the manifest."""
        return [
            (trajectory, int(frame))
            for trajectory, frames in self._subset(subset).items()
            for frame in frames
        ]

    def rows(self, subset: str) -> Mapping[str, IntArray]:
        """Trajectory -> frames of a subset, ascending."""
        return self._subset(subset)

    def summary(self) -> dict[str, Any]:
        """The manifest without its frames: numbers of them instead."""
        subsets = {
            subset: {name: len(frames) for name, frames in trajectories.items()}
            for subset, trajectories in self.subsets.items()
        }
        return _head(self) | {"subsets": subsets}

    def check(self, store: Store) -> None:
        """Refuse a store that this split was not made from.

        Raises:
            DataError: another version, or a frame that the store does not have.
        """
        if store.version != self.store.version:
            raise DataError(
                f"split {self.name} belongs to version {self.store.version[:_SHORT]} of "
                f"{self.store.name} ({self.store.n_frames} frames), {store.location} is version "
                f"{store.version[:_SHORT]} ({store.n_frames} frames); take that version, or make "
                "the split anew"
            )
        for subset, trajectories in self.subsets.items():
            for name, frames in trajectories.items():
                there = len(store.trajectories[name]) if name in store.trajectories else 0
                if frames[-1] >= there:
                    raise DataError(
                        f"split {self.name}: {subset} names frame {frames[-1]} of {name}, of which "
                        f"{store.location} has {there} frames; the file was edited, make it anew"
                    )

    def _subset(self, subset: str) -> Mapping[str, IntArray]:
        if subset not in self.subsets:
            raise unknown_name("subset", subset, self.subsets)
        return self.subsets[subset]


def _check_subsets(subsets: Mapping[str, Mapping[str, IntArray]], name: str) -> None:
    """Refuse emptiness and overlap."""
    for subset in ("train", "test"):
        if not any(map(len, subsets.get(subset, {}).values())):
            raise DataError(f"split {name}: no frame for {subset}; both train and test need some")
    for subset, trajectories in subsets.items():
        if not trajectories or not all(map(len, trajectories.values())):
            raise DataError(f"split {name}: {subset} is empty, or names a trajectory for no frame")
    for trajectory in sorted({t for part in subsets.values() for t in part}):
        lists = [part[trajectory] for part in subsets.values() if trajectory in part]
        # Few sorted runs: the stable sort merges them, ten times faster than `numpy.unique`.
        frames = np.sort(np.concatenate(lists), kind="stable")
        repeated = frames[1:][frames[1:] == frames[:-1]]
        if len(repeated):
            raise DataError(
                f"split {name}: frame {repeated[0]} of {trajectory} occurs "
                f"{int((frames == repeated[0]).sum())} times; no frame may be in two subsets, or "
                "in one twice"
            )


def _head(split: Split) -> dict[str, Any]:
    return {
        "schema": SPLIT_SCHEMA,
        "kind": KIND,
        "name": split.name,
        "generator": split.generator,
        "seed": split.seed,
        "parameters": dict(split.parameters),
        "store": split.store.model_dump(),
        "notes": list(split.notes),
        "provenance": dict(split.provenance),
    }


def write_split(split: Split, path: Path, *, overwrite: bool = False) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        DataError: the file exists and may not be replaced.
    """
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; give --overwrite, or another --out")
    subsets = {
        subset: {name: frames.tolist() for name, frames in trajectories.items()}
        for subset, trajectories in split.subsets.items()
    }
    # One line a trajectory: a million numbers on a million lines are no better to read.
    lines = [
        f"  {json.dumps(subset)}: {{\n"
        + ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(frames, separators=(',', ':'))}"
            for name, frames in trajectories.items()
        )
        + "\n  }"
        for subset, trajectories in subsets.items()
    ]
    text = json.dumps(_head(split), indent=1, ensure_ascii=False).removesuffix("\n}")
    write_text_atomically(path, text + ',\n "subsets": {\n' + ",\n".join(lines) + "\n }\n}\n")


def load_split(path: str | Path) -> Split:
    """Read a manifest.

    Raises:
        DataError: no such file, not a manifest, another schema, overlap or emptiness.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is no file; give a split, as `zifbench data split` writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON ({error}); it is damaged or no split") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise DataError(f"{path} is no split; make one with `zifbench data split`")
    if content.get("schema") != SPLIT_SCHEMA:
        raise DataError(
            f"{path}: schema {content.get('schema')}, wanted {SPLIT_SCHEMA}; use the zifbench that "
            "wrote it, or make the split anew"
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problem = _problem(error)
        raise DataError(f"{path}: {problem}; correct it, or make the split anew") from error
    return Split(
        name=file.name,
        generator=file.generator,
        seed=file.seed,
        parameters=file.parameters,
        store=file.store,
        subsets={
            subset: {name: np.sort(np.array(frames, dtype=np.int64)) for name, frames in t.items()}
            for subset, t in file.subsets.items()
        },
        notes=tuple(file.notes),
        provenance=file.provenance,
    )


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong with a manifest, in words."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{place} is missing"
    if first["type"] == "extra_forbidden":
        return f"{place} is no key of a split"
    got = json.dumps(first["input"])
    got = got if len(got) <= _LONGEST else f"{got[:_LONGEST]}…"
    return f"{place} is {got}, wanted {_WANTED.get(first['type']) or wanted(first)}"
