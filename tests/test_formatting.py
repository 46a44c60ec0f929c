"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from zifbench.formatting import format_interval, format_value


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
