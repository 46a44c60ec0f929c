"""Models that were trained here bear the name of their recipe."""

from __future__ import annotations

import json
import pickle

import pytest
from ase.calculators.lj import LennardJones

from tests.leaderboard.test_leaderboard import make_result
from zifbench.benchmark.evaluation import Options, evaluate
from zifbench.benchmark.result import save_result
from zifbench.errors import ResultError
from zifbench.leaderboard.entries import add_entry, load_board
from zifbench.training.origin import recipe_of, training_of

REQUEST = {"recipe": "my-recipe", "recipe_digest": "r", "split_digest": "s", "store_version": "v"}
OPTIONS = Options(tasks=("accuracy",), conformance=False, trust=True, device="cpu")


@pytest.fixture
def training(tmp_path):
    """What `train` leaves of one seed; the file is recognised by its content."""
    folder = tmp_path / "training" / "seed-1"
    folder.mkdir(parents=True)
    (folder.parent / "training.json").write_text(json.dumps({"request": REQUEST}))
    (folder / "model.nequip.zip").write_bytes(pickle.dumps(LennardJones()))
    return folder.parent


@pytest.mark.parametrize("file", ["model.nequip.zip", "model.nequip.pt2"])
def test_the_record_names_the_recipe(training, monkeypatch, file):
    assert recipe_of(str(training / "seed-1" / file)) == "my-recipe"
    monkeypatch.chdir(training / "seed-1")
    assert recipe_of(file) == "my-recipe"


@pytest.mark.parametrize("text", ["{", "[]", '{"request": {}}', '{"request": {"recipe": 7}}'])
def test_what_is_not_ours_gives_no_name(training, text):
    assert recipe_of(str(training / "seed-1" / "mine.nequip.zip")) is None
    (training / "training.json").write_text(text)
    assert recipe_of(str(training / "seed-1" / "model.nequip.zip")) is None
    (training / "training.json").unlink()
    assert recipe_of(str(training / "seed-1" / "model.nequip.zip")) is None
    assert training_of(training / "seed-1" / "evaluation") == {}


def evaluated(training, make_frames, write_extxyz, **options):
    frames, model = write_extxyz(make_frames(2)), str(training / "seed-1" / "model.nequip.zip")
    chosen = Options(**{**vars(OPTIONS), "name": recipe_of(model), **options})
    return evaluate(
        model,
        [str(frames)],
        training / "seed-1" / "evaluation",
        chosen,
    )


def test_results_and_boards_say_the_recipe(training, tmp_path, make_frames, write_extxyz):
    result = evaluated(training, make_frames, write_extxyz)
    assert (result.model.name, result.model.file) == ("my-recipe", "model.nequip.zip")
    added = add_entry([training / "seed-1" / "evaluation"], tmp_path / "board")
    assert added.name == "my-recipe.json"


def test_an_evaluation_goes_on_under_the_name_it_began_with(training, make_frames, write_extxyz):
    assert evaluated(training, make_frames, write_extxyz, name=None).model.name == "model"
    (training / "seed-1" / "evaluation" / "result.json").unlink()
    again = evaluated(training, make_frames, write_extxyz, resume=True)
    assert again.model.name == "model"
    anew = evaluated(training, make_frames, write_extxyz, overwrite=True)
    assert anew.model.name == "my-recipe"


def test_a_result_of_another_model_keeps_its_name(training, tmp_path):
    """Whatever lies around it."""
    path = training / "seed-1" / "other"
    path.mkdir()
    save_result(make_result("other"), path)
    assert add_entry([path], tmp_path / "board").name == "other.json"


def test_several_seeds_bear_the_name_of_their_recipe(training, tmp_path):
    paths = [training / f"seed-{k}" / "evaluation" for k in (1, 2)]
    for k, path in enumerate(paths):
        path.mkdir(parents=True)
        result = make_result("my-recipe", force=10.0 + k)
        card = result.model.model_copy(update={"sha256": f"{k}" * 64})
        save_result(result.model_copy(update={"model": card}), path)
    add_entry(paths, tmp_path / "board")
    (entry,) = load_board(tmp_path / "board")
    assert (entry.name, len(entry.seeds)) == ("my-recipe", 2)
    (training / "training.json").unlink()  # equal names of files prove nothing
    with pytest.raises(ResultError, match="give its --name"):
        add_entry(paths, tmp_path / "board")
