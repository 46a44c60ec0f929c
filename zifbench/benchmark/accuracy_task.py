"""The accuracy task: predict all frames, resumably, then reduce them to errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from zifbench.benchmark.accuracy import (
    accuracy_gaps,
    accuracy_measurements,
    frame_errors,
    join_errors,
)
from zifbench.benchmark.predictions import PredictionStore
from zifbench.benchmark.result import TaskResult
from zifbench.benchmark.run import Run
from zifbench.frames import Frames
from zifbench.potentials.core import Prediction, check_finite, compute_within_memory

_READ_FRAMES = 256  # frames held in memory at once when predictions are read back


def run_accuracy(run: Run) -> TaskResult:
    """Errors of energy, forces and stress on all frames of the run."""
    start = time.perf_counter()
    store = predict_all(run)
    elements = np.unique(np.concatenate([frames.numbers for frames in run.data]))
    errors = join_errors(
        [
            frame_errors(frames, prediction, elements=elements, group_key=run.group_key)
            for frames, prediction in read_chunks(store, run.data)
        ]
    )
    has_stress = store.read(0, 0, 1).stress is not None
    return TaskResult(
        task="accuracy",
        measurements=accuracy_measurements(errors, seed=run.seed),
        outliers=list(errors.worst),
        gaps=[*accuracy_gaps(errors, has_stress=has_stress), *_mixed_levels(run.data)],
        settings={"batch_atoms": run.batch_atoms, "grouped_by": run.group_key},
        wall_s=time.perf_counter() - start,
    )


def _mixed_levels(data: Sequence[Frames]) -> list[str]:
    """Total energies of different codes, versions or cutoffs do not share a zero."""
    levels = dict.fromkeys(frames.info.get("level_of_theory", "not stated") for frames in data)
    if len(levels) < 2:
        return []
    return [f"labels of {len(levels)} levels of theory are pooled: {'; '.join(levels)}"]


def predict_all(run: Run) -> PredictionStore:
    """Predict whatever is not predicted yet.

    Batches start at fixed frames, so a resumed run forms the same batches as an uninterrupted one
    and gives the same numbers.
    """
    total = sum(len(frames) for frames in run.data)
    store = PredictionStore(run.directory, run.data)
    with store, run.progress("accuracy", total, store.n_done) as advance:
        for part, frames in enumerate(run.data):
            size = batch_size(frames, run)
            while (start := store.done(part)) < len(frames):
                stop = min(len(frames), (start // size + 1) * size)
                batch = frames[start:stop]
                prediction = compute_within_memory(run.potential, batch)
                check_finite(prediction, batch, run.potential.card)
                store.append(part, prediction)
                advance(len(batch))
    return store


def batch_size(frames: Frames, run: Run) -> int:
    """Frames in a batch: as many as `batch_atoms` allows, at least one."""
    return max(1, run.batch_atoms // frames.n_atoms) if run.potential.batched else 1


def read_chunks(
    store: PredictionStore, data: Sequence[Frames]
) -> Iterator[tuple[Frames, Prediction]]:
    """Frames and their predictions, a few hundred at a time."""
    for part, frames in enumerate(data):
        for start in range(0, len(frames), _READ_FRAMES):
            stop = min(len(frames), start + _READ_FRAMES)
            yield frames[start:stop], store.read(part, start, stop)
