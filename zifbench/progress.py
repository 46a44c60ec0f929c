"""What long work calls to show how far it is; the terminal's bar is `console.progress_bar`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, n: int, status: str = "") -> None:
        """Move it by `n`; a status, short, takes the place of the last one, none leaves it."""


class Progress(Protocol):
    """Shows how far a task is: `with progress(title, total, done) as advance: advance(n)`."""

    def __call__(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Start a bar; the context gives the function that moves it.

        Args:
            title: What is being done.
            total: How much there is.
            done: How much of it was done before: it says nothing of the speed.
        """


@contextlib.contextmanager
def no_progress(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Nobody waits."""
    yield _ignore


def _ignore(n: int, status: str = "") -> None:
    pass
