"""CP2K MD output: positions, forces, velocities, cell, stress and energies, joined on the step.

What is stored: Å, eV, eV/Å, Å/fs; energy is the potential energy; stress is the potential part,
tension positive, in eV/Å³. CP2K's `.stress` is the pressure with the kinetic (ideal gas) part:

- with velocities, Σ m v_a v_b / V is taken off all nine components;
- without, 2 Kin/3V is taken off the diagonal. The mean pressure is then exact; deviator and
  off-diagonals keep a kinetic scatter of mean zero (0.08 GPa for ZIF-4 at 1500 K). They stay in the
  store, since their time averages are right and cannot be had back once dropped, and the attribute
  `stress_components` says that scores frame by frame must leave them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zifbench.dataset.ingest.cp2k_checks import (
    BRANCH_CELL_A,
    BRANCH_HARTREE,
    Run,
    check_files,
    check_mechanics,
    check_thermostat,
    kinetic_tensor,
    time_step_fs,
    velocity_mismatch,
)
from zifbench.dataset.ingest.cp2k_files import XYZ_KINDS, find_md_files
from zifbench.dataset.ingest.cp2k_frames import FrameFile, index_frames
from zifbench.dataset.ingest.cp2k_inputs import RunInput, element_of, mass_of, read_inputs
from zifbench.dataset.ingest.cp2k_table import Table, read_table
from zifbench.dataset.ingest.join import Joined, Rows, join_on_step
from zifbench.dataset.ingest.source import Check, IngestReport, Options, ranges
from zifbench.errors import DataError
from zifbench.files import printable
from zifbench.frames import MEAN_STRESS_ONLY, FloatArray, Frames, IntArray
from zifbench.units import (
    BAR_IN_EV_PER_A3,
    BOHR_PER_AU_TIME_IN_A_PER_FS,
    HARTREE_EV,
    HARTREE_PER_BOHR_IN_EV_PER_A,
)

ALL_COMPONENTS = "all"
_SAME_TEMPERATURE_K = 0.5
_WANTED = ("forces", "stress")  # what potentials are trained on
_HASH_ROWS = 1 << 16
_CHUNK_BYTES = 1 << 23  # text of one file that is read at once
_UNITS = {
    "positions": 1.0,
    "forces": HARTREE_PER_BOHR_IN_EV_PER_A,
    "velocities": BOHR_PER_AU_TIME_IN_A_PER_FS,
}
_FORCE_UNITS = (None, "HARTREE*BOHR^-1", "HARTREE/BOHR", "INTERNAL_CP2K", "AU_F")


class Cp2kMdSource:
    """The output directory of one run."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options

    def trajectories(self) -> list[Cp2kMdTrajectory]:
        """The run; everything but the numbers of the atoms is read and checked here.

        Raises:
            DataError: files that do not fit together, with the step at fault.
        """
        return [open_run(self._path, self._options)]


@dataclass(frozen=True)
class Cp2kMdTrajectory:
    """One run, joined and checked; see `zifbench.dataset.ingest.source.SourceTrajectory`."""

    name: str
    attributes: Mapping[str, Any]
    report: IngestReport
    fingerprint: str
    run: Run
    numbers: IntArray
    masses: FloatArray
    frame_files: Mapping[str, FrameFile]
    rows: Mapping[str, IntArray]
    time_fs: FloatArray
    options: Options
    exact: bool = False
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """Number of frames kept."""
        return len(self.run.step)

    def values(self, kind: str, frames: IntArray) -> FloatArray:
        """Positions, forces or velocities of some frames in our units, shape (frames, N, 3)."""
        values = self.frame_files[kind].read(self.rows[kind][frames])
        if _UNITS[kind] != 1.0:
            values *= _UNITS[kind]
        return values

    def chunks(self, start: int = 0) -> Iterator[Frames]:
        """All frames from `start` on; the next ones are read while these are used."""
        largest = max(int(f.size.max()) for f in self.frame_files.values())
        size = max(1, min(4096, _CHUNK_BYTES // largest))
        pieces = [
            np.arange(first, min(first + size, self.n_frames))
            for first in range(start, self.n_frames, size)
        ]
        with ThreadPoolExecutor(2) as pool:

            def ask(frames: IntArray) -> dict[str, Future[FloatArray]]:
                return {k: pool.submit(self.values, k, frames) for k in self.frame_files}

            waiting = ask(pieces[0]) if pieces else {}
            for k, piece in enumerate(pieces):
                values = {kind: job.result() for kind, job in waiting.items()}
                waiting = ask(pieces[k + 1]) if k + 1 < len(pieces) else {}
                yield self._frames(piece, values)

    def read(self, frames: IntArray) -> Frames:
        """Some frames, checked as all are."""
        return self._frames(frames, {kind: self.values(kind, frames) for kind in self.frame_files})

    def _frames(self, rows: IntArray, values: Mapping[str, FloatArray]) -> Frames:
        run = self.run
        velocities = values.get("velocities")
        return Frames(
            numbers=self.numbers,
            masses=self.masses,
            pbc=np.ones(3, dtype=bool),
            positions=values["positions"],
            cell=run.cell[rows],
            energy=run.energies["positions"][rows] * HARTREE_EV,
            forces=values.get("forces"),
            stress=self._stress(rows, velocities),
            velocities=velocities,
            step=run.step[rows],
            time_fs=self.time_fs[rows],
            info=_texts(self.attributes),
            source=run.name,
            source_index=rows,
        )

    def _stress(self, rows: IntArray, velocities: FloatArray | None) -> FloatArray | None:
        """Potential part of the stress; velocities are held against the kinetic energy here."""
        run = self.run
        tensor = None
        if velocities is not None:
            tensor = kinetic_tensor(velocities, self.masses)
            self._check_kinetic(rows, tensor)
        if run.stress_bar is None or "stress_components" not in self.attributes:
            return None
        if tensor is None and run.kinetic is not None:
            # 2 Kin/3 on the diagonal, per volume below.
            isotropic = 2.0 / 3.0 * HARTREE_EV * run.kinetic[rows]
            tensor = isotropic[:, None, None] * np.eye(3)
        if tensor is None:
            return None
        total = run.stress_bar[rows] * BAR_IN_EV_PER_A3
        stress: FloatArray = tensor / run.volume[rows, None, None] - total
        if self.attributes["stress_components"].startswith("diagonal"):
            stress[:, ~np.eye(3, dtype=bool)] = np.nan
        return stress

    def _check_kinetic(self, rows: IntArray, tensor: FloatArray) -> None:
        if self.run.kinetic is None or "velocities" in self.options.skip_checks:
            return
        wrong, ratio = velocity_mismatch(tensor, self.run.kinetic[rows])
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{self.run.name}, step {self.run.step[rows[k]]}: the velocities give "
                f"{ratio[k]:.6g} times the printed kinetic energy; other masses (deuterium: --mass "
                "H=2.014101777), or files of different runs (--skip-check velocities takes the "
                "frames all the same)"
            )


def open_run(directory: Path, options: Options) -> Cp2kMdTrajectory:
    """Index, join and check the files of one directory.

    Raises:
        DataError: files that do not fit together, with the step at fault.
    """
    files = find_md_files(directory)
    inputs = read_inputs(sorted(directory.iterdir()), options.masses)
    frame_files = {k: index_frames(files[k]) for k in XYZ_KINDS if k in files}
    tables = {k: read_table(path, k) for k, path in files.items() if k not in XYZ_KINDS}
    name = printable(str(directory))
    _check_labels(frame_files, name)
    _check_force_unit(inputs, name)
    joined = join_on_step(_rows(frame_files, tables), options.keep)
    report = _report(files, frame_files, tables, joined, inputs)
    run = _run(name, frame_files, tables, joined)
    check_files(run, report, options)
    labels = frame_files["positions"].labels
    elements = [element_of(label, inputs) for label in labels]
    masses = np.array(
        [mass_of(*pair, inputs, options.masses) for pair in zip(labels, elements, strict=True)]
    )
    target_K = _target_temperature(inputs, options, name)
    time = {**run.times, "energies": run.times.get("energies", run.times["positions"])}
    trajectory = Cp2kMdTrajectory(
        name=options.name or directory.resolve().name,
        attributes=_attributes(run, frame_files, inputs, options, report),
        report=report,
        fingerprint=_fingerprint(run, labels, masses, files, options),
        run=run,
        numbers=_numbers(elements),
        masses=masses,
        frame_files=frame_files,
        rows={kind: joined.rows[kind] for kind in frame_files},
        time_fs=time["energies"],
        options=options,
    )
    check_thermostat(run, inputs.ensemble, target_K, report, options)
    # A few frames whole, so that what is wrong everywhere is said before anything is written.
    sample = np.unique(np.linspace(0, len(run.step) - 1, 5).astype(int))
    trajectory.read(sample)
    forces = (lambda k: trajectory.values("forces", k)) if "forces" in frame_files else None
    check_mechanics(
        run,
        lambda k: trajectory.values("positions", k),
        forces,
        masses,
        target_K,
        report,
        options,
    )
    if "velocities" in frame_files and run.kinetic is not None:
        passed = None if "velocities" in options.skip_checks else True
        report.checks.append(Check("velocities", passed, wanted="Σ ½mv² is the kinetic energy"))
    return trajectory


def _numbers(elements: list[str]) -> IntArray:
    from ase.data import atomic_numbers

    return np.array([atomic_numbers[element] for element in elements], dtype=np.int64)


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    known = ("level_of_theory", "citation", "licence", "stress_components")
    return {key: str(attributes[key]) for key in known if key in attributes}


def _check_labels(frame_files: Mapping[str, FrameFile], name: str) -> None:
    wanted = frame_files["positions"].labels
    for kind, file in frame_files.items():
        if len(file.labels) != len(wanted):
            raise DataError(
                f"{name}: {len(file.labels)} atoms in {kind}, {len(wanted)} in positions; these "
                "files are not of one run"
            )
        for atom, (label, other) in enumerate(zip(file.labels, wanted, strict=True)):
            if label != other:
                raise DataError(
                    f"{name}: atom {atom} is {label} in {kind} and {other} in positions; these "
                    "files are not of one run"
                )


def _check_force_unit(inputs: RunInput, name: str) -> None:
    if (inputs.force_unit or "").upper() not in {unit or "" for unit in _FORCE_UNITS}:
        raise DataError(
            f"{name}: the input prints forces in {inputs.force_unit}, which is not read; wanted "
            "hartree/bohr, CP2K's default"
        )


def _rows(frame_files: Mapping[str, FrameFile], tables: Mapping[str, Table]) -> dict[str, Rows]:
    rows = {
        kind: Rows(printable(str(f.path)), f.step, _apart(f.energy, BRANCH_HARTREE), "energy")
        for kind, f in frame_files.items()
    }
    for kind, table in tables.items():
        name = printable(str(table.path))
        if kind == "energies":
            same = _apart(table.values[:, 2], BRANCH_HARTREE)
            rows[kind] = Rows(name, table.step, same, "energy")
        elif kind == "cell":
            same = _apart(table.values[:, :9], BRANCH_CELL_A)
            rows[kind] = Rows(name, table.step, same, "cell")
        else:
            # Passes differ by up to 1e-5 bar; nothing but the time is the same to the last digit.
            rows[kind] = Rows(name, table.step, _apart(table.time_fs, 1.0e-3), "time")
    return rows


def _apart(values: FloatArray, scale: float) -> Any:
    """Largest difference between two rows, in units of what tells a branch."""
    columns = values.reshape(len(values), -1)
    return lambda one, other: np.abs(columns[one] - columns[other]).max(axis=1) / scale


def _run(
    name: str,
    frame_files: Mapping[str, FrameFile],
    tables: Mapping[str, Table],
    joined: Joined,
) -> Run:
    everything: dict[str, FrameFile | Table] = {**frame_files, **tables}
    values = {k: _take(table.values, joined.rows[k]) for k, table in tables.items()}
    energies = values.get("energies")
    return Run(
        name=name,
        n_atoms=len(frame_files["positions"].labels),
        step=joined.step,
        times={k: _take(f.time_fs, joined.rows[k]) for k, f in everything.items()},
        energies={k: _take(f.energy, joined.rows[k]) for k, f in frame_files.items()},
        cell=_matrices(values["cell"]),
        volume=values["cell"][:, 9],
        stress_bar=_matrices(values["stress"]) if "stress" in values else None,
        kinetic=None if energies is None else energies[:, 0],
        temperature=None if energies is None else energies[:, 1],
        potential=None if energies is None else energies[:, 2],
    )


def _take(array: FloatArray, rows: IntArray) -> FloatArray:
    """Rows of an array; no copy where all are taken in order."""
    whole = len(rows) == len(array) and bool(np.all(np.diff(rows) == 1))
    if whole:
        return array
    if len(array) and array.strides[0] == 0:  # one row, seen many times
        return np.broadcast_to(array[0], (len(rows), *array.shape[1:]))
    return array[rows]


def _matrices(values: FloatArray) -> FloatArray:
    """Rows of nine values as matrices, without a copy of what stands there once."""
    if len(values) and values.strides[0] == 0:
        return np.broadcast_to(values[0, :9].reshape(3, 3), (len(values), 3, 3))
    return values[:, :9].reshape(-1, 3, 3)


def _target_temperature(inputs: RunInput, options: Options, name: str) -> float | None:
    """What the user says, or else the input; they may not contradict each other."""
    said: float | None = options.attributes.get("temperature_K")
    if said is None or inputs.temperature_K is None or "thermostat" in options.skip_checks:
        return inputs.temperature_K if said is None else said
    if abs(said - inputs.temperature_K) > _SAME_TEMPERATURE_K:
        raise DataError(
            f"{name}: {said:g} K was given, its input says {inputs.temperature_K:g} K; leave the "
            "temperature out, or give --skip-check thermostat if the input is not that of this run"
        )
    return said


def _report(
    files: Mapping[str, Path],
    frame_files: Mapping[str, FrameFile],
    tables: Mapping[str, Table],
    joined: Joined,
    inputs: RunInput,
) -> IngestReport:
    names = {kind: printable(path.name) for kind, path in files.items()}
    everything: dict[str, FrameFile | Table] = {**frame_files, **tables}
    notes = [f"{', '.join(inputs.files)} say what the input was"] if inputs.files else []
    notes += [f"no file of {kind}: the frames have none" for kind in _WANTED if kind not in files]
    return IngestReport(
        files=names,
        n_frames=len(joined.step),
        missing={names[k]: ranges(s.tolist()) for k, s in sorted(joined.missing.items())},
        duplicates={names[k]: n for k, n in sorted(joined.duplicates.items())},
        damaged=[words for file in everything.values() for words in file.damaged],
        notes=notes,
    )


def _attributes(
    run: Run,
    frame_files: Mapping[str, FrameFile],
    inputs: RunInput,
    options: Options,
    report: IngestReport,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source_format": "cp2k-md",
        "source": Path(run.name).resolve().name,  # also of `.`
        "time_step_fs": time_step_fs(run),
        "duplicates_kept": options.keep,
    }
    if inputs.ensemble:
        found["ensemble"] = inputs.ensemble
    if inputs.temperature_K is not None:
        found["temperature_K"] = inputs.temperature_K
    if inputs.version:
        found["code"] = f"CP2K {inputs.version}"
    components = _components(run, frame_files, report)
    if components:
        found["stress_components"] = components
    return {**found, **options.attributes}


def _components(run: Run, frame_files: Mapping[str, FrameFile], report: IngestReport) -> str | None:
    """What the stored stress holds; None where its kinetic part cannot be removed."""
    if run.stress_bar is None:
        return None
    if run.kinetic is None and "velocities" not in frame_files:
        report.notes.append(
            "stress left out: without .ener and velocities its kinetic part is not known"
        )
        return None
    words = ALL_COMPONENTS if "velocities" in frame_files else MEAN_STRESS_ONLY
    pairs = ((0, 1), (0, 2), (1, 2))
    if not any(run.stress_bar[:, i, j].any() for i, j in pairs):
        report.notes.append("off-diagonal stress is zero in every frame: not computed, not stored")
        words = f"diagonal only; {words}"
    return words


def _fingerprint(
    run: Run,
    labels: tuple[str, ...],
    masses: FloatArray,
    files: Mapping[str, Path],
    options: Options,
) -> str:
    """Digest of all titles and tables: a resume with other files or rules is refused."""
    digest = hashlib.sha256(repr((sorted(files), labels, options.keep)).encode())
    arrays = [run.step, masses, run.cell, run.stress_bar, run.kinetic]
    arrays += [*run.energies.values(), *run.times.values()]
    for array in arrays:
        if array is not None:
            for first in range(0, len(array), _HASH_ROWS):
                digest.update(np.ascontiguousarray(array[first : first + _HASH_ROWS]).data)
    for _, path in sorted(files.items()):
        digest.update(str(path.stat().st_size).encode())
    return digest.hexdigest()
