"""Candidates that are fast enough to evaluate in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

_CALCULATORS = '''
"""ASE calculators for tests."""
import os
import time

from ase.calculators.lj import LennardJones


class SlowLennardJones(LennardJones):
    """A Lennard-Jones crystal with the price of a neural network.

    With STOP_AFTER in the environment, somebody presses Ctrl-C after so many calls.
    """

    calls = 0

    def calculate(self, *args, **kwargs):
        time.sleep(0.02)
        self.calls += 1
        if self.calls > int(os.environ.get("STOP_AFTER", 1_000_000)):
            raise KeyboardInterrupt
        super().calculate(*args, **kwargs)


class WrongShape(LennardJones):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = self.results["forces"][:2]


class NoStress(LennardJones):
    implemented_properties = ["energy", "forces"]


def fast():
    return LennardJones(sigma=1.5, epsilon=0.05, rc=4.0)


def slow():
    return SlowLennardJones(sigma=1.5, epsilon=0.05, rc=4.0)


def wrong_shape():
    return WrongShape(sigma=1.5, epsilon=0.05, rc=4.0)


def no_stress():
    return NoStress(sigma=1.5, epsilon=0.05, rc=4.0)
'''


@pytest.fixture
def candidate(tmp_path: Path) -> str:
    """`file.py` whose factories make candidates; add `:fast` or another name."""
    path = tmp_path / "candidates.py"
    path.write_text(_CALCULATORS)
    return str(path)
