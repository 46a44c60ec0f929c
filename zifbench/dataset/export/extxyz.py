"""Extended XYZ with all digits: read back by any reader, the numbers are those of the store.

ASE's own writer keeps eight decimals, which is less than the float32 of a small force.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zifbench.dataset.export.selection import Selection
from zifbench.frames import FloatArray, Frames


def write_extxyz(selection: Selection, directory: Path) -> None:
    """Write `SUBSET.extxyz` for each subset, a frame at a time.

    Per frame: cell, periodicity, energy (eV), stress (eV/Å³, tension positive), step, time, labels,
    `trajectory` and `frame`; a label of such a name gets the prefix `label_`. Per atom: position
    (Å), mass (amu), force (eV/Å), momentum (ASE's units) where there are velocities.
    """
    for subset in selection.subsets:
        about = selection.about(subset)
        with (directory / f"{subset}.extxyz").open("w", encoding="utf-8") as file:
            for trajectory, frames in selection.chunks(subset):
                for text in _blocks(frames, about | {"trajectory": trajectory.name}):
                    file.write(text)
                selection.advance(len(frames))


def _blocks(frames: Frames, about: dict[str, str]) -> Iterator[str]:
    """Each frame as text."""
    columns: list[tuple[str, FloatArray]] = [("pos", frames.positions)]
    if frames.forces is not None:
        columns.append(("forces", frames.forces))
    if frames.velocities is not None:
        columns.append(("momenta", _momenta(frames)))
    names = ":".join(f"{name}:R:3" for name, _ in columns)
    masses = frames.masses.tolist()
    symbols = frames.symbols
    for row in range(len(frames)):
        header = _header(frames, row, about)
        table = np.concatenate([array[row] for _, array in columns], axis=1).tolist()
        lines = [
            f"{symbol} {mass!r} {' '.join(map(repr, values))}\n"
            for symbol, mass, values in zip(symbols, masses, table, strict=True)
        ]
        header += f" Properties=species:S:1:masses:R:1:{names}"
        yield f"{len(symbols)}\n{header}\n{''.join(lines)}"


def _momenta(frames: Frames) -> FloatArray:
    from ase.units import fs

    velocities = np.zeros_like(frames.positions) if frames.velocities is None else frames.velocities
    return np.asarray(velocities / fs * frames.masses[None, :, None])


def _header(frames: Frames, row: int, about: dict[str, str]) -> str:
    words = [
        f'Lattice="{_numbers(frames.cell[row])}"',
        f'pbc="{" ".join("T" if periodic else "F" for periodic in frames.pbc)}"',
    ]
    if frames.energy is not None and np.isfinite(frames.energy[row]):
        words.append(f"energy={float(frames.energy[row])!r}")
    if frames.stress is not None:
        words.append(f'stress="{_numbers(frames.stress[row])}"')
    if frames.step is not None:
        words.append(f"step={int(frames.step[row])}")
    if frames.time_fs is not None:
        words.append(f"time_fs={float(frames.time_fs[row])!r}")
    if frames.source_index is not None:
        words.append(f"frame={int(frames.source_index[row])}")
    labels = {key: column[row] for key, column in frames.labels.items()}
    ours = {*about, "frame", "step", "time_fs", "energy", "stress", "pbc", "Lattice"}
    texts = {f"label_{key}" if key in ours else key: text for key, text in labels.items()}
    texts = dict(frames.info) | texts | about
    words += [f"{_key(key)}={_quoted(text)}" for key, text in texts.items() if text]
    return " ".join(words)


def _numbers(array: FloatArray) -> str:
    return " ".join(map(repr, array.ravel().tolist()))


def _key(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_-." else "_" for c in key)


def _quoted(text: str) -> str:
    line = " ".join(text.splitlines())  # a carriage return, too, ends a line for readers
    escaped = line.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
