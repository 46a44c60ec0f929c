"""Any torch potential of ours as a model of TorchSim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from zifbench.dynamics.engines.packing import packed
from zifbench.dynamics.engines.torch_pairs import PairLists
from zifbench.errors import OutOfMemoryError, lacks_memory
from zifbench.potentials.torch_potential import TorchPrediction, TorchSystems


class Evaluates(Protocol):
    """What a potential must offer to be moved in batches."""

    device: str
    batched: bool

    @property
    def cutoff_A(self) -> float:
        """Largest distance at which two atoms interact."""

    def evaluate(self, systems: TorchSystems) -> TorchPrediction:
        """Energies, forces and stresses of systems that stay on the device."""


class PotentialModel(ModelInterface):  # type: ignore[misc]
    """A potential in TorchSim's clothes: neighbour lists, and calls that fit into memory.

    Args:
        potential: It.
        most_atoms: Atoms in one call of the potential; halved as often as the device has not
            enough memory for them.
    """

    def __init__(self, potential: Evaluates, most_atoms: int) -> None:
        super().__init__()
        self._potential = potential
        self._device, self._dtype = torch.device(potential.device), torch.float64
        self._compute_stress = self._compute_forces = True
        self._pairs = PairLists(potential.cutoff_A, potential.device)
        self.most_atoms = most_atoms
        # Numbers of the systems in the next state, by which their neighbour lists are known.
        self.systems: Sequence[int] = ()
        # eV/Å³, of the last call: TorchSim's own states keep none outside NPT.
        self.stress: torch.Tensor | None = None

    def forget(self, system: int) -> None:
        """A system that has left."""
        self._pairs.forget(system)

    def make_room(self, most_atoms: int) -> None:
        """The device has not enough memory for more atoms in one call."""
        self.most_atoms = min(self.most_atoms, most_atoms)
        self._pairs.forget_joined()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def forward(self, state: SimState, **kwargs: object) -> dict[str, torch.Tensor]:
        """See TorchSim; stress only where the potential gives it."""
        counts = torch.bincount(state.system_idx).tolist()
        parts: list[TorchPrediction] = []
        waiting = self._parts(range(len(counts)), counts)
        while waiting:
            rows = waiting.pop(0)
            found = self._within_memory(state, rows, counts)
            if found is None:
                self.make_room(sum(counts[row] for row in rows) // 2)
                waiting = [few for many in (rows, *waiting) for few in self._parts(many, counts)]
            else:
                parts.append(found)
        output = {
            "energy": torch.cat([part.energy for part in parts]),
            "forces": torch.cat([part.forces for part in parts]),
        }
        stresses = [part.stress for part in parts if part.stress is not None]
        self.stress = torch.cat(stresses) if len(stresses) == len(parts) else None
        if self.stress is not None:
            output["stress"] = self.stress
        return output

    def _parts(self, rows: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
        """Neighbouring systems that one call takes; at least one."""
        if not self._potential.batched:
            return [[row] for row in rows]
        return packed(rows, lambda row: counts[row], self.most_atoms)

    def _within_memory(
        self, state: SimState, rows: Sequence[int], counts: Sequence[int]
    ) -> TorchPrediction | None:
        """None where memory does not suffice: what the call held is free once that is returned."""
        try:
            return self._potential.evaluate(self._select(state, rows, counts))
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            if len(rows) == 1:
                raise OutOfMemoryError(
                    f"{counts[rows[0]]} atoms need more memory than {self._device} has ({error}); "
                    "use a larger device"
                ) from error
            return None

    def _select(self, state: SimState, rows: Sequence[int], counts: Sequence[int]) -> TorchSystems:
        """Systems that stand one after the other in the state."""
        start = sum(counts[: rows[0]])
        own = tuple(counts[row] for row in rows)
        atoms, systems = slice(start, start + sum(own)), slice(rows[0], rows[-1] + 1)
        positions, cell = state.positions[atoms], state.row_vector_cell[systems].contiguous()
        system_of_atom = state.system_idx[atoms] - rows[0]
        pairs, shifts = self._pairs.find(
            [self.systems[row] for row in rows], positions, cell, own, system_of_atom
        )
        return TorchSystems(
            state.atomic_numbers[atoms],
            positions,
            cell,
            own,
            pairs,
            shifts,
            system_of_atom,
            torch.tensor(own, device=self._device),
        )
