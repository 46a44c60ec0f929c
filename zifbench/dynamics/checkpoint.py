"""Checkpoints: the state of a batch of replicas in one file, replaced whole.

Replicas that move together are saved together, each with its place, and with the make-up of the
batch: a model's rounding depends on what shares its batch, and a run that goes on must round alike.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zifbench.errors import ResultError

CHECKPOINT_SCHEMA = 3
_DAMAGE = (
    ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    struct.error,
)  # fmt: skip


@dataclass
class Checkpoint:
    """What a batch goes on from.

    Attributes:
        members: Names of its replicas, in their order.
        run: Digest of what identifies the run, `Record.digest`.
        states: Name -> arrays of a replica that still moves.
        outcomes: Name -> how a replica ended.
        batch: Arrays of the batch itself.
        steps_done: Steps of all of them so far.
    """

    members: tuple[str, ...]
    run: str
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    batch: dict[str, Any] = field(default_factory=dict)
    steps_done: int = 0

    def write(self, path: Path) -> None:
        """Write under a temporary name, flush to disk, rename."""
        known = {
            "schema": CHECKPOINT_SCHEMA,
            "members": self.members,
            "run": self.run,
            "outcomes": self.outcomes,
            "steps_done": self.steps_done,
        }
        arrays = {f"batch/{key}": value for key, value in self.batch.items()}
        for number, name in enumerate(self.members):
            for key, value in self.states.get(name, {}).items():
                arrays[f"{number}/{key}"] = value
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, about=np.array(json.dumps(known)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `Checkpoint.write` wrote.

    Raises:
        ResultError: a file that is no checkpoint of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = arrays.pop("about", None)
        known = {} if about is None else json.loads(str(about))
    except (OSError, *_DAMAGE) as error:
        raise ResultError(
            f"{path} is no checkpoint ({error}); delete it to run its replicas from their start"
        ) from error
    if known.get("schema") != CHECKPOINT_SCHEMA:
        raise ResultError(f"{path}: another version of zifbench wrote it; delete it to start anew")
    members = tuple(known["members"])
    found = Checkpoint(
        members, known["run"], outcomes=known["outcomes"], steps_done=known["steps_done"]
    )
    for key, value in arrays.items():
        owner, _, name = key.partition("/")
        if owner == "batch":
            found.batch[name] = value
        else:
            found.states.setdefault(members[int(owner)], {})[name] = value
    return found
