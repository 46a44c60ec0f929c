"""Known models under the TorchSim engine: any calculator system by system, crystals all at once."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from zifbench.ase_io import full_stress
from zifbench.dynamics.known import SpringCrystal
from zifbench.potentials.torch_potential import TorchPrediction, TorchSystems


class HostPotential:
    """What the engine moves; positions go to the calculator and its numbers come back.

    Args:
        calculator: With energy, forces and stress, of periodic systems.
    """

    device, batched = "cpu", True
    cutoff_A = 1.0  # of the engine's neighbour lists, which the calculator has no use for

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    def evaluate(self, systems: TorchSystems) -> TorchPrediction:
        """See `torch_model.Evaluates`."""
        energies, forces, stresses, start = [], [], [], 0
        for count, cell in zip(systems.counts, systems.cell.numpy(), strict=True):
            rows = slice(start, start + count)
            atoms = Atoms(
                numbers=systems.numbers[rows].numpy(),
                positions=systems.positions[rows].numpy(),
                cell=cell,
                pbc=True,
            )
            self._calculator.calculate(atoms)
            results = self._calculator.results
            energies.append(results["energy"])
            forces.append(np.array(results["forces"]))
            stresses.append(full_stress(np.asarray(results["stress"])[None])[0])
            start += count
        return TorchPrediction(
            torch.tensor(energies, dtype=torch.float64),
            torch.tensor(np.concatenate(forces)),
            torch.tensor(np.array(stresses)),
        )


class HostCrystals:
    """A crystal of `known`, in as many copies as move together: one call for all of them.

    Args:
        crystal: Its pairs are those of every copy.
    """

    device, batched = "cpu", True
    cutoff_A = HostPotential.cutoff_A

    def __init__(self, crystal: SpringCrystal) -> None:
        self._crystal = crystal

    def evaluate(self, systems: TorchSystems) -> TorchPrediction:
        """See `torch_model.Evaluates`."""
        positions = systems.positions.reshape(len(systems.counts), -1, 3).numpy()
        energy, forces, stress = self._crystal.evaluate(positions, systems.cell.numpy())
        return TorchPrediction(
            torch.tensor(energy), torch.tensor(forces.reshape(-1, 3)), torch.tensor(stress)
        )
