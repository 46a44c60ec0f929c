"""Fixed decimals, as Fortran prints them, to the nearest float64: exactly what `float()` gives.

A number with d decimals is an integer divided by 10^d. Both are exact in float64 as long as the
integer is below 2^53 and d at most 22, and the quotient of two exact numbers is rounded once: the
result is the float64 nearest to the text. Larger numbers are left to the caller, marked as bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

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
        bad: Filled with the first atom of each frame whose line is not of this form, or -1. So are
            numbers of 900 719 or more, which need more bits.
    """
    for frame in range(text.shape[0]):
        bad[frame] = -1
        address = text[frame].ctypes.data
        for atom in range(len(starts)):
            end = ends[atom]
            good = text[frame, end] == _LINE_FEED
            for position in range(starts[atom], end - TRIPLE):
                good &= text[frame, position] == template[position]
            for k in range(3):
                value, checked = _f20_10(address + end - TRIPLE + WIDTH * k)
                out[frame, atom, k] = value
                good &= checked
            if not good and bad[frame] < 0:
                bad[frame] = atom


# Eight bytes at a time: a word holds eight characters, the first one in its lowest byte.
_ONES = np.uint64(0x0101010101010101)
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIX = np.uint64(0x0606060606060606)
_ZEROS = np.uint64(0x3030303030303030)
_BLANKS = np.uint64(0x2020202020202020)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BYTE = np.uint64(0xFF)
_PAIRS = np.uint64(0x000000FF000000FF)
_MUL_1 = np.uint64(100 + (1000000 << 32))
_MUL_2 = np.uint64(1 + (10000 << 32))
_MINUS_OVER_BLANK = np.uint64(_MINUS ^ _BLANK)
_U4, _U8, _U10, _U16, _U32, _U56 = (np.uint64(k) for k in (4, 8, 10, 16, 32, 56))
_NO = np.uint64(0)
_DOT_WORD = np.uint64(_DOT)
_TWO_ZEROS = np.uint64(0x3030)
_TWO_HIGH = np.uint64(0xF0F0)
_TWO_SIX = np.uint64(0x0606)
_TWO_BYTES = np.uint64(0xFFFF)
_EIGHT_DIGITS = np.uint64(10**8)
_SCALE_WORD = np.uint64(_SCALE)
_MAX_WORD = np.uint64(_MAX_INTEGER)


@intrinsic  # type: ignore[untyped-decorator]
def _word(context: Any, address: Any) -> Any:
    """Eight bytes from any address, the first one lowest (zifbench runs on little-endian only)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(types.intp), generate


@jit
def _eight_digits(nibbles: np.uint64) -> Any:
    """Eight bytes 0 to 9 as one number: pairs, then fours, then eights."""
    pairs = nibbles * _U10 + (nibbles >> _U8)
    return ((pairs & _PAIRS) * _MUL_1 + ((pairs >> _U16) & _PAIRS) * _MUL_2) >> _U32


@jit
def _f20_10(address: int) -> Any:
    """The value of `F20.10` at an address, and whether it is blanks, a sign, digits and ten more.

    Bytes 0 to 8 are the integer part, 9 the point, 10 to 19 the fraction.
    """
    # The last eight digits.
    word = _word(address + 12)
    nibbles = word & _LOW
    wrong = (word & _HIGH) ^ _ZEROS
    wrong |= (nibbles + _SIX) & _HIGH
    fraction = _eight_digits(nibbles)
    # The point and the two digits before them.
    word = _word(address + 9)
    wrong |= (word & _BYTE) ^ _DOT_WORD
    two = (word >> _U8) & _TWO_BYTES
    wrong |= (two & _TWO_HIGH) ^ _TWO_ZEROS
    two &= ~_TWO_HIGH
    wrong |= (two + _TWO_SIX) & _TWO_HIGH
    fraction += ((two & _BYTE) * _U10 + (two >> _U8)) * _EIGHT_DIGITS
    # The integer part: in ASCII, digits have the bit 16 and blank and minus do not.
    word = _word(address + 1)
    digit = (word >> _U4) & _ONES
    n_digits = (digit * _ONES) >> _U56
    rest = (_U8 - n_digits) * _U8
    if n_digits in (_NO, _U8):
        return np.nan, False
    digits = _ALL << rest  # the bytes that must be digits, those nearest to the point
    wrong |= digit ^ (_ONES & digits)
    wrong |= (word & _HIGH & digits) ^ (_ZEROS & digits)
    nibbles = word & _LOW & digits
    wrong |= (nibbles + _SIX) & _HIGH & digits
    integer = _eight_digits(nibbles)
    # Before them blanks, of which the last may be a minus.
    sign = (word ^ _BLANKS) & ~digits
    negative = sign != _NO
    if negative:
        wrong |= sign ^ (_MINUS_OVER_BLANK << (rest - _U8))
    wrong |= (_word(address) & _BYTE) ^ np.uint64(_BLANK)
    good = wrong == _NO and integer <= _MAX_WORD
    value = np.float64(np.int64(integer * _SCALE_WORD + fraction)) / 1.0e10
    return (-value if negative else value), good


@jit
def matching(text: Bytes, template: Bytes, fixed: npt.NDArray[np.bool_]) -> Any:
    """Number of leading rows that equal the template in its fixed bytes; text (rows, bytes)."""
    for row in range(text.shape[0]):
        for position in range(len(template)):
            if fixed[position] and text[row, position] != template[position]:
                return row
    return text.shape[0]
