"""Small stores and a server that several tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.server import Server, running
from zifbench.dataset.store import write_store
from zifbench.frames import Frames


def full_frames(make_frames: Callable[..., Frames], n_frames: int, seed: int = 0) -> Frames:
    """Frames with every field of `Frames`."""
    frames = make_frames(n_frames, seed=seed)
    rng = np.random.default_rng(seed + 1000)
    return replace(
        frames,
        velocities=rng.normal(size=frames.positions.shape) * 0.01,
        step=np.arange(n_frames) * 2,
        time_fs=np.arange(n_frames) * 1.0,
    )


def all_bytes(directory: Path) -> dict[str, str]:
    """sha256 of every file below a directory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def _no_flush_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are not tested, and waiting for the disk takes most of the time."""
    monkeypatch.setattr("os.fsync", lambda number: None)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks, shards and blocks of a few frames, so that few frames cross many borders."""
    monkeypatch.setattr("zifbench.dataset.store.layout._CHUNK_ROWS", 4)
    monkeypatch.setattr("zifbench.dataset.store.layout._SHARD_ROWS", 16)
    for module in ("array_writer", "shards", "verify", "diff"):
        monkeypatch.setattr(f"zifbench.dataset.store.{module}.BLOCK_ROWS", 8)


@pytest.fixture
def store_path(tmp_path: Path, make_frames: Callable[..., Frames], small_pieces: None) -> Path:
    """A store of two trajectories, 37 and 5 frames, all fields, one array."""
    path = tmp_path / "store"
    a, b = full_frames(make_frames, 37), full_frames(make_frames, 5, seed=1)
    write_store(
        path, {"nvt 300K": a, "liquid/1": b}, attributes={"licence": "CC-BY 4.0", "n": [1, 2]}
    )
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as state:
        yield state
