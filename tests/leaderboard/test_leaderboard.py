"""Leaderboard: entries, sorting, tables, refusals."""

from __future__ import annotations

import json

import pytest

from zifbench.benchmark.result import (
    DataCard,
    Measurement,
    Provenance,
    Result,
    TaskResult,
    save_result,
)
from zifbench.errors import ResultError, UnknownNameError
from zifbench.leaderboard.entries import add_entry, by_data, load_board
from zifbench.leaderboard.tables import caption, cell, markdown_table, sorted_entries
from zifbench.potentials.card import Check, ModelCard


def make_result(name="model", *, force=15.0, stress=None, digest="d" * 64, passed=True) -> Result:
    def measurement(quantity, value, unit, **subset):
        return Measurement(
            quantity=quantity,
            value=value,
            unit=unit,
            subset=subset,
            interval_95=(value * 0.9, value * 1.1),
            n=10,
            n_of="frames",
        )

    measurements = [
        measurement("force_mae", 98.0, "meV/Å", element="H"),
        measurement("force_mae", force, "meV/Å"),
        measurement("force_mae", 99.0, "meV/Å", element="Zn"),
        measurement("time_per_call", 100.0, "µs/atom", atoms="272"),
    ]
    if stress is not None:
        measurements.append(measurement("stress_mae", stress, "MPa"))
    return Result(
        model=ModelCard(
            name=name,
            file=f"{name}.pth",
            format="TorchScript",
            sha256=f"{name} {force}",  # another for each model
            size_bytes=1,
        ),
        data=DataCard(
            names=["test.extxyz"],
            digest=digest,
            n_frames=10,
            n_atoms=[272],
            formulas=["C96H96N64Zn16"],
            levels_of_theory=[],
        ),
        profile="quick",
        seed=0,
        conformance=[Check(name="rotation", passed=passed, detail="")],
        tasks={"accuracy": TaskResult(task="accuracy", measurements=measurements, wall_s=1.0)},
        provenance=Provenance(
            zifbench="0",
            python="3",
            platform="Linux",
            packages={},
            cpu="a cpu",
            n_cores=2,
            n_threads=2,
            memory_GiB=1.0,
            device="cpu",
            date="2026-01-01",
            command="zifbench",
        ),
    )


@pytest.fixture
def board(tmp_path):
    """Adds results to one board and gives its directory."""
    directory = tmp_path / "board"

    def add(result, **options):
        out = tmp_path / "result"
        out.mkdir(exist_ok=True)
        save_result(result, out)
        return add_entry([out], directory, **options)

    add.directory = directory
    return add


def test_an_entry_keeps_everything_measured(board):
    file = board(make_result())
    (entry,) = load_board(board.directory)
    assert entry.measurements == make_result().measurements()
    assert file.name == "model.json"
    assert file.parent.name == "test-dddddddd"


def test_overall_values_are_shown_not_those_of_a_subset(board):
    board(make_result(force=15.0))
    (entry,) = load_board(board.directory)
    assert entry.find("force_mae").value == 15.0
    assert cell(entry, "force") == "15.0 (13.5–16.5)"
    assert cell(entry, "speed") == "100 (90–110)"
    assert cell(entry, "stress") == "–"


@pytest.mark.parametrize(
    ("sort", "reverse", "order"),
    [
        ("force", False, ["b", "c", "a"]),
        ("force", True, ["a", "c", "b"]),
        ("model", False, ["a", "b", "c"]),
        ("stress", False, ["c", "a", "b"]),
        ("stress", True, ["a", "c", "b"]),
    ],
)
def test_sorting_puts_missing_values_last(board, sort, reverse, order):
    board(make_result("a", force=30.0, stress=20.0))
    board(make_result("b", force=10.0))
    board(make_result("c", force=20.0, stress=10.0))
    entries = sorted_entries(load_board(board.directory), sort, reverse=reverse)
    assert [entry.name for entry in entries] == order


def test_an_unknown_column_names_its_neighbours(board):
    board(make_result())
    with pytest.raises(UnknownNameError, match="unknown column 'forces'; did you mean force"):
        sorted_entries(load_board(board.directory), "forces")


def test_other_frames_make_another_table(board):
    board(make_result("a"))
    board(make_result("b", digest="e" * 64))
    assert len(by_data(load_board(board.directory))) == 2


def test_a_name_is_not_taken_twice_by_accident(board):
    board(make_result(force=15.0))
    with pytest.raises(ResultError, match="there already; give --replace"):
        board(make_result(force=16.0))
    board(make_result(force=16.0), replace=True)
    board(make_result(force=17.0), name="seed 2")
    assert sorted(e.find("force_mae").value for e in load_board(board.directory)) == [16.0, 17.0]


def test_a_model_stands_once_in_a_table(board):
    result = make_result()
    first = board(result, name="first one")
    with pytest.raises(ResultError, match=r"is on this board already, as 'first one' .*one\.json"):
        board(result, name="second")
    with pytest.raises(ResultError, match="--name 'first one' --replace to replace that entry"):
        board(result, name="second", replace=True)
    with pytest.raises(ResultError, match="there already; give --replace"):
        board(result, name="first one")
    assert board(result, name="first one", replace=True) == first
    assert [entry.name for entry in load_board(board.directory)] == ["first one"]
    first.unlink()
    board(result, name="second")
    board(make_result(digest="e" * 64), name="other frames, other table")
    assert len(load_board(board.directory)) == 2


def test_only_what_tells_models_apart_refuses_one(board):
    """A Python file alone may make any number of models."""

    def made(*weights, name="file.py:make"):
        result = make_result()
        card = {"format": "Python factory", "weights_sha256": weights, "name": name}
        return result.model_copy(update={"model": result.model.model_copy(update=card)})

    board(made(), name="one")
    board(made(), name="two")
    board(made("w"), name="three")
    board(made("v"), name="four")
    with pytest.raises(ResultError, match="already, as 'three'"):
        board(made("w"), name="five")
    board(made("w", name="file.py:make_in_float64"), name="five")


def test_a_board_where_a_model_stands_twice_still_loads(board):
    first = board(make_result(), name="first")
    entry = json.loads(first.read_text()) | {"name": "second"}
    first.with_name("second.json").write_text(json.dumps(entry))
    assert len(load_board(board.directory)) == 2


def test_columns_of_simulations_are_there_where_a_model_has_them(board):
    bare = make_result("bare")
    crystal = Measurement(
        quantity="coordination", value=3.98, unit="", subset={"system": "crystal"},
        interval_95=(3.96, 4.0), n=40, n_of="frames",
    )  # fmt: skip
    glass = crystal.model_copy(update={"subset": {"system": "ab initio glass"}, "value": 3.9})
    task = TaskResult(task="crystal", measurements=[glass, crystal], wall_s=1.0)
    made = bare.model_copy(
        update={
            "tasks": {**bare.tasks, "crystal": task},
            "model": bare.model.model_copy(update={"name": "made", "sha256": "made"}),
        }
    )
    board(bare)
    assert "CN" not in markdown_table(load_board(board.directory))
    board(made)
    entries = {entry.name: entry for entry in load_board(board.directory)}
    table = markdown_table(list(entries.values()))
    assert "| CN, crystal |" in table
    assert "survival" not in table
    assert cell(entries["made"], "coordination") == "3.980 (3.960–4.000)"
    assert cell(entries["bare"], "coordination") == "–"
    first, _ = sorted_entries(list(entries.values()), "coordination")
    assert first.name == "made"


def test_markdown_has_a_row_for_each_model(board):
    board(make_result("a|b", passed=False))
    table = markdown_table(load_board(board.directory))
    lines = table.splitlines()
    assert lines[0].startswith("**test.extxyz: 10 frames of C96H96N64Zn16")
    assert lines[4].startswith("| a\\|b |")
    assert "NO: rotation" in lines[4]
    assert len({line.replace("\\|", "").count("|") for line in lines[2:]}) == 1


@pytest.mark.parametrize("name", ["", "../..", "/"])
def test_names_without_letters_are_refused(board, name):
    with pytest.raises(ResultError, match="no letter or digit"):
        board(make_result(), name=name or " ")


def test_a_name_cannot_leave_the_board(board):
    file = board(make_result(), name="../../evil")
    assert board.directory in file.parents


def test_a_board_with_a_foreign_file_is_refused(board):
    file = board(make_result())
    entry = json.loads(file.read_text())
    file.write_text(json.dumps(entry | {"score": 100}))
    with pytest.raises(ResultError, match=r"model.json is not a valid Entry.*score"):
        load_board(board.directory)
    file.write_text(json.dumps(entry))
    file.rename(file.with_name("renamed.json"))
    with pytest.raises(ResultError, match="belongs to"):
        load_board(board.directory)


def test_no_board(tmp_path):
    with pytest.raises(ResultError, match="no leaderboard at"):
        load_board(tmp_path / "nowhere")


def test_a_store_of_many_trajectories_has_a_short_caption_and_folder(board):
    names = [f"data/mini.zip/glass{k}" for k in range(9)]
    result = make_result()
    file = board(
        result.model_copy(update={"data": result.data.model_copy(update={"names": names})})
    )
    assert file.parent.name == "mini-dddddddd"
    said = caption(load_board(board.directory))
    assert said.startswith("data/mini.zip/glass0, data/mini.zip/glass1 and 7 more: 10 frames")
