"""Models with known answers: our engine gives them, and each kind of defect is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from typer.testing import CliRunner

from zifbench.cli import app
from zifbench.dynamics import engine_checks, integrators
from zifbench.dynamics.engine_checks import GROUPS, fluid, spheres, springs
from zifbench.dynamics.engines.ase import AseEngine
from zifbench.dynamics.replica import Replica
from zifbench.errors import UnknownNameError

QUICK = ("motion", "energy", "companions")


def failed(group: str, make: Callable[[Calculator], AseEngine] = AseEngine) -> list[str]:
    return [check.name for check in GROUPS[group](make) if not check.passed]


@pytest.mark.parametrize("group", QUICK)
def test_newton(group) -> None:
    assert failed(group) == []


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted(set(GROUPS) - set(QUICK)))
def test_ensembles(group) -> None:
    assert failed(group) == []


def altered(change: Callable[[dict], dict]) -> Callable[[Calculator], AseEngine]:
    """Our engine over a calculator whose results it changes."""

    def make(calculator: Calculator) -> AseEngine:
        class Changed(type(calculator)):
            def calculate(self, *args, **kwargs):
                super().calculate(*args, **kwargs)
                self.results |= change(self.results)

        changed = Changed.__new__(Changed)
        changed.__dict__ = calculator.__dict__
        return AseEngine(changed)

    return make


def test_defects_of_the_motion_are_found() -> None:
    twice = altered(lambda r: {"forces": 2.0 * r["forces"]})
    assert failed("motion", twice) == ["acceleration = force / mass"]
    assert set(failed("energy", twice)) == {"energy drift", "second order"}
    assert failed("motion", altered(lambda r: {"stress": -r["stress"]})) == ["recorded stress"]
    kinetic = altered(lambda r: {"stress": r["stress"] - [1e-3, 1e-3, 1e-3, 0, 0, 0]})
    assert failed("motion", kinetic) == ["recorded stress"]


def test_a_transposed_cell_is_found(monkeypatch) -> None:
    original = Replica.frame

    def frame(self):
        right = original(self)
        return dataclasses.replace(right, cell=right.cell.swapaxes(1, 2))

    monkeypatch.setattr(Replica, "frame", frame)
    assert set(failed("motion")) >= {"recorded energy", "recorded stress"}


@pytest.mark.slow
def test_defects_of_the_ensembles_are_found(monkeypatch) -> None:
    """ASE's own degrees of freedom: 3N for the atoms, nine for the cell; and a wrong factor."""
    with monkeypatch.context() as context:
        context.setattr(integrators, "_CELL_DEGREES", 9)
        assert failed("cell") == ["temperature of the cell"]
    with monkeypatch.context() as context:
        context.setattr("zifbench.dynamics.replica.set_target", _set_target_of_3n)
        names = failed("thermostat")
    assert {f"temperature of replica {k}" for k in range(1, 5)} <= set(names)
    twice = altered(lambda r: {"stress": 2.0 * r["stress"]})  # a factor in the force on the cell
    assert "volume under pressure" in failed("pressure", twice)


def _set_target_of_3n(integrator, kelvin: float) -> None:
    thermostat = integrator._thermostat
    thermostat._num_atoms_global = len(integrator.atoms)
    thermostat._kT = 8.617333262e-5 * kelvin
    thermostat._Q[:] = thermostat._kT * thermostat._tdamp**2
    thermostat._Q[0] *= 3 * len(integrator.atoms)


@pytest.mark.parametrize(("model", "atoms"), [(spheres, fluid), (springs, engine_checks._sheared)])
def test_the_known_models_are_potentials(model, atoms) -> None:
    """Forces and stress against differences of the energy."""
    system, h = atoms(), 1e-4
    system.rattle(0.2, seed=0)

    def energy(changed) -> float:
        calculator = model()
        calculator.calculate(changed)
        return calculator.results["energy"]

    calculator = model()
    calculator.calculate(system)
    for axis in range(3):
        up, down = system.copy(), system.copy()
        up.positions[3, axis] += h
        down.positions[3, axis] -= h
        slope = (energy(up) - energy(down)) / (2 * h)
        assert calculator.results["forces"][3, axis] == pytest.approx(-slope, abs=1e-7)
    for row, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            changed = system.copy()
            changed.set_cell(system.cell.array @ strain, scale_atoms=True)
            energies.append(energy(changed))
        slope = (energies[0] - energies[1]) / (2 * h) / system.get_volume()
        assert calculator.results["stress"][row] == pytest.approx(slope, abs=1e-8)


def test_the_command(monkeypatch) -> None:
    for name in set(GROUPS) - {"companions"}:
        monkeypatch.delitem(GROUPS, name)
    found = CliRunner().invoke(app, ["md", "check", "--json"], catch_exceptions=False)
    assert found.exit_code == 0
    assert [row["name"] for row in json.loads(found.stdout)] == [
        "alone = among others", "replicas differ",
    ]  # fmt: skip
    shown = CliRunner().invoke(app, ["md", "check"], catch_exceptions=False)
    assert "alone = among others" in shown.stdout
    monkeypatch.setitem(GROUPS, "companions", lambda make: GROUPS_FAILING)
    assert CliRunner().invoke(app, ["md", "check"]).exit_code == 1
    assert CliRunner().invoke(app, ["md", "check", "--engine", "asee"]).exit_code != 0


GROUPS_FAILING = [engine_checks._absolute("x", 2.0, 1.0, "Å", "too much")]


def test_an_engine_that_there_is_not_has_failed_no_physics() -> None:
    found = CliRunner().invoke(app, ["md", "check", "--engine", "nope"])
    assert isinstance(found.exception, UnknownNameError)  # the program exits with 2
    assert str(found.exception) == "unknown engine 'nope'; known: ase, auto, torchsim"
    assert found.stdout == ""
