"""`zifbench data ingest`: what is printed, exit codes, options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.dataset.ingest.md_text import NAMES, plain_run, record, write_run
from zifbench.dataset.store import open_store

RUNS = Path(__file__).parent / "data" / "cp2k-md"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zifbench.cli", "data", "ingest", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_run_is_ingested_and_described(tmp_path: Path) -> None:
    done = run(
        RUNS / "restart-twice",
        "--out",
        tmp_path / "store",
        "--name=water",
        "--state=gas",
        "--temperature=1500",
        "--attribute=licence=CC0-1.0",
        "--attribute=volume_change=0",
    )
    assert done.returncode == 0, done.stderr
    assert "3 entries of water.frc come again" in done.stdout
    with open_store(tmp_path / "store") as store:
        attributes = store.trajectories["water"].attributes
    assert attributes["state"] == "gas"
    assert attributes["temperature_K"] == 1500.0
    assert attributes["licence"] == "CC0-1.0"
    assert attributes["volume_change"] == 0.0
    again = run(RUNS / "restart-twice", "--out", tmp_path / "store", "--name=water", "--state=ice")
    assert again.returncode == 0, again.stderr
    with open_store(tmp_path / "store") as store:
        changed = store.trajectories["water"].attributes
        assert store.n_frames == 7
    assert changed == {**attributes, "state": "ice"}


def test_json_holds_the_report(tmp_path: Path) -> None:
    done = run(RUNS / "nvt", "--out", tmp_path / "store", "--json")
    report = json.loads(done.stdout)
    assert report["trajectories"]["nvt"]["n_new"] == 7
    assert report == json.loads((tmp_path / "store.ingest.json").read_text())


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    texts = plain_run(range(8), [k for k in NAMES if k != "velocities"])
    shifted = record("forces", 3, passing=1)
    texts["forces"] = texts["forces"].replace(record("forces", 3), shifted)
    directory = write_run(tmp_path / "run", texts)
    cases = {
        (directory,): "step 3: the energy in hartree in the titles",
        (tmp_path / "none",): "does not exist",
        (directory, "--mass=H"): "'H': wanted KEY=VALUE",
        (directory, "--mass=H=heavy"): "mass 'heavy' of H",
        (directory, "--keep=middle"): "unknown rule for --keep 'middle'",
        (directory, "--skip-check=energy-force"): "did you mean energy-forces",
        (directory, "--format=xyz"): "unknown format 'xyz'; did you mean extxyz",
    }
    for words, message in cases.items():
        done = run(*words, "--out", tmp_path / "store")
        assert done.returncode == 2, words
        assert message in done.stderr, words
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not (tmp_path / "store").exists()
    done = run(directory, "--out", tmp_path / "store", "--skip-check=energy-forces")
    assert done.returncode == 0
    assert "check failed: run: energy-forces" in " ".join(done.stdout.split())


def test_refused_input_leaves_no_store(tmp_path: Path) -> None:
    source = tmp_path / "bad.extxyz"
    source.write_text(
        '1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 energy=nan\n'
        "Zn 0 0 0 0 0 0\n"
    )
    done = run(source, "--out", tmp_path / "store")
    assert done.returncode == 2 and "energy" in done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_a_temperature_that_the_input_contradicts(tmp_path: Path) -> None:
    done = run(RUNS / "nvt", "--out", tmp_path / "store", "--temperature=300")
    assert done.returncode == 2
    assert "300 K was given, its input says 1500 K" in done.stderr
    assert not (tmp_path / "store").exists()


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for source, words in ((RUNS, "holds some: give"), (tmp_path / "nothing", "an empty directory")):
        done = run(source, "--out", tmp_path / "store")
        assert done.returncode == 2 and words in done.stderr
    done = run(RUNS / "nvt", "--out", tmp_path / "store", "--mass=Hx=2")
    assert done.returncode == 2 and "unknown element 'Hx'" in done.stderr
