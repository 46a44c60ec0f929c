"""A Lennard-Jones crystal in torch: cheap, float64, and no system feels what shares its batch."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.frames import Frames
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import Prediction
from zifbench.potentials.neighbours import neighbour_list
from zifbench.potentials.torch_potential import TorchPrediction, TorchSystems

EPSILON_EV, SIGMA_A, CUTOFF_A = 0.0104, 3.4, 6.0


class LennardJones:
    """Twelve-six, force-shifted: energy and forces go to zero at the cutoff."""

    device, batched, cutoff_A = "cpu", True, CUTOFF_A
    card = ModelCard(
        name="argon", file="argon", sha256="0", size_bytes=0, format="python",
        species=("Ar",), cutoff_A=CUTOFF_A, dtype="float64",
    )  # fmt: skip

    def evaluate(self, systems: TorchSystems) -> TorchPrediction:
        arm = systems.vectors()
        r = arm.square().sum(1).sqrt()
        energy, slope = self._pair(r)
        end, end_slope = self._pair(torch.tensor(CUTOFF_A, dtype=torch.float64))
        energy = energy - end - (r - CUTOFF_A) * end_slope
        pull = ((slope - end_slope) / r)[:, None] * arm
        first = systems.pairs[0]
        own = systems.system_of_atom[first]
        n = len(systems.counts)
        forces = torch.zeros_like(systems.positions).index_add(0, first, pull)
        virial = torch.zeros(n, 3, 3, dtype=torch.float64).index_add(
            0, own, 0.5 * arm[:, :, None] * pull[:, None, :]
        )
        volume = torch.linalg.det(systems.cell).abs()
        total = torch.zeros(n, dtype=torch.float64).index_add(0, own, 0.5 * energy)
        return TorchPrediction(total, forces, virial / volume[:, None, None])

    def _pair(self, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        six = (SIGMA_A / r) ** 6
        return 4 * EPSILON_EV * (six**2 - six), -24 * EPSILON_EV * (2 * six**2 - six) / r

    # -- as any other potential of ours -----------------------------------------------------------

    def prepare(self, frames: Frames) -> TorchSystems:
        (positions,), (cell,) = frames.positions, frames.cell
        pairs, shifts = neighbour_list(frames, 0, CUTOFF_A)
        order = np.lexsort((*shifts.T[::-1], pairs[1], pairs[0]))
        return TorchSystems(
            torch.tensor(frames.numbers), torch.tensor(positions), torch.tensor(cell[None]),
            (len(positions),), torch.tensor(pairs[:, order]), torch.tensor(shifts[order]),
            torch.zeros(len(positions), dtype=torch.int64), torch.tensor([len(positions)]),
        )  # fmt: skip

    def forward(self, batch: TorchSystems) -> TorchPrediction:
        return self.evaluate(batch)

    def collect(self, output: TorchPrediction, frames: Frames) -> Prediction:
        return Prediction(
            output.energy.numpy(), output.forces.numpy()[None], output.stress.numpy(), None,
            "float64",
        )  # fmt: skip


def calculator(potential: LennardJones | None = None) -> PotentialCalculator:
    return PotentialCalculator(potential or LennardJones(), stress=True)


def argon(seed: int = 0, n: int = 2) -> Atoms:
    """A warm crystal in a skewed cell, each seed of another size."""
    atoms = bulk("Ar", "fcc", a=5.3 + 0.01 * seed, cubic=True).repeat(n)
    shear = np.eye(3) + 0.03 * np.eye(3, k=1)
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    return atoms
