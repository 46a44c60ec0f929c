"""All replicas of a protocol: structures times temperatures times repetitions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from zifbench.dynamics.plan import Segment, first_temperature_K, plan
from zifbench.dynamics.protocol import Protocol
from zifbench.dynamics.rules import RULES
from zifbench.errors import DataError, unknown_name
from zifbench.profiles import Profile


@dataclass(frozen=True)
class Case:
    """One replica: a structure at a temperature, with velocities of its own.

    Attributes:
        name: Names its trajectories and its checkpoint.
        start: Name of the structure.
        segments: Its plan.
        seed: Of its velocities; it depends on nothing else that is run.
    """

    name: str
    start: str
    segments: tuple[Segment, ...]
    seed: tuple[int, int]

    @property
    def n_steps(self) -> int:
        """Steps of its whole plan; those of minimisations are not known."""
        return sum(segment.n_steps for segment in self.segments)


def cases(
    protocol: Protocol, profile: Profile, starts: Sequence[str], *, seed: int, replicas: int | None
) -> list[Case]:
    """All replicas of a protocol, in order.

    Raises:
        DataError: see `plan.plan`.
        UnknownNameError: a rule that there is not.
    """
    for rule in protocol.stop_on:
        if rule not in RULES:
            raise unknown_name("rule", rule, RULES)
    n_replicas = replicas or protocol.replicas.get(profile, 1)
    found = []
    for start in starts:
        for kelvin in protocol.temperatures_K or (None,):
            for k in range(n_replicas):
                name = start if kelvin is None else f"{start}-{kelvin:g}K"
                segments = plan(protocol, profile, case_K=kelvin, replica=k)
                first_temperature_K(segments)
                name = f"{name}-{k}" if k else name
                found.append(Case(name, start, segments, (seed, _number(name))))
    names = [case.name for case in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two replicas would be called {twice[0]!r}; rename one of the structures")
    return found


def _number(name: str) -> int:
    """The same for the same replica, whatever is run beside it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
