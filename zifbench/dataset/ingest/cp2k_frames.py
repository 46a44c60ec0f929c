"""CP2K's xyz files: positions, forces and velocities, a frame for each step.

A frame is a line with the number of atoms, a title with step, time and energy, and a line for each
atom that ends in three numbers. All frames of a file have the same number of bytes, so the titles
are looked up at predicted places, and nothing in between is read. Where a title is not at its
place (a frame cut by a killed run) it is searched; where the layout differs altogether, the file
is read line by line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zifbench.dataset.ingest.cp2k_files import TITLE
from zifbench.dataset.ingest.decimals import (
    DECIMALS,
    TRIPLE,
    WIDTH,
    Bytes,
    columns,
    matching,
    triples,
)
from zifbench.dataset.ingest.positional import read_each, read_rows
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, IntArray

_BATCH = 1 << 16  # titles looked up at once
_BLOCK_BYTES = 1 << 20
_CACHE_BYTES = 1 << 18
_TITLE_LINE = re.compile(rb" i = *\d[^\n]*\n")
_LINE = re.compile(rb"^ *\S+(?: +-?\d+\.\d{%d}){3}$" % DECIMALS)


@dataclass(frozen=True)
class Layout:
    """Where things stand in every frame of a file.

    Attributes:
        template: The first frame, as bytes.
        head: Bytes of its first two lines.
        fixed: Which bytes of the head are the same in all frames, shape (head,).
        starts: First byte of the columns step, time, energy within the frame.
        ends: Byte after each.
        line_starts: First byte of each atom's line within the frame, shape (N,).
        line_ends: Its line feed, shape (N,).
    """

    template: Bytes
    head: int
    fixed: npt.NDArray[np.bool_]
    starts: IntArray
    ends: IntArray
    line_starts: IntArray
    line_ends: IntArray

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return len(self.template)


@dataclass
class FrameFile:
    """Complete frames of a file, in the order of the file.

    Attributes:
        path: The file.
        labels: What each atom is called, shape (N,).
        step: Step numbers, shape (n,).
        time_fs: Times, shape (n,).
        energy: Energies of the titles in hartree, shape (n,).
        offset: First byte of each frame, shape (n,).
        size: Bytes of each frame, shape (n,).
        layout: None where the file is read line by line.
        damaged: Sentences about frames that were left out.
    """

    path: Path
    labels: tuple[str, ...]
    step: IntArray
    time_fs: FloatArray
    energy: FloatArray
    offset: IntArray
    size: IntArray
    layout: Layout | None
    damaged: list[str] = field(default_factory=list)

    def read(self, rows: IntArray) -> FloatArray:
        """The numbers of some frames as they are printed, shape (rows, N, 3).

        Raises:
            DataError: a line that is no atom of this file, with the step; stars.
        """
        values = np.empty((len(rows), len(self.labels), 3))
        with self.path.open("rb", buffering=0) as file:
            try:
                if self.layout is None:
                    for k, row in enumerate(rows.tolist()):
                        text = os.pread(file.fileno(), self.size[row], self.offset[row])
                        values[k] = self._slow(text, int(self.step[row]))
                else:
                    self._fast(file.fileno(), rows, self.layout, values)
            except EOFError as error:
                raise DataError(
                    f"{printable(str(self.path))} became shorter while it was read; ingest again "
                    "when nothing writes to it"
                ) from error
        return values

    def _fast(self, descriptor: int, rows: IntArray, layout: Layout, values: FloatArray) -> None:
        """Fill `values` in pieces small enough for the processor's cache."""
        size = max(1, _CACHE_BYTES // layout.size)
        text = np.empty((min(size, len(rows)), layout.size), dtype=np.uint8)
        bad = np.empty(len(text), dtype=np.int64)
        for first in range(0, len(rows), size):
            piece = rows[first : first + size]
            n = len(piece)
            read_rows(descriptor, self.offset[piece], text[:n])
            out = values[first : first + n]
            triples(text[:n], layout.template, layout.line_starts, layout.line_ends, out, bad[:n])
            for k in np.flatnonzero(bad[:n] >= 0).tolist():
                out[k] = self._slow(text[k].tobytes(), int(self.step[piece[k]]))

    def _slow(self, text: bytes, step: int) -> FloatArray:
        """One frame line by line, or the reason why it cannot be read."""
        lines = text.split(b"\n")[2:-1]
        values = np.empty((len(self.labels), 3))
        where = f"{printable(str(self.path))}, step {step}"
        if len(lines) != len(self.labels):
            raise DataError(f"{where}: {len(lines)} atoms, wanted {len(self.labels)}")
        for atom, (line, label) in enumerate(zip(lines, self.labels, strict=True)):
            if b"*" in line:
                raise DataError(
                    f"{where}, atom {atom}: stars, a number too wide for its column; remove that "
                    "step from all files"
                )
            words = line.split()
            if len(words) != 4 or words[0] != label.encode():
                shown = line[:80].decode("ascii", "replace")
                raise DataError(f"{where}, atom {atom}: {shown!r}, wanted {label} and 3 numbers")
            try:
                values[atom] = [float(word) for word in words[1:]]
            except ValueError as error:
                raise DataError(f"{where}, atom {atom}: {error}") from error
        return values


class _IrregularError(Exception):
    """The frames of this file are not all of one layout."""


def index_frames(path: Path) -> FrameFile:
    """Find all complete frames of a file.

    Raises:
        DataError: no complete frame.
    """
    with path.open("rb", buffering=0) as file:
        found = _regular(path, file.fileno(), os.fstat(file.fileno()).st_size)
    found = found or _line_by_line(path)
    if not len(found.step):
        raise DataError(
            f"{printable(str(path))}: no complete frame; the file is empty or truncated"
        )
    return found


# -- frames of equal size --------------------------------------------------------------------------


def _regular(path: Path, descriptor: int, size: int) -> FrameFile | None:
    layout, labels = _layout(path)
    if layout is None:
        return None
    damaged: list[str] = []
    offsets: list[IntArray] = []
    heads: list[FloatArray] = []
    try:
        for run, head in _runs(path, descriptor, size, layout, damaged):
            offsets.append(run)
            heads.append(head)
    except _IrregularError:
        return None
    offset = np.concatenate(offsets)
    head = np.concatenate(heads)
    return FrameFile(
        path=path,
        labels=labels,
        step=head[:, 0].astype(np.int64),
        time_fs=head[:, 1].copy(),
        energy=head[:, 2].copy(),
        offset=offset,
        size=np.broadcast_to(np.int64(layout.size), len(offset)),
        layout=layout,
        damaged=damaged,
    )


def _layout(path: Path) -> tuple[Layout | None, tuple[str, ...]]:
    """The first frame, if all of its lines are `label 3F20.10`."""
    with path.open("rb") as file:
        first = file.readline()
        title = file.readline()
        n_atoms = int(first) if first.strip().isdigit() else 0
        lines = [file.readline() for _ in range(n_atoms)]
    match = TITLE.match(title.rstrip(b"\n"))
    if match is None or not lines or not all(map(_is_regular_line, lines)):
        return None, ()
    head = len(first) + len(title)
    starts, ends, fixed = _title_columns(match, len(first), head)
    lengths = np.array([len(line) for line in lines])
    line_starts = head + np.concatenate([[0], np.cumsum(lengths[:-1])])
    template = np.frombuffer(first + title + b"".join(lines), dtype=np.uint8)
    labels = tuple(line.split()[0].decode("ascii", "replace") for line in lines)
    layout = Layout(template, head, fixed, starts, ends, line_starts, line_starts + lengths - 1)
    return layout, labels


def _is_regular_line(line: bytes) -> bool:
    numbers = line[-TRIPLE - 1 : -1]
    dots = [WIDTH * k + WIDTH - DECIMALS - 1 for k in range(3)]
    return (
        line.endswith(b"\n")
        and _LINE.match(line[:-1]) is not None
        and len(numbers) == TRIPLE
        and all(numbers[dot] == ord(".") for dot in dots)
    )


def _title_columns(
    match: re.Match[bytes], start: int, head: int
) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Columns of the three numbers, blanks before them included, and the rest, which is fixed."""
    fixed = np.ones(head, dtype=bool)
    starts, ends = [], []
    text = match.string
    for group in (1, 2, 3):
        first, last = match.span(group)
        while text[first - 1 : first] == b" ":
            first -= 1
        fixed[start + first : start + last] = False
        starts.append(start + first)
        ends.append(start + last)
    return np.array(starts), np.array(ends), fixed


def _runs(
    path: Path, descriptor: int, size: int, layout: Layout, damaged: list[str]
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Offsets and (step, time, energy) of frames that follow each other without a gap."""
    start = 0
    while start < size:
        offset, head = _run(descriptor, start, size, layout)
        end = start + len(offset) * layout.size
        if end >= size:
            yield offset, head
            return
        # The next title is searched from within the last frame: that one may be cut short.
        search = start if not len(offset) else int(offset[-1]) + layout.head
        following = _next_frame(descriptor, search, size, layout, skip=start)
        last = len(offset)
        if last and (following is not None and following < end):
            last -= 1
            damaged.append(
                f"{printable(path.name)}: step {int(head[last, 0])} is cut after "
                f"{following - int(offset[last])} bytes; left out"
            )
        elif last and not _is_whole(descriptor, int(offset[-1]), layout):
            last -= 1
            damaged.append(f"{printable(path.name)}: step {int(head[last, 0])} is broken; left out")
        yield offset[:last], head[:last]
        if following is None:
            _report_tail(path, descriptor, end, size, layout, damaged)
            return
        if following > end:
            damaged.append(
                f"{printable(path.name)}: {following - end} bytes at byte {end} belong to no "
                "complete frame; left out"
            )
        start = following


def _run(descriptor: int, start: int, size: int, layout: Layout) -> tuple[IntArray, FloatArray]:
    """Frames from `start` on whose titles are where they must be."""
    offsets: list[IntArray] = []
    heads: list[FloatArray] = []
    n_left = (size - start) // layout.size
    while n_left:
        n = min(n_left, _BATCH)
        offset = start + layout.size * np.arange(n)
        text = read_each(descriptor, offset, layout.head)
        good = matching(text, layout.template[: layout.head], layout.fixed)
        head = np.empty((good, 3))
        first_bad = columns(text[:good], layout.starts, layout.ends, head)
        if first_bad >= 0:
            _refuse_stars(text[first_bad].tobytes())
            good = first_bad
        offsets.append(offset[:good])
        heads.append(head[:good])
        start += good * layout.size
        n_left -= n
        if good < n:
            break
    if not offsets:
        return np.empty(0, dtype=np.int64), np.empty((0, 3))
    return np.concatenate(offsets), np.concatenate(heads)


def _refuse_stars(head: bytes) -> None:
    if b"*" in head:
        title = " ".join(head.decode("ascii", "replace").split())
        raise DataError(
            f"title {title!r}: stars, a number too wide for its column; remove that frame from all "
            "files"
        )


def _next_frame(
    descriptor: int, search: int, size: int, layout: Layout, *, skip: int
) -> int | None:
    """First byte of the next complete head from `search` on, after `skip`; None at the end.

    Raises:
        _IrregularError: there is a title, but not as in the first frame.
    """
    position = search
    overlap = layout.head + 64
    first_line = int(np.argmax(layout.template == ord("\n"))) + 1
    while position < size:
        block = os.pread(descriptor, _BLOCK_BYTES, position)
        for match in _TITLE_LINE.finditer(block):
            # The title begins where the first line of the head ends.
            begin = position + match.start() - first_line
            if begin <= skip:
                continue
            head = os.pread(descriptor, layout.head, begin)
            if len(head) < layout.head:
                return None
            text = np.frombuffer(head, dtype=np.uint8)[None]
            if matching(text, layout.template[: layout.head], layout.fixed):
                return begin
            if TITLE.match(match[0].rstrip()):
                raise _IrregularError
        if len(block) < _BLOCK_BYTES:
            return None
        position += _BLOCK_BYTES - overlap
    return None


def _is_whole(descriptor: int, offset: int, layout: Layout) -> bool:
    """Whether all lines of a frame end where they must."""
    text = np.frombuffer(os.pread(descriptor, layout.size, offset), dtype=np.uint8)
    return len(text) == layout.size and bool((text[layout.line_ends] == 10).all())


def _report_tail(
    path: Path, descriptor: int, end: int, size: int, layout: Layout, damaged: list[str]
) -> None:
    """What stands after the last complete frame: less than a frame, or nothing of ours."""
    rest = size - end
    if rest >= layout.size + layout.head:
        raise DataError(
            f"{printable(str(path))}: no title in the last {rest} bytes (from byte {end} on), "
            f"wanted one every {layout.size}; the file is damaged"
        )
    match = TITLE.search(os.pread(descriptor, min(rest, 4096), end))
    name = f"step {match[1].decode()}" if match else "the last frame"
    damaged.append(
        f"{printable(path.name)}: {name} is truncated, {rest} of {layout.size} bytes; left out"
    )


# -- frames of any layout --------------------------------------------------------------------------


def _line_by_line(path: Path) -> FrameFile:
    """Index of a file whose lines differ in length: a title, then N lines with four words."""
    damaged: list[str] = []
    rows: list[tuple[int, float, float, int, int]] = []
    labels: tuple[str, ...] = ()
    for piece in _pieces(path):
        step = int(piece.title[1])
        lines = piece.lines[: piece.n_atoms]
        words = [line.split() for line in lines]
        names = tuple(w[0].decode("ascii", "replace") for w in words if len(w) == 4)
        complete = bool(lines) and lines[-1].endswith(b"\n")
        if not (len(names) == piece.n_atoms and complete):
            damaged.append(
                f"{printable(path.name)}: step {step} has {len(names)} complete lines, wanted "
                f"{piece.n_atoms}; truncated, left out"
            )
            continue
        if len(piece.lines) > piece.n_atoms:
            damaged.append(
                f"{printable(path.name)}: {len(piece.lines) - piece.n_atoms} lines after step "
                f"{step} belong to no frame; left out"
            )
        labels = labels or names
        if names != labels:
            raise DataError(f"{printable(str(path))}, step {step}: other atoms than before")
        numbers = (float(piece.title[2]), float(piece.title[3]))
        rows.append((step, *numbers, piece.start, piece.head + sum(map(len, lines))))
    table = list(zip(*rows, strict=True)) or [()] * 5
    return FrameFile(
        path=path,
        labels=labels,
        step=np.array(table[0], dtype=np.int64),
        time_fs=np.array(table[1], dtype=float),
        energy=np.array(table[2], dtype=float),
        offset=np.array(table[3], dtype=np.int64),
        size=np.array(table[4], dtype=np.int64),
        layout=None,
        damaged=damaged,
    )


@dataclass
class _Piece:
    """Everything from the head of a frame to the head of the next."""

    start: int
    head: int
    title: re.Match[bytes]
    n_atoms: int
    lines: list[bytes] = field(default_factory=list)


def _pieces(path: Path) -> Iterator[_Piece]:
    position = 0
    previous = b""
    piece: _Piece | None = None
    with path.open("rb") as file:
        for line in file:
            match = TITLE.match(line.rstrip(b"\r\n"))
            if match is None:
                if piece is not None:
                    piece.lines.append(line)
            else:
                _refuse_stars(line)
                if piece is not None:
                    del piece.lines[-1:]  # the first line of this frame's head
                    yield piece
                count = previous.split()[-1:]
                n_atoms = int(count[0]) if count and count[0].isdigit() else 0
                head = len(previous) + len(line)
                piece = _Piece(position - len(previous), head, match, n_atoms)
            previous = line
            position += len(line)
    if piece is not None:
        yield piece
