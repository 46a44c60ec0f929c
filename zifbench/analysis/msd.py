"""Windowed mean square displacement of each element, and its diffusion coefficient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from zifbench.analysis.checks import (
    Clock,
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    reduced_cells,
    species_index,
)
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames, IntArray, cell_heights
from zifbench.jit import jit

# 1 Å²/fs in cm²/s.
_A2_PER_FS_IN_CM2_PER_S = 0.1
# A step beyond this share of the narrowest cell height cannot be told from a wrapped one.
_MAX_STEP = 0.45


@dataclass(frozen=True)
class MeanSquareDisplacement:
    """MSD(τ) of each element at K lags, over all time origins.

    Attributes:
        lag_fs: Lags τ in fs, shape (K,), from 0.
        msd_A2: Element -> MSD in Å², shape (K,).
        n_origins: Time origins behind each lag, shape (K,).
        n_frames: Number of frames.
        blocks_A2: Element -> MSD of consecutive stretches of origins, shape (B, K), as many in
            each stretch; empty where none were asked for.
    """

    lag_fs: FloatArray
    msd_A2: dict[str, FloatArray]
    n_origins: IntArray
    n_frames: int
    blocks_A2: dict[str, FloatArray] = field(default_factory=dict)

    def diffusion_cm2_per_s(self, symbol: str, *, from_fs: float, to_fs: float) -> float:
        """Einstein's D = slope / 6 of the MSD between two lags, by least squares.

        Args:
            symbol: Element.
            from_fs: First lag of the fit: beyond the rattling in the cage.
            to_fs: Last lag of the fit.

        Raises:
            NotDefinedError: fewer than three lags in the range.
        """
        return diffusion_cm2_per_s(self.lag_fs, self.msd_A2[symbol], from_fs=from_fs, to_fs=to_fs)


def diffusion_cm2_per_s(
    lag_fs: FloatArray, msd_A2: FloatArray, *, from_fs: float, to_fs: float
) -> float:
    """Einstein's D = slope / 6 of a mean square displacement between two lags, least squares.

    Raises:
        NotDefinedError: fewer than three lags in the range.
    """
    chosen = (lag_fs >= from_fs) & (lag_fs <= to_fs)
    if chosen.sum() < 3:
        raise NotDefinedError(
            f"diffusion coefficient: {chosen.sum()} lags between {from_fs:g} and {to_fs:g} "
            f"fs, wanted at least 3 of those from 0 to {lag_fs[-1]:g} fs"
        )
    slope = np.polyfit(lag_fs[chosen], msd_A2[chosen], 1)[0]
    return float(slope / 6.0 * _A2_PER_FS_IN_CM2_PER_S)


def mean_square_displacement(
    frames: FrameStream,
    *,
    species: Sequence[str] | None = None,
    max_lag_fs: float = 20_000.0,
    lag_step_fs: float = 500.0,
    frame_interval_fs: float | None = None,
    remove_drift: bool = True,
) -> MeanSquareDisplacement:
    """MSD_a(τ) = ⟨|r_i(t + τ) − r_i(t)|²⟩ over the atoms i of a and all origins t.

    Positions may be wrapped or not: the path of an atom is the sum of the minimum-image steps of
    its wrapped position from frame to frame, which is what a changing cell needs (von Bülow
    2020). Every frame is an origin; the memory holds one window, not the run.

    Args:
        frames: T frames evenly spaced in time, or a stream of pieces.
        species: Elements, all by default.
        max_lag_fs: Longest lag; the series must be longer.
        lag_step_fs: Spacing of the lags, a multiple of the frame interval.
        frame_interval_fs: Time between frames, where the frames carry no times.
        remove_drift: Take the motion of the centre of mass (all atoms, `frames.masses`) away.

    Raises:
        NotDefinedError: one frame only, no time axis, a window longer than the run, lags that are
            no multiple of the interval, or frames so far apart that wrapping is ambiguous.

    Source: Castel et al. 2024 (frames every 500 fs); windows as in the authors' settings.
    """
    meter = DisplacementMeter(
        lambda interval_fs: (max_lag_fs, lag_step_fs),
        species=species,
        frame_interval_fs=frame_interval_fs,
        remove_drift=remove_drift,
    )
    for chunk in checked_chunks(frames):
        meter.add(chunk)
    return meter.result()


class DisplacementMeter:
    """The mean square displacement of frames that come piece by piece.

    Args:
        lags: From the frame interval in fs to the longest lag and the spacing of the lags in fs.
        species: Elements, all by default.
        frame_interval_fs: Time between frames, where the frames carry no times.
        remove_drift: Take the motion of the centre of mass away.
        n_frames: Number of frames to come, where blocks are wanted.
        n_blocks: Stretches of origins whose displacements are averaged apart.
    """

    def __init__(
        self,
        lags: Callable[[float], tuple[float, float]],
        *,
        species: Sequence[str] | None = None,
        frame_interval_fs: float | None = None,
        remove_drift: bool = True,
        n_frames: int | None = None,
        n_blocks: int = 1,
    ) -> None:
        self._wanted, self._species = lags, species
        self._n_frames, self._n_blocks = n_frames, n_blocks
        self._clock = Clock(frame_interval_fs)
        self._walk = Walk(remove_drift=remove_drift)
        self._window: _Window | None = None
        self._names: list[str] = []
        self._held: list[Frames] = []  # until the second frame tells the interval

    def add(self, chunk: Frames) -> None:
        """Take the next frames, which must be good ones (`checked_chunks`).

        Raises:
            NotDefinedError: as `mean_square_displacement`.
        """
        self._clock.add(chunk)
        self._held.append(chunk)
        if self._window is None and self._clock.n_frames > 1:
            wanted = self._species
            self._names = sorted(set(chunk.symbols)) if wanted is None else list(wanted)
            interval_fs = self._clock.interval_fs()
            lags = _lags(interval_fs, *self._wanted(interval_fs))
            groups = [species_index(chunk, name) for name in self._names]
            self._window = _Window(groups, lags, self._n_frames, self._n_blocks)
        if self._window is not None:
            for piece in self._held:
                self._window.add(self._walk.unwrap(piece))
            self._held = []

    def result(self) -> MeanSquareDisplacement:
        """The displacements over all frames.

        Raises:
            NotDefinedError: one frame only, or a window longer than the run.
        """
        interval_fs = self._clock.interval_fs()  # refuses a single frame
        window = self._window
        if window is None or window.n_frames <= window.lags[-1]:
            longest = 0.0 if window is None else window.lags[-1] * interval_fs
            raise NotDefinedError(
                f"mean square displacement: max_lag_fs = {longest:g} is not shorter than the run "
                f"of {self._clock.n_frames} frames every {interval_fs:g} fs; lower it"
            )
        n_origins = window.n_frames - window.lags
        sizes = np.array([len(group) for group in window.groups], dtype=float)
        per_atom = window.sums / sizes[:, None]  # (blocks, elements, lags)
        msd = per_atom.sum(axis=0) / n_origins
        blocks = None
        if self._n_blocks > 1:
            blocks = per_atom / _origins_per_block(n_origins, self._n_blocks)[:, None]
        lag_fs = window.lags.astype(np.float64) * interval_fs
        return MeanSquareDisplacement(
            lag_fs,
            dict(zip(self._names, msd, strict=True)),
            n_origins,
            window.n_frames,
            {} if blocks is None else {n: blocks[:, k] for k, n in enumerate(self._names)},
        )


def _origins_per_block(n_origins: IntArray, n_blocks: int) -> FloatArray:
    """Origins o of block ⌊o B / n⌋ for each lag, shape (blocks, lags)."""
    edges = -(-np.arange(n_blocks + 1)[:, None] * n_origins // n_blocks)
    return np.asarray(np.diff(edges, axis=0), dtype=np.float64)


def _lags(interval_fs: float, max_lag_fs: float, lag_step_fs: float) -> IntArray:
    check_positive("lag_step_fs", lag_step_fs, unit="fs")
    check_positive("max_lag_fs", max_lag_fs, unit="fs")
    step = round(lag_step_fs / interval_fs)
    if step < 1 or abs(step * interval_fs - lag_step_fs) > 1.0e-3 * lag_step_fs:
        raise NotDefinedError(
            f"lag_step_fs = {lag_step_fs:g} is no multiple of the frame interval, "
            f"{interval_fs:g} fs; change it"
        )
    if max_lag_fs < lag_step_fs:
        raise NotDefinedError(f"max_lag_fs = {max_lag_fs:g} is below lag_step_fs = {lag_step_fs:g}")
    return np.arange(0, int(max_lag_fs / interval_fs * (1.0 + 1.0e-9)) + 1, step, dtype=np.int64)


class Walk:
    """Unwrapped paths from the origin, carried from piece to piece.

    Args:
        remove_drift: Take the motion of the centre of mass away.
    """

    def __init__(self, *, remove_drift: bool) -> None:
        self.remove_drift = remove_drift
        self.position: FloatArray | None = None  # last frame, wrapped, shape (N, 3)
        self.path: FloatArray | None = None  # its displacement since the first frame

    def unwrap(self, frames: Frames) -> FloatArray:
        """Displacement since the first frame of the run in Å, shape (T, N, 3)."""
        scaled = np.einsum("tnk,tkm->tnm", frames.positions, inverse_cell(frames.cell))
        # whole cells that a position is away count in today's cell, not in that of its crossing
        positions = frames.positions - np.einsum("tnk,tkm->tnm", np.floor(scaled), frames.cell)
        if self.position is None or self.path is None:
            self.position, self.path = positions[0], np.zeros_like(positions[0])
        steps = np.diff(positions, axis=0, prepend=self.position[None])
        _minimum_image(steps, frames)
        if self.remove_drift:
            weights = frames.masses / frames.masses.sum()
            steps -= np.einsum("n,tnk->tk", weights, steps)[:, None]
        path: FloatArray = self.path + np.cumsum(steps, axis=0)
        self.position, self.path = positions[-1], path[-1]
        return path


def _minimum_image(steps: FloatArray, frames: Frames) -> None:
    """Bring each step to its shortest image, in place; refuse what is ambiguous."""
    reduced = reduced_cells(frames.cell)
    fractional = np.einsum("tnk,tkm->tnm", steps, inverse_cell(reduced))
    steps -= np.einsum("tnk,tkm->tnm", np.round(fractional), reduced)
    limit = _MAX_STEP * cell_heights(reduced).min(axis=1)
    longest = np.sqrt((steps**2).sum(axis=2).max(axis=1))
    if (longest > limit).any():
        row = int(np.argmax(longest > limit))
        raise NotDefinedError(
            f"an atom moves {longest[row]:.2f} Å from one frame to the next, up to "
            f"{frames.where(row)}, beyond {limit[row]:.2f} Å: the frames are too far apart to "
            "tell motion from wrapping; analyse frames that are closer in time"
        )


class _Window:
    """The last frames of the run, and the sums over all pairs of frames a lag apart."""

    def __init__(
        self, groups: list[IntArray], lags: IntArray, n_total: int | None, n_blocks: int
    ) -> None:
        self.groups, self.lags = groups, lags
        self.sums = np.zeros((n_blocks, len(groups), len(lags)))
        self.n_frames = 0
        self._n_total = n_total or 0
        n = sum(len(group) for group in groups)
        self._ring = np.zeros((int(lags[-1]) + 1, n, 3))
        self._ends = np.cumsum([len(group) for group in groups])

    def add(self, path: FloatArray) -> None:
        chosen = np.ascontiguousarray(path[:, np.concatenate(self.groups)])
        _add_window(
            chosen, self._ring, self.lags, self._ends, self.n_frames, self._n_total, self.sums
        )
        self.n_frames += len(path)


@jit
def _add_window(
    path: FloatArray,
    ring: FloatArray,
    lags: IntArray,
    ends: IntArray,
    n_before: int,
    n_total: int,
    sums: FloatArray,
) -> None:
    """Put frames into the ring buffer and add their squared displacements at every lag."""
    for t in range(len(path)):
        now = n_before + t
        ring[now % len(ring)] = path[t]
        for k in range(len(lags)):
            if lags[k] > now:
                break
            block = 0
            if len(sums) > 1:
                block = min((now - lags[k]) * len(sums) // (n_total - lags[k]), len(sums) - 1)
            origin = ring[(now - lags[k]) % len(ring)]
            atom = 0
            for group in range(len(ends)):
                total = 0.0
                while atom < ends[group]:
                    for x in range(3):
                        total += (path[t, atom, x] - origin[atom, x]) ** 2
                    atom += 1
                sums[block, group, k] += total
