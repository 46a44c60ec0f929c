"""Evaluating: the result directory, resuming, refusing, being killed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from zifbench.ase_io import read_frames
from zifbench.benchmark.evaluation import Options, data_digest, evaluate, load_data
from zifbench.benchmark.result import load_result
from zifbench.errors import (
    DataError,
    ModelError,
    ResultError,
    UnknownNameError,
    UntrustedModelError,
    ZifbenchError,
)
from zifbench.files import write_text_atomically

TRUSTED = Options(trust=True, tasks=("accuracy",), device="cpu")


def scores(result):
    """Everything that must not depend on when or how often a run was interrupted."""
    tasks = {name: task.model_dump(exclude={"wall_s"}) for name, task in result.tasks.items()}
    return json.dumps([tasks, [c.model_dump() for c in result.conformance]])


def predicted(directory):
    root = zarr.open_group(str(directory / "predictions.zarr"), mode="r")
    return {
        f"{part}/{name}": array[:]
        for part, group in root.groups()
        for name, array in group.arrays()
    }


def test_the_bundled_model_on_the_bundled_frames(tmp_path):
    """The figures of zifbench/bundled/README.md."""
    pytest.importorskip("nequip")
    options = Options(device="cpu", tasks=("accuracy", "speed"))
    result = evaluate("nequip-small", ["zif4-own-test"], tmp_path / "out", options)
    found = {m.quantity: m for m in result.measurements() if not set(m.subset) - {"atoms"}}
    assert result.conforms
    assert found["energy_mae"].value == pytest.approx(3.97, abs=0.02)
    assert found["force_mae"].value == pytest.approx(96.3, abs=0.2)
    assert found["stress_mae"].value == pytest.approx(283.8, abs=1.0)
    assert found["time_per_call"].n == 10
    assert load_result(tmp_path / "out") == result
    report = (tmp_path / "out" / "report.html").read_text()
    assert "nequip-small" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".zifbench.lock",
        "predictions.done.json",
        "predictions.zarr",
        "report.html",
        "result.json",
        "run.json",
    ]


def test_predictions_are_kept_frame_by_frame(make_frames, write_extxyz, candidate, tmp_path):
    path = write_extxyz(make_frames(5))
    evaluate(f"{candidate}:fast", [str(path)], tmp_path / "out", TRUSTED)
    (frames,) = read_frames(path)
    from ase.calculators.lj import LennardJones

    stored = predicted(tmp_path / "out")
    for row, atoms in enumerate(frames.to_ase()):
        atoms.calc = LennardJones(sigma=1.5, epsilon=0.05, rc=4.0)
        assert stored["0/energy"][row] == atoms.get_potential_energy()
        np.testing.assert_array_equal(stored["0/forces"][row], atoms.get_forces())


def test_a_model_without_stress_is_scored_on_the_rest(
    make_frames, write_extxyz, candidate, tmp_path
):
    path = write_extxyz(make_frames(5))
    result = evaluate(f"{candidate}:no_stress", [str(path)], tmp_path / "out", TRUSTED)
    assert "stress is not scored: the model gives none" in result.tasks["accuracy"].gaps
    assert "stress_mae" not in {m.quantity for m in result.measurements()}


def test_a_failing_model_is_reported_as_failing(make_frames, write_extxyz, candidate, tmp_path):
    """Lennard-Jones of ASE takes any element, so it fails the check for unknown species."""
    path = write_extxyz(make_frames(5))
    result = evaluate(f"{candidate}:fast", [str(path)], tmp_path / "out", TRUSTED)
    assert result.conforms is False
    assert result.failed_checks == ["unknown species"]
    assert "fails conformance (unknown species)" in (tmp_path / "out" / "report.html").read_text()


def test_an_interrupted_run_resumes_to_the_same_result(
    make_frames, write_extxyz, candidate, tmp_path, monkeypatch
):
    path = str(write_extxyz(make_frames(20)))
    options = dataclasses.replace(TRUSTED, conformance=False)
    model = f"{candidate}:slow"
    whole = evaluate(model, [path], tmp_path / "whole", options)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setenv("STOP_AFTER", "12")
        evaluate(model, [path], tmp_path / "out", options)
    done = json.loads((tmp_path / "out/predictions.done.json").read_text())["frames_done"]
    assert done == [12]
    resumed = evaluate(model, [path], tmp_path / "out", dataclasses.replace(options, resume=True))
    assert scores(resumed) == scores(whole)
    for name, array in predicted(tmp_path / "whole").items():
        np.testing.assert_array_equal(predicted(tmp_path / "out")[name], array)


@pytest.mark.parametrize("place", ["zarr", "0/zarr", "0/forces/c/0/0/0"])
def test_what_a_killed_write_left_goes(make_frames, write_extxyz, candidate, tmp_path, place):
    """Zarr writes beside the file and renames; a kill between the two leaves what it wrote."""
    path, out = str(write_extxyz(make_frames(5))), tmp_path / "out"
    first = evaluate(f"{candidate}:fast", [path], out, TRUSTED)
    arrays = predicted(out)
    left = out / "predictions.zarr" / f"{place}.2e8f86d402994d75871308838b3dc6bd.partial"
    mine = left.with_name("notes.partial")
    for file in (left, mine):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    (out / "result.json").unlink()
    (out / "report.html").unlink()
    again = evaluate(f"{candidate}:fast", [path], out, dataclasses.replace(TRUSTED, resume=True))
    assert scores(again) == scores(first)
    assert not left.exists()
    assert mine.exists()
    mine.unlink()
    for name, array in predicted(out).items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.slow
def test_kill_9_and_resume(make_frames, write_extxyz, candidate, tmp_path):
    path = str(write_extxyz(make_frames(60)))
    command = [sys.executable, "-m", "zifbench.cli", "evaluate", f"{candidate}:slow"]
    command += ["--data", path, "--tasks", "accuracy", "--trust", "--device", "cpu"]
    environment = os.environ | {"ZIFBENCH_CONFIG_DIR": str(tmp_path / "config")}
    log = tmp_path / "log"

    def run(out, *more):
        with log.open("w") as file:
            return subprocess.Popen(
                [*command, "--out", str(out), *more], env=environment, stdout=file, stderr=file
            )

    assert run(tmp_path / "whole").wait() == 0, log.read_text()
    rng = np.random.default_rng(0)
    for number in range(3):
        out = tmp_path / f"out-{number}"
        victim = run(out)
        while not (out / "run.json").exists() and victim.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.1, 3.0))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert run(out, "--resume").wait() == 0, log.read_text()
        assert scores(load_result(out)) == scores(load_result(tmp_path / "whole"))
        for name, array in predicted(tmp_path / "whole").items():
            np.testing.assert_array_equal(predicted(out)[name], array)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly(make_frames, write_extxyz, candidate, tmp_path, number, code):
    """Ctrl-C, or a batch system at the end of its time: one line, an exit code, nothing lost."""
    path = str(write_extxyz(make_frames(400)))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "zifbench.cli",
        "evaluate",
        f"{candidate}:slow",
        "--data",
        path,
    ]
    command += ["--tasks", "accuracy", "--trust", "--device", "cpu", "--no-conformance"]
    environment = os.environ | {"ZIFBENCH_CONFIG_DIR": str(tmp_path / "config")}
    victim = subprocess.Popen(
        [*command, "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (out / "run.json").exists() and victim.poll() is None:
        time.sleep(0.01)
    time.sleep(1.5)
    victim.send_signal(number)
    _, message = victim.communicate()
    assert victim.returncode == code
    assert message.startswith("stopped; an evaluation that had begun continues with --resume")
    (done,) = json.loads((out / "predictions.done.json").read_text())["frames_done"]
    assert 0 < done < 400


def test_resuming_a_finished_run_changes_nothing(make_frames, write_extxyz, candidate, tmp_path):
    path = str(write_extxyz(make_frames(5)))
    first = evaluate(f"{candidate}:fast", [path], tmp_path / "out", TRUSTED)
    resume = dataclasses.replace(TRUSTED, resume=True)
    assert evaluate(f"{candidate}:fast", [path], tmp_path / "out", resume) == first


@pytest.mark.parametrize(
    ("change", "name"), [({"seed": 1}, "seed"), ({"group_key": "name"}, "group_key")]
)
def test_resuming_with_other_parameters_is_refused(
    make_frames, write_extxyz, candidate, tmp_path, change, name
):
    path = str(write_extxyz(make_frames(5)))
    evaluate(f"{candidate}:fast", [path], tmp_path / "out", TRUSTED)
    other = dataclasses.replace(TRUSTED, resume=True, **change)
    with pytest.raises(ResultError, match=f"was begun with {name}"):
        evaluate(f"{candidate}:fast", [path], tmp_path / "out", other)


def test_resuming_with_other_frames_is_refused(make_frames, write_extxyz, candidate, tmp_path):
    first, second = (str(write_extxyz(make_frames(5, seed=s), f"{s}.extxyz")) for s in (0, 1))
    evaluate(f"{candidate}:fast", [first], tmp_path / "out", TRUSTED)
    with pytest.raises(ResultError, match="was begun with data_digest"):
        evaluate(
            f"{candidate}:fast",
            [second],
            tmp_path / "out",
            dataclasses.replace(TRUSTED, resume=True),
        )


def test_two_runs_in_one_directory_are_refused(make_frames, write_extxyz, candidate, tmp_path):
    from zifbench.benchmark.evaluation import _locked

    path = str(write_extxyz(make_frames(5)))
    evaluate(f"{candidate}:fast", [path], tmp_path / "out", TRUSTED)
    with (
        _locked(tmp_path / "out" / ".zifbench.lock"),
        pytest.raises(ResultError, match="is running"),
    ):
        evaluate(
            f"{candidate}:fast", [path], tmp_path / "out", dataclasses.replace(TRUSTED, resume=True)
        )


def test_directories_that_are_not_ours_are_left_alone(
    make_frames, write_extxyz, candidate, tmp_path
):
    path = str(write_extxyz(make_frames(5)))
    out = tmp_path / "thesis"
    for name in ("chapter.tex", "tasks", "report.html", "run.json"):  # some bear our names
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / name).write_text("years of work")
        for options in (TRUSTED, dataclasses.replace(TRUSTED, overwrite=True)):
            with pytest.raises(ResultError, match="thesis"):
                evaluate(f"{candidate}:fast", [path], out, options)
        assert [p.name for p in out.iterdir()] == [name]
    (out / "run.json").rename(out / "chapter.tex")
    with pytest.raises(ResultError, match="nothing to resume"):
        evaluate(f"{candidate}:fast", [path], out, dataclasses.replace(TRUSTED, resume=True))


def test_overwrite_replaces_a_result(make_frames, write_extxyz, candidate, tmp_path):
    first, second = (str(write_extxyz(make_frames(5, seed=s), f"{s}.extxyz")) for s in (0, 1))
    evaluate(f"{candidate}:fast", [first], tmp_path / "out", TRUSTED)
    with pytest.raises(ResultError, match="not empty"):
        evaluate(f"{candidate}:fast", [second], tmp_path / "out", TRUSTED)
    result = evaluate(
        f"{candidate}:fast",
        [second],
        tmp_path / "out",
        dataclasses.replace(TRUSTED, overwrite=True),
    )
    assert result.data.names == ["1.extxyz"]


@pytest.mark.parametrize(
    ("model", "data", "error"),
    [
        ("gone.pth", "good", ModelError),
        ("candidate", "gone.extxyz", DataError),
        ("candidate", "unlabelled", DataError),
        ("untrusted", "good", UntrustedModelError),
    ],
)
def test_bad_input_writes_nothing(
    make_frames, write_extxyz, candidate, tmp_path, model, data, error
):
    frames = make_frames(3)
    bare = dataclasses.replace(frames, energy=None, forces=None, stress=None)
    files = {
        "good": str(write_extxyz(frames)),
        "unlabelled": str(write_extxyz(bare, "bare.extxyz")),
        "gone.extxyz": str(tmp_path / "gone.extxyz"),
    }
    options = dataclasses.replace(TRUSTED, trust=model != "untrusted")
    name = str(tmp_path / "gone.pth") if model == "gone.pth" else f"{candidate}:fast"
    with pytest.raises(error):
        evaluate(name, [files[data]], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_an_error_and_then_a_clean_resume(
    make_frames, write_extxyz, candidate, tmp_path, monkeypatch
):
    """Writing fails half way, as with no space left; later there is room again."""
    path = str(write_extxyz(make_frames(20)))
    model, options = f"{candidate}:fast", dataclasses.replace(TRUSTED, conformance=False)
    whole = evaluate(model, [path], tmp_path / "whole", options)

    def full(file, text):
        if file.name == "accuracy.json":
            raise OSError(28, "No space left on device", str(file))
        write_text_atomically(file, text)

    with monkeypatch.context() as context:
        context.setattr("zifbench.benchmark.evaluation.write_text_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            evaluate(model, [path], tmp_path / "out", options)
    assert not (tmp_path / "out" / "result.json").exists()
    resumed = evaluate(model, [path], tmp_path / "out", dataclasses.replace(options, resume=True))
    assert scores(resumed) == scores(whole)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_text_atomically(file, "old")

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_text_atomically(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_kill_while_overwriting_leaves_a_usable_directory(
    make_frames, write_extxyz, candidate, tmp_path, monkeypatch
):
    """Stopped after each single removal: both --resume and --overwrite still work."""
    path = str(write_extxyz(make_frames(5)))
    model, options = f"{candidate}:fast", dataclasses.replace(TRUSTED, conformance=False)
    whole = evaluate(model, [path], tmp_path / "whole", options)
    for removals in range(7):
        for continuation in ("resume", "overwrite"):
            out = tmp_path / f"{removals}-{continuation}"
            evaluate(model, [path], out, options)
            left = iter(range(removals))

            def removing(original, left=left):
                def remove(*args, **kwargs):
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return original(*args, **kwargs)

                return remove

            with monkeypatch.context() as context:
                context.setattr("pathlib.Path.unlink", removing(Path.unlink))
                context.setattr("shutil.rmtree", removing(shutil.rmtree))
                with pytest.raises(KeyboardInterrupt):
                    evaluate(model, [path], out, dataclasses.replace(options, overwrite=True))
            again = dataclasses.replace(options, **{continuation: True})
            assert scores(evaluate(model, [path], out, again)) == scores(whole)


def test_lost_predictions_are_said(make_frames, write_extxyz, candidate, tmp_path):
    path = str(write_extxyz(make_frames(5)))
    out = tmp_path / "out"
    evaluate(f"{candidate}:fast", [path], out, TRUSTED)
    (out / "result.json").unlink()
    shutil.rmtree(out / "predictions.zarr")
    with pytest.raises(ResultError, match=r"is damaged at part 0.*--overwrite"):
        evaluate(f"{candidate}:fast", [path], out, dataclasses.replace(TRUSTED, resume=True))


def test_a_damaged_chunk_is_said(make_frames, write_extxyz, candidate, tmp_path):
    path = str(write_extxyz(make_frames(5)))
    out = tmp_path / "out"
    evaluate(f"{candidate}:fast", [path], out, TRUSTED)
    (out / "result.json").unlink()
    (chunk,) = [p for p in (out / "predictions.zarr/0/forces/c").rglob("*") if p.is_file()]
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ResultError, match="is damaged at part 0"):
        evaluate(f"{candidate}:fast", [path], out, dataclasses.replace(TRUSTED, resume=True))


def test_resuming_with_another_factory_of_the_same_file_is_refused(
    make_frames, write_extxyz, candidate, tmp_path
):
    path = str(write_extxyz(make_frames(5)))
    evaluate(f"{candidate}:fast", [path], tmp_path / "out", TRUSTED)
    with pytest.raises(ResultError, match="was begun with model = "):
        evaluate(
            f"{candidate}:no_stress",
            [path],
            tmp_path / "out",
            dataclasses.replace(TRUSTED, resume=True),
        )


def test_forces_of_the_wrong_shape_are_refused_and_nothing_is_left(
    make_frames, write_extxyz, candidate, tmp_path
):
    path = str(write_extxyz(make_frames(5)))
    with pytest.raises(ModelError, match=r"forces of shape \(1, 2, 3\), wanted \(1, 4, 3\)"):
        evaluate(f"{candidate}:wrong_shape", [path], tmp_path / "out", TRUSTED)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".zifbench.lock"]


def test_a_file_given_twice_is_refused(make_frames, write_extxyz):
    path = str(write_extxyz(make_frames(5)))
    with pytest.raises(DataError, match="given twice"):
        load_data([path, path])


def test_a_mistyped_label_is_refused(make_frames, write_extxyz, candidate, tmp_path):
    path = str(write_extxyz(make_frames(5)))
    options = dataclasses.replace(TRUSTED, group_key="phse")
    with pytest.raises(UnknownNameError, match="unknown label 'phse'; did you mean phase"):
        evaluate(f"{candidate}:fast", [path], tmp_path / "out", options)


def test_max_frames_takes_them_evenly(make_frames, write_extxyz):
    path = str(write_extxyz(make_frames(10)))
    (part,) = load_data([path], max_frames=4)
    np.testing.assert_array_equal(part.source_index, [0, 3, 6, 9])
    with pytest.raises(DataError, match="wanted at least 1"):
        load_data([path], max_frames=0)


def test_the_digest_names_the_frames(make_frames, write_extxyz):
    same = [write_extxyz(make_frames(3), name) for name in ("a.extxyz", "b.extxyz")]
    other = write_extxyz(make_frames(3, seed=1), "c.extxyz")
    digests = [data_digest(load_data([str(path)])) for path in (*same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text('{"schema_version": 99}')
    with pytest.raises(ZifbenchError, match=r"result.json is not a valid Result.*schema_version"):
        load_result(tmp_path)
    with pytest.raises(ResultError, match=r"no result\.json"):
        load_result(tmp_path / "elsewhere")
