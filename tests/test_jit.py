"""Compiled loops are cached, and never older than what they call."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

INNER = """
from zifbench.jit import jit

@jit
def inner(x: int) -> int:
    return x + {}
"""
OUTER = """
from inner import inner
from zifbench.jit import jit

@jit
def outer(x: int) -> int:
    return 10 * inner(x)

print(outer(1), sum(outer.stats.cache_hits.values()))
"""


def _run(folder: Path) -> str:
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(folder / "outer.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_edit_of_the_inner_loop_reaches_the_outer_one(tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text(OUTER)
    (tmp_path / "inner.py").write_text(INNER.format(1))
    assert _run(tmp_path) == "20 0"
    assert _run(tmp_path) == "20 1"  # from the cache
    time.sleep(0.02)
    (tmp_path / "inner.py").write_text(INNER.format(2))
    assert _run(tmp_path) == "30 0"
    assert _run(tmp_path) == "30 1"
