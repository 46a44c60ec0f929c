"""What is refused before a training begins, or when it goes on with something else."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.dataset.stores import ABOUT, series, write_store
from tests.training.stores import TINY, tiny_store
from zifbench.dataset.splits.generators import make_split
from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, ResultError
from zifbench.training.curve import draw_learning_curves, read_curve, write_curve
from zifbench.training.ending import ENDING_FILE, Ending, read_ending, write_ending
from zifbench.training.recipe import load_recipe
from zifbench.training.record import check_frames, make_record, make_request, open_record
from zifbench.training.subsets import check_disjoint


def record_of(folder, make_frames, changes=TINY, **machine):
    store_path, split_path = tiny_store(folder, make_frames)
    split = load_split(split_path)
    machine = {"device": "cpu", "devices": 1, "threads": 1} | machine
    with open_store(store_path) as store:
        recipe = load_recipe("nequip-small", changes)
        request = make_request(recipe, store, split, split_path, **machine)
    return make_record(request, split, dict(check_disjoint(str(store_path), split)))


def test_the_request_of_the_dummy(tmp_path, make_frames):
    """It has no entries, and its digest is that of none."""
    store_path, split_path = tiny_store(tmp_path, make_frames)
    with open_store(store_path) as store:
        request = make_request(None, store, load_split(split_path), split_path)
    assert (request.recipe, request.device, request.devices) == ("dummy-mean", "cpu", 1)
    assert request.threads is None
    assert request.recipe_digest == hashlib.sha256(b"{}").hexdigest()


def checked(path, recipe, **counts):
    with open_store(path) as store:
        split = make_split(store, "random", **({"train": 3, "test": 2, "validation": 1} | counts))
        return check_frames(recipe, store, split)


def test_a_record_goes_on_with_the_same_request_only(tmp_path, make_frames):
    out = tmp_path / "out"
    record = record_of(tmp_path, make_frames)
    assert record.read["train"].n_frames == 6
    assert record.n_shared_with_test == 0
    assert open_record(out, record) == record
    assert open_record(out, record) == record
    for other, name in (
        (record_of(tmp_path, make_frames, ("epochs=3", *TINY)), "recipe_digest"),
        (record_of(tmp_path, make_frames, threads=2), "threads"),
    ):
        with pytest.raises(ResultError, match=f"was begun with {name} = .*, now it is"):
            open_record(out, other)
    with pytest.raises(ResultError, match="with threads = 1, now it is not given; go on"):
        open_record(out, record_of(tmp_path, make_frames, threads=None))


def test_a_directory_of_something_else_is_left_alone(tmp_path, make_frames):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ResultError, match="holds other files than a training"):
        open_record(tmp_path / "out", record_of(tmp_path, make_frames))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_an_element_that_the_recipe_lacks_is_named(tmp_path, make_frames):
    path = write_store(tmp_path / "s.zarr", {"a": (series(make_frames, 6, symbols="SiO"), ABOUT)})
    message = r"a holds O, Si, and recipe nequip-small knows H, C, N, Zn; .*=\[H,C,N,Zn,O,Si\]"
    with pytest.raises(DataError, match=message):
        checked(path, load_recipe("nequip-small"))
    assert checked(path, load_recipe("nequip-small", ["elements=[O,Si]"]))


def test_missing_labels_are_named(tmp_path, make_frames):
    import dataclasses

    frames = series(make_frames, 6)
    without = {
        "stress": dataclasses.replace(frames, stress=None),
        "forces": dataclasses.replace(frames, forces=None),
    }
    paths = {k: write_store(tmp_path / k, {"a": (f, ABOUT)}) for k, f in without.items()}
    with pytest.raises(DataError, match=r"weighs stresses \(100\), and .*a has none"):
        checked(paths["stress"], load_recipe("nequip-small"))
    assert not checked(paths["stress"], load_recipe("nequip-small", ["stress_weight=0"]))
    with pytest.raises(DataError, match="a has no forces"):
        checked(paths["forces"], load_recipe("nequip-small"))


def test_a_split_without_validation_frames_is_refused(tmp_path, make_frames):
    path = write_store(tmp_path / "s.zarr", {"a": (series(make_frames, 5), ABOUT)})
    with pytest.raises(DataError, match="has no validation frames, and training needs"):
        checked(path, load_recipe("nequip-small"), train=3, test=2, validation=None)


def test_curves_are_read_as_they_were_written(tmp_path):
    rows = [
        {
            "epoch": k,
            "step": 6 * k,
            "seconds": 0.1,
            "learning_rate": 1e-3,
            "train_loss": 0.1 + 1 / 3**k,
            "validation_loss": 1 / 7**k,
            "validation_forces_rmse": 2.0**-k,
        }
        for k in range(5)
    ]
    write_curve(tmp_path / "curve.csv", rows)
    assert read_curve(tmp_path / "curve.csv") == rows
    assert read_curve(tmp_path / "none.csv") == []
    draw_learning_curves({"seed 0": rows, "seed 1": rows[:1]}, tmp_path / "curves.png", "two")
    assert (tmp_path / "curves.png").read_bytes()[1:4] == b"PNG"
    (tmp_path / "curve.csv").write_text("epoch,step\n0,half\n")
    with pytest.raises(ResultError, match=r"curve.csv is damaged"):
        read_curve(tmp_path / "curve.csv")


def test_endings(tmp_path):
    assert read_ending(tmp_path) is None
    ending = Ending("diverged", "the loss is nan", 3)
    write_ending(tmp_path, ending)
    assert read_ending(tmp_path) == ending
    (tmp_path / ENDING_FILE).write_text(json.dumps({"kind": "odd"}))
    with pytest.raises(ResultError, match=r"ending.json is damaged .* delete it"):
        read_ending(tmp_path)
