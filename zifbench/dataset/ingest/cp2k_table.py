"""CP2K's tables: `.cell`, `.stress` and `.ener`, a row for each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zifbench.dataset.ingest.cp2k_files import N_COLUMNS, N_KEPT
from zifbench.dataset.ingest.decimals import Bytes, columns
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, IntArray

_BLOCK_BYTES = 1 << 22
_LINE_FEED = 10
_SHORTEST_ROW = 100


@dataclass
class Table:
    """Rows of one table in the order of the file.

    Attributes:
        path: The file.
        kind: `cell`, `stress` or `energies`.
        step: Step numbers, shape (n,).
        time_fs: Times, shape (n,).
        values: The columns after these two, shape (n, columns); read-only where all rows are equal.
        damaged: Sentences about rows that were left out.
    """

    path: Path
    kind: str
    step: IntArray
    time_fs: FloatArray
    values: FloatArray
    damaged: list[str] = field(default_factory=list)


def read_table(path: Path, kind: str) -> Table:
    """Read a whole table: at most 230 bytes a frame, so that it fits in memory.

    Headers may come again, where parts were joined. A last row without its line feed and a row cut
    by a killed run are left out, and named.

    Raises:
        DataError: stars (a number too wide for its column), or no row at all.
    """
    damaged: list[str] = []
    rows = _Rows(path.stat().st_size, N_KEPT[kind])
    for block in _blocks(path, damaged):
        rows.add(_parse_block(block, N_COLUMNS[kind], path, damaged))
    if not rows.n:
        raise DataError(f"{printable(str(path))}: no complete row; the file is empty or truncated")
    step = rows.step[: rows.n].astype(np.int64)
    if not np.array_equal(step, rows.step[: rows.n]):
        raise DataError(f"{printable(str(path))}: step numbers that are no integers")
    values = rows.values[: rows.n]
    return Table(path, kind, step, rows.time_fs[: rows.n], _once(values), damaged)


class _Rows:
    """Columns that fill up, each in one piece of memory of about the size that is needed."""

    def __init__(self, n_bytes: int, n_values: int) -> None:
        self.n = 0
        self._n_bytes = n_bytes
        self.step = self.time_fs = np.empty(0)
        self.values = np.empty((0, n_values))

    def add(self, rows: FloatArray) -> None:
        """Append step, time and the first values of some rows."""
        stop = self.n + len(rows)
        if stop > len(self.step):
            self._grow(stop)
        self.step[self.n : stop] = rows[:, 0]
        self.time_fs[self.n : stop] = rows[:, 1]
        self.values[self.n : stop] = rows[:, 2 : 2 + self.values.shape[1]]
        self.n = stop

    def _grow(self, stop: int) -> None:
        # No row of any table is shorter; memory that is never touched costs nothing.
        size = max(stop, self._n_bytes // _SHORTEST_ROW)
        for name in ("step", "time_fs", "values"):
            old = getattr(self, name)
            new = np.empty((size, *old.shape[1:]))
            new[: self.n] = old[: self.n]
            setattr(self, name, new)


def _once(values: FloatArray) -> FloatArray:
    """A table of equal rows (the cell of a run at constant volume) as one row, seen many times."""
    same = all(
        (part == values[0]).all() for part in np.array_split(values, 1 + len(values) // 9999)
    )
    return np.broadcast_to(values[0].copy(), values.shape) if same else values


def _blocks(path: Path, damaged: list[str]) -> Iterator[bytes]:
    """Pieces of whole lines."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if cut:
                yield block[:cut]
    if rest:
        step = (rest.split() or [b"?"])[0].decode("ascii", "replace")
        damaged.append(
            f"{printable(path.name)}: the last row (step {step}) has no line feed; truncated, "
            "left out"
        )


def _parse_block(block: bytes, n_columns: int, path: Path, damaged: list[str]) -> FloatArray:
    """All good rows of whole lines, shape (rows, n_columns)."""
    text = np.frombuffer(block, dtype=np.uint8)
    feeds = np.flatnonzero(text == _LINE_FEED)
    starts = np.concatenate([[0], feeds[:-1] + 1])
    lengths = feeds - starts
    shape = _first_row(block, starts, lengths, n_columns)
    regular = lengths == shape.length if shape else np.zeros(len(starts), dtype=bool)
    values = np.full((len(starts), n_columns), np.nan)
    if shape:
        rows = starts[regular]
        good = np.empty((len(rows), n_columns))
        columns(_gather(text, rows, shape.length), shape.starts, shape.ends, good)
        values[regular] = good
    keep = np.isfinite(values).all(axis=1)
    for row in np.flatnonzero(~keep):
        line = block[starts[row] : feeds[row]]
        found = _slow_row(line, n_columns, path, damaged)
        if found is not None:
            values[row], keep[row] = found, True
    return values if keep.all() else values[keep]


@dataclass(frozen=True)
class _RowShape:
    length: int
    starts: IntArray
    ends: IntArray


def _first_row(
    block: bytes, starts: IntArray, lengths: IntArray, n_columns: int
) -> _RowShape | None:
    """Columns of the first row of data with as many numbers as wanted."""
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        line = block[start : start + length]
        words = line.split()
        if len(words) != n_columns or line.lstrip().startswith(b"#") or b"*" in line:
            continue
        ends, position = [], 0
        for word in words:
            position = line.index(word, position) + len(word)
            ends.append(position)
        return _RowShape(length, np.array([0, *ends[:-1]]), np.array(ends))
    return None


def _gather(text: Bytes, starts: IntArray, length: int) -> Bytes:
    """Rows of equal length; a view where they follow each other."""
    if len(starts) and np.all(np.diff(starts) == length + 1):
        end = starts[0] + len(starts) * (length + 1)
        return text[starts[0] : end].reshape(len(starts), length + 1)
    rows: Bytes = text[starts[:, None] + np.arange(length)]
    return rows


def _slow_row(line: bytes, n_columns: int, path: Path, damaged: list[str]) -> list[float] | None:
    """A row that differs from the first one: a header, other widths, or damage."""
    words = line.split()
    if not words or words[0].startswith(b"#"):
        return None
    step = words[0].decode("ascii", "replace")
    if b"*" in line:
        raise DataError(
            f"{printable(str(path))}: step {step} holds stars, a number too wide for its column; "
            "remove that step from all files"
        )
    if len(words) == n_columns:
        try:
            return [float(word) for word in words]
        except ValueError:
            pass
    damaged.append(
        f"{printable(path.name)}: the row that begins with step {step} has {len(words)} numbers, "
        f"wanted {n_columns}; broken, left out"
    )
    return None
