"""A store as one zip file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.test_cli import run
from zifbench.dataset.store import StoreWriter, open_store
from zifbench.dataset.store.zipped import zip_store
from zifbench.errors import DataError
from zifbench.frames import Frames

MakeFrames = Callable[..., Frames]


def write(path: Path, frames: Frames) -> Path:
    with StoreWriter(path) as writer:
        fields = ("positions", "cell", "energy", "forces", "stress")
        writer.trajectory("run", frames, fields=fields, attributes={}).append(frames)
    return path


def test_same_content(tmp_path: Path, make_frames: MakeFrames) -> None:
    frames = make_frames(n_frames=40)
    directory = write(tmp_path / "store", frames)
    archive = zip_store(directory, tmp_path / "out" / "store.zip")
    with open_store(directory) as a, open_store(archive) as b:
        assert a.version == b.version
        last = b.trajectories["run"].read([39])
    np.testing.assert_array_equal(last.energy, frames.energy[39:])
    assert [p.name for p in archive.parent.iterdir()] == ["store.zip"]


def test_zip_depends_on_content_alone(tmp_path: Path, make_frames: MakeFrames) -> None:
    digests = set()
    for k in range(2):
        store = write(tmp_path / f"store{k}", make_frames())
        for file in store.rglob("*"):
            os.utime(file, (1e9 + k, 1e9 + k))
        archive = zip_store(store, tmp_path / f"{k}.zip")
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_strangers_stay_out(tmp_path: Path, make_frames: MakeFrames) -> None:
    directory = write(tmp_path / "store", make_frames(n_frames=5))
    clean = zip_store(directory, tmp_path / "clean.zip").read_bytes()
    for name in (".DS_Store", "commit.next.json", "run/energy/c.7"):
        (directory / name).write_text("left by somebody")
    assert zip_store(directory, tmp_path / "other.zip").read_bytes() == clean


def test_refusals(tmp_path: Path, make_frames: MakeFrames) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nothing"):
        with pytest.raises(DataError):
            zip_store(tmp_path / name, tmp_path / "a.zip")
    store = write(tmp_path / "store", make_frames())
    (tmp_path / "a.zip").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        zip_store(store, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_command(tmp_path: Path, make_frames: MakeFrames) -> None:
    store = write(tmp_path / "store", make_frames())
    outcome = run("data", "zip", store, tmp_path / "a.zip")
    assert outcome.returncode == 0, outcome.stderr
    assert run("data", "zip", store, tmp_path / "a.zip").returncode == 2
    assert run("data", "verify", tmp_path / "a.zip").returncode == 0
