"""What can be analysed: files that ASE reads, bundled frames, stores and their trajectories."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy.typing as npt

from zifbench.analysis.meters import FrameSource
from zifbench.analysis.runs import Run
from zifbench.ase_io import count_frames, stream_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.named import is_store_name, open_named
from zifbench.dataset.store import Trajectory
from zifbench.dataset.store.locations import is_url
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import Frames

# Arrays of a store that the analysis reads, beside positions and cells.
_STORED = ("velocities", "stress", "step", "time_fs")
_PIECES_A_READING = 8


@dataclass(frozen=True)
class AseFile:
    """A file that ASE reads, frame after frame.

    Attributes:
        path: The file.
        n_frames: Frames in it.
        file_format: ASE's name of the format where the file name does not tell it.
    """

    path: Path
    n_frames: int
    file_format: str | None = None
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    temperature_K: float | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return printable(self.path.name)

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        """The frames in pieces."""
        return stream_frames(self.path, max_atoms=max_atoms, file_format=self.file_format)


@dataclass(frozen=True)
class StoredTrajectory:
    """A trajectory of a store; only what the analysis needs is read.

    Attributes:
        trajectory: The trajectory.
    """

    trajectory: Trajectory

    @property
    def name(self) -> str:
        """Store and trajectory."""
        source = self.trajectory.source
        store = source.removesuffix("/" + self.trajectory.name)
        return printable(f"{PurePath(store).name}/{self.trajectory.name}")

    @property
    def n_frames(self) -> int:
        """Frames of the trajectory."""
        return len(self.trajectory)

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays of the whole trajectory, read when looked up."""
        return self.trajectory.arrays

    @property
    def temperature_K(self) -> float | None:
        """The temperature of the thermostat, where the store says it."""
        value = self.trajectory.attributes.get("temperature_K")
        return float(value) if isinstance(value, int | float) else None

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        """The frames in pieces, several of them to one reading."""
        size = max(1, max_atoms // max(1, self.trajectory.n_atoms))
        wanted = [name for name in _STORED if name in self.trajectory.fields]
        wanted += ["labels"] if "name" in self.trajectory.labels else []
        for many in self.trajectory.chunks(size * _PIECES_A_READING, fields=wanted):
            yield from many.chunks(size)


@dataclass(frozen=True)
class DisplacedStructure(StoredTrajectory):
    """The displaced frames of a vibrational analysis: one structure and its Hessian, no run."""

    @property
    def n_frames(self) -> int:
        """The structure alone."""
        return 1

    def chunks(self, max_atoms: int) -> Iterator[Frames]:
        """The middle of the first displacement and its opposite."""
        pair = self.trajectory.read([0, len(self.trajectory) // 2], fields=())
        middle = pair.positions.mean(axis=0, keepdims=True)
        yield replace(pair[0], positions=middle, source=self.name)


def read_run(text: str, *, file_format: str | None = None, reference: bool = False) -> Run:
    """The run of one argument, `FILE` or `NAME=FILE,FILE…`; a file may be a store or in one.

    Every trajectory of a store counts as a file.

    Raises:
        DataError: no such file, unreadable frames, or a name that cannot be one.
    """
    if "=" not in text or text in BUNDLED_DATA or is_url(text) or Path(text).exists():
        name, files = _name(text), [text]
    else:
        name, _, listed = text.partition("=")
        files = [file for pattern in listed.split(",") for file in _matching(pattern)]
    name = printable(name)
    if not name or "/" in name or name.startswith("."):
        raise DataError(f"{text}: {name!r} is no name of a run; wanted NAME=FILE,FILE…")
    sources: dict[str, FrameSource] = {}
    for file in files:
        for key, source in _sources(file, file_format):
            if key in sources:
                raise DataError(f"{text}: {file} is given twice; its frames would count twice")
            sources[key] = source
    return Run(name, tuple(sources.values()), reference)


def _name(text: str) -> str:
    path = PurePath(text)
    return path.stem if path.suffix in {".zip", ".zarr"} or Path(text).is_file() else path.name


def _sources(text: str, file_format: str | None) -> Iterator[tuple[str, FrameSource]]:
    """Sources behind one name, each with a key that tells it from all others."""
    path = BUNDLED_DATA[text].path if text in BUNDLED_DATA else Path(text)
    if not is_url(text) and path.is_file() and path.suffix != ".zip":
        n_frames = count_frames(path, file_format=file_format)
        yield str(path.resolve()), AseFile(path, n_frames, file_format)
        return
    if not is_store_name(text) and not path.exists():
        raise DataError(f"{text} does not exist; give a file of frames that ASE reads, or a store")
    store, wanted = open_named(text)
    trajectories = store.trajectories
    names = list(trajectories) if wanted is None else [wanted]
    if not names:
        raise DataError(f"{text}: a store without trajectories; nothing to analyse")
    place = store.location if is_url(store.location) else str(Path(store.location).resolve())
    for name in names:
        found = trajectories[name]
        displaced = found.attributes.get("source_format") == "cp2k-vibrations"
        kind = DisplacedStructure if displaced else StoredTrajectory
        yield f"{place}/{name}", kind(found)


def _matching(pattern: str) -> list[str]:
    if not pattern:
        raise DataError("an empty file name in NAME=FILE,FILE…; leave out the comma")
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern))  # noqa: PTH207 (absolute patterns, which Path.glob refuses)
    if not found:
        raise DataError(f"{pattern}: no file matches")
    return found
