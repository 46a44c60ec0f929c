"""Engines: what moves atoms. One line in `ENGINES` each; see `interface`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ase.calculators.calculator import Calculator

from zifbench.dynamics.engines.ase import AseEngine
from zifbench.dynamics.engines.interface import Engine
from zifbench.errors import DataError, MissingDependencyError, ModelError, unknown_name


def _ase(calculator: Calculator, batch_atoms: int | None) -> Engine:
    if batch_atoms is not None:
        raise DataError("the ASE engine moves one replica at a time; leave out --batch-atoms")
    return AseEngine(calculator)


def _torchsim(calculator: Calculator, batch_atoms: int | None) -> Engine:
    potential: Any = getattr(calculator, "potential", None)
    if not hasattr(potential, "evaluate"):
        raise ModelError(
            f"the TorchSim engine wants a torch model of the nequip framework, got "
            f"{type(calculator if potential is None else potential).__name__}; use --engine ase"
        )
    check_torchsim()
    from zifbench.dynamics.engines.torchsim import TorchSimEngine

    stress = "stress" in calculator.implemented_properties
    return TorchSimEngine(potential, stress=stress, batch_atoms=batch_atoms)


def check_torchsim() -> None:
    """Whether TorchSim is here.

    Raises:
        MissingDependencyError: it is not.
    """
    try:
        import torch_sim  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "TorchSim is not installed, which --engine torchsim needs (Python 3.12 or newer: "
            "pip install 'zifbench[torchsim]'); use --engine ase"
        ) from error


def _auto(calculator: Calculator, batch_atoms: int | None) -> Engine:
    """TorchSim on a GPU, where batches pay, if it is there; else ASE."""
    device = str(getattr(getattr(calculator, "potential", None), "device", ""))
    if device.startswith("cuda"):
        with contextlib.suppress(MissingDependencyError, ModelError):
            return _torchsim(calculator, batch_atoms)
    return AseEngine(calculator)


ENGINES: dict[str, Callable[[Calculator, int | None], Engine]] = {
    "ase": _ase,
    "torchsim": _torchsim,
    "auto": _auto,
}


def make_engine(name: str, calculator: Calculator, *, batch_atoms: int | None = None) -> Engine:
    """The engine of that name over a calculator.

    Args:
        name: A key of `ENGINES`.
        calculator: What gives energy and forces.
        batch_atoms: Most atoms that are moved at once; None lets the engine choose.

    Raises:
        UnknownNameError: there is none.
        DataError: a number of atoms for an engine that has no batches.
        ModelError: a model that it cannot move.
        MissingDependencyError: TorchSim is not here.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    return ENGINES[name](calculator, batch_atoms)
