"""What goes together where there is room for so many atoms and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def packed(items: Iterable[T], n_atoms: Callable[[T], int], most_atoms: int) -> list[list[T]]:
    """Neighbouring items in parts of at most so many atoms, of at least one item.

    Args:
        items: In their order.
        n_atoms: Of one of them.
        most_atoms: Of a part.
    """
    parts: list[list[T]] = []
    room = 0
    for item in items:
        own = n_atoms(item)
        if not parts or own > room:
            parts.append([])
            room = most_atoms
        parts[-1].append(item)
        room -= own
    return parts
