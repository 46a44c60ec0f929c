"""Engines: what moves atoms. One line in `ENGINES` each; see `interface`."""

from __future__ import annotations

from collections.abc import Callable

from ase.calculators.calculator import Calculator

from zifbench.dynamics.engines.ase import AseEngine
from zifbench.dynamics.engines.interface import Engine
from zifbench.errors import DataError, unknown_name


def _ase(calculator: Calculator, batch_atoms: int | None) -> Engine:
    if batch_atoms is not None:
        raise DataError("the ASE engine moves one replica at a time; leave out --batch-atoms")
    return AseEngine(calculator)


ENGINES: dict[str, Callable[[Calculator, int | None], Engine]] = {"ase": _ase}


def make_engine(name: str, calculator: Calculator, *, batch_atoms: int | None = None) -> Engine:
    """The engine of that name over a calculator.

    Args:
        name: A key of `ENGINES`.
        calculator: What gives energy and forces.
        batch_atoms: Most atoms that are moved at once; None lets the engine choose.

    Raises:
        UnknownNameError: there is none.
        DataError: a number of atoms for an engine that has no batches.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    return ENGINES[name](calculator, batch_atoms)
