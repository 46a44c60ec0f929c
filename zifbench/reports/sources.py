"""What can be analysed: files that ASE reads, bundled frames, stores and their trajectories."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from zifbench.analysis.meters import FrameSource
from zifbench.analysis.runs import Run
from zifbench.ase_io import count_frames, stream_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import Frames


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


def read_run(text: str, *, file_format: str | None = None, reference: bool = False) -> Run:
    """The run of one argument, `FILE` or `NAME=FILE,FILE…`.

    Raises:
        DataError: no such file, unreadable frames, or a name that cannot be one.
    """
    if Path(text).exists() or text in BUNDLED_DATA or "=" not in text:
        name, files = Path(text).stem, [text]
    else:
        name, _, listed = text.partition("=")
        files = [file for pattern in listed.split(",") for file in _matching(pattern)]
    name = printable(name)
    if not name or "/" in name or name.startswith("."):
        raise DataError(f"{text}: {name!r} is no name of a run; wanted NAME=FILE,FILE…")
    paths = [BUNDLED_DATA[file].path if file in BUNDLED_DATA else Path(file) for file in files]
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError(f"{text}: a file is given twice; its frames would count twice")
    sources: list[FrameSource] = [
        AseFile(path, count_frames(path, file_format=file_format), file_format) for path in paths
    ]
    return Run(name, tuple(sources), reference)


def _matching(pattern: str) -> list[str]:
    if not pattern:
        raise DataError("an empty file name in NAME=FILE,FILE…; leave out the comma")
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern))  # noqa: PTH207 (absolute patterns, which Path.glob refuses)
    if not found:
        raise DataError(f"{pattern}: no file matches")
    return found
