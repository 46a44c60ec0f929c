"""Frames straight from the store, alone and in a torch loader with workers."""

from __future__ import annotations

import dataclasses
import os
import pickle

import numpy as np
import pytest

from tests.dataset.stores import ABOUT, series, two_liquids, write_store
from zifbench.dataset import torch_data
from zifbench.dataset.splits.generators import make_split, write_split
from zifbench.dataset.store import open_store
from zifbench.dataset.torch_data import StoreDataset, join_atoms
from zifbench.errors import DataError, UnknownNameError


@pytest.fixture
def made(tmp_path, make_frames):
    """Store, split, and the path of its manifest."""
    path = two_liquids(tmp_path / "zif4.zarr", make_frames, 30)
    with open_store(path) as store:
        split = make_split(store, "random", train=20, test=10, validation=5)
        write_split(split, tmp_path / "split.json")
        yield path, split, store


def check(sample, frames):
    assert np.array_equal(sample["numbers"], frames.numbers)
    assert np.array_equal(sample["pbc"], frames.pbc)
    for key in ("positions", "cell", "forces", "stress"):
        assert np.array_equal(sample[key], getattr(frames, key)[0]), key
    assert sample["energy"] == frames.energy[0]
    assert sample["energy"].dtype == np.float64


def test_samples_are_the_frames_of_the_split(made, tmp_path):
    path, split, store = made
    data = StoreDataset(path, tmp_path / "split.json", "test")
    assert len(data) == 10
    for sample, (name, k) in zip(data, split.ids("test"), strict=True):
        check(sample, store.trajectories[name].read(k))
    assert np.array_equal(data[-1]["positions"], data[9]["positions"])


def test_a_batch_keeps_the_order_asked_for(made):
    path, split, store = made
    data = StoreDataset(path, split, "train")
    asked = [19, 0, 7, 0, 12, 19, 3]
    for sample, k in zip(data.__getitems__(asked), asked, strict=True):
        name, frame = split.ids("train")[k]
        check(sample, store.trajectories[name].read(frame))
    assert data.n_atoms(asked).tolist() == [4] * 7


def test_a_batch_reads_each_trajectory_once(made, monkeypatch):
    from zifbench.dataset.store import Trajectory

    path, split, _ = made
    data = StoreDataset(path, split, "train")
    reads = []
    real = Trajectory.read
    monkeypatch.setattr(
        Trajectory, "read", lambda self, *a, **k: reads.append(self.name) or real(self, *a, **k)
    )
    data.__getitems__(list(range(20)))
    assert sorted(reads) == ["liquid_0", "liquid_m2"]


def test_a_sample_may_be_changed_without_harm(made):
    path, split, _ = made
    data = StoreDataset(path, split, "train")
    one, same = data.__getitems__([0, 0])
    one["positions"] += 1.0
    one["numbers"] += 1
    assert not np.array_equal(one["positions"], same["positions"])
    assert np.array_equal(same["numbers"], data[0]["numbers"])


def test_precision_and_fields(made):
    path, split, _ = made
    data = StoreDataset(path, split, "train", fields=("positions", "energy"), dtype="float32")
    sample = data[0]
    assert set(sample) == {"numbers", "pbc", "positions", "energy"}
    assert sample["positions"].dtype == np.float32
    assert sample["energy"].dtype == np.float64


def test_what_is_pickled_is_small_and_holds_no_open_store(made):
    path, split, _ = made
    data = StoreDataset(path, split, "train")
    before = data[3]
    text = pickle.dumps(data)
    assert len(text) < 4000
    check_same(pickle.loads(text)[3], before)


def check_same(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_forked_process_opens_the_store_for_itself(made, monkeypatch):
    path, split, _ = made
    data = StoreDataset(path, split, "train")
    opened = []
    real = torch_data.open_store
    monkeypatch.setattr(torch_data, "open_store", lambda place: opened.append(place) or real(place))
    data[0], data[1]
    assert len(opened) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)
    data[0], data[1]
    assert len(opened) == 2


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_with_workers(made, context):
    torch = pytest.importorskip("torch")
    path, split, _ = made
    data = StoreDataset(path, split, "train")
    alone = data.__getitems__(list(range(20)))  # so that a fork inherits an open store
    loader = torch.utils.data.DataLoader(
        data, batch_size=6, num_workers=2, multiprocessing_context=context
    )
    for _ in range(2):
        batches = list(loader)
        assert [len(batch["energy"]) for batch in batches] == [6, 6, 6, 2]
        for key in alone[0]:
            joined = torch.cat([batch[key] for batch in batches])
            assert np.array_equal(joined.numpy(), np.stack([sample[key] for sample in alone]))
    assert batches[0]["positions"].dtype == torch.float64


def test_atoms_of_several_sizes_in_one_batch(tmp_path, make_frames):
    frames = {"a": (series(make_frames, 10), ABOUT),
              "b": (series(make_frames, 10, symbols="CH4"), ABOUT)}  # fmt: skip
    path = write_store(tmp_path / "s.zarr", frames)
    with open_store(path) as store:
        split = make_split(store, "random", train=15, test=5)
    data = StoreDataset(path, split, "train")
    sizes = data.n_atoms(range(15))
    assert set(sizes) == {4, 5}
    samples = data.__getitems__(range(15))
    batch = join_atoms(samples)
    assert batch["positions"].shape == (sizes.sum(), 3)
    assert batch["cell"].shape == (15, 3, 3)
    assert batch["energy"].shape == (15,)
    assert np.bincount(batch["batch"]).tolist() == sizes.tolist()
    for k in range(15):
        assert np.array_equal(batch["forces"][batch["batch"] == k], samples[k]["forces"])


def test_refusals(made, tmp_path, make_frames):
    path, split, _ = made
    with pytest.raises(UnknownNameError, match="unknown subset 'dev'"):
        StoreDataset(path, split, "dev")
    other = two_liquids(tmp_path / "other.zarr", make_frames, 31)
    with pytest.raises(DataError, match="belongs to version"):
        StoreDataset(other, split)
    with pytest.raises(IndexError):
        StoreDataset(path, split)[20]
    full = series(make_frames, 10)
    bare = dataclasses.replace(full, forces=None)
    mixed = write_store(tmp_path / "mixed.zarr", {"a": (full, ABOUT), "b": (bare, ABOUT)})
    with open_store(mixed) as store:
        half = make_split(store, "random", train=10, test=10)
    with pytest.raises(DataError, match="trajectory b has no forces and a has"):
        StoreDataset(mixed, half)
    assert "forces" not in StoreDataset(mixed, half, fields=("positions", "energy"))[0]
