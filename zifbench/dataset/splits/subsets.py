"""Training, validation and test frames as a generator gives them, and what all generators share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zifbench.dataset.splits.draws import RandomKeys, smallest
from zifbench.errors import DataError
from zifbench.frames import IntArray

SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a generator gives.

    Attributes:
        subsets: Name -> numbers of frames in the pool.
        notes: Anything that a reader must know, a sentence each.
    """

    subsets: Mapping[str, IntArray]
    notes: tuple[str, ...] = ()


def draw_counts(
    subsets: Mapping[str, IntArray], counts: Mapping[str, int | None], keys: RandomKeys
) -> dict[str, IntArray]:
    """A random part of each subset.

    Args:
        subsets: Name -> numbers of frames.
        counts: Name -> how many frames; None means all, 0 leaves the subset out.
        keys: Where randomness comes from.

    Raises:
        DataError: more frames asked for than there are.
    """
    drawn = {}
    for name, ids in subsets.items():
        count = counts.get(name)
        if count is None:
            drawn[name] = ids
        elif count:
            check_count(name, count, len(ids))
            drawn[name] = ids[smallest(keys.take(len(ids)), count)]
    return {name: ids for name, ids in drawn.items() if len(ids)}


def check_count(subset: str, wanted: int, there: int) -> None:
    """Refuse a negative count, and one that cannot be met.

    Raises:
        DataError: it is.
    """
    if wanted < 0:
        raise DataError(f"{subset}: {wanted} frames asked for, wanted 0 or more")
    if wanted > there:
        raise DataError(
            f"{subset}: {wanted} frames asked for, {there} are left to draw from; ask for fewer"
        )
