"""Equations of motion, one line an ensemble: ASE's integrators, and what of them is state.

Positions, momenta and cell are the atoms'. What thermostat and barostat remember lies in private
attributes of ASE's classes; they are named here and nowhere else, and a test compares a resumed
run with an uninterrupted one bit for bit.

Two numbers of degrees of freedom are ours. ASE's chains count 3N; the centre of mass is at rest
here, so that 3N − 3 hold ½ k_B T each. Its barostat counts nine for the cell; the stress is
symmetric and the cell does not turn, so that six move. With nine, the cell would be half as hot
again as the atoms, and elastic constants from its fluctuations two thirds of what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.nose_hoover_chain import MTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from zifbench.dynamics.minimiser import MINIMISER_STATE, Minimiser
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.protocol import Ensemble
from zifbench.frames import FloatArray
from zifbench.units import EV_PER_A3_IN_GPA

_THERMOSTAT = ("_thermostat._eta", "_thermostat._p_eta")
_CELL_DEGREES = 6
_BAROSTAT = ("_p_g", "_barostat._xi", "_barostat._p_xi")


@dataclass(frozen=True)
class Damping:
    """Damping times of thermostat and barostat in fs."""

    thermostat_fs: float
    barostat_fs: float


@dataclass(frozen=True)
class Kind:
    """An ensemble: how to make its integrator, and the attributes that are its state."""

    make: Callable[[Atoms, Segment, Damping], Any]
    state: tuple[str, ...]


class _DrivenChainNVT(NoseHooverChainNVT):  # type: ignore[misc]
    """A thermostat in a cell that can be driven.

    The cell moves with the atoms, after the first half of the kick, whose forces are still those of
    where the last step ended: one call of the model a step. Velocities stay, as they do in a
    deforming box.
    """

    drive: tuple[FloatArray, float] | None = None  # the cell, and what positions are scaled by

    def _integrate_q(self, delta: float) -> None:
        if self.drive is not None:
            cell, factor = self.drive
            self._q *= factor
            self.atoms.set_cell(cell, scale_atoms=False)
            self.drive = None
        super()._integrate_q(delta)


def _nve(atoms: Atoms, segment: Segment, damping: Damping) -> Any:
    return VelocityVerlet(atoms, timestep=segment.time_step_fs * units.fs)


def _nvt(atoms: Atoms, segment: Segment, damping: Damping) -> Any:
    integrator = _DrivenChainNVT(
        atoms,
        timestep=segment.time_step_fs * units.fs,
        temperature_K=segment.target_K(0),
        tdamp=damping.thermostat_fs * units.fs,
    )
    _count_moving(integrator, segment.target_K(0))
    return integrator


def _npt(atoms: Atoms, segment: Segment, damping: Damping) -> Any:
    integrator = MTKNPT(
        atoms,
        timestep=segment.time_step_fs * units.fs,
        temperature_K=segment.target_K(0),
        pressure_au=segment.pressure_GPa / EV_PER_A3_IN_GPA,
        tdamp=damping.thermostat_fs * units.fs,
        pdamp=damping.barostat_fs * units.fs,
    )
    _count_moving(integrator, segment.target_K(0))
    barostat = integrator._barostat
    barostat._R[0] *= _CELL_DEGREES / barostat._cell_dof
    barostat._cell_dof = _CELL_DEGREES
    return integrator


def _count_moving(integrator: Any, temperature_K: float) -> None:
    """Take the three degrees of freedom of the centre of mass from the thermostat."""
    integrator._thermostat._num_atoms_global = len(integrator.atoms) - 1
    set_target(integrator, temperature_K)


def _minimise(atoms: Atoms, segment: Segment, damping: Damping) -> Any:
    return Minimiser(atoms, segment.force_eV_per_A)


KINDS: Mapping[Ensemble, Kind] = {
    Ensemble.MINIMISE: Kind(_minimise, MINIMISER_STATE),
    Ensemble.NVE: Kind(_nve, ()),
    Ensemble.NVT: Kind(_nvt, _THERMOSTAT),
    Ensemble.NPT: Kind(_npt, (*_THERMOSTAT, *_BAROSTAT)),
}


def set_target(integrator: Any, temperature_K: float) -> None:
    """Turn the thermostat to another temperature; its masses follow, its momenta stay."""
    thermostat, kT = integrator._thermostat, units.kB * temperature_K
    thermostat._kT = kT
    thermostat._Q[:] = kT * thermostat._tdamp**2
    thermostat._Q[0] *= 3 * thermostat._num_atoms_global


def stretch(integrator: Any, cell: FloatArray, factor: float) -> None:
    """Let the next step set the cell and move atoms with it; see `_DrivenChainNVT`."""
    integrator.drive = cell, factor


def saved(integrator: Any, ensemble: Ensemble) -> dict[str, FloatArray]:
    """What thermostat and barostat remember."""
    if isinstance(integrator, Minimiser):
        return integrator.state()
    return {name: np.array(_find(integrator, name)) for name in KINDS[ensemble].state}


def restore(integrator: Any, ensemble: Ensemble, state: Mapping[str, FloatArray]) -> None:
    """Put back what `saved` gave."""
    if isinstance(integrator, Minimiser):
        integrator.restore(state)
        return
    for name in KINDS[ensemble].state:
        _find(integrator, name)[:] = state[name]


def _find(integrator: Any, name: str) -> Any:
    return reduce(getattr, name.split("."), integrator)
