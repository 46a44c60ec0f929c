"""The one way in which this room compiles its loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def jit(function: Kernel) -> Kernel:
    """Compile a loop with numba on first use: cached on disk, free of the interpreter lock.

    A typed stand-in for `numba.njit`, which carries no types that mypy could check.

    numba's cache watches the file of the outer function only: after editing a loop that loops of
    other files call (`pairs_kernel`, `ring_kernel`, …), delete `__pycache__` of this folder.
    """
    compiled: Kernel = numba.njit(cache=True, nogil=True)(function)
    return compiled
