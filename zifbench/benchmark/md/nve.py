"""Does a candidate conserve energy? The drift of the total energy without a thermostat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from zifbench.analysis.timeseries import autocorrelation_time, student_quantile
from zifbench.benchmark.md.figures import draw_energy
from zifbench.benchmark.md.numbers import TOO_FEW, kinetic_energy_eV
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.result import Measurement
from zifbench.benchmark.run import Run
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray
from zifbench.units import MEV_PER_EV

_STAGE = "measure"
_FS_PER_PS = 1000.0
_MIN_SAMPLES = 4.0  # independent ones, for the error of a straight line


@dataclass(frozen=True)
class Drift:
    """A straight line through a series that fluctuates about it.

    Attributes:
        slope: In the unit of the series a unit of time.
        interval_95: Of the slope; None where the series is too short for its error.
        scatter: Standard deviation about the line.
        n_independent: Independent samples behind the error.
    """

    slope: float
    interval_95: tuple[float, float] | None
    scatter: float
    n_independent: float


def drift(time: FloatArray, values: FloatArray) -> Drift:
    """Slope of a series by least squares, with the error of correlated residuals.

    The variance of the slope is that of independent residuals times 2 tau, their integrated
    autocorrelation time in samples.

    Args:
        time: Evenly spaced, shape (T,).
        values: Shape (T,).

    Raises:
        NotDefinedError: fewer than three samples.
    """
    if len(time) < 3:
        raise NotDefinedError(f"drift: {len(time)} samples, wanted at least 3")
    centred = time - time.mean()
    slope = float(centred @ values / (centred @ centred))
    residual = values - values.mean() - slope * centred
    n, freedom = len(time), len(time) - 2
    scatter = math.sqrt(float(residual @ residual) / freedom)
    if not np.ptp(residual) > 0.0:
        return Drift(slope, (slope, slope), scatter, float(n))
    known = autocorrelation_time(residual).effective_samples
    if known < _MIN_SAMPLES:
        return Drift(slope, None, scatter, known)
    error = scatter / math.sqrt(float(centred @ centred)) * math.sqrt(n / known)
    reach = student_quantile(known - 2.0, 0.95) * error
    return Drift(slope, (slope - reach, slope + reach), scatter, known)


def score_nve(simulation: Simulation, run: Run) -> Score:
    """Drift of the total energy per atom; fluctuations about it."""
    score = Score([simulation.completion("crystal")])
    if not simulation.completed:
        score.gaps.append("energy drift: no run came to its end")
        return score
    frames = simulation.source(simulation.completed[0], _STAGE).trajectory.read(
        slice(None), fields=("energy", "velocities", "time_fs")
    )
    if frames.energy is None or frames.time_fs is None:
        raise NotDefinedError(f"no energy or no time in {frames.where(0)}")
    time_ps = frames.time_fs / _FS_PER_PS
    total = (frames.energy + kinetic_energy_eV(frames)) * MEV_PER_EV / frames.n_atoms
    found = drift(time_ps, total)
    make = partial(Measurement, subset={"system": "crystal"}, n=len(frames), n_of="frames")
    score.measurements += [
        make(
            quantity="energy_drift",
            value=found.slope,
            unit="meV/atom/ps",
            interval_95=found.interval_95,
            reference="0, a conserved energy",
            note=TOO_FEW if found.interval_95 is None else None,
        ),
        make(quantity="energy_fluctuation", value=found.scatter, unit="meV/atom"),
    ]
    score.pictures["Total energy without a thermostat"] = draw_energy(
        time_ps, total - total.mean(), found.slope, name=run.potential.card.name
    )
    return score


NVE = MdTask("nve", "nve", score_nve)
