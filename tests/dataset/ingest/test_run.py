"""Sources into a store: formats, reports, resuming, kills."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest

from tests.dataset.ingest.md_text import plain_run, record, write_run
from tests.dataset.ingest.test_cp2k_vibrations import write_analysis
from zifbench.dataset.ingest.formats import open_source
from zifbench.dataset.ingest.options import number_or_text
from zifbench.dataset.ingest.run import NET_FORCE, ingest, report_path
from zifbench.dataset.ingest.source import Options
from zifbench.dataset.store import open_store
from zifbench.dataset.store.verify import verify
from zifbench.errors import DataError, UnknownNameError
from zifbench.frames import Frames
from zifbench.units import HARTREE_PER_BOHR_IN_EV_PER_A

RUNS = Path(__file__).parents[1] / "data" / "cp2k-md"


def digest_of(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def test_attributes_are_numbers_where_json_has_them() -> None:
    texts = ["300", "2.5", "liquid", "nan", "inf"]
    assert [number_or_text(text) for text in texts] == [300.0, 2.5, "liquid", "nan", "inf"]


def test_all_formats_into_one_store(
    tmp_path: Path, make_frames: Callable[..., Frames], write_extxyz: Callable[..., Path]
) -> None:
    frames = make_frames(5)
    np.savez(
        tmp_path / "set.npz",
        Z=frames.numbers,
        positions=frames.positions,
        energy=frames.energy,
        cell=frames.cell,
    )
    sources = [
        RUNS / "nvt",
        write_analysis(tmp_path),
        write_extxyz(frames),
        tmp_path / "set.npz",
    ]
    summary = ingest(sources, tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        assert not verify(store).damage
        lengths = {name: len(t) for name, t in store.trajectories.items()}
        assert lengths == {"nvt": 7, "pair": 12, "frames": 5, "set": 5}
        assert store.trajectories["pair"].arrays["hessian"].shape == (6, 6)
        assert store.trajectories["nvt"].masses.tolist() == [15.9994, 2.0141, 2.0141]
        assert store.version == summary.version
        (first, other, offset), *more = summary.offsets
        assert (first, other, more) == ("frames", "set", [])
        assert offset == pytest.approx(0.0, abs=1e-6)
    report = json.loads(report_path(tmp_path / "store").read_text())
    assert report["schema"] == 1
    assert report["store"]["version"] == summary.version
    assert report["trajectories"]["nvt"]["report"]["files"]["forces"] == "water-frc-1.xyz"


def test_an_exact_store_keeps_the_last_printed_digit(tmp_path: Path) -> None:
    ingest([RUNS / "nvt"], tmp_path / "store", exact=True)
    text = (RUNS / "nvt/water-frc-1.xyz").read_text().splitlines()
    printed = [line.split()[1:] for line in text if line.startswith("  ") and len(line) == 64]
    with open_store(tmp_path / "store") as store:
        frames = store.trajectories["nvt"].read(slice(None))
    assert frames.forces is not None
    digits = np.round(frames.forces.reshape(-1, 3) / HARTREE_PER_BOHR_IN_EV_PER_A, 10)
    assert digits.tolist() == np.array(printed, dtype=float).tolist()


def test_what_was_found_stands_in_the_store(tmp_path: Path) -> None:
    texts = plain_run(range(12))
    texts["forces"] = texts["forces"].replace(record("forces", 7), "")[:-30]
    run = write_run(tmp_path / "run", texts)
    summary = ingest([run], tmp_path / "store", options=Options(attributes={"state": "liquid"}))
    with open_store(tmp_path / "store") as store:
        trajectory = store.trajectories["run"]
        report = trajectory.attributes["ingest"]
        forces = trajectory.read(slice(None)).forces
        net = trajectory.arrays[NET_FORCE]
    assert report["missing"] == {"run.frc": "7, 11"}
    assert report["n_frames"] == 10
    assert "step 11 is truncated" in report["damaged"][0]
    assert trajectory.attributes["state"] == "liquid"
    assert forces is not None
    np.testing.assert_allclose(net, np.linalg.norm(forces.sum(axis=1), axis=1), rtol=1e-12)
    statistics = summary.trajectories[0].net_force
    assert statistics is not None and statistics["max"] == pytest.approx(net.max())


def test_nothing_is_written_where_a_source_is_refused(tmp_path: Path) -> None:
    bad = write_run(tmp_path / "bad", {**plain_run(range(5)), "forces": plain_run([9])["forces"]})
    with pytest.raises(DataError, match="no step is in all files"):
        ingest([RUNS / "nvt", bad], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with pytest.raises(DataError, match="several trajectories would be called nvt"):
        ingest([RUNS / "nvt", RUNS / "nvt"], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_same_again_changes_nothing_and_other_files_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", plain_run(range(12)))
    first = ingest([run], tmp_path / "store")
    before = digest_of(tmp_path / "store")
    again = ingest([run], tmp_path / "store")
    assert (again.trajectories[0].n_new, again.version) == (0, first.version)
    assert again.trajectories[0].net_force == first.trajectories[0].net_force
    assert digest_of(tmp_path / "store") == before
    for options, exact in ((Options(keep="first"), False), (Options(), True)):
        with pytest.raises(DataError, match="made from other files or by other rules"):
            ingest([run], tmp_path / "store", options=options, exact=exact)
    write_run(run, plain_run(range(13)))
    with pytest.raises(DataError, match="made from other files or by other rules"):
        ingest([run], tmp_path / "store")
    assert digest_of(tmp_path / "store") == before


def test_frames_sorted_by_another_label_are_not_mixed_in(
    tmp_path: Path, make_frames: Callable[..., Frames]
) -> None:
    """Both labels give trajectories called hot and cold, of different frames."""
    structures = make_frames(5).to_ase()
    for number, atoms in enumerate(structures):
        atoms.info["before"] = "hot" if number < 2 else "cold"
        atoms.info["after"] = "hot" if number < 4 else "cold"
    path, store = tmp_path / "runs.extxyz", tmp_path / "store"
    ase.io.write(path, structures, format="extxyz")
    for _ in range(2):
        ingest([path], store, options=Options(by="before"))
    done = digest_of(store)
    with pytest.raises(DataError, match="made from other files or by other rules"):
        ingest([path], store, options=Options(by="after"))
    assert digest_of(store) == done


def test_formats_are_recognised_by_content(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="none of the known formats: cp2k-md"):
        open_source(tmp_path / "notes.txt", Options())
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "nowhere", Options())
    with pytest.raises(UnknownNameError, match="did you mean extxyz"):
        open_source(tmp_path, Options(), "extxy")


# -- interrupted -----------------------------------------------------------------------------------


class _StopError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 5])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    from zifbench.dataset.ingest import cp2k_md

    monkeypatch.setattr(cp2k_md, "_CHUNK_BYTES", 2000)
    run = write_run(tmp_path / "run", plain_run(range(40)))
    ingest([run], tmp_path / "whole")
    chunks = cp2k_md.Cp2kMdTrajectory.chunks

    def stopping(self: cp2k_md.Cp2kMdTrajectory, start: int = 0) -> object:
        for k, frames in enumerate(chunks(self, start)):
            if k == after and start < 20:
                raise _StopError
            yield frames

    monkeypatch.setattr(cp2k_md.Cp2kMdTrajectory, "chunks", stopping)
    for _ in range(40):
        try:
            ingest([run], tmp_path / "parts", commit_s=0.0)
            break
        except _StopError:
            continue
    assert digest_of(tmp_path / "parts") == digest_of(tmp_path / "whole")


_INGEST = """
import sys
from pathlib import Path
from zifbench.dataset.ingest import cp2k_md
from zifbench.dataset.ingest.run import ingest
cp2k_md._CHUNK_BYTES = 20_000
print("ready", flush=True)
ingest([Path(sys.argv[1])], Path(sys.argv[2]), commit_s=0.0)
"""


def _start(run: Path, store: Path) -> subprocess.Popen[str]:
    """An ingest of many small commits, about to begin."""
    command = [sys.executable, "-c", _INGEST, str(run), str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _finish(run: Path, store: Path) -> None:
    with _start(run, store) as process:
        assert process.wait() == 0


@pytest.mark.slow
def test_fifty_kills_end_bit_identical(tmp_path: Path) -> None:
    """kill -9 at random times: the store opens, verifies, and ends with the same files."""
    run = write_run(tmp_path / "run", plain_run(range(2000)))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ingest([run], whole)
    with _start(run, parts) as process:
        started = time.monotonic()
        assert process.wait() == 0
        duration = time.monotonic() - started
    shutil.rmtree(parts)
    rng = random.Random(1)
    kills = 0
    seen: set[int] = set()
    while kills < 50:
        with _start(run, parts) as process:
            time.sleep(rng.uniform(0.0, 0.9) * duration)
            process.kill()
        kills += process.returncode != 0
        seen.add(_frames_in(parts))
        if process.returncode == 0 or 2000 in seen:
            _finish(run, parts)
            assert digest_of(parts) == digest_of(whole)
            shutil.rmtree(parts)
            seen.discard(2000)
    _finish(run, parts)
    assert digest_of(parts) == digest_of(whole)
    assert len(seen) > 5, seen  # the kills fell into the writing


def _frames_in(path: Path) -> int:
    """Frames of a store that a kill left behind, all of them sound; -1 before there is one."""
    try:
        store = open_store(path)
    except DataError:
        return -1
    with store:
        assert not verify(store).damage
        return store.n_frames
