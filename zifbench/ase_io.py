"""Between ASE and `Frames`: structures, and every file that ASE reads."""

from __future__ import annotations

import contextlib
import io
import itertools
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
from ase.io.trajectory import Trajectory

from zifbench.errors import DataError, near_names
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
    AssertionError,
    ArithmeticError,
    NameError,
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
    file_format = _checked_format(path, file_format)
    return list(_grouped(_iread(path, file_format), source=printable(path.name)))


def stream_frames(
    path: str | Path, *, max_atoms: int, file_format: str | None = None
) -> Iterator[Frames]:
    """Read a file piece by piece, each frame as it is.

    Unlike `read_frames` it lets NaN pass, and a label that only some frames have is empty for the
    others: who analyses frames one by one can name the one that is bad. A piece ends where the
    atoms change, or the kinds of values that frames carry. Memory holds one piece where ASE's
    reader gives frame after frame (extxyz, traj, …); some of its readers hold the whole file.

    Args:
        path: The file.
        max_atoms: Largest piece, in atoms of all its frames.
        file_format: ASE's name of the format where the file name does not tell it.

    Raises:
        DataError: no such file, not a frame file, or truncated.
    """
    path = Path(path)
    file_format = _checked_format(path, file_format)
    group: list[Atoms] = []
    first, kind = 0, None
    source = printable(path.name)
    for index, atoms in enumerate(_iread(path, file_format)):
        full = (len(group) + 1) * len(atoms) > max_atoms
        last, kind = kind, _kind(atoms, texts=False)
        if group and (full or kind != last):
            yield frames_from_ase(group, source=source, first_index=first, strict=False)
            group, first = [], index
        group.append(atoms)
    yield frames_from_ase(group, source=source, first_index=first, strict=False)


def count_frames(path: str | Path, *, file_format: str | None = None) -> int:
    """Number of frames in a file; formats other than extxyz and traj are read for it.

    Raises:
        DataError: no such file, not a frame file, or truncated.
    """
    path = Path(path)
    file_format = _checked_format(path, file_format)
    count: int | None = None
    if file_format in {"extxyz", "xyz"} or path.suffix in {".xyz", ".extxyz"}:
        count = _count_xyz(path)
    elif file_format == "traj" or path.suffix == ".traj":
        with contextlib.suppress(*_READ_ERRORS), Trajectory(path) as trajectory:
            count = len(trajectory)
    return count or sum(1 for _ in _iread(path, file_format))


def _count_xyz(path: Path) -> int | None:
    """Frames by the number of atoms that heads each, or None where that is not a number."""
    count = 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            if not line.split()[0].isdigit():
                return None
            n_lines = int(line.split()[0]) + 1
            if sum(1 for _ in itertools.islice(file, n_lines)) < n_lines:
                return None
            count += 1
    return count


def _checked_format(path: Path, file_format: str | None) -> str | None:
    """ASE's name of the format, or None to let it find out; only for a file that is whole."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}; give a file of frames that ASE reads")
    if file_format is not None and file_format not in ase.io.formats.ioformats:
        near = near_names(file_format, ase.io.formats.ioformats)
        hint = f"did you mean {' or '.join(near)}?" if near else "`ase info --formats` lists them"
        raise DataError(f"ASE knows no format {file_format!r}; {hint}")
    if path.suffix in {".xyz", ".extxyz"}:
        _check_last_line(path)
    return _FORMATS.get(path.suffix) if file_format is None else file_format


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


def _kind(atoms: Atoms, *, texts: bool = True) -> tuple[Any, ...]:
    """What must agree for two structures to stand in one `Frames`."""
    kind = (
        atoms.numbers.tobytes(),
        atoms.pbc.tobytes(),
        atoms.get_masses().tobytes(),
        tuple(sorted(_results(atoms))),
        atoms.has("momenta"),
        tuple(key in atoms.info for key in _ARRAY_KEYS),
    )
    if not texts:
        return kind
    set_texts = tuple(str(atoms.info.get(key)) for key in sorted(_SET_KEYS))
    return (*kind, tuple(sorted(_texts(atoms))), set_texts)


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
    atoms: Atoms | Sequence[Atoms],
    *,
    source: str = "memory",
    first_index: int = 0,
    strict: bool = True,
) -> Frames:
    """See `Frames.from_ase`; `first_index` numbers the first structure in its source.

    Without `strict`, NaN and labels that only some structures have are let pass; the atoms and
    kinds of values must be known to agree.
    """
    structures = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not structures:
        raise DataError(f"no structures in {source}; wanted at least one")
    first = structures[0]
    for index, other in enumerate(structures[1:], start=1):
        if strict and _kind(other) != _kind(first):
            raise DataError(
                f"structure {first_index + index} of {source} holds other atoms or other kinds "
                "of values than the first; read them as separate `Frames`"
            )
    results = [_results(structure) for structure in structures]
    words = [_texts(structure) for structure in structures]
    texts = set().union(*words)
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
        labels={key: tuple(w.get(key, "") for w in words) for key in sorted(texts - _SET_KEYS)},
        info={key: words[0].get(key, "") for key in sorted(texts & _SET_KEYS)},
        source=source,
        source_index=np.arange(first_index, first_index + len(structures)),
    )
    if strict:
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
