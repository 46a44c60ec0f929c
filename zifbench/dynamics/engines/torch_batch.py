"""Replicas that move together, for the TorchSim engine.

All numbers of a batch lie one replica after the other in tensors on the model's device. At each
step the replicas that are in the same kind of stage with the same time step move together; targets,
thermostats and lengths are their own. Minima are found by the ASE engine's minimiser, replica by
replica, with forces that the batch computes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from torch_sim.state import SimState

from zifbench.dynamics.cases import Case
from zifbench.dynamics.engines.interface import MODEL, NOT_A_NUMBER, Failure
from zifbench.dynamics.engines.packing import packed
from zifbench.dynamics.engines.torch_model import PotentialModel
from zifbench.dynamics.engines.torch_replica import Given, TorchReplica
from zifbench.dynamics.engines.torch_steps import CHAIN, STEPS, Drive, Tensors
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.minimiser import Minimiser
from zifbench.dynamics.plan import velocity_temperature_K
from zifbench.dynamics.protocol import Ensemble
from zifbench.dynamics.replica import drawn_momenta
from zifbench.dynamics.rules import NOT_FINITE
from zifbench.errors import ModelError, OutOfMemoryError, lacks_memory
from zifbench.frames import FloatArray
from zifbench.units import EV_PER_A3_IN_GPA

# Numbers of a replica: per atom, and per system. The rest of a thermostat follows from its target.
_OF_ATOMS = ("positions", "momenta", "forces")
_OF_SYSTEMS: Mapping[str, tuple[int, ...]] = {
    "cell": (3, 3), "energy": (), "stress": (3, 3), "eta": (CHAIN,), "p_eta": (CHAIN,),
    "p_g": (3, 3), "xi": (CHAIN,), "p_xi": (CHAIN,),
}  # fmt: skip
_MEMORY = ("eta", "p_eta", "p_g", "xi", "p_xi")  # forgotten between stages of different kinds

_Act = Callable[[Sequence[int]], dict[int, Failure]]


def _within_memory(act: _Act, members: Sequence[int]) -> dict[int, Failure] | None:
    """None where memory does not suffice: what was held of it is free once that is returned."""
    try:
        return act(members)
    except (RuntimeError, MemoryError) as error:
        if len(members) == 1 or not lacks_memory(error):
            raise
        return None


class TorchBatch:
    """Replicas that move together.

    Args:
        cases: Their plans and seeds.
        starts: Their starting structures.
        damping: Damping times.
        model: The potential.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        starts: Sequence[Atoms],
        damping: Damping,
        model: PotentialModel,
    ) -> None:
        self._model, self._damping = model, damping
        self._wanted_atoms = model.most_atoms
        self.replicas = [
            TorchReplica(self, number, atoms, case.segments)
            for number, (atoms, case) in enumerate(zip(starts, cases, strict=True))
        ]
        self._counts = [len(atoms) for atoms in starts]
        self._first = np.concatenate([[0], np.cumsum(self._counts)]).tolist()
        self._tensors = self._start(cases, starts)
        self.has_stress = True
        self._evaluated: set[int] = set()  # those whose forces are those of where they are
        self._selections: dict[tuple[int, ...], Tensors] = {}
        self._host: dict[str, FloatArray] | None = None
        self._moving: set[int] = set(range(len(cases)))

    def _start(self, cases: Sequence[Case], starts: Sequence[Atoms]) -> Tensors:
        def tensor(parts: Iterable[FloatArray]) -> torch.Tensor:
            joined = np.concatenate([np.asarray(part) for part in parts])
            return torch.tensor(joined, device=self._model.device)

        n_atoms, n_systems = self._first[-1], len(cases)
        momenta = [
            drawn_momenta(atoms, velocity_temperature_K(case.segments), case.seed)
            for case, atoms in zip(cases, starts, strict=True)
        ]
        zeros = {name: np.zeros((n_systems, *shape)) for name, shape in _OF_SYSTEMS.items()}
        return {
            **{name: tensor([array]) for name, array in zeros.items()},
            "positions": tensor(atoms.positions for atoms in starts),
            "momenta": tensor(momenta),
            "forces": tensor([np.zeros((n_atoms, 3))]),
            "cell": tensor(atoms.cell.array[None] for atoms in starts),
            "masses": tensor(atoms.get_masses() for atoms in starts),
            "atomic_numbers": tensor(atoms.numbers for atoms in starts),
        }

    def advance(self, moving: Sequence[int]) -> Mapping[int, Failure]:
        """See `Batch.advance`."""
        for number in self._moving - set(moving):
            self._model.forget(number)
            self._selections.clear()
        self._moving = set(moving)
        groups: dict[tuple[Ensemble, float], list[int]] = {}
        for number in moving:
            segment = self.replicas[number].segment
            groups.setdefault((segment.ensemble, segment.time_step_fs), []).append(number)
        failures: dict[int, Failure] = {}
        for (ensemble, _), members in groups.items():
            try:
                if ensemble is Ensemble.MINIMISE:
                    failures |= self._downhill(members)
                else:
                    failures |= self._each(self._move, members)
            except OutOfMemoryError:  # of the model, for one replica alone
                raise
            except (RuntimeError, MemoryError) as error:  # outside the model
                kind = OutOfMemoryError if lacks_memory(error) else ModelError
                raise kind(
                    f"{self._model.device} fails: {' '.join(str(error).split())[:300]}; the same "
                    "command goes on from the last checkpoint"
                ) from error
        return failures

    def _each(self, act: _Act, members: Sequence[int]) -> dict[int, Failure]:
        """Act on all at once; on fewer where memory does not suffice, on one where the model fails.

        Args:
            act: All or nothing: where it raises, all is as it was before.
            members: Replicas.
        """
        failures: dict[int, Failure] = {}
        waiting = self._parts(members)
        while waiting:
            part = waiting.pop(0)
            try:
                found = _within_memory(act, part)
            except ModelError as error:
                if len(part) > 1:
                    waiting = [[number] for number in part] + waiting
                    continue
                self._check_model(part[0])
                found = {part[0]: (MODEL, str(error))}
            if found is None:
                self._selections.clear()
                self._model.make_room(sum(self._counts[number] for number in part) // 2)
                waiting = [few for many in (part, *waiting) for few in self._parts(many)]
            else:
                failures |= found
        return failures

    def _parts(self, members: Sequence[int]) -> list[list[int]]:
        """As many at once as memory is enough for."""
        return packed(members, self._counts.__getitem__, self._model.most_atoms)

    def _move(self, members: Sequence[int]) -> dict[int, Failure]:
        replicas = [self.replicas[number] for number in members]
        segments = [replica.segment for replica in replicas]
        tensors = self._select(members)
        if not self._evaluated.issuperset(members):
            tensors |= self._evaluate(members, tensors)
        if any(segment.edges is not None for segment in segments):
            # The first half of the kick is still by the forces of where the last step ended.
            tensors |= self._stretched(tensors, replicas)
        kT = [
            units.kB * segment.target_K(replica.step + 1) if segment.temperature_K else 0.0
            for replica, segment in zip(replicas, segments, strict=True)
        ]
        drive = Drive(
            segments[0].time_step_fs * units.fs,
            self._damping.thermostat_fs * units.fs,
            self._damping.barostat_fs * units.fs,
            self._tensor(kT),
            self._tensor([segment.pressure_GPa / EV_PER_A3_IN_GPA for segment in segments]),
        )
        self._model.systems = members
        tensors |= STEPS[segments[0].ensemble](tensors, self._model, drive)
        if self._model.stress is not None:
            tensors["stress"] = self._model.stress
        bad = self._not_finite(members, tensors)
        self._put_back(members, tensors)  # from here on nothing fails
        self._evaluated.update(members)
        for replica, segment in zip(replicas, segments, strict=True):
            replica.step += 1
            replica.total_step += 1
            replica.time_fs += segment.time_step_fs
        return dict.fromkeys(bad, (NOT_A_NUMBER, NOT_FINITE))

    def _stretched(self, tensors: Tensors, replicas: Sequence[TorchReplica]) -> Tensors:
        """Cells that are driven, atoms moved with them; velocities stay."""
        cells, factors = [], []
        for replica, cell in zip(replicas, tensors["cell"], strict=True):
            segment = replica.segment
            edge = segment.edge(replica.step + 1)
            driven = segment.edges is not None
            own = torch.tensor(replica.start_cell * edge, device=cell.device) if driven else cell
            cells.append(own)
            factors.append(edge / segment.edge(replica.step) if driven else 1.0)
        positions = tensors["positions"] * self._tensor(factors)[tensors["system_idx"], None]
        return {"cell": torch.stack(cells), "positions": positions}

    def _not_finite(self, members: Sequence[int], tensors: Tensors) -> list[int]:
        """Which of them hold a number that no model should see."""
        # A sum is not finite if a part is not; momenta and positions are never near the largest.
        atoms = (tensors["positions"] + tensors["momenta"]).sum(1)
        total = torch.segment_reduce(atoms, "sum", lengths=tensors["counts"])
        for name in ("cell", *_MEMORY):
            total = total + tensors[name].flatten(1).sum(1)
        bad = (~torch.isfinite(total)).tolist()
        return [number for number, is_bad in zip(members, bad, strict=True) if is_bad]

    # -- minimising -------------------------------------------------------------------------------

    def _downhill(self, members: Sequence[int]) -> dict[int, Failure]:
        """One step to the minimum of each segment's volume; atoms that are there stay."""
        for number in members:
            if self.replicas[number].minimiser is None:
                self._begin_minimising(number)
        failures = self._each(self._give, members)
        for number in members:
            replica = self.replicas[number]
            if number in failures or replica.minimiser is None or replica.minimiser.converged:
                continue
            replica.minimiser.step()
            self._evaluated.discard(number)
            if not np.isfinite(replica.atoms.positions).all():
                failures[number] = (NOT_A_NUMBER, NOT_FINITE)
        failures |= self._each(self._give, [number for number in members if number not in failures])
        for number in members:
            self.replicas[number].step += 1
        return failures

    def _begin_minimising(self, number: int) -> None:
        replica = self.replicas[number]
        self.take_up_minimiser(number)
        if replica.segment.edges is not None:
            edge = replica.segment.edges[1]
            replica.atoms.set_cell(replica.start_cell * edge, scale_atoms=True)
            self._evaluated.discard(number)

    def take_up_minimiser(self, number: int) -> Minimiser:
        """A minimiser where a replica stands, without memory."""
        replica, values = self.replicas[number], self.on_host(number)
        replica.atoms.set_cell(values["cell"], scale_atoms=False)
        replica.atoms.positions = values["positions"]
        replica.atoms.calc = Given()
        replica.atoms.calc.give(replica.atoms, float(values["energy"]), values["forces"])
        replica.minimiser = Minimiser(replica.atoms, replica.segment.force_eV_per_A)
        return replica.minimiser

    def _give(self, members: Sequence[int]) -> dict[int, Failure]:
        """Evaluate those that have moved, and tell their minimisers."""
        moved = [number for number in members if number not in self._evaluated]
        if not moved:
            return {}
        for number in moved:
            atoms = self.replicas[number].atoms
            self.put(number, {"positions": atoms.positions, "cell": atoms.cell.array})
        self._put_back(moved, self._evaluate(moved, self._select(moved)))
        for number in moved:
            replica, values = self.replicas[number], self.on_host(number)
            replica.atoms.calc.give(replica.atoms, float(values["energy"]), values["forces"])
        self._evaluated.update(moved)
        return {}

    # -- the model --------------------------------------------------------------------------------

    def _evaluate(self, systems: Sequence[int], tensors: Tensors) -> Tensors:
        self._model.systems = systems
        state = SimState(
            positions=tensors["positions"],
            masses=tensors["masses"],
            cell=tensors["cell"].mT,
            pbc=True,
            atomic_numbers=tensors["atomic_numbers"],
            system_idx=tensors["system_idx"],
        )
        found: Tensors = self._model(state)
        self.has_stress = "stress" in found
        return found

    def _check_model(self, number: int) -> None:
        """Whether the model still works where it once did.

        Raises:
            ModelError: it does not.
        """
        replica = self.replicas[number]
        tensors = self._select([number])
        for name, array in (("positions", replica.start_positions), ("cell", [replica.start_cell])):
            tensors[name] = torch.tensor(np.array(array), device=self._model.device)
        probe = -1 - number  # a system that no list knows
        self._evaluate([probe], tensors)
        self._model.forget(probe)

    # -- numbers ----------------------------------------------------------------------------------

    def _select(self, members: Sequence[int]) -> Tensors:
        """The numbers of some replicas."""
        where = self._where(tuple(members))
        atoms, systems = where["atoms"], where["systems"]
        found = {name: self._tensors[name][atoms] for name in _OF_ATOMS}
        found |= {name: self._tensors[name][systems] for name in _OF_SYSTEMS}
        return found | where

    def _where(self, members: tuple[int, ...]) -> Tensors:
        """What of a selection stays the same while its replicas move."""
        if members not in self._selections:
            device = self._model.device
            counts = torch.tensor([self._counts[number] for number in members], device=device)
            ranges = [np.arange(self._first[k], self._first[k + 1]) for k in members]
            atoms = torch.tensor(np.concatenate(ranges), device=device)
            self._selections[members] = {
                "atoms": atoms,
                "systems": torch.tensor(members, device=device),
                "counts": counts,
                "system_idx": torch.arange(len(members), device=device).repeat_interleave(counts),
                "masses": self._tensors["masses"][atoms],
                "atomic_numbers": self._tensors["atomic_numbers"][atoms],
            }
        return dict(self._selections[members])

    def _tensor(self, numbers: Sequence[float]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=self._model.device)

    def _put_back(self, members: Sequence[int], tensors: Tensors) -> None:
        """Take these numbers over, all of them or none."""
        where, changed = self._where(tuple(members)), {}
        for names, rows in ((_OF_ATOMS, where["atoms"]), (_OF_SYSTEMS, where["systems"])):
            for name in names:
                if name in tensors:
                    changed[name] = self._tensors[name].index_copy(0, rows, tensors[name])
        self._tensors |= changed
        self._host = None

    def on_host(self, number: int) -> dict[str, FloatArray]:
        """All numbers of one replica; those of the whole batch are fetched at once."""
        if self._host is None:
            names = (*_OF_ATOMS, *_OF_SYSTEMS)
            self._host = {name: self._tensors[name].cpu().numpy().copy() for name in names}
        atoms = slice(self._first[number], self._first[number + 1])
        found = {name: self._host[name][atoms].copy() for name in _OF_ATOMS}
        return found | {name: np.array(self._host[name][number]) for name in _OF_SYSTEMS}

    def put(self, number: int, values: Mapping[str, FloatArray]) -> None:
        """Set numbers of one replica."""
        for name, array in values.items():
            atoms = slice(self._first[number], self._first[number + 1])
            rows = atoms if name in _OF_ATOMS else number
            self._tensors[name][rows] = torch.tensor(np.array(array), device=self._model.device)
        self._host = None

    def forget(self, number: int) -> None:
        """A thermostat without memory."""
        self.put(number, {name: np.zeros(_OF_SYSTEMS[name]) for name in _MEMORY})

    @property
    def remark(self) -> str:
        """See `Batch.remark`."""
        if self._model.most_atoms >= self._wanted_atoms:
            return ""
        return f"memory for {max(self._model.most_atoms, *self._counts)} atoms at once"

    def state(self) -> dict[str, Any]:
        """See `Batch.state`."""
        return {
            "most_atoms": np.array(self._model.most_atoms),
            "wanted_atoms": np.array(self._wanted_atoms),
            "stress": np.array(self.has_stress),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Batch.restore`; forces were saved with the replicas."""
        self._model.most_atoms = int(state["most_atoms"])
        self._wanted_atoms = int(state.get("wanted_atoms", state["most_atoms"]))
        self.has_stress = bool(state["stress"])
        self._evaluated = set(range(len(self.replicas)))
