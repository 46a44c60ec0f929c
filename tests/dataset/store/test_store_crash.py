"""kill -9 at any instant of an append: the store opens, verifies, and ends bit-identical."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.dataset.conftest import all_bytes
from zifbench.dataset.store import open_store
from zifbench.dataset.store.verify import verify

N_FRAMES = 200
ROOT = Path(__file__).parents[3]

# Appends frames made from their number, in pieces of 7, committing now and then; small shards, so
# that a kill meets all of it: chunks, full shards, the unfinished shard, metadata, the record.
WRITER = f"""
import sys
from pathlib import Path
import numpy as np
from zifbench.dataset.store import layout as store_layout
store_layout._CHUNK_ROWS, store_layout._SHARD_ROWS = 4, 32
from zifbench.dataset.store import StoreWriter
from zifbench.frames import Frames

def frames(start, stop):
    t = np.arange(start, stop)
    wave = np.sin(t[:, None, None] * 0.1 + np.arange(30).reshape(10, 3))
    return Frames(
        numbers=np.full(10, 6), masses=np.full(10, 12.0), pbc=np.ones(3, bool),
        positions=wave, forces=-wave, cell=np.tile(np.eye(3) * 9, (len(t), 1, 1)),
        energy=t * 1.0, step=t, labels={{"name": tuple(f"f{{i}}" for i in t)}},
    )

store = StoreWriter(Path(sys.argv[1]), attributes={{"licence": "CC0"}})
for name in ("a", "b"):
    writer = store.trajectory(name, frames(0, 1), arrays={{"modes": np.arange(50.0)}})
    print("ready", flush=True)
    for number, start in enumerate(range(writer.n_committed, {N_FRAMES}, 7)):
        writer.append(frames(start, min({N_FRAMES}, start + 7)))
        if start % 3 == 0:
            writer.commit()
    writer.commit()
print("done", flush=True)
"""


def start(path):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finish(path):
    out, err = start(path).communicate(timeout=120)
    assert out.endswith("done\n"), err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The files of an uninterrupted run, and how long its writing took."""
    path = tmp_path_factory.mktemp("whole") / "s"
    process = start(path)
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    process.communicate(timeout=120)
    return all_bytes(path), time.monotonic() - begun


def killed_and_resumed(path, rng, duration):
    """Kill writers until one finishes, at most three times; check after each kill. Counts kills."""
    kills = 0
    for _ in range(3):
        process = start(path)
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, duration / 3)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        with open_store(path) as store:
            assert verify(store).damage == ()
            for trajectory in store.trajectories.values():
                assert trajectory.array("step").tolist() == list(range(len(trajectory)))
    finish(path)
    return kills


def check_kills(tmp_path, uninterrupted, wanted, seed):
    files, duration = uninterrupted
    rng = np.random.default_rng(seed)
    kills = 0
    for round_ in range(4 * wanted):
        path = tmp_path / str(round_)
        kills += killed_and_resumed(path, rng, duration)
        assert all_bytes(path) == files
        if kills >= wanted:
            return
    raise AssertionError(f"only {kills} of {wanted} writers were killed at work")


def test_a_few_kills(tmp_path, uninterrupted):
    check_kills(tmp_path, uninterrupted, 5, seed=0)


@pytest.mark.slow
def test_fifty_kills(tmp_path, uninterrupted):
    check_kills(tmp_path, uninterrupted, 50, seed=1)


# Stops the process at its n-th change of a file, as if killed there; -9 needs luck to get between.
PLACES = {
    "some": range(3, 60, 8),
    "all": pytest.param([*range(1, 80), *range(80, 400, 7)], marks=pytest.mark.slow),
}
STOPPER = """
import os, pathlib
left = {n}
def counted(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*args, **kwargs)
    return call
pathlib.Path.replace = counted(pathlib.Path.replace)
pathlib.Path.unlink = counted(pathlib.Path.unlink)
os.fsync = counted(os.fsync)
"""


@pytest.mark.parametrize("places", PLACES.values(), ids=list(PLACES))
def test_stopped_at_changes_of_files(tmp_path, uninterrupted, places):
    """Each place in turn, from the state that the stop before left."""
    files, _ = uninterrupted
    path = tmp_path / "s"
    for n in places:
        code = STOPPER.format(n=n) + WRITER
        process = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.returncode in (0, 9), process.stderr
        if (path / "commit.json").exists():
            with open_store(path) as store:
                assert verify(store).damage == ()
    finish(path)
    assert all_bytes(path) == files
