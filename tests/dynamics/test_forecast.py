"""Forecasts: what is counted, how it scales, and what a budget buys."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from types import SimpleNamespace

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from tests.dynamics.test_run import protocol
from zifbench.cli import app
from zifbench.dynamics.forecast import (
    MINIMISATION_CALLS,
    PROBE_STEPS,
    Forecast,
    StepCost,
    choose,
    choose_alone,
    forecast,
    parse_hours,
    probe,
)
from zifbench.errors import DataError
from zifbench.profiles import Profile

COST = StepCost(n_atoms=100, seconds=0.5, slowest_seconds=1.0, memory_GiB=0.2, base_GiB=0.5)
STAGES = (
    {"name": "down", "ensemble": "minimise", "length_ps": {}, "keep": True},
    {"name": "hold", "ensemble": "nvt", "temperature_K": 300, "sample_fs": 10},
    {
        "name": "squeeze",
        "ensemble": "nvt",
        "temperature_K": 300,
        "volume_change_percent": 1,
        "length_ps": {"quick": 0.1, "standard": 0.2, "paper": 0.3},
    },
)


def test_calls_time_memory_and_disk_are_counted() -> None:
    what = protocol(*STAGES, replicas={"quick": 3, "standard": 3, "paper": 3})
    found = forecast(what, Profile.STANDARD, {"a": 100, "b": 400}, COST)
    calls = MINIMISATION_CALLS + 50 + 100  # at 2 fs
    assert found.n_replicas == 6
    assert found.n_calls == 6 * calls
    assert found.hours == pytest.approx(3 * calls * (0.5 + 4 * 0.5) / 3600.0)
    assert found.hours_at_most == pytest.approx(2.0 * found.hours)
    assert found.memory_GiB == pytest.approx(0.5 + 4 * 0.2)
    frames = 3 * (1 + 10)
    assert found.disk_GiB * 2**30 == pytest.approx(frames * (24 * 500 + 2 * 168))


@pytest.mark.parametrize(
    ("at_once", "device_GiB", "memory_GiB"),
    [
        (None, 16.0, 0.5 + 4 * 0.2),  # one replica after the other
        (700, 16.0, 0.5 + 7 * 0.2),  # three times 100, and 400
        (1000, 16.0, 0.5 + 8 * 0.2),  # twice 400
        (10**6, 16.0, 0.5 + 15 * 0.2),  # all six
        (10**6, 2.0, 2.0),  # batches are halved until they fit
        (10**6, 1.0, 0.5 + 4 * 0.2),  # one replica is too much
    ],
)
def test_memory_is_that_of_the_largest_batch(at_once, device_GiB, memory_GiB) -> None:
    what = protocol(*STAGES, replicas={"quick": 3, "standard": 3, "paper": 3})
    cost = dataclasses.replace(COST, device_GiB=device_GiB)
    starts = {"a": 100, "b": 400}
    found = forecast(what, Profile.STANDARD, starts, cost, at_once=at_once)
    assert found.memory_GiB == pytest.approx(memory_GiB)
    assert found.hours == forecast(what, Profile.STANDARD, starts, COST).hours


def test_a_probe_on_a_device_tells_what_was_there_from_what_it_takes(monkeypatch) -> None:
    cuda = SimpleNamespace(
        reset_peak_memory_stats=lambda device: None,
        memory_allocated=lambda device: 2**29,
        max_memory_allocated=lambda device: 2**31,
        get_device_properties=lambda device: SimpleNamespace(total_memory=2**34),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    cost = probe(EMT(), bulk("Cu", cubic=True).repeat(2), device="cuda:0")
    assert (cost.base_GiB, cost.memory_GiB, cost.device_GiB) == (0.5, 1.5, 16.0)


def test_a_probe_times_steps_after_the_warm_up() -> None:
    class Slow(EMT):
        calls = 0

        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.calls += 1
            time.sleep(0.2 if self.calls == 1 else 0.005)

    calculator, atoms = Slow(), bulk("Cu", cubic=True).repeat(2)
    before = atoms.positions.copy()
    cost = probe(calculator, atoms)
    assert calculator.calls >= PROBE_STEPS
    assert cost.n_atoms == 32
    assert 0.005 <= cost.seconds <= cost.slowest_seconds < 0.2
    assert (atoms.positions == before).all()


def row(name: str, profile: Profile, hours: float) -> Forecast:
    return Forecast(name, profile, 1, 1, 1, hours / 2, hours, 0.1, 0.1)


def test_a_budget_buys_short_profiles_of_all_before_long_ones() -> None:
    rows = [
        row(name, profile, hours)
        for name, all_hours in {"a": (1, 10, 100), "b": (2, 4, 8), "c": (50, 51, 52)}.items()
        for profile, hours in zip(Profile, all_hours, strict=True)
    ]
    quick, standard, paper = Profile
    assert choose(rows, 0.5) == {}
    assert choose(rows, 3.0) == {"a": quick, "b": quick}
    assert choose(rows, 5.0) == {"a": quick, "b": standard}
    assert choose(rows, 14.0) == {"a": standard, "b": standard}
    assert choose(rows, 18.0) == {"a": standard, "b": paper}
    assert choose(rows, 1e3) == {"a": paper, "b": paper, "c": paper}


def test_a_table_tells_what_fits_together_from_what_fits_alone(monkeypatch) -> None:
    from zifbench.dynamics import simulate

    rows = [
        row(name, profile, minutes / 60.0)
        for name, all_minutes in {
            "a": (2.5, 90, 900),
            "b": (1.4, 2.9, 90),
            "c": (3.2, 9, 90),
        }.items()
        for profile, minutes in zip(Profile, all_minutes, strict=True)
    ]
    assert choose_alone(rows, 3.0 / 60.0) == {"a": Profile.QUICK, "b": Profile.STANDARD}
    monkeypatch.setattr(simulate, "forecast_protocols", lambda *args, **kwargs: rows)
    monkeypatch.setenv("COLUMNS", "200")

    def shown(*options: str) -> str:
        return CliRunner().invoke(app, ["md", "forecast", "any", *options]).stdout

    table = shown("--budget", "3min")
    cells = [[cell.strip() for cell in line.split("│")] for line in table.splitlines()]
    assert [line[1:4] for line in cells if len(line) == 5] == [
        ["a", "quick, 2.5 min", "quick, 2.5 min"],
        ["b", "no (quick, 1.4 min)", "standard, 2.9 min"],
        ["c", "no (quick, 3.2 min)", "no (quick, 3.2 min)"],
    ]
    assert "this protocol and no other (--protocol NAME)" in table
    assert "fits" not in shown()
    found = json.loads(shown("--budget", "3min", "--json"))
    assert [(r["protocol"], r["profile"]) for r in found if r["chosen"]] == [("a", "quick")]
    assert [(r["protocol"], r["profile"]) for r in found if r["chosen_alone"]] == [
        ("a", "quick"), ("b", "standard"),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "hours"), [("30min", 0.5), ("8h", 8.0), ("1.5d", 36.0)])
def test_budgets_carry_their_unit(text, hours) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize(
    "text", ["8", "h", "", "-2h", "0h", "8 weeks", "1s", "infh", "nanh", "8hh"]
)
def test_other_budgets_are_refused(text) -> None:
    with pytest.raises(DataError, match="--budget"):
        parse_hours(text)


def test_a_budget_chooses_the_profile_of_a_run_and_a_resumed_one_keeps_it(tmp_path) -> None:
    from zifbench.dynamics.simulate import simulate

    own = tmp_path / "own.toml"
    own.write_text(
        'schema = 1\nabout = ""\nsource = ""\nstart = "x"\n[[stages]]\nname = "nvt"\n'
        'ensemble = "nvt"\ntemperature_K = 300\nsample_fs = 5\n'
        "length_ps = { quick = 0.005, standard = 0.01, paper = 1e6 }\n"
    )
    start = tmp_path / "cu.extxyz"
    bulk("Cu", cubic=True).repeat(2).write(start)
    factory = tmp_path / "emt.py"
    factory.write_text("from ase.calculators.emt import EMT\n\ndef make():\n    return EMT()\n")

    def go(hours: float, **options) -> str:
        simulate(
            str(own), f"{factory}:make", tmp_path / "run",
            budget_h=hours, starts=[str(start)], trust=True, **options,
        )  # fmt: skip
        return json.loads((tmp_path / "run" / "run.json").read_text())["run"]["profile"]

    with pytest.raises(DataError, match="in its shortest profile takes about"):
        go(1e-9)
    assert not (tmp_path / "run").exists()
    assert go(1.0) == "standard"
    assert go(1e-9) == "standard"
