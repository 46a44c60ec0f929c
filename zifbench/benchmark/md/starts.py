"""Where the tasks begin: published structures, fetched; for the crystal else a stand-in of ours.

A machine without network or mirror can still run everything that begins with the crystal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zifbench.analysis.neighbours import find_pairs
from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.assets.courier import Manner
from zifbench.dataset.assets.fetch import Fetcher
from zifbench.dataset.assets.web import Patience
from zifbench.dynamics.starts import read_starts
from zifbench.errors import DownloadError
from zifbench.files import write_text_atomically
from zifbench.frames import FloatArray, Frames

CRYSTAL = "castel2024/crystal.lmp"
# A task that can do without a file does not wait for it as somebody does who asked for it.
_PATIENCE = Patience(attempts=1, connect_s=5.0, silence_s=20.0)
_CHOICE_FILE = "starts.json"
_BUNDLED, _FRAME = "zif4-own-test", "harm300_2"
# Cell of the ab initio MD at 300 K (castel2023/ZIF4_300.inp), its axes in the order of our frame.
_AIMD_EDGES_A = (15.4042, 18.4379, 15.4231)
_BOND_A = 1.75  # within a linker, C–H and C–C alike; the next atoms are beyond 2 Å
STAND_IN = (
    "the published crystal could not be fetched: begun from a bundled DFT frame in the "
    "cell of the ab initio MD"
)


@dataclass(frozen=True)
class Starts:
    """Structures by name.

    Attributes:
        atoms: Name -> structure.
        published: Whether they are the published ones.
    """

    atoms: dict[str, Atoms]
    published: bool = True


def task_starts(
    names: Sequence[str], supercell: tuple[int, int, int], directory: Path | None = None
) -> Starts:
    """Structures of a task; the same ones again where a run goes on.

    Args:
        names: Published structures, or groups of them.
        supercell: Repetitions of each.
        directory: Remembers which crystal was taken; None remembers nothing.

    Raises:
        DownloadError: a structure other than the crystal cannot be had.
    """
    if list(names) != [CRYSTAL]:
        return Starts(read_starts(_fetched(names), supercell))
    if directory is not None and _remembered(directory) == _BUNDLED:
        return Starts({"crystal": stand_in_crystal().repeat(supercell)}, published=False)
    try:
        starts = Starts(read_starts(_fetched(names), supercell))
    except DownloadError:
        if directory is not None and _remembered(directory) == CRYSTAL:
            raise  # it was begun with the published one
        starts = Starts({"crystal": stand_in_crystal().repeat(supercell)}, published=False)
    if directory is not None:
        chosen = CRYSTAL if starts.published else _BUNDLED
        write_text_atomically(directory / _CHOICE_FILE, json.dumps({"crystal": chosen}) + "\n")
    return starts


def _remembered(directory: Path) -> str | None:
    file = directory / _CHOICE_FILE
    if not file.is_file():
        return None
    return str(json.loads(file.read_text(encoding="utf-8"))["crystal"])


def _fetched(names: Sequence[str]) -> list[str]:
    """Paths of published files; the first that cannot be had ends the matter."""
    fetcher = Fetcher(manner=Manner(patience=_PATIENCE))
    items = fetcher.registry.resolve(names)
    return [str(fetcher.fetch_all([item.name])[0].path) for item in items]


def stand_in_crystal() -> Atoms:
    """The bundled 300 K frame of the crystal in the cell of the ab initio MD.

    Linkers are moved as a whole, so that nothing within them is stretched.
    """
    frames = read_frames(BUNDLED_DATA[_BUNDLED].path)
    part, row = next(
        (part, part.labels["name"].index(_FRAME))
        for part in frames
        if _FRAME in part.labels.get("name", ())
    )
    atoms = part[row].to_ase()[0]
    atoms.calc = None
    atoms.info.clear()
    unit, whole = _units(part[row])
    old, new = atoms.cell.array, np.diag(_AIMD_EDGES_A)
    n_units = int(unit.max()) + 1
    centres = np.array([whole[unit == k].mean(axis=0) for k in range(n_units)])
    moved = centres @ np.linalg.inv(old) @ new
    atoms.set_cell(new, scale_atoms=False)
    atoms.set_positions(whole + (moved - centres)[unit])
    return atoms


def _units(frame: Frames) -> tuple[FloatArray, FloatArray]:
    """Number of the unit (a linker, or a Zn) of each atom, and positions that keep units whole."""
    metal = frame.numbers == 30
    pairs = find_pairs(frame.positions[0], frame.cell[0], cutoffs_A=_BOND_A)
    bonded = ~(metal[pairs.i] | metal[pairs.j])
    i, j, vector = pairs.i[bonded], pairs.j[bonded], pairs.vector[bonded]
    n = frame.n_atoms
    _, unit = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)))
    whole, placed = frame.positions[0].copy(), np.zeros(n, dtype=bool)
    placed[np.unique(unit, return_index=True)[1]] = True
    while not placed.all():
        for a, b, step in zip(i, j, vector, strict=True):
            if placed[a] and not placed[b]:
                whole[b], placed[b] = whole[a] + step, True
    return unit, whole
