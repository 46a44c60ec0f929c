"""Random blocks of consecutive frames: the draws behind every bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zifbench.frames import FloatArray, IntArray


def resampled_means(
    runs: Sequence[FloatArray],
    *,
    seed: int,
    block_length: int | None,
    n_resamples: int,
    n_frames: int | None = None,
) -> FloatArray:
    """Mean over all frames of each resample, shape (n_resamples, …).

    Args:
        runs: Replicas, each of shape (T_r, …).
        seed: Seed of the random draws.
        block_length: Frames a block, or None to draw whole replicas.
        n_resamples: Number of resamples.
        n_frames: Frames of a resample, blocks from all runs alike; as many as each run has if
            not given.
    """
    rng = np.random.default_rng(seed)
    if n_frames is not None:
        return _means_of_length(runs, n_frames, block_length or 1, n_resamples, rng)
    if block_length is None:
        sums = np.array([run.sum(0) for run in runs])
        lengths = np.array([len(run) for run in runs], dtype=float)
        drawn = rng.integers(len(runs), size=(n_resamples, len(runs)))
        frames = lengths[drawn].sum(1).reshape(-1, *[1] * (sums.ndim - 1))
        return np.asarray(sums[drawn].sum(1) / frames, dtype=float)
    total = sum(_resampled_sums(run, block_length, n_resamples, rng) for run in runs)
    return np.asarray(total / sum(len(run) for run in runs), dtype=float)


def _means_of_length(
    runs: Sequence[FloatArray],
    n_frames: int,
    block_length: int,
    n_resamples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Means over `n_frames` frames, each block from a run drawn in proportion to its length."""
    lengths = np.array([len(run) for run in runs])
    running = [np.concatenate([np.zeros((1, *r.shape[1:])), np.cumsum(r, axis=0)]) for r in runs]
    sums = np.zeros((n_resamples, *runs[0].shape[1:]))
    for size in _block_sizes(n_frames, block_length):
        drawn = rng.choice(len(runs), size=n_resamples, p=lengths / lengths.sum())
        start = rng.integers(lengths[drawn] - size + 1)
        for index, total in enumerate(running):
            here = np.flatnonzero(drawn == index)
            sums[here] += total[start[here] + size] - total[start[here]]
    return np.asarray(sums / n_frames, dtype=float)


def _resampled_sums(
    run: FloatArray, block_length: int, n_resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Sum over the frames of each resample of one run, by differences of a running sum."""
    running = np.concatenate([np.zeros((1, *run.shape[1:])), np.cumsum(run, axis=0)])
    sums = np.zeros((n_resamples, *run.shape[1:]))
    for size in _block_sizes(len(run), block_length):
        start = rng.integers(len(run) - size + 1, size=n_resamples)
        sums += running[start + size] - running[start]
    return sums


def _block_sizes(n_frames: int, length: int) -> list[int]:
    """Sizes of the blocks of one resample: as many frames as the run has, the last block cut."""
    rest = n_frames % length
    return [length] * (n_frames // length) + ([rest] if rest else [])


def drawn_rows(n_frames: int, length: int, rng: np.random.Generator) -> IntArray:
    """Frame numbers of one resample of a run, block after block, shape (n_frames,)."""
    starts = [(rng.integers(n_frames - n + 1), n) for n in _block_sizes(n_frames, length)]
    return np.concatenate([np.arange(start, start + n) for start, n in starts])
