"""`zifbench analyse`: files in, a directory of numbers, arrays and pictures out."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.published import published_file
from tests.test_cli import run as command
from zifbench.analysis.combine import CurveEstimate
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Curve, Settings
from zifbench.errors import DataError, ResultError, UnknownNameError
from zifbench.reports.analyse import analyse
from zifbench.reports.figures import _clipped
from zifbench.reports.measured import read_measured
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
    assert "1 frames" not in page


def test_bands_of_what_is_never_negative_end_at_zero():
    x = np.arange(3.0)
    for label, least in (("g(r)", 0.0), ("F, kJ/mol", -1.0)):
        estimate = CurveEstimate(Curve("", "r, Å", label, x, x), x, x - 1.0, x + 1.0)
        assert _clipped(estimate.low, estimate).min() == least


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


# -- files, stores, interruptions -----------------------------------------------------------------


@pytest.fixture
def walk(zif4):
    """Twelve frames 2 fs apart, with a label that only some of them have in a file."""
    moves = np.random.default_rng(0).normal(scale=0.02, size=(12, zif4.n_atoms, 3))
    return dataclasses.replace(
        zif4[np.zeros(12, int)],
        positions=zif4.positions[:1] + moves,
        time_fs=2.0 * np.arange(12),
        labels={},
        source_index=None,
    )


def test_a_store_and_a_file_of_the_same_frames_agree(tmp_path, walk, write_extxyz):
    from zifbench.dataset.store import StoreWriter

    with StoreWriter(tmp_path / "nvt.zarr") as writer:
        writer.trajectory(
            "warm", walk[:1], attributes={"temperature_K": 300.0}, dtypes={"positions": "float64"}
        ).append(walk)
    path = write_extxyz(walk, "file.extxyz")
    store = tmp_path / "nvt.zarr"
    analysis = analyse([f"s={store}", f"{store}/warm", str(path)], tmp_path / "out")
    whole, one, _file = analysis.runs
    assert [run.name for run in analysis.runs] == ["s", "warm", "file"]
    assert whole.files == one.files == ["nvt.zarr/warm"]
    assert whole.temperature_K == 300.0
    assert whole.digest == one.digest
    assert whole.numbers == one.numbers
    for quantity in ("zn_n", "pore_volume", "n_zn_n_mean", "rings"):
        values = [number(analysis, name, quantity).value for name in ("warm", "file")]
        assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}/cold", "unknown trajectory"),
        ("x={}/..", "no store of zifbench"),
        ("a={},{}/warm", "given twice"),
        ("a={},{}/../nvt.zarr", "given twice"),
        ("{}.zip", "does not exist"),
    ],
)
def test_what_is_no_trajectory_of_a_store(tmp_path, walk, text, reason):
    from zifbench.dataset.store import StoreWriter
    from zifbench.errors import ZifbenchError

    with StoreWriter(tmp_path / "nvt.zarr") as writer:
        writer.trajectory("warm", walk[:1]).append(walk)
    with pytest.raises(ZifbenchError, match=reason):
        read_run(text.replace("{}", str(tmp_path / "nvt.zarr")))


def test_frames_that_are_bad_in_one_place(tmp_path, walk, write_extxyz):
    """NaN in one frame, labels on some: the others are analysed, nothing is refused."""
    import ase.io

    positions = walk.positions.copy()
    positions[7, 33] = np.nan
    atoms = dataclasses.replace(walk, positions=positions).to_ase()
    for k in (2, 3, 9):
        atoms[k].info["name"] = f"n{k}"
    ase.io.write(tmp_path / "bad.extxyz", atoms)
    analysis = analyse([str(tmp_path / "bad.extxyz")], tmp_path / "out")
    run = analysis.runs[0]
    gaps = {gap.observable: gap.reason for gap in run.gaps}
    assert "NaN or infinite at atom 33 in frame 7 of bad.extxyz" in gaps["coordination"]
    assert number(analysis, "bad", "density").n == 12
    found = {n.observable for n in run.numbers}
    assert found | set(gaps) == set(analysis.observables)


def test_labels_on_some_frames_leave_a_trajectory(tmp_path, walk):
    import ase.io

    atoms = walk.to_ase()
    atoms[5].info["phase"] = "crystal"
    ase.io.write(tmp_path / "walk.extxyz", atoms)
    analyse([str(tmp_path / "walk.extxyz")], tmp_path / "out")
    assert "n_msd" in zarr.open_group(str(tmp_path / "out" / ARRAYS_FOLDER))["walk/msd/curves"]
    assert zarr.open_group(str(tmp_path / "out" / ARRAYS_FOLDER))["walk/axes/0"].attrs["label"] == (
        "time, ps"
    )


def test_what_stops_the_writing_leaves_the_old_analysis(tmp_path, monkeypatch):
    import zifbench.reports.analyse as module

    out = tmp_path / "out"
    analyse(["zif4-own-val"], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_analysis_page", full)
    with pytest.raises(OSError, match="No space"):
        analyse(["zif4-own-val"], out, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OSError, match="No space"):
        analyse(["zif4-own-val"], tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    analyse(["zif4-own-test"], out, overwrite=True)
    assert (out / ANALYSIS_FILE).read_bytes() != before[out / ANALYSIS_FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_stopped_analysis_says_what_is_left(tmp_path):
    """An interrupt while it reads: one sentence, 130, nothing written."""
    script = (
        "import sys, signal, os\n"
        "import zifbench.analysis.meters as m\n"
        "add = m._Reading.add\n"
        "m._Reading.add = lambda self, f: (os.kill(os.getpid(), signal.SIGINT), add(self, f))\n"
        "sys.argv = ['zifbench', 'analyse', 'zif4-own-test', '--out', sys.argv[1]]\n"
        "from zifbench.cli import main\n"
        "main()\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 130
    assert outcome.stderr.strip().splitlines()[-1] == (
        "stopped; nothing was written, and an earlier analysis is as it was"
    )
    assert "resume" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


# -- X-ray ----------------------------------------------------------------------------------------


def test_xray_is_shown_beside_what_was_measured(tmp_path):
    q = np.arange(0.6, 12.0, 0.1)
    (tmp_path / "m.int01").write_text(
        "# Q F error\n" + "".join(f"{a:.3f} {np.sin(a):.4f} 0.01\n" for a in q) + "12.0 0.0 0.0\n"
    )
    r = np.arange(0.0, 25.0, 0.05)
    (tmp_path / "m.dofr").write_text("".join(f"{a:.3f} {np.sin(5 * a):.4f} 0\n" for a in r))
    settings = Settings(xray=tuple(read_measured(tmp_path / f"m.{e}") for e in ("int01", "dofr")))
    assert len(settings.xray[0].x) == len(q)
    analysis = analyse(["zif4-own-val"], tmp_path / "out", settings=settings)
    assert "xray" in analysis.observables
    curves = zarr.open_group(str(tmp_path / "out" / ARRAYS_FOLDER))["zif4-own-val/xray/curves"]
    assert curves["xray_f/x"][:] == pytest.approx(q)
    assert curves["xray_d/x"][-1] == pytest.approx(12.0, abs=0.05)
    assert abs(number(analysis, "zif4-own-val", "xray_correlation").value) <= 1.0


@pytest.mark.published
def test_published_xray(tmp_path):
    """The correlations of analysis.md: glasses 0.960, unstretched 0.83, scale of F(Q) about 1."""
    folder = published_file("gaillac2017/ZIF4glassa_31.dofr").parent
    settings = Settings(
        xray=tuple(read_measured(folder / f"ZIF4glassa_31.{e}") for e in ("int01", "dofr"))
    )
    glasses = published_file(GLASSES.replace("*", "01")).parent.parent / GLASSES
    analysis = analyse([f"glasses={glasses}"], tmp_path, settings=settings)
    value = number(analysis, "glasses", "xray_correlation")
    assert value.value == pytest.approx(0.960, abs=0.005)
    assert number(analysis, "glasses", "xray_scale").value == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "1 2\n3 4\n", "suffix"),
        ("a.dofr", "one two\n", "no table"),
        ("a.dofr", "2 1\n1 1\n", "rising"),
        ("a.int01", "1 nan\n2 1\n", "finite"),
    ],
)
def test_bad_measurements(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        read_measured(tmp_path / name)
    with pytest.raises(DataError, match="give a table"):
        read_measured(tmp_path / "none.dofr")


def test_unknown_optional_observable(tmp_path):
    with pytest.raises(UnknownNameError, match="optional observable 'rdf'"):
        analyse(["zif4-own-val"], tmp_path / "out", optional=["rdf"])


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="file is a file; give another place"):
        analyse(["zif4-own-test"], tmp_path / "file" / "out")
    if Path("/proc/self").exists():  # says that it can be written to, to root
        with pytest.raises(ResultError, match=r"--out /proc/out: /proc cannot be written to \("):
            analyse(["zif4-own-test"], Path("/proc/out"))


def test_a_file_that_ase_stumbles_over_is_one_sentence(tmp_path):
    path = tmp_path / "hello.cif"
    path.write_text("hello")
    with pytest.raises(DataError, match="0 good frames, then unreadable"):
        analyse([str(path)], tmp_path / "out")


@pytest.mark.published
def test_displacements_of_a_hessian_are_one_structure(tmp_path):
    from zifbench.dataset.ingest.run import ingest

    published_file("duerholt2019/ZIF4.in")
    ingest([published_file("duerholt2019/ZIF4.out.bz2")], tmp_path / "vib.zarr")
    (run,) = analyse([str(tmp_path / "vib.zarr")], tmp_path / "out").runs
    assert run.n_frames == 1
    numbers = {number.title: number.value for number in run.numbers}
    assert numbers["Zn–N coordination"] == 4.0
    assert not any(gap.observable == "hessian" for gap in run.gaps)
