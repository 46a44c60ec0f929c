"""Any trainer takes an exported split and hands back a model that `evaluate` loads.

The road of `examples/mace`, with a trainer of twenty lines: it reads extxyz with ASE, fits the two
coefficients of Lennard-Jones, and leaves a file that a factory reads. The labels are ASE's
Lennard-Jones too, so that a unit or a sign lost on the way shows in the scores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

import zifbench
from zifbench.benchmark.evaluation import Options, evaluate
from zifbench.benchmark.result import load_result
from zifbench.errors import ResultError
from zifbench.frames import Frames
from zifbench.leaderboard.entries import load_board

ROOT = Path(zifbench.__file__).parent.parent

# Only what any trainer has: extxyz files, ASE, NumPy. Energy, forces and stress are linear in A and
# B of A/r¹² - B/r⁶, both cut and shifted at 5 Å; all three are fitted together.
TRAINER = """
import json, sys
import ase.io, numpy as np
from ase.neighborlist import neighbor_list

def parts(atoms, sign, n):
    i, r, vector = neighbor_list("idD", atoms, 5.0)
    energy = sign * np.sum(r**-n - 5.0**-n) / 2
    pull = (sign * -n * r ** (-n - 2))[:, None] * vector  # of the neighbour, on atom i
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    stress = pull.T @ vector / 2 / atoms.get_volume()
    return np.concatenate([[energy], forces.ravel(), stress.ravel()])

rows, labels = [], []
for atoms in ase.io.iread(sys.argv[1]):
    rows.append(np.transpose([parts(atoms, 1, 12), parts(atoms, -1, 6)]))
    stress = atoms.get_stress(voigt=False)
    labels += [[atoms.get_potential_energy()], atoms.get_forces().ravel(), stress.ravel()]
(a, b), *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(labels), rcond=None)
with open("model.json", "w") as file:
    json.dump({"sigma": (a / b) ** (1 / 6), "epsilon": b * b / 4 / a}, file)
"""

CALCULATOR = """
import json
from pathlib import Path

from ase.calculators.lj import LennardJones

WEIGHTS = Path(__file__).with_name("model.json")

def factory():
    calculator = LennardJones(**json.loads(WEIGHTS.read_text()), rc=5.0)
    calculator.zifbench_card = {
        "architecture": "Lennard-Jones", "species": ["Zn", "N"], "cutoff_A": 5, "dtype": "float64",
        "n_parameters": 2, "weights": [WEIGHTS],
    }
    return calculator
"""

# zifbench where its extra `nequip` is not installed.
PLAIN = """
import sys

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "nequip", "allegro", "e3nn", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
from zifbench.cli import main
main()
"""


def zifbench_(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder."""
    return python("-c", PLAIN, *words, folder=folder)


def python(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve frames of 32 atoms at random strains, as `data ingest` takes them."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        atoms = bulk("Zn", "fcc", a=4.6, cubic=True) * 2
        atoms.set_atomic_numbers(np.where(np.arange(len(atoms)) % 4, 7, 30))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.rattle(0.15, rng=rng)
        atoms.calc = LennardJones(sigma=2.9, epsilon=0.05, rc=5.0)
        atoms.get_stress()
        atoms.info["state"] = "solid"
        frames.append(atoms)
    ase.io.write(tmp_path / "labelled.extxyz", frames)
    made = zifbench_(
        "data", "ingest", "labelled.extxyz", "--out", "store", "--exact", "--by", "state",
        folder=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return tmp_path / "store"


def test_export_train_elsewhere_evaluate(store: Path) -> None:
    folder = store.parent
    for words in (
        ["split", "store", "--generator", "random", "--train", 6, "--test", 3, "--out", "s.json"],
        ["export", "store", "--split", "s.json", "--subset", "train", "--subset", "validation",
         "--format", "extxyz", "--out", "frames"],
    ):  # fmt: skip
        made = zifbench_("data", *words, folder=folder)
        assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in (folder / "frames").glob("*.extxyz")) == [
        "train.extxyz",
        "validation.extxyz",
    ]
    (folder / "train.py").write_text(TRAINER)
    (folder / "calculator.py").write_text(CALCULATOR)
    trained = python("train.py", "frames/train.extxyz", folder=folder)
    assert trained.returncode == 0, trained.stderr
    fitted = json.loads((folder / "model.json").read_text())
    assert fitted == pytest.approx({"sigma": 2.9, "epsilon": 0.05}, rel=1e-6)

    words = ["evaluate", "calculator.py:factory", "--trust", "--data", "store", "--split", "s.json"]
    made = zifbench_(*words, "--tasks", "accuracy,speed", "--out", "result", folder=folder)
    assert made.returncode == 0, made.stderr
    result = load_result(folder / "result")
    assert result.conforms, result.failed_checks
    assert (result.data.n_frames, result.model.architecture) == (3, "Lennard-Jones")
    assert (result.model.n_parameters, len(result.model.weights_sha256)) == (2, 1)
    scores = {m.quantity: m.value for m in result.measurements() if m.subset == {}}
    for quantity in ("energy_mae", "force_mae", "stress_mae"):  # meV/atom, meV/Å, MPa
        assert scores[quantity] < 1e-4, quantity

    added = zifbench_("leaderboard", "add", "result", "--board", "b", "--name", "lj", folder=folder)
    assert added.returncode == 0, added.stderr
    assert [entry.model.architecture for entry in load_board(folder / "b")] == ["Lennard-Jones"]


def test_other_weights_are_another_model(
    make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path], tmp_path: Path
) -> None:
    """The factory's file is the same; a result that was begun with other weights is refused."""
    data = [str(write_extxyz(make_frames(3, "ZnN")))]
    (tmp_path / "calculator.py").write_text(CALCULATOR)
    weights = tmp_path / "model.json"
    options = Options(tasks=("accuracy",), conformance=False, trust=True, device="cpu")
    go_on = dataclasses.replace(options, resume=True)
    model = f"{tmp_path / 'calculator.py'}:factory"
    weights.write_text('{"sigma": 2.9, "epsilon": 0.05}')
    evaluate(model, data, tmp_path / "result", options)
    evaluate(model, data, tmp_path / "result", go_on)
    weights.write_text('{"sigma": 2.9, "epsilon": 0.06}')
    with pytest.raises(ResultError, match="was begun with model_sha256 = "):
        evaluate(model, data, tmp_path / "result", go_on)
