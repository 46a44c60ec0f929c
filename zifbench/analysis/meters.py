"""Frames of one file through many observables at once, piece by piece, on all cores.

Memory: a few pieces of frames, at most `MAX_BLOCKS` copies of each curve, a window of the mean
square displacement and one of the velocity spectrum, and for each frame the numbers of the series,
its cell and its time: about 40 numbers, 0.6 kB with what the statistics at the end need.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from zifbench.analysis.observation import (
    About,
    Curve,
    Event,
    Meter,
    Observable,
    Observation,
    Scope,
    Series,
    Settings,
    check_alike,
)
from zifbench.analysis.timeseries import block_edges
from zifbench.errors import DataError, NotDefinedError, ZifbenchError
from zifbench.frames import FloatArray, Frames

_MAX_EVENTS = 1000  # different ones of one file; a cell that falls apart makes new ones without end
MAX_BLOCKS = 64  # pieces of one file whose curves scatter about the mean
_PIECE_ATOMS = 17_408  # 64 frames of 272 atoms: 0.4 MB, a quarter of a second of work

Advance = Callable[[int], None]
Titled = TypeVar("Titled", Series, Curve)


class FrameSource(Protocol):
    """A file of frames, or anything else that gives them in order and more than once.

    Attributes:
        name: For messages and records.
        n_frames: Number of frames.
        arrays: Arrays of the whole, such as a Hessian.
        temperature_K: Where the source says it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def n_frames(self) -> int: ...  # noqa: D102
    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]: ...  # noqa: D102
    @property
    def temperature_K(self) -> float | None: ...  # noqa: D102

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        """Pieces of consecutive frames, each of the same atoms and of at most so many in all."""


@dataclass(frozen=True)
class MemorySource:
    """Frames in memory, in parts that may differ in atoms and values."""

    parts: tuple[Frames, ...]
    temperature_K: float | None = None

    @property
    def name(self) -> str:
        """Where the frames came from."""
        return self.parts[0].source if self.parts else "memory"

    @property
    def n_frames(self) -> int:
        """Frames of all parts."""
        return sum(len(part) for part in self.parts)

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """None."""
        return {}

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        """Pieces of each part."""
        for part in self.parts:
            yield from part.chunks(max(1, max_atoms // max(1, part.n_atoms)))


@dataclass(frozen=True)
class Axis:
    """Where the frames of one file stand: time in ps, else step, else number; shape (T,)."""

    label: str
    values: FloatArray


@dataclass(frozen=True)
class FileResult:
    """What the observables found in one file.

    Attributes:
        found: Observable -> what it says.
        failed: Observable -> why it is not defined.
        axis: Abscissa of the series.
        digest: sha256 of what was analysed.
        formulas: Compositions that occur.
    """

    found: dict[str, Observation]
    failed: dict[str, str]
    axis: Axis
    digest: str
    formulas: frozenset[str]


class BlockMeter:
    """An observable of any frames, applied piece by piece; pieces within a block are averaged."""

    def __init__(
        self, function: Callable[[Frames, Settings], Observation], settings: Settings, n_frames: int
    ) -> None:
        self._function, self._settings = function, settings
        self._edges = block_edges(n_frames, max(1, min(n_frames, MAX_BLOCKS)))
        self._n = 0
        self._series: dict[str, Series] = {}
        self._curves: dict[str, Curve] = {}
        self._sums: dict[str, FloatArray] = {}  # of each block, shape (K, B)
        self._given: Counter[tuple[type, str]] = Counter()  # frames that gave a series or a curve
        self._events: dict[str, Event] = {}
        self._n_events_left_out = 0
        self._gaps: dict[str, None] = {}

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        if self._n + len(frames) > self._edges[-1]:
            raise DataError(f"{frames.source} holds more than the {self._edges[-1]} frames counted")
        start = 0
        while start < len(frames):
            block = int(np.searchsorted(self._edges, self._n, side="right")) - 1
            piece = frames[start : start + int(self._edges[block + 1]) - self._n]
            self._take(self._function(piece, self._settings), len(piece), block)
            start += len(piece)

    def _take(self, found: Observation, n: int, block: int) -> None:
        for key, series in found.series.items():
            if key not in self._series:
                whole = np.full(int(self._edges[-1]), np.nan)
                self._series[key] = replace(series, values=whole)
            check_alike(self._series[key], series, "frames")
            self._series[key].values[self._n : self._n + n] = series.values
            self._given[Series, key] += n
        for key, curve in found.curves.items():
            if key not in self._curves:
                self._curves[key] = curve
                self._sums[key] = np.zeros((len(self._edges) - 1, len(curve.y)))
            check_alike(self._curves[key], curve, "frames")
            self._sums[key][block] += n * curve.y
            self._given[Curve, key] += n
        for event in found.events:
            self._note(event)
        self._gaps.update(dict.fromkeys(found.gaps))
        self._n += n

    def _note(self, event: Event) -> None:
        old = self._events.get(event.what)
        if old is not None:
            count = old.n_frames + event.n_frames
            self._events[event.what] = Event(event.what, old.first, event.last, count)
        elif len(self._events) < _MAX_EVENTS:
            self._events[event.what] = event
        else:
            self._n_events_left_out += 1

    def result(self) -> Observation:
        """Series joined, curves averaged, each with its blocks; what not all frames give is a gap.

        Raises:
            NotDefinedError: no frames, or nothing that all of them give.
        """
        if not self._n:
            raise NotDefinedError("no frames; an observable needs at least one")
        gaps = dict(self._gaps)
        series = self._given_by_all(self._series, gaps)
        sizes = np.diff(np.minimum(self._edges, self._n))
        full = sizes > 0
        curves = {}
        for key, curve in self._given_by_all(self._curves, gaps).items():
            sums = self._sums[key][full]
            blocks = sums / sizes[full, None]
            curves[key] = replace(curve, y=sums.sum(axis=0) / self._n, blocks=blocks)
        if gaps and not series and not curves:
            raise NotDefinedError("; ".join(gaps))
        if self._n_events_left_out:
            gaps[f"events: {self._n_events_left_out} more are not listed"] = None
        return Observation(series, curves, events=tuple(self._events.values()), gaps=tuple(gaps))

    def _given_by_all(
        self, table: Mapping[str, Titled], gaps: dict[str, None]
    ) -> dict[str, Titled]:
        """What every frame gave; the rest becomes a gap."""
        common = {}
        for key, one in table.items():
            given = self._given[type(one), key]
            if given == self._n:
                common[key] = one
            else:
                gaps[f"{one.title}: only {given} of {self._n} frames give it"] = None
        return common


def measure(
    source: FrameSource,
    chosen: Mapping[str, Observable],
    settings: Settings,
    *,
    advance: Advance = lambda n: None,
    n_threads: int | None = None,
) -> FileResult:
    """All observables of one file in one pass.

    While the observables work on a piece, each a job of its own, the next piece is read. An
    observable that is not defined for a frame is left from there on, with the reason.

    Args:
        source: The frames.
        chosen: Lines of the table; what they are made of must be among them.
        settings: What the frames do not say.
        advance: Told how many frames were done.
        n_threads: Threads beside the one that reads; as many as there are cores by default.

    Raises:
        DataError: the source cannot be read to its end.
    """
    board = _Board(source, chosen, settings)
    reading = _Reading(settings)
    with ThreadPoolExecutor(n_threads or _n_cores()) as pool:
        jobs: dict[str, Future[None]] = {}
        last = 0
        slow = any(line.slow for line in chosen.values())
        for piece in _numbered(source.chunks(_PIECE_ATOMS // 16 if slow else _PIECE_ATOMS)):
            board.collect(jobs)
            advance(last)
            jobs = {name: pool.submit(meter.add, piece) for name, meter in board.meters(piece)}
            reading.add(piece)
            last = len(piece)
        board.collect(jobs)
        advance(last)
    if reading.n_frames != source.n_frames:
        raise DataError(
            f"{source.name}: {reading.n_frames} frames read, {source.n_frames} counted before; "
            "it changed meanwhile, analyse it again"
        )
    found, failed = board.finish()
    return FileResult(found, failed, reading.axis(), reading.digest(), frozenset(reading.formulas))


def _numbered(pieces: Iterator[Frames]) -> Iterator[Frames]:
    """Frames that know their number in the file, for messages."""
    n_frames = 0
    for piece in pieces:
        number = np.arange(n_frames, n_frames + len(piece), dtype=np.int64)
        yield replace(piece, source_index=number) if piece.source_index is None else piece
        n_frames += len(piece)


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Board:
    """The meters of one file, and which of them are still at work."""

    def __init__(
        self, source: FrameSource, chosen: Mapping[str, Observable], settings: Settings
    ) -> None:
        self._chosen, self._settings = chosen, settings
        self._about = About(source.name, source.n_frames, source.arrays)
        self._meters: dict[str, Meter] = {}
        self._failed: dict[str, str] = {}
        self._numbers: npt.NDArray[np.int64] | None = None
        for name, line in chosen.items():
            if line.scope is Scope.FRAMES:
                function = line.function
                if line.memory is not None:
                    function = partial(function, memory=line.memory())
                self._meters[name] = BlockMeter(function, settings, source.n_frames)
            elif line.scope is Scope.TRAJECTORY:
                self._try(name, partial(self._start, name, line))

    def _start(self, name: str, line: Observable) -> None:
        self._meters[name] = line.function(self._settings, self._about)

    def _try(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ZifbenchError as error:
            self._failed[name] = str(error)
            self._meters.pop(name, None)
            return None

    def meters(self, piece: Frames) -> list[tuple[str, Meter]]:
        """Meters that take this piece; trajectories end where the atoms change."""
        if self._numbers is None:
            self._numbers = piece.numbers
        elif not np.array_equal(self._numbers, piece.numbers):
            reason = (
                f"the atoms change ({len(self._numbers)} atoms, then {piece.n_atoms} in "
                f"{piece.where(0)}): no trajectory"
                if len(self._numbers) != piece.n_atoms
                else f"the atoms change in {piece.where(0)}: no trajectory"
            )
            for name in list(self._meters):
                if self._chosen[name].scope is Scope.TRAJECTORY:
                    self._failed[name] = reason
                    del self._meters[name]
        return list(self._meters.items())

    def collect(self, jobs: Mapping[str, Future[None]]) -> None:
        """Wait for the jobs of one piece; all of them, also where one is not defined."""
        for name, job in jobs.items():
            self._try(name, job.result)

    def finish(self) -> tuple[dict[str, Observation], dict[str, str]]:
        """Results, and what is made of other results, in the order of the table."""
        found: dict[str, Observation] = {}
        for name, line in self._chosen.items():
            if name in self._meters:
                result = self._try(name, self._meters[name].result)
            elif line.scope is Scope.OTHER:
                result = self._derive(name, line, found)
            else:
                continue
            if result is not None:
                found[name] = result
        return found, self._failed

    def _derive(
        self, name: str, line: Observable, found: Mapping[str, Observation]
    ) -> Observation | None:
        (other,) = line.of
        if other in self._failed:
            self._failed[name] = self._failed[other]
            return None
        result: Observation | None = self._try(
            name, partial(line.function, found[other], self._settings)
        )
        return result


class _Reading:
    """Digest, compositions and times of the frames that were read, however they were cut."""

    _HASHED = ("positions", "cell", "velocities", "stress", "step", "time_fs")

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.frame_interval_fs
        self._hashes: dict[str, Any] = {}
        self._times: list[FloatArray] | None = []
        self._steps: list[FloatArray] | None = []
        self._atoms: bytes = b""
        self.formulas: set[str] = set()
        self.n_frames = 0

    def add(self, frames: Frames) -> None:
        atoms = frames.numbers.tobytes() + frames.pbc.tobytes() + frames.masses.tobytes()
        if atoms != self._atoms:
            self._atoms = atoms
            self.formulas.add(frames.formula)
            self._hash("atoms", np.int64(self.n_frames).tobytes() + atoms)
        for name in self._HASHED:
            array = getattr(frames, name)
            if array is not None:
                self._hash(name, np.ascontiguousarray(array).tobytes())
        self._times = _kept(self._times, frames.time_fs)
        self._steps = _kept(self._steps, frames.step)
        self.n_frames += len(frames)

    def _hash(self, name: str, content: bytes) -> None:
        self._hashes.setdefault(name, hashlib.sha256()).update(content)

    def digest(self) -> str:
        """sha256 over those of the arrays."""
        parts = [f"{name} {h.hexdigest()}" for name, h in sorted(self._hashes.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def axis(self) -> Axis:
        """Time where it is known, else steps, else frame numbers."""
        if self._times:
            times = np.concatenate(self._times)
            return Axis("time, ps", np.asarray(times * 1.0e-3, dtype=np.float64))
        if self._interval is not None:
            return Axis(
                "time, ps", np.arange(self.n_frames, dtype=np.float64) * self._interval * 1e-3
            )
        if self._steps:
            return Axis("step", np.concatenate(self._steps))
        return Axis("frame", np.arange(self.n_frames, dtype=np.float64))


def _kept(
    rows: list[FloatArray] | None, values: npt.NDArray[Any] | None
) -> list[FloatArray] | None:
    """One more piece, or None from the first on that has no values."""
    if rows is None or values is None:
        return None
    rows.append(values.astype(np.float64))
    return rows
