"""What a protocol will cost with a model on this machine, from a few steps of it.

Time and memory are measured on the starting cell and scaled with the number of atoms; memory is
that of the largest batch, where an engine moves replicas in batches. Frames on disk are counted
before compression. The length of a minimisation is guessed: no probe knows it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil
from ase import Atoms
from ase.calculators.calculator import Calculator

from zifbench.dynamics.engines.packing import packed
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.protocol import Ensemble, Protocol
from zifbench.dynamics.replica import Replica
from zifbench.dynamics.run import cases
from zifbench.errors import DataError
from zifbench.profiles import Profile
from zifbench.units import GIB

PROBE_STEPS, WARM_UP_STEPS = 20, 3
MINIMISATION_CALLS = 100  # the published model takes 30 to 150 from the AIMD's crystal and glasses
_ARRAYS_PER_FRAME = 2 * 3 * 4  # bytes an atom: positions and velocities as float32
_NUMBERS_PER_FRAME = 8 * (9 + 9 + 3)  # bytes: cell, stress, energy, step, time
_S_PER_HOUR = 3600.0
_UNITS_H = {"min": 1.0 / 60.0, "h": 1.0, "d": 24.0}


@dataclass(frozen=True)
class StepCost:
    """What one step of MD costs.

    Attributes:
        n_atoms: Atoms of the probed system.
        seconds: Median of a step.
        slowest_seconds: The slowest step but one in twenty.
        memory_GiB: What the probe added to the process, or took on the device.
        base_GiB: What was held before, there.
        device_GiB: What the device has; infinite for the process.
    """

    n_atoms: int
    seconds: float
    slowest_seconds: float
    memory_GiB: float
    base_GiB: float
    device_GiB: float = float("inf")


@dataclass(frozen=True)
class Forecast:
    """What a whole protocol will cost.

    Attributes:
        protocol: Its name.
        profile: How long.
        n_replicas: Systems that are run.
        n_atoms: Atoms of the largest of them.
        n_calls: Calls of the model, of all replicas together.
        hours: Of computing, one replica after the other.
        hours_at_most: Should every step be as slow as the slowest.
        memory_GiB: Of the process, or of the device, for the largest batch; where that is more
            than the device has, batches are halved, and it is no more unless one replica needs it.
        disk_GiB: Of the frames, before compression.
    """

    protocol: str
    profile: Profile
    n_replicas: int
    n_atoms: int
    n_calls: int
    hours: float
    hours_at_most: float
    memory_GiB: float
    disk_GiB: float


def probe(calculator: Calculator, start: Atoms, *, device: str = "cpu") -> StepCost:
    """Run a few steps at 300 K from `start` and time them.

    Args:
        calculator: Any ASE calculator.
        start: Structure; not changed.
        device: Where the model computes.
    """
    atoms = start.copy()
    atoms.calc = calculator
    n = WARM_UP_STEPS + PROBE_STEPS
    segment = Segment("probe", Ensemble.NVT, n, 0.5, (300.0, 300.0), None, 0.0, None)
    replica = Replica(atoms, (segment,), Damping(100.0, 1000.0), (0, 0))
    torch = sys.modules.get("torch")
    cuda = None if torch is None or not device.startswith("cuda") else torch.cuda
    held = 0
    if cuda is not None:
        cuda.reset_peak_memory_stats(device)
        held = cuda.memory_allocated(device)
    before = psutil.Process().memory_info().rss
    seconds, most = [], before
    for _ in range(n):
        begun = time.perf_counter()
        replica.advance()
        seconds.append(time.perf_counter() - begun)
        most = max(most, psutil.Process().memory_info().rss)
    timed = np.array(seconds[WARM_UP_STEPS:])
    cost = StepCost(
        n_atoms=len(atoms),
        seconds=float(np.median(timed)),
        slowest_seconds=float(np.quantile(timed, 0.95)),
        memory_GiB=(most - before) / GIB,
        base_GiB=before / GIB,
    )
    if cuda is None:
        return cost
    return replace(
        cost,
        memory_GiB=(cuda.max_memory_allocated(device) - held) / GIB,
        base_GiB=held / GIB,
        device_GiB=cuda.get_device_properties(device).total_memory / GIB,
    )


def forecast(
    protocol: Protocol,
    profile: Profile,
    starts: Mapping[str, int],
    cost: StepCost,
    *,
    replicas: int | None = None,
    at_once: int | None = None,
) -> Forecast:
    """What a protocol will cost.

    Args:
        protocol: What to run.
        profile: How long.
        starts: Atoms of each structure, supercell included.
        cost: From a probe.
        replicas: Runs of each case; by default what the protocol says.
        at_once: See `Engine.at_once`.

    Raises:
        DataError: a protocol that cannot be run; see `plan.plan`.
    """
    all_cases = cases(protocol, profile, list(starts), seed=0, replicas=replicas)
    calls, atom_calls, size = 0, 0, 0
    for case in all_cases:
        n_atoms = starts[case.start]
        of_case = sum(_calls(segment) for segment in case.segments)
        samples = sum(segment.n_samples for segment in case.segments)
        calls += of_case
        atom_calls += of_case * n_atoms
        size += samples * (_ARRAYS_PER_FRAME * n_atoms + _NUMBERS_PER_FRAME)
    largest = max(starts.values())
    batches = packed(all_cases, lambda case: starts[case.start], at_once or 0)
    batch = max(sum(starts[case.start] for case in members) for members in batches)
    alone, together = (cost.base_GiB + cost.memory_GiB * n / cost.n_atoms for n in (largest, batch))
    hours = atom_calls * cost.seconds / cost.n_atoms / _S_PER_HOUR
    return Forecast(
        protocol=protocol.name,
        profile=profile,
        n_replicas=len(all_cases),
        n_atoms=largest,
        n_calls=calls,
        hours=hours,
        hours_at_most=hours * cost.slowest_seconds / cost.seconds,
        memory_GiB=max(alone, min(together, cost.device_GiB)),
        disk_GiB=size / GIB,
    )


def _calls(segment: Segment) -> int:
    if segment.ensemble is Ensemble.MINIMISE:
        return MINIMISATION_CALLS
    return segment.n_steps


def choose(forecasts: Sequence[Forecast], budget_h: float) -> dict[str, Profile]:
    """The longest profiles that fit together, the shorter ones of all protocols first.

    Args:
        forecasts: Of protocols, each in several profiles.
        budget_h: Hours for all.

    Returns:
        Profile by protocol; protocols that do not fit at all are left out.
    """
    taken: dict[str, Forecast] = {}
    for profile in Profile:
        for row in (row for row in forecasts if row.profile is profile):
            before = taken.get(row.protocol)
            shorter_fits = before is not None or profile is Profile.QUICK
            spent = sum(other.hours_at_most for other in taken.values())
            spent -= before.hours_at_most if before else 0.0
            if shorter_fits and spent + row.hours_at_most <= budget_h:
                taken[row.protocol] = row
    return {name: row.profile for name, row in taken.items()}


def choose_alone(forecasts: Sequence[Forecast], budget_h: float) -> dict[str, Profile]:
    """The longest profile of each protocol that fits by itself; see `choose`."""
    found: dict[str, Profile] = {}
    for name in dict.fromkeys(row.protocol for row in forecasts):
        found |= choose([row for row in forecasts if row.protocol == name], budget_h)
    return found


def parse_hours(text: str) -> float:
    """Hours from "30min", "8h" or "2d".

    Raises:
        DataError: anything else.
    """
    number = text.rstrip("".join(sorted(set("".join(_UNITS_H)))))
    unit = text[len(number) :]
    try:
        hours = float(number) * _UNITS_H[unit]
    except (ValueError, KeyError) as error:
        raise DataError(
            f"--budget {text!r}: wanted a time in minutes, hours or days, such as 30min, 8h or 2d"
        ) from error
    if not 0.0 < hours < float("inf"):
        raise DataError(f"--budget {text!r}: wanted a time above zero")
    return hours
