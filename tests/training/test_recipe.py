"""Recipes: those that come with the package, and what is refused."""

from __future__ import annotations

import pytest
import yaml

from zifbench.errors import DataError, UnknownNameError
from zifbench.training.recipe import (
    RECIPE_FOLDER,
    load_recipe,
    parse_recipe,
    recipe_names,
)
from zifbench.training.strict import as_yaml


def entries(name="nequip-small"):
    return yaml.safe_load((RECIPE_FOLDER / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_read_and_written_back(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.elements == ("H", "C", "N", "Zn")
    assert parse_recipe(yaml.safe_load(as_yaml(recipe.dump())), where="again") == recipe


def test_the_candidates_are_there():
    wanted = {"nequip", "allegro", "hdnnp"}
    assert {load_recipe(name).model.kind for name in recipe_names()} == wanted
    assert {f"{kind}-small" for kind in wanted} <= set(recipe_names())


def test_overrides_reach_sections_and_are_typed():
    changes = ["stress_weight=100", "model.parity=all", "cutoff_A=5", "schedule.kind=plateau"]
    recipe = load_recipe("nequip-castel2024", changes)
    assert recipe.stress_weight == 100.0
    assert (recipe.model.parity, recipe.cutoff_A) == ("all", 5.0)
    assert recipe.schedule.kind == "plateau"
    assert load_recipe("nequip-castel2024").stress_weight == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["cutof_A=5"], r"unknown key in nequip-small.yaml 'cutof_A'; did you mean cutoff_A"),
        (
            ["model.feature=5"],
            r"key in model of .* 'feature'; did you mean features",
        ),
        (["stop.patience=5"], r"key in stop of .* 'patience'; did you mean patience_epochs"),
        (["schedule.knd=x"], r"key in schedule of .* 'knd'; did you mean kind"),
        (["schema_version=1"], r"unknown key .* 'schema_version'; did you mean schema"),
    ],
)
def test_unknown_keys_name_the_nearest(changes, message):
    with pytest.raises(UnknownNameError, match=message):
        load_recipe("nequip-small", changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["cutoff_A=-1"], r"nequip-small.yaml: cutoff_A: .* greater than 0, got -1"),
        (["cutoff_A=.nan"], r"cutoff_A: "),
        (["learning_rate=.nan"], r"learning_rate: .*, got nan"),
        (["learning_rate=.inf"], r"learning_rate: .* finite number, got inf"),
        (["force_weight=-1"], r"force_weight: .* greater than or equal to 0, got -1"),
        (["force_weight=.inf"], r"force_weight: .* finite number, got inf"),
        (
            ["energy_weight=0", "force_weight=0", "stress_weight=0"],
            r"yaml: .* are all 0, wanted one",
        ),
        (["model.features=0"], r"model.features: .* got 0"),
        (["learning_rate=1e-3x"], r"learning_rate: .* number.*, got '1e-3x'"),
        (["model.kind=mace"], r"model: .*'nequip', 'allegro', 'hdnnp'"),
        (["model.parity=false"], r"model.parity: .*'all', 'natural' or 'ignored', got False"),
        (["epochs=0"], r"epochs: .* got 0"),
        (["elements=[H,Xx]"], r"elements: 'Xx' is no chemical symbol"),
        (["elements=[H,H]"], r"an element is there twice"),
        (["schema=2"], r"schema 2, wanted 1"),
        (["epochs"], r"--set epochs: wanted key=value"),
        (["epochs.x=1"], r"--set epochs.x=1: epochs is a value"),
        (["model={"], r"--set model={: '{' is no value"),
        (["model=5"], r"model: "),
    ],
)
def test_bad_values_are_refused_in_one_sentence(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        load_recipe("nequip-small", changes)
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean nequip-small"):
        load_recipe("nequip-smal")


def test_the_dummy_is_known_and_no_recipe():
    """It is named as those are, and has none."""
    with pytest.raises(UnknownNameError, match=r"known: .*dummy-mean.*nequip-small"):
        load_recipe("no-such-thing-at-all")
    with pytest.raises(UnknownNameError, match="did you mean dummy-mean"):
        load_recipe("dumy-mean")
    with pytest.raises(DataError, match="dummy-mean is fitted without a recipe"):
        load_recipe("dummy-mean")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words", "is no recipe: it holds str"),
        ("a: [", "is no recipe: "),
        ("a: 1", "if it is a recipe, begin it with the line schema: 1"),
        ("schema: 1", "about is missing"),
        ("1: 2", "wanted keys and values"),
    ],
)
def test_what_is_no_recipe(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_recipe(str(tmp_path / "own.yaml"))


def test_own_file_is_named_after_it(tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(entries()))
    assert load_recipe(str(tmp_path / "own.yaml")).name == "own"


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="is no file; give the name of a recipe"):
        load_recipe(str(tmp_path / "none.yaml"))
