"""A directory of results that is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from zifbench.errors import ResultError
from zifbench.reports.record import ANALYSIS_FILE, ARRAYS_FOLDER, REPORT_FILE

_WRITTEN = {ANALYSIS_FILE, ARRAYS_FOLDER, REPORT_FILE}


def check_directory(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that holds anything but an analysis, or one that may not be replaced.

    Raises:
        ResultError: a file, other people's files, or an analysis without `overwrite`.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - _WRITTEN:
        raise ResultError(f"{out} holds other files than an analysis; give another --out")
    if names and not overwrite:
        raise ResultError(f"{out} holds an analysis; give --overwrite, or another --out")


def write_directory(out: Path, write: Callable[[Path], None]) -> None:
    """Write into a new directory beside `out`, and put it in its place once it is complete.

    Whatever stops the writing, an earlier `out` stays as it was, and nothing else is left.

    Args:
        out: Where the directory goes; what stands there is replaced.
        write: Fills the directory that it is given.
    """
    target = out.resolve()  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        new.mkdir()
        write(new)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
