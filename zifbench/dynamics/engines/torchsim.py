"""The engine for torch models: many replicas at once, by TorchSim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ase import Atoms

from zifbench.dynamics import protocol as protocols
from zifbench.dynamics.cases import Case
from zifbench.dynamics.engines.ase import refuse_without_stress
from zifbench.dynamics.engines.packing import packed
from zifbench.dynamics.engines.torch_batch import TorchBatch
from zifbench.dynamics.engines.torch_model import Evaluates, PotentialModel
from zifbench.dynamics.integrators import Damping

_ON_CPU_ATOMS = 512  # more at once is no faster on a few cores
_ON_GPU_ATOMS = 32_768  # halved where the memory is too small for it


def default_batch_atoms(device: str) -> int:
    """Most atoms that move together on such a device."""
    return _ON_GPU_ATOMS if device.startswith("cuda") else _ON_CPU_ATOMS


class TorchSimEngine:
    """Batches of replicas on the model's device.

    Args:
        potential: A torch potential.
        stress: Whether it gives a stress.
        batch_atoms: Most atoms that move together; None for what suits the device.
    """

    name = "torchsim"

    def __init__(
        self, potential: Evaluates, *, stress: bool, batch_atoms: int | None = None
    ) -> None:
        self._potential, self._stress = potential, stress
        self._batch_atoms = batch_atoms or default_batch_atoms(potential.device)
        self.at_once = self._batch_atoms if potential.batched else None

    def check(self, protocol: protocols.Protocol) -> None:
        """See `Engine.check`."""
        if not self._stress:
            refuse_without_stress(protocol)

    def batches(self, cases: Sequence[Case], starts: Mapping[str, Atoms]) -> list[list[Case]]:
        """In their order, as many as fit; at least one."""
        return packed(cases, lambda case: len(starts[case.start]), self._batch_atoms)

    def begin(
        self, cases: Sequence[Case], starts: Mapping[str, Atoms], damping: Damping
    ) -> TorchBatch:
        """See `Engine.begin`."""
        model = PotentialModel(self._potential, self._batch_atoms)
        return TorchBatch(cases, [starts[case.start] for case in cases], damping, model)
