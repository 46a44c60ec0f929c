"""Models with known answers: what an engine gives for them can be held against paper and pencil."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

from zifbench.frames import FloatArray, IntArray

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
        self._spring = spring_eV_per_A2
        near = 1.2 * float(neighbor_list("d", atoms, 0.9 * _edge(atoms)).min())
        i, j, shift, length = neighbor_list("ijSd", atoms, near)
        order = np.argsort(i, kind="stable")
        shape = (len(atoms), -1)
        self._other: IntArray = j[order].reshape(shape)
        self._shift: FloatArray = shift[order].astype(float).reshape(*shape, 3)
        self._rest: FloatArray = length[order].reshape(shape)

    def _pair(self, length: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energy of each pair, and its slope."""
        stretch = length - self._rest
        return 0.5 * self._spring * stretch**2, self._spring * stretch

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """See ASE; everything at once."""
        super().calculate(atoms, properties, system_changes)
        energy, forces, stress = self.evaluate(self.atoms.positions, self.atoms.cell.array)
        self.results: dict[str, Any] = {
            "energy": float(energy),
            "free_energy": float(energy),
            "forces": forces,
            "stress": stress[_VOIGT],
        }

    def evaluate(
        self, positions: FloatArray, cell: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """One crystal, or as many at once as the leading axes hold.

        Args:
            positions: Å, shape (…, N, 3), not wrapped.
            cell: Rows, Å, shape (…, 3, 3).

        Returns:
            Energies in eV, shape (…), forces in eV/Å, (…, N, 3), and stresses in eV/Å³, (…, 3, 3).
        """
        # Of each pair as its first atom has it, (…, N, pairs, 3).
        arm = positions[..., self._other, :] - positions[..., None, :]
        arm += (self._shift.reshape(-1, 3) @ cell).reshape(arm.shape)
        length = np.sqrt(np.einsum("...nsk,...nsk->...ns", arm, arm))
        energies, slope = self._pair(length)
        pull = (slope / length)[..., None] * arm
        # Every pair stands in the table at both of its ends.
        shape = (*cell.shape[:-2], -1, 3)
        virial = 0.5 * arm.reshape(shape).swapaxes(-1, -2) @ pull.reshape(shape)
        volume = np.abs(np.linalg.det(cell))[..., None, None]
        return 0.5 * energies.sum(axis=(-2, -1)), pull.sum(axis=-2), virial / volume


class LennardJonesCrystal(SpringCrystal):
    """As springs, with φ(d) = ε [(d₀/d)¹² − 2 (d₀/d)⁶] instead: a crystal that shares its energy.

    At rest its springs are k = 72 ε / d₀², and its elastic constants follow from them.

    Args:
        atoms: The crystal at rest.
        depth_eV: ε.
    """

    def __init__(self, atoms: Atoms, depth_eV: float) -> None:
        super().__init__(atoms, 0.0)
        self._depth = depth_eV
        self._spring = 72.0 * depth_eV / float(self._rest.mean()) ** 2

    @property
    def spring_eV_per_A2(self) -> float:
        """Curvature of φ at rest."""
        return self._spring

    def _pair(self, length: FloatArray) -> tuple[FloatArray, FloatArray]:
        sixth = (self._rest / length) ** 6
        energy = self._depth * (sixth**2 - 2.0 * sixth)
        return energy, 12.0 * self._depth * (sixth - sixth**2) / length


class SoftFluid(Calculator):  # type: ignore[misc]
    """Spheres that repel each other, φ(r) = ε (1 − r²/σ²)³ below σ: energy is soon shared by all.

    Smooth to the second derivative, so that energy is conserved as well as by any potential. The
    nearest image of each pair counts: cells are to be wider than 2σ.

    Args:
        height_eV: ε.
        diameter_A: σ.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, height_eV: float, diameter_A: float) -> None:
        super().__init__()
        self._height, self._diameter = height_eV, diameter_A

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """See ASE; everything at once."""
        super().calculate(atoms, properties, system_changes)
        x, cell = self.atoms.positions, self.atoms.cell.array
        arm = x[None] - x[:, None]  # (N, N, 3), from the first to the second
        share = arm @ np.linalg.inv(cell)
        arm = (share - np.round(share)) @ cell
        overlap = 1.0 - np.einsum("ijk,ijk->ij", arm, arm) / self._diameter**2
        overlap[np.diag_indices(len(x))] = 0.0
        overlap = np.maximum(overlap, 0.0)
        push = (6.0 * self._height / self._diameter**2 * overlap**2)[..., None] * arm
        energy = 0.5 * self._height * float(np.sum(overlap**3))
        stress = -0.5 * np.einsum("ijk,ijl->kl", arm, push) / abs(np.linalg.det(cell))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": -push.sum(axis=1),
            "stress": stress[_VOIGT],
        }


def _edge(atoms: Atoms) -> float:
    return float(atoms.cell.lengths().min())
