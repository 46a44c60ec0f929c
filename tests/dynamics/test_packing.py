"""What goes together."""

from __future__ import annotations

import pytest

from zifbench.dynamics.engines.packing import packed


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([4, 4, 4, 4], [[4, 4], [4, 4]]),
        ([4, 4, 4], [[4, 4], [4]]),
        ([3, 6, 3, 3], [[3], [6], [3, 3]]),
        ([20, 1, 1, 20, 8], [[20], [1, 1], [20], [8]]),  # too large, and alone
    ],
)
def test_neighbours_share_what_room_there_is(sizes, parts) -> None:
    assert packed(sizes, lambda size: size, 8) == parts
