"""Runs of a small metal: stages, resume bit for bit, failures, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from zifbench.dataset.store import open_store
from zifbench.dynamics import replica as replica_module
from zifbench.dynamics import run as run_module
from zifbench.dynamics import speedometer
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.plan import Segment, plan
from zifbench.dynamics.protocol import Ensemble, Protocol, parse_protocol
from zifbench.dynamics.replica import Replica
from zifbench.dynamics.rules import RULES, SUSPICION
from zifbench.dynamics.run import Outcome, cases, run_protocol
from zifbench.errors import DataError, ModelError, ResultError, UnknownNameError
from zifbench.profiles import Profile

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
MODEL = {"model": "EMT", "model_sha256": "0"}
SAME = {"quick": 0.1, "standard": 0.1, "paper": 0.1}


class Metal(EMT):
    """EMT that starts from nothing at each call: its neighbour list remembers where atoms were."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, all_changes)


def protocol(*stages: dict, **settings) -> Protocol:
    rows = [{"length_ps": SAME, **stage} for stage in stages]
    table = {
        "schema": 1, "name": "test", "about": "", "source": "", "start": "copper",
        "time_step_fs": 2.0, "hot_time_step_fs": 1.0, "stages": rows, **settings,
    }  # fmt: skip
    return parse_protocol(table, where="test")


NVT = {"name": "nvt", "ensemble": "nvt", "temperature_K": 300}
ALL = protocol(
    {"name": "down", "ensemble": "minimise", "length_ps": {}},
    {**NVT, "name": "warm", "temperature_K": [300, 600], "sample_fs": 10},
    {**NVT, "name": "squeeze", "volume_change_percent": -3, "sample_fs": 10},
    {**NVT, "name": "hold", "sample_fs": 10},
    {"name": "free", "ensemble": "npt", "temperature_K": 300, "sample_fs": 10},
    {"name": "alone", "ensemble": "nve", "sample_fs": 10},
)


def copper(n: int = 2):
    return bulk("Cu", cubic=True).repeat(n)


def go(what: Protocol, out: Path, calculator=None, **options) -> list[Outcome]:
    settings = {"profile": Profile.QUICK, "model": MODEL, "checkpoint_s": 1e9, **options}
    return run_protocol(what, calculator or Metal(), {"copper": copper()}, out, **settings)


def frames_of(out: Path) -> dict[str, object]:
    with open_store(out / "frames.zarr") as store:
        return {name: t.read(range(len(t))) for name, t in store.trajectories.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    outcomes = go(ALL, out)
    assert [(o.replica, o.ended, o.time_fs) for o in outcomes] == [("copper", "completed", 500.0)]
    return out


def test_each_stage_writes_its_trajectory(whole) -> None:
    found = frames_of(whole)
    assert set(found) == {f"copper.{s}" for s in ("warm", "squeeze", "hold", "free", "alone")}
    for number, stage in enumerate(("warm", "squeeze", "hold", "free", "alone")):
        frames = found[f"copper.{stage}"]
        assert frames.time_fs == pytest.approx(100.0 * number + 10.0 * np.arange(1, 11))
        assert np.array_equal(frames.step, frames.time_fs / 2.0)
        assert frames.velocities is not None
        assert frames.stress is not None
    start = copper().get_volume()
    assert found["copper.squeeze"].volume[-1] == pytest.approx(0.97 * start, rel=1e-12)
    assert found["copper.hold"].volume == pytest.approx(0.97 * start, rel=1e-12)
    edges = np.cbrt(found["copper.squeeze"].volume / start)
    assert np.diff(edges, 2) == pytest.approx(0.0, abs=1e-12)  # linear in time
    assert np.ptp(found["copper.free"].volume) > 1.0


def driven(time_step_fs: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions and cell at the end of a ramp by 100 fs, and calls of the model a step."""

    class Counted(Metal):
        calls = 0

        def calculate(self, *args, **kwargs):
            self.calls += 1
            super().calculate(*args, **kwargs)

    atoms = copper(1)
    atoms.calc = Counted()
    n = round(100.0 / time_step_fs)
    ramp = Segment("ramp", Ensemble.NVT, n, time_step_fs, (300.0, 300.0), (1.0, 0.98), 0.0, None)
    replica = Replica(atoms, (ramp,), Damping(100.0, 1000.0), (0, 0))
    for _ in range(n):
        replica.advance()
    return atoms.get_positions(), atoms.cell.array.copy(), (atoms.calc.calls - 1) / n


def test_a_driven_volume_takes_one_call_a_step_and_goes_the_way_of_short_steps() -> None:
    exact, cell, _ = driven(0.25)
    assert cell == pytest.approx(0.98 * copper(1).cell.array)
    off = []
    for time_step_fs in (4.0, 2.0):
        positions, _, calls = driven(time_step_fs)
        assert calls == 1.0
        off.append(np.sqrt(np.mean((positions - exact) ** 2)))
    assert off[0] < 1e-3
    assert off[1] < 0.4 * off[0]  # second order in the step


def test_energy_is_kept_without_a_thermostat(whole) -> None:
    frames = frames_of(whole)["copper.alone"]
    kinetic = (
        0.5
        * 103.642696562
        * np.einsum("a,tai,tai->t", frames.masses, frames.velocities, frames.velocities)
    )
    total = frames.energy + kinetic
    assert np.ptp(total) < 0.03 * np.ptp(kinetic)


class StoppedError(Exception):
    """What a kill looks like from inside."""


class Fragile(Metal):
    """Stops the program at one of its calls."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def calculate(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise StoppedError
        super().calculate(*args, **kwargs)


def test_a_run_that_was_killed_often_is_the_uninterrupted_one(whole, tmp_path) -> None:
    out, kills = tmp_path / "run", 0
    rng = np.random.default_rng(0)
    while True:
        try:
            go(ALL, out, Fragile(int(rng.integers(5, 60))), checkpoint_s=0.0)
            break
        except StoppedError:
            kills += 1
    assert kills > 3
    expected, found = frames_of(whole), frames_of(out)
    assert list(expected) == list(found)
    for name, frames in expected.items():
        assert frames.digest() == found[name].digest(), name


STATIC = protocol(
    *(
        {
            "name": f"at{change:+g}",
            "ensemble": "minimise",
            "length_ps": {},
            "volume_change_percent": change,
            "force_eV_per_A": 0.001,
            "keep": True,
        }
        for change in (-1.5, 0, 1.5)
    )
)


def rattled() -> Atoms:
    atoms = copper()
    atoms.rattle(0.1, seed=1)
    return atoms


def minimise(out: Path, calculator: Calculator) -> list[Outcome]:
    return run_protocol(
        STATIC, calculator, {"copper": rattled()}, out,
        profile=Profile.QUICK, model=MODEL, checkpoint_s=0.0,
    )  # fmt: skip


def test_minima_at_several_volumes(tmp_path) -> None:
    minimise(tmp_path / "whole", Metal())
    whole = frames_of(tmp_path / "whole")
    perfect = copper()
    for change in (-1.5, 0, 1.5):
        frames = whole[f"copper.at{change:+g}"]
        assert len(frames) == 1
        assert not frames.velocities.any()
        perfect.set_cell(copper().cell * (1 + 0.01 * change) ** (1 / 3), scale_atoms=True)
        perfect.calc = Metal()
        assert frames.volume[0] == pytest.approx(perfect.get_volume())
        assert frames.energy[0] == pytest.approx(perfect.get_potential_energy(), abs=1e-5)
    kills = 0
    while True:
        try:
            minimise(tmp_path / "run", Fragile(5))
            break
        except StoppedError:
            kills += 1
    assert kills > 5
    for name, frames in frames_of(tmp_path / "run").items():
        assert frames.digest() == whole[name].digest()


def test_a_minimum_is_at_rest_though_velocities_are_drawn_already(tmp_path) -> None:
    down = {"name": "down", "ensemble": "minimise", "length_ps": {}, "keep": True}
    go(protocol(down, {**NVT, "sample_fs": 100}), tmp_path / "run")
    found = frames_of(tmp_path / "run")
    assert not found["copper.down"].velocities.any()
    assert found["copper.nvt"].velocities.any()


def test_a_minimum_that_is_not_reached_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(replica_module, "MOST_MINIMISER_STEPS", 2)
    (outcome,) = minimise(tmp_path / "run", Metal())
    assert outcome.ended == "completed"
    assert "at-1.5: " in outcome.reason
    assert "eV/Å more than wanted" in outcome.reason


def test_kills_between_checkpoints_lose_nothing_and_double_nothing(whole, tmp_path) -> None:
    """Frames that were committed after the last checkpoint come once."""
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        go(ALL, out, Fragile(90), checkpoint_s=0.0)
    old = (out / "checkpoints" / "copper.npz").read_bytes()
    with pytest.raises(StoppedError):
        go(ALL, out, Fragile(60), checkpoint_s=0.0)
    (out / "checkpoints" / "copper.npz").write_bytes(old)
    go(ALL, out)
    for name, frames in frames_of(whole).items():
        assert frames.digest() == frames_of(out)[name].digest(), name


def test_nothing_is_run_twice(whole) -> None:
    before = (whole / "run.json").read_text()
    assert [o.ended for o in go(ALL, whole, Fragile(1))] == ["completed"]
    assert (whole / "run.json").read_text() == before


def test_a_replica_does_not_depend_on_what_runs_beside_it(tmp_path) -> None:
    warm = protocol({**NVT, "sample_fs": 20})
    go(warm, tmp_path / "two", replicas=2)
    go(warm, tmp_path / "three", replicas=3)
    two, three = frames_of(tmp_path / "two"), frames_of(tmp_path / "three")
    for name, frames in two.items():
        assert frames.digest() == three[name].digest()
    assert two["copper.nvt"].digest() != two["copper-1.nvt"].digest()
    go(warm, tmp_path / "two", replicas=3)  # one more, later
    assert frames_of(tmp_path / "two")["copper-2.nvt"].digest() == three["copper-2.nvt"].digest()


class Broken(Metal):
    """Gives NaN from some call on, for a while."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.calls, self.bad = 0, range(first, last)

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls += 1
        if self.calls in self.bad:
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def test_a_failure_ends_one_replica_and_is_recorded(tmp_path) -> None:
    what = protocol({**NVT, "sample_fs": 10})
    outcomes = go(what, tmp_path / "run", Broken(23, 24), replicas=2)
    assert [o.ended for o in outcomes] == ["not a number", "completed"]
    assert outcomes[0].time_fs == 44.0
    assert outcomes[0].last_good_fs == 40.0
    found = frames_of(tmp_path / "run")
    assert len(found["copper.nvt"]) == 4
    assert len(found["copper-1.nvt"]) == 10
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["outcomes"]
    assert recorded[0]["reason"].startswith("NaN or infinite")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seed": 1}, r"another seed \(0, now 1\)"),
        ({"profile": Profile.PAPER}, r"another profile \(quick, now paper\)"),
        ({"model": {"model": "other"}}, "another model; give"),
    ],
)
def test_other_parameters_do_not_go_on_with_a_run(whole, options, reason) -> None:
    with pytest.raises(ResultError, match=reason):
        go(ALL, whole, **options)


def test_bad_input_is_refused_before_a_step(tmp_path) -> None:
    class NoStress(Metal):
        implemented_properties = ("energy", "forces")

    with pytest.raises(ModelError, match="gives no stress, which stage squeeze of test"):
        go(ALL, tmp_path / "run", NoStress())
    with pytest.raises(DataError, match="7 fs is no multiple of the time step, 2 fs"):
        go(protocol({**NVT, "sample_fs": 7}), tmp_path / "run")
    with pytest.raises(UnknownNameError, match="unknown rule 'contct'; did you mean contact"):
        go(protocol(NVT, stop_on=["contct"]), tmp_path / "run")
    with pytest.raises(DataError, match="velocities cannot be drawn"):
        go(protocol({"name": "a", "ensemble": "nve"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ResultError, match="holds other files than a run"):
        go(ALL, tmp_path / "mine")


def test_a_damaged_checkpoint_is_named(whole, tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        go(ALL, out, Fragile(90), checkpoint_s=0.0)
    (out / "checkpoints" / "copper.npz").write_bytes(b"PK")
    with pytest.raises(ResultError, match=r"copper\.npz is no checkpoint"):
        go(ALL, out)
    shutil.rmtree(out / "checkpoints")
    (out / "checkpoints").mkdir()
    go(ALL, out)
    for name, frames in frames_of(whole).items():
        assert frames.digest() == frames_of(out)[name].digest(), name


class Springs(Calculator):
    """Springs between nearest neighbours, followed from the start: quick, and far from harmonic."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, atoms: Atoms, cutoff_A: float = 2.7) -> None:
        super().__init__()
        self.i, self.j, self.shift, d = neighbor_list("ijSd", atoms, cutoff_A)
        self.length = d

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, cell = self.atoms.positions, self.atoms.cell.array
        arm = x[self.j] - x[self.i] + self.shift @ cell
        d = np.linalg.norm(arm, axis=1)
        pull = (2.0 * (d - self.length) / d)[:, None] * arm
        forces = np.zeros_like(x)
        np.add.at(forces, self.i, 2.0 * pull)  # each spring stands in the list twice
        stress = arm.T @ pull / np.linalg.det(cell)
        energy = float(((d - self.length) ** 2).sum())
        self.results = {"energy": energy, "forces": forces, "stress": stress[VOIGT]}


def test_every_moving_degree_of_freedom_has_its_share() -> None:
    """3N − 3 of the atoms and six of the cell hold ½ k_B T each; ASE's counts are 3N and nine."""
    what = protocol({**NVT, "ensemble": "npt", "length_ps": dict.fromkeys(SAME, 60.0)})
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.eye(3, k=1)), scale_atoms=True)
    atoms = atoms.repeat((2, 1, 1))
    atoms.calc = Springs(atoms)
    replica = Replica(atoms, plan(what, Profile.QUICK), Damping(50.0, 200.0), (0, 0))
    kelvin, doubled = [], []
    for _ in range(20_000):
        replica.advance()
        kelvin.append(replica.temperature_K)
        momenta = replica._integrator._p_g
        doubled.append((momenta**2).sum() / replica._integrator._barostat.W)
    assert np.array_equal(momenta, momenta.T)  # six, and no turning
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert np.mean(kelvin[1000:]) == pytest.approx(300.0, abs=9.0)  # 3N would give 343 K
    assert np.mean(doubled[1000:]) == pytest.approx(6.0 * 8.617333262e-5 * 300.0, rel=0.15)


def test_a_cell_that_blows_up_ends_one_replica(tmp_path) -> None:
    class BadStress(Metal):
        calls = 0

        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.calls += 1
            if self.calls == 12:
                self.results["stress"] = np.full(6, np.nan)

    what = protocol({**NVT, "ensemble": "npt", "sample_fs": 10})
    outcomes = go(what, tmp_path / "run", BadStress(), replicas=2)
    assert [o.ended for o in outcomes] == ["not a number", "completed"]


def test_a_model_that_fails_everywhere_is_no_result(tmp_path) -> None:
    class Dying(Metal):
        calls = 0

        def calculate(self, *args, **kwargs):
            self.calls += 1
            if self.calls > 20:
                raise ModelError("the device is gone")
            super().calculate(*args, **kwargs)

    what = protocol({**NVT, "sample_fs": 10})
    with pytest.raises(ModelError, match="the device is gone"):
        go(what, tmp_path / "run", Dying(), replicas=2, checkpoint_s=0.0)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["outcomes"] == []
    assert [o.ended for o in go(what, tmp_path / "run", replicas=2)] == ["completed"] * 2


def test_a_store_that_was_lost_is_noticed(tmp_path) -> None:
    what = protocol({**NVT, "sample_fs": 10})
    with pytest.raises(StoppedError):
        go(what, tmp_path / "run", Fragile(30), checkpoint_s=0.0)
    shutil.rmtree(tmp_path / "run" / "frames.zarr")
    with pytest.raises(ResultError, match=r"holds 0 frames of copper\.nvt, the checkpoint"):
        go(what, tmp_path / "run")


def test_what_cannot_be_moved_is_refused(tmp_path) -> None:
    for atoms, reason in (
        (Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]]), "wanted a periodic cell"),
        (Atoms("Cu", cell=np.eye(3) * 5, pbc=True), "1 atoms, periodic"),
    ):
        with pytest.raises(DataError, match=reason):
            run_protocol(
                protocol(NVT), Metal(), {"x": atoms}, tmp_path / "run",
                profile=Profile.QUICK, model=MODEL,
            )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_cases_are_named_and_seeded_by_what_they_are() -> None:
    hot = protocol({**NVT, "temperature_K": "each"}, temperatures_K=[1100, 1900.5])
    found = cases(hot, Profile.QUICK, ["a", "b"], seed=3, replicas=None)
    assert [case.name for case in found] == ["a-1100K", "a-1900.5K", "b-1100K", "b-1900.5K"]
    assert len({case.seed for case in found}) == 4
    assert [case.segments[0].time_step_fs for case in found[:2]] == [2.0, 1.0]
    assert run_module.STORE == "frames.zarr"


def test_a_run_from_a_minimum_comes_to_its_temperature_at_once() -> None:
    """Half of the kinetic energy is lost to the springs; without twice as much, 150 K are left."""
    down = {"name": "down", "ensemble": "minimise", "length_ps": {}}
    what = protocol(down, {"name": "free", "ensemble": "nve"}, {**NVT, "name": "later"})
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.calc = Springs(atoms)
    replica = Replica(atoms, plan(what, Profile.QUICK), Damping(50.0, 200.0), (0, 0))
    kelvin = []
    while replica.number < 2:
        replica.advance()
        kelvin += [replica.temperature_K] if replica.number == 1 else []
        if replica.at_end_of_segment:
            replica.next_segment()
    assert kelvin[0] > 550.0
    assert np.mean(kelvin[len(kelvin) // 2 :]) == pytest.approx(300.0, abs=70.0)


def test_the_checkpoint_of_another_run_is_refused(tmp_path) -> None:
    what = protocol({**NVT, "sample_fs": 10})
    for name, seed in (("one", 0), ("two", 1)):
        with pytest.raises(StoppedError):
            go(what, tmp_path / name, Fragile(30), checkpoint_s=0.0, seed=seed)
    place = "checkpoints/copper.npz"
    shutil.copy(tmp_path / "one" / place, tmp_path / "two" / place)
    with pytest.raises(ResultError, match=r"copper\.npz belongs to a run with other parameters"):
        go(what, tmp_path / "two", seed=1)


def test_good_until_the_sample_before_the_first_bad_one(tmp_path, monkeypatch) -> None:
    """Samples every 10 fs: a long bond at 30 fs that was nothing, one from 60 fs on that stays."""

    def torn(sample, memory):
        time_fs = sample.frame.time_fs
        bad = time_fs is not None and float(time_fs[0]) in (30.0, 60.0, 70.0, 80.0, 90.0)
        memory[SUSPICION] = memory.get(SUSPICION, 0.0) + 1.0 if bad else 0.0
        return "torn" if memory[SUSPICION] == 4.0 else None

    monkeypatch.setitem(RULES, "broken linker", torn)
    what = protocol({**NVT, "sample_fs": 10}, stop_on=["broken linker"])
    (outcome,) = go(what, tmp_path / "run")
    assert (outcome.ended, outcome.time_fs, outcome.last_good_fs) == ("broken linker", 90.0, 50.0)


class Failing(Metal):
    """Refuses one configuration for ever: every call with its atoms there fails."""

    def __init__(self, at: int, error: type[Exception] = ModelError) -> None:
        super().__init__()
        self.calls, self.at, self.error = 0, at, error
        self.refused: np.ndarray | None = None

    def calculate(self, atoms=None, *args, **kwargs):
        self.calls += 1
        if self.calls == self.at:
            self.refused = atoms.positions.copy()
        if self.refused is not None and np.array_equal(self.refused, atoms.positions):
            raise self.error("no energy for this")
        super().calculate(atoms, *args, **kwargs)


@pytest.mark.parametrize("error", [ModelError, RuntimeError])
def test_a_model_that_fails_on_one_replica_leaves_the_others(tmp_path, monkeypatch, error) -> None:
    """Also where a text with its energy is due just then."""
    monkeypatch.setattr(speedometer, "_LOOK_S", 0.0)
    what = protocol({**NVT, "sample_fs": 10})
    outcomes = go(what, tmp_path / "run", Failing(20, error), replicas=2)
    assert [o.ended for o in outcomes] == ["model", "completed"]
    assert outcomes[0].reason == "no energy for this"


def test_a_start_that_breaks_a_rule_is_no_result(tmp_path) -> None:
    atoms = copper()
    atoms.positions[1] = atoms.positions[0] + 0.3
    with pytest.raises(DataError, match=r"before any step: Cu 0 and Cu 1 are 0\.52 Å apart"):
        run_protocol(
            protocol(NVT), Metal(), {"copper": atoms}, tmp_path / "run",
            profile=Profile.QUICK, model=MODEL,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_two_replicas_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="two replicas would be called 'glass-1'"):
        cases(protocol(NVT), Profile.QUICK, ["glass", "glass-1"], seed=0, replicas=2)


def test_a_minimum_is_not_judged_by_velocities_that_are_not_in_use(tmp_path) -> None:
    """Drawn at twice 3000 K, 32 atoms are now and then beyond the limit of a runaway."""
    down = {"name": "down", "ensemble": "minimise", "length_ps": {}, "keep": True}
    hot = protocol(down, {**NVT, "temperature_K": 3000.0, "sample_fs": 100}, hot_K=5000.0)
    for seed in range(6):
        go(hot, tmp_path / str(seed), seed=seed)
        assert "copper.down" in frames_of(tmp_path / str(seed))
