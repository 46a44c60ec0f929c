"""Scaling: sizes, the power of the number of atoms, and what ends it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from zifbench.benchmark import scaling
from zifbench.benchmark.run import SCALING_CELLS, Run
from zifbench.benchmark.scaling import run_scaling
from zifbench.errors import OutOfMemoryError
from zifbench.frames import Frames
from zifbench.potentials.core import Prediction
from zifbench.profiles import Profile
from zifbench.progress import no_progress


class Quadratic:
    """Time grows with the square of the number of atoms; memory ends somewhere."""

    device = "cpu"
    batched = True
    card = None

    def __init__(self, most_atoms: int = 10_000) -> None:
        self.most_atoms = most_atoms

    def prepare(self, frames):
        return frames

    def forward(self, frames):
        if frames.n_atoms > self.most_atoms:
            raise OutOfMemoryError("the device is full")
        time.sleep(2e-4 * frames.n_atoms**2)
        return frames

    def collect(self, output, frames):
        n = frames.n_atoms
        return Prediction(np.zeros(1), np.zeros((1, n, 3)), None, None, "float64")


@pytest.fixture
def make_run(tmp_path):
    cell = Frames(
        numbers=np.array([29, 29, 29, 29]),
        masses=np.full(4, 63.5),
        pbc=np.ones(3, dtype=bool),
        positions=np.random.default_rng(0).uniform(0, 8, (1, 4, 3)),
        cell=8.0 * np.eye(3)[None],
        source="a test",
    )

    def make(potential):
        return Run(potential, [cell], tmp_path, Profile.QUICK, 512, "phase", 0, no_progress)

    return make


def test_the_power_of_the_number_of_atoms_is_found(make_run) -> None:
    found = run_scaling(make_run(Quadratic()))
    sizes = [m.subset["atoms"] for m in found.measurements if m.quantity == "time_per_step"]
    assert sizes == ["4", "8", "16", "32"]
    (power,) = [m for m in found.measurements if m.quantity == "time_exponent"]
    assert power.value == pytest.approx(2.0, abs=0.35)
    assert power.interval_95[0] < power.value < power.interval_95[1]
    assert power.n == 4


def test_memory_that_ends_is_a_gap(make_run) -> None:
    found = run_scaling(make_run(Quadratic(most_atoms=10)))
    sizes = [m.subset["atoms"] for m in found.measurements if m.quantity == "time_per_step"]
    assert sizes == ["4", "8"]
    assert "16 atoms: the device is full" in found.gaps
    assert not any(m.quantity == "time_exponent" for m in found.measurements)


def test_sizes_that_take_too_long_are_left_out(make_run, monkeypatch) -> None:
    monkeypatch.setattr(scaling, "_MOST_S", 0.2)
    found = run_scaling(make_run(Quadratic()))
    assert any("32 atoms: left out" in gap for gap in found.gaps)


def test_the_paper_goes_to_34_000_atoms() -> None:
    cells, _ = SCALING_CELLS[Profile.PAPER]
    assert 272 * np.prod(cells[-1]) == 34_000
