"""What ends a replica: one line a rule. A failure is a result, with its time and its rule."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.linkers import find_linkers
from zifbench.analysis.neighbours import find_pairs
from zifbench.frames import Frames

# Nothing in a ZIF comes as close, at any temperature that its linkers survive: N–H bonds are 1.0 Å.
SHORTEST_CONTACT_A = 0.6
# Above that, a thermostat no longer holds the temperature: twice the target and 200 K more.
_RUNAWAY_FACTOR, _RUNAWAY_K = 2.0, 200.0
# A bond that is long for one sample only may have been a vibration.
_PERSISTENT_SAMPLES = 4


@dataclass(frozen=True)
class Sample:
    """What a rule may look at.

    Attributes:
        frame: One frame, with velocities and energy.
        temperature_K: Its kinetic temperature.
        target_K: That of the last thermostat.
    """

    frame: Frames
    temperature_K: float
    target_K: float


Memory = MutableMapping[str, float]
Rule = Callable[[Sample, Memory], str | None]


def not_a_number(sample: Sample, memory: Memory) -> str | None:
    """Positions, velocities or energy that are not finite."""
    arrays = (sample.frame.positions, sample.frame.velocities, sample.frame.energy)
    if all(array is None or np.isfinite(array).all() for array in arrays):
        return None
    return "NaN or infinite positions, velocities or energy"


def contact(sample: Sample, memory: Memory) -> str | None:
    """Two atoms on top of each other: a potential that has fallen into a hole."""
    frame = sample.frame
    pairs = find_pairs(frame.positions[0], frame.cell[0], cutoffs_A=SHORTEST_CONTACT_A)
    if not len(pairs.i):
        return None
    near = int(pairs.distance.argmin())
    names = [f"{frame.symbols[k]} {k}" for k in (pairs.i[near], pairs.j[near])]
    return f"{names[0]} and {names[1]} are {pairs.distance[near]:.2f} Å apart"


def runaway(sample: Sample, memory: Memory) -> str | None:
    """A temperature that the thermostat does not hold."""
    limit = _RUNAWAY_FACTOR * sample.target_K + _RUNAWAY_K
    if sample.temperature_K <= limit:
        return None
    return f"{sample.temperature_K:.0f} K at a target of {sample.target_K:.0f} K"


def broken_linker(sample: Sample, memory: Memory) -> str | None:
    """More broken imidazolates than at the first sample, in several samples on end."""
    linkers = next(find_linkers(sample.frame))
    n_broken = float(linkers.n_expected - (len(linkers.rings) - linkers.merged.sum()))
    first = memory.setdefault("broken_first", n_broken)
    memory["broken_for"] = memory.get("broken_for", 0.0) + 1.0 if n_broken > first else 0.0
    if memory["broken_for"] < _PERSISTENT_SAMPLES:
        return None
    return f"{n_broken - first:g} of {linkers.n_expected:g} imidazolates are broken or merged"


RULES: dict[str, Rule] = {
    "not a number": not_a_number,
    "contact": contact,
    "runaway": runaway,
    "broken linker": broken_linker,
}
