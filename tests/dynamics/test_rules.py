"""Rules that end a replica, on the crystal and on what went wrong with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zifbench.dynamics.rules import RULES, Sample, followed_K
from zifbench.frames import Frames


def sample(frame: Frames, *, temperature_K: float = 310.0) -> Sample:
    return Sample(frame, temperature_K, 300.0)


@pytest.mark.parametrize("name", RULES)
def test_the_crystal_breaks_no_rule(zif4, name) -> None:
    memory: dict[str, float] = {}
    for row in [0, 1] * 5:  # bundled frames carry no velocities
        assert RULES[name](sample(zif4[row]), memory) is None


def test_atoms_on_top_of_each_other(zif4) -> None:
    positions = zif4.positions[:1].copy()
    positions[0, 5] = positions[0, 200] + [0.3, 0.0, 0.0]
    reason = RULES["contact"](sample(dataclasses.replace(zif4[0], positions=positions)), {})
    assert reason is not None
    assert "0.30 Å apart" in reason


def test_a_temperature_out_of_hand(zif4) -> None:
    assert RULES["runaway"](sample(zif4[0], temperature_K=790.0), {}) is None
    reason = RULES["runaway"](sample(zif4[0], temperature_K=810.0), {})
    assert reason == "810 K at a target of 300 K"


def test_an_atom_that_flies_off(zif4) -> None:
    positions = zif4.positions[:1].copy()
    positions[0, 5, 1] = -251.0
    reason = RULES["lost atom"](sample(dataclasses.replace(zif4[0], positions=positions)), {})
    assert reason is not None
    assert reason.endswith("5 has gone 251 Å")


def test_nan(zif4) -> None:
    broken = dataclasses.replace(zif4[0], energy=np.array([np.nan]))
    assert RULES["not a number"](sample(broken), {}) is not None


def test_a_linker_is_broken_only_if_it_stays_so(zif4) -> None:
    """One C is drawn out of its ring, for one sample, then for good."""
    from zifbench.analysis.linkers import find_linkers

    ring = next(find_linkers(zif4[0])).rings[0]
    positions = zif4.positions[:1].copy()
    centre = positions[0, ring].mean(axis=0)
    carbon = next(a for a in ring if zif4.numbers[a] == 6)
    positions[0, carbon] += 0.8 * (positions[0, carbon] - centre)
    torn = dataclasses.replace(zif4[0], positions=positions)
    rule, memory = RULES["broken linker"], {}
    assert rule(sample(zif4[0]), memory) is None
    assert rule(sample(torn), memory) is None
    assert rule(sample(zif4[0]), memory) is None
    found = [rule(sample(torn), memory) for _ in range(4)]
    assert found[:3] == [None] * 3
    assert found[3] is not None
    assert "of 32 imidazolates are broken" in found[3]


def test_a_falling_target_is_followed_with_time_and_a_rising_one_at_once() -> None:
    assert followed_K(300.0, 1500.0, 0.5) == 1500.0
    assert followed_K(1500.0, 300.0, 0.0) == 1500.0
    assert followed_K(1500.0, 300.0, 500.0) == pytest.approx(300.0 + 1200.0 / np.e)
    kelvin = 1500.0
    for _ in range(1000):  # step by step as in one go
        kelvin = followed_K(kelvin, 300.0, 0.5)
    assert kelvin == pytest.approx(followed_K(1500.0, 300.0, 500.0))
