"""What the training process asks of nequip, and what it says when that fails."""

from __future__ import annotations

import sys

import pytest

from zifbench.training.ending import Ending, read_ending, write_ending

train = pytest.importorskip("nequip.scripts.train")

from zifbench.training.recorder import TrainingStoppedError  # noqa: E402


@pytest.fixture
def asked(monkeypatch):
    """The words that nequip-train is given."""
    words = []
    monkeypatch.setattr(sys, "argv", ["worker"])
    monkeypatch.setattr(train, "main", lambda: words.append(list(sys.argv[1:])))
    return words


def run(directory):
    from zifbench.training.worker import main

    main(directory)


def test_it_trains_from_the_last_checkpoint_if_there_is_one(tmp_path, asked):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    directory = tmp_path / "it's =a, {strange} $name"
    directory.mkdir()
    run(directory)
    (directory / "last.ckpt").touch()
    run(directory)
    for words in asked:
        assert words[:4] == ["-cp", str(directory), "-cn", "config"]
    first, second = (
        {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words[4:])}
        for words in asked
    )
    assert first["hydra.run.dir"] == str(directory)
    assert "ckpt_path" not in first
    assert second["ckpt_path"] == str(directory / "last.ckpt")


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (RuntimeError("no\n  such   layer"), Ending("failed", "RuntimeError: no such layer", 0)),
        (MemoryError(), Ending("out of memory", "MemoryError: MemoryError", 0)),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            Ending(
                "out of memory",
                "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
                0,
            ),
        ),
    ],
)
def test_what_fails_before_the_first_epoch_is_told(monkeypatch, tmp_path, asked, error, ending):
    def fail():
        raise error

    monkeypatch.setattr(train, "main", fail)
    with pytest.raises(type(error)):
        run(tmp_path)
    assert read_ending(tmp_path) == ending


def test_who_stops_since_another_process_did_says_nothing(monkeypatch, tmp_path, asked):
    """On another node the reason may not be seen at once."""

    def stop():
        raise TrainingStoppedError("the loss is nan")

    monkeypatch.setattr(train, "main", stop)
    with pytest.raises(TrainingStoppedError):
        run(tmp_path)
    assert read_ending(tmp_path) is None


def test_a_reason_that_is_there_is_not_replaced(monkeypatch, tmp_path, asked):
    def fail():
        write_ending(tmp_path, Ending("diverged", "the loss is nan", 3))
        raise RuntimeError("the training was stopped")

    monkeypatch.setattr(train, "main", fail)
    with pytest.raises(RuntimeError):
        run(tmp_path)
    assert read_ending(tmp_path) == Ending("diverged", "the loss is nan", 3)
