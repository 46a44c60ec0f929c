"""Differences of versions, and what a store holds, as numbers and on the terminal."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.dataset.conftest import full_frames
from zifbench.cli import _exit_code, app
from zifbench.dataset.store import StoreWriter, open_store, write_store
from zifbench.dataset.store.diff import Change, diff
from zifbench.dataset.store.info import describe


def compare(a, b):
    with open_store(a) as old, open_store(b) as new:
        return diff(old, new)


@pytest.fixture
def other(tmp_path, small_pieces):
    return tmp_path / "other"


def test_same(store_path):
    result = compare(store_path, store_path)
    assert result.changes == ()
    assert result.attributes == ()


def test_added_removed_extended(store_path, other, make_frames):
    a = full_frames(make_frames, 37)
    more = full_frames(make_frames, 40)
    write_store(other, {"nvt 300K": a, "new": a[:3]}, attributes={"licence": "MIT", "n": [1, 2]})
    write_store(other, {"nvt 300K": more[37:]})
    result = compare(store_path, other)
    assert result.attributes == ("licence",)
    assert result.changes == (
        Change("liquid/1", "removed", (5, 0)),
        Change("new", "added", (0, 3)),
        Change("nvt 300K", "extended", (37, 40)),
    )


@pytest.mark.parametrize(
    ("change", "details"),
    [
        (lambda f: replace(f, energy=f.energy + 1e-9), ("energy of frames 0 to 7",)),
        (lambda f: replace(f, masses=f.masses * 2), ("other masses",)),
        (lambda f: replace(f, velocities=None), ("field velocities only in the old one",)),
        (
            lambda f: replace(f, labels={**f.labels, "x": ("",) * 37}),
            ("label x only in the new one",),
        ),
        (
            lambda f: replace(f, labels={**f.labels, "phase": ("?",) * 37}),
            ("label phase of frames 0 to 7",),
        ),
    ],
)
def test_changed(store_path, other, make_frames, change, details):
    a, b = full_frames(make_frames, 37), full_frames(make_frames, 5, seed=1)
    write_store(other, {"nvt 300K": change(a), "liquid/1": b}, attributes={"n": [1, 2]})
    (found,) = compare(store_path, other).changes
    assert found == Change("nvt 300K", "changed", (37, 37), details)


def test_changed_in_the_middle_while_extended(store_path, other, make_frames):
    a = full_frames(make_frames, 37)
    b = full_frames(make_frames, 50)
    forces = b.forces.copy()
    forces[:37] = a.forces
    forces[20] += 1
    write_store(other, {"nvt 300K": replace(b, forces=forces)})
    change = next(c for c in compare(store_path, other).changes if c.trajectory == "nvt 300K")
    assert change.kind == "changed"
    assert "forces of frames 16 to 23" in change.details


def test_an_array_of_more_rows_is_a_change(tmp_path, make_frames):
    for name, rows in (("old", 10), ("new", 12)):
        with StoreWriter(tmp_path / name) as store:
            frames = make_frames(3)
            store.trajectory("run", frames, arrays={"curve": np.zeros(rows)}).append(frames)
    with open_store(tmp_path / "old") as old, open_store(tmp_path / "new") as new:
        (change,) = diff(old, new).changes
    assert (change.kind, change.details) == ("changed", ("array curve has 12 rows, had 10",))


def test_description_of_one_trajectory(store_path):
    with open_store(store_path) as store:
        content = describe(store, "liquid/1")
    assert list(content["trajectories"]) == ["liquid/1"] and content["n_frames"] == 5


def test_description(store_path, make_frames):
    frames = full_frames(make_frames, 37)
    with open_store(store_path) as store:
        content = describe(store)
    assert content["n_frames"] == 42
    assert content["version"] == store.version
    nvt = content["trajectories"]["nvt 300K"]
    assert nvt["formula"] == "CHNZn"
    assert nvt["n_files"] == 10 * 3
    assert nvt["ranges"]["energy"] == [frames.energy.min(), frames.energy.max()]
    assert nvt["ranges"]["step"] == [0, 72]
    assert nvt["fields"]["positions"]["raw_bytes"] == 37 * 4 * 3 * 4
    assert nvt["float64_bytes"] == 37 * 8 * (3 * 12 + 2 * 9 + 3)
    on_disk = sum(p.stat().st_size for p in store_path.rglob("c.*"))
    assert content["stored_bytes"] == on_disk
    json.dumps(content, allow_nan=False)


def run(capsys, *arguments):
    code = _exit_code(lambda **options: app(list(arguments), **options))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_command(store_path, capsys):
    code, out, _ = run(capsys, "data", "info", str(store_path))
    assert code == 0
    for words in ("nvt 300K", "CHNZn", "float32", "CC-BY 4.0", "energy"):
        assert words in out
    code, out, _ = run(capsys, "data", "info", str(store_path), "--json")
    assert json.loads(out)["n_frames"] == 42


def test_verify_command(store_path, capsys):
    code, out, _ = run(capsys, "data", "verify", str(store_path))
    assert (code, "sound: 42 frames" in out) == (0, True)
    path = store_path / "nvt=20300K/forces/c.1.0.0"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (store_path / "notes.txt").write_text("mine")
    code, out, _ = run(capsys, "data", "verify", str(store_path))
    assert code == 2
    out = " ".join(out.split())
    assert "nvt=20300K/forces/c.1.0.0 (trajectory nvt 300K, forces of frames 28 to 31)" in out
    assert "not part of the store: notes.txt" in out
    code, out, _ = run(capsys, "data", "verify", str(store_path), "--json")
    assert json.loads(out)["damage"][0]["frames"] == [28, 32]
    assert code == 2


def test_diff_command(store_path, other, make_frames, capsys):
    write_store(other, {"nvt 300K": full_frames(make_frames, 38)})
    code, out, _ = run(capsys, "data", "diff", str(store_path), str(other))
    assert code == 0
    assert "removed: liquid/1 (5 frames, now 0)" in out
    code, out, _ = run(capsys, "data", "diff", str(store_path), str(store_path))
    assert out.startswith("same version")
    code, out, _ = run(capsys, "data", "diff", str(store_path), str(other), "--json")
    assert len(json.loads(out)["changes"]) == 2


def test_bad_name_is_one_sentence(capsys):
    code, out, err = run(capsys, "data", "info", "nowhere")
    assert (code, out) == (2, "")
    assert err == "error: nowhere does not exist; give the directory, zip file or URL of a store\n"


def test_a_store_of_many_trajectories_is_one_table(tmp_path, make_frames, capsys):
    from zifbench.dataset.store.tables import show_info

    path = tmp_path / "many"
    write_store(path, {f"run {k}": make_frames(2, seed=k) for k in range(5)})
    with open_store(path) as store:
        show_info(describe(store))
        everything = capsys.readouterr().out
        show_info(describe(store, "run 3"))
    assert all(f"run {k}" in everything for k in range(5)) and "fields" not in everything
    one = capsys.readouterr().out
    assert "fields" in one and "run 3" in one and "run 2" not in one
