"""Downhill to the nearest minimum, step by step, so that it can be saved after each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.optimize import LBFGS

from zifbench.frames import FloatArray

MINIMISER_STATE = ("lbfgs.iteration", "lbfgs.s", "lbfgs.y", "lbfgs.rho", "lbfgs.r0", "lbfgs.f0")


class Minimiser:
    """ASE's LBFGS; its history is state.

    Args:
        atoms: Moved in place.
        force_eV_per_A: Largest force on an atom at which a minimum is reached.
    """

    def __init__(self, atoms: Atoms, force_eV_per_A: float) -> None:
        self._atoms, self._limit = atoms, force_eV_per_A
        self._lbfgs = LBFGS(atoms, logfile=None)

    def step(self) -> None:
        """One step downhill."""
        self._lbfgs.step()

    @property
    def largest_force_eV_per_A(self) -> float:
        """On any atom, where it stands now."""
        return float(np.linalg.norm(self._atoms.get_forces(), axis=1).max())

    @property
    def converged(self) -> bool:
        """Whether the minimum is reached; never where a force is not finite."""
        return self.largest_force_eV_per_A <= self._limit

    def state(self) -> dict[str, FloatArray]:
        """What the next step depends on besides the positions."""
        history, size = self._lbfgs.state, 3 * len(self._atoms)
        begun = self._lbfgs.r0 is not None
        found = (
            history.iteration,
            np.reshape(history.s, (-1, size)),
            np.reshape(history.y, (-1, size)),
            history.rho,
            self._lbfgs.r0 if begun else np.empty(0),
            self._lbfgs.f0 if begun else np.empty(0),
        )
        names = zip(MINIMISER_STATE, found, strict=True)
        return {name: np.array(value, dtype=float) for name, value in names}

    def restore(self, state: Mapping[str, FloatArray]) -> None:
        """Put back what `state` gave."""
        iteration, s, y, rho, r0, f0 = (np.asarray(state[name]) for name in MINIMISER_STATE)
        history = self._lbfgs.state
        history.iteration = int(iteration)
        history.s, history.y, history.rho = list(s), list(y), list(rho)
        self._lbfgs.r0, self._lbfgs.f0 = (x.copy() if len(x) else None for x in (r0, f0))
