"""Frames of a store by the name that a person types: STORE, STORE/TRAJECTORY, and a split of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.store import Store, Trajectory, open_store
from zifbench.dataset.store.layout import COMMIT_FILE
from zifbench.dataset.store.locations import is_url
from zifbench.errors import DataError, unknown_name
from zifbench.frames import Frames, IntArray

_CHUNK_FRAMES = 1000  # read at once, to bound what decoding needs


def is_store_name(text: str) -> bool:
    """Whether a name means a store or a trajectory in one, and not a file of frames."""
    return is_url(text) or _local_store(Path(text)) is not None


def open_named(text: str) -> tuple[Store, str | None]:
    """The store that a name begins with, and the trajectory that it ends with, if any.

    Raises:
        DataError: there is no store.
        UnknownNameError: the store has no such trajectory.
    """
    store, rest = _open(text)
    if rest is not None and rest not in store.trajectories:
        store.close()
        raise unknown_name(f"trajectory of {store.location}", rest, store.trajectories)
    return store, rest


def _open(text: str) -> tuple[Store, str | None]:
    if is_url(text):
        try:
            return open_store(text), None
        except DataError as error:
            url, _, name = text.rstrip("/").rpartition("/")
            try:
                return open_store(url), name
            except DataError:
                raise error from None  # about what was asked for, not about what is above it
    place = _local_store(Path(text))
    if place is None:
        return open_store(text), None  # says what it is instead
    rest = Path(text).resolve().relative_to(place)
    trajectory = None if rest == Path() else rest.as_posix()
    return open_store(_as_typed(Path(text), place, len(rest.parts))), trajectory


def _as_typed(path: Path, place: Path, below: int) -> Path:
    """The store at `place` by the words of `path`, so many parts above its end, if they name it.

    Results and leaderboards say where frames come from, and need not say where a home lies.
    """
    shown = path.parents[below - 1] if 0 < below <= len(path.parents) else path
    return shown if shown.name and shown.resolve() == place else place


def _local_store(path: Path) -> Path | None:
    """The directory or zip file of a store that is `path` or above it."""
    path = path.resolve()
    for place in (path, *path.parents):
        if (place / COMMIT_FILE).is_file() or (place.suffix == ".zip" and place.is_file()):
            return place
    return None


def load_named(text: str, *, split: Path | None = None, subset: str = "test") -> list[Frames]:
    """All frames of a store, of one of its trajectories, or of a subset of a split of it.

    Each frame carries the label `trajectory`; attributes of the trajectory that are text, such as
    `phase`, become labels where the frames have none of that name.

    Args:
        text: STORE or STORE/TRAJECTORY; directory, zip file or URL.
        split: A split of that version of the store.
        subset: Which of its subsets.

    Raises:
        DataError: no store, no frames, or a split of another version.
    """
    store, wanted = open_named(text)
    with store:
        rows = {
            name: np.arange(len(trajectory))
            for name, trajectory in store.trajectories.items()
            if wanted in (None, name)
        }
        if split is not None:
            chosen = load_split(split)
            chosen.check(store)
            rows = {k: v for k, v in chosen.rows(subset).items() if wanted in (None, k)}
        found = [
            part
            for name, numbers in rows.items()
            for part in _read(store.trajectories[name], np.asarray(numbers))
        ]
    if not found:
        raise DataError(f"{text}: no frames" + (f" in {subset} of {split}" if split else ""))
    return found


def _read(trajectory: Trajectory, rows: IntArray) -> list[Frames]:
    if not len(rows):
        return []
    pieces = [
        trajectory.read(rows[start : start + _CHUNK_FRAMES])
        for start in range(0, len(rows), _CHUNK_FRAMES)
    ]
    return [_labelled(piece, trajectory) for piece in pieces]


def _labelled(frames: Frames, trajectory: Trajectory) -> Frames:
    texts = {k: v for k, v in trajectory.attributes.items() if isinstance(v, str)}
    common = {"trajectory": trajectory.name, **texts}
    labels = {key: (value,) * len(frames) for key, value in common.items()}
    return dataclasses.replace(frames, labels={**labels, **frames.labels})
