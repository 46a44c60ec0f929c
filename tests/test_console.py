"""What is drawn: progress in logs, the scorecard."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.leaderboard.test_leaderboard import make_result
from zifbench import console
from zifbench.reports.record import Analysis, Gap, Number, RunRecord


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


def test_a_status_stands_at_the_end_of_the_line(drawn, monkeypatch):
    clock = iter([0.0, 31.0, 62.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress_bar("md", 100) as advance:
        advance(50, "1.2 ns/day, 300 K")
        advance(50)
    assert drawn.getvalue().splitlines() == [
        "md: 50 of 100, 31 s left; 1.2 ns/day, 300 K",
        "md: 100 of 100; 1.2 ns/day, 300 K",
    ]


def test_what_counts_nothing_has_no_time_left(drawn, monkeypatch):
    """And its time is not held against what is counted afterwards."""
    clock = iter([0.0, 40.0, 80.0, 90.0, 120.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress_bar("md", 100) as advance:
        advance(0, "minimising, step 3")
        advance(0, "minimising, step 7")
        advance(10, "300 K")
        advance(30)
    assert drawn.getvalue().splitlines() == [
        "md: 0 of 100; minimising, step 3",
        "md: 0 of 100; minimising, step 7",
        "md: 40 of 100, 60 s left; 300 K",
    ]


def test_a_status_stands_beside_the_bar(monkeypatch):
    text = io.StringIO()
    terminal = Console(file=text, width=160, force_terminal=True)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress_bar("md", 100, 40) as advance:
        advance(10, "1.2 ns/day [300 K]")
        advance(10)
    assert "1.2 ns/day [300 K]" in text.getvalue()
    assert "60/100" in text.getvalue()


def test_a_failed_check_is_shown(drawn):
    console.show_result(make_result(passed=False))
    assert "conformance FAILED: rotation" in drawn.getvalue()
    assert "15.0 (13.5–16.5)" in drawn.getvalue()


def test_a_board_is_shown(drawn):
    from zifbench.leaderboard.entries import make_entry

    console.show_board([make_entry([make_result()], name="first")])
    assert "first" in drawn.getvalue()
    assert "test.extxyz: 10 frames" in drawn.getvalue()


def test_names_with_brackets_are_text(drawn):
    """What rich would read as markup, or trip over."""
    console.show_result(make_result(name="model[red][/nonsense]"))
    assert "model[red][/nonsense]" in drawn.getvalue()


def test_an_analysis_is_shown_with_its_marks(drawn):
    """Marks with one legend, four digits without an interval, one reason once, one frame."""
    rest = {"observable": "o", "unit": "°", "scatter": None, "note": None, "run_length": None}
    few = {"n": 4, "n_of": "blocks", "reliable": False, "long_enough": False}
    one = {"n": 1, "n_of": "frames", "reliable": None, "long_enough": None}
    numbers = [
        Number(quantity="a", title="A", value=109.53, interval_95=(109.41, 109.65), **few, **rest),
        Number(quantity="b", title="B", value=109.12, interval_95=None, **one, **rest),
    ]
    gaps = [("rdf", "1 frames"), ("msd", "too short"), ("pmf", "1 frames")]
    run = RunRecord.model_construct(
        name="run",
        numbers=numbers,
        gaps=[Gap(observable=name, reason=reason) for name, reason in gaps],
        events=[],
    )
    second = run.model_copy(update={"name": "plain", "numbers": numbers[1:], "gaps": []})
    console.show_analysis(Analysis.model_construct(runs=[run, second]))
    text = drawn.getvalue()
    assert "109.53 (109.41–109.65) * †" in text
    assert text.count("* too few independent samples") == text.count("† the run is too short") == 1
    assert "109.1 " in text
    assert "1 frame " in text
    assert "run, not defined: rdf, pmf: 1 frame\nrun, not defined: msd: too short\n" in text
