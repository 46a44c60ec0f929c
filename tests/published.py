"""Published files for tests, from a local mirror; they are never committed.

`ZIFBENCH_MIRROR` names one or several directories (separated as in PATH). A file is looked up by
its asset name, for instance `castel2024/crystal.lmp`, in each. Without it, the tests that need
the file are skipped and say so.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from zifbench.dataset.ingest.cp2k_vibrations import Vibrations, read_vibrations


def published_file(name: str) -> Path:
    """Path of a published file in the mirror, or skip the test."""
    directories = [Path(d) for d in os.environ.get("ZIFBENCH_MIRROR", "").split(os.pathsep) if d]
    for directory in directories:
        if (directory / name).is_file():
            return directory / name
    pytest.skip(
        f"{name} is not in ZIFBENCH_MIRROR ({os.pathsep.join(map(str, directories)) or 'not set'})"
    )


@functools.cache
def published_vibrations() -> Vibrations:
    """The published vibrational analysis of the ZIF-4 crystal (Dürholt et al. 2019)."""
    published_file("duerholt2019/ZIF4.in")
    return read_vibrations(published_file("duerholt2019/ZIF4.out.bz2"))
