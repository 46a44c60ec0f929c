"""Models with known answers: what an engine gives for them can be held against paper and pencil."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

from zifbench.frames import FloatArray, IntArray
from zifbench.units import EV_PER_A3_IN_GPA

_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class IdealGas(Calculator):  # type: ignore[misc]
    """No interaction: no energy, no force, no stress; P⟨V⟩ = N k_B T is all kinetic."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        n = len(self.atoms)
        self.results = {
            "energy": 0.0, "free_energy": 0.0, "forces": np.zeros((n, 3)), "stress": np.zeros(6),
        }  # fmt: skip


class SpringCrystal(Calculator):  # type: ignore[misc]
    """Springs at rest between nearest neighbours of an fcc crystal, followed from the start.

    φ(d) = ½ k (d − d₀)². Pairs are fixed, so that there is no cutoff for an atom to cross. An atom
    has as many springs as any other. Elastic constants of the crystal at rest, with edge a of the
    cubic cell: C₁₁ = 2k/a, C₁₂ = C₄₄ = k/a, K = 4k/3a.

    Args:
        atoms: The crystal at rest.
        spring_eV_per_A2: k.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, atoms: Atoms, spring_eV_per_A2: float) -> None:
        super().__init__()
        self.spring = spring_eV_per_A2
        near = 1.2 * float(neighbor_list("d", atoms, 0.9 * _edge(atoms)).min())
        i, j, shift, length = neighbor_list("ijSd", atoms, near)
        order = np.argsort(i, kind="stable")
        shape = (len(atoms), -1)
        self._other: IntArray = j[order].reshape(shape)
        self._shift: FloatArray = shift[order].astype(float).reshape(*shape, 3)
        self._rest: FloatArray = length[order].reshape(shape)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """See ASE; everything at once."""
        super().calculate(atoms, properties, system_changes)
        x, cell = self.atoms.positions, self.atoms.cell.array
        arm = x[self._other] - x[:, None] + self._shift @ cell  # (N, springs, 3)
        length = np.sqrt(np.einsum("nsk,nsk->ns", arm, arm))
        stretch = length - self._rest
        pull = (self.spring * stretch / length)[..., None] * arm
        # Every spring stands in the table at both of its ends.
        stress = 0.5 * np.einsum("nsi,nsj->ij", arm, pull) / abs(np.linalg.det(cell))
        energy = 0.25 * self.spring * float(np.sum(stretch**2))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": pull.sum(axis=1),
            "stress": stress[_VOIGT],
        }


def _edge(atoms: Atoms) -> float:
    return float(atoms.cell.lengths().min())
