"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from zifbench.formatting import by_reason, format_interval, format_value, marks, singular


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (15.0312, (14.1, 16.2), "15.0"),
        (15.0312, (14.981, 15.081), "15.031"),
        (1234.5, (1000.0, 1500.0), "1234"),
        (0.60, None, "0.600"),
        (1561.2, None, "1561"),
        (0.0, None, "0"),
        (-0.969, (-1.0, -0.9), "-0.969"),
        (math.nan, None, "–"),
    ],
)
def test_digits_follow_the_interval(value, interval, text):
    assert format_value(value, interval) == text


def test_intervals():
    assert format_interval(15.03, (14.1, 16.2)) == "15.0 (14.1–16.2)"
    assert format_interval(0.15, (-5.7, 3.4)) == "0.1 (-5.7 to 3.4)"
    assert format_interval(0.15, None) == "0.150"


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (109.12, None, "109.1"),
        (4.0, None, "4.000"),
        (4.0, (4.0, 4.0), "4.000 (4.000–4.000)"),
        (15.03, (14.1, 16.2), "15.0 (14.1–16.2)"),
        (0.0, None, "0"),
    ],
)
def test_more_digits_where_no_interval_limits_them(value, interval, text):
    assert format_interval(value, interval, significant=4) == text


def test_marks():
    assert marks((1.0, 2.0), False, False) == "* †"
    assert marks(None, False, True) == ""
    assert marks((1.0, 2.0), True, None) == ""


def test_reasons_are_given_once():
    reasons = [("rdf", "no cell"), ("msd", "short"), ("pmf", "no cell"), ("msd", "short")]
    assert list(by_reason(reasons).items()) == [("no cell", ["rdf", "pmf"]), ("short", ["msd"])]


def test_one_of_a_thing():
    assert singular("1 frames of 21 frames in 1 files, 0.1 frames") == (
        "1 frame of 21 frames in 1 file, 0.1 frames"
    )
