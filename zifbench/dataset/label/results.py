"""From finished CP2K jobs to a store: which frame goes to which trajectory, and only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zifbench.dataset.label.cp2k import PAPER, Settings
from zifbench.dataset.label.jobs import Labelling, labelled
from zifbench.dataset.store import StoreWriter, open_store
from zifbench.errors import DataError
from zifbench.frames import Frames, concatenate

# Labels of single frames; whatever else is the same in all frames of a trajectory describes it.
_PER_FRAME = frozenset({"name", "job", "scf_steps", "sampling"})


def trajectories_of(data: Sequence[Frames], by: str | None) -> dict[str, Frames]:
    """Frames by trajectory name.

    Args:
        data: Frames, read from files.
        by: Label that names the trajectory of each frame; the file does if it is not given.

    Raises:
        DataError: frames without that label, or one trajectory of different atoms.
    """
    parts: dict[str, list[Frames]] = {}
    for frames in data:
        if by is not None and by not in frames.labels:
            have = ", ".join(sorted(frames.labels)) or "none"
            raise DataError(
                f"{frames.source}: no label {by!r} to name trajectories by; it has {have}"
            )
        names = frames.labels[by] if by is not None else (Path(frames.source).stem,) * len(frames)
        for name in dict.fromkeys(names):
            rows = [row for row, other in enumerate(names) if other == name]
            parts.setdefault(name, []).append(frames[rows])
    return {name: _joined(name, found) for name, found in parts.items()}


def _joined(name: str, parts: Sequence[Frames]) -> Frames:
    try:
        return concatenate(parts)
    except DataError as error:
        raise DataError(
            f"trajectory {name!r} would hold frames that do not fit together: {error}; name "
            "trajectories by another label (--by)"
        ) from error


def store_labels(
    path: Path,
    trajectories: Mapping[str, Frames],
    result: Labelling,
    *,
    settings: Settings = PAPER,
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Append every labelled frame that the store does not hold yet; one commit.

    Args:
        path: Directory of the store, new or existing.
        trajectories: Frames by trajectory name, from `trajectories_of`.
        result: Labels, from `run_jobs`.
        settings: Level of theory of the labels.
        attributes: For the whole store (licence, citation, …).

    Returns:
        Number of frames appended.
    """
    found = {
        name: kept
        for name, frames in trajectories.items()
        if (kept := labelled(frames, result, settings)) is not None
    }
    if not found:
        return 0
    n_new = 0
    with StoreWriter(path, attributes=attributes, exact=True) as writer:
        # Looked up under the writer's lock: two commands that fill one store add no frame twice.
        known = _known_jobs(path)
        for name, frames in found.items():
            rows = [row for row, job in enumerate(frames.labels["job"]) if job not in known]
            if rows:
                new = frames[rows]
                writer.trajectory(name, new, attributes=_common(new)).append(new)
                n_new += len(new)
    return n_new


def _known_jobs(path: Path) -> set[str]:
    jobs: set[str] = set()
    with open_store(path) as store:
        for trajectory in store.trajectories.values():
            if "job" in trajectory.labels:
                # Labels by themselves, as `Trajectory.read` brings positions too.
                rows = np.arange(len(trajectory))
                jobs.update(map(str, trajectory.readers["label job"].rows(rows)))
    return jobs


def _common(frames: Frames) -> dict[str, str]:
    """What all frames of a trajectory share."""
    same = {
        key: texts[0]
        for key, texts in frames.labels.items()
        if key not in _PER_FRAME and len(set(texts)) == 1
    }
    return {**same, **frames.info}
