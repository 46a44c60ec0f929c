"""From numbers of the analysis room to measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from zifbench.analysis.combine import Value
from zifbench.analysis.observation import Observable, Observation, Series, Settings
from zifbench.analysis.runs import RunResult
from zifbench.benchmark.result import Measurement, Published
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames
from zifbench.units import AMU_A2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K

TOO_FEW = "too few independent samples: the interval is too narrow"
TOO_SHORT = "the run is too short for this number"


def kinetic_energy_eV(frames: Frames) -> FloatArray:
    """Kinetic energy of each frame, shape (T,).

    Raises:
        NotDefinedError: frames without velocities.
    """
    if frames.velocities is None:
        raise NotDefinedError(f"no velocities in {frames.where(0)}")
    squares = np.einsum("a,tai,tai->t", frames.masses, frames.velocities, frames.velocities)
    return np.asarray(0.5 * AMU_A2_PER_FS2_IN_EV * squares, dtype=np.float64)


def temperature(frames: Frames, settings: Settings) -> Observation:
    """Kinetic temperature of each frame; the centre of mass is at rest."""
    freedom = 3 * frames.n_atoms - 3
    values = 2.0 * kinetic_energy_eV(frames) / (freedom * BOLTZMANN_EV_PER_K)
    return Observation({"temperature": Series("Temperature", "K", values)})


TEMPERATURE = Observable("temperature from the velocities", temperature)


@dataclass(frozen=True)
class Wanted:
    """A number of the analysis room that is a measurement.

    Attributes:
        observable: Line of the table of observables.
        key: Of its value.
        quantity: What the measurement is called.
    """

    observable: str
    key: str
    quantity: str


def measurements(
    wanted: Sequence[Wanted],
    found: RunResult,
    *,
    subset: Mapping[str, str],
    beside: Mapping[str, list[Published]],
    note: str | None = None,
) -> tuple[list[Measurement], list[str]]:
    """What there is of the wanted numbers, and why the rest is not there.

    Args:
        wanted: Which.
        found: What the observables say.
        subset: What the measurements are restricted to.
        beside: Quantity -> numbers to compare it with.
        note: Said of each of them.
    """
    kept, gaps = [], []
    for one in wanted:
        if one.observable in found.failed:
            gaps.append(f"{one.quantity.replace('_', ' ')}: {found.failed[one.observable]}")
            continue
        value = found.found[one.observable].values.get(one.key)
        if value is None:
            continue
        kept.append(
            measurement(one.quantity, value, subset, beside.get(one.quantity, []), note=note)
        )
    for name in dict.fromkeys(one.observable for one in wanted):
        if name in found.found:
            gaps += found.found[name].gaps
    return kept, list(dict.fromkeys(gaps))


def measurement(
    quantity: str,
    value: Value,
    subset: Mapping[str, str],
    beside: Sequence[Published] = (),
    *,
    note: str | None = None,
) -> Measurement:
    """One number with all that is to be said of it."""
    notes = [
        value.note,
        TOO_FEW if value.reliable is False and value.interval_95 is not None else None,
        TOO_SHORT if value.long_enough is False else None,
        note,
    ]
    return Measurement(
        quantity=quantity,
        value=value.value,
        unit=value.unit,
        subset=dict(subset),
        interval_95=value.interval_95,
        n=value.n,
        n_of="runs" if value.n_of == "files" else value.n_of,
        beside=list(beside),
        note="; ".join(text for text in notes if text) or None,
    )


# Numbers whose scatter between glasses is of interest -> quantity.
_SCATTER = (
    Wanted("coordination", "zn_n", "coordination_scatter"),
    Wanted("pores", "pore_volume", "pore_volume_scatter"),
)
_MIN_RUNS = 3


def scatter_between(
    found: RunResult, reference: RunResult | None, system: str
) -> list[Measurement]:
    """Standard deviation between runs, with the interval of normal data, beside the reference's."""
    kept = []
    for one in _SCATTER:
        value = value_of(found, one)
        if value is None or value.scatter is None or value.n_of != "files" or value.n < _MIN_RUNS:
            continue
        other = None if reference is None else value_of(reference, one)
        # The reference has one frame of each, which holds what a frame differs from its mean, too.
        within = np.mean([row.values.var() for row in found.found[one.observable].series[one.key]])
        scatter = float(np.sqrt(value.scatter**2 + within))
        freedom = value.n - 1
        low, high = (
            float(scatter * np.sqrt(freedom / scipy.stats.chi2.ppf(q, freedom)))
            for q in (0.975, 0.025)
        )
        beside = []
        if other is not None and other.scatter is not None:
            about = f"{other.n} structures, one frame each"
            beside = [Published(value=other.scatter, model="AIMD", source=about)]
        kept.append(
            Measurement(
                quantity=one.quantity,
                value=scatter,
                unit=value.unit,
                subset={"system": system},
                interval_95=(low, high),
                n=value.n,
                n_of="runs",
                beside=beside,
                note="as of one frame of each run",
            )
        )
    return kept


def value_of(found: RunResult, one: Wanted) -> Value | None:
    """The number, or None where it could not be had."""
    if one.observable not in found.found:
        return None
    return found.found[one.observable].values.get(one.key)
