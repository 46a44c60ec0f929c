"""Which engine moves what, on any Python; and what a person sees of it."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.dynamics.argon import calculator
from tests.dynamics.test_run import ALL, Fragile, Metal, StoppedError, go
from zifbench.dynamics import speedometer as speedometer_module
from zifbench.dynamics.checkpoint import Checkpoint
from zifbench.dynamics.engines import make_engine
from zifbench.dynamics.protocol import Ensemble
from zifbench.dynamics.record import Record
from zifbench.dynamics.speedometer import Speedometer
from zifbench.errors import (
    DataError,
    MissingDependencyError,
    ModelError,
    ResultError,
    UnknownNameError,
)


def test_what_there_is_no_engine_for() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'torchsin'; did you mean torchsim"):
        make_engine("torchsin", Metal())
    with pytest.raises(DataError, match="one replica at a time; leave out --batch-atoms"):
        make_engine("ase", Metal(), batch_atoms=500)
    with pytest.raises(ModelError, match="got Metal; use --engine ase"):
        make_engine("torchsim", Metal())
    assert make_engine("auto", Metal()).name == "ase"


def test_without_torchsim_one_sentence_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    for name in [
        name for name in sys.modules if name.startswith("zifbench.dynamics.engines.torch")
    ]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError, match=r"TorchSim is not installed, .*--engine ase"):
        make_engine("torchsim", calculator())


class Still:
    """A replica that stands still, or is said to go downhill."""

    temperature_K, energy_eV = 300.0, -2.0

    def __init__(self, step: int = 0, excess_force_eV_per_A: float | None = None) -> None:
        downhill = excess_force_eV_per_A is not None
        ensemble = Ensemble.MINIMISE if downhill else Ensemble.NVT
        self.step, self.excess_force_eV_per_A = step, excess_force_eV_per_A
        self.segment = SimpleNamespace(ensemble=ensemble, force_eV_per_A=0.02)


def test_the_speed_is_that_of_this_call(monkeypatch) -> None:
    now, shown = [100.0], []
    monkeypatch.setattr(speedometer_module.time, "monotonic", lambda: now[0])
    speed = Speedometer(lambda n, status="": shown.append((n, status)))
    now[0] += 0.864
    speed.count(1, 10.0, [Still()])  # 10 fs in 0.864 s
    assert shown == [(1, "1 ns/day, 300 K, -2.000 eV")]
    now[0] += 0.1
    speed.count(1, 10.0, [Still()])  # too soon for another text
    now[0] += 0.764
    speed.count(2, 20.0, [Still(), Still()])
    assert shown[1:] == [(3, "2 ns/day, 300 K, -2.000 eV, mean of 2 replicas")]
    speed.count(4, 40.0, [Still()])
    speed.finish()
    assert sum(n for n, _ in shown) == 8


def test_a_minimisation_says_how_far_it_is_and_is_no_speed(monkeypatch) -> None:
    now, shown = [100.0], []
    monkeypatch.setattr(speedometer_module.time, "monotonic", lambda: now[0])
    speed = Speedometer(lambda n, status="": shown.append((n, status)))
    for replicas in (
        [Still(0, 0.0)], [Still(37, 0.1)], [Still(38, 0.1), Still(38, 0.3)],
        [Still(39, 0.1), Still()],
    ):  # fmt: skip
        now[0] += 0.864
        moving = len(replicas) - sum(r.segment.ensemble is Ensemble.MINIMISE for r in replicas)
        speed.count(moving, 10.0 * moving, replicas)
    assert shown == [
        (0, "minimising"),
        (0, "minimising, step 37, largest force 0.12 eV/Å"),
        (0, "minimising, step 38, largest force in 2 replicas 0.32 eV/Å"),
        (1, "1 ns/day, 300 K, -2.000 eV"),
    ]


def test_steps_of_an_earlier_call_are_done_and_no_speed(tmp_path) -> None:
    shown = []

    @contextlib.contextmanager
    def progress(title, total, done=0):
        shown.append([title, total, done])
        yield lambda n, status="": shown[-1].append(n)

    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        go(ALL, out, Fragile(130), checkpoint_s=0.0, progress=progress)
    go(ALL, out, progress=progress)
    (_, total, done, *_), (title, again, before, *advanced) = shown
    assert (title, total, done) == ("md test", 250, 0)
    assert again == total
    assert before > 0
    assert before + sum(advanced) == total


def test_only_some_of_an_unfinished_batch_are_not_enough(tmp_path, monkeypatch) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(Record, "digest", "the same")
    Record(out, {})
    (out / "run.json").unlink()
    states = {"copper": {}, "copper-1": {"x": np.zeros(1)}}
    Checkpoint(("copper", "copper-1"), "the same", states).write(out / "checkpoints/copper.npz")
    with pytest.raises(ResultError, match=r"batch of copper holds copper-1 too; give as many"):
        go(ALL, out)
