"""The one way in which loops are compiled."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def jit(function: Kernel) -> Kernel:
    """Compile a loop with numba on first use: cached on disk, free of the interpreter lock.

    A typed stand-in for `numba.njit`, which carries no types that mypy could check.
    """
    compiled = numba.njit(cache=True, nogil=True)(function)
    _forget_stale(function, Path(compiled.stats.cache_path))
    kernel: Kernel = compiled
    return kernel


@functools.cache
def _sources_of_loops(folder: Path) -> tuple[Path, ...]:
    """Files with compiled loops; an edit of others need not cost a minute of compiling."""
    return tuple(path for path in folder.glob("*.py") if b"@jit" in path.read_bytes())


def _forget_stale(function: Callable[..., Any], cache: Path) -> None:
    """Drop the cached code of a loop that is older than any file of loops beside its own.

    numba looks at the file of the loop itself only, and would go on running the old code of loops
    that it calls in other files.
    """
    source = Path(function.__code__.co_filename)
    with contextlib.suppress(OSError):  # a folder that cannot be read or written is not edited
        newest = max(path.stat().st_mtime for path in _sources_of_loops(source.parent))
        for index in cache.glob(f"{source.stem}.{function.__qualname__}-*.nbi"):
            if index.stat().st_mtime < newest:
                index.unlink()
