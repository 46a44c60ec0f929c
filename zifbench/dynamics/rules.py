"""What ends a replica: one line a rule. A failure is a result, with its time and its rule."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.linkers import find_linkers
from zifbench.analysis.neighbours import find_pairs
from zifbench.frames import Frames

# Nothing in a ZIF comes as close, at any temperature that its linkers survive: N–H bonds are 1.0 Å.
SHORTEST_CONTACT_A = 0.6
# Positions are not wrapped; up to 256 Å a store keeps them to 1e-5 Å in float32.
FARTHEST_A = 250.0
# Above that, a thermostat no longer holds the temperature: twice the target and 200 K more.
_RUNAWAY_FACTOR, _RUNAWAY_K = 2.0, 200.0
# No thermostat cools at once: a target that falls is followed within such a time.
_COOLING_FS = 500.0
# A bond that is long for one sample only may have been a vibration; what a rule remembers of it.
SUSPICION = "broken_for"
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


def followed_K(before_K: float, target_K: float, elapsed_fs: float) -> float:
    """What a thermostat can have come to: a rising target at once, a falling one with time.

    Args:
        before_K: What it was.
        target_K: The target now.
        elapsed_fs: Time since then.
    """
    left = (before_K - target_K) * math.exp(-elapsed_fs / _COOLING_FS)
    return target_K + max(0.0, left)


NOT_FINITE = "NaN or infinite positions, velocities, cell or energy"
Memory = MutableMapping[str, float]
Rule = Callable[[Sample, Memory], str | None]


def not_a_number(sample: Sample, memory: Memory) -> str | None:
    """Positions, velocities or energy that are not finite."""
    frame = sample.frame
    arrays = (frame.positions, frame.velocities, frame.energy, frame.cell, frame.stress)
    if all(array is None or np.isfinite(array).all() for array in arrays):
        return None
    return NOT_FINITE


def lost_atom(sample: Sample, memory: Memory) -> str | None:
    """An atom that has gone far: a fragment that flies off, or a model with a net force."""
    far = np.abs(sample.frame.positions[0]).max(axis=1)
    atom = int(far.argmax())
    if far[atom] <= FARTHEST_A:
        return None
    return f"{sample.frame.symbols[atom]} {atom} has gone {far[atom]:.0f} Å"


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
    memory[SUSPICION] = memory.get(SUSPICION, 0.0) + 1.0 if n_broken > first else 0.0
    if memory[SUSPICION] < _PERSISTENT_SAMPLES:
        return None
    return f"{n_broken - first:g} of {linkers.n_expected:g} imidazolates are broken or merged"


RULES: dict[str, Rule] = {
    "not a number": not_a_number,
    "lost atom": lost_atom,
    "contact": contact,
    "runaway": runaway,
    "broken linker": broken_linker,
}
