"""Sweeps: what a grid trains, that one failure keeps nothing from being done, and the tables."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.leaderboard.test_leaderboard import make_result
from tests.test_cli import run as zifbench
from tests.training.stores import TINY, tiny_store
from zifbench.benchmark.result import save_result
from zifbench.cli import app
from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.store import open_store
from zifbench.errors import (
    BusyError,
    DataError,
    ModelError,
    OutOfMemoryError,
    ResultError,
    TrainingError,
    ZifbenchError,
)
from zifbench.files import write_text_atomically
from zifbench.training.curve import write_curve
from zifbench.training.process import locked
from zifbench.training.record import (
    LOCK_FILE,
    TrainingRecord,
    check_directory,
    make_request,
)
from zifbench.training.sweep import run as sweep_run
from zifbench.training.sweep.figures import draw_sweep
from zifbench.training.sweep.grid import GRID_FOLDER, cells_of, grid_names, load_grid
from zifbench.training.sweep.outcome import NOT_BEGUN, outcome_of
from zifbench.training.sweep.plan import keep_splits, make_plan
from zifbench.training.sweep.run import run_cells
from zifbench.training.sweep.table import collect, curves_of, markdown, write_tables

GRID = {
    "schema": 1,
    "about": "a test",
    "candidates": {
        "one": {"recipe": "nequip-small"},
        "wide": {"recipe": "nequip-small", "set": ["model.features=8"], "splits": ["random-6"]},
        "dummy-mean": {"recipe": "dummy-mean", "splits": ["random-6"]},
    },
    "seeds": [4, 5],
    "splits": {
        "test": 4,
        "validation": 3,
        "seed": 2,
        "train": {"random": [3, 6], "flat-histogram": [4]},
    },
}


def write_grid(folder, **changes):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return str(path)


@pytest.fixture
def made(tmp_path, make_frames):
    pytest.importorskip("yaml")
    return tiny_store(tmp_path, make_frames, train=10, validation=6, test=8)


@pytest.fixture
def plan(made, tmp_path):
    return make_plan(*load_grid(write_grid(tmp_path)), str(made[0]), tmp_path / "sweep")


# -- grids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", grid_names())
def test_grids_of_the_package_are_whole(name):
    grid, folder = load_grid(name)
    assert folder == GRID_FOLDER
    splits = ("given",) if grid.splits is None else tuple(grid.splits.names())
    cells = cells_of(grid, folder, splits)
    assert {cell.candidate for cell in cells} == set(grid.candidates)
    assert len({cell.name for cell in cells}) == len(cells)


def test_changes_are_words_or_a_mapping(tmp_path):
    pytest.importorskip("yaml")
    entries = {"epochs": 1, "learning_rate": 1e-5, "name": "yes", "stop.hours": None}
    entries["model"] = {"l_max": 1, "parity": "all", "hidden": [15, 15]}
    words = (
        "epochs=1", "learning_rate=1.0e-05", "name='yes'", "stop.hours=null", "model.l_max=1",
        "model.parity=all", "model.hidden=[15, 15]",
    )  # fmt: skip
    one = {"recipe": "nequip-small", "set": entries}
    grid, _ = load_grid(write_grid(tmp_path, candidates={"one": one}))
    assert grid.candidates["one"].set == words
    one["set"] = {"epochs": 1, "model": {"features": 8}}
    grid, folder = load_grid(write_grid(tmp_path, candidates={"one": one}))
    recipe = cells_of(grid, folder, ("given",))[0].recipe
    assert (recipe.epochs, recipe.model.features) == (1, 8)
    one["set"] = {"stop": {1: 2}}
    with pytest.raises(DataError, match=r"stop\.1 is no name of an entry"):
        load_grid(write_grid(tmp_path, candidates={"one": one}))


def test_a_grid_without_a_schema_is_told_the_line(tmp_path):
    pytest.importorskip("yaml")
    path = tmp_path / "grid.yaml"
    path.write_text("about: mine")
    with pytest.raises(DataError, match=r"grid\.yaml does not say .* with the line schema: 1$"):
        load_grid(str(path))


def test_the_grid_of_the_readme_is_whole(tmp_path):
    pytest.importorskip("yaml")
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(# grid\.yaml\n.*?)```", readme, flags=re.DOTALL)
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    grid, folder = load_grid(str(path))
    cells = cells_of(grid, folder, tuple(grid.splits.names()))
    assert {cell.recipe.epochs for cell in cells if cell.recipe is not None} == {20}


# Table 1 of Castel et al. 2024, and the two λσ of its supplement: architecture, rotation order,
# cutoff, parity, λσ, training frames.
TABLE_1 = {
    ("nequip", 1, 6.0, "all", 0.0, "random-1000"),
    ("nequip", 2, 4.0, "all", 0.0, "random-1000"),
    ("nequip", 2, 5.0, "all", 0.0, "random-1000"),
    ("nequip", 2, 6.0, "ignored", 0.0, "random-1000"),
    ("nequip", 2, 6.0, "all", 0.0, "random-1000"),
    ("nequip", 2, 6.0, "all", 0.0, "flat-histogram-1000"),
    ("nequip", 2, 6.0, "ignored", 0.0, "flat-histogram-2500"),
    ("nequip", 2, 6.0, "ignored", 1.0, "flat-histogram-2500"),
    ("nequip", 2, 6.0, "ignored", 100.0, "flat-histogram-2500"),
    ("allegro", 2, 6.0, True, 0.0, "flat-histogram-2500"),
}


def test_the_papers_grid_is_its_table():
    grid, folder = load_grid("castel2024")
    cells = cells_of(grid, folder, tuple(grid.splits.names()))
    rows = [
        (r.model.kind, r.model.l_max, r.cutoff_A, r.model.parity, r.stress_weight, cell.split)
        for cell in cells
        if (r := cell.recipe) is not None
    ]
    assert set(rows) == TABLE_1
    assert len(rows) == len(TABLE_1) * len(grid.seeds)
    assert grid.splits.test == 10_000
    assert grid.profile == "paper"  # 300 calls after 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, wanted 1"),
        ({"candidate": {}}, "unknown key in mine.yaml 'candidate'; did you mean candidates"),
        ({"candidates": {}}, "candidates: "),
        ({"candidates": {"a/b": {"recipe": "nequip-small"}}}, "'a/b' is no name"),
        ({"candidates": {"a": {"recipe": "nequip-smal"}}}, "did you mean nequip-small"),
        ({"candidates": {"a": {"receipt": "x"}}}, "key in candidates.a of mine.yaml 'receipt'"),
        ({"candidates": {"a": {"recipe": "dummy-mean", "set": ["epochs=1"]}}}, "no entries to set"),
        (
            {"candidates": {"a": {"recipe": "nequip-small", "splits": ["random-7"]}}},
            "split of candidate a 'random-7'; did you mean random-6",
        ),
        ({"candidates": {"a": {"recipe": "nequip-small", "set": ["epoch=1"]}}}, "did you mean ep"),
        ({"seeds": [1, 1]}, "a seed is there twice"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"splits": {**GRID["splits"], "train": {"blocked": [3]}}}, "no generator 'blocked'"),
        ({"splits": {**GRID["splits"], "train": {"random": [3, 3]}}}, "each once"),
        ({"splits": {**GRID["splits"], "train": {"random": [18]}}}, "17 are left"),
        ({"splits": {**GRID["splits"], "tests": 3}}, "key in splits of mine.yaml 'tests'"),
        ({"profile": "long"}, "profile: "),
        ({"splits": None}, "draws no splits; give one or more with --split"),
    ],
)
def test_bad_grids_are_refused_before_anything_is_written(made, tmp_path, changes, message):
    out = tmp_path / "sweep"
    with pytest.raises(ZifbenchError) as caught:
        make_plan(*load_grid(write_grid(tmp_path, **changes)), str(made[0]), out)
    assert message in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("text", ["- a", "a: [", "5"])
def test_what_is_no_grid(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DataError, match=r"x\.yaml is no sweep"):
        load_grid(str(tmp_path / "x.yaml"))
    with pytest.raises(DataError, match="is no file; give the name of a sweep"):
        load_grid(str(tmp_path / "none.yaml"))


# -- the plan -------------------------------------------------------------------------------------


def test_a_directory_of_something_else_is_refused(plan):
    plan.out.mkdir()
    (plan.out / "thesis.tex").write_text("")
    with pytest.raises(ResultError, match="holds other files than a sweep"):
        keep_splits(plan)
    assert [path.name for path in plan.out.iterdir()] == ["thesis.tex"]
    (plan.out / "thesis.tex").unlink()
    plan.out.rmdir()
    plan.out.write_text("")
    with pytest.raises(ResultError, match="is a file"):
        keep_splits(plan)


def test_cells_are_candidates_on_splits_with_seeds(plan, tmp_path):
    names = [cell.name for cell in plan.cells]
    assert names == [
        *(f"one/{s}/{k}" for s in ("random-3", "random-6", "flat-histogram-4") for k in (4, 5)),
        "wide/random-6/4",
        "wide/random-6/5",
        "dummy-mean/random-6/4",  # it has no seed
    ]
    assert plan.cells[6].recipe.model.features == 8
    assert not (tmp_path / "sweep").exists()
    picked = [cell.name for cell in plan.picked(["wide/*", "one/random-3/5"])]
    assert picked == ["one/random-3/5", "wide/random-6/4", "wide/random-6/5"]
    with pytest.raises(DataError, match="no training has this name"):
        plan.picked(["two/*"])


def test_all_splits_have_the_same_test_and_validation_frames(plan):
    splits = list(plan.drawn.values())
    for split in splits:
        assert split.ids("test") == splits[0].ids("test")
        assert split.ids("validation") == splits[0].ids("validation")
    assert [split.count("train") for split in splits[:2]] == [3, 6]
    assert set(splits[0].ids("train")) < set(splits[1].ids("train"))  # a larger one holds it


def test_splits_may_be_given(made, tmp_path):
    store, split = made
    grid = write_grid(tmp_path, candidates={"a": {"recipe": "nequip-small"}})
    plan = make_plan(*load_grid(grid), str(store), tmp_path / "o", split_files=[split])
    assert [cell.name for cell in plan.cells] == ["a/split/4", "a/split/5"]
    assert plan.splits == {"split": split}
    with pytest.raises(DataError, match="the same file name"):
        make_plan(*load_grid(grid), str(store), tmp_path / "o", split_files=[split, split])


def test_an_element_that_a_recipe_lacks_is_refused_at_once(made, tmp_path):
    grid = load_grid(write_grid(tmp_path))
    with pytest.raises(DataError, match="holds"):
        make_plan(*grid, str(made[0]), tmp_path / "sweep", changes=["elements=[H]"])
    assert not (tmp_path / "sweep").exists()


# -- running --------------------------------------------------------------------------------------


def test_a_training_that_fails_keeps_no_other_from_being_done(plan, monkeypatch):
    done = []

    def train(recipe, data, split, out, seeds, machine, **how):
        done.append((out.relative_to(plan.out).as_posix(), list(seeds)))
        if "random-3" in done[-1][0]:
            raise ModelError("not a number") if seeds == [4] else BusyError("somebody else")
        if "wide" in done[-1][0]:
            raise OutOfMemoryError("no room") if seeds == [4] else TrainingError("it diverged")

    monkeypatch.setattr(sweep_run, "train", train)
    monkeypatch.setattr(sweep_run, "train_dummy", lambda data, split, out, **how: done.append(out))
    failed = run_cells(plan, plan.cells, sweep_run.Machine())
    assert len(done) == len(plan.cells)
    assert done[0] == ("cells/one/random-3/4", [4])
    assert {name: str(error) for name, error in failed.items()} == {
        "one/random-3/4": "not a number",
        "wide/random-6/4": "no room",
        "wide/random-6/5": "it diverged",
    }
    for name, file in plan.splits.items():  # drawn splits are kept
        assert load_split(file).ids("train") == plan.drawn[name].ids("train")


def test_what_is_finished_is_not_trained_again(plan, monkeypatch):
    keep_splits(plan)
    finish(plan, plan.cells[0], 1.0)
    done = []
    monkeypatch.setattr(sweep_run, "train", lambda *words, **how: done.append(words[3]))
    said = []
    run_cells(plan, plan.cells[:2], sweep_run.Machine(), say=said.append)
    assert done == [plan.folder(plan.cells[1])]
    assert said == ["one/random-3/5, training 2 of 2"]
    run_cells(plan, plan.cells[:1], sweep_run.Machine(), say=said.append)
    assert said[1:] == ["nothing was left to do: finished before, 1 of 1"]


def test_tables_of_nothing_are_listed_without_pictures(made, tmp_path):
    one = {"one": {"recipe": "nequip-small"}}
    grid = write_grid(tmp_path, candidates=one, splits=None)
    words = ["--data", made[0], "--split", made[1], "--out", tmp_path / "sweep", "--tables"]
    shown = CliRunner().invoke(app, ["sweep", grid, *map(str, words)])
    assert shown.stdout.endswith("sweep (table.md, table.csv)\n")


def test_the_grid_says_how_long_speed_is_measured(made, tmp_path, monkeypatch):
    grid = load_grid(write_grid(tmp_path, profile="standard"))
    plan = make_plan(*grid, str(made[0]), tmp_path / "sweep")
    reports = []
    monkeypatch.setattr(sweep_run, "train", lambda *words, report, **how: reports.append(report))
    run_cells(plan, plan.cells[:1], sweep_run.Machine())
    [report] = reports
    assert (report.profile, report.tasks) == ("standard", ("accuracy", "speed"))
    assert report.conformance


def test_another_process_has_the_cell(plan):
    keep_splits(plan)
    cell = plan.cells[0]
    said = []
    with locked(plan.folder(cell) / LOCK_FILE):
        failed = run_cells(plan, [cell], sweep_run.Machine(), say=said.append)
    assert not failed
    assert "left to it" in said[-1]


def test_a_cell_killed_before_its_record_was_written_is_begun_again(tmp_path):
    write_text_atomically(tmp_path / "x" / LOCK_FILE, "")
    (tmp_path / "x" / ".training.json.123.tmp").write_text("{")
    check_directory(tmp_path / "x")
    (tmp_path / "x" / "thesis.tex").write_text("")
    with pytest.raises(ResultError, match="holds other files"):
        check_directory(tmp_path / "x")


@pytest.mark.parametrize("change", ["recipe", "split", "store"])
def test_cells_of_another_sweep_do_not_count(plan, made, tmp_path, change):
    keep_splits(plan)
    cell = plan.cells[0]
    finish(plan, cell, 1.0)
    assert not isinstance(outcome_of(plan, cell), str)
    file = plan.folder(cell) / "training.json"
    record = json.loads(file.read_text())
    key = {"recipe": "recipe_digest", "split": "split_digest", "store": "store_version"}[change]
    record["request"][key] = "0" * 64
    file.write_text(json.dumps(record))
    assert outcome_of(plan, cell) == f"trained with another {change}"
    assert collect(plan, {}).rows[0].missing[4] == f"trained with another {change}"
    assert not curves_of(plan)


def test_more_seeds_in_the_folder_of_a_cell_do_not_count(plan):
    """Somebody has trained there with `zifbench train --seeds`."""
    keep_splits(plan)
    cell = plan.cells[0]
    finish(plan, cell, 1.0)
    file = plan.folder(cell) / "training.json"
    record = json.loads(file.read_text())
    [trained] = record["trained"]
    record["trained"] = [trained | {"seed": 1, "ended": "diverged"}, trained]
    file.write_text(json.dumps(record))
    assert outcome_of(plan, cell).trained.seed == cell.seed


def test_a_changed_recipe_is_found_by_its_entries(plan, made, tmp_path):
    keep_splits(plan)
    finish(plan, plan.cells[0], 1.0)
    other = make_plan(
        *load_grid(write_grid(tmp_path)), str(made[0]), plan.out, changes=["epochs=7"]
    )
    assert outcome_of(other, other.cells[0]) == "trained with another recipe"


def test_replace_begins_anew_what_is_another_training(plan, made, tmp_path, monkeypatch):
    keep_splits(plan)
    same, other = plan.cells[:2]
    finish(plan, same, 1.0)
    finish(plan, other, 1.0)
    file = plan.folder(other) / "training.json"
    digest = outcome_of(plan, other).record.request.recipe_digest
    file.write_text(file.read_text().replace(digest, "0"))
    failed = run_cells(plan, [same, other], sweep_run.Machine())
    assert "--replace begins it anew" in str(failed[other.name])
    seen = []

    def train(recipe, data, split, out, seeds, machine, **how):
        seen.append(sorted(path.name for path in out.iterdir()))

    monkeypatch.setattr(sweep_run, "train", train)
    run_cells(plan, [same, other], sweep_run.Machine(), replace=True)
    assert seen == [[LOCK_FILE]]
    assert not isinstance(outcome_of(plan, same), str)


def test_another_split_of_the_same_name_is_refused(plan, made, tmp_path):
    keep_splits(plan)
    other = {"splits": {**GRID["splits"], "seed": 3}}
    again = make_plan(*load_grid(write_grid(tmp_path, **other)), str(made[0]), plan.out)
    with pytest.raises(ResultError, match="is not the split that this sweep draws"):
        keep_splits(again)


def test_speeds_of_different_machines_are_no_mean(plan):
    keep_splits(plan)
    for cell in plan.cells[:2]:
        finish(plan, cell, 10.0)
    file = plan.folder(plan.cells[1]) / "seed-5" / "evaluation" / "result.json"
    result = json.loads(file.read_text())
    result["provenance"]["cpu"] = "another cpu"
    file.write_text(json.dumps(result))
    found = collect(plan, {})
    assert found.rows[0].mean("time_per_call") is None
    assert found.rows[0].mean("force_mae") == 10.0
    assert any("timed on different machines" in note for note in found.notes)


def test_a_seed_that_diverged_does_not_cut_the_curve(plan):
    keep_splits(plan)
    finish(plan, plan.cells[0], 1.0)
    finish(plan, plan.cells[1], 1.0, ended="diverged")
    curves = curves_of(plan)
    assert [len(seeds) for seeds in curves.values()] == [1]


# -- tables ---------------------------------------------------------------------------------------


def finish(plan, cell, force, *, ended="completed"):
    """Leave what a training leaves behind."""
    folder = plan.folder(cell)
    result = make_result(cell.name, force=force)
    result = result.model_copy(
        update={"model": result.model.model_copy(update={"n_parameters": 77})}
    )
    seed = folder if cell.recipe is None else folder / f"seed-{cell.seed}"
    (seed / "evaluation").mkdir(parents=True)
    subset = {"n_frames": 5, "digest": "d"}
    file = plan.splits[cell.split]
    split = load_split(file)
    with open_store(plan.data) as store:
        request = make_request(cell.recipe, store, split, file)
    trained = {"seed": cell.seed, "ended": ended, "reason": "it grew", "epochs": 3, "seconds": 2.0}
    record = {
        "request": request.model_dump(),
        "read": {"train": subset, "validation": subset},
        "test": subset,
        "n_shared_with_test": 0,
        "trained": [] if cell.recipe is None else [trained],
    }
    TrainingRecord.model_validate(record)
    (folder / "training.json").write_text(json.dumps(record))
    if cell.recipe is None:
        save_result(result, seed / "evaluation")
        return
    column = "validation_per_atom_energy_rmse", "validation_forces_rmse"
    write_curve(
        seed / "curve.csv",
        [{"epoch": k, "step": k, **dict.fromkeys(column, 1.0 / (k + 1))} for k in range(3)],
    )
    if ended == "completed":
        save_result(result, seed / "evaluation")


def test_rows_are_means_with_the_spread_of_the_seeds(plan):
    keep_splits(plan)
    forces = iter([10.0, 14.0, 5.0, 6.0, 7.0, 8.0])
    for cell in plan.cells[:6]:
        finish(plan, cell, next(forces))
    finish(plan, plan.cells[6], 1.0, ended="diverged")
    finish(plan, plan.cells[8], 99.0)
    found = collect(plan, {})
    first = found.rows[0]
    assert (first.candidate, first.split, first.n_train) == ("one", "random-3", 5)
    assert first.mean("force_mae") == 12.0
    assert first.spread("force_mae") == pytest.approx(np.sqrt(8.0))
    assert [cell.seed for cell in first.cells] == [4, 5]
    wide = next(row for row in found.rows if row.candidate == "wide")
    assert wide.missing == {4: "diverged: it grew", 5: NOT_BEGUN}
    text = markdown(found)
    assert "| one | random-3 | 2 | 12.0 ± 2.8 | 100 | 5 | 77 | yes |" in text
    assert "| wide | random-6 | 0 of 2 | – | – | – | – | – |" in text
    assert "| dummy-mean | random-6 | – | 99.0 | 100 | 5 | 77 | yes |" in text
    assert "wide on random-6, seed 4: diverged: it grew" in text
    write_tables(found, plan.out)
    with (plan.out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["force_mae (meV/Å)"]) for row in rows] == [10, 14, 5, 6, 7, 8, 99]
    pictures = draw_sweep(plan, found)
    assert {p.name for p in pictures} == {"accuracy.png", "learning-curves.png", "sampling.png"}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_nothing_is_finished_yet(plan):
    keep_splits(plan)
    found = collect(plan, {plan.cells[0].name: OutOfMemoryError("no room")})
    assert found.rows[0].missing == {4: "no room", 5: NOT_BEGUN}
    write_tables(found, plan.out)
    assert [path.name for path in draw_sweep(plan, found)] == ["sampling.png"]


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_sweep_and_again(made, tmp_path):
    """Two trainings and the dummy; a job of one of them first, as on a cluster."""
    pytest.importorskip("nequip")
    store, split = made
    changes = [word for change in (*TINY, "epochs=2") for word in ("--set", change)]
    candidates = {"tiny": {"recipe": "nequip-small"}, "dummy-mean": {"recipe": "dummy-mean"}}
    grid = write_grid(tmp_path, candidates=candidates, splits=None)
    out = tmp_path / "sweep"
    words = ["sweep", grid, "--data", store, "--split", split, "--out", out, "--threads", 1]
    listed = zifbench(*words, *changes, "--list")
    assert listed.stdout.split() == ["tiny/split/4", "tiny/split/5", "dummy-mean/split/4"]
    job = zifbench(*words, *changes, "--only", "tiny/*/5")
    assert job.returncode == 0, job.stderr
    assert not (out / "table.md").exists()
    model = out / "cells/tiny/split/5/seed-5/model.nequip.zip"
    made_at = model.stat().st_mtime_ns
    whole = zifbench(*words, *changes)
    assert whole.returncode == 0, whole.stderr
    assert model.stat().st_mtime_ns == made_at
    rows = {row["candidate"]: row for row in json.loads((out / "sweep.json").read_text())["rows"]}
    assert [cell["seed"] for cell in rows["tiny"]["cells"]] == [4, 5]
    assert set(rows["tiny"]["cells"][0]["values"]) >= {"force_mae", "energy_mae", "time_per_call"}
    assert rows["dummy-mean"]["cells"][0]["conforms"] is True
    assert (out / "accuracy.png").is_file() and (out / "learning-curves.png").is_file()
    results = sorted(out.glob("cells/tiny/split/*/seed-*/evaluation"))
    board = tmp_path / "board"
    added = zifbench("leaderboard", "add", *results, "--board", board, "--name", "tiny")
    assert added.returncode == 0, added.stderr
    shown = zifbench("leaderboard", "show", "--board", board)
    assert "2: ±" in shown.stdout
    foreign = zifbench(*words[:-4], "--out", tmp_path, "--tables")
    assert foreign.returncode == 2
    assert "holds other files than a sweep" in foreign.stderr
