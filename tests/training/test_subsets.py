"""No test frame is trained on: found by content, whatever the frames are called."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.dataset.stores import ABOUT, series, write_store
from tests.training.stores import tiny_store
from zifbench.dataset.splits.generators import make_split
from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError
from zifbench.training.subsets import check_disjoint, frame_digests


def test_every_frame_has_a_digest_of_its_own(tmp_path, make_frames):
    store, split = tiny_store(tmp_path, make_frames)
    split = load_split(split)
    found = {name: frame_digests(str(store), split, name) for name in split.subsets}
    assert {name: len(d) for name, d in found.items()} == {"train": 6, "validation": 3, "test": 4}
    for name, digests in found.items():
        assert [(i.trajectory, i.number) for i in digests.values()] == split.ids(name)
    summary = check_disjoint(str(store), split)
    assert summary.keys() == {"train", "validation", "test"}
    assert len(set(summary.values())) == 3
    assert check_disjoint(str(store), split) == summary


def test_cell_and_elements_make_another_frame(tmp_path, make_frames):
    frames = series(make_frames, 6, seed=3)[[0, 0, 0, 1, 2, 3]]
    cells = frames.cell.copy()
    cells[1, 0, 0] += 0.01
    frames = dataclasses.replace(frames, cell=cells, step=None, time_fs=None)
    other = dataclasses.replace(frames[[0]], numbers=frames.numbers[::-1].copy())
    path = write_store(tmp_path / "s.zarr", {"a": (frames, ABOUT), "b": (other, ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "random", train=4, test=2, validation=1)
        subsets = {"train": {"a": np.arange(5), "b": np.array([0])}, "test": {"a": np.array([5])}}
        split = dataclasses.replace(split, subsets=subsets)
    found = frame_digests(str(path), split, "train")
    # Frames 0 and 2 are one; 1 has another cell, that of b has other elements in its places.
    assert [(i.trajectory, i.number) for i in found.values()] == [
        *(("a", k) for k in (0, 1, 3, 4)),
        ("b", 0),
    ]


@pytest.mark.parametrize(("copied", "subset"), [(0, "train"), (8, "validation")])
def test_a_copy_of_a_test_frame_under_another_name_is_found(tmp_path, make_frames, copied, subset):
    frames = series(make_frames, 13, seed=3)
    twin = dataclasses.replace(
        frames[[12]],
        energy=frames.energy[[12]] + 1.0,  # another label does not make it another frame
    )
    path = write_store(
        tmp_path / "s.zarr", {"a": (frames, ABOUT), "b": (twin, ABOUT | {"state": "copy"})}
    )
    with open_store(path) as store:
        split = make_split(store, "random", train=6, test=4, validation=3)
    rest = np.setdiff1d(np.arange(12), copied)
    parts = {"train": rest[:6], "validation": rest[6:8], "test": rest[8:]}
    subsets = {name: {"a": np.sort(rows)} for name, rows in parts.items()}
    subsets["test"] = {"a": np.array([12])}
    subsets[subset] = subsets[subset] | {"b": np.array([0])}
    split = dataclasses.replace(split, subsets=subsets)
    message = f"1 test frames are {subset} frames too, .* frame 12 of a, equal to frame 0 of b"
    with pytest.raises(DataError, match=message):
        check_disjoint(str(path), split)


def test_the_digest_of_a_subset_does_not_depend_on_the_order_of_its_frames():
    from zifbench.training.subsets import FrameId, _digest_of

    one, other = ("a" * 64, FrameId("t", 0)), ("b" * 64, FrameId("t", 1))
    assert _digest_of(dict([one, other])) == _digest_of(dict([other, one]))
    assert _digest_of(dict([one])) != _digest_of(dict([one, other]))
