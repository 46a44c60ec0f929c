"""What the command line says about the input, parsed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ase.data import atomic_numbers

from zifbench.dataset.ingest.source import Options
from zifbench.errors import DataError, unknown_name

# Checks that may fail on input that somebody wants all the same: those of `cp2k_checks`, and a test
# holds the two together.
CHECKS = (
    "acceleration",
    "degrees-of-freedom",
    "energy-energies",
    "energy-forces",
    "energy-velocities",
    "kinetic-temperature",
    "stress-symmetric",
    "thermostat",
    "time-cell",
    "time-energies",
    "time-forces",
    "time-step",
    "time-stress",
    "time-velocities",
    "velocities",
    "volume",
)


def parse_options(
    *,
    name: str | None,
    keep: str,
    masses: Sequence[str],
    skip_checks: Sequence[str],
    attributes: Sequence[str],
    state: str | None,
    temperature_K: float | None,
    by: str | None = None,
) -> Options:
    """Options from what was typed.

    Raises:
        DataError: a mass or an attribute that is not KEY=VALUE.
        UnknownNameError: no such rule or check.
    """
    if keep not in ("first", "last"):
        raise unknown_name("rule for --keep", keep, ["first", "last"])
    for check in skip_checks:
        if check not in CHECKS:
            raise unknown_name("check", check, CHECKS)
    if temperature_K is not None and not 0 < temperature_K < math.inf:
        raise DataError(f"temperature {temperature_K:g} K: wanted a positive number")
    if state is not None and not state.strip():
        raise DataError("the state is empty; give a word, or leave it out")
    found: dict[str, Any] = {key: number_or_text(value) for key, value in map(_pair, attributes)}
    if state is not None:
        found["state"] = state
    if temperature_K is not None:
        found["temperature_K"] = temperature_K
    return Options(
        name=name,
        keep="first" if keep == "first" else "last",
        masses={symbol: _mass(symbol, value) for symbol, value in map(_pair, masses)},
        skip_checks=frozenset(skip_checks),
        attributes=found,
        by=by,
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise DataError(f"{text!r}: wanted KEY=VALUE")
    return key, value


def _mass(symbol: str, value: str) -> float:
    try:
        mass = float(value)
    except ValueError:
        mass = 0.0
    if symbol not in atomic_numbers:
        raise unknown_name("element", symbol, atomic_numbers)
    if not 0 < mass < 1000:
        raise DataError(f"mass {value!r} of {symbol}: wanted a number of amu, as in H=2.014101777")
    return mass


def number_or_text(value: str) -> float | str:
    """A number where the text is one; `nan` and `inf` are words, for which JSON has no number."""
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value
