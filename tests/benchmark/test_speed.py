"""Speed: what is timed, how it is summarised."""

from __future__ import annotations

import time

import numpy as np
import pytest

from zifbench.benchmark.speed import (
    CallTimes,
    busy_machine,
    median_interval,
    speed_measurements,
    time_calls,
)


class Sleeper:
    """A potential that takes known times."""

    device = "cpu"
    batched = True

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self, frames):
        time.sleep(0.002)
        return frames

    def forward(self, batch):
        self.calls += 1
        time.sleep(0.5 if self.calls == 1 else 0.006)
        return {}


def test_warm_up_is_not_timed_and_the_parts_are_told_apart(make_frames):
    sleeper = Sleeper()
    ticks = []
    times = time_calls(
        sleeper, make_frames(1), n_calls=8, n_warm_up=2, progress=lambda: ticks.append(1)
    )
    assert sleeper.calls == 10
    assert len(ticks) == 10
    assert times.call.shape == (8,)
    assert times.forward.max() < 0.4
    assert np.median(times.neighbours) == pytest.approx(0.002, abs=0.002)
    assert np.median(times.forward) == pytest.approx(0.006, abs=0.004)


def test_medians_per_atom_in_microseconds():
    times = CallTimes(neighbours=np.full(9, 1e-4), forward=np.linspace(1e-3, 3e-3, 9))
    found = {m.quantity: m for m in speed_measurements(times, n_atoms=100, device="cpu")}
    assert found["time_forward"].value == pytest.approx(20.0)
    assert found["time_neighbours"].value == pytest.approx(1.0)
    assert found["time_per_call"].value == pytest.approx(21.0)
    assert found["time_per_call"].n == 9
    low, high = found["time_forward"].spread_95
    assert (low, high) == (pytest.approx(10.5), pytest.approx(29.5))
    assert found["peak_memory"].value > 0.01


@pytest.mark.parametrize(("load", "said"), [(0.3, False), (4.9, False), (5.2, True)])
def test_a_busy_machine_is_said(monkeypatch, load, said):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert bool(busy_machine()) is said


def test_median_interval_is_the_tabulated_one():
    """For n = 10 the 2nd and 9th order statistics, 97.9 % (standard tables)."""
    assert median_interval(np.arange(1.0, 11.0)) == (2.0, 9.0)
    assert median_interval(np.arange(5.0)) is None


def test_median_interval_covers_the_median():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        low, high = median_interval(rng.exponential(size=30))
        hits += low <= np.log(2) <= high
    assert 0.94 <= hits / 1000 <= 0.98
