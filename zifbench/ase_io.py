"""Between ASE and `Frames`: structures, and every file that ASE reads."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import ase.io.extxyz
import ase.io.formats
import ase.units
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import FloatArray, Frames

# Text keys of `Atoms.info` that describe the whole set and not one frame.
_SET_KEYS = frozenset({"level_of_theory", "licence", "license", "citation", "stress_components"})
_ARRAY_KEYS = ("step", "time_fs")
_ASE_TIME_FS = 1.0 / ase.units.fs  # ASE's unit of time in fs
# Suffixes that ASE does not know; its reader takes the elements from the masses.
_FORMATS = {".lmp": "lammps-data"}
# What ASE's many readers raise on a file that is damaged or not theirs.
_READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    StopIteration,
    ase.io.formats.UnknownFileTypeError,
    ase.io.ParseError,
)


def read_frames(path: str | Path, *, file_format: str | None = None) -> list[Frames]:
    """Read every frame of a file that ASE knows (extxyz, traj, cif, LAMMPS dump, …).

    Consecutive frames of the same atoms that carry the same kinds of reference values become one
    `Frames`; a file with several compositions, or labels in some frames only, gives several.

    Args:
        path: The file.
        file_format: ASE's name of the format where the file name does not tell it.

    Raises:
        DataError: no such file, not a frame file, truncated, or NaN in the positions, cell,
            energy or forces of a frame.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}; give a file of frames that ASE reads")
    if path.suffix in {".xyz", ".extxyz"}:
        _check_last_line(path)
    if file_format is None:
        file_format = _FORMATS.get(path.suffix)
    return list(_grouped(_iread(path, file_format), source=printable(path.name)))


def _check_last_line(path: Path) -> None:
    """A cut inside the last number leaves a readable but wrong file; only its line feed tells."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            raise DataError(
                f"{path}: the last line does not end with a line feed, so the file is probably "
                "truncated; fetch it again, or add the line feed if the last number is complete"
            )


def _iread(path: Path, file_format: str | None) -> Iterator[Atoms]:
    """ASE's reader with its many exceptions turned into one sentence."""
    count = 0
    try:
        for atoms in ase.io.iread(path, index=":", format=file_format):
            yield atoms
            count += 1
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: {count} good frames, then unreadable ({type(error).__name__}: "
            f"{reason[:160]}); it is truncated, damaged or no frame file (ASE tells the format by "
            "the name: .extxyz, .traj, …)"
        ) from error
    if count == 0:
        raise DataError(f"{path}: no frames in this file; it is empty or truncated")


def _grouped(structures: Iterable[Atoms], *, source: str) -> Iterator[Frames]:
    """Consecutive structures with the same atoms and kinds of values, as `Frames`."""
    group: list[Atoms] = []
    first = 0
    for index, atoms in enumerate(structures):
        if group and _kind(atoms) != _kind(group[0]):
            yield frames_from_ase(group, source=source, first_index=first)
            group, first = [], index
        group.append(atoms)
    if group:
        yield frames_from_ase(group, source=source, first_index=first)


def _kind(atoms: Atoms) -> tuple[Any, ...]:
    """What must agree for two structures to stand in one `Frames`."""
    return (
        atoms.numbers.tobytes(),
        atoms.pbc.tobytes(),
        atoms.get_masses().tobytes(),
        tuple(sorted(_results(atoms))),
        atoms.has("momenta"),
        tuple(sorted(_texts(atoms))),
        tuple(str(atoms.info.get(key)) for key in sorted(_SET_KEYS)),
        tuple(key in atoms.info for key in _ARRAY_KEYS),
    )


def _texts(atoms: Atoms) -> dict[str, str]:
    """Labels of a structure; `phase=300` is one too, though ASE reads it as a number."""
    scalars = (str, bool, int, float, np.bool_, np.integer, np.floating)
    return {
        key: str(value)
        for key, value in atoms.info.items()
        if isinstance(value, scalars) and key not in _ARRAY_KEYS
    }


def _results(atoms: Atoms) -> dict[str, Any]:
    """The reference values that came with a structure, never computed here."""
    results = {} if atoms.calc is None else dict(getattr(atoms.calc, "results", {}))
    known = ("energy", "forces", "stress")
    return {key: results[key] for key in known if results.get(key) is not None}


def frames_from_ase(
    atoms: Atoms | Sequence[Atoms], *, source: str = "memory", first_index: int = 0
) -> Frames:
    """See `Frames.from_ase`; `first_index` numbers the first structure in its source."""
    structures = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not structures:
        raise DataError(f"no structures in {source}; wanted at least one")
    first = structures[0]
    for index, other in enumerate(structures[1:], start=1):
        if _kind(other) != _kind(first):
            raise DataError(
                f"structure {first_index + index} of {source} holds other atoms or other kinds "
                "of values than the first; read them as separate `Frames`"
            )
    results = [_results(structure) for structure in structures]
    texts = set(_texts(first))
    words = [_texts(structure) for structure in structures]
    frames = Frames(
        numbers=first.numbers.astype(np.int64),
        masses=first.get_masses().astype(float),
        pbc=first.pbc.copy(),
        positions=np.array([structure.positions for structure in structures], dtype=float),
        cell=np.array([structure.cell.array for structure in structures], dtype=float),
        energy=_stack(results, "energy"),
        forces=_stack(results, "forces"),
        stress=_stress(results),
        velocities=_velocities(structures),
        step=_info_array(structures, "step", np.int64),
        time_fs=_info_array(structures, "time_fs", np.float64),
        labels={key: tuple(word[key] for word in words) for key in sorted(texts - _SET_KEYS)},
        info={key: words[0][key] for key in sorted(texts & _SET_KEYS)},
        source=source,
        source_index=np.arange(first_index, first_index + len(structures)),
    )
    _check_finite(frames)
    return frames


def _stack(results: Sequence[dict[str, Any]], key: str) -> Any:
    return np.array([r[key] for r in results], dtype=float) if key in results[0] else None


def _stress(results: Sequence[dict[str, Any]]) -> Any:
    stress = _stack(results, "stress")
    return None if stress is None else full_stress(stress)


def full_stress(stress: FloatArray) -> FloatArray:
    """Tensors (T, 3, 3) from either of ASE's layouts, (T, 3, 3) or xx yy zz yz xz xy in (T, 6)."""
    if stress.ndim == 3:
        return stress
    xx, yy, zz, yz, xz, xy = stress.T
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)


def _velocities(structures: Sequence[Atoms]) -> Any:
    if not structures[0].has("momenta"):
        return None
    return np.array([s.get_velocities() for s in structures], dtype=float) / _ASE_TIME_FS


def _info_array(structures: Sequence[Atoms], key: str, dtype: Any) -> Any:
    if key not in structures[0].info:
        return None
    return np.array([structure.info[key] for structure in structures], dtype=dtype)


def _check_finite(frames: Frames) -> None:
    """A NaN in what the source did give is damage, not missing data."""
    for name in ("positions", "cell", "energy", "forces", "velocities"):
        array = getattr(frames, name)
        if array is None or np.isfinite(array).all():
            continue
        row, *atom = np.argwhere(~np.isfinite(array))[0]
        place = f" at atom {atom[0]}" if atom and name != "cell" else ""
        raise DataError(
            f"{name}: NaN or infinite{place} in {frames.where(int(row))}; remove that frame or "
            "leave the value out"
        )


def frames_to_ase(frames: Frames) -> list[Atoms]:
    """See `Frames.to_ase`."""
    structures = []
    for row in range(len(frames)):
        atoms = Atoms(
            numbers=frames.numbers,
            positions=frames.positions[row],
            cell=frames.cell[row],
            pbc=frames.pbc,
            masses=frames.masses,
        )
        if frames.velocities is not None:
            atoms.set_velocities(frames.velocities[row] * _ASE_TIME_FS)
        atoms.info.update({key: texts[row] for key, texts in frames.labels.items()})
        atoms.info.update(frames.info)
        for key in _ARRAY_KEYS:
            array = getattr(frames, key)
            if array is not None:
                atoms.info[key] = array[row].item()
        results = _single_point(frames, row)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    return structures


def _single_point(frames: Frames, row: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    if frames.energy is not None:
        results["energy"] = float(frames.energy[row])
    if frames.forces is not None:
        results["forces"] = frames.forces[row].copy()
    if frames.stress is not None:
        s = frames.stress[row]
        results["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
    return results


def structures_from_extxyz(text: str, *, where: str) -> list[Atoms]:
    """Structures of a piece of an extxyz file, as ASE reads them.

    Raises:
        DataError: ASE cannot read it.
    """
    try:
        return list(ase.io.extxyz.read_xyz(io.StringIO(text), index=slice(None)))
    except (*_READ_ERRORS, ase.io.extxyz.XYZError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: {reason[:160]}") from error
