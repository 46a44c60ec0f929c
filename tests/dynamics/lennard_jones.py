"""Lennard-Jones whose energy and force go to zero at the cutoff: LAMMPS's lj/smooth/linear."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

EPSILON_EV, SIGMA_A, CUTOFF_A = 0.0103, 3.4, 7.0
PAIR = f"lj/smooth/linear {CUTOFF_A}"
PAIR_COEFF = f"* * {EPSILON_EV} {SIGMA_A}"
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class ShiftedForce(Calculator):
    """E(r) = φ(r) − φ(r_c) − (r − r_c) φ'(r_c), φ the potential of Lennard and Jones.

    Args:
        atoms: Pairs are searched here, once.
        skin_A: How much farther than the cutoff: atoms of a crystal do not go far.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, atoms, skin_A: float = 1.5) -> None:
        super().__init__()
        self.i, self.j, self.shift = neighbor_list("ijS", atoms, CUTOFF_A + skin_A)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, cell = self.atoms.positions, self.atoms.cell.array
        arm = x[self.j] - x[self.i] + self.shift @ cell
        d = np.linalg.norm(arm, axis=1)
        near = d < CUTOFF_A
        arm, d, i = arm[near], d[near], self.i[near]
        energy, slope = potential(d)
        energy_c, slope_c = potential(np.array([CUTOFF_A]))
        energy = energy - energy_c - (d - CUTOFF_A) * slope_c
        pull = ((slope - slope_c) / d)[:, None] * arm  # on i; each pair stands in the list twice
        forces = np.stack(
            [np.bincount(i, weights=pull[:, k], minlength=len(x)) for k in range(3)], axis=1
        )
        stress = 0.5 * arm.T @ pull / self.atoms.cell.volume
        self.results = {
            "energy": 0.5 * float(energy.sum()), "forces": forces, "stress": stress[_VOIGT],
        }  # fmt: skip


def potential(d):
    """Energy and slope at distances d."""
    sixth = (SIGMA_A / d) ** 6
    energy = 4.0 * EPSILON_EV * (sixth**2 - sixth)
    return energy, 24.0 * EPSILON_EV * (sixth - 2.0 * sixth**2) / d
