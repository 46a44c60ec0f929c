"""Whole trainings of a few atoms: killed, resumed, diverging, and what the command says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import zifbench
from tests.dataset.stores import ABOUT, series, write_store
from tests.training.stores import TINY, tiny_store
from zifbench.benchmark.result import load_result
from zifbench.dataset.splits.generators import make_split, write_split
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, OutOfMemoryError, ResultError, TrainingError
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
        assert result.model.name == "nequip-small"  # not that of its file
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
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w"):
        pass  # as far as the command looks into it
    with pytest.raises(OutOfMemoryError, match=r"killed, .*last.ckpt is good, the same command"):
        trained_by(monkeypatch, tmp_path, "import os; os.kill(os.getpid(), 9)")


@pytest.mark.parametrize(
    ("kind", "reason", "error", "message"),
    [
        ("out of memory", "why", OutOfMemoryError, "not enough memory for one batch .why."),
        ("failed", "why", TrainingError, "training failed: why"),
        ("stopped", "why", TrainingError, "training failed: why"),
        ("failed", "Connection closed by peer [::1]", OutOfMemoryError, "was killed, most likely"),
    ],
)
def test_the_reason_of_the_process_is_told(monkeypatch, tmp_path, kind, reason, error, message):
    code = (
        "import sys, json\n"
        f"open(r'{tmp_path}/ending.json', 'w')"
        f".write(json.dumps(dict(kind={kind!r}, reason={reason!r}, epochs=1)))\nsys.exit(1)"
    )
    write_ending(tmp_path, Ending("completed", "of an earlier attempt", 9))
    with pytest.raises(error, match=message):
        trained_by(monkeypatch, tmp_path, code)


def test_one_node_does_not_see_its_slurm_job(monkeypatch, tmp_path):
    """Of a job with more tasks, Lightning would wait for the others."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    code = "import os, sys; print([k for k in os.environ if k.startswith('SLURM')]); sys.exit(5)"
    with pytest.raises(TrainingError, match=r"code 5: \[\]"):
        trained_by(monkeypatch, tmp_path, code)


@pytest.mark.parametrize(("kind", "error"), [("failed", TrainingError), ("diverged", None)])
def test_what_is_on_disk_counts_more_than_how_the_process_ended(monkeypatch, tmp_path, kind, error):
    """Where one process fails, srun kills the others, and says that of all of them."""
    code = (
        "import json, os\n"
        f"open(r'{tmp_path}/ending.json', 'w')"
        f".write(json.dumps(dict(kind={kind!r}, reason='why', epochs=1)))\nos.kill(os.getpid(), 9)"
    )
    if error is None:
        assert trained_by(monkeypatch, tmp_path, code).kind == kind
    else:
        with pytest.raises(error, match="training failed: why"):
            trained_by(monkeypatch, tmp_path, code)


def test_the_kernel_through_slurm(monkeypatch, tmp_path):
    said = "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0. Some of the step"
    with pytest.raises(OutOfMemoryError, match="ended with code 1: slurmstepd: error: Detected 1"):
        trained_by(monkeypatch, tmp_path, f"print({said!r}); raise SystemExit(1)")


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


def test_the_process_has_the_lock_and_the_threads(monkeypatch, tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "held = [os.readlink(f) for f in pathlib.Path('/proc/self/fd').iterdir() if f.exists()]\n"
        "print(os.environ['OMP_NUM_THREADS'], any('.lock' in f for f in held)); sys.exit(5)"
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with pytest.raises(TrainingError, match="code 5: 1 True"):
        trained_by(monkeypatch, tmp_path, code)


def test_what_the_process_leaves_behind_is_ended(monkeypatch, tmp_path):
    """As the processes of several devices, when the first of them is killed."""
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open(r'{tmp_path}/child', 'w').write(str(child.pid))\n"
        "os.kill(os.getpid(), 9)"
    )
    with pytest.raises(OutOfMemoryError):
        trained_by(monkeypatch, tmp_path, code)
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    until = time.monotonic() + 10
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_damaged_checkpoint_is_named_and_left(monkeypatch, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 half of a checkpoint")
    with pytest.raises(ResultError, match=r"last.ckpt is damaged; delete it, and the same command"):
        trained_by(monkeypatch, tmp_path, "raise SystemExit('nothing was to be started')")
    assert (tmp_path / "last.ckpt").is_file()
    assert not (tmp_path / process.LOG_FILE).exists()


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "print('no such file'); raise SystemExit(1)",
            TrainingError,
            "nequip-package failed .*such",
        ),
        ("import os; os.kill(os.getpid(), 9)", OutOfMemoryError, "nequip-package was killed, most"),
    ],
)
def test_a_tool_that_fails_is_named(monkeypatch, tmp_path, code, error, message):
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(script))
    with locked(tmp_path / ".lock") as lock, pytest.raises(error, match=message):
        process.run_tool("package", [], tmp_path, threads=1, lock=lock)


@pytest.mark.parametrize("says", [True, False], ids=["says so", "had no room to say so"])
def test_a_full_disk_is_told_from_a_failed_training(monkeypatch, tmp_path, says):
    from types import SimpleNamespace

    code = "import sys; print('the last words'); sys.exit(1)"
    if says:
        reason = "OSError: [Errno 28] No space left on device: 'last.ckpt'"
        ending = json.dumps({"kind": "failed", "reason": reason, "epochs": 0})
        code = f"open(r'{tmp_path}/ending.json', 'w').write({ending!r})\n{code}"
    else:
        usage = SimpleNamespace(free=4096)
        monkeypatch.setattr(process.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OSError, match="No space left on device") as caught:
        trained_by(monkeypatch, tmp_path, code)
    assert caught.value.filename == str(tmp_path)
    if not says:
        with (
            locked(tmp_path / ".lock") as lock,
            pytest.raises(OSError, match="No space left on device"),
        ):
            process.run_tool("package", [], tmp_path, threads=1, lock=lock)


# -- what is made of a training process, without one -----------------------------------------------


@pytest.fixture
def without_training(monkeypatch):
    """Trainings that end as `ends` says for each seed; calls of tools and evaluations are noted."""
    from types import SimpleNamespace

    from zifbench.training import run as module
    from zifbench.training.curve import write_curve

    ends, calls = {}, []

    def run_training(directory, **_):
        losses, kind = ends.get(directory.name, ([3.0, 1.0, 2.0], "completed"))
        calls.append(("train", directory.name, (directory / "curve.csv").exists()))
        rows = [{"epoch": k, "step": k, "seconds": 2.0} for k in range(len(losses))]
        rows = [row | {"validation_loss": loss} for row, loss in zip(rows, losses, strict=True)]
        rows = [row | {"train_loss": 1.0, "learning_rate": 0.1} for row in rows]
        if rows:
            write_curve(directory / "curve.csv", rows)
        ending = Ending(kind, "so it ended", len(losses))
        write_ending(directory, ending)
        return ending

    def run_tool(program, arguments, directory, **_):
        calls.append((program, [word.rpartition("/")[2] for word in arguments]))
        Path(arguments[-1] if program == "package" else arguments[1]).write_text(program)

    def evaluate(model, data, out, options, progress):
        calls.append(("evaluate", model.rpartition("/")[2], options.subset, options.resume))
        found = {"force_mae": ({}, 5.0), "rdf": ({}, 9.0), "energy_mae": ({"phase": "glass"}, 7.0)}
        measurements = [
            SimpleNamespace(quantity=name, unit="u", subset=subset, value=value)
            for name, (subset, value) in found.items()
        ]
        return SimpleNamespace(measurements=lambda: measurements)

    monkeypatch.setattr(module, "run_training", run_training)
    monkeypatch.setattr(module, "run_tool", run_tool)
    monkeypatch.setattr(module, "evaluate", evaluate)
    return ends, calls


def train_here(made, out, seeds=(1,), changes=TINY, device="cpu", **machine):
    from zifbench.training.recipe import load_recipe
    from zifbench.training.run import Machine, train

    recipe = load_recipe("nequip-small", changes)
    machine = Machine(device, threads=1, **machine)
    return train(recipe, str(made[0]), made[1], out, list(seeds), machine)


def test_the_best_epoch_is_packaged_tested_and_told(made, tmp_path, without_training):
    _, calls = without_training
    record = train_here(made, tmp_path / "out")
    packaged = ("package", ["build", "best.ckpt", "unfinished.model.nequip.zip"])
    tested = ("evaluate", "model.nequip.zip", "test", False)
    assert calls == [("train", "seed-1", False), packaged, tested]
    [trained] = record.trained
    assert (trained.epochs, trained.best_epoch, trained.seconds) == (3, 2, 6.0)
    assert trained.test_errors == {"force_mae": (5.0, "u")}  # not those of a phase
    calls.clear()
    train_here(made, tmp_path / "out", seeds=(1, 2), compile=True)  # nothing is done again
    assert ("train", "seed-1", True) not in calls and packaged in calls
    programs = [call[0] for call in calls]
    assert programs == ["compile", "evaluate", "train", "package", "compile", "evaluate"]
    options = ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
    assert calls[0][1] == ["model.nequip.zip", "unfinished.model.nequip.pt2", *options]
    assert (tmp_path / "out" / "seed-1" / "model.nequip.pt2").read_text() == "compile"


def test_a_seed_counts_as_finished_when_its_curve_is_drawn(
    made, tmp_path, monkeypatch, without_training
):
    """A kill between the two must not leave a finished training without its picture."""
    from zifbench.training import run as module

    out, drawn = tmp_path / "out", []
    written = module.write_record

    def write_record(directory, record):
        drawn.append((directory / "curves.png").is_file())
        written(directory, record)

    monkeypatch.setattr(module, "write_record", write_record)
    train_here(made, out)
    assert drawn == [True]


def test_seeds_that_diverge_are_told_after_the_others(made, tmp_path, without_training):
    ends, calls = without_training
    ends["seed-1"] = ([], "diverged")
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match=r"seed 1 diverged: .*; no epoch .*\(1 of 2 seeds fail"):
        train_here(made, out, seeds=(1, 2))
    record = json.loads((out / "training.json").read_text())
    assert [t["ended"] for t in record["trained"]] == ["diverged", "completed"]
    assert [t["model_sha256"] is None for t in record["trained"]] == [True, False]
    calls.clear()
    assert train_here(made, out, seeds=(2,)).trained  # that of seed 1 is no fault of seed 2
    (out / "seed-1" / "curve.csv").write_text("epoch\n0\n")  # of an attempt without a checkpoint
    ends.clear()
    calls.clear()
    train_here(made, out, seeds=(1,))
    assert calls[0] == ("train", "seed-1", False)


def test_what_is_refused_before_a_training(made, tmp_path, make_frames, without_training):
    import dataclasses

    _, calls = without_training
    out = tmp_path / "out"
    with pytest.raises(DataError, match="is one trajectory; a split belongs to the whole store"):
        train_here((made[0] / "liquid", made[1]), out)
    frames = series(make_frames, 9, seed=3)
    pool = {"a": (frames, ABOUT), "b": (frames[[0]], ABOUT | {"state": "copy"})}
    both = write_store(tmp_path / "both.zarr", pool), tmp_path / "leaking.json"
    with open_store(both[0]) as store:
        split = make_split(store, "random", train=6, test=2, validation=2)
    subsets = {"train": {"a": np.arange(6)}, "validation": {"a": np.array([6, 7])}}
    subsets["test"] = {"b": np.array([0])}
    write_split(dataclasses.replace(split, subsets=subsets), both[1])
    for train in (train_here, dummy_here):
        with pytest.raises(DataError, match="1 test frames are train frames too"):
            train(both, out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for train in (train_here, dummy_here):
        with pytest.raises(ResultError, match="thesis holds other files than a training"):
            train(made, tmp_path / "thesis")
        with pytest.raises(ResultError, match="file is a file; give another"):
            train(made, tmp_path / "file")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.txt"]
    assert not out.exists() and not calls


def test_devices_that_are_not_there_are_refused(made, tmp_path, monkeypatch, without_training):
    from zifbench.potentials import torch_potential

    monkeypatch.setattr(torch_potential, "choose_device", lambda name: name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, message in (
        ("cuda:1", "--device cuda:1 is one GPU, and --devices 3 wants more"),
        ("cuda", "--devices 3: there are 2 GPUs here"),
    ):
        with pytest.raises(DataError, match=message):
            train_here(made, tmp_path / "out", device=device, devices=3)
    assert not (tmp_path / "out").exists()
    assert train_here(made, tmp_path / "out", devices=3).request.devices == 3


def test_a_changed_recipe_is_named_by_its_entry(made, tmp_path, without_training):
    out = tmp_path / "out"
    train_here(made, out)
    for change, message in (
        ("model.layers=2", "was begun with model.layers = 1, now it is 2; go on"),
        ("schedule.kind=plateau", "was begun with schedule.kind = cosine, now it is plateau"),
    ):
        with pytest.raises(ResultError, match=message):
            train_here(made, out, changes=(*TINY, change))
    (out / "recipe.yaml").unlink()
    with pytest.raises(ResultError, match="was begun with recipe_digest = "):
        train_here(made, out, changes=(*TINY, "epochs=3"))


# -- the dummy -------------------------------------------------------------------------------------


def dummy_here(made, out):
    from zifbench.training.run import train_dummy

    return train_dummy(str(made[0]), made[1], out)


def test_the_dummy_has_a_mean_for_each_composition_and_no_other():
    from ase import Atoms

    from zifbench.errors import ModelError
    from zifbench.training.dummy import MeanEnergy, formula_units

    assert formula_units([30, 7, 7, 7, 30, 7]) == (((7, 2), (30, 1)), 2)
    dummy = MeanEnergy({((7, 1), (30, 1)): -5.0, ((7, 2), (30, 1)): -9.0})
    for symbols, energy in (("NZn", -5.0), ("ZnN", -5.0), ("N2Zn", -9.0), ("N4Zn2", -18.0)):
        atoms = Atoms(symbols)
        atoms.calc = dummy
        assert atoms.get_potential_energy() == energy
        assert not atoms.get_forces().any()
    atoms = Atoms("N3Zn")
    atoms.calc = dummy
    with pytest.raises(ModelError, match="dummy-mean was fitted to no frame of composition N3Zn"):
        atoms.get_potential_energy()


def test_the_dummy_goes_on_where_it_was_killed_and_with_the_same_only(made, tmp_path, make_frames):
    out = tmp_path / "dummy"
    before = dummy_here(made, out)
    model = (out / "dummy-mean.pkl").read_bytes()
    (out / "evaluation" / "result.json").unlink()  # killed before it was whole
    (out / "dummy-mean.pkl").unlink()
    assert dummy_here(made, out).measurements() == before.measurements()
    assert (out / "dummy-mean.pkl").read_bytes() == model
    other = write_store(tmp_path / "o.zarr", {"liquid": (series(make_frames, 13, seed=9), ABOUT)})
    split = tmp_path / "other.json"
    with open_store(other) as store:
        write_split(make_split(store, "random", train=6, test=4, validation=3), split)
    with pytest.raises(ResultError, match=r"with store = tiny.zarr, now it is o.zarr"):
        dummy_here((other, split), out)
    with pytest.raises(ResultError, match="was begun with recipe = dummy-mean, now it is nequip-s"):
        train_here(made, out)
    with locked(out / ".zifbench.lock"), pytest.raises(ResultError, match="another training is"):
        dummy_here(made, out)
    assert (out / "dummy-mean.pkl").read_bytes() == model


def test_the_dummy_takes_no_options_of_a_training(made, tmp_path):
    from typer.testing import CliRunner

    from zifbench.cli import app

    given = ["train", "dummy-mean", "--data", str(made[0]), "--split", str(made[1])]
    given += ["--out", str(tmp_path / "out"), "--seeds", "3", "--set", "epochs=4"]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, DataError)
    assert "dummy-mean is a mean, for which --seeds, --set means nothing" in str(error)
    assert not (tmp_path / "out").exists()
