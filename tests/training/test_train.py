"""Whole trainings of a few atoms: killed, resumed, diverging, and what the command says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import zifbench
from tests.dataset.stores import ABOUT, series, write_store
from tests.training.stores import TINY, tiny_store
from zifbench.benchmark.result import load_result
from zifbench.errors import OutOfMemoryError, ResultError, TrainingError
from zifbench.potentials.formats import sha256_of
from zifbench.training import process
from zifbench.training.curve import read_curve
from zifbench.training.ending import Ending, write_ending
from zifbench.training.process import locked, run_training

torch = pytest.importorskip("torch")
pytest.importorskip("nequip")

ROOT = Path(zifbench.__file__).parent.parent
CHANGES = [word for change in TINY for word in ("--set", change)]


@pytest.fixture
def made(tmp_path, make_frames):
    return tiny_store(tmp_path, make_frames)


def command(made, out, *more, recipe="nequip-small"):
    store, split = made
    words = ["train", recipe, "--data", store, "--split", split, "--out", out, "--threads", 1]
    return [sys.executable, "-m", "zifbench.cli", *map(str, [*words, *more])]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def run(made, out, *more, recipe="nequip-small"):
    words = command(made, out, *CHANGES, *more, recipe=recipe)
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)


def weights(checkpoint):
    state = torch.load(checkpoint, weights_only=False, map_location="cpu")["state_dict"]
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def timeless(curve):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_curve(curve)]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_curve_and_weights(made, tmp_path):
    """The whole command is killed hard in the middle of an epoch."""
    options = ("--epochs", 16, "--seed", 4, "--set", "schedule.kind=plateau")
    options += ("--set", "schedule.patience_epochs=0")  # its state has to survive too
    whole = run(made, tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    killed = tmp_path / "killed"
    curve = killed / "seed-4" / "curve.csv"
    begun = subprocess.Popen(
        command(made, killed, *CHANGES, *options), env=environment(), stderr=subprocess.DEVNULL
    )
    while not curve.is_file() or len(read_curve(curve)) < 10:  # the learning rate falls by now
        assert begun.poll() is None
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    # What trained for it notices, and lets go of the directory.
    until = time.monotonic() + 60
    while True:
        again = run(made, killed, *options)
        if again.returncode == 0:
            break
        assert "another training is running" in again.stderr
        assert time.monotonic() < until
        time.sleep(0.5)
    log = (killed / "seed-4" / "train.log").read_text()
    assert "Restored all states from the checkpoint" in log
    folders = tmp_path / "whole" / "seed-4", killed / "seed-4"
    one, other = (timeless(folder / "curve.csv") for folder in folders)
    assert one == other
    assert len(one) == 16
    assert len({row["learning_rate"] for row in one}) > 2
    one, other = (weights(folder / "best.ckpt") for folder in folders)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_seeds_leave_all_that_is_promised(made, tmp_path):
    out = tmp_path / "out"
    outcome = run(made, out, "--epochs", 2, "--seeds", 2, "--json")
    assert outcome.returncode == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert [t["seed"] for t in record["trained"]] == [666, 667]
    assert record == json.loads((out / "training.json").read_text())
    assert record["n_shared_with_test"] == 0
    assert record["read"]["train"]["n_frames"] == 6
    assert (out / "recipe.yaml").is_file() and (out / "curves.png").is_file()
    errors = []
    for trained in record["trained"]:
        folder = out / f"seed-{trained['seed']}"
        assert sha256_of(folder / "model.nequip.zip") == trained["model_sha256"]
        result = load_result(folder / "evaluation")
        assert result.data.n_frames == 4
        assert result.model.n_parameters
        mae = next(m for m in result.measurements() if m.quantity == "force_mae")
        assert trained["test_errors"]["force_mae"] == [mae.value, "meV/Å"]
        errors.append(mae.value)
    assert errors[0] != errors[1]
    # Finished: the same command trains nothing again.
    log = out / "seed-666" / "train.log"
    before = log.stat()
    again = run(made, out, "--epochs", 2, "--json")
    assert json.loads(again.stdout)["trained"] == record["trained"]
    assert log.stat() == before
    assert len(read_curve(out / "seed-666" / "curve.csv")) == 2


@pytest.mark.slow
def test_a_diverging_training_is_stopped_and_keeps_its_last_good_state(made, tmp_path):
    out = tmp_path / "out"
    outcome = run(made, out, "--epochs", 50, "--set", "learning_rate=1e18")
    assert outcome.returncode == 3
    assert "the training of seed 666 diverged: the " in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (out / "seed-666" / "model.nequip.zip").exists()
    rows = read_curve(out / "seed-666" / "curve.csv")
    assert all(np.isfinite(row["validation_loss"]) for row in rows)
    for checkpoint in (out / "seed-666").glob("*.ckpt"):
        assert all(torch.isfinite(w).all() for w in weights(checkpoint).values())
    record = json.loads((out / "training.json").read_text())
    assert record["trained"][0]["ended"] == "diverged"


def test_the_dummy_predicts_the_mean(made, tmp_path):
    from zifbench.training.run import train_dummy

    result = train_dummy(str(made[0]), made[1], tmp_path / "dummy")
    from zifbench.dataset.named import load_named

    [train] = load_named(str(made[0]), split=made[1], subset="train")
    [test] = load_named(str(made[0]), split=made[1], subset="test")
    found = {m.quantity: m.value for m in result.measurements() if not m.subset}
    wanted = 1000 * np.abs(test.energy - train.energy.mean()).mean() / 4
    assert found["energy_mae"] == pytest.approx(wanted, rel=1e-9)
    assert found["force_mae"] == pytest.approx(1000 * np.abs(test.forces).mean(), rel=1e-9)


# -- bad input: nothing is written, one sentence, exit code 2 --------------------------------------


def refused(made, out, *more, recipe="nequip-small", words=None):
    outcome = run(made, out, *more, recipe=recipe)
    assert outcome.returncode == 2
    assert not out.exists()
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ") and outcome.stderr.count("\n") == 1
    for word in words:
        assert word in outcome.stderr
    return outcome.stderr


def test_bad_input_is_refused_before_anything_is_written(made, tmp_path, make_frames):
    out = tmp_path / "out"
    refused(made, out, "--set", "learning_rat=1", words=["did you mean learning_rate"])
    other = write_store(tmp_path / "o.zarr", {"liquid": (series(make_frames, 13, seed=9), ABOUT)})
    refused((other, made[1]), out, words=["split random-0 belongs to version"])


# -- the training process --------------------------------------------------------------------------


def trained_by(monkeypatch, folder, code):
    """What the command makes of a training process that runs this code."""
    folder.mkdir(exist_ok=True)
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(script))
    with locked(folder / ".lock") as lock:
        return run_training(folder, threads=1, lock=lock, look=lambda: None)


def test_a_process_that_the_system_kills_lacked_memory(monkeypatch, tmp_path):
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(OutOfMemoryError, match=r"killed, .*last.ckpt is good, the same command"):
        trained_by(monkeypatch, tmp_path, "import os; os.kill(os.getpid(), 9)")


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("out of memory", OutOfMemoryError, "not enough memory for one batch .why."),
        ("failed", TrainingError, "training failed: why"),
        ("stopped", TrainingError, "training failed: why"),
    ],
)
def test_the_reason_of_the_process_is_told(monkeypatch, tmp_path, kind, error, message):
    code = (
        "import sys, json\n"
        f"open(r'{tmp_path}/ending.json', 'w')"
        f".write(json.dumps(dict(kind={kind!r}, reason='why', epochs=1)))\nsys.exit(1)"
    )
    write_ending(tmp_path, Ending("completed", "of an earlier attempt", 9))
    with pytest.raises(error, match=message):
        trained_by(monkeypatch, tmp_path, code)


def test_a_process_that_says_nothing_is_quoted(monkeypatch, tmp_path):
    with pytest.raises(TrainingError, match="ended with code 5: the last words") as caught:
        trained_by(monkeypatch, tmp_path, "import sys; print('the last words'); sys.exit(5)")
    assert caught.value.exit_code == 3


def test_who_is_stopped_stops_the_training_process(monkeypatch, tmp_path):
    marks = []

    def look():
        marks.append(1)
        if len(marks) > 3:
            raise KeyboardInterrupt

    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\nimport time; time.sleep(600)\n")
    script.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(script))
    begun = time.monotonic()
    with locked(tmp_path / ".lock") as lock, pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, threads=None, lock=lock, look=look)
    assert time.monotonic() - begun < 15
    with locked(tmp_path / ".lock"):
        pass  # nobody holds it any more


def test_two_trainings_in_one_directory_are_refused(tmp_path):
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(ResultError, match="another training is running"),
        locked(tmp_path / ".lock"),
    ):
        pass
