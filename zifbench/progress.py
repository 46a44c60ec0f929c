"""What long work calls to show how far it is; the terminal's bar is `console.progress_bar`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows how far a task is: `with progress(title, total, done) as advance: advance(n)`."""

    def __call__(
        self, title: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Start a bar; the context gives the function that moves it."""


@contextlib.contextmanager
def no_progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Nobody waits."""
    yield lambda n: None
