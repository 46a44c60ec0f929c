"""What every observable asks of its frames, checked once, piece by piece.

Frames come whole or as a stream of pieces, so that a trajectory never has to be in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ase.data import atomic_numbers
from ase.geometry import minkowski_reduce

from zifbench.errors import NotDefinedError, unknown_name
from zifbench.frames import FloatArray, Frames, IntArray

FrameStream = Frames | Iterable[Frames]

# Frames handled at once: 256 × 272 atoms are 1.7 MB, small enough for any cache and any machine.
CHUNK_FRAMES = 256
# A cell flatter than this share of its edge lengths' product is no cell: the usual skewed choices
# stay above 0.01.
_MIN_RELATIVE_VOLUME = 1.0e-6


def checked_chunks(
    frames: FrameStream, *, species: Sequence[str] = (), periodic: bool = True
) -> Iterator[Frames]:
    """Pieces of at most `CHUNK_FRAMES` frames that an observable can use as they are.

    Args:
        frames: T frames, or a stream of pieces of one trajectory.
        species: Symbols that must occur.
        periodic: Demand a cell and periodicity along its three vectors.

    Raises:
        NotDefinedError: no frames, NaN positions, no cell, a symbol that does not occur,
            or pieces that do not hold the same atoms.
    """
    first: Frames | None = None
    n_frames = 0
    for part in [frames] if isinstance(frames, Frames) else frames:
        first = first or part
        if not np.array_equal(part.numbers, first.numbers):
            raise NotDefinedError(
                f"the atoms of {part.source} change from piece to piece ({first.n_atoms} atoms, "
                f"then {part.n_atoms} in {part.where(0)}); analyse them one by one"
            )
        for symbol in species:
            species_index(part, symbol)
        for chunk in part.chunks(CHUNK_FRAMES):
            _check_positions(chunk)
            if periodic:
                check_cells(chunk)
            n_frames += len(chunk)
            yield chunk
    if n_frames == 0:
        raise NotDefinedError("no frames; an observable needs at least one")


def _check_positions(frames: Frames) -> None:
    bad = ~np.isfinite(frames.positions).all(axis=2)
    if bad.any():
        row, atom = (int(k) for k in np.argwhere(bad)[0])
        raise NotDefinedError(
            f"positions: NaN or infinite at atom {atom} in {frames.where(row)}; "
            "remove that frame or find out where the run failed"
        )


def check_cells(frames: Frames) -> None:
    """Refuse frames without a periodic cell; positions may be anything.

    Raises:
        NotDefinedError: not periodic along the three vectors, or a cell without volume.
    """
    if not frames.pbc.all():
        raise NotDefinedError(
            f"cell: {frames.source} is not periodic along all three cell vectors "
            f"(pbc = {frames.pbc.tolist()}); set the cell and its periodicity"
        )
    edges = np.prod(np.linalg.norm(frames.cell, axis=2), axis=1)
    flat = ~(frames.volume > _MIN_RELATIVE_VOLUME * edges)  # also true for NaN
    if flat.any():
        row = int(np.argmax(flat))
        raise NotDefinedError(
            f"cell: missing or of zero volume in {frames.where(row)}; set the three cell vectors"
        )


def species_index(frames: Frames, symbol: str) -> IntArray:
    """Atom numbers of one element.

    Raises:
        NotDefinedError: the element does not occur.
        UnknownNameError: no such element.
    """
    if symbol not in atomic_numbers:
        raise unknown_name("element", symbol, atomic_numbers)
    index = np.flatnonzero(frames.numbers == atomic_numbers[symbol])
    if not len(index):
        raise NotDefinedError(
            f"no {symbol} atoms in {frames.where(0)}; the observable is defined only with them"
        )
    return index.astype(np.int64)


def inverse_cell(cell: FloatArray) -> FloatArray:
    """Inverse of one cell or of a stack of them, shape as `cell`."""
    return np.asarray(np.linalg.inv(cell), dtype=np.float64)


def reduced_cells(cells: FloatArray) -> FloatArray:
    """Shortest vectors that span the same lattices (Minkowski), shape (T, 3, 3)."""
    reduced = np.empty_like(cells)
    for row, cell in enumerate(cells):
        same = row > 0 and np.array_equal(cell, cells[row - 1])
        reduced[row] = reduced[row - 1] if same else minkowski_reduce(cell)[0]
    return reduced


def check_positive(name: str, value: float, *, unit: str) -> None:
    """Refuse a physical argument that is not a positive number.

    Raises:
        NotDefinedError: `value` is zero, negative, NaN or infinite.
    """
    if not (np.isfinite(value) and value > 0):
        raise NotDefinedError(f"{name}: {value} {unit}, wanted a positive number")


class Clock:
    """Spacing of the frames of a series, piece by piece: even, or an error.

    Args:
        frame_interval_fs: The spacing where the frames carry no times; otherwise it must agree.
    """

    def __init__(self, frame_interval_fs: float | None) -> None:
        if frame_interval_fs is not None:
            check_positive("frame_interval_fs", frame_interval_fs, unit="fs")
        self._given = frame_interval_fs
        self._interval = frame_interval_fs
        self._last: float | None = None
        self.n_frames = 0

    def add(self, frames: Frames) -> None:
        """Take note of the next piece.

        Raises:
            NotDefinedError: no time axis, or frames that are not evenly spaced.
        """
        self.n_frames += len(frames)
        if frames.time_fs is None:
            if self._given is None:
                raise NotDefinedError(
                    f"{frames.source} carries no times (label time_fs); give --frame-interval"
                )
            return
        times = frames.time_fs if self._last is None else np.append(self._last, frames.time_fs)
        steps = np.diff(times)
        self._last = float(times[-1])
        if not len(steps):
            return
        interval = self._interval = self._interval or float(steps[0])
        uneven = ~(np.abs(steps - interval) <= 1.0e-4 * abs(interval)) | (steps <= 0)
        if uneven.any():
            row = int(np.argmax(uneven)) - (len(steps) == len(frames)) + 1
            raise NotDefinedError(
                f"{frames.where(row)} comes {steps[uneven][0]:g} fs after the one before, "
                f"wanted {interval:g} fs: a series needs even spacing"
            )

    def interval_fs(self) -> float:
        """The spacing in fs, once all frames were seen.

        Raises:
            NotDefinedError: fewer than two frames.
        """
        if self.n_frames < 2 or self._interval is None:
            raise NotDefinedError(f"a time series needs at least two frames, got {self.n_frames}")
        return self._interval
