"""Sweeps: what a grid trains, that one failure keeps nothing from being done, and the tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import yaml

from tests.leaderboard.test_leaderboard import make_result
from tests.test_cli import run as zifbench
from tests.training.stores import TINY, tiny_store
from zifbench.benchmark.result import save_result
from zifbench.dataset.splits.manifest import load_split
from zifbench.errors import DataError, OutOfMemoryError, ResultError, TrainingError, ZifbenchError
from zifbench.training.curve import write_curve
from zifbench.training.sweep import run as sweep_run
from zifbench.training.sweep.figures import draw_sweep
from zifbench.training.sweep.grid import GRID_FOLDER, cells_of, grid_names, load_grid
from zifbench.training.sweep.run import make_plan, run_cells
from zifbench.training.sweep.table import NOT_BEGUN, collect, markdown, write_tables

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


def test_the_papers_grid_is_its_table():
    cells = {c.candidate: c.recipe for c in cells_of(*load_grid("castel2024"), PAPER_SPLITS)}
    shape = {
        name: (r.model.l_max, r.cutoff_A, getattr(r.model, "parity", None))
        for name, r in cells.items()
        if r is not None
    }
    assert shape["nequip-l1-r6"] == (1, 6.0, "all")
    assert shape["nequip-l2-r4"] == (2, 4.0, "all")
    assert shape["nequip-l2-r5"] == (2, 5.0, "all")
    assert shape["nequip-l2-r6-no-parity"] == shape["nequip-deployed"] == (2, 6.0, "ignored")
    assert shape["nequip-l2-r6"] == (2, 6.0, "all")
    weights = {name: r.stress_weight for name, r in cells.items() if r is not None}
    assert weights["nequip-deployed-stress-100"] == 100.0
    assert weights["nequip-deployed"] == 0.0


PAPER_SPLITS = ("random-1000", "flat-histogram-1000", "flat-histogram-2500")


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
        if seeds == [4]:
            raise TrainingError("it diverged")
        if "wide" in done[-1][0]:
            raise OutOfMemoryError("no room")

    monkeypatch.setattr(sweep_run, "train", train)
    monkeypatch.setattr(sweep_run, "train_dummy", lambda data, split, out, **how: done.append(out))
    failed = run_cells(plan, plan.cells, sweep_run.Machine())
    assert len(done) == len(plan.cells)
    assert done[0] == ("cells/one/random-3/4", [4])
    assert failed["one/random-3/4"] == "it diverged"
    assert failed["wide/random-6/5"] == "no room"
    assert len(failed) == 5
    for name, file in plan.splits.items():  # drawn splits are kept
        assert load_split(file).ids("train") == plan.drawn[name].ids("train")

    def bad(*words, **how):
        raise DataError("nothing is right")

    monkeypatch.setattr(sweep_run, "train", bad)
    with pytest.raises(DataError, match="nothing is right"):
        run_cells(plan, plan.cells, sweep_run.Machine())


def test_another_split_of_the_same_name_is_refused(plan, made, tmp_path):
    run_cells(plan, [], sweep_run.Machine())
    other = {"splits": {**GRID["splits"], "seed": 3}}
    again = make_plan(*load_grid(write_grid(tmp_path, **other)), str(made[0]), plan.out)
    with pytest.raises(ResultError, match="is not the split that this sweep draws"):
        run_cells(again, [], sweep_run.Machine())


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
    names = ("zifbench", "recipe", "recipe_digest", "store", "store_version", "split",
             "split_digest", "device")  # fmt: skip
    request = dict.fromkeys(names, "x") | {"devices": 1, "threads": 1, "packages": {}}
    trained = {"seed": cell.seed, "ended": ended, "reason": "it grew", "epochs": 3, "seconds": 2.0}
    record = {
        "request": request,
        "read": {"train": subset, "validation": subset},
        "test": subset,
        "n_shared_with_test": 0,
        "trained": [] if cell.recipe is None else [trained],
    }
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
    forces = iter([10.0, 14.0, 5.0, 6.0, 7.0, 8.0])
    for cell in plan.cells[:6]:
        finish(plan, cell, next(forces))
    finish(plan, plan.cells[6], 1.0, ended="diverged")
    finish(plan, plan.cells[8], 99.0)
    run_cells(plan, [], sweep_run.Machine())
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
    run_cells(plan, [], sweep_run.Machine())
    found = collect(plan, {plan.cells[0].name: "no room"})
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
