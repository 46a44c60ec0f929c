"""Whether an analysis may be written to a directory."""

from __future__ import annotations

import os
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
    above = next(path for path in out.resolve().parents if path.exists())
    probe = above / f".{out.name}.{os.getpid()}.new"
    try:  # some file systems say that they can be written to, and cannot
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        what = f"cannot be written to ({error.strerror})" if above.is_dir() else "is a file"
        raise ResultError(f"--out {out}: {above} {what}; give another place") from error
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - _WRITTEN:
        raise ResultError(f"{out} holds other files than an analysis; give another --out")
    if names and not overwrite:
        raise ResultError(f"{out} holds an analysis; give --overwrite, or another --out")
