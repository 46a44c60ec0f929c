"""Directories that are no results: what they are, and what to give in their place."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.leaderboard.test_leaderboard import make_result
from zifbench.benchmark.result import save_result
from zifbench.errors import ResultError
from zifbench.leaderboard.entries import add_entry


@pytest.fixture
def refused(tmp_path):
    """What `leaderboard add` says of a directory."""

    def add(directory):
        with pytest.raises(ResultError) as caught:
            add_entry([directory], tmp_path / "board")
        assert not (tmp_path / "board").exists()
        return str(caught.value)

    return add


@pytest.fixture
def training(tmp_path):
    """A training of two seeds, both evaluated."""
    for seed in (1, 2):
        folder = tmp_path / "training" / f"seed-{seed}" / "evaluation"
        folder.mkdir(parents=True)
        save_result(make_result(), folder)
    (tmp_path / "training" / "training.json").write_text('{"request": {}}')
    return tmp_path / "training"


def unfinished(folder):
    """What an evaluation that was stopped leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "run.json").write_text(json.dumps({"model": "m", "model_sha256": "0"}))
    return folder


def test_an_unfinished_evaluation(tmp_path, refused):
    said = refused(unfinished(tmp_path / "run"))
    assert said.endswith("run; the evaluation is not finished, continue it with --resume")


def test_an_unfinished_evaluation_of_a_training(training, tmp_path, refused):
    for folder in (training / "seed-1" / "evaluation", training / "evaluation"):
        assert "continue it with the same `zifbench train` command" in refused(unfinished(folder))
    shutil.rmtree(training / "seed-1" / "evaluation")
    (training / "seed-1" / "evaluation").mkdir()
    assert "is a part of a training, and no" in refused(training / "seed-1")


def test_an_empty_directory(tmp_path, refused):
    (tmp_path / "none").mkdir()
    said = refused(tmp_path / "none")
    assert "none is an empty directory, and no result of an evaluation; give the directory" in said
    (tmp_path / "none" / "notes.txt").touch()
    assert "none is a directory of other files, and no result" in refused(tmp_path / "none")


def test_a_training_says_where_its_results_are(training, refused):
    first = training / "seed-1" / "evaluation"
    said = refused(training)
    assert f"{training} is a training, and no result of an evaluation; give one of the 2" in said
    assert said.endswith(f"the first is {first}")
    assert f"seed-1 is a part of a training, and no result of an evaluation; give {first}" in (
        refused(training / "seed-1")
    )
    shutil.rmtree(training / "seed-2")
    assert refused(training).endswith(f"give {first}")
    shutil.rmtree(training / "seed-1")
    assert "none of its models has been tested yet" in refused(training)


def test_a_sweep(training, tmp_path, refused):
    cell = tmp_path / "sweep" / "cells" / "tiny" / "split" / "1"
    cell.parent.mkdir(parents=True)
    shutil.rmtree(training / "seed-2")
    training.rename(cell)
    said = refused(tmp_path / "sweep")
    assert f"is a sweep, and no result of an evaluation; give {cell}/seed-1/evaluation" in said


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        ("run.json", '{"schema": 1, "run": {}, "outcomes": []}', "a run of molecular dynamics"),
        ("run.json", "{", "a directory of other files"),
        ("run.json", "7", "a directory of other files"),
        ("analysis.json", "{}", "an analysis of frames"),
        ("deck.json", "{}", "a LAMMPS deck"),
    ],
)
def test_what_other_commands_write(tmp_path, refused, file, text, kind):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file).write_text(text)
    assert f"other is {kind}, and no result of an evaluation; give the" in refused(
        tmp_path / "other"
    )
