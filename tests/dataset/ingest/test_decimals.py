"""Fixed decimals are read as `float()` reads them, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zifbench.dataset.ingest.decimals import columns, triples

LARGEST = 900_718 * 10**10 + 10**10 - 1


def read_triples(lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Values and bad atoms of one frame whose lines are given without labels and line feeds."""
    text = np.frombuffer("".join(f"  Zn{line}\n" for line in lines).encode(), dtype=np.uint8)
    starts = 65 * np.arange(len(lines))
    out = np.empty((1, len(lines), 3))
    bad = np.empty(1, dtype=np.int64)
    triples(text[None], text, starts, starts + 64, out, bad)
    return out[0], bad


@settings(deadline=None)
@given(st.lists(st.integers(-LARGEST, LARGEST), min_size=3, max_size=3))
@example([0, 1, -1])
@example([LARGEST, -LARGEST // 100, 10**10])
def test_ten_decimals_are_the_float_of_the_text(mantissas: list[int]) -> None:
    words = [
        f"{'-' if m < 0 else ''}{abs(m) // 10**10}.{abs(m) % 10**10:010d}".rjust(20)
        for m in mantissas
    ]
    values, bad = read_triples(["".join(words)])
    assert (values[0].tolist(), bad[0]) == ([float(word) for word in words], -1)


def test_minus_zero_keeps_its_sign() -> None:
    values, bad = read_triples([f"{'-0.0000000000':>20}" * 3])
    assert (bad[0], np.signbit(values).all(), (values == 0).all()) == (-1, True, True)


@settings(deadline=None)
@given(st.text(" -+.0123456789*E:/\t", min_size=20, max_size=20))
@example("       -.1234567890 "[:20])
@example("********************")
@example("     - 1.1234567890")
@example("     1-1.1234567890")
@example("     --1.1234567890")
@example("        .1234567890")
@example("  12345678.12345678/")
@example(" 123456789.1234567890"[:20])
def test_anything_else_is_marked_and_never_misread(word: str) -> None:
    good = f"{1.5:20.10f}"
    word = word.ljust(20)
    values, bad = read_triples([good * 3, good + word + good])
    if bad[0] == -1:
        assert values[1, 1] == float(word)
    else:
        assert bad[0] == 1


def test_a_label_or_a_line_feed_that_differs_is_marked() -> None:
    text = np.frombuffer(f"  Zn{1.5:20.10f}{2.5:20.10f}{3.5:20.10f}\n".encode(), dtype=np.uint8)
    for position, byte in ((2, ord("C")), (64, ord(" ")), (0, ord("x"))):
        damaged = text.copy()
        damaged[position] = byte
        out, bad = np.empty((1, 1, 3)), np.empty(1, dtype=np.int64)
        triples(damaged[None], text, np.array([0]), np.array([64]), out, bad)
        assert bad[0] == 0


@settings(deadline=None)
@given(
    st.integers(-(2**53) // 10 + 1, 2**53 // 10 - 1),
    st.integers(0, 12),
    st.integers(0, 5),
)
def test_columns_are_the_float_of_the_text(mantissa: int, decimals: int, blanks: int) -> None:
    digits = f"{abs(mantissa):0{decimals + 1}d}"
    cut = len(digits) - decimals
    word = " " * blanks + ("-" if mantissa < 0 else "") + digits[:cut]
    word += f".{digits[cut:]}" if decimals else ""
    text = np.frombuffer(f"{word}  7".encode(), dtype=np.uint8)[None]
    out = np.empty((1, 2))
    ends = np.array([len(word), len(word) + 3])
    assert columns(text, np.array([0, len(word)]), ends, out) == -1
    assert out[0].tolist() == [float(word), 7.0]


@pytest.mark.parametrize("word", ["   *", "  1x", "    ", "1.2.", "- 1 ", "1-1 ", "   -"])
def test_columns_mark_what_is_no_number(word: str) -> None:
    text = np.frombuffer(word.encode(), dtype=np.uint8)[None]
    assert columns(text, np.array([0]), np.array([4]), np.empty((1, 1))) == 0
