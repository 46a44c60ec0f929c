"""The command line: what is printed, exit codes, what is imported."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import zifbench
from zifbench.bundled import BUNDLED_DATA, BUNDLED_MODELS
from zifbench.potentials.formats import sha256_of

ROOT = Path(zifbench.__file__).parent.parent


def run(*arguments, cwd=None, **environment):
    """Run the program as a user would; its outcome with text."""
    return subprocess.run(
        [sys.executable, "-m", "zifbench.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)} | environment,
        check=False,
    )


def test_help_lists_the_commands():
    outcome = run("--help")
    assert outcome.returncode == 0
    for command in (
        "evaluate",
        "analyse",
        "tasks",
        "doctor",
        "leaderboard",
        "--install-completion",
    ):
        assert command in outcome.stdout


def test_version():
    assert run("--version").stdout.strip() == f"zifbench {zifbench.__version__}"


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["leaderboard", "show"],
        ["evaluate", "--help"],
        ["analyse", "--help"],
        ["train", "--help"],
        ["models"],
    ],
)
def test_light_commands_import_nothing_heavy(command):
    """Half a second to the prompt: no torch, no nequip, no numpy, also where there is a board."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'nequip', 'numpy', 'matplotlib'}"
        " & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['zifbench', *{command!r}]\n"
        "from zifbench.cli import main\n"
        "main()\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert "HEAVY []" in outcome.stderr
    assert outcome.returncode == 0, outcome.stderr


def test_tasks_and_doctor_as_json():
    tasks = json.loads(run("tasks", "--json").stdout)
    assert tasks["speed"]["lengths"]["paper"] == "300 calls after 6 for warm-up"
    assert tasks["glass"]["lengths"] == {
        "quick": "0.2 ps", "standard": "10 × 25 ps", "paper": "10 × 100 ps",
    }  # fmt: skip
    assert tasks["melt-quench"]["lengths"]["paper"] == "10 × 390 ps and more"
    doctor = json.loads(run("doctor", "--json").stdout)
    assert doctor["zifbench"] == zifbench.__version__
    assert doctor["packages"]["numpy"]


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Command lines that must be refused, with words of the sentence."""
    model = BUNDLED_MODELS["nequip-small"].path
    frames = BUNDLED_DATA["zif4-own-test"].path.read_text()
    first = "".join(frames.splitlines(keepends=True)[:274])

    def write(name: str, content: str | bytes) -> str:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    header, energy = first.splitlines()[1], "energy=-60078"
    assert energy in header
    small = ["evaluate", "nequip-small"]
    return {
        "no such model": (["evaluate", "gone.pth"], "no such model file"),
        "not a model": (["evaluate", write("a.pth", "hello")], "is not a model file"),
        "truncated model": (
            ["evaluate", write("b.nequip.zip", model.read_bytes()[:5000])],
            "truncated or damaged",
        ),
        "pickle": (["evaluate", write("c.pth", pickle.dumps({}))], "add --trust"),
        "no module": (["evaluate", "no_such_module:make", "--trust"], "no module no_such_module"),
        "unknown task": ([*small, "--tasks", "acuracy"], "did you mean accuracy"),
        "unknown profile": ([*small, "--profile", "fast"], "unknown profile 'fast'"),
        "unknown device": ([*small, "--device", "tpu"], "no device 'tpu'"),
        "subset of nothing": ([*small, "--subset", "train"], "give --split too"),
        "epochs twice": (
            [
                "train",
                "hdnnp-small",
                "--data",
                "d",
                "--split",
                "s",
                "--out",
                "o",
                "--epochs",
                "3",
                "--set",
                "epochs=4",
            ],
            "--epochs 3 and --set epochs=4 contradict",
        ),
        "unknown option": ([*small, "--bogus"], "No such option"),
        "unlabelled": (
            [*small, "--data", write("d.extxyz", _without_labels(first))],
            "needs labels",
        ),
        "nan": (
            [*small, "--data", write("e.extxyz", first.replace(energy, "energy=nan #"))],
            "energy",
        ),
        "no zinc": (
            [*small, "--data", write("f.extxyz", first.replace("\nZn", "\nCd"))],
            "but not Cd",
        ),
        "thin cell": (
            [*small, "--data", write("g.extxyz", first.replace("14.732766543997442", "3.0"))],
            "3.00 Å thin",
        ),
        "truncated frames": ([*small, "--data", write("h.extxyz", first[:-300])], "truncated"),
        "resume nothing": ([*small, "--resume"], "nothing to resume"),
        "no board": (["leaderboard", "show", "--board", "nowhere"], "no leaderboard at nowhere"),
        "no result": (["leaderboard", "add", "nowhere"], "no result.json at nowhere"),
    }


def _without_labels(frame: str) -> str:
    import re

    frame = re.sub(r'energy=\S+ stress="[^"]*"', "", frame)
    return frame.replace(":forces:R:3", ":old:R:3")


CASES = [
    "no such model", "not a model", "truncated model", "pickle", "no module", "unknown task",
    "unknown profile", "unknown device", "subset of nothing", "epochs twice",
    "unknown option", "unlabelled", "nan", "no zinc",
    "thin cell", "truncated frames", "resume nothing", "no board", "no result",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_exit_code_2(case, tmp_path):
    arguments, words = bad_inputs(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    outcome = run(*arguments, cwd=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert sorted(tmp_path.iterdir()) == before
    if case != "unknown option":
        assert len(outcome.stderr.strip().splitlines()) == 1


def test_all_cases_are_tested(tmp_path):
    assert sorted(bad_inputs(tmp_path)) == sorted(CASES)


def test_evaluate_then_add_then_show(tmp_path):
    """The whole way, as in the README."""
    pytest.importorskip("nequip")
    outcome = run("evaluate", "nequip-small", "--tasks", "accuracy", "--json", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["model"]["name"] == "nequip-small"
    assert run("leaderboard", "add", "results/nequip-small", cwd=tmp_path).returncode == 0
    shown = run("leaderboard", "show", "--sort", "energy", cwd=tmp_path)
    assert "nequip-small" in shown.stdout
    markdown = run("leaderboard", "show", "--markdown", cwd=tmp_path).stdout
    assert "| nequip-small | NequIP |" in markdown


def test_a_full_disk_is_one_sentence(make_frames, write_extxyz, tmp_path):
    """No file may grow beyond 3 kB: what a quota or a full disk does to the predictions."""
    path = str(write_extxyz(make_frames(200)))
    (tmp_path / "lj.py").write_text("from ase.calculators.lj import LennardJones as make\n")
    arguments = ["evaluate", "lj.py:make", "--data", path, "--tasks", "accuracy", "--trust"]
    arguments += ["--no-conformance", "--device", "cpu"]
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))\n"
        f"sys.argv = ['zifbench', *{arguments!r}]\n"
        "from zifbench.cli import main\n"
        "main()\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert outcome.returncode == 2, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "too large" in outcome.stderr
    assert "make room, then run it again with --resume" in outcome.stderr
    assert not (tmp_path / "results/lj.py-make/result.json").exists()
    again = run(*arguments, "--resume", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_a_terminal_without_unicode_gets_the_table(make_frames, write_extxyz, tmp_path):
    path = str(write_extxyz(make_frames(5), "é.extxyz"))
    (tmp_path / "lj.py").write_text("from ase.calculators.lj import LennardJones as make\n")
    arguments = ["evaluate", "lj.py:make", "--data", path, "--tasks", "accuracy", "--trust"]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    outcome = run(*arguments, "--no-conformance", cwd=tmp_path, **ascii_only)
    assert outcome.returncode == 0, outcome.stderr
    assert "Forces, mean absolute error" in outcome.stdout


@pytest.mark.parametrize("table", [BUNDLED_DATA, BUNDLED_MODELS])
def test_bundled_files_are_what_they_are_said_to_be(table):
    for bundled in table.values():
        assert sha256_of(bundled.path) == bundled.sha256
