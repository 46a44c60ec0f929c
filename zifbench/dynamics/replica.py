"""One system on its way through its plan; can be saved and restored after any step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units

from zifbench.ase_io import full_stress
from zifbench.dynamics.integrators import KINDS, Damping, restore, saved, set_target, stretch
from zifbench.dynamics.minimiser import Minimiser
from zifbench.dynamics.plan import Segment, velocity_temperature_K
from zifbench.dynamics.protocol import Ensemble
from zifbench.frames import FloatArray, Frames

MOST_MINIMISER_STEPS = 1000


def drawn_momenta(atoms: Atoms, temperature_K: float, seed: tuple[int, int]) -> FloatArray:
    """Maxwell–Boltzmann, the centre of mass at rest; shape (N, 3), ASE's units."""
    masses = atoms.get_masses()[:, None]
    normal = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    momenta = np.sqrt(masses * units.kB * temperature_K) * normal
    return np.asarray(momenta - masses * momenta.sum(axis=0) / masses.sum(), dtype=float)


class Replica:
    """Atoms, an integrator, and the place in the plan.

    Args:
        atoms: Starting structure with a calculator; used as working copy.
        segments: The plan.
        damping: Damping times.
        seed: Of the velocities: the run's seed and the replica's number.
    """

    def __init__(
        self, atoms: Atoms, segments: tuple[Segment, ...], damping: Damping, seed: tuple[int, int]
    ) -> None:
        self.atoms = atoms
        self._segments, self._damping = segments, damping
        self._cell = atoms.cell.array.copy()
        self.number = 0  # of the segment
        self.step = 0  # within it
        self.total_step = 0
        self.time_fs = 0.0
        self._integrator: Any = None
        atoms.set_momenta(drawn_momenta(atoms, velocity_temperature_K(segments), seed))

    @property
    def segment(self) -> Segment:
        """Where it is."""
        return self._segments[self.number]

    @property
    def done(self) -> bool:
        """Whether the plan is at its end."""
        return self.number == len(self._segments)

    @property
    def temperature_K(self) -> float:
        """Kinetic temperature of 3N − 3 degrees of freedom."""
        n = len(self.atoms)
        return float(self.atoms.get_temperature()) * n / max(1, n - 1)

    @property
    def energy_eV(self) -> float:
        """Potential energy."""
        return float(self.atoms.get_potential_energy())

    def advance(self) -> None:
        """One step of the segment."""
        segment = self.segment
        if segment.ensemble is Ensemble.MINIMISE:
            self._downhill(segment)
            return
        if self._integrator is None:
            self._integrator = KINDS[segment.ensemble].make(self.atoms, segment, self._damping)
        if segment.temperature_K is not None:
            set_target(self._integrator, segment.target_K(self.step + 1))
        if segment.edges is not None:
            edge = segment.edge(self.step + 1)
            stretch(self._integrator, self._cell * edge, edge / segment.edge(self.step))
        self._integrator.step()
        self.step += 1
        self.total_step += 1
        self.time_fs += segment.time_step_fs

    @property
    def at_end_of_segment(self) -> bool:
        """Whether all steps of the segment are done."""
        if self.segment.ensemble is Ensemble.MINIMISE:
            return self.step >= MOST_MINIMISER_STEPS or self._integrator.converged
        return self.step >= self.segment.n_steps

    def next_segment(self) -> None:
        """Go on to the next segment; a thermostat of the same kind goes on too."""
        before = self.segment
        state = saved(self._integrator, before.ensemble) if self._integrator else {}
        self._next()
        moves = before.ensemble is not Ensemble.MINIMISE
        if not self.done and self.segment.ensemble is before.ensemble and state and moves:
            self._rebuild(state)

    def _next(self) -> None:
        self.number += 1
        self.step = 0
        self._integrator = None

    @property
    def is_finite(self) -> bool:
        """Whether all that moves is finite; no model should see anything else."""
        arrays = [self.atoms.arrays["momenta"], self.atoms.positions, self.atoms.cell.array]
        if self._integrator is not None:
            arrays += saved(self._integrator, self.segment.ensemble).values()
        return all(bool(np.isfinite(array).all()) for array in arrays)

    def _downhill(self, segment: Segment) -> None:
        """One step to the minimum of the segment's volume; atoms that are there stay."""
        if self._integrator is None:
            if segment.edges is not None:
                self.atoms.set_cell(self._cell * segment.edges[1], scale_atoms=True)
            self._integrator = KINDS[segment.ensemble].make(self.atoms, segment, self._damping)
        if not self._integrator.converged:
            self._integrator.step()
        self.step += 1

    @property
    def excess_force_eV_per_A(self) -> float:
        """What is left above the limit of a minimisation; 0 at a minimum and elsewhere."""
        if not isinstance(self._integrator, Minimiser):
            return 0.0
        largest = self._integrator.largest_force_eV_per_A
        return max(0.0, largest - self.segment.force_eV_per_A)

    def _rebuild(self, state: Mapping[str, FloatArray]) -> None:
        kind = self.segment.ensemble
        self._integrator = KINDS[kind].make(self.atoms, self.segment, self._damping)
        restore(self._integrator, kind, state)

    # -- looking and saving -----------------------------------------------------------------------

    def frame(self) -> Frames:
        """The system as it stands, one frame."""
        atoms = self.atoms
        results = atoms.calc.results
        velocities = atoms.get_velocities() * units.fs  # Å/fs
        if self.segment.ensemble is Ensemble.MINIMISE:  # drawn already, and not in use yet
            velocities[:] = 0.0
        stress = results.get("stress")
        return Frames(
            numbers=atoms.numbers,
            masses=atoms.get_masses(),
            pbc=atoms.pbc,
            positions=atoms.get_positions()[None],
            cell=atoms.cell.array[None].copy(),
            energy=np.array([atoms.get_potential_energy()]),
            stress=None if stress is None else full_stress(np.asarray(stress)[None]),
            velocities=velocities[None],
            step=np.array([self.total_step], dtype=np.int64),
            time_fs=np.array([self.time_fs]),
            source="the simulation",
        )

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as arrays."""
        moving = self._integrator is not None
        return {
            "place": np.array([self.number, self.step, self.total_step], dtype=np.int64),
            "time_fs": np.array(self.time_fs),
            "positions": self.atoms.get_positions(),
            "momenta": self.atoms.get_momenta(),
            "cell": self.atoms.cell.array.copy(),
            **(saved(self._integrator, self.segment.ensemble) if moving else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        self.number, self.step, self.total_step = (int(x) for x in state["place"])
        self.time_fs = float(state["time_fs"])
        self.atoms.set_cell(state["cell"], scale_atoms=False)
        self.atoms.set_positions(state["positions"])
        self.atoms.set_momenta(state["momenta"])
        self._integrator = None
        # An integrator that had not begun has no memory either.
        if not self.done and set(KINDS[self.segment.ensemble].state) <= set(state):
            self._rebuild(state)
