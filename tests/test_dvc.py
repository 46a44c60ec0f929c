"""DVC: a fresh clone pulls real data without an account, runs the pipeline, switches versions.

Each test clones the commit that is checked out, so changes that are not committed are not tested.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import zifbench
from zifbench.ase_io import read_frames
from zifbench.dataset.store import Trajectory, open_store
from zifbench.frames import Frames

ROOT = Path(zifbench.__file__).parent.parent
BIN = Path(sys.executable).parent
STAGES = ["ingest", "split", "train", "evaluate", "leaderboard"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BIN / "dvc").is_file(), reason="dvc is not installed (zifbench[dvc])"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone of the repository"),
]

# float32 keeps positions below 32 Å and forces below 16 eV/Å to 1e-6; the others are float64.
TOLERANCES = {"energy": 0, "cell": 0, "stress": 0, "positions": 1e-6, "forces": 1e-6}

Run = Callable[..., str]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone."""
    target = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    return target


@pytest.fixture
def run(clone: Path, tmp_path: Path) -> Run:
    """Run a program in the clone, as somebody who has no account anywhere; what it prints."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "ZIFBENCH_CONFIG_DIR": str(tmp_path / "zifbench"),
        "COLUMNS": "200",
        **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")},
    }  # fmt: skip

    def run(*command: str) -> str:
        outcome = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return outcome.stdout

    return run


def test_fresh_clone_pulls_a_real_store(clone: Path, run: Run) -> None:
    assert not (clone / "data").exists()
    run("dvc", "pull")
    assert "up to date" in run("dvc", "status", "data.dvc")
    texts = read_frames(clone / "data" / "zif4-mini.extxyz")
    with open_store(clone / "data" / "zif4-mini.zip") as store:
        assert store.n_frames == sum(map(len, texts)) >= 12
        stored = {name: frame for t in store.trajectories.values() for name, frame in by_name(t)}
    for text in texts:
        for k, name in enumerate(text.labels["name"]):
            frame = stored.pop(name)
            assert np.array_equal(frame.numbers, text.numbers)
            for field, tolerance in TOLERANCES.items():
                ours, theirs = getattr(frame, field)[0], getattr(text, field)[k]
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=field)
    assert not stored
    assert run("git", "status", "--short") == ""


def test_pipeline_is_a_chain() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == STAGES
    outputs = {s: {next(iter(out)) for out in stages[s]["outs"]} for s in STAGES}
    for before, stage in itertools.pairwise(STAGES):
        inside = [d for d in stages[stage]["deps"] for o in outputs[before] if d.startswith(o)]
        assert inside, f"{stage} does not use what {before} makes"
    # A stage output inside a directory that a .dvc file tracks is refused by DVC.
    assert all(out.startswith("build/") for outs in outputs.values() for out in outs)


def test_pipeline_runs_and_runs_again_only_what_changed(clone: Path, run: Run) -> None:
    run("dvc", "pull")
    set_parameter(clone, "train", "epochs", 1)
    assert ran(run("dvc", "repro")) == STAGES
    [entry] = (clone / "build" / "leaderboards").glob("*/*.json")
    quantities = {m["quantity"] for m in json.loads(entry.read_text())["measurements"]}
    assert {"energy_mae", "force_mae"} <= quantities
    # The text that was ingested again is the store that is published.
    with (
        open_store(clone / "build" / "store") as made,
        open_store(clone / "data" / "zif4-mini.zip") as published,
    ):
        assert made.version == published.version
    assert "up to date" in run("dvc", "status", "dvc.yaml")  # there is a pipeline in sweep/ too
    set_parameter(clone, "evaluate", "seed", 1)
    assert ran(run("dvc", "repro")) == ["evaluate", "leaderboard"]
    assert ran(run("dvc", "repro")) == []


def test_a_sweep_is_a_matrix_of_stages(clone: Path, run: Run) -> None:
    run("dvc", "pull")
    run("dvc", "repro", "split")
    path = clone / "sweep" / "params.yaml"
    few = {"candidates": ["allegro-small"], "seeds": [667], "epochs": 1}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | few))
    ours = [s for s in ran(run("dvc", "repro", "sweep/dvc.yaml")) if s.startswith("sweep/")]
    stages = [stage.partition(":")[2] for stage in ours]
    assert sorted(stages) == ["dummy", "tables", "train@allegro-small-split-667"]
    assert stages[-1] == "tables"
    rows = json.loads((clone / "build" / "sweep" / "sweep.json").read_text())["rows"]
    finished = {row["candidate"]: len(row["cells"]) for row in rows}
    assert finished == {
        "nequip-small": 0, "allegro-small": 1, "hdnnp-small": 0, "dummy-mean": 1
    }  # fmt: skip
    assert ran(run("dvc", "repro", "sweep/dvc.yaml")) == []
    # Other parameters begin trainings anew, in the same place.
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"epochs": 2}))
    assert len(ran(run("dvc", "repro", "sweep/dvc.yaml"))) == 2
    rows = json.loads((clone / "build" / "sweep" / "sweep.json").read_text())["rows"]
    [cell] = next(row["cells"] for row in rows if row["candidate"] == "allegro-small")
    assert cell["epochs"] == 2


def test_switching_versions(clone: Path, run: Run) -> None:
    """Nine frames instead of all, committed; then back and forth."""
    run("dvc", "pull")
    frames = clone / "data" / "zif4-mini.extxyz"
    whole = frames.read_bytes()
    nine = b"".join(whole.splitlines(keepends=True)[: 9 * 274])
    (clone.parent / "nine.extxyz").write_bytes(nine)
    run("tools/publish-data", str(clone.parent / "nine.extxyz"))
    run("git", "commit", "--quiet", "--message", "nine frames")
    assert frames.read_bytes() == nine
    assert n_stored(clone) == 9
    run("git", "checkout", "--quiet", "HEAD~1")
    run("dvc", "checkout")
    assert frames.read_bytes() == whole
    assert n_stored(clone) == sum(map(len, read_frames(frames)))
    run("git", "checkout", "--quiet", "-")
    # What is not in this clone's cache comes from the remote of that commit.
    shutil.rmtree(clone / ".dvc" / "cache")
    run("dvc", "pull", "--force")
    assert frames.read_bytes() == nine
    assert n_stored(clone) == 9
    assert run("git", "status", "--short") == ""


def by_name(trajectory: Trajectory) -> Iterator[tuple[str, Frames]]:
    """Each frame of a trajectory with the name it carries."""
    for k in range(len(trajectory)):
        frame = trajectory.read(k)
        yield frame.labels["name"][0], frame


def n_stored(clone: Path) -> int:
    with open_store(clone / "data" / "zif4-mini.zip") as store:
        return store.n_frames


def set_parameter(clone: Path, group: str, name: str, value: int) -> None:
    path = clone / "params.yaml"
    parameters = yaml.safe_load(path.read_text())
    parameters[group][name] = value
    path.write_text(yaml.safe_dump(parameters))


def ran(output: str) -> list[str]:
    """Stages that `dvc repro` ran, in this order."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage ")]
    return [line.split("'")[1] for line in lines]
