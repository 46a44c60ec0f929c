"""Checkpoints: all arrays of a replica's state in one file, replaced whole."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zifbench.errors import ResultError

CHECKPOINT_SCHEMA = 1
_DAMAGE = (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error)


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write under a temporary name, flush to disk, rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, schema=np.array(CHECKPOINT_SCHEMA), **state)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state, or None where there is no checkpoint.

    Raises:
        ResultError: a file that is no checkpoint of ours.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    except (OSError, *_DAMAGE) as error:
        raise ResultError(
            f"{path} is no checkpoint ({error}); delete it to run that replica from its start"
        ) from error
    schema = state.pop("schema", None)
    if schema is None or int(schema) != CHECKPOINT_SCHEMA:
        raise ResultError(f"{path}: another version of zifbench wrote it; delete it to start anew")
    return state
