"""One replica of the TorchSim engine: its place in the plan; its numbers lie in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from zifbench.dynamics.minimiser import MINIMISER_STATE, Minimiser
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.replica import MOST_MINIMISER_STEPS
from zifbench.frames import FloatArray, Frames


class Numbers(Protocol):
    """What a replica asks of its batch."""

    has_stress: bool

    def on_host(self, number: int) -> dict[str, FloatArray]:
        """All numbers of one replica."""

    def put(self, number: int, values: Mapping[str, FloatArray]) -> None:
        """Set numbers of one replica."""

    def forget(self, number: int) -> None:
        """A thermostat without memory."""

    def take_up_minimiser(self, number: int) -> Minimiser:
        """A minimiser where a replica stands, without memory."""


class Given(Calculator):  # type: ignore[misc]
    """Holds forces that a batch has computed; computes none."""

    implemented_properties = ("energy", "forces")

    def give(self, atoms: Atoms, energy: float, forces: FloatArray) -> None:
        """These are the values where `atoms` are now."""
        self.atoms = atoms.copy()
        self.results = {"energy": energy, "forces": forces}


class TorchReplica:
    """One replica of a batch: its place in the plan; its numbers lie in the batch.

    Args:
        batch: The batch.
        number: Which of its replicas.
        atoms: Starting structure.
        segments: Its plan.
    """

    def __init__(
        self, batch: Numbers, number: int, atoms: Atoms, segments: tuple[Segment, ...]
    ) -> None:
        self._batch, self._number, self._segments = batch, number, segments
        self.atoms = atoms.copy()  # moved by the minimiser only
        self.start_cell, self.start_positions = atoms.cell.array.copy(), atoms.positions.copy()
        self.masses = atoms.get_masses()
        self.place = 0  # of the segment
        self.step = 0
        self.total_step = 0
        self.time_fs = 0.0
        self.minimiser: Minimiser | None = None

    @property
    def segment(self) -> Segment:
        """See `Moving.segment`."""
        return self._segments[self.place]

    @property
    def done(self) -> bool:
        """See `Moving.done`."""
        return self.place == len(self._segments)

    @property
    def at_end_of_segment(self) -> bool:
        """See `Moving.at_end_of_segment`."""
        if self.minimiser is not None:
            return self.step >= MOST_MINIMISER_STEPS or self.minimiser.converged
        return self.step >= self.segment.n_steps

    @property
    def excess_force_eV_per_A(self) -> float:
        """See `Moving.excess_force_eV_per_A`."""
        if self.minimiser is None:
            return 0.0
        left = self.minimiser.largest_force_eV_per_A - self.segment.force_eV_per_A
        return max(0.0, left)

    @property
    def temperature_K(self) -> float:
        """See `Moving.temperature_K`."""
        momenta = self._batch.on_host(self._number)["momenta"]
        doubled = float((momenta**2 / self.masses[:, None]).sum())
        return doubled / float(3 * max(1, len(self.masses) - 1) * units.kB)

    @property
    def energy_eV(self) -> float:
        """See `Moving.energy_eV`."""
        return float(self._batch.on_host(self._number)["energy"])

    def next_segment(self) -> None:
        """See `Moving.next_segment`."""
        before = self.segment.ensemble
        self.place += 1
        self.step = 0
        self.minimiser = None
        if self.done or self.segment.ensemble is not before:
            self._batch.forget(self._number)

    def frame(self) -> Frames:
        """See `Moving.frame`."""
        values = self._batch.on_host(self._number)
        velocities = values["momenta"] / self.masses[:, None] * units.fs
        if self.minimiser is not None:  # drawn already, and not in use yet
            velocities = np.zeros_like(velocities)
        return Frames(
            numbers=self.atoms.numbers,
            masses=self.masses,
            pbc=self.atoms.pbc,
            positions=values["positions"][None],
            cell=values["cell"][None],
            energy=values["energy"][None],
            stress=values["stress"][None] if self._batch.has_stress else None,
            velocities=velocities[None],
            step=np.array([self.total_step], dtype=np.int64),
            time_fs=np.array([self.time_fs]),
            source="the simulation",
        )

    def state(self) -> dict[str, Any]:
        """See `Moving.state`."""
        return {
            "place": np.array([self.place, self.step, self.total_step], dtype=np.int64),
            "time_fs": np.array(self.time_fs),
            **self._batch.on_host(self._number),
            **({} if self.minimiser is None else self.minimiser.state()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Moving.restore`."""
        self.place, self.step, self.total_step = (int(x) for x in state["place"])
        self.time_fs = float(state["time_fs"])
        own = self._batch.on_host(self._number)
        self._batch.put(self._number, {name: state[name] for name in own})
        self.minimiser = None
        if set(MINIMISER_STATE) <= set(state):
            self._batch.take_up_minimiser(self._number).restore(state)
