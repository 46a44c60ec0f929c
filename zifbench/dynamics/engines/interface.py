"""What an engine is: it moves replicas, and knows nothing of files, rules and records.

A run asks an engine which replicas it moves together (`batches`), starts such a batch (`begin`),
and calls `Batch.advance` until every replica has come to its end. What is looked at, kept and
saved in between is the run's business; what the next step depends on is a replica's `state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ase import Atoms

from zifbench.dynamics import protocol as protocols
from zifbench.dynamics.cases import Case
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.plan import Segment
from zifbench.frames import Frames

# How a replica failed: the rule that it broke, and in words.
Failure = tuple[str, str]
NOT_A_NUMBER, MODEL = "not a number", "model"


class Moving(Protocol):
    """One replica on its way through its plan."""

    step: int  # within the segment
    total_step: int
    time_fs: float

    @property
    def segment(self) -> Segment:
        """Where it is."""

    @property
    def done(self) -> bool:
        """Whether the plan is at its end."""

    @property
    def at_end_of_segment(self) -> bool:
        """Whether all steps of the segment are done."""

    @property
    def temperature_K(self) -> float:
        """Kinetic temperature of 3N − 3 degrees of freedom."""

    @property
    def energy_eV(self) -> float:
        """Potential energy."""

    @property
    def excess_force_eV_per_A(self) -> float:
        """What is left above the limit of a minimisation; 0 at a minimum and elsewhere."""

    def next_segment(self) -> None:
        """Go on to the next segment; a thermostat of the same kind goes on too."""

    def frame(self) -> Frames:
        """The system as it stands, one frame."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""


class Batch(Protocol):
    """Replicas that move together."""

    @property
    def replicas(self) -> Sequence[Moving]:
        """In the order of the cases it was begun with."""

    @property
    def remark(self) -> str:
        """What a person should know of how they move, in a few words; mostly nothing."""

    def advance(self, moving: Sequence[int]) -> Mapping[int, Failure]:
        """One step of each of these replicas.

        Returns:
            Those that cannot go on, by number.

        Raises:
            ModelError: the model fails where it once worked: the machine failed, not a replica.
        """

    def state(self) -> dict[str, Any]:
        """What the next step depends on that belongs to no single replica, as arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""


class Engine(Protocol):
    """A way to move replicas; its name is part of what identifies a run."""

    name: str
    at_once: int | None  # most atoms in one call of the model; None: those of one replica

    def check(self, protocol: protocols.Protocol) -> None:
        """Refuse a protocol that this engine or its model cannot run.

        Raises:
            ModelError: which stage needs what.
        """

    def batches(self, cases: Sequence[Case], starts: Mapping[str, Atoms]) -> list[list[Case]]:
        """Which replicas move together, every one once; the same for the same cases."""

    def begin(self, cases: Sequence[Case], starts: Mapping[str, Atoms], damping: Damping) -> Batch:
        """Put these replicas at the start of their plans."""
