"""`zifbench analyse`: files in, a directory of numbers, arrays and pictures out."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import zarr

from tests.published import published_file
from tests.test_cli import run as command
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Settings
from zifbench.errors import DataError, ResultError
from zifbench.reports.analyse import analyse
from zifbench.reports.record import ANALYSIS_FILE, ARRAYS_FOLDER, Analysis
from zifbench.reports.sources import read_run

GLASSES = "gaillac2020/ZIF4_15glass*.cif"


@pytest.fixture(scope="session")
def bundled(tmp_path_factory):
    """The analysis of bundled frames, one run of three frames and one of a single one."""
    out = tmp_path_factory.mktemp("analysis") / "out"
    return analyse(["zif4-own-test"], out, references=["one=zif4-own-val"]), out


def number(analysis, run, quantity):
    (record,) = [record for record in analysis.runs if record.name == run]
    (found,) = [n for n in record.numbers if n.quantity == quantity]
    return found


def test_the_json_is_what_was_returned(bundled):
    analysis, out = bundled
    assert Analysis.model_validate_json((out / ANALYSIS_FILE).read_text()) == analysis
    assert [run.name for run in analysis.runs] == ["zif4-own-test", "one"]
    assert [run.reference for run in analysis.runs] == [False, True]
    assert number(analysis, "one", "zn_n").value == pytest.approx(4.0, abs=0.1)


def test_nothing_is_dropped(bundled):
    """Every observable of every run is either there or not defined with a reason."""
    analysis, _ = bundled
    assert set(analysis.observables) == {k for k, o in OBSERVABLES.items() if not o.optional}
    for run in analysis.runs:
        gaps = {gap.observable: gap.reason for gap in run.gaps}
        assert {"pmf", "angular_pmf", "msd", "bonds", "elasticity"} <= set(gaps)
        assert all(gaps.values())
        assert "temperature" in gaps["pmf"]
        curves = {"rdf", "angles"}  # without numbers
        found = {n.observable for n in run.numbers} | curves
        assert found | set(gaps) == set(analysis.observables)


def test_arrays(bundled):
    _, out = bundled
    root = zarr.open_group(str(out / ARRAYS_FOLDER), mode="r")
    curve = root["zif4-own-test/rdf/curves/zn_n_g"]
    assert curve["x"].shape == curve["y"].shape == curve["low"].shape == (1200,)
    assert root["zif4-own-test/coordination/series/zn_n/0"].shape == (3,)
    assert root["zif4-own-test/coordination/series/zn_n"].attrs["title"] == "Zn–N coordination"


def test_the_page_is_self_contained(bundled):
    _, out = bundled
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 6
    assert 'src="http' not in page
    assert "it needs the temperature of the run" in page


def test_a_directory_of_others_is_not_touched(tmp_path, bundled):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResultError, match="other files than an analysis"):
        analyse(["zif4-own-val"], tmp_path, overwrite=True)
    with pytest.raises(ResultError, match="--overwrite"):
        analyse(["zif4-own-val"], bundled[1])


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (["nowhere.xyz"], "does not exist"),
        (["a=zif4-own-val,zif4-own-val"], "given twice"),
        (["zif4-own-val", "zif4-own-val"], "two runs are called"),
        (["a/b=zif4-own-val"], "no name of a run"),
        (["a=nowhere*.cif"], "no file matches"),
        (["a=zif4-own-val,"], "empty file name"),
        ([], "nothing to analyse"),
    ],
)
def test_bad_input(tmp_path, runs, reason):
    with pytest.raises(DataError, match=reason):
        analyse(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trajectory_has_series_bands_and_displacements(tmp_path, zif4, write_extxyz):
    rng = np.random.default_rng(0)
    moves = rng.normal(scale=0.02, size=(12, zif4.n_atoms, 3))
    walk = dataclasses.replace(
        zif4[np.zeros(12, int)],
        positions=zif4.positions[:1] + moves,
        time_fs=2.0 * np.arange(12),
        labels={},
        stress=None,
        source_index=None,
    )
    path = write_extxyz(walk, "walk.extxyz")
    out = tmp_path / "out"
    analysis = analyse([str(path)], out, settings=Settings(temperature_K=300.0))
    assert {gap.observable for gap in analysis.runs[0].gaps} == {
        "pmf",  # no barrier without a bond that breaks
        "bonds",  # that no bond broke is said
        "vibrations",
        "hessian",
        "pressure",
        "msd",  # too few lags for a slope
        "elasticity",
        "volume_fluctuations",
        "equation_of_state",
    }
    value = number(analysis, "walk", "pore_volume")
    assert value.interval_95[0] < value.value < value.interval_95[1]
    root = zarr.open_group(str(out / ARRAYS_FOLDER), mode="r")
    assert np.isfinite(root["walk/rdf/curves/zn_n_g/high"][...]).all()
    assert root["walk/msd/curves/zn_msd/x"][1] == pytest.approx(0.002)


def test_frames_without_zinc_or_cell(tmp_path):
    from ase import Atoms
    from ase.io import write

    write(tmp_path / "water.xyz", Atoms("OH2", positions=[[0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    analysis = analyse([str(tmp_path / "water.xyz")], tmp_path / "out")
    run = analysis.runs[0]
    assert run.numbers == []
    assert {gap.observable for gap in run.gaps} == set(analysis.observables)


@pytest.mark.published
def test_published_crystal_and_glasses(tmp_path):
    crystal = published_file("castel2024/crystal.lmp")  # recognised by its suffix
    glasses = published_file(GLASSES.replace("*", "01")).parent.parent / GLASSES
    analysis = analyse([str(crystal)], tmp_path, references=[f"glasses={glasses}"])
    assert number(analysis, "crystal", "zn_n").value == 4.0
    assert number(analysis, "glasses", "zn_n").value == pytest.approx(3.931, abs=1e-3)
    sizes = {k: number(analysis, "crystal", f"rings_{k}").value for k in range(2, 33, 2)}
    assert {k: n for k, n in sizes.items() if n} == {8: 4, 12: 16, 16: 32}
    assert number(analysis, "crystal", "pore_volume").value == pytest.approx(52.4, abs=0.1)
    assert number(analysis, "glasses", "pore_volume").value == pytest.approx(66.95, abs=0.1)
    assert number(analysis, "glasses", "broken").value == 0.0
    assert all(not run.events for run in analysis.runs)


def test_the_command(tmp_path):
    outcome = command("analyse", "zif4-own-val", "--out", tmp_path / "out", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["runs"][0]["name"] == "zif4-own-val"
    again = command("analyse", "zif4-own-val", "--out", tmp_path / "out")
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "--overwrite" in again.stderr


def test_a_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / "bad.xyz").write_text("3\n\nH 0 0\n")
    outcome = command("analyse", tmp_path / "bad.xyz", "--out", tmp_path / "out")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("\n") == 1


def test_a_name_is_not_needed_for_a_file_with_an_equals_sign(tmp_path, zif4, write_extxyz):
    path = write_extxyz(zif4[:1], "T=300.extxyz")
    assert read_run(str(path)).name == "T=300"
