"""One step of each ensemble for many systems at once, by TorchSim's integrators.

Time is in ASE's unit, Å √(amu/eV), which is TorchSim's own: no unit of TorchSim's keywords is used.
Each system has a target temperature of its own, and a thermostat that sees no other system.
TorchSim's chain counts 3N − 3 degrees of freedom, as ours does; it moves in one piece each half
step (`chain_steps` and `sy_steps` 1), where ASE's moves in three: 1e-9 Å/fs a step at 2 fs against
100 fs of damping.

A cell that is free in all six components TorchSim moves by stochastic rescaling only, with noise
drawn for a whole batch, so that a replica would depend on what shares it. `npt` is the scheme of
the ASE engine instead, Martyna, Tobias and Klein's (J. Chem. Phys. 101, 4177, 1994), with the same
masses and the same six degrees of freedom of the cell, for all systems at once.
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
        barostat: Damping time, same unit.
        kT: eV, shape (S,); what it is without a thermostat does not matter.
        pressure: External, eV/Å³, shape (S,).
    """

    time_step: float
    thermostat: float
    barostat: float
    kT: torch.Tensor
    pressure: torch.Tensor


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


def npt(tensors: Tensors, model: ModelInterface, drive: Drive) -> Tensors:
    """All of the cell flexible at constant pressure, two Nosé–Hoover chains."""
    half, now, n_atoms = 0.5 * drive.time_step, dict(tensors), tensors["counts"]
    barostat_mass = (n_atoms + 1) * drive.kT * drive.barostat**2
    cell_chain = _Chain("xi", "p_xi", drive.kT, drive.barostat, _CELL_DEGREES)
    atom_chain = _Chain("eta", "p_eta", drive.kT, drive.thermostat, 3 * n_atoms - 3)

    def chains_of_cell() -> None:
        doubled = now["p_g"].square().sum((1, 2)) / barostat_mass
        now["p_g"] = now["p_g"] * cell_chain.move(now, doubled, half)[:, None, None]

    def chains_of_atoms() -> None:
        scale = atom_chain.move(now, 2.0 * _kinetic(now), half)
        now["momenta"] = now["momenta"] * scale[now["system_idx"], None]

    chains_of_cell()
    chains_of_atoms()
    _push_cell(now, drive.pressure, half)
    _push_atoms(now, barostat_mass, half)
    _drift(now, barostat_mass, drive.time_step)
    state = MDState(**_mechanics(now))
    found = model(state)
    now |= {name: found[name] for name in ("energy", "forces", "stress")}
    _push_atoms(now, barostat_mass, half)
    _push_cell(now, drive.pressure, half)
    chains_of_atoms()
    chains_of_cell()
    names = ("positions", "momenta", "energy", "forces", "cell", *_BAROSTAT)
    return {name: now[name] for name in names}


STEPS: Mapping[Ensemble, Callable[[Tensors, ModelInterface, Drive], Tensors]] = {
    Ensemble.NVE: nve,
    Ensemble.NVT: nvt,
    Ensemble.NPT: npt,
}

# Fourth order: H. Yoshida, Phys. Lett. A 150, 262 (1990).
_PIECES = tuple(w / (2.0 - 2.0 ** (1.0 / 3.0)) for w in (1.0, -(2.0 ** (1.0 / 3.0)), 1.0))
_CELL_DEGREES = 6
_BAROSTAT = ("eta", "p_eta", "p_g", "xi", "p_xi")


@dataclass(frozen=True)
class _Chain:
    """A Nosé–Hoover chain on a doubled kinetic energy.

    Attributes:
        place, momentum: Names of its tensors.
        kT: eV, shape (S,).
        damping: Time.
        degrees: Degrees of freedom that it holds.
    """

    place: str
    momentum: str
    kT: torch.Tensor
    damping: float
    degrees: torch.Tensor | int

    def move(self, now: Tensors, doubled: torch.Tensor, time: float) -> torch.Tensor:
        """Move it; gives what the momenta that it holds are scaled by, shape (S,)."""
        mass = (self.kT * self.damping**2)[:, None].repeat(1, CHAIN)
        mass[:, 0] *= self.degrees
        places, momenta = now[self.place], list(now[self.momentum].unbind(1))
        scale = torch.ones_like(doubled)
        for piece in _PIECES:
            delta = piece * time
            for j in reversed(range(CHAIN)):
                self._push(momenta, mass, doubled, j, delta)
            places = places + delta * torch.stack(momenta, 1) / mass
            slowed = torch.exp(-delta * momenta[0] / mass[:, 0])
            scale, doubled = scale * slowed, doubled * slowed.square()
            for j in range(CHAIN):
                self._push(momenta, mass, doubled, j, delta)
        now[self.place], now[self.momentum] = places, torch.stack(momenta, 1)
        return scale

    def _push(
        self,
        momenta: list[torch.Tensor],
        mass: torch.Tensor,
        doubled: torch.Tensor,
        j: int,
        delta: float,
    ) -> None:
        force = doubled - self.degrees * self.kT
        if j:
            force = momenta[j - 1].square() / mass[:, j - 1] - self.kT
        slowed: torch.Tensor | float = 1.0
        if j < CHAIN - 1:
            slowed = torch.exp(-0.25 * delta * momenta[j + 1] / mass[:, j + 1])
        momenta[j] = slowed * (slowed * momenta[j] + 0.5 * delta * force)


def _kinetic(now: Tensors) -> torch.Tensor:
    square = now["momenta"].square().sum(1) / now["masses"]
    return 0.5 * torch.segment_reduce(square, "sum", lengths=now["counts"])


def _push_cell(now: Tensors, pressure: torch.Tensor, time: float) -> None:
    """Momenta of the cell, by the stress inside against the pressure outside."""
    momenta = now["momenta"]
    moved = momenta[:, :, None] * momenta[:, None, :] / now["masses"][:, None, None]
    kinetic = torch.segment_reduce(moved.flatten(1), "sum", lengths=now["counts"], axis=0)
    kinetic = kinetic.reshape(-1, 3, 3)
    volume = torch.linalg.det(now["cell"]).abs()
    outside = volume * pressure - kinetic.diagonal(dim1=1, dim2=2).sum(1) / (3 * now["counts"])
    eye = torch.eye(3, dtype=volume.dtype, device=volume.device)
    force = kinetic - volume[:, None, None] * now["stress"] - outside[:, None, None] * eye
    # Symmetric, to the last bit, whatever a model's rounding: the cell does not turn.
    now["p_g"] = now["p_g"] + 0.5 * time * (force + force.mT)


def _axes(now: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues and eigenvectors of the cell's momenta; of zero where they are not finite.

    What is not finite stays so in `p_g`, and ends its replica after the step.
    """
    momenta = now["p_g"]
    finite = torch.isfinite(momenta).all(2, keepdim=True).all(1, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.where(finite, momenta, 0.0))
    return values, vectors


def _turned(vectors: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """v·M, row by row."""
    return (vectors[:, :, None] * matrices).sum(1)


def _relative_exp(x: torch.Tensor) -> torch.Tensor:
    """(eˣ − 1)/x."""
    zero = x == 0.0
    return torch.where(zero, 1.0, torch.expm1(x) / torch.where(zero, 1.0, x))


def _push_atoms(now: Tensors, barostat_mass: torch.Tensor, time: float) -> None:
    values, axes = _axes(now)
    rate = values + values.sum(1, keepdim=True) / (3 * now["counts"])[:, None]
    x = (-time * rate / barostat_mass[:, None])[now["system_idx"]]
    own = axes[now["system_idx"]]
    momenta, forces = _turned(now["momenta"], own), _turned(now["forces"], own)
    now["momenta"] = _turned(momenta * torch.exp(x) + time * forces * _relative_exp(x), own.mT)


def _drift(now: Tensors, barostat_mass: torch.Tensor, time: float) -> None:
    """Atoms and cell, by the cell's momenta."""
    values, axes = _axes(now)
    x = time * values / barostat_mass[:, None]
    own, grown = axes[now["system_idx"]], x[now["system_idx"]]
    velocities = now["momenta"] / now["masses"][:, None]
    places = _turned(now["positions"], own) * torch.exp(grown)
    places = places + time * _turned(velocities, own) * _relative_exp(grown)
    now["positions"] = _turned(places, own.mT)
    now["cell"] = ((now["cell"] @ axes) * torch.exp(x)[:, None, :]) @ axes.mT


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
