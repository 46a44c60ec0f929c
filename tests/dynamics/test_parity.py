"""What an engine computes against the model itself: what passes, and every kind of difference."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from zifbench.dynamics.engine_checks import spring_crystal, springs
from zifbench.dynamics.parity import ase_path, parity_checks, refuse_failed
from zifbench.dynamics.simulate import simulate
from zifbench.errors import ModelError
from zifbench.frames import Frames
from zifbench.potentials.ase_potential import AsePotential
from zifbench.potentials.card import ModelCard
from zifbench.potentials.loading import load_eager_float64, load_potential
from zifbench.profiles import Profile


@pytest.fixture
def potential() -> AsePotential:
    card = ModelCard(name="springs", file="springs", format="x", sha256="0", size_bytes=0)
    return AsePotential(card, springs(), device="cpu")


@pytest.fixture
def starts() -> list[Frames]:
    other = spring_crystal()
    other.rattle(0.1, seed=1)
    return [Frames.from_ase(spring_crystal()), Frames.from_ase(other)]


def failed(checks) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_the_published_kind_of_model_is_what_the_engine_computes(zif4) -> None:
    potential = load_potential("nequip-small", device="cpu")
    exact = load_eager_float64("nequip-small", device="cpu")
    assert (potential.card.dtype, exact.card.dtype) == ("float32", "float64")
    checks = parity_checks(potential, ase_path(potential), [zif4[0]], exact=exact)
    assert failed(checks) == []
    assert [check.name for check in checks] == [
        "engine = eager float64", "memory layout", "together = alone",
    ]  # fmt: skip


def test_float64_is_float64(zif4) -> None:
    """A shift of all atoms changes forces by 1e-13 eV/Å; in float32 it would be 1e-6."""
    exact = load_eager_float64("nequip-small", device="cpu")
    moved = dataclasses.replace(zif4[0], positions=zif4.positions[:1] + np.array([3.1, -2.3, 1.7]))
    found = [exact.collect(exact.forward(exact.prepare(f)), f) for f in (zif4[0], moved)]
    assert np.abs(found[0].forces - found[1].forces).max() < 1e-11


@pytest.mark.parametrize("with_exact", [True, False])
def test_an_engine_that_computes_the_model(potential, starts, with_exact) -> None:
    exact = potential if with_exact else None
    checks = parity_checks(potential, ase_path(potential), starts, exact=exact)
    assert failed(checks) == []
    refuse_failed(checks)
    if not with_exact:
        assert checks[0].detail.startswith("the model has no eager form in float64; forces")
        assert not checks[0].required
        names = ["engine = model", "forces = -dE/dx", "stress = dE/dstrain / V"]
        assert [c.name for c in checks[1:4]] == names


def scaled(path, **factors):
    """The path with some of its results multiplied."""

    def broken(frames):
        return [
            dataclasses.replace(p, **{k: getattr(p, k) * f for k, f in factors.items()})
            for p in path(frames)
        ]

    return broken


@pytest.mark.parametrize("with_exact", [True, False])
@pytest.mark.parametrize("factors", [{"forces": 1.01}, {"stress": -1.0}, {"energy": 1.01}])
def test_wrong_numbers(potential, starts, with_exact, factors) -> None:
    exact = potential if with_exact else None
    path = scaled(ase_path(potential), **factors)
    found = failed(parity_checks(potential, path, starts, exact=exact))
    if with_exact:
        assert found == ["engine = eager float64"]
    else:
        assert found[0] == "engine = model"
        assert found[1] in ("forces = -dE/dx", "stress = dE/dstrain / V")


def test_input_that_is_read_as_if_it_lay_in_one_piece(potential, starts) -> None:
    right = ase_path(potential)

    def path(frames):
        assumed = []
        for frame in frames:
            positions = frame.positions
            if not positions.flags.c_contiguous:
                base = positions.base if positions.base.ndim == 2 else positions.base.base
                positions = np.ravel(base)[: positions.size].reshape(positions.shape)
            assumed.append(dataclasses.replace(frame, positions=positions))
        return right(assumed)

    checks = parity_checks(potential, path, starts, exact=potential)
    assert failed(checks) == ["memory layout"]


def test_a_batch_that_mixes_its_systems(potential, starts) -> None:
    right = ase_path(potential)

    def path(frames):
        found = right(frames)
        mean = sum(p.forces for p in found) / len(found)
        return [dataclasses.replace(p, forces=mean) for p in found]

    assert failed(parity_checks(potential, path, starts, exact=potential)) == ["together = alone"]


def test_a_failure_is_refused_in_one_sentence(potential, starts) -> None:
    checks = parity_checks(
        potential, scaled(ase_path(potential), forces=1.01), starts, exact=potential
    )
    with pytest.raises(ModelError, match=r"engine = eager float64 fails by .* meV/Å, .* tolerated"):
        refuse_failed(checks)


FACTORY = """
from zifbench.dynamics.engine_checks import springs
from zifbench.dynamics.known import SpringCrystal

class Wrong(SpringCrystal):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = 1.05 * self.results["forces"]

def right():
    return springs()

def wrong():
    found = springs()
    found.__class__ = Wrong
    return found
"""
PROTOCOL = """
schema = 1
about = ""
source = ""
start = "x"
[[stages]]
name = "nvt"
ensemble = "nvt"
temperature_K = 300
length_ps = { quick = 0.005, standard = 1, paper = 1 }
sample_fs = 5
"""


def test_a_run_is_refused_or_marked(tmp_path) -> None:
    (tmp_path / "model.py").write_text(FACTORY)
    (tmp_path / "own.toml").write_text(PROTOCOL)
    spring_crystal().write(tmp_path / "start.extxyz")

    def go(factory: str, out: str, **options) -> None:
        simulate(
            str(tmp_path / "own.toml"), f"{tmp_path / 'model.py'}:{factory}", tmp_path / out,
            profile=Profile.QUICK, starts=[str(tmp_path / "start.extxyz")], trust=True, **options,
        )  # fmt: skip

    def record(out: str) -> list[dict]:
        return json.loads((tmp_path / out / "run.json").read_text())["parity"]

    with pytest.raises(ModelError, match="forces = -dE/dx fails"):
        go("wrong", "bad")
    assert not (tmp_path / "bad").exists()
    go("wrong", "bad", despite_parity=True)
    assert not all(row["passed"] for row in record("bad"))
    go("right", "good")
    assert all(row["passed"] for row in record("good"))
    assert len(record("good")) == 6
