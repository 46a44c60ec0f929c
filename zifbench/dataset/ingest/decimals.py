"""Fixed decimals, as Fortran prints them, to the nearest float64: exactly what `float()` gives.

A number with d decimals is an integer divided by 10^d. Both are exact in float64 as long as the
integer is below 2^53 and d at most 22, and the quotient of two exact numbers is rounded once: the
result is the float64 nearest to the text. Larger numbers are left to the caller, marked as bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit

Bytes = npt.NDArray[np.uint8]

_MAX_EXACT = 2**53
_POWERS = 10.0 ** np.arange(23)
_LINE_FEED, _BLANK, _MINUS, _PLUS, _DOT, _ZERO = 10, 32, 45, 43, 46, 48

# `3F20.10`, the numbers of an atom in CP2K's xyz files.
WIDTH = 20
DECIMALS = 10
TRIPLE = 3 * WIDTH
_SCALE = 10**DECIMALS
_MAX_INTEGER = _MAX_EXACT // _SCALE - 1


@jit
def columns(text: Bytes, starts: IntArray, ends: IntArray, out: FloatArray) -> Any:
    """Parse the same columns of many rows.

    Args:
        text: Rows of equal length, shape (rows, bytes).
        starts: First byte of each column.
        ends: Byte after each column.
        out: Filled with the values, shape (rows, columns).

    Returns:
        The first row in which a column is no plain number, or -1.
    """
    bad = -1
    for row in range(text.shape[0]):
        for column in range(len(starts)):
            value = _number(text[row], starts[column], ends[column])
            if value != value and bad < 0:
                bad = row
            out[row, column] = value
    return bad


@jit
def _number(line: Bytes, start: int, end: int) -> Any:
    """The number that stands right-aligned between two bytes, NaN if none or too long."""
    mantissa = 0
    decimals = -1
    digits = 0
    position = start
    while position < end and line[position] == _BLANK:
        position += 1
    negative = position < end and line[position] == _MINUS
    if negative or (position < end and line[position] == _PLUS):
        position += 1
    while position < end:
        byte = line[position]
        if byte == _DOT and decimals < 0:
            decimals = 0
        elif _ZERO <= byte < _ZERO + 10 and mantissa < _MAX_EXACT // 10:
            mantissa = 10 * mantissa + (byte - _ZERO)
            digits += 1
            if decimals >= 0:
                decimals += 1
        else:
            return np.nan
        position += 1
    if digits == 0 or decimals > 22:
        return np.nan
    value = mantissa / _POWERS[max(decimals, 0)]
    return -value if negative else value


@jit
def triples(
    text: Bytes, template: Bytes, starts: IntArray, ends: IntArray, out: FloatArray, bad: IntArray
) -> None:
    """Parse the three numbers at the end of each atom's line, `3F20.10`, of many frames.

    Args:
        text: Frames of equal length, shape (frames, bytes).
        template: The first frame of the file; labels must be its own.
        starts: First byte of each atom's line within a frame, shape (N,).
        ends: Its line feed, shape (N,).
        out: Filled with the values, shape (frames, N, 3).
        bad: Filled with the first atom of each frame whose line is not of this form, or -1.
    """
    for frame in range(text.shape[0]):
        bad[frame] = -1
        line = text[frame]
        for atom in range(len(starts)):
            end = ends[atom]
            good = line[end] == _LINE_FEED
            for position in range(starts[atom], end - TRIPLE):
                good &= line[position] == template[position]
            for k in range(3):
                start = end - TRIPLE + WIDTH * k
                fraction, checked = _ten_digits(line, start + WIDTH - DECIMALS)
                good &= checked and line[start + WIDTH - DECIMALS - 1] == _DOT
                integer = 0
                power = 1
                position = start + WIDTH - DECIMALS - 2
                while position >= start and _ZERO <= line[position] < _ZERO + 10:
                    integer += power * (line[position] - _ZERO)
                    power *= 10
                    position -= 1
                negative = position >= start and line[position] == _MINUS
                if negative:
                    position -= 1
                while position >= start:  # nothing but blanks before the number
                    good &= line[position] == _BLANK
                    position -= 1
                good &= integer <= _MAX_INTEGER and power > 1
                value = (integer * _SCALE + fraction) / 1.0e10
                out[frame, atom, k] = -value if negative else value
            if not good and bad[frame] < 0:
                bad[frame] = atom


@jit
def _ten_digits(line: Bytes, start: int) -> Any:
    """Ten digits as an integer, in pairs so that the additions do not wait for each other."""
    d0, d1 = np.int64(line[start]) - _ZERO, np.int64(line[start + 1]) - _ZERO
    d2, d3 = np.int64(line[start + 2]) - _ZERO, np.int64(line[start + 3]) - _ZERO
    d4, d5 = np.int64(line[start + 4]) - _ZERO, np.int64(line[start + 5]) - _ZERO
    d6, d7 = np.int64(line[start + 6]) - _ZERO, np.int64(line[start + 7]) - _ZERO
    d8, d9 = np.int64(line[start + 8]) - _ZERO, np.int64(line[start + 9]) - _ZERO
    # Negative where a byte is below "0" or above "9".
    low = d0 | d1 | d2 | d3 | d4 | d5 | d6 | d7 | d8 | d9
    high = (9 - d0) | (9 - d1) | (9 - d2) | (9 - d3) | (9 - d4)
    high |= (9 - d5) | (9 - d6) | (9 - d7) | (9 - d8) | (9 - d9)
    first = (d0 * 10 + d1) * 10000 + (d2 * 10 + d3) * 100 + (d4 * 10 + d5)
    last = (d6 * 10 + d7) * 100 + (d8 * 10 + d9)
    return first * 10000 + last, (low | high) >= 0


@jit
def matching(text: Bytes, template: Bytes, fixed: npt.NDArray[np.bool_]) -> Any:
    """Number of leading rows that equal the template in its fixed bytes; text (rows, bytes)."""
    for row in range(text.shape[0]):
        for position in range(len(template)):
            if fixed[position] and text[row, position] != template[position]:
                return row
    return text.shape[0]
