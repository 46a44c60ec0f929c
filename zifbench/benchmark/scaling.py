"""Scaling: what a step of MD costs against the number of atoms, one cell to 5 × 5 × 5.

A step is neighbour list, model and integrator, as a simulation pays for them. Each size has its own
warm-up. Where memory ends, or time, the larger sizes are left out and that is said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from zifbench.analysis.timeseries import student_quantile
from zifbench.benchmark.result import Measurement, TaskResult
from zifbench.benchmark.run import SCALING_CELLS, Run
from zifbench.benchmark.speed import busy_machine, median_interval, memory_measurements
from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.protocol import Ensemble
from zifbench.dynamics.replica import Replica
from zifbench.errors import OutOfMemoryError
from zifbench.frames import FloatArray
from zifbench.units import US_PER_S

_WARM_UP_STEPS = 2
_STEP_FS = 0.5
_MOST_S = 600.0  # a size that would take longer is left out
_MIN_SIZES = 3  # two unknowns and one size to contradict them


def run_scaling(run: Run) -> TaskResult:
    """Time MD steps of the first frame of the run, in supercells of it."""
    begun = time.perf_counter()
    cells, n_steps = SCALING_CELLS[run.profile]
    cell = run.data[0][0].to_ase()[0]
    calculator = PotentialCalculator(run.potential, stress=False)
    timed: list[Timed] = []
    measurements: list[Measurement] = []
    gaps = busy_machine()
    with run.progress("scaling", len(cells)) as advance:
        for repeat in cells:
            n_atoms = len(cell) * int(np.prod(repeat))
            wanted_s = timed[-1].seconds.max() * n_atoms / timed[-1].n_atoms if timed else 0.0
            wanted_s *= n_steps + _WARM_UP_STEPS
            advance(1)
            if wanted_s > _MOST_S:
                gaps.append(
                    f"{n_atoms} atoms: left out, {wanted_s / 60.0:.0f} minutes are too long"
                )
                continue
            try:
                seconds = time_steps(cell.repeat(repeat), calculator, n_steps)
            except OutOfMemoryError as error:
                gaps.append(f"{n_atoms} atoms: {error}")
                break
            timed.append(Timed(n_atoms, seconds))
            measurements += _of_size(timed[-1], run.potential.device)
    return TaskResult(
        task="scaling",
        measurements=[*measurements, *_exponent(timed)],
        gaps=gaps,
        settings={"steps": n_steps, "warm_up": _WARM_UP_STEPS, "frame": run.data[0].where(0)},
        wall_s=time.perf_counter() - begun,
    )


@dataclass(frozen=True)
class Timed:
    """Seconds of each step of a system, shape (n,)."""

    n_atoms: int
    seconds: FloatArray


def time_steps(atoms: Atoms, calculator: PotentialCalculator, n_steps: int) -> FloatArray:
    """Seconds of each of `n_steps` steps at 300 K, after a warm-up; shape (n_steps,)."""
    atoms.calc = calculator
    n = _WARM_UP_STEPS + n_steps
    segment = Segment("scaling", Ensemble.NVT, n, _STEP_FS, (300.0, 300.0), None, 0.0, None)
    replica = Replica(atoms, (segment,), Damping(100.0, 1000.0), (0, 0))
    seconds = []
    for _ in range(n):
        begun = time.perf_counter()
        replica.advance()
        seconds.append(time.perf_counter() - begun)
    return np.array(seconds[_WARM_UP_STEPS:])


def _of_size(timed: Timed, device: str) -> Iterator[Measurement]:
    per_atom = timed.seconds * US_PER_S / timed.n_atoms
    yield Measurement(
        quantity="time_per_step",
        value=float(np.median(per_atom)),
        unit="µs/atom",
        subset={"atoms": str(timed.n_atoms)},
        interval_95=median_interval(per_atom),
        n=len(per_atom),
        n_of="steps",
    )
    yield from memory_measurements(timed.n_atoms, device)


def _exponent(timed: list[Timed]) -> Iterator[Measurement]:
    """B of time ∝ Nᵇ by least squares of the logarithms, with Student's interval."""
    if len(timed) < _MIN_SIZES:
        return
    x = np.log([size.n_atoms for size in timed])
    y = np.log([np.median(size.seconds) for size in timed])
    slope, intercept = np.polyfit(x, y, 1)
    free = len(timed) - 2
    misfit = float(((y - intercept - slope * x) ** 2).sum()) / free
    error = np.sqrt(misfit / ((x - x.mean()) ** 2).sum()) * student_quantile(free, 0.95)
    yield Measurement(
        quantity="time_exponent",
        value=float(slope),
        unit="",
        interval_95=(float(slope - error), float(slope + error)),
        n=len(timed),
        n_of="sizes",
        note="of the time of a step against the number of atoms; 1 is linear",
    )
