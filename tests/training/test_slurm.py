"""Several nodes of a SLURM job: what is refused, what srun is given, and a whole training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zifbench
from tests.training.stores import TINY, tiny_store
from zifbench.errors import DataError
from zifbench.training import slurm
from zifbench.training.curve import read_curve

torch = pytest.importorskip("torch")
pytest.importorskip("nequip")

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4"}
# srun as far as a training sees it: a process for each task, each with its place in the job.
SRUN = """#!{python}
import json, os, subprocess, sys
options = dict(word[2:].split("=") for word in sys.argv[1:] if "=" in word and word[:2] == "--")
program = sys.argv[next(k for k, word in enumerate(sys.argv) if k and word[:2] != "--"):]
nodes, each = int(options["nodes"]), int(options["ntasks-per-node"])
tasks = int(options.get("ntasks", os.environ["SLURM_NTASKS"]))  # of the job, if nothing is said
if tasks != nodes * each:
    each = -(-tasks // nodes)
step = {{"SLURM_NNODES": nodes, "SLURM_NTASKS_PER_NODE": each, "SLURM_NTASKS": nodes * each}}
step["SLURM_NODELIST"] = "127.0.0.1"
tasks = []
for task in range(nodes * each):
    place = {{"PROCID": task, "NODEID": task // each, "LOCALID": task % each}}
    step |= {{"SLURM_" + name: value for name, value in place.items()}}
    variables = os.environ | {{name: str(value) for name, value in step.items()}}
    tasks.append(subprocess.Popen(program, env=variables))
with open({called!r}, "w") as file:
    json.dump(sys.argv[1:], file)
sys.exit(max([abs(task.wait()) for task in tasks]))
"""


@pytest.fixture
def job(monkeypatch, tmp_path):
    """In a job of two nodes; gives the place of what its srun was called with."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    program, called = tmp_path / "bin" / "srun", tmp_path / "called.json"
    program.parent.mkdir()
    program.write_text(SRUN.format(python=sys.executable, called=str(called)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return called


@pytest.mark.parametrize(
    ("nodes", "changes", "message"),
    [
        (3, {}, r"--nodes 3: the SLURM job has 2; ask for more \(sbatch --nodes 3\)"),
        (2, {"SLURM_JOB_ID": None}, "--nodes 2: .* and this is none; begin the command in a batch"),
        (2, {"PATH": "/nowhere"}, "--nodes 2: .* and this is none"),
        (1, {"SLURM_STEP_NUM_TASKS": "4"}, "begun 4 times at once by srun; begin it once"),
        (2, {"SLURM_STEP_NUM_TASKS": "4"}, "begun 4 times at once by srun; begin it once"),
    ],
)
def test_what_srun_could_not_do_is_refused(monkeypatch, job, nodes, changes, message):
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=message):
        slurm.check_nodes(nodes)


def test_nodes_that_are_there_are_taken(monkeypatch, job):
    slurm.check_nodes(2)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # begun by srun, but once
    slurm.check_nodes(1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PTY_PORT", "40001")  # typed in a shell that srun has begun
    slurm.check_nodes(2)
    for name in JOB:
        monkeypatch.delenv(name)
    slurm.check_nodes(1)


def test_what_srun_is_given(monkeypatch, job):
    assert slurm.launcher(1, 4) == []
    words = slurm.launcher(2, 4)
    assert words[0] == "srun"
    assert {"--nodes=2", "--ntasks=8", "--ntasks-per-node=4"} <= set(words)
    assert {"--kill-on-bad-exit=1", "--overlap", "--export=ALL"} <= set(words)
    assert not any(word.startswith("--cpus-per-task") for word in words)
    # The cores of a node, whatever the job's own tasks are.
    for cores, tasks, each in (("8", "4", 8), ("32", None, 8), ("2", None, 1)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", cores)
        if tasks is not None:
            monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
        assert f"--cpus-per-task={each}" in slurm.launcher(2, 4)
        monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one(job, tmp_path, make_frames):
    """In the same job, once across nodes and once on this one alone, which must not see the job."""
    store, split = tiny_store(tmp_path, make_frames)
    command = [sys.executable, "-m", "zifbench.cli", "train", "nequip-small"]
    command += ["--data", str(store), "--split", str(split), "--threads", "1", "--device", "cpu"]
    command += ["--epochs", "3", *(word for change in TINY for word in ("--set", change))]
    environment = os.environ | {"PYTHONPATH": str(Path(zifbench.__file__).parent.parent)}
    found = {}
    for option in ("--nodes", "--devices"):
        out = tmp_path / option
        words = [*command, "--out", str(out), option, "2"]
        outcome = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stderr
        assert job.is_file() == (option == "--nodes")
        job.unlink(missing_ok=True)
        assert json.loads((out / "training.json").read_text())["request"]["devices"] == 2
        assert "1/2" in (out / "seed-666" / "train.log").read_text()  # MEMBER: 1/2
        curve = read_curve(out / "seed-666" / "curve.csv")
        state = torch.load(out / "seed-666" / "best.ckpt", weights_only=False)["state_dict"]
        found[option] = [{k: v for k, v in row.items() if k != "seconds"} for row in curve], state
    (one, first), (other, second) = found.values()
    assert one == other
    assert len(one) == 3
    tensors = [name for name, value in first.items() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(first[name], second[name]) for name in tensors)
