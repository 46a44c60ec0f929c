"""One step of each ensemble for many systems at once, by TorchSim's integrators.

Time is in ASE's unit, Å √(amu/eV), which is TorchSim's own: no unit of TorchSim's keywords is used.
Each system has a target temperature of its own, and a thermostat that sees no other system.
TorchSim's chain counts 3N − 3 degrees of freedom, as ours does; it moves in one piece each half
step (`chain_steps` and `sy_steps` 1: at 0.5 fs against 100 fs of damping its error is 1e-7 of a
step's), where ASE's moves in three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch_sim.integrators.md import MDState, NoseHooverChain, construct_nose_hoover_chain
from torch_sim.integrators.nve import nve_step
from torch_sim.integrators.nvt import NVTNoseHooverState, nvt_nose_hoover_step
from torch_sim.models.interface import ModelInterface
from torch_sim.quantities import calc_kinetic_energy

from zifbench.dynamics.protocol import Ensemble

CHAIN = 3  # links of a thermostat
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Drive:
    """What drives a step.

    Attributes:
        time_step: ASE's unit of time.
        thermostat: Damping time, same unit.
        kT: eV, shape (S,); what it is without a thermostat does not matter.
    """

    time_step: float
    thermostat: float
    kT: torch.Tensor


def nve(tensors: Tensors, model: ModelInterface, drive: Drive) -> Tensors:
    """Velocity Verlet."""
    state = nve_step(MDState(**_mechanics(tensors)), model, dt=drive.time_step)
    return _taken(state)


def nvt(tensors: Tensors, model: ModelInterface, drive: Drive) -> Tensors:
    """Velocity Verlet between two halves of a Nosé–Hoover chain."""
    functions = construct_nose_hoover_chain(drive.time_step, CHAIN, 1, 1, drive.thermostat)
    system_idx, masses = tensors["system_idx"], tensors["masses"]
    kinetic = calc_kinetic_energy(masses=masses, momenta=tensors["momenta"], system_idx=system_idx)
    degrees = 3 * torch.bincount(system_idx) - 3
    chain = NoseHooverChain(
        tensors["eta"].clone(),  # TorchSim writes into them
        tensors["p_eta"].clone(),
        torch.empty_like(tensors["eta"]),  # the masses follow kT at each step
        torch.full_like(kinetic, drive.thermostat),
        kinetic,
        degrees,
    )
    state = NVTNoseHooverState(**_mechanics(tensors), chain=chain, _chain_fns=functions)
    state = nvt_nose_hoover_step(state, model, dt=drive.time_step, kT=drive.kT)
    return _taken(state) | {"eta": state.chain.positions, "p_eta": state.chain.momenta}


STEPS: Mapping[Ensemble, Callable[[Tensors, ModelInterface, Drive], Tensors]] = {
    Ensemble.NVE: nve,
    Ensemble.NVT: nvt,
}


def _mechanics(tensors: Tensors) -> Tensors:
    names = ("positions", "masses", "atomic_numbers", "system_idx", "momenta", "energy", "forces")
    return {name: tensors[name] for name in names} | {
        "cell": tensors["cell"].mT,
        "pbc": torch.ones(3, dtype=torch.bool, device=tensors["cell"].device),
    }


def _taken(state: MDState) -> Tensors:
    """What a step changed."""
    names = ("positions", "momenta", "energy", "forces")
    return {name: getattr(state, name) for name in names}
