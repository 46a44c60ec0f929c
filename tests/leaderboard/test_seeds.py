"""Entries of several seeds: mean, spread, interval, and what does not belong together."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest

from tests.leaderboard.test_leaderboard import make_result
from zifbench.benchmark.result import save_result
from zifbench.errors import ResultError
from zifbench.leaderboard.entries import add_entry, load_board, make_entry
from zifbench.leaderboard.seeds import measurements_of_seeds
from zifbench.leaderboard.tables import cell, columns_of, markdown_table


def seeds_of(*forces, **changes):
    return [
        _with_model(make_result(f"seed-{k}", force=force, **changes), sha256=f"{k}" * 64)
        for k, force in enumerate(forces)
    ]


def saved(tmp_path, *results):
    """The directories of some results."""
    paths = [tmp_path / str(k) for k in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        path.mkdir()
        save_result(result, path)
    return paths


def _with_model(result, **update):
    return result.model_copy(update={"model": result.model.model_copy(update=update)})


def test_mean_spread_and_interval_are_what_they_are_on_paper():
    entry = make_entry(seeds_of(10.0, 14.0, 18.0), "recipe")
    force = entry.find("force_mae")
    assert force.value == 14.0
    assert force.seed_sd == 4.0
    frames = math.sqrt((1.0**2 + 1.4**2 + 1.8**2) / 3)
    seeds = 4.302652729911275 * 4.0 / math.sqrt(3)  # Student's t, two degrees of freedom
    half = math.hypot(frames, seeds)
    assert force.interval_95 == pytest.approx((14.0 - half, 14.0 + half))
    assert entry.name == entry.model.name == "recipe"
    assert len(entry.seeds) == 3


def test_the_interval_holds_the_worth_of_the_recipe():
    """Models scatter around it, and all share the sampling error of the same test frames."""
    rng = np.random.default_rng(0)
    worth, seed_sd, frame_sd, inside, trials = 100.0, 4.0, 3.0, 0, 400
    for _ in range(trials):
        shared = rng.normal(0.0, frame_sd)
        results = seeds_of(*(worth + shared + rng.normal(0.0, seed_sd, 3)))
        for k, result in enumerate(results):
            task = result.tasks["accuracy"]
            found = [
                m.model_copy(
                    update={"interval_95": (m.value - 1.96 * frame_sd, m.value + 1.96 * frame_sd)}
                )
                for m in task.measurements
            ]
            tasks = {"accuracy": task.model_copy(update={"measurements": found})}
            results[k] = result.model_copy(update={"tasks": tasks})
        force = next(
            m for m in measurements_of_seeds(results) if m.quantity == "force_mae" and not m.subset
        )
        inside += force.interval_95[0] <= worth <= force.interval_95[1]
    assert 0.92 <= inside / trials <= 0.99


def test_an_error_cannot_be_negative():
    """Of two seeds, Student's t reaches far."""
    low, high = make_entry(seeds_of(10.0, 14.0), "recipe").find("force_mae").interval_95
    assert low == 0.0
    assert high > 30.0


def test_what_only_some_seeds_have_is_left_out():
    results = [*seeds_of(10.0, 12.0), _with_model(make_result(stress=3.0), sha256="z" * 64)]
    assert make_entry(results, "recipe").find("stress_mae") is None


def test_a_board_shows_seeds_only_where_there_are_some(tmp_path):
    board = tmp_path / "board"
    *paths, alone = saved(tmp_path, *seeds_of(10.0, 14.0, 18.0), make_result("alone"))
    add_entry([alone], board)
    assert "seeds" not in columns_of(load_board(board))
    add_entry(paths, board, name="recipe")
    alone, recipe = load_board(board)
    assert cell(recipe, "seeds") == "3: ± 4.0"
    assert cell(alone, "seeds") == "–"
    assert "3: ± 4.0" in markdown_table([alone, recipe])
    assert statistics.mean([10, 14, 18]) == recipe.find("force_mae").value


def test_a_seed_of_an_entry_stands_in_no_other(tmp_path):
    board = tmp_path / "board"
    one, two, three = saved(tmp_path, *seeds_of(10.0, 14.0, 18.0))
    add_entry([one, two], board, name="recipe")
    for paths in ([two], [three, two]):
        with pytest.raises(ResultError, match=rf"of {two} is on .* already, as a seed of 'recipe'"):
            add_entry(paths, board, name="again")
    add_entry([one, two, three], board, name="recipe", replace=True)
    (board / "test-dddddddd" / "recipe.json").unlink()
    add_entry([three], board, name="alone")
    with pytest.raises(ResultError, match=rf"of {three} is on .* already, as 'alone'"):
        add_entry([one, three], board, name="recipe")


def test_speeds_of_different_machines_are_left_out():
    one, two = seeds_of(10.0, 12.0)
    two = two.model_copy(update={"provenance": two.provenance.model_copy(update={"cpu": "other"})})
    entry = make_entry([one, two], "recipe")
    assert entry.find("time_per_call") is None
    assert entry.find("force_mae").value == 11.0


@pytest.mark.parametrize("key", ["recipe_digest", "split_digest", "store_version"])
def test_trainings_that_differ_in_more_than_the_seed_are_refused(tmp_path, key):
    same = {"recipe_digest": "r", "split_digest": "s", "store_version": "v"}
    paths = []
    for k, result in enumerate(seeds_of(10.0, 12.0, 14.0)):
        paths.append(tmp_path / str(k) / f"seed-{k}" / "evaluation")
        paths[-1].mkdir(parents=True)
        save_result(result, paths[-1])
        request = same | ({key: "other"} if k == 2 else {})
        (tmp_path / str(k) / "training.json").write_text(json.dumps({"request": request}))
    add_entry(paths[:2], tmp_path / "board", name="two")
    with pytest.raises(ResultError, match=f"different {key} "):
        add_entry(paths, tmp_path / "board", name="three")
    (tmp_path / "2" / "training.json").unlink()
    with pytest.raises(ResultError, match="none recorded"):
        add_entry(paths, tmp_path / "board", name="three")
    (tmp_path / "2" / "training.json").write_text("{")
    with pytest.raises(ResultError, match="damaged"):
        add_entry(paths, tmp_path / "board", name="three")


def test_one_seed_trained_twice_is_one_seed(tmp_path):
    """Packages of equal weights differ, so that digests do not tell."""
    request = {"recipe": "r", "recipe_digest": "r", "split_digest": "s", "store_version": "v"}
    paths = [tmp_path / name / "evaluation" for name in ("a/seed-1", "b/seed-2", "b/seed-1")]
    for path, result in zip(paths, seeds_of(10.0, 12.0, 10.0), strict=True):
        path.mkdir(parents=True)
        save_result(result, path)
        (path.parent.parent / "training.json").write_text(json.dumps({"request": request}))
    with pytest.raises(ResultError, match=r"a/seed-1/.* and .*b/seed-1/.* are both of seed-1"):
        add_entry(paths, tmp_path / "board", name="three")
    files = [path / "result.json" for path in paths[:2]]
    assert len(load_board(add_entry(files, tmp_path / "board", name="two").parent.parent)) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_result("b", digest="e" * 64), "differ in test frames"),
        (_with_model(make_result("b"), cutoff_A=5.0), "differ in cutoff_A"),
        (_with_model(make_result("b"), n_parameters=7), "differ in n_parameters"),
        (make_result("b", passed=False), "differ in conforms"),
        (make_result("a"), "the same model is given twice"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(other, message):
    with pytest.raises(ResultError, match=message):
        make_entry([make_result("a"), other], "recipe")


def test_one_factory_with_other_weights_is_another_seed():
    results = [_with_model(make_result("a"), weights_sha256=(k * 64,)) for k in "12"]
    entry = make_entry(results, "recipe")
    assert len(set(entry.seeds)) == 2
    assert entry.model.digest == entry.model.sha256 not in entry.seeds


def test_several_results_want_a_name():
    with pytest.raises(ResultError, match="--name"):
        make_entry(seeds_of(1.0, 2.0))
