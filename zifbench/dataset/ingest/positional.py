"""Reading at many places of a file at once."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import types

from zifbench.dataset.ingest.decimals import Bytes
from zifbench.frames import IntArray
from zifbench.jit import jit

_THREADS = 16
_FEW = 256  # not worth a thread
# POSIX pread(fd, buffer, count, offset): called from compiled code, so that a million short reads
# cost the system call and not the interpreter.
_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.uintp, types.uintp, types.int64)
)


@jit
def _read_each(descriptor: int, offsets: IntArray, out: Bytes) -> int:
    """Fill one row of `out` from each offset; the first row that could not be filled, or -1."""
    width = out.shape[1]
    for row in range(len(offsets)):
        if _pread(descriptor, out[row].ctypes.data, width, offsets[row]) != width:
            return row
    return -1


def read_each(descriptor: int, offsets: IntArray, width: int) -> Bytes:
    """`width` bytes from each offset, shape (offsets, width).

    Short reads far apart wait for the disk one by one: sixteen threads ask at once.

    Raises:
        EOFError: an offset too near the end.
    """
    out = np.empty((len(offsets), width), dtype=np.uint8)
    if len(offsets) <= _FEW:
        if _read_each(descriptor, offsets, out) >= 0:
            raise EOFError
        return out
    size = max(_FEW, -(-len(offsets) // _THREADS))
    starts = range(0, len(offsets), size)
    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [
            pool.submit(_read_each, descriptor, offsets[a : a + size], out[a : a + size])
            for a in starts
        ]
        if any(job.result() >= 0 for job in jobs):
            raise EOFError
    return out


def read_rows(descriptor: int, offsets: IntArray, out: Bytes) -> None:
    """As `read_each`, for long rows that mostly follow each other: one read for each run.

    Args:
        descriptor: An open file.
        offsets: Where each row begins.
        out: Filled, shape (offsets, bytes of a row).

    Raises:
        EOFError: an offset too near the end.
    """
    breaks = np.flatnonzero(np.diff(offsets) != out.shape[1]) + 1
    edges = [0, *breaks.tolist(), len(offsets)]
    for first, last in itertools.pairwise(edges):
        _fill(descriptor, out[first:last].data.cast("B"), int(offsets[first]))


def _fill(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Read until the buffer is full."""
    done = 0
    while done < len(buffer):
        n = os.preadv(descriptor, [buffer[done:]], offset + done)
        if n == 0:
            raise EOFError
        done += n
