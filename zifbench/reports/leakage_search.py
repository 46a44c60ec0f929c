"""How near the nearest training frame is: in time where there is one, in structure elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.nearest import nearest_in_time, nearest_structure
from zifbench.analysis.timeseries import autocorrelation_time
from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.store import Store, Trajectory
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.reports.leakage_record import TrajectoryLeakage

SAME_CELL_A = 1e-3  # cells whose vectors differ by less count as the same, by twice that never
_SAME_STEP = 1e-6  # frame intervals that differ by less, relatively, count as equal
_MIN_SERIES = 100  # frames below which an autocorrelation time says nothing
_READ = 256  # frames read at once


@dataclass(eq=False)
class Neighbours:
    """A row a frame of the examined subset; NaN, -1 and "" where there is nothing to say.

    Attributes:
        trajectory: Where the frame is from, n strings.
        frame: Its number there, shape (n,).
        energy: In eV, shape (n,).
        nearest_trajectory: Trajectory of the nearest training frame, n strings.
        nearest_frame: Its number there, shape (n,).
        distance_fs: Distance in time, shape (n,).
        distance_tau: The same in autocorrelation times of the energy, shape (n,).
        rmsd_A: Distance in structure in Å, shape (n,).
    """

    trajectory: list[str]
    frame: IntArray
    energy: FloatArray
    nearest_trajectory: list[str]
    nearest_frame: IntArray
    distance_fs: FloatArray
    distance_tau: FloatArray
    rmsd_A: FloatArray

    def __len__(self) -> int:
        return len(self.frame)


def search_in_time(
    store: Store, split: Split, subset: str
) -> tuple[Neighbours, list[TrajectoryLeakage]]:
    """The nearest training frame of the same trajectory in time, for every frame of a subset."""
    found = _empty(split, subset)
    records = []
    start = 0
    for name, rows in split.rows(subset).items():
        place = slice(start, start + len(rows))
        start += len(rows)
        trajectory = store.trajectories[name]
        if "energy" in trajectory.fields:
            found.energy[place] = trajectory.array("energy")[rows]
        train = split.rows("train").get(name, np.zeros(0, dtype=np.int64))
        record = _series(trajectory, len(rows), len(train))
        records.append(record)
        if record.interval_fs is None or not len(train):
            continue
        times = trajectory.array("time_fs")
        nearest, distance = nearest_in_time(times[rows], times[train])
        found.nearest_trajectory[place] = [name] * len(rows)
        found.nearest_frame[place] = train[nearest]
        found.distance_fs[place] = distance
        if record.tau_fs is not None:
            found.distance_tau[place] = distance / record.tau_fs
    return found, records


def _empty(split: Split, subset: str) -> Neighbours:
    ids = split.ids(subset)
    n = len(ids)
    return Neighbours(
        trajectory=[name for name, _ in ids],
        frame=np.array([frame for _, frame in ids], dtype=np.int64),
        energy=np.full(n, np.nan),
        nearest_trajectory=[""] * n,
        nearest_frame=np.full(n, -1),
        distance_fs=np.full(n, np.nan),
        distance_tau=np.full(n, np.nan),
        rmsd_A=np.full(n, np.nan),
    )


def _series(trajectory: Trajectory, n_frames: int, n_train: int) -> TrajectoryLeakage:
    """Frame interval and autocorrelation time of a trajectory, as far as it has them."""

    def record(note: str | None, **values: float | bool | None) -> TrajectoryLeakage:
        known = {"interval_fs": None, "tau_fs": None, "tau_reliable": None} | values
        return TrajectoryLeakage.model_validate(
            {"trajectory": trajectory.name, "n_frames": n_frames, "n_train": n_train}
            | {"note": note}
            | known
        )

    times = trajectory.array("time_fs") if "time_fs" in trajectory.fields else None
    if times is None or len(times) < 2 or not (np.diff(times) > 0).all():
        return record("no series in time: by structure, where the cell is the same")
    interval = float(np.median(np.diff(times)))
    if "energy" not in trajectory.fields:
        return record("no energies, so no autocorrelation time", interval_fs=interval)
    energy = trajectory.array("energy")
    stretch = _regular_stretch(times, energy, interval)
    n = stretch.stop - stretch.start
    if n < _MIN_SERIES:
        return record(
            f"{n} equally spaced frames are too few for an autocorrelation time",
            interval_fs=interval,
        )
    try:
        time = autocorrelation_time(energy[stretch])
    except NotDefinedError as error:
        return record(str(error), interval_fs=interval)
    note = None if n == len(times) else f"tau from frames {stretch.start} to {stretch.stop - 1}"
    return record(
        note, interval_fs=interval, tau_fs=time.tau * interval, tau_reliable=time.reliable
    )


def _regular_stretch(times: FloatArray, energy: FloatArray, interval: float) -> slice:
    """The longest run of frames that are equally spaced and have an energy."""
    good = np.isclose(np.diff(times), interval, rtol=_SAME_STEP, atol=0.0)
    known = np.isfinite(energy)
    good &= known[1:] & known[:-1]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    if not len(starts):
        return slice(0, 1)
    k = int(np.argmax(stops - starts))
    return slice(int(starts[k]), int(stops[k]) + 1)


# -- structure ------------------------------------------------------------------------------------


def search_by_structure(
    store: Store,
    split: Split,
    found: Neighbours,
    *,
    max_frames: int,
    max_train: int,
    advance: Callable[[int], None],
) -> list[str]:
    """Fill in the nearest training structure of the frames that have no neighbour in time.

    Frames are compared that hold the same atoms in the same order and have the same cell. Of very
    many frames an even part is compared.

    Args:
        store: The store.
        split: Its split.
        found: What the search in time has found; filled in.
        max_frames: At most so many frames are looked at.
        max_train: At most so many training frames are compared with, for each cell.
        advance: Called with the number of frames done.

    Returns:
        What a reader must know.
    """
    lonely = np.flatnonzero(np.isnan(found.distance_fs))
    notes = []
    if len(lonely) > max_frames:
        notes.append(
            f"{max_frames} of {len(lonely)} frames without a time are compared, evenly spread"
        )
        lonely = lonely[_even(len(lonely), max_frames)]
    train = _by_atoms(_by_cell(store, split.rows("train")))
    mine: dict[str, list[int]] = {}
    for place in lonely:
        mine.setdefault(found.trajectory[place], []).append(int(place))
    asked = {name: found.frame[places] for name, places in mine.items()}
    place_of = {(found.trajectory[p], int(found.frame[p])): int(p) for p in lonely}
    thinned = 0
    for key, ids in _by_cell(store, asked).items():
        known = _of_near_cells(train, *key)
        if len(known) > max_train:
            thinned = max(thinned, len(known))
            known = [known[k] for k in _even(len(known), max_train)]
        if known:
            _compare(store, ids, known, found, place_of)
        advance(len(ids))
    if thinned:
        notes.append(f"compared with {max_train} training frames, evenly spread over {thinned}")
    return notes


def _even(n: int, wanted: int) -> IntArray:
    return np.asarray(np.arange(wanted) * n // wanted, dtype=np.int64)


_Key = tuple[bytes, tuple[int, ...]]  # atoms; cell, in units of `SAME_CELL_A`
_Ids = list[tuple[str, int]]


def _by_cell(store: Store, rows: Mapping[str, IntArray]) -> dict[_Key, _Ids]:
    """(trajectory, frame) by atoms and rounded cell."""
    groups: dict[_Key, _Ids] = {}
    for name, frames in rows.items():
        trajectory = store.trajectories[name]
        atoms = np.ascontiguousarray(trajectory.numbers).tobytes()
        cells = np.rint(trajectory.array("cell")[frames] / SAME_CELL_A).astype(np.int64)
        for frame, cell in zip(frames, cells, strict=True):
            key = (atoms, tuple(cell.ravel().tolist()))
            groups.setdefault(key, []).append((name, int(frame)))
    return groups


def _by_atoms(groups: Mapping[_Key, _Ids]) -> dict[bytes, tuple[IntArray, list[_Ids]]]:
    """Atoms -> rounded cells, shape (n, 9), and the frames of each."""
    found: dict[bytes, tuple[list[tuple[int, ...]], list[_Ids]]] = {}
    for (atoms, cell), ids in groups.items():
        cells, frames = found.setdefault(atoms, ([], []))
        cells.append(cell)
        frames.append(ids)
    return {atoms: (np.array(cells), frames) for atoms, (cells, frames) in found.items()}


def _of_near_cells(
    known: Mapping[bytes, tuple[IntArray, list[_Ids]]], atoms: bytes, cell: tuple[int, ...]
) -> _Ids:
    """Frames of these atoms whose cell rounds to the same numbers, or to the next ones.

    Two cells a hair apart may lie on two sides of a rounding edge.
    """
    if atoms not in known:
        return []
    cells, frames = known[atoms]
    near = np.flatnonzero((np.abs(cells - np.array(cell)) <= 1).all(axis=1))
    return [identity for k in near for identity in frames[k]]


def _compare(
    store: Store,
    asked: list[tuple[str, int]],
    known: list[tuple[str, int]],
    found: Neighbours,
    place_of: Mapping[tuple[str, int], int],
) -> None:
    reference = _positions(store, known)
    cell = store.trajectories[asked[0][0]].read(asked[0][1], ("positions",)).cell[0]
    for start in range(0, len(asked), _READ):
        part = asked[start : start + _READ]
        nearest, rmsd = nearest_structure(_positions(store, part), reference, cell)
        for identity, k, distance in zip(part, nearest, rmsd, strict=True):
            place = place_of[identity]
            found.nearest_trajectory[place], found.nearest_frame[place] = known[k]
            found.rmsd_A[place] = distance


def _positions(store: Store, ids: list[tuple[str, int]]) -> FloatArray:
    """Positions of some frames of the same atoms in their order, shape (n, N, 3)."""
    by_trajectory: dict[str, list[int]] = {}
    for place, (name, _) in enumerate(ids):
        by_trajectory.setdefault(name, []).append(place)
    positions: FloatArray | None = None
    for name, places in by_trajectory.items():
        rows = np.array([ids[place][1] for place in places], dtype=np.int64)
        part = store.trajectories[name].read(rows, ("positions",)).positions
        if positions is None:
            positions = np.empty((len(ids), *part.shape[1:]))
        positions[places] = part
    return np.zeros((0, 0, 3)) if positions is None else positions
