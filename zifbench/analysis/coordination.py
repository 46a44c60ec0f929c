"""Coordination numbers against time, and the bonds behind them: exchanges and lifetimes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.checks import (
    Clock,
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    species_index,
)
from zifbench.analysis.neighbours import pairs_kernel
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames, IntArray
from zifbench.jit import jit

_MAX_PARTNERS = 6  # bonds that one neighbour can hold at a time; N holds one, while hopping two


def coordination_numbers(
    frames: FrameStream, *, centre: str = "Zn", neighbour: str = "N", cutoff_A: float = 2.5
) -> IntArray:
    """Number of `neighbour` atoms around each `centre` atom, frame by frame.

    n_i(t) = Σ_j θ(cutoff − |r_j(t) − r_i(t)|), j over all periodic images.

    Args:
        frames: T frames, or a stream of pieces.
        centre: Symbol of the atoms counted around.
        neighbour: Symbol of the atoms counted.
        cutoff_A: Bond cutoff; 2.5 Å for Zn–N, from its potential of mean force.

    Returns:
        Counts, shape (T, n_centre), centres in the order of `frames.numbers`. The mean over all is
        the coordination number; keep the histogram too, the mean hangs on single long contacts.

    Raises:
        NotDefinedError: a symbol does not occur, or frames without cell or with NaN.

    Source: Castel et al. 2024.
    """
    check_positive("cutoff_A", cutoff_A, unit="Å")
    rows = []
    for chunk in checked_chunks(frames, species=(centre, neighbour)):
        bonded = _Bonded(chunk, centre=centre, neighbour=neighbour, cutoff_A=cutoff_A)
        counts = np.zeros((len(chunk), bonded.n_centres), dtype=np.int64)
        _count(*bonded.arrays, bonded.centre_type, counts)
        rows.append(counts)
    return np.concatenate(rows)


def coordination_histogram(counts: IntArray) -> FloatArray:
    """Fraction of the atoms with 0, 1, 2, … neighbours, over all frames, shape (n_max + 1,).

    Args:
        counts: Coordination numbers, any shape.
    """
    histogram = np.bincount(np.asarray(counts).ravel())
    return np.asarray(histogram / histogram.sum(), dtype=np.float64)


class _Bonded:
    """The atoms of a bond, centres first, as the compiled loops want them."""

    def __init__(self, frames: Frames, *, centre: str, neighbour: str, cutoff_A: float) -> None:
        self.centres = species_index(frames, centre)
        ends = species_index(frames, neighbour)
        self.index = self.centres if centre == neighbour else np.concatenate([self.centres, ends])
        self.n_centres = len(self.centres)
        self.centre_type = 0
        types = (np.arange(len(self.index)) >= self.n_centres).astype(np.int64)
        table = np.array([[0.0, cutoff_A], [cutoff_A, 0.0]])
        if centre == neighbour:
            table = np.array([[cutoff_A]])
        positions = np.ascontiguousarray(frames.positions[:, self.index])
        self.arrays = (positions, frames.cell, inverse_cell(frames.cell), types, table)


@jit
def _count(
    positions: FloatArray,
    cells: FloatArray,
    inverses: FloatArray,
    types: IntArray,
    table: FloatArray,
    centre_type: int,
    counts: IntArray,
) -> None:
    for t in range(len(positions)):
        i, _, _, _ = pairs_kernel(positions[t], cells[t], inverses[t], types, table)
        for p in range(len(i)):
            if types[i[p]] == centre_type:
                counts[t, i[p]] += 1


@dataclass(frozen=True)
class BondHistory:
    """Every bond of a trajectory with its beginning and end: B bonds in T frames.

    Attributes:
        bonds: Atom numbers (centre, neighbour) of each bond, shape (B, 2).
        born: Frame in which it was formed, shape (B,); 0: it was there from the start.
        broken: First frame in which it was gone, shape (B,); T: it outlived the run.
        exchange: Formed by a neighbour that held, or had left last, another centre, shape (B,).
            A return to the centre it left is none, nor is a bond of the first frame.
        n_frames: T.
        frame_interval_fs: Time between frames.
    """

    bonds: IntArray
    born: IntArray
    broken: IntArray
    exchange: npt.NDArray[np.bool_]
    n_frames: int
    frame_interval_fs: float

    @property
    def n_exchanges(self) -> int:
        """Number of bonds formed to another centre than the one left."""
        return int(self.exchange.sum())

    @property
    def lifetimes_fs(self) -> FloatArray:
        """Time each bond was seen to live, shape (B,); a lower bound where `censored`."""
        return (self.broken - self.born).astype(np.float64) * self.frame_interval_fs

    @property
    def censored(self) -> npt.NDArray[np.bool_]:
        """Bonds that outlived the run, shape (B,)."""
        return self.broken >= self.n_frames

    @property
    def mean_lifetime_fs(self) -> float:
        """Observed bond time per bond broken, infinite where none broke.

        The maximum-likelihood mean of an exponential lifetime, censored bonds included. A plain
        mean over the broken bonds alone would see only the short-lived ones.
        """
        n_broken = int((~self.censored).sum())
        return float(self.lifetimes_fs.sum() / n_broken) if n_broken else float("inf")

    def survival(self) -> tuple[FloatArray, FloatArray]:
        """Kaplan–Meier estimate of the probability that a bond lives longer than t.

        Returns:
            Times in fs at which bonds broke and the probability after each, shapes (K,).
        """
        ages = self.lifetimes_fs
        times = np.unique(ages[~self.censored])
        at_risk = np.array([(ages >= t).sum() for t in times])
        deaths = np.array([((ages == t) & ~self.censored).sum() for t in times])
        survival = np.cumprod(1.0 - deaths / np.maximum(at_risk, 1))
        return times, np.asarray(survival, dtype=np.float64)


def bond_history(
    frames: FrameStream,
    *,
    centre: str = "Zn",
    neighbour: str = "N",
    form_A: float = 2.5,
    break_A: float = 3.0,
    frame_interval_fs: float | None = None,
) -> BondHistory:
    """Follow bonds through time with a hysteresis, so that a vibration across the cutoff is none.

    A bond forms when its atoms come closer than `form_A` and breaks when they are at least
    `break_A` apart. Bonds are told apart by their atoms; the image of the neighbour is not
    followed.

    Args:
        frames: T frames evenly spaced in time, or a stream of pieces.
        centre: Symbol of the atoms bonded to.
        neighbour: Symbol of the atoms that may change their centre.
        form_A: Distance below which a bond forms.
        break_A: Distance from which on it is broken, at least `form_A`.
        frame_interval_fs: Time between frames, where the frames carry no times.

    Raises:
        NotDefinedError: one frame only, no time axis, or distances in the wrong order.
    """
    meter = BondMeter(
        centre=centre,
        neighbour=neighbour,
        form_A=form_A,
        break_A=break_A,
        frame_interval_fs=frame_interval_fs,
    )
    for chunk in checked_chunks(frames):
        meter.add(chunk)
    return meter.result()


class BondMeter:
    """The bonds of frames that come piece by piece; arguments as of `bond_history`.

    It keeps every bond that ever was and the frames of its beginning and end.
    """

    def __init__(
        self,
        *,
        centre: str = "Zn",
        neighbour: str = "N",
        form_A: float = 2.5,
        break_A: float = 3.0,
        frame_interval_fs: float | None = None,
    ) -> None:
        check_positive("form_A", form_A, unit="Å")
        if centre == neighbour or not break_A >= form_A:
            raise NotDefinedError(
                f"bond_history: {centre}–{neighbour} with break_A = {break_A}, form_A = {form_A}; "
                "wanted two elements and break_A ≥ form_A"
            )
        self._pair, self._form_A, self._break_A = (centre, neighbour), form_A, break_A
        self._clock = Clock(frame_interval_fs)
        self._events: list[IntArray] = []
        self._centres = self._ends = np.zeros(0, np.int64)
        self._state = np.zeros((0, _MAX_PARTNERS + 1), np.int64)
        self._n_frames = 0

    def add(self, chunk: Frames) -> None:
        """Take the next frames, which must be good ones (`checked_chunks`).

        Raises:
            NotDefinedError: no such atoms, uneven times, or too many bonds on one atom.
        """
        centre, neighbour = self._pair
        self._clock.add(chunk)
        bonded = _Bonded(chunk, centre=centre, neighbour=neighbour, cutoff_A=self._break_A)
        n = bonded.n_centres
        if self._n_frames == 0:
            self._centres, self._ends = bonded.index[:n], bonded.index[n:]
            self._state = np.full((len(self._ends), _MAX_PARTNERS + 1), -1, dtype=np.int64)
        events = _follow(*bonded.arrays, n, self._form_A, self._state, self._n_frames)
        if (events[:, 3] < 0).any():
            raise NotDefinedError(
                f"bond_history: a {neighbour} holds more than {_MAX_PARTNERS} {centre} within "
                f"{self._break_A} Å; that is no bond, lower the distances"
            )
        self._events.append(events)
        self._n_frames += len(chunk)

    def result(self) -> BondHistory:
        """Every bond of all frames.

        Raises:
            NotDefinedError: one frame only.
        """
        interval_fs = self._clock.interval_fs()
        events = np.concatenate(self._events)
        return _history(events, self._centres, self._ends, self._n_frames, interval_fs)


@jit
def _follow(
    positions: FloatArray,
    cells: FloatArray,
    inverses: FloatArray,
    types: IntArray,
    table: FloatArray,
    n_centres: int,
    form_A: float,
    state: IntArray,
    first_frame: int,
) -> IntArray:
    """Update the bonds that each neighbour holds; return events (frame, centre, end, kind).

    `state` holds the partners of each neighbour and, in its last column, the one it left last.
    Kinds: 0 broken, 1 formed, 2 formed by exchange, −1 more partners than `state` has room for.
    """
    events = []
    partners = state.shape[1] - 1
    for t in range(len(positions)):
        i, j, _, vector = pairs_kernel(positions[t], cells[t], inverses[t], types, table)
        start = np.searchsorted(i, n_centres)
        for end in range(len(state)):
            stop = start
            while stop < len(i) and i[stop] == n_centres + end:
                stop += 1
            for k in range(partners):  # what is no longer in reach is broken
                if state[end, k] >= 0 and not (j[start:stop] == state[end, k]).any():
                    events.append((first_frame + t, state[end, k], end, 0))
                    state[end, partners], state[end, k] = state[end, k], -1
            for p in range(start, stop):  # what has come close is formed
                near = (vector[p] ** 2).sum() < form_A * form_A
                if near and not (state[end, :partners] == j[p]).any():
                    left = state[end, partners]
                    others = (state[end, :partners] >= 0).any() or left >= 0
                    kind = 2 if others and left != j[p] and first_frame + t > 0 else 1
                    free = 0
                    while free < partners and state[end, free] >= 0:
                        free += 1
                    if free < partners:
                        state[end, free] = j[p]
                    else:
                        kind = -1
                    events.append((first_frame + t, j[p], end, kind))
            start = stop
    table_of_events = np.empty((len(events), 4), np.int64)
    for e in range(len(events)):
        for k in range(4):
            table_of_events[e, k] = events[e][k]
    return table_of_events


def _history(
    events: IntArray, centres: IntArray, ends: IntArray, n_frames: int, interval_fs: float
) -> BondHistory:
    """Pair each formation with the next break of the same bond."""
    open_bonds: dict[tuple[int, int], int] = {}
    rows: list[list[int]] = []
    for frame, centre, end, kind in events.tolist():
        if kind:
            open_bonds[centre, end] = len(rows)
            rows.append([centre, end, frame, n_frames, int(kind == 2)])
        else:
            rows[open_bonds.pop((centre, end))][3] = frame
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    bonds = np.stack([centres[table[:, 0]], ends[table[:, 1]]], axis=1)
    exchange = table[:, 4].astype(bool)
    return BondHistory(bonds, table[:, 2], table[:, 3], exchange, n_frames, interval_fs)
