"""Splits of a store and their manifests."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.dataset.stores import ABOUT, series, two_liquids, write_store
from zifbench.dataset.splits.generators import GENERATORS, load_split, make_split, write_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, UnknownNameError

PARAMETERS = {
    "random": {"train": 20, "test": 10},
    "flat-histogram": {"train": 20, "test": 10},
    "blocked": {"block": 5.0, "embargo": 1.0},
    "leave-state-out": {"by": "state", "test_states": ("V0",)},
    "by-label": {"label": "part"},
}


@pytest.fixture
def store(tmp_path, make_frames):
    liquids = series(make_frames, 60, seed=1), series(make_frames, 60, seed=2)
    labels = {"part": ("train",) * 30 + ("test",) * 20 + ("",) * 10}
    path = write_store(
        tmp_path / "zif4.zarr",
        {
            "b": (_labelled(liquids[0], labels), ABOUT | {"state": "V0"}),
            "a": (_labelled(liquids[1], labels), ABOUT | {"state": "-2 %"}),
        },
    )
    with open_store(path) as store:
        yield store


def _labelled(frames, labels):
    return dataclasses.replace(frames, labels=labels)


def test_every_generator_is_tried_here():
    assert set(PARAMETERS) == set(GENERATORS)


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_manifest_is_read_back_and_the_same_for_the_same_seed(store, tmp_path, generator):
    made = [make_split(store, generator, seed=s, **PARAMETERS[generator]) for s in (3, 3, 4)]
    for number, split in enumerate(made):
        write_split(split, tmp_path / f"{number}.json")
    texts = [(tmp_path / f"{number}.json").read_bytes() for number in range(3)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    read = load_split(tmp_path / "0.json")
    read.check(store)
    assert (read.name, read.generator, read.seed) == (f"{generator}-3", generator, 3)
    assert list(read.subsets) == list(made[0].subsets)
    for subset in read.subsets:
        assert read.ids(subset) == made[0].ids(subset)
        assert read.count(subset) == len(read.ids(subset)) > 0
    content = json.loads(texts[0])
    assert content["schema"] == 1
    assert content["kind"] == "zifbench split"
    assert content["store"] == {"name": "zif4.zarr", "version": store.version, "n_frames": 120}
    assert "PCG64" in content["provenance"]["random"]


def test_trajectories_go_by_name_not_by_the_order_in_which_they_were_written(store):
    split = make_split(store, "random", train=50, test=50, name="mine")
    assert split.name == "mine"
    assert list(split.rows("train")) == ["a", "b"]


def test_some_trajectories_only(store):
    split = make_split(store, "random", train=5, test=5, trajectories=["a*"])
    assert {name for part in split.subsets.values() for name in part} == {"a"}
    assert split.parameters["trajectories"] == ["a*"]
    with pytest.raises(UnknownNameError, match="unknown trajectory 'c'"):
        make_split(store, "random", train=5, test=5, trajectories=["c"])


def test_frames_without_energy_are_left_out_and_stated(tmp_path, make_frames):
    frames = series(make_frames, 20)
    without = dataclasses.replace(frames, energy=None)
    path = write_store(tmp_path / "s.zarr", {"a": (frames, ABOUT), "b": (without, ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "random", train=10, test=8)
        assert split.notes[0] == "20 frames without an energy are in no subset"
        assert all(name == "a" for name, _ in split.ids("train") + split.ids("test"))
        with pytest.raises(DataError, match="no frame has an energy"):
            make_split(store, "random", train=1, test=1, trajectories=["b"])


def test_parameters_that_do_not_fit(store):
    with pytest.raises(UnknownNameError, match="unknown generator 'flat-hist'; did you mean"):
        make_split(store, "flat-hist", train=1, test=1)
    with pytest.raises(DataError, match="random has no parameter embargo; it has train, test"):
        make_split(store, "random", train=1, test=1, embargo=3.0)
    with pytest.raises(DataError, match="flat-histogram needs test"):
        make_split(store, "flat-histogram", train=1)
    with pytest.raises(DataError, match="no frame for test"):
        make_split(store, "random", train=1, test=0)


def test_a_manifest_of_another_version_is_refused(store, tmp_path, make_frames):
    split = make_split(store, "random", train=5, test=5)
    message = r"belongs to version .* of zif4.zarr \(120 frames\)"
    other = two_liquids(tmp_path / "other.zarr", make_frames)
    with open_store(other) as store_2, pytest.raises(DataError, match=message):
        split.check(store_2)


EDITS = {
    "overlap": (lambda c: c["subsets"]["test"].update(c["subsets"]["train"]), "occurs 2 times"),
    "twice": (lambda c: c["subsets"]["train"]["a"].append(c["subsets"]["train"]["a"][0]),
              "occurs 2 times"),
    "empty": (lambda c: c["subsets"].update(test={}), "no frame for test"),
    "hollow": (lambda c: c["subsets"]["train"].update(a=[]), "train is empty"),
    "schema": (lambda c: c.update(schema=2), "schema 2, wanted 1"),
    "kind": (lambda c: c.update(kind="else"), "is no split"),
    "negative": (lambda c: c["subsets"]["train"]["a"].insert(0, -1),
                 r"split\.json: subsets\.train\.a\.0 is -1, wanted a whole number from 0 to"),
    "huge": (lambda c: c["subsets"]["train"]["a"].insert(0, 2**63), "a.0 is 9223372036854775808, "),
    "word": (lambda c: c.update(seed="seven"), 'seed is "seven", wanted a whole number'),
    "yes": (lambda c: c.update(seed=True), "seed is true, wanted a whole number"),
    "text": (lambda c: c.update(name=7), "name is 7, wanted a text"),
    "frames": (lambda c: c["subsets"]["train"].update(a="all"), 'train.a is "all", wanted a list'),
    "subset": (lambda c: c["subsets"].update(train=[1] * 99), "1, …, wanted an object"),
    "store": (lambda c: c.update(store="s.zarr"), 'store is "s.zarr", wanted an object in braces'),
    "missing": (lambda c: c.pop("store"), "split.json: store is missing; correct it, or make"),
    "unknown": (lambda c: c.update(more=1), "split.json: more is no key of a split; correct it"),
    "trailing": (lambda c: c.update(schema_=1), "schema_ is no key of a split"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_edited_manifests_are_refused(store, tmp_path, edit):
    write_split(make_split(store, "random", train=40, test=40), tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    change, message = EDITS[edit]
    change(content)
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as refused:
        load_split(tmp_path / "split.json")
    assert "\n" not in str(refused.value)


def test_a_frame_that_the_store_does_not_have(store, tmp_path):
    write_split(make_split(store, "random", train=40, test=40), tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    content["subsets"]["test"]["a"].append(60)
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"test names frame 60 of a, of which .* has 60 frames"):
        load_split(tmp_path / "split.json").check(store)


def test_files_that_are_no_manifest(tmp_path):
    with pytest.raises(DataError, match="is no file"):
        load_split(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"schema": 1,')
    with pytest.raises(DataError, match="no JSON"):
        load_split(tmp_path / "cut.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="no JSON"):
        load_split(tmp_path / "deep.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="is no split"):
        load_split(tmp_path / "list.json")


def test_an_existing_manifest_stays_unless_said(store, tmp_path):
    split = make_split(store, "random", train=5, test=5)
    write_split(split, tmp_path / "split.json")
    with pytest.raises(DataError, match="exists; give --overwrite"):
        write_split(split, tmp_path / "split.json")
    write_split(split, tmp_path / "split.json", overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".json"] == ["split.json"]


def test_an_unknown_subset(store):
    split = make_split(store, "random", train=5, test=5, validation=0)
    with pytest.raises(UnknownNameError, match="unknown subset 'validation'"):
        split.ids("validation")


@pytest.mark.parametrize("generator", ["random", "flat-histogram"])
def test_frames_of_another_split_are_taken_and_never_drawn(store, generator):
    first = make_split(store, "random", train=30, test=20, validation=15, seed=1)
    both = {"test": first, "validation": first}
    second = make_split(store, generator, train=80, seed=9, taken_from=both)
    for subset in ("test", "validation"):
        assert second.ids(subset) == first.ids(subset)
    held = {*first.ids("test"), *first.ids("validation")}
    assert not held & set(second.ids("train"))
    if generator == "random":  # all that is left can be asked for, and no more
        assert second.count("train") == 80
        left = store.n_frames - len(held)
        everything = make_split(store, generator, train=left, taken_from=both)
        assert everything.count("train") == left
        with pytest.raises(DataError, match=f"{left} are left"):
            make_split(store, generator, train=left + 1, taken_from=both)
    assert second.parameters["test_of"] == first.name
    assert not [note for note in second.notes if "without an energy" in note]
    alone = make_split(store, generator, train=80, seed=9, taken_from={"test": first})
    assert alone.ids("test") == first.ids("test")
    drawn = {*alone.ids("train"), *alone.ids("validation")}
    assert len(drawn) == store.n_frames - first.count("test")


def test_frames_of_another_split_that_cannot_be_taken(store, tmp_path, make_frames):
    first = make_split(store, "random", train=30, test=20)
    with pytest.raises(DataError, match="contradict"):
        make_split(store, "random", train=3, test=2, taken_from={"test": first})
    with pytest.raises(DataError, match="goes with random and flat-histogram"):
        make_split(store, "blocked", block=5.0, embargo=1.0, taken_from={"test": first})
    other = write_store(tmp_path / "other.zarr", {"a": (series(make_frames, 60, seed=8), ABOUT)})
    with open_store(other) as opened, pytest.raises(DataError, match="belongs to version"):
        make_split(opened, "random", train=3, taken_from={"test": first})
