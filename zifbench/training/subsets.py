"""Which frames a training may read, and the proof that no test frame is among them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.torch_data import StoreDataset
from zifbench.errors import DataError

READ_SUBSETS = ("train", "validation")
TEST_SUBSET = "test"
_AT_ONCE = 256  # frames


@dataclass(frozen=True)
class FrameId:
    """Where a frame lies: trajectory and number."""

    trajectory: str
    number: int


def frame_digests(store: str, split: Split, subset: str) -> dict[str, FrameId]:
    """sha256 of what a model sees of each frame (elements, positions, cell) -> where it lies.

    The content is what is compared: two frames of other names that are the same are the same.
    """
    data = StoreDataset(store, split, subset, fields=("positions", "cell"))
    places = split.ids(subset)
    found: dict[str, FrameId] = {}
    for start in range(0, len(data), _AT_ONCE):
        chunk = range(start, min(start + _AT_ONCE, len(data)))
        for k, sample in zip(chunk, data.__getitems__(chunk), strict=True):
            digest = hashlib.sha256()
            for name in ("numbers", "positions", "cell"):
                digest.update(np.ascontiguousarray(sample[name]).tobytes())
            found.setdefault(digest.hexdigest(), FrameId(*places[k]))
    return found


def check_disjoint(store: str, split: Split) -> Mapping[str, str]:
    """Refuse a split of which a test frame is among the frames that are trained on.

    Returns:
        Subset -> one digest of the digests of its frames, in ascending order.

    Raises:
        DataError: the same frame on both sides.
    """
    digests = {name: frame_digests(store, split, name) for name in (*READ_SUBSETS, TEST_SUBSET)}
    for name in READ_SUBSETS:
        shared = sorted(digests[name].keys() & digests[TEST_SUBSET].keys())
        if shared:
            seen, hidden = digests[name][shared[0]], digests[TEST_SUBSET][shared[0]]
            raise DataError(
                f"split {split.name}: {len(shared)} test frames are {name} frames too, the first "
                f"is frame {hidden.number} of {hidden.trajectory}, equal to frame {seen.number} of "
                f"{seen.trajectory}; split without duplicates"
            )
    return {name: _digest_of(found) for name, found in digests.items()}


def _digest_of(digests: Mapping[str, FrameId]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
