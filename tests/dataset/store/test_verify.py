"""Every flipped byte of every file is found, and named."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from zifbench.dataset.store import DamageError, open_store, write_store
from zifbench.dataset.store.layout import COMMIT_FILE, LOCK_FILE
from zifbench.dataset.store.verify import n_rows, verify
from zifbench.errors import DataError


def flip(path, place, bits=0xFF):
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(bytes(data))


def checked(path):
    with open_store(path) as store:
        return verify(store)


def test_a_sound_store(store_path):
    seen = []
    with open_store(store_path) as store:
        result = verify(store, seen.append)
        assert sum(seen) == n_rows(store)
    assert result.damage == ()
    assert result.strangers == ()
    assert result.n_frames == 42


def test_every_flip_in_every_file_is_found_and_named(store_path):
    """A random place and the two ends of each file; single bits and whole bytes."""
    rng = np.random.default_rng(0)
    files = [p for p in sorted(store_path.rglob("*")) if p.is_file() and p.name != LOCK_FILE]
    assert len(files) > 50
    for path in files:
        good = path.read_bytes()
        places = {0, len(good) - 1, *rng.integers(0, len(good), 1).tolist()}
        for place in places:
            flip(path, place, int(rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])))
            name = path.relative_to(store_path).as_posix()
            if name == COMMIT_FILE:
                with pytest.raises(DataError, match=r"commit\.json|schema"):
                    checked(store_path)
            else:
                damage = checked(store_path).damage
                assert [d.file for d in damage] == [name] * len(damage)
                assert damage
                if name.split("/")[-1].startswith("c."):
                    assert all(d.frames and d.array and d.trajectory for d in damage)
            path.write_bytes(good)
    assert checked(store_path).damage == ()


def test_a_flip_names_the_frames_of_its_chunk(store_path):
    """The last byte of a shard lies in its last chunk: frames 12 to 15 of the first 16."""
    flip(store_path / "nvt=20300K/forces/c.0.0.0", -1)
    (damage,) = checked(store_path).damage
    assert damage.trajectory == "nvt 300K"
    assert damage.array == "forces"
    assert damage.frames == (12, 16)
    assert damage.what == "the checksum does not fit the bytes"


def test_reading_damaged_frames_is_refused_and_others_are_read(store_path):
    flip(store_path / "nvt=20300K/forces/c.0.0.0", -1)
    trajectory = open_store(store_path).trajectories["nvt 300K"]
    assert len(trajectory.read(slice(0, 12))) == 12
    with pytest.raises(DamageError, match=r"c\.0\.0\.0, nvt 300K/forces of frames 12 to 15: the"):
        trajectory.read(13)


def test_an_index_is_one_damage_of_the_whole_shard(store_path):
    flip(store_path / "nvt=20300K/energy/c.1", 3)
    (damage,) = checked(store_path).damage
    assert damage.frames == (16, 32)


def test_a_valid_file_of_other_content_is_found(store_path):
    """Two shards of the same array exchanged: all checksums fit, the digests of blocks do not."""
    folder = store_path / "nvt=20300K/positions"
    shutil.move(folder / "c.0.0.0", folder / "x")
    shutil.move(folder / "c.1.0.0", folder / "c.0.0.0")
    shutil.move(folder / "x", folder / "c.1.0.0")
    damage = checked(store_path).damage
    assert [d.frames for d in damage] == [(0, 8), (8, 16), (16, 24), (24, 32)]
    assert damage[0].file == "nvt=20300K/positions/c.0.0.0"
    assert damage[0].what == "valid, but not what was committed"


def test_missing_and_foreign_files(store_path):
    (store_path / "nvt=20300K/stress/c.2.0.0").unlink()
    (store_path / "liquid=2F1/zarr.json").unlink()
    (store_path / "notes.txt").write_text("mine")
    result = checked(store_path)
    assert {(d.file, d.what) for d in result.damage} == {
        ("nvt=20300K/stress/c.2.0.0", "the file is missing"),
        ("liquid=2F1/zarr.json", "the file is missing"),
    }
    assert result.strangers == ("notes.txt",)


def test_a_truncated_shard(store_path):
    path = store_path / "nvt=20300K/positions/c.1.0.0"
    path.write_bytes(path.read_bytes()[:-10])
    (damage,) = checked(store_path).damage
    assert damage.frames == (28, 32)
    path.write_bytes(b"")
    (damage,) = checked(store_path).damage
    assert damage.frames == (16, 32)


def test_appending_to_a_damaged_tail_is_refused(store_path, make_frames):
    """What is committed is never built upon unread."""
    frames = open_store(store_path).trajectories["nvt 300K"].read([0])
    flip(store_path / "nvt=20300K/forces/c.2.0.0", -1)
    with pytest.raises(DamageError, match=r"c\.2\.0\.0"):
        write_store(store_path, {"nvt 300K": frames})
