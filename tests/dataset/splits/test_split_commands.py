"""`zifbench data split`, `leakage` and `export` as a user gives them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.dataset.stores import two_liquids
from tests.test_cli import run
from zifbench.dataset.splits.generators import load_split


@pytest.fixture
def store(tmp_path, make_frames):
    return two_liquids(tmp_path / "zif4.zarr", make_frames, 200)


def test_split_leakage_export(store, tmp_path):
    made = run("data", "split", store, "--generator", "flat-histogram", "--train", 40, "--test", 10,
               "--seed", 5, "--out", tmp_path / "split.json")  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "frames from 40 bins" in made.stdout
    split = load_split(tmp_path / "split.json")
    assert split.name == "flat-histogram-5"
    assert split.count("train") + split.count("validation") + split.count("test") == 400

    report = run("data", "leakage", store, tmp_path / "split.json", "--out", tmp_path / "report")
    assert report.returncode == 0, report.stderr
    assert "of the frames are within 2 τ" in report.stdout
    assert (tmp_path / "report" / "report.html").is_file()

    written = run("data", "export", store, "--split", tmp_path / "split.json", "--format", "npz",
                  "--subset", "test", "--out", tmp_path / "npz")  # fmt: skip
    assert written.returncode == 0, written.stderr
    with np.load(tmp_path / "npz" / "test.npz") as data:
        assert len(data["energy"]) == split.count("test")
    again = run("data", "export", store, "--format", "npz", "--out", tmp_path / "npz")
    assert again.returncode == 2
    assert "give --overwrite" in again.stderr


def test_options_of_the_other_generators(store, tmp_path):
    out = ("--out", tmp_path / "split.json", "--overwrite", "--json")
    blocks = run("data", "split", store, "--generator", "blocked", "--block", 20, "--embargo", 4,
                 "--unit", "frames", "--fractions", "0.6,0.2,0.2", *out)  # fmt: skip
    assert blocks.returncode == 0, blocks.stderr
    assert json.loads(blocks.stdout)["parameters"]["fractions"] == [0.6, 0.2, 0.2]
    states = run("data", "split", store, "--generator", "leave-state-out", "--by", "state",
                 "--test-state", "V0", *out)  # fmt: skip
    assert states.returncode == 0, states.stderr
    assert json.loads(states.stdout)["subsets"]["test"] == {"liquid_0": 200}


def test_one_sentence_for_bad_input(store, tmp_path):
    for words, sentence in (
        (("--generator", "blocks"), "unknown generator 'blocks'"),
        (("--generator", "blocked", "--block", 5), "blocked needs embargo"),
        (("--train", 4, "--test", 2, "--embargo", 2), "flat-histogram has no parameter embargo"),
        (("--generator", "blocked", "--fractions", "1"), "wanted three numbers"),
        (("--train", 4000, "--test", 2), "4000 frames asked for, 400 are left"),
    ):
        outcome = run("data", "split", store, *words, "--out", tmp_path / "split.json")
        assert outcome.returncode == 2
        assert sentence in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "split.json").exists()
