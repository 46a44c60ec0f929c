"""Stores by the names that people type, and evaluation on a split of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zifbench.ase_io import read_frames
from zifbench.benchmark.evaluation import Options, evaluate, load_data
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.named import is_store_name, load_named
from zifbench.dataset.splits.generators import make_split, write_split
from zifbench.dataset.store import StoreWriter, open_store
from zifbench.errors import DataError, UnknownNameError
from zifbench.frames import Frames


def own_frames() -> Frames:
    return read_frames(BUNDLED_DATA["zif4-own-train"].path)[0]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    frames = own_frames()
    path = tmp_path / "own.zarr"
    with StoreWriter(path, exact=True) as writer:
        writer.trajectory("first", frames[:4], attributes={"state": "cold"}).append(frames[:4])
        writer.trajectory("second", frames[4:]).append(frames[4:])
    return path


def test_whole_store_or_one_trajectory(store: Path) -> None:
    everything = load_named(str(store))
    assert [len(part) for part in everything] == [4, 3]
    (second,) = load_named(f"{store}/second")
    np.testing.assert_array_equal(second.positions, own_frames().positions[4:])
    assert everything[0].labels["state"] == ("cold",) * 4
    assert everything[0].labels["trajectory"] == ("first",) * 4


def test_subset_of_a_split(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    with open_store(store) as opened:
        split = make_split(opened, "random", seed=1, train=4, test=2)
        write_split(split, path)
    found = load_data([str(store)], split=path, subset="test")
    wanted = [(p.labels["trajectory"][0], int(i)) for p in found for i in p.source_index]
    assert sorted(wanted) == sorted(split.ids("test")) and len(wanted) == 2
    with pytest.raises(DataError, match="alone, as --data"):
        load_data([str(BUNDLED_DATA["zif4-own-test"].path)], split=path)
    with pytest.raises(UnknownNameError, match="tset"):
        load_data([str(store)], split=path, subset="tset")


def test_names_that_are_none(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean second"):
        load_named(f"{store}/secnd")
    assert not is_store_name(str(tmp_path / "frames.extxyz"))
    assert is_store_name(str(store)) and is_store_name(f"{store}/first")


def test_sources_are_named_as_they_were_typed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and leaderboards keep them: no path of a home where nobody gave one."""
    monkeypatch.chdir(store.parent)
    assert [part.source for part in load_named("own.zarr")] == ["own.zarr/first", "own.zarr/second"]
    assert [part.source for part in load_named("own.zarr/second")] == ["own.zarr/second"]
    assert load_named(f"{store}/second")[0].source == f"{store}/second"
    monkeypatch.chdir(store)  # from inside, what was typed names nothing
    assert load_named("second")[0].source == f"{store}/second"
    assert load_named(".")[0].source == f"{store}/first"


def test_evaluate_takes_a_store(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "result"
    options = Options(tasks=("accuracy",), conformance=False, group_key="trajectory")
    result = evaluate("nequip-small", [str(store)], out, options)
    assert result.data.n_frames == 7
    subsets = {name for m in result.measurements() for name in m.subset.values()}
    assert {"first", "second"} <= subsets
