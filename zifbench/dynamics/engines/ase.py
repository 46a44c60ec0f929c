"""The engine for any ASE calculator: one replica after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from zifbench.dynamics import protocol as protocols
from zifbench.dynamics.cases import Case
from zifbench.dynamics.engines.interface import MODEL, NOT_A_NUMBER, Failure
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.replica import Replica
from zifbench.dynamics.rules import NOT_FINITE
from zifbench.errors import ModelError


class AseEngine:
    """ASE's integrators over a calculator.

    Args:
        calculator: Any, with energy and forces (and stress for constant pressure).
    """

    name = "ase"
    at_once: int | None = None

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    def check(self, protocol: protocols.Protocol) -> None:
        """See `Engine.check`."""
        if "stress" not in self._calculator.implemented_properties:
            refuse_without_stress(protocol)

    def batches(self, cases: Sequence[Case], starts: Mapping[str, Atoms]) -> list[list[Case]]:
        """Each alone."""
        return [[case] for case in cases]

    def begin(
        self, cases: Sequence[Case], starts: Mapping[str, Atoms], damping: Damping
    ) -> AseBatch:
        """See `Engine.begin`."""
        (case,) = cases
        start = starts[case.start].copy()
        start.calc = self._calculator
        return AseBatch(Replica(start.copy(), case.segments, damping, case.seed), start)


def refuse_without_stress(protocol: protocols.Protocol) -> None:
    """Name the first stage that needs a stress.

    Raises:
        ModelError: there is one.
    """
    for stage in protocol.stages:
        if stage.ensemble is protocols.Ensemble.NPT or stage.volume_change_percent is not None:
            raise ModelError(
                f"the model gives no stress, which stage {stage.name} of {protocol.name} needs "
                "(constant pressure, or P(V)); run a protocol at one volume"
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class AseBatch:
    """One replica.

    Args:
        replica: It.
        start: Where it began, with its calculator.
    """

    def __init__(self, replica: Replica, start: Atoms) -> None:
        self._replica, self._start = replica, start
        replica.atoms.calc = start.calc  # a copy of atoms has none

    @property
    def replicas(self) -> Sequence[Replica]:
        """See `Batch.replicas`."""
        return (self._replica,)

    @property
    def remark(self) -> str:
        """See `Batch.remark`."""
        return ""

    def advance(self, moving: Sequence[int]) -> Mapping[int, Failure]:
        """See `Batch.advance`."""
        try:
            self._replica.advance()
        except (ModelError, RuntimeError) as error:  # the latter: of torch, or of a neighbour list
            if not self._replica.is_finite:
                return {0: (NOT_A_NUMBER, NOT_FINITE)}
            self._check_model()
            return {0: (MODEL, _one_line(error))}
        except np.linalg.LinAlgError:  # ASE's barostat, of a stress that is not finite
            return {0: (NOT_A_NUMBER, NOT_FINITE)}
        return {} if self._replica.is_finite else {0: (NOT_A_NUMBER, NOT_FINITE)}

    def _check_model(self) -> None:
        """Whether the model still works where it once did."""
        probe = self._start.copy()
        probe.calc = self._start.calc
        try:
            probe.get_potential_energy()
        except RuntimeError as error:
            raise ModelError(
                f"the model fails where it once worked ({_one_line(error)}); the same command goes "
                "on from the last checkpoint"
            ) from error

    def state(self) -> dict[str, Any]:
        """Nothing but its replica's."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `state`."""
