"""Sources into a store: resumable, with a report of everything that was found."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from zifbench import __version__
from zifbench.dataset.ingest.formats import open_source
from zifbench.dataset.ingest.source import Options, SourceTrajectory
from zifbench.dataset.store import Store, StoreWriter, TrajectoryWriter, open_store
from zifbench.dataset.store.layout import COMMIT_FILE
from zifbench.errors import DataError, ZifbenchError
from zifbench.files import printable, write_text_atomically
from zifbench.frames import FloatArray, Frames
from zifbench.units import MEV_PER_EV

REPORT_SCHEMA = 1
COMMIT_S = 20.0  # at most about this much work is lost to a kill
NET_FORCE = "net_force"  # array of a trajectory: |Σ F| of each frame in eV/Å
_MARK = "ingest_fingerprint"

# A title and how much there is to do -> a context that gives a counter; see `console.progress_bar`.
Progress = Callable[[str, int, int], contextlib.AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Ingested:
    """What became of one trajectory.

    Attributes:
        name: Its name in the store.
        n_frames: Frames in the store.
        n_new: Frames that this call added.
        report: `IngestReport` as plain data.
        net_force: Median, RMS and maximum of |Σ F| over frames in eV/Å, or None.
        energy_eV_per_atom: Mean potential energy, or None.
    """

    name: str
    n_frames: int
    n_new: int
    report: Mapping[str, Any]
    net_force: Mapping[str, float] | None
    energy_eV_per_atom: float | None


@dataclass(frozen=True)
class Summary:
    """What a call of `ingest` did.

    Attributes:
        store: The store.
        version: Its version now.
        trajectories: Those of the sources.
        offsets: (trajectory, trajectory, difference of the mean energies in meV/atom) of all
            trajectories in the store that hold the same elements in the same numbers.
        written: When.
    """

    store: str
    version: str
    trajectories: tuple[Ingested, ...]
    offsets: tuple[tuple[str, str, float], ...]
    written: str

    def as_json(self) -> dict[str, Any]:
        """Plain data, with schema and provenance."""
        return {
            "schema": REPORT_SCHEMA,
            "kind": "zifbench ingest report",
            "store": {"name": self.store, "version": self.version},
            "trajectories": {t.name: {**vars(t)} for t in self.trajectories},
            "energy_offsets_meV_per_atom": [list(offset) for offset in self.offsets],
            "provenance": {
                "zifbench": __version__,
                "written": self.written,
            },
        }


@contextlib.contextmanager
def _silent(title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    yield lambda n: None


def ingest(
    sources: Sequence[Path],
    store: Path,
    *,
    options: Options | None = None,
    file_format: str = "auto",
    exact: bool = False,
    commit_s: float = COMMIT_S,
    progress: Progress = _silent,
) -> Summary:
    """Read sources into a store, new or existing; the same call continues where it stopped.

    All sources are opened and checked before anything is written. A report of what was found
    stands in the attributes of each trajectory and, as JSON, beside the store.

    Args:
        sources: Files or directories; see `formats.FORMATS`.
        store: Directory of the store.
        options: What the user says about the input.
        file_format: Name of a format, or `auto`.
        exact: Store all numbers as float64.
        commit_s: Commit after about so many seconds.
        progress: Draws progress.

    Raises:
        DataError: input that does not fit together, two trajectories of one name, or a trajectory
            of this name in the store that came from other files.
    """
    options = options or Options()
    found = [
        trajectory
        for path in sources
        for trajectory in open_source(path, options, file_format).trajectories()
    ]
    _check_names(found)
    is_new = not store.exists()
    try:
        done = _ingest_all(found, store, exact, commit_s, progress)
    except ZifbenchError:
        if is_new:
            _remove_empty(store)
        raise
    with open_store(store) as opened:
        offsets = _energy_offsets(opened)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        summary = Summary(str(store), opened.version, tuple(done), offsets, now)
    text = json.dumps(summary.as_json(), indent=1, ensure_ascii=False)
    write_text_atomically(report_path(store), text + "\n")
    return summary


def _ingest_all(
    found: Sequence[SourceTrajectory],
    store: Path,
    exact: bool,
    commit_s: float,
    progress: Progress,
) -> list[Ingested]:
    with StoreWriter(store) as writer:
        return [
            _Job(writer, trajectory, exact or trajectory.exact, commit_s).run(progress)
            for trajectory in found
        ]


def _remove_empty(store: Path) -> None:
    """Leave nothing where input was refused before the first frame."""
    if (store / COMMIT_FILE).is_file():
        with open_store(store) as opened:
            if opened.n_frames:
                return
    shutil.rmtree(store, ignore_errors=True)


def report_path(store: Path) -> Path:
    """Where the report of the last call stands: beside the store."""
    return store.with_name(f"{store.name}.ingest.json")


def _check_names(found: Sequence[SourceTrajectory]) -> None:
    names = [trajectory.name for trajectory in found]
    again = {name for name in names if names.count(name) > 1}
    if again:
        raise DataError(
            f"several trajectories would be called {', '.join(sorted(again))}; ingest them one by "
            "one with --name"
        )


class _Job:
    """One trajectory on its way into the store."""

    def __init__(
        self, store: StoreWriter, source: SourceTrajectory, exact: bool, commit_s: float
    ) -> None:
        self._store = store
        self._source = source
        self._exact = exact
        self._commit_s = commit_s
        self._net: list[FloatArray] = []
        self._mark = f"{source.fingerprint}-exact" if exact else source.fingerprint

    def run(self, progress: Progress) -> Ingested:
        """Append what is missing, then the report."""
        source = self._source
        start = self._store.n_committed(source.name)
        self._refuse_other(start)
        with progress(source.name, source.n_frames, start) as advance:
            writer = self._append(start, advance)
        if writer is not None:
            self._finish(writer, start)
        with open_store(self._store.path) as opened:
            trajectory = opened.trajectories[source.name]
            net = trajectory.attributes["net_force_eV_per_A"]
            energy = trajectory.array("energy") if "energy" in trajectory.fields else None
            mean = None if energy is None else float(energy.mean()) / trajectory.n_atoms
            report = trajectory.attributes["ingest"]
        return Ingested(
            name=source.name,
            n_frames=source.n_frames,
            n_new=source.n_frames - start,
            report=report,
            net_force=net,
            energy_eV_per_atom=mean,
        )

    def _refuse_other(self, start: int) -> None:
        """A trajectory of this name must come from the same input, read by the same rules."""
        source = self._source
        if not start:
            return
        with open_store(self._store.path) as opened:
            attributes = opened.trajectories[source.name].attributes
        if attributes.get(_MARK) != self._mark or start > source.n_frames:
            raise DataError(
                f"{printable(str(self._store.path))} already has a trajectory {source.name!r} that "
                "was made from other files or by other rules; give this one another --name, or "
                "write to a new store"
            )

    def _append(self, start: int, advance: Callable[[int], None]) -> TrajectoryWriter | None:
        """All frames from `start` on; None where nothing was missing."""
        source = self._source
        writer: TrajectoryWriter | None = None
        last = time.monotonic()
        for frames in source.chunks(start):
            if writer is None:
                writer = self._writer(frames)
            writer.append(frames)
            self._note_net_force(frames)
            advance(len(frames))
            if time.monotonic() - last > self._commit_s:
                writer.commit()
                last = time.monotonic()
        if writer is None and not self._finished():
            # Killed between the last frames and the report, or other attributes are given now.
            writer = self._writer(next(iter(source.chunks(max(0, start - 1)))))
        if writer is not None:
            writer.commit()
        return writer

    def _writer(self, like: Frames) -> TrajectoryWriter:
        source = self._source
        dtypes = None
        if self._exact:
            floats = ("positions", "forces", "velocities")
            dtypes = {key: "float64" for key in floats if getattr(like, key) is not None}
        return self._store.trajectory(
            source.name,
            like,
            attributes={**source.attributes, _MARK: self._mark},
            dtypes=dtypes,
            arrays=source.arrays,
        )

    def _finished(self) -> bool:
        """Whether the report is there, and what the user says about the run now is, too."""
        with open_store(self._store.path) as opened:
            attributes = opened.trajectories[self._source.name].attributes
        said = self._source.attributes.items()
        return "ingest" in attributes and all(attributes.get(key) == value for key, value in said)

    # -- the noise floor of the forces -----------------------------------------------------------

    def _note_net_force(self, frames: Frames) -> None:
        if frames.forces is not None:
            self._net.append(self._net_force_of(frames.forces))

    def _net_force_of(self, forces: FloatArray) -> FloatArray:
        """|Σ F| of each frame, from forces as they are stored: the same before and after a kill."""
        stored = forces if self._exact else forces.astype(np.float32).astype(np.float64)
        norm: FloatArray = np.linalg.norm(stored.sum(axis=1), axis=1)
        return norm

    def _stored_net_force(self, stop: int) -> FloatArray:
        """The same of the frames that an earlier call committed."""
        with open_store(self._store.path) as opened:
            trajectory = opened.trajectories[self._source.name]
            if "forces" not in trajectory.fields:
                return np.empty(0)
            parts = [
                self._net_force_of(frames.forces)
                for frames in trajectory.chunks(stop=stop, fields=["forces"])
                if frames.forces is not None
            ]
        return np.concatenate(parts)

    def _finish(self, writer: TrajectoryWriter, start: int) -> None:
        """The report, which says that the trajectory is complete."""
        parts = [self._stored_net_force(start), *self._net] if start else self._net
        net = np.concatenate(parts) if parts else np.empty(0)
        if len(net):
            writer.set_array(NET_FORCE, net)
        writer.set_attributes(
            ingest=self._source.report.as_json(), net_force_eV_per_A=_statistics(net)
        )
        writer.commit()


def _statistics(net: FloatArray) -> dict[str, float] | None:
    if not len(net):
        return None
    return {
        "median": float(np.median(net)),
        "rms": float(np.sqrt(np.mean(net**2))),
        "max": float(net.max()),
    }


def _energy_offsets(store: Store) -> tuple[tuple[str, str, float], ...]:
    """Differences of mean energies between trajectories of the same elements in the same numbers.

    Energies of different versions of a code, cutoffs or settings have different zeros; this shows
    it before they are pooled.
    """
    means: dict[tuple[int, ...], list[tuple[str, float]]] = {}
    for name, trajectory in store.trajectories.items():
        if "energy" in trajectory.fields and len(trajectory):
            mean = float(trajectory.array("energy").mean()) / trajectory.n_atoms
            key = tuple(sorted(trajectory.numbers.tolist()))
            means.setdefault(key, []).append((name, mean))
    return tuple(
        (first[0], other[0], MEV_PER_EV * (other[1] - first[1]))
        for group in means.values()
        for first, *others in [group]
        for other in others
    )
