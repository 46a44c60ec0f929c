"""Tests of a joined CP2K run: one file against another, and the files against mechanics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.dataset.ingest.source import Check, IngestReport, Options, settle
from zifbench.frames import FloatArray, IntArray
from zifbench.units import AMU_A2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, HARTREE_EV

BRANCH_HARTREE = 1.0e-4  # thermal scatter at 300 K is 20 mHa, repeated frames agree to 1e-10
BRANCH_CELL_A = 1.0e-4
_TITLE_TIME_FS = 1.0e-3  # titles have three decimals
_POT_HARTREE = 1.0e-9
_DOF = 0.02
_VOLUME_A3 = 1.0e-6
_SYMMETRIC_BAR = 1.0e-3
_KINETIC_RELATIVE = 1.0e-4
_MOST_SPACING_FS = 1.0
_WIDE_SPACING_FS = 5.0


@dataclass(frozen=True)
class Run:
    """A joined run: what the checks look at, all of n frames.

    Attributes:
        name: The directory, for messages.
        n_atoms: Number of atoms N.
        step: Step numbers, shape (n,).
        times: File -> times in fs as it prints them, shape (n,).
        energies: xyz file -> energy of its titles in hartree, shape (n,).
        cell: Cell vectors in Å, shape (n, 3, 3).
        volume: Volumes as printed, shape (n,).
        stress_bar: Pressure tensor as printed, shape (n, 3, 3), or None.
        kinetic: Kinetic energy in hartree, shape (n,), or None.
        temperature: Temperature in K, shape (n,), or None.
        potential: Potential energy in hartree, shape (n,), or None.
    """

    name: str
    n_atoms: int
    step: IntArray
    times: Mapping[str, FloatArray]
    energies: Mapping[str, FloatArray]
    cell: FloatArray
    volume: FloatArray
    stress_bar: FloatArray | None
    kinetic: FloatArray | None
    temperature: FloatArray | None
    potential: FloatArray | None


def check_files(run: Run, report: IngestReport, options: Options) -> None:
    """One file against another, every frame.

    Raises:
        DataError: a check fails, with the step at fault.
    """
    for name, deviation, tolerance, words in _deviations(run):
        over = np.flatnonzero(~(deviation <= tolerance))
        largest = float(np.max(deviation)) if len(deviation) else 0.0
        detail = f"{len(over)} frames, first step {run.step[over[0]]}" if len(over) else ""
        check = Check(name, not len(over), largest, f"at most {tolerance:g}", detail)
        message = ""
        if len(over):
            k = over[0]
            message = (
                f"{run.name}, step {run.step[k]}: {words}, {deviation[k]:.6g} apart where "
                f"{tolerance:g} is allowed, in {len(over)} of {len(run.step)} frames; the files "
                "are not aligned or not of one run"
            )
            if name.startswith("energy") and any(report.duplicates.values()):
                other = "first" if options.keep == "last" else "last"
                message += f", or two passes of a restart are mixed: try --keep {other}"
        settle(report, check, options, message)


def _deviations(run: Run) -> Iterator[tuple[str, FloatArray, float, str]]:
    """(check, deviation of each frame, tolerance, words) of everything that can be compared."""
    first, *others = run.energies
    for other in others:
        apart = np.abs(run.energies[first] - run.energies[other])
        words = f"the energy in hartree in the titles of {first} and of {other}"
        yield f"energy-{other}", apart, 0.0, words
    if run.potential is not None:
        # Half a digit of each: the tenth decimal of the title, the ninth of the table.
        words = f"the energy in hartree in the title of {first} and in energies"
        apart = np.abs(run.energies[first] - run.potential)
        yield "energy-energies", apart, _POT_HARTREE, words
    reference = run.times[first]
    for other, time in run.times.items():
        if other != first:
            words = f"the time in fs in {first} and in {other}"
            yield f"time-{other}", np.abs(time - reference), _TITLE_TIME_FS, words
    expected = reference[0] + (run.step - run.step[0]) * time_step_fs(run)
    words = "the time in fs and the step times the time step"
    yield "time-step", np.abs(reference - expected), _TITLE_TIME_FS, words
    # The printed digits of a large cell move its volume by more.
    tolerance = max(_VOLUME_A3, 1.0e-9 * float(np.max(run.volume, initial=0.0)) ** (2 / 3))
    apart = np.abs(_determinants(run.cell) - run.volume)
    yield "volume", apart, tolerance, "the determinant of the cell in Å³ and its volume"
    if run.stress_bar is not None:
        words = "stress in bar and its transpose"
        yield "stress-symmetric", _asymmetry(run.stress_bar), _SYMMETRIC_BAR, words
    if run.kinetic is not None and run.temperature is not None:
        yield _degrees_of_freedom(run, run.kinetic, run.temperature)


def _determinants(cell: FloatArray) -> FloatArray:
    """Of each cell, computed once where all are the same row of memory."""
    if len(cell) and cell.strides[0] == 0:
        return np.full(len(cell), np.linalg.det(cell[0]))
    return np.asarray(np.linalg.det(cell))


def _asymmetry(tensor: FloatArray) -> FloatArray:
    """Largest difference of each tensor from its transpose."""
    largest = np.zeros(len(tensor))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        np.maximum(largest, np.abs(tensor[:, i, j] - tensor[:, j, i]), out=largest)
    return largest


def _degrees_of_freedom(
    run: Run, kinetic: FloatArray, temperature: FloatArray
) -> tuple[str, FloatArray, float, str]:
    """2 Kin/(k_B T) = 3N − 3 where the temperature has digits enough; catches a shifted column."""
    warm = temperature > 1.0
    wanted = 3 * run.n_atoms - 3
    dof = np.full(len(kinetic), float(wanted))
    dof[warm] = 2.0 * kinetic[warm] * HARTREE_EV / (BOLTZMANN_EV_PER_K * temperature[warm])
    words = f"2 Kin/(kB T) and the {wanted} degrees of freedom of {run.n_atoms} atoms"
    return "degrees-of-freedom", np.abs(dof - wanted), _DOF, words


def time_step_fs(run: Run) -> float:
    """Time of one MD step, from the first and the last frame; zero for a single frame."""
    time = next(iter(run.times.values()))
    if len(time) < 2:
        return 0.0
    # Three decimals over a long run give the step itself to many; it has few of its own.
    exact = (time[-1] - time[0]) / (run.step[-1] - run.step[0])
    short = round(float(exact), 4)
    return (
        short if abs(short - exact) * (run.step[-1] - run.step[0]) < 2 * _TITLE_TIME_FS else exact
    )


@dataclass(frozen=True)
class Triples:
    """Frames with their neighbours in time, for derivatives.

    Attributes:
        middle: Number of the middle frame, shape (m,).
        spacing_fs: Time between neighbours.
    """

    middle: IntArray
    spacing_fs: float


def pick_triples(run: Run, most: int) -> Triples | None:
    """At most so many evenly spread frames whose two neighbours are equally far in time."""
    spacing = np.diff(run.step)
    if len(spacing) < 2:
        return None
    step = int(np.min(spacing))
    middle = np.flatnonzero((spacing[:-1] == step) & (spacing[1:] == step)) + 1
    if not len(middle):
        return None
    chosen = middle[np.unique(np.linspace(0, len(middle) - 1, min(most, len(middle))).astype(int))]
    return Triples(chosen, step * time_step_fs(run))


def check_mechanics(
    run: Run,
    positions: Callable[[IntArray], FloatArray],
    forces: Callable[[IntArray], FloatArray] | None,
    masses: FloatArray,
    target_K: float | None,
    report: IngestReport,
    options: Options,
) -> None:
    """Velocities from positions fit the kinetic energy, accelerations the forces.

    v = (r₊ − r₋)/2Δt is the velocity of velocity Verlet itself where frames are one step apart, so
    that only the thermostat stands between Σ ½mv² and the printed value. A wrong time step, unit
    or mass (1.008 instead of 2.014 for H: −16 %) does not pass.

    Raises:
        DataError: they do not.
    """
    triples = pick_triples(run, 64)
    if triples is None or not 0 < triples.spacing_fs <= _WIDE_SPACING_FS:
        why = "no three frames in a row" if triples is None else "frames too far apart in time"
        report.checks.append(Check("kinetic-temperature", None, detail=why))
        return
    middle, dt = triples.middle, triples.spacing_fs
    before, now, after = (positions(middle + k) for k in (-1, 0, 1))
    velocity = (after - before) / (2.0 * dt)
    energy = 0.5 * AMU_A2_PER_FS2_IN_EV * np.einsum("a,tak->t", masses, velocity**2)
    wanted = _wanted_kinetic(run, middle, target_K)
    if wanted is None:
        why = "neither .ener nor a temperature says what to expect"
        report.checks.append(Check("kinetic-temperature", None, detail=why))
    else:
        _settle_kinetic(run, energy, wanted, dt, report, options)
    if forces is not None and dt <= _MOST_SPACING_FS:
        acceleration = AMU_A2_PER_FS2_IN_EV * masses[:, None] * (after - 2 * now + before) / dt**2
        _settle_forces(run, acceleration, forces(middle), report, options)


def _wanted_kinetic(run: Run, frames: IntArray, target_K: float | None) -> FloatArray | None:
    if run.kinetic is not None:
        return run.kinetic[frames] * HARTREE_EV
    if target_K is None:
        return None
    return np.full(len(frames), 0.5 * (3 * run.n_atoms - 3) * BOLTZMANN_EV_PER_K * target_K)


def _settle_kinetic(
    run: Run,
    energy: FloatArray,
    wanted: FloatArray,
    dt: float,
    report: IngestReport,
    options: Options,
) -> None:
    ratio = float(energy.mean() / wanted.mean())
    error = _standard_error(energy - ratio * wanted) / float(wanted.mean())
    low = high = 0.05 + 4.0 * error
    if dt > _MOST_SPACING_FS:
        low = 0.7  # over several fs the fastest vibrations are averaged away
    if run.kinetic is None:
        low, high = low + 0.15, high + 0.15
    passed = bool(1.0 - low <= ratio <= 1.0 + high)
    limits = f"{1.0 - low:.3g} to {1.0 + high:.3g}"
    name = "kinetic-temperature"
    check = Check(name, passed, ratio, limits, f"{len(energy)} frames, {dt:g} fs apart")
    message = (
        f"{run.name}: positions {dt:g} fs apart move as at {ratio:.3g} times the printed "
        f"temperature, wanted {limits}; the time step, the unit of the positions or the masses are "
        "not what was assumed (deuterium: --mass H=2.014101777)"
    )
    settle(report, check, options, message)


def _settle_forces(
    run: Run,
    acceleration: FloatArray,
    forces: FloatArray,
    report: IngestReport,
    options: Options,
) -> None:
    """Slope of mass × acceleration over force: one, or 51 times off where the unit is wrong."""
    square = (forces**2).sum(axis=(1, 2))
    slope = float((acceleration * forces).sum() / square.sum())
    residual = (acceleration * forces).sum(axis=(1, 2)) - slope * square
    error = _standard_error(residual) / float(square.mean())
    allowed = 0.3 + 4.0 * error
    passed = abs(slope - 1.0) <= allowed
    wanted = f"{1.0 - allowed:.3g} to {1.0 + allowed:.3g}"
    check = Check("acceleration", passed, slope, wanted, f"{len(forces)} frames")
    message = (
        f"{run.name}: mass times acceleration is {slope:.3g} times the force, wanted {wanted}; the "
        "forces are in another unit, or not of these positions"
    )
    settle(report, check, options, message)


def _standard_error(values: FloatArray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def check_thermostat(
    run: Run, ensemble: str | None, target_K: float | None, report: IngestReport, options: Options
) -> None:
    """Mean temperature against that of the thermostat; runs of a few time constants scatter.

    Raises:
        DataError: far from it.
    """
    name = "thermostat"
    if run.temperature is None or target_K is None or ensemble == "NVE":
        report.checks.append(Check(name, None, detail="no thermostat, or no temperature known"))
        return
    duration = time_step_fs(run) * float(run.step[-1] - run.step[0])
    # A thermostat of 1000 fs gives an independent temperature every 2 ps.
    independent = 1.0 + duration / 2000.0
    scatter = float(np.sqrt(2.0 / (3 * run.n_atoms - 3) / independent))
    allowed = 0.03 + 4.0 * scatter
    ratio = float(run.temperature.mean()) / target_K
    passed = abs(ratio - 1.0) <= allowed
    wanted = f"{1.0 - allowed:.3g} to {1.0 + allowed:.3g}"
    check = Check(name, passed, ratio, wanted, f"{target_K:g} K wanted")
    message = (
        f"{run.name}: the mean temperature is {ratio:.3g} times the thermostat's {target_K:g} K, "
        f"wanted {wanted}; another temperature was meant, or the run was ramped"
    )
    settle(report, check, options, message)


def kinetic_tensor(velocities: FloatArray, masses: FloatArray) -> FloatArray:
    """Σ m v_a v_b in eV of each frame, shape (T, 3, 3), from Å/fs and amu."""
    weighted = velocities * masses[:, None]
    tensor: FloatArray = AMU_A2_PER_FS2_IN_EV * np.matmul(weighted.transpose(0, 2, 1), velocities)
    return tensor


def velocity_mismatch(
    tensor: FloatArray, kinetic: FloatArray
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Frames whose Σ ½mv² is not the printed kinetic energy, and the ratio of the two.

    Args:
        tensor: Σ m v_a v_b in eV, shape (T, 3, 3).
        kinetic: Kinetic energy in hartree, shape (T,).
    """
    found = 0.5 * np.trace(tensor, axis1=1, axis2=2)
    wanted = kinetic * HARTREE_EV
    wrong = np.abs(found - wanted) > _KINETIC_RELATIVE * wanted + 2.0e-8
    return wrong, found / np.where(wanted > 0, wanted, 1.0)
