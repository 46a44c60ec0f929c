"""ASE's own binary files: a trajectory, and a database that can be searched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from zifbench.dataset.export.selection import Selection
from zifbench.errors import ResultError
from zifbench.frames import Frames


def write_traj(selection: Selection, directory: Path) -> None:
    """Write `SUBSET.traj` for each subset; `trajectory` and `frame` stand in `info`."""
    from ase.io.trajectory import TrajectoryWriter

    for subset in selection.subsets:
        with TrajectoryWriter(directory / f"{subset}.traj", mode="w") as writer:
            writer.set_description(selection.about(subset))
            for trajectory, frames in selection.chunks(subset):
                for row, atoms in enumerate(frames.to_ase()):
                    atoms.info |= {"trajectory": trajectory.name, "frame": _number(frames, row)}
                    writer.write(atoms)
                selection.advance(len(frames))


def write_ase_database(selection: Selection, directory: Path) -> None:
    """Write `SUBSET.db` (SQLite) for each subset.

    `trajectory` and `frame` are keys to search by, labels and other texts stand in `data`.
    """
    try:
        _write_databases(selection, directory)
    except sqlite3.Error as error:
        raise ResultError(
            f"{directory.parent}: SQLite cannot write there ({error}); is the disk full?"
        ) from error


def _write_databases(selection: Selection, directory: Path) -> None:
    from ase.db import connect

    for subset in selection.subsets:
        with connect(directory / f"{subset}.db", use_lock_file=False) as database:
            for trajectory, frames in selection.chunks(subset):
                for row, atoms in enumerate(frames.to_ase()):
                    database.write(
                        atoms,
                        data=dict(atoms.info),
                        key_value_pairs={
                            "trajectory": _text(trajectory.name),
                            "frame": _number(frames, row),
                        },
                    )
                selection.advance(len(frames))
            database.metadata = selection.about(subset)


def _number(frames: Frames, row: int) -> int:
    return row if frames.source_index is None else int(frames.source_index[row])


def _text(name: str) -> str:
    """ASE refuses text that it would read as a number or truth value, such as "0"."""
    try:
        float(name)
    except ValueError:
        return f"trajectory {name}" if name.lower() in {"true", "false"} else name
    return f"trajectory {name}"
