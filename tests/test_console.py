"""What is drawn: progress in logs, the scorecard."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.leaderboard.test_leaderboard import make_result
from zifbench import console


@pytest.fixture
def drawn(monkeypatch):
    """Both consoles as one text file, as in a batch job."""
    text = io.StringIO()
    plain = Console(file=text, width=160, highlight=False, markup=False)
    monkeypatch.setattr(console, "out", plain)
    monkeypatch.setattr(console, "err", plain)
    return text


def test_progress_in_a_log_is_lines_with_the_time_left(drawn, monkeypatch):
    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0, 100.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress_bar("accuracy", 100, 10) as advance:
        for _ in range(4):
            advance(10)
        advance(50)
    assert drawn.getvalue().splitlines() == [
        "accuracy: 30 of 100, 108 s left",
        "accuracy: 50 of 100, 78 s left",
        "accuracy: 100 of 100",
    ]


def test_a_failed_check_is_shown(drawn):
    console.show_result(make_result(passed=False))
    assert "conformance FAILED: rotation" in drawn.getvalue()
    assert "15.0 (13.5–16.5)" in drawn.getvalue()


def test_a_board_is_shown(drawn):
    from zifbench.leaderboard.entries import entry_from_result

    console.show_board([entry_from_result(make_result(), name="first")])
    assert "first" in drawn.getvalue()
    assert "test.extxyz: 10 frames" in drawn.getvalue()


def test_names_with_brackets_are_text(drawn):
    """What rich would read as markup, or trip over."""
    console.show_result(make_result(name="model[red][/nonsense]"))
    assert "model[red][/nonsense]" in drawn.getvalue()
