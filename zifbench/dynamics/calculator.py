"""Any potential as an ASE calculator: one call gives energy, forces and stress."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from zifbench.errors import ModelError
from zifbench.frames import Frames
from zifbench.potentials.core import Potential, compute

_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class PotentialCalculator(Calculator):  # type: ignore[misc]
    """A loaded potential in ASE's clothes.

    Args:
        potential: Any potential.
        stress: Whether it gives a stress, which only a call tells.
    """

    def __init__(self, potential: Potential, *, stress: bool) -> None:
        super().__init__()
        self.potential = potential
        self.implemented_properties = ["energy", "free_energy", "forces"]
        if stress:
            self.implemented_properties.append("stress")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """See ASE; everything is computed at once, whatever was asked for."""
        super().calculate(atoms, properties, system_changes)
        system = self.atoms
        if not (np.isfinite(system.positions).all() and np.isfinite(system.cell.array).all()):
            raise ModelError("positions or cell vectors are not finite")
        frame = Frames(
            numbers=system.numbers,
            masses=system.get_masses(),
            pbc=system.pbc,
            positions=system.positions[None],
            cell=system.cell.array[None],
            source="the simulation",
        )
        found = compute(self.potential, frame)
        energy = float(found.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": found.forces[0]}
        if found.atomic_energy is not None:
            self.results["energies"] = found.atomic_energy[0]
        if found.stress is not None:
            self.results["stress"] = np.ascontiguousarray(found.stress[0][_VOIGT])
