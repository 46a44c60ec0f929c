"""From finished CP2K jobs to a store: which frame goes to which trajectory, and only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zifbench.dataset.label.cp2k import PAPER, Settings
from zifbench.dataset.label.jobs import Labelling, labelled
from zifbench.dataset.store import StoreWriter, TrajectoryWriter, open_store
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
    """Append every labelled frame whose geometry the store does not hold yet; one commit.

    A geometry that several trajectories name goes to the first of them: in two it would be in
    training and test frames alike.

    Args:
        path: Directory of the store, new or existing.
        trajectories: Frames by trajectory name, from `trajectories_of`.
        result: Labels, from `run_jobs`.
        settings: Level of theory of the labels.
        attributes: For the whole store (licence, citation, …).

    Returns:
        Number of frames appended.

    Raises:
        DataError: a trajectory of the store was labelled at another level of theory, or has another
            licence or citation.
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
            rows = _unknown_rows(frames.labels["job"], known)
            if rows:
                _append(writer, name, frames[rows], settings)
                n_new += len(rows)
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


def _unknown_rows(jobs: Sequence[str], known: set[str]) -> list[int]:
    """Rows whose job is not known, the first of each; they are known from now on."""
    rows = []
    for row, job in enumerate(jobs):
        if job not in known:
            known.add(job)
            rows.append(row)
    return rows


def _append(store: StoreWriter, name: str, frames: Frames, settings: Settings) -> None:
    """Frames at the end of a trajectory, whose attributes then hold for all of it."""
    common = _common(frames)
    if not store.n_committed(name):
        store.trajectory(name, frames, attributes={**common, **frames.info}).append(frames)
        return
    trajectory = store.trajectory(name, frames)
    _settle_info(trajectory, frames, settings)
    old = trajectory.attributes
    trajectory.remove_attributes(
        *(k for k in frames.labels if k in old and common.get(k) != old[k])
    )
    trajectory.append(frames)


def _common(frames: Frames) -> dict[str, str]:
    """Labels that all frames share."""
    return {
        key: texts[0]
        for key, texts in frames.labels.items()
        if key not in _PER_FRAME and len(set(texts)) == 1
    }


def _settle_info(trajectory: TrajectoryWriter, frames: Frames, settings: Settings) -> None:
    """Refuse frames that come from elsewhere; of CP2K's versions all are named."""
    old = trajectory.attributes
    prefix = settings.level_of_theory("")
    for key, text in frames.info.items():
        if key not in old or old[key] == text:
            continue
        if key != "level_of_theory" or not old[key].startswith(prefix):
            raise DataError(
                f"{key} is {old[key]!r} in trajectory {trajectory.name!r} of the store and "
                f"{text!r} in {frames.source}; name trajectories by another label (--by), or give "
                "another --out"
            )
        versions = {v for words in (old[key], text) for v in words.removeprefix(prefix).split(", ")}
        level = settings.level_of_theory(", ".join(sorted(versions)))
        info = {**old.get("info", {}), key: level}
        trajectory.set_attributes(info=info, **{key: level})
