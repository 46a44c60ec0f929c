"""Structure of a candidate beside that of reference structures, by the same estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from zifbench.analysis.meters import FileResult, FrameSource, MemorySource, measure
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Curve, Observable, Settings
from zifbench.analysis.runs import Run as AnalysedRun
from zifbench.analysis.runs import RunResult, put_together
from zifbench.benchmark.md.distances import (
    Distance,
    paired_distance,
    paired_error,
    unpaired_distance,
)
from zifbench.benchmark.md.figures import draw_structure
from zifbench.benchmark.md.numbers import (
    TEMPERATURE,
    Wanted,
    measurements,
    scatter_between,
    value_of,
)
from zifbench.benchmark.md.simulation import Score, Simulation
from zifbench.benchmark.references import published
from zifbench.benchmark.result import Measurement, Published
from zifbench.benchmark.run import Run
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray
from zifbench.reports.sources import StoredTrajectory

_STAGE = "measure"  # of the protocols whose runs are compared
_LINES = (
    "coordination",
    "rdf",
    "pmf",
    "angles",
    "rings",
    "linkers",
    "pores",
    "pressure",
)
CHOSEN: dict[str, Observable] = {name: OBSERVABLES[name] for name in _LINES} | {
    "temperature": TEMPERATURE
}
# A single structure has no velocities and no stress of the reference method.
_OF_STRUCTURES = {name: CHOSEN[name] for name in CHOSEN if name not in {"temperature", "pressure"}}
_DISTRIBUTIONS = ("rdf", "angles")
_WANTED = (
    Wanted("coordination", "zn_n", "coordination"),
    Wanted("angles", "n_zn_n_mean", "n_zn_n_angle"),
    Wanted("pmf", "zn_n_barrier", "barrier"),
    Wanted("rings", "rings", "rings"),
    Wanted("linkers", "broken", "broken_linkers"),
    Wanted("pores", "pore_volume", "pore_volume"),
    Wanted("temperature", "temperature", "temperature"),
    Wanted("pressure", "pressure", "pressure"),
)
# Curve of the analysis room -> (quantity, its name for people, unit of its abscissa).
_DISTANCES: dict[tuple[str, str], tuple[str, str, str]] = {
    ("rdf", "zn_n_g"): ("rdf_w1", "Zn–N", "Å"),
    ("rdf", "zn_zn_g"): ("rdf_w1", "Zn–Zn", "Å"),
    ("rdf", "n_n_g"): ("rdf_w1", "N–N", "Å"),
    ("angles", "n_zn_n"): ("angle_w1", "N–Zn–N", "°"),
}
# Observable, series, quantity of the differences from single reference structures.
_ERRORS = (
    ("coordination", "zn_n", "coordination_error"),
    ("rings", "rings", "rings_error"),
    ("pores", "pore_volume", "pore_volume_error"),
)
_TOO_FEW = (
    "too few independent samples: the interval is too narrow and the noise floor a lower limit"
)
_TOLERATED = 0.1  # of the temperature: twice its scatter in one frame of 272 atoms
_SINGLES = 64  # frames of a run that are looked at alone, for the noise floor


@dataclass(frozen=True)
class Compared:
    """What candidate and reference say.

    Attributes:
        measurements: All numbers.
        gaps: What could not be had.
        candidate: Numbers and curves of the candidate.
        reference: The same of the reference structures; None without any.
    """

    measurements: list[Measurement]
    gaps: list[str]
    candidate: RunResult
    reference: RunResult | None


@dataclass(frozen=True)
class Reference:
    """Structures to compare with.

    Attributes:
        sources: One structure each; none where only published numbers are to compare with.
        about: What they are, for people.
        state: Of published numbers, as in the tables.
        paired: Whether each run began from the structure at the same place.
        thermal: Whether they stand for the reference at the same temperature; a distance from
            others is for information only, and how they scatter says nothing.
        model: What they were made with.
    """

    sources: tuple[FrameSource, ...]
    about: str
    state: str
    paired: bool
    thermal: bool
    model: str = "AIMD"


def score_structure(
    score: Score, simulation: Simulation, run: Run, reference: Reference
) -> RunResult | None:
    """Add to a score what `compare` finds of the runs that came to their end, and its pictures.

    Returns:
        Numbers and curves of the candidate; None where there is nothing to measure.
    """
    completed, kelvin = simulation.completed, simulation.temperature_K(_STAGE)
    if not completed or kelvin is None:
        score.gaps.append("structure: no run came to its end")
        return None
    sources = [simulation.source(replica, _STAGE) for replica in completed]
    found = compare(sources, reference, temperature_K=kelvin, seed=run.seed, system=reference.state)
    score.measurements += found.measurements
    if reference.thermal:
        score.measurements += scatter_between(found.candidate, found.reference, reference.state)
    score.gaps += [*found.gaps, *_broken_anywhere(found.candidate)]
    score.pictures = draw_structure(
        run.potential.card.name, found.candidate, reference.about, found.reference
    )
    return found.candidate


def compare(
    sources: Sequence[StoredTrajectory],
    reference: Reference,
    *,
    temperature_K: float,
    seed: int,
    system: str,
) -> Compared:
    """Numbers, distances and curves of a candidate's runs beside the reference.

    Args:
        sources: Completed runs at one temperature, each counting the same.
        reference: What they are compared with.
        temperature_K: Of the thermostat.
        seed: Of bootstrap and draws.
        system: Names the system in the measurements.
    """
    settings = Settings(temperature_K=temperature_K, seed=seed)
    results = [measure(source, CHOSEN, settings) for source in sources]
    own = put_together(AnalysedRun("candidate", tuple(sources)), results, CHOSEN, settings)
    against = [measure(source, _OF_STRUCTURES, settings) for source in reference.sources]
    run = AnalysedRun("reference", reference.sources, reference=True)
    other = put_together(run, against, _OF_STRUCTURES, settings) if against else None
    beside = _beside(reference, other, temperature_K)
    found, gaps = measurements(_WANTED, own, subset={"system": system}, beside=beside)
    if reference.paired and reference.thermal:
        found += _errors(results, against, reference, system, seed)
    gaps += _not_at_temperature(found, temperature_K)
    singles = [_singles(source, settings) for source in sources] if reference.paired else []
    for (observable, key), (quantity, pair, unit) in _DISTANCES.items() if against else ():
        try:
            distance = _distance(
                [_curve(result, observable, key) for result in results],
                [_curve(result, observable, key).y for result in against],
                [_blocks(result, observable, key) for result in singles],
                reference,
                seed,
            )
        except NotDefinedError as error:
            gaps.append(f"distance of the {pair} distributions: {error}")
            continue
        subset = {"system": system, "pair": pair}
        found += _as_measurements(distance, quantity, unit, subset, reference, len(sources))
    return Compared(found, gaps, own, other)


def _errors(
    results: Sequence[FileResult],
    against: Sequence[FileResult],
    reference: Reference,
    system: str,
    seed: int,
) -> list[Measurement]:
    """Differences of single numbers from those of the structures that the runs began from."""
    made = []
    for observable, key, quantity in _ERRORS:
        if any(observable in result.failed for result in (*results, *against)):
            continue  # said already where the number itself is missing
        series = [result.found[observable].series[key] for result in results]
        expected = [result.found[observable].series[key].values.mean() for result in against]
        value, ends, floor, reliable = paired_error(
            [one.values for one in series], expected, seed=seed
        )
        made.append(
            Measurement(
                quantity=quantity,
                value=value,
                unit=series[0].unit,
                subset={"system": system},
                interval_95=ends,
                n=len(series),
                n_of="runs",
                reference=reference.about,
                noise_floor=floor,
                note=None if reliable else _TOO_FEW,
            )
        )
    return made


def _distance(
    candidate: Sequence[Curve],
    against: Sequence[FloatArray],
    singles: Sequence[FloatArray],
    reference: Reference,
    seed: int,
) -> Distance:
    if reference.paired:
        return paired_distance(candidate, against, singles, seed=seed)
    return unpaired_distance(candidate, against, seed=seed)


def _as_measurements(
    distance: Distance,
    quantity: str,
    unit: str,
    subset: Mapping[str, str],
    reference: Reference,
    n: int,
) -> list[Measurement]:
    """The distance in its unit, and divided by the width of the reference."""
    notes = [
        None if reference.thermal else "for information: the reference is no thermal average",
        _TOO_FEW if distance.reliable is False else None,
    ]
    width = distance.reference_spread
    make = partial(
        Measurement,
        subset=dict(subset),
        n=n,
        n_of="runs",
        reference=reference.about,
        note="; ".join(text for text in notes if text) or None,
    )
    ends, floor = distance.interval_95, distance.noise_floor
    return [
        make(
            quantity=quantity, value=distance.value, unit=unit, interval_95=ends, noise_floor=floor
        ),
        make(
            quantity=f"{quantity}_relative",
            value=distance.value / width,
            unit="",
            interval_95=None if ends is None else (ends[0] / width, ends[1] / width),
            noise_floor=None if floor is None else floor / width,
        ),
    ]


def _beside(
    reference: Reference, found: RunResult | None, temperature_K: float
) -> dict[str, list[Published]]:
    """Published numbers, and those of the reference structures by our own estimators."""
    units = {"pressure": "GPa", "pore_volume": "cm³/kg", "barrier": "kJ/mol"}
    table = {
        quantity: published(
            quantity, reference.state, units.get(quantity, ""), models=("AIMD", "NequIP")
        )
        for quantity in ("coordination", "pore_volume", "pressure", "barrier")
    }
    for one in _WANTED if found is not None else ():
        value = None if found is None else value_of(found, one)
        if value is None or one.quantity == "barrier":  # of one frame it means nothing
            continue
        own = Published(
            value=value.value,
            error=value.scatter,
            model=reference.model,
            method="same estimator",
            source=reference.about,
            note="± is the standard deviation between them" if value.scatter is not None else None,
        )
        table.setdefault(one.quantity, []).insert(0, own)
    target = Published(value=temperature_K, model="thermostat", source="the protocol")
    return table | {"temperature": [target]}


def _not_at_temperature(found: Sequence[Measurement], temperature_K: float) -> list[str]:
    """A run that is not as hot as it should be has not been equilibrated, or has no thermostat."""
    kelvin = next((m.value for m in found if m.quantity == "temperature"), temperature_K)
    if abs(kelvin - temperature_K) <= _TOLERATED * temperature_K:
        return []
    return [
        f"the mean temperature is {kelvin:.0f} K, not {temperature_K:g} K: too short a run for its "
        "thermostat, and all numbers are those of another temperature"
    ]


def _singles(source: StoredTrajectory, settings: Settings) -> FileResult:
    """Distributions of single frames, evenly spread over the run."""
    n = source.n_frames
    rows = np.unique(np.linspace(0, n - 1, min(n, _SINGLES)).round().astype(int))
    frames = source.trajectory.read(rows.tolist(), fields=())
    chosen = {name: CHOSEN[name] for name in _DISTRIBUTIONS}
    return measure(MemorySource((frames,)), chosen, settings)


def _curve(result: FileResult, observable: str, key: str) -> Curve:
    if observable in result.failed:
        raise NotDefinedError(result.failed[observable])
    if key not in result.found[observable].curves:
        raise NotDefinedError("not all frames give it")
    return result.found[observable].curves[key]


def _blocks(result: FileResult, observable: str, key: str) -> FloatArray:
    blocks = _curve(result, observable, key).blocks
    if blocks is None:
        raise NotDefinedError("no single frames")
    return blocks


def _broken_anywhere(found: RunResult) -> list[str]:
    """What happened to linkers, in words, the first of it."""
    if "linkers" not in found.found:
        return []
    events = found.found["linkers"].events
    more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
    return [f"linkers: {events[0]}{more}"] if events else []
