"""Directories that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zifbench.files import written_whole


def test_it_takes_its_place_when_it_is_full(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("first", "second"):
        with written_whole(out) as folder:
            (folder / "file").write_text(text)
            assert not out.exists() or (out / "file").read_text() == "first"
    assert (out / "file").read_text() == "second"
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("old")
    with pytest.raises(OSError) as caught, written_whole(out) as folder:
        (folder / "file").write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(out)
    assert (out / "file").read_text() == "old" and list(tmp_path.iterdir()) == [out]


def test_what_killed_processes_left_is_removed_or_put_back(tmp_path: Path) -> None:
    out, dead, alive = tmp_path / "out", 2**22 + 1, os.getppid()
    for name in (f".out.{dead}.new", f".out.{alive}.new", f".out.{dead}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(ValueError), written_whole(out):
        raise ValueError
    assert (out / "file").read_text() == f".out.{dead}.old"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".out.{alive}.new", "out"]
