"""Labelling with a stand-in for CP2K; the real one in one slow test."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.published import published_file
from zifbench.dataset.label import cp2k as cp2k_module
from zifbench.dataset.label import jobs as label_jobs
from zifbench.dataset.label.results import store_labels, trajectories_of
from zifbench.dataset.store import open_store
from zifbench.errors import DataError, MissingDependencyError
from zifbench.frames import Frames
from zifbench.units import BOHR_A, EV_PER_A3_IN_GPA, HARTREE_EV


def zinc_rings(n_frames: int = 3, seed: int = 0) -> Frames:
    """A few atoms of each element in a skewed box."""
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0.1, 0.0], [0.5, 7.0, 0.0], [0.0, 0.3, 8.0]])
    return Frames(
        numbers=np.array([6, 1, 7, 30]),
        masses=np.array([12.011, 1.008, 14.007, 65.38]),
        pbc=np.ones(3, dtype=bool),
        positions=rng.uniform(-3, 3, size=(n_frames, 4, 3)),
        cell=np.repeat(cell[None], n_frames, axis=0),
        labels={"name": tuple(f"frame_{k}" for k in range(n_frames))},
        source="rings.extxyz",
    )


@pytest.fixture
def cp2k(tmp_path: Path) -> Path:
    """The stand-in, in a folder where a test can tell it to misbehave."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "cp2k.psmp"
    source = Path(__file__).with_name("fake_cp2k.py").read_text()
    path.write_text(source.replace("/usr/bin/env python3", sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls(cp2k: Path) -> list[str]:
    file = cp2k.with_name("calls")
    return file.read_text().split() if file.is_file() else []


def labelling_program(jobs: Path, cp2k: Path) -> str:
    """Labels two frames, two at a time, in a process that a test can stop."""
    return (
        "from pathlib import Path; from zifbench.dataset.label import jobs as label_jobs;"
        "from tests.dataset.label.test_label import zinc_rings;"
        f"label_jobs.run_jobs(label_jobs.plan_jobs([zinc_rings(2)]), Path({str(jobs)!r}), "
        f"executable={str(cp2k)!r}, workers=2)"
    )


def test_units_and_signs(cp2k: Path, tmp_path: Path) -> None:
    frames = zinc_rings(1)
    found = cp2k_module.run_single_point(frames, 0, tmp_path / "job", executable=str(cp2k))
    bohr = frames.positions[0] / BOHR_A
    assert found.energy == pytest.approx(0.005 * (bohr**2).sum() * HARTREE_EV, rel=1e-12)
    np.testing.assert_allclose(found.forces, -0.01 * bohr * HARTREE_EV / BOHR_A, atol=1e-9)
    pressure = [[1.0, 0.4, 0.5], [0.4, 2.0, 0.6], [0.5, 0.6, 3.0]]
    np.testing.assert_allclose(found.stress, -np.array(pressure) / EV_PER_A3_IN_GPA)
    assert (found.version, found.scf_steps) == ("2023.1", 19)


def test_input_holds_the_geometry_and_the_published_settings(tmp_path: Path) -> None:
    frames = zinc_rings(1)
    text = cp2k_module.single_point_input(frames, 0)
    block = re.search(r"&COORD\n(.*?)&END COORD", text, re.S).group(1).split()
    np.testing.assert_allclose(
        np.array([block[1::4], block[2::4], block[3::4]], dtype=float).T, frames.positions[0]
    )
    published = published_file("castel2023/ZIF4_300.inp").read_text()
    for word in ("CUTOFF", "REL_CUTOFF", "EPS_SCF", "EPS_DEFAULT", "R_CUTOFF"):
        ours, theirs = (_number(word, t) for t in (text, published))
        assert ours == pytest.approx(theirs), word
    for symbol, names in cp2k_module.PAPER.kinds.items():
        kind = re.search(rf"&KIND\s+{symbol}\n(.*?)&END KIND", published, re.S).group(1)
        assert all(name in kind for name in names), symbol
    for word in ("DFTD3", "&PBE", "PAIR_POTENTIAL"):
        assert word in text and word in published


def _number(word: str, text: str) -> float:
    return float(re.search(rf"^\s*{word}\s+(\S+)", text, re.M).group(1))


def test_each_frame_is_computed_once_and_later_ones_restart(cp2k: Path, tmp_path: Path) -> None:
    frames = zinc_rings(3)
    jobs = label_jobs.plan_jobs([frames, frames[1:]])
    assert len(jobs) == 3
    counts: list[int] = []
    for _ in range(2):
        result = label_jobs.run_jobs(
            jobs, tmp_path / "jobs", executable=str(cp2k), advance=counts.append
        )
        assert set(result.labels) == {job.key for job in jobs} and not result.failures
    assert calls(cp2k) == ["atoms", "restart", "restart"]
    assert sum(counts) == 6


def test_key_is_geometry_and_settings() -> None:
    frames = zinc_rings(2)
    other = cp2k_module.Settings(cutoff_Ry=500)
    key = cp2k_module.job_key(frames, 0)
    assert key == cp2k_module.job_key(frames[[0]], 0)
    assert key != cp2k_module.job_key(frames, 1)
    assert key != cp2k_module.job_key(frames, 0, other)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("crash", "did not end.*basis set not found"),
        ("unconverged", "did not converge"),
        ("truncated", "3 atoms, wanted the 4"),
    ],
)
def test_a_failed_job_is_told_and_the_others_are_kept(
    cp2k: Path, tmp_path: Path, mode: str, sentence: str
) -> None:
    frames = zinc_rings(2)
    jobs = label_jobs.plan_jobs([frames])
    label_jobs.run_jobs(jobs[:1], tmp_path / "jobs", executable=str(cp2k))
    cp2k.with_name("misbehave").write_text(mode)
    result = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k))
    assert set(result.labels) == {jobs[0].key}
    assert re.search(sentence, result.failures[jobs[1].key])
    kept = label_jobs.labelled(frames, result)
    assert kept is not None and kept.labels["name"] == ("frame_0",)


def test_labelled_frames_say_where_each_number_comes_from(cp2k: Path, tmp_path: Path) -> None:
    frames = zinc_rings(2)
    jobs = label_jobs.plan_jobs([frames])
    result = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k), workers=2)
    kept = label_jobs.labelled(frames, result)
    assert kept is not None
    assert kept.labels["job"] == tuple(job.key for job in jobs)
    assert "CP2K 2023.1" in kept.info["level_of_theory"]
    assert "600/40 Ry" in kept.info["level_of_theory"]


def test_a_job_that_another_process_holds_is_left_to_it(cp2k: Path, tmp_path: Path) -> None:
    jobs = label_jobs.plan_jobs([zinc_rings(1)])
    directory = tmp_path / "jobs" / jobs[0].key
    directory.mkdir(parents=True)
    with label_jobs._held(directory / label_jobs.LOCK_FILE) as ours:
        assert ours is not None
        result = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k))
    assert result.elsewhere == [jobs[0].key] and calls(cp2k) == []


def test_a_job_finished_by_another_process_meanwhile_is_not_repeated(
    cp2k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = label_jobs.plan_jobs([zinc_rings(1)])
    label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k))
    finished, asked = label_jobs.is_finished, []

    def not_at_first(directory: Path) -> bool:
        asked.append(directory)
        return len(asked) > 1 and finished(directory)

    monkeypatch.setattr(label_jobs, "is_finished", not_at_first)
    result = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k))
    assert set(result.labels) == {jobs[0].key} and calls(cp2k) == ["atoms"]


def test_a_wave_function_that_another_process_deleted_is_not_needed(
    cp2k: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.wfn"
    found = cp2k_module.run_single_point(
        zinc_rings(1), 0, tmp_path / "job", executable=str(cp2k), previous=gone
    )
    assert found.scf_steps == 19 and calls(cp2k) == ["atoms"]


def test_a_job_stays_locked_while_its_cp2k_outlives_a_kill(cp2k: Path, tmp_path: Path) -> None:
    cp2k.with_name("misbehave").write_text("slow")
    jobs = tmp_path / "jobs"
    process = subprocess.Popen([sys.executable, "-c", labelling_program(jobs, cp2k)])
    while len(calls(cp2k)) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    running = subprocess.run(["pgrep", "-f", str(cp2k)], stdout=subprocess.PIPE).stdout.split()
    try:
        planned = label_jobs.plan_jobs([zinc_rings(2)])
        result = label_jobs.run_jobs(planned, jobs, executable=str(cp2k))
        assert len(running) == 2 and result.elsewhere == [job.key for job in planned]
    finally:
        for number in running:
            os.kill(int(number), signal.SIGKILL)


def test_a_store_takes_each_labelled_frame_once(cp2k: Path, tmp_path: Path) -> None:
    """As when the command is repeated: with nothing new, then with two more frames."""
    frames = zinc_rings(3)
    store, counts = tmp_path / "store", []
    for n_jobs in (1, 1, 3):
        jobs = label_jobs.plan_jobs([frames])[:n_jobs]
        result = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k))
        counts.append(store_labels(store, trajectories_of([frames], None), result))
    assert counts == [1, 0, 2]
    with open_store(store) as opened:
        found = opened.trajectories["rings"].read(slice(None))
    assert found.labels["name"] == frames.labels["name"]
    np.testing.assert_array_equal(found.positions, frames.positions)


def stored(
    cp2k: Path, store: Path, trajectories: dict[str, Frames], version: str | None = None
) -> int:
    """Label frames and store them; `version` as if another CP2K had done it."""
    jobs = label_jobs.plan_jobs(list(trajectories.values()))
    result = label_jobs.run_jobs(jobs, store.with_name("jobs"), executable=str(cp2k))
    if version is not None:
        for key, label in result.labels.items():
            result.labels[key] = dataclasses.replace(label, version=version)
    return store_labels(store, trajectories, result)


def test_a_geometry_that_two_trajectories_name_is_stored_once(cp2k: Path, tmp_path: Path) -> None:
    """In one call as in two: the second one brings a frame of the first, and one frame twice."""
    frames, store = zinc_rings(3), tmp_path / "store"
    assert stored(cp2k, store, {"a": frames[[0, 1]], "b": frames[[1, 2, 2]]}) == 3
    assert stored(cp2k, store, {"c": frames[[2, 0]]}) == 0
    with open_store(store) as opened:
        names = {
            name: t.read(slice(None)).labels["name"] for name, t in opened.trajectories.items()
        }
    assert names == {"a": ("frame_0", "frame_1"), "b": ("frame_2",)}


def test_what_describes_a_trajectory_holds_for_all_of_its_frames(
    cp2k: Path, tmp_path: Path
) -> None:
    """Frames come in three batches; the last one is of another state."""
    labels = {"state": ("cold", "cold", "hot"), "cell": ("A", "A", "A"), "seed": ("1", "2", "2")}
    frames = dataclasses.replace(zinc_rings(3), labels=labels)
    wanted = [
        {"state": "cold", "cell": "A", "seed": "1"},
        {"state": "cold", "cell": "A"},
        {"cell": "A"},
    ]
    for row, attributes in enumerate(wanted):
        stored(cp2k, tmp_path / "store", {"a": frames[[row]]})
        with open_store(tmp_path / "store") as opened:
            found = opened.trajectories["a"].attributes
        assert {key: found[key] for key in labels if key in found} == attributes


def test_a_trajectory_names_every_version_and_no_other_level(cp2k: Path, tmp_path: Path) -> None:
    frames, store = zinc_rings(4), tmp_path / "store"
    for row, version in enumerate(("2024.1", "2023.1", "2024.1")):
        stored(cp2k, store, {"a": frames[[row]]}, version)
    level = cp2k_module.PAPER.level_of_theory("2023.1, 2024.1")
    with open_store(store) as opened:
        assert opened.trajectories["a"].attributes["level_of_theory"] == level
        assert opened.trajectories["a"].read(0).info["level_of_theory"] == level
    coarse = cp2k_module.Settings(cutoff_Ry=300)
    key = cp2k_module.job_key(frames, 3, coarse)
    jobs = label_jobs.plan_jobs([frames[[3]]])
    label = label_jobs.run_jobs(jobs, tmp_path / "jobs", executable=str(cp2k)).labels[jobs[0].key]
    other = label_jobs.Labelling(labels={key: label})
    with pytest.raises(DataError, match=r"level_of_theory is '.*600/40 Ry.*' in .*300/40 Ry"):
        store_labels(store, {"a": frames[[3]]}, other, settings=coarse)
    with open_store(store) as opened:
        assert opened.n_frames == 3


def test_nothing_labelled_makes_no_store(tmp_path: Path) -> None:
    frames = zinc_rings(1)
    labels = label_jobs.Labelling()
    assert store_labels(tmp_path / "store", trajectories_of([frames], None), labels) == 0
    assert not (tmp_path / "store").exists()


def test_unknown_element_and_missing_program(tmp_path: Path) -> None:
    frames = dataclasses.replace(zinc_rings(1), numbers=np.array([6, 1, 7, 29]))
    with pytest.raises(DataError, match=r"frame 0 \(frame_0\) of .* holds Cu"):
        cp2k_module.single_point_input(frames, 0)
    with pytest.raises(DataError, match="not periodic"):
        cp2k_module.single_point_input(
            dataclasses.replace(zinc_rings(1), pbc=np.zeros(3, dtype=bool)), 0
        )
    with pytest.raises(MissingDependencyError, match="apt-get install cp2k"):
        cp2k_module.find_cp2k("no-such-cp2k")


def test_interrupt_ends_cp2k_and_a_second_run_finishes(cp2k: Path, tmp_path: Path) -> None:
    cp2k.with_name("misbehave").write_text("slow")
    jobs = tmp_path / "jobs"
    process = subprocess.Popen(
        [sys.executable, "-c", labelling_program(jobs, cp2k)], stderr=subprocess.DEVNULL
    )
    while len(calls(cp2k)) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    assert subprocess.run(["pgrep", "-f", str(cp2k)], stdout=subprocess.PIPE).stdout == b""
    cp2k.with_name("misbehave").unlink()
    result = label_jobs.run_jobs(label_jobs.plan_jobs([zinc_rings(2)]), jobs, executable=str(cp2k))
    assert len(result.labels) == 2 and len(calls(cp2k)) == 4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="CP2K is not installed")
def test_real_cp2k_on_nitrogen(tmp_path: Path) -> None:
    """Forces are the slope of the energies; atoms at 1.2 Å attract."""
    half = 0.6 + np.array([-0.01, 0.0, 0.01])[:, None, None] / 2
    ends = np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    frames = Frames(
        numbers=np.array([7, 7]),
        masses=np.array([14.007, 14.007]),
        pbc=np.ones(3, dtype=bool),
        positions=half * ends,
        cell=np.repeat(6.0 * np.eye(3)[None], 3, axis=0),
        source="N2",
    )
    settings = cp2k_module.Settings(eps_scf=1e-7, eps_default=1e-12)
    result = label_jobs.run_jobs(
        label_jobs.plan_jobs([frames], settings),
        tmp_path,
        executable=cp2k_module.find_cp2k(),
        settings=settings,
    )
    kept = label_jobs.labelled(frames, result, settings)
    assert kept is not None and len(kept) == 3, result.failures
    slope = (kept.energy[2] - kept.energy[0]) / 0.02
    force = kept.forces[1, 1, 0] - kept.forces[1, 0, 0]
    assert force < -5.0
    assert -slope == pytest.approx(force / 2, rel=2e-3)
