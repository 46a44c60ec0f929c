"""Does a candidate conserve energy? The drift of the total energy without a thermostat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from zifbench.analysis.timeseries import (
    BLOCK_FACTOR,
    MAX_BLOCKS,
    MIN_BLOCKS,
    autocorrelation_time,
    block_edges,
    student_quantile,
)
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
_MIN_SAMPLES = 3  # of a straight line
_ROUNDING = 1.0e-12


@dataclass(frozen=True)
class Drift:
    """A straight line through a series that fluctuates about it.

    Attributes:
        slope: In the unit of the series a unit of time.
        interval_95: Of the slope; None where the series is too short for its error.
        scatter: Standard deviation about the line.
        reliable: Whether the blocks behind the interval are long enough.
    """

    slope: float
    interval_95: tuple[float, float] | None
    scatter: float
    reliable: bool


def drift(time: FloatArray, values: FloatArray) -> Drift:
    """Slope of a series by least squares, with an error from blocks of its residuals.

    Var(slope) = B/(B - 2) Σ_b z_b² / (Σ_t x_t²)², z_b the sum of x_t times the residual over block
    b and x the time from its mean: the residuals within a block may be correlated in any way.
    Blocks are of ten autocorrelation times, at least eight and at most 32 of them.

    Args:
        time: Evenly spaced, shape (T,).
        values: Shape (T,).

    Raises:
        NotDefinedError: fewer than three samples.
    """
    n = len(time)
    if n < _MIN_SAMPLES:
        raise NotDefinedError(f"drift: {n} samples, wanted at least {_MIN_SAMPLES}")
    centred = time - time.mean()
    norm = float(centred @ centred)
    slope = float(centred @ values / norm)
    residual = values - values.mean() - slope * centred
    scatter = math.sqrt(float(residual @ residual) / (n - 2))
    if scatter <= _ROUNDING * float(np.abs(values).max()):
        return Drift(slope, (slope, slope), scatter, reliable=True)
    if n < 2 * MIN_BLOCKS:
        return Drift(slope, None, scatter, reliable=False)
    wanted = int(n / (BLOCK_FACTOR * autocorrelation_time(residual).tau))
    n_blocks = max(MIN_BLOCKS, min(wanted, MAX_BLOCKS))
    sums = np.add.reduceat(centred * residual, block_edges(n, n_blocks)[:-1])
    error = math.sqrt(n_blocks / (n_blocks - 2) * float(sums @ sums)) / norm
    reach = student_quantile(n_blocks - 2, 0.95) * error
    return Drift(slope, (slope - reach, slope + reach), scatter, reliable=wanted >= MIN_BLOCKS)


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
            note=None if found.reliable else TOO_FEW,
        ),
        make(quantity="energy_fluctuation", value=found.scatter, unit="meV/atom"),
    ]
    score.pictures["Total energy without a thermostat"] = draw_energy(
        time_ps, total - total.mean(), found.slope, name=run.potential.card.name
    )
    return score


NVE = MdTask("nve", "nve", score_nve)
