"""Job scripts of `examples/slurm`: what they make of their words is what zifbench understands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from zifbench.cli import app

SCRIPTS = Path(__file__).parent.parent / "examples" / "slurm"
ZIFBENCH = """#!{python}
import json, sys
print(json.dumps(sys.argv[1:]), file=open({called!r}, "a"))
if "--list" in sys.argv:
    print("a/split/1\\na/split/2\\n")
"""
JOB = {"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_ARRAY_TASK_ID": "2"}


@pytest.fixture
def submit(tmp_path):
    """Run a script as SLURM would: its exit code, and what it called zifbench with."""
    program, called = tmp_path / "bin" / "zifbench", tmp_path / "called"
    program.parent.mkdir()
    program.write_text(ZIFBENCH.format(python=sys.executable, called=str(called)))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def run(name, *words, **variables):
        called.write_text("")
        environment = {"PATH": path, **JOB, **variables}
        command = ["bash", SCRIPTS / f"{name}.sbatch", *words]
        outcome = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)
        return outcome.returncode, [json.loads(line) for line in called.read_text().splitlines()]

    return run


def understood(words):
    """The options of a command line, as the program takes them."""
    command = typer.main.get_command(app)
    context = command.make_context("zifbench", list(words), resilient_parsing=True)
    name, command, rest = command.resolve_command(context, list(words))
    return command.make_context(name, list(rest)).params


def test_a_training_has_all_gpus_of_the_job(submit, tmp_path):
    code, [words] = submit("train", "a recipe", "--data", "d", "--split", "s", "--out", "o")
    assert code == 0
    options = understood(words)
    assert (options["recipe"], options["nodes"], options["devices"]) == ("a recipe", 2, 4)


def test_a_job_of_a_sweep_does_one_training(submit):
    words = ("a grid", "--data", "d", "--out", "o", "--set", "epochs=1")
    code, (asked, done) = submit("sweep", *words)
    assert code == 0
    assert understood(asked)["names"] is True
    assert understood(done)["only"] == ["a/split/2"]
    assert understood(done)["change"] == ["epochs=1"]
    code, calls = submit("sweep", *words, SLURM_ARRAY_TASK_ID="3")
    assert (code, len(calls)) == (2, 1)


def test_a_job_evaluates_one_model_and_goes_on_with_it(submit, tmp_path):
    models = ("a.zip", "b c.zip")
    code, [words] = submit("evaluate", *models)
    options = understood(words)
    assert (code, options["model"], options["out"]) == (0, "b c.zip", Path("results/2"))
    assert (str(options["profile"]), options["resume"]) == ("standard", False)
    (tmp_path / "r" / "2").mkdir(parents=True)
    (tmp_path / "r" / "2" / "run.json").touch()
    _, [words] = submit("evaluate", *models, OUT="r", OPTIONS="--tasks accuracy,speed")
    options = understood(words)
    assert (options["resume"], options["tasks"]) == (True, "accuracy,speed")
    assert submit("evaluate", "a.zip")[0] != 0  # there is no second one
