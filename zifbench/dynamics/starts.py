"""Where a protocol begins: published structures, or the user's own, each under a short name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from zifbench.ase_io import read_frames
from zifbench.dataset.assets.fetch import Fetcher
from zifbench.errors import DataError, UnknownNameError


@dataclass(frozen=True)
class _Picked:
    """A file, and which of its frames; None where it should hold one only."""

    path: Path
    index: int | None = None


def read_starts(names: Sequence[str], supercell: tuple[int, int, int]) -> dict[str, Atoms]:
    """Structures by name, in the order given.

    A structure is called as its file; one of several frames FILE-frameN, counted from 0.

    Args:
        names: Files that ASE reads, FILE@INDEX for one frame of several (as in ASE, -1 for the
            last), or published assets or groups of them (fetched).
        supercell: Repetitions of each.

    Raises:
        DataError: no such file or frame, several frames of which none is chosen, or two structures
            of one name.
        UnknownNameError: no such asset.
    """
    found: dict[str, Atoms] = {}
    for picked in [picked for name in names for picked in _files(name)]:
        name, atoms = _read(picked)
        if name in found:
            raise DataError(
                f"{picked.path}: a structure called {name!r} is there already; rename one"
            )
        found[name] = atoms.repeat(supercell)
        found[name].calc = None
    return found


def _read(picked: _Picked) -> tuple[str, Atoms]:
    """A structure, and what it is called."""
    path, index = picked.path, picked.index
    groups = read_frames(path)
    frames = [(group, row) for group in groups for row in range(len(group))]
    n = len(frames)
    if index is None and n > 1:
        raise DataError(
            f"{path} holds {n} frames, wanted one to start from; choose it by its number, as in "
            f"{path}@0 (the first) or {path}@-1 (the last)"
        )
    if not -n <= (index or 0) < n:
        raise DataError(
            f"{path}@{index}: the file holds {n} frames; wanted a number from {-n} to {n - 1}"
        )
    group, row = frames[index or 0]
    name = path.stem if index is None else f"{path.stem}-frame{index % n}"
    return name, group[row].to_ase()[0]


def _files(name: str) -> list[_Picked]:
    if Path(name).exists():
        return [_Picked(Path(name))]
    file, at, index = name.rpartition("@")
    if at and Path(file).exists():
        try:
            return [_Picked(Path(file), int(index))]
        except ValueError as error:
            raise DataError(
                f"{name}: {index!r} is no number of a frame; wanted one, as in {file}@0 (the "
                f"first) or {file}@-1 (the last)"
            ) from error
    try:
        return [_Picked(item.path) for item in Fetcher().fetch_all([name])]
    except UnknownNameError as error:
        if "/" not in name and not Path(name).suffix:
            raise
        raise DataError(f"{name}: no such file; if a published one is meant: {error}") from error
