"""`zifbench md`: from names to a run, and what is refused before any step."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from zifbench.cli import app
from zifbench.dynamics.simulate import forecast_protocols, simulate
from zifbench.dynamics.starts import read_starts
from zifbench.errors import (
    DataError,
    ModelError,
    ResultError,
    SpeciesError,
    UnknownNameError,
    ZifbenchError,
)
from zifbench.profiles import Profile

PROTOCOL = """
schema = 1
about = "warm"
source = "here"
start = "castel2024/crystal.lmp"

[[stages]]
name = "warm"
ensemble = "{ensemble}"
temperature_K = 300
length_ps = {{ quick = 0.01, standard = 1, paper = 1 }}
sample_fs = 5
"""
FACTORY = """
from ase.calculators.emt import EMT

class NoStress(EMT):
    implemented_properties = ("energy", "forces")

def with_stress():
    return EMT()

def without():
    return NoStress()
"""


OVERLAP = "^overlap, before any step: Cu 0 and Cu 1 are 0.05 Å apart; mend the structure$"


@pytest.fixture
def place(tmp_path) -> Path:
    for ensemble in ("nvt", "npt"):
        text = PROTOCOL.format(ensemble=ensemble)
        (tmp_path / f"own-{ensemble}.toml").write_text(text)
    (tmp_path / "model.py").write_text(FACTORY)
    copper = bulk("Cu", cubic=True).repeat(2)
    ase.io.write(tmp_path / "copper.extxyz", copper)
    frames = [bulk("Cu", a=a, cubic=True).repeat(2) for a in (3.5, 3.6, 3.7)]
    ase.io.write(tmp_path / "three.extxyz", frames)
    copper.positions[1] = copper.positions[0] + [0.05, 0.0, 0.0]
    ase.io.write(tmp_path / "overlap.extxyz", copper)
    return tmp_path


def test_a_protocol_and_a_model_of_ones_own(place) -> None:
    arguments = [
        "md", "run", str(place / "own-npt.toml"), f"{place / 'model.py'}:with_stress", "--trust",
        "--start", str(place / "copper.extxyz"), "--out", str(place / "run"), "--json",
    ]  # fmt: skip
    found = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert found.exit_code == 0
    (outcome,) = json.loads(found.stdout)
    assert (outcome["replica"], outcome["ended"], outcome["time_fs"]) == (
        "copper", "completed", 10.0,
    )  # fmt: skip
    recorded = json.loads((place / "run" / "run.json").read_text())
    assert recorded["run"]["protocol"]["name"] == "own-npt"


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"model": "without"}, ModelError, "gives no stress, which stage warm of own-npt needs"),
        ({"starts": ["nowhere.cif"]}, DataError, r"^nowhere.cif: no such file; if .{,120}$"),
        ({"starts": ["no/crystal.lmp"]}, DataError, "no such .* mean castel2024/crystal.lmp"),
        ({"starts": ["qqqq"]}, UnknownNameError, r"^unknown asset 'qqqq'; `zifbench data assets`"),
        ({"starts": ["three.extxyz"]}, DataError, "holds 3 frames, .* as in three.extxyz@0"),
        ({"starts": ["three.extxyz@3"]}, DataError, "holds 3 frames; wanted .* from -3 to 2"),
        ({"starts": ["three.extxyz@x"]}, DataError, "'x' is no number of a frame"),
        ({"starts": ["three.extxyz@2", "three.extxyz@-1"]}, DataError, "'three-frame2' is there"),
        ({"starts": ["overlap.extxyz"]}, DataError, OVERLAP),
        ({"starts": ["copper.extxyz", "copper.extxyz"]}, DataError, "called 'copper' is there"),
        ({"protocol": "nvt-cristal"}, UnknownNameError, "did you mean nvt-crystal"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_step(place, monkeypatch, options, error, reason):
    monkeypatch.chdir(place)
    wanted = {"protocol": "own-npt.toml", "model": "with_stress", "starts": ["copper.extxyz"]}
    wanted |= options
    with pytest.raises(error, match=reason):
        simulate(
            wanted["protocol"], f"model.py:{wanted['model']}", place / "run",
            profile=Profile.QUICK, starts=wanted["starts"], trust=True,
        )  # fmt: skip
    assert not (place / "run").exists()


def test_a_model_that_cannot_mean_these_atoms(place, tmp_path) -> None:
    with pytest.raises(SpeciesError, match="but not Cu"):
        simulate(
            str(place / "own-nvt.toml"), "nequip-small", tmp_path / "run",
            profile=Profile.QUICK, starts=[str(place / "copper.extxyz")],
        )  # fmt: skip
    small = bulk("Zn", "hcp", a=2.66, c=4.95)
    ase.io.write(place / "small.extxyz", small)
    with pytest.raises(ZifbenchError, match="less than the cutoff"):
        simulate(
            str(place / "own-nvt.toml"), "nequip-small", tmp_path / "run",
            profile=Profile.QUICK, starts=[str(place / "small.extxyz")],
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_list_of_protocols() -> None:
    found = CliRunner().invoke(app, ["md", "protocols", "--json"], catch_exceptions=False)
    names = [row["name"] for row in json.loads(found.stdout)]
    assert {"nvt-crystal", "melt-quench", "finite-strain", "stability"} <= set(names)


@pytest.mark.parametrize(("index", "edge_A"), [(0, 7.0), (1, 7.2), (-1, 7.4)])
def test_one_frame_of_several_is_chosen_as_in_ase(place, index, edge_A) -> None:
    found = read_starts([f"{place / 'three.extxyz'}@{index}"], (1, 1, 1))
    assert list(found) == [f"three-frame{index % 3}"]
    assert found[f"three-frame{index % 3}"].cell.lengths() == pytest.approx([edge_A] * 3)


def test_a_forecast_begins_with_what_a_run_begins_with(place) -> None:
    with pytest.raises(DataError, match=OVERLAP):
        forecast_protocols(
            f"{place / 'model.py'}:with_stress", [str(place / "own-nvt.toml")],
            starts=[str(place / "overlap.extxyz")], trust=True,
        )  # fmt: skip


@pytest.mark.parametrize("budget_h", [None, 1.0])
def test_a_damaged_record_is_left_alone(place, budget_h) -> None:
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text("garbage")
    with pytest.raises(ResultError, match=r"no record .* put back a copy of it, .* another --out$"):
        simulate(
            str(place / "own-nvt.toml"), f"{place / 'model.py'}:with_stress", place / "run",
            budget_h=budget_h, starts=[str(place / "copper.extxyz")], trust=True,
        )  # fmt: skip
    assert (place / "run" / "run.json").read_text() == "garbage"
