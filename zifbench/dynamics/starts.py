"""Where a protocol begins: published structures, or the user's own, each under a short name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from zifbench.ase_io import read_frames
from zifbench.dataset.assets.fetch import Fetcher
from zifbench.errors import DataError


def read_starts(names: Sequence[str], supercell: tuple[int, int, int]) -> dict[str, Atoms]:
    """Structures by name, in the order given; of a file with several frames the first counts.

    Args:
        names: Files that ASE reads, or published assets or groups of them (fetched).
        supercell: Repetitions of each.

    Raises:
        DataError: no such file, or two structures of one name.
    """
    found: dict[str, Atoms] = {}
    for path in [path for name in names for path in _files(name)]:
        name = path.stem
        if name in found:
            raise DataError(f"{path}: a structure called {name!r} is there already; rename one")
        found[name] = read_frames(path)[0][0].to_ase()[0].repeat(supercell)
        found[name].calc = None
    return found


def _files(name: str) -> list[Path]:
    if Path(name).exists():
        return [Path(name)]
    return [item.path for item in Fetcher().fetch_all([name])]
