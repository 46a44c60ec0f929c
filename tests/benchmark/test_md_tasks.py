"""Tasks of molecular dynamics, with springs between the atoms of the crystal for a candidate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from zifbench.analysis.meters import MemorySource
from zifbench.analysis.observation import Curve
from zifbench.benchmark import evaluation
from zifbench.benchmark.evaluation import Options, evaluate
from zifbench.benchmark.md import starts as starts_module
from zifbench.benchmark.md.distances import paired_distance, paired_error, unpaired_distance
from zifbench.benchmark.md.nve import drift
from zifbench.benchmark.md.simulation import Replica, Score, Simulation
from zifbench.benchmark.md.starts import Starts, stand_in_crystal, task_starts
from zifbench.benchmark.md.structure import Reference, compare, score_structure
from zifbench.benchmark.result import Measurement, Result
from zifbench.benchmark.run import Run
from zifbench.dataset.store import open_store, write_store
from zifbench.dynamics import parity
from zifbench.dynamics.protocol import load_protocol
from zifbench.dynamics.run import Outcome, cases
from zifbench.errors import DownloadError, ModelError, NotDefinedError
from zifbench.frames import Frames
from zifbench.potentials.card import Check
from zifbench.profiles import Profile
from zifbench.reports.sources import StoredTrajectory

_SPRINGS = '''
"""Springs between neighbours of the crystal, at rest as it stands; ASE calculators for tests."""
import os

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from zifbench.analysis.neighbours import find_pairs
from zifbench.benchmark.md.starts import stand_in_crystal

K = 3.0  # eV/Å²


class Springs(Calculator):
    """Pairs within 3.3 Å; with BREAK_AT in the environment something happens at that call."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, happens=None):
        super().__init__()
        atoms = stand_in_crystal()
        pairs = find_pairs(atoms.positions, atoms.cell.array, cutoffs_A=3.3)
        once = pairs.i < pairs.j
        self.i, self.j, self.shift = pairs.i[once], pairs.j[once], pairs.shift[once]
        self.rest = pairs.distance[once]
        self.happens, self.calls = happens, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        positions, cell = self.atoms.positions, self.atoms.cell.array
        vector = positions[self.j] + self.shift @ cell - positions[self.i]
        length = np.linalg.norm(vector, axis=1)
        tension = K * (length - self.rest)
        pull = (tension / length)[:, None] * vector
        forces = np.zeros_like(positions)
        np.add.at(forces, self.i, pull)
        np.add.at(forces, self.j, -pull)
        virial = pull.T @ vector / self.atoms.cell.volume
        energy = 0.5 * K * float(((length - self.rest) ** 2).sum())
        if self.calls > int(os.environ.get("BREAK_AT", 10**9)):
            energy, forces = self.happens(energy, forces)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
            "stress": virial.ravel()[[0, 4, 8, 5, 2, 1]],
        }


class NoStress(Springs):
    implemented_properties = ["energy", "forces"]

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        del self.results["stress"]


def nonsense(energy, forces):
    return float("nan"), forces * float("nan")


def stop(energy, forces):
    raise KeyboardInterrupt


def good():
    return Springs()


def exploding():
    return Springs(nonsense)


def stopped():
    return Springs(stop)


def no_stress():
    return NoStress()
'''
CHEAP = Options(trust=True, device="cpu", conformance=False)


def no_network(names):
    raise DownloadError("example.org cannot be reached")


@pytest.fixture(scope="module")
def springs(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("candidate") / "springs.py"
    path.write_text(_SPRINGS)
    return str(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """No network, no mirror, and nobody's trust."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(starts_module, "_fetched", no_network)
        context.setenv("ZIFBENCH_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        yield context


@pytest.fixture(scope="module")
def whole(alone, springs, tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("whole") / "out"
    options = dataclasses.replace(CHEAP, tasks=("crystal", "static-strain"))
    return out, evaluate(f"{springs}:good", ["zif4-own-test"], out, options)


def found(result: Result, task: str) -> dict[tuple[str, str], Measurement]:
    return {
        (m.quantity, m.subset.get("pair") or m.subset.get("at", "")): m
        for m in result.tasks[task].measurements
    }


def scores(result: Result) -> str:
    return json.dumps([t.model_dump(exclude={"wall_s"}) for t in result.tasks.values()])


def test_the_crystal_without_network_stays_what_it_is(whole) -> None:
    out, result = whole
    numbers = found(result, "crystal")
    assert numbers["completed_share", ""].value == 1.0
    assert numbers["coordination", ""].value == 4.0
    assert [b.value for b in numbers["coordination", ""].beside] == [4.0, 4.0, 4.0]
    assert numbers["rings", ""].value == 52.0  # 4 + 16 + 32
    assert numbers["broken_linkers", ""].value == 0.0
    assert numbers["pressure", ""].beside[0].value == pytest.approx(-0.0804, abs=5e-5)
    distance = numbers["rdf_w1", "Zn–N"]
    assert distance.noise_floor is not None
    assert distance.note is not None
    assert "for information" in distance.note
    gaps = " ".join(result.tasks["crystal"].gaps)
    assert "the published crystal could not be fetched" in gaps
    assert (out / "md" / "crystal" / "frames.zarr").is_dir()


def test_a_static_scan_finds_where_the_springs_are_at_rest(whole) -> None:
    """Springs without tension at the start: no pressure there, so its density is the density."""
    _, result = whole
    numbers = found(result, "static-strain")
    density = numbers["density", ""]
    atoms = stand_in_crystal()
    expected = atoms.get_masses().sum() / atoms.get_volume() * 1.66053906660
    assert density.value == pytest.approx(expected, rel=1e-2)
    assert density.interval_95 is not None
    modulus = numbers["bulk_modulus", ""]
    assert 1.0 < modulus.value < 100.0
    assert {b.model for b in modulus.beside} == {"AIMD", "NequIP", "experiment"}
    assert modulus.note is not None
    assert "at rest" in modulus.note


def test_the_report_shows_numbers_references_and_figures(whole) -> None:
    out, result = whole
    page = (out / "report.html").read_text()
    for text in (
        "Radial distribution functions",
        "Pressure and volume",
        "-0.0804 AIMD",
        "1.69 NequIP",
    ):
        assert text in page
    for task in result.tasks.values():
        for picture in task.pictures:
            assert (out / picture.file).read_bytes().startswith(b"\x89PNG")
            assert picture.title in page


def test_a_kill_in_the_middle_loses_nothing(alone, whole, springs, tmp_path) -> None:
    options = dataclasses.replace(CHEAP, tasks=("crystal", "static-strain"))
    model, data, out = f"{springs}:stopped", ["zif4-own-test"], tmp_path / "out"
    for calls in (150, 700, 420):  # within the run, after it, within the scan
        with alone.context() as context, pytest.raises(KeyboardInterrupt):
            context.setenv("BREAK_AT", str(calls))
            evaluate(model, data, out, options)
        options = dataclasses.replace(options, resume=True)
    resumed = evaluate(model, data, out, options)
    assert scores(resumed) == scores(whole[1])


def test_a_run_that_blows_up_is_a_result_and_its_stump_is_not_measured(
    alone, springs, tmp_path
) -> None:
    options = dataclasses.replace(CHEAP, tasks=("crystal", "nve"))
    with alone.context() as context:
        context.setenv("BREAK_AT", "350")
        result = evaluate(f"{springs}:exploding", ["zif4-own-test"], tmp_path / "out", options)
    for task in ("crystal", "nve"):
        numbers = found(result, task)
        assert set(numbers) == {("completed_share", "")}, task
        share = numbers["completed_share", ""]
        assert (share.value, share.interval_95) == (0.0, (0.0, pytest.approx(0.975)))
        assert "not a number" in (share.note or "")
        assert any("no run came to its end" in gap for gap in result.tasks[task].gaps)


def test_energy_without_a_thermostat_and_survival(alone, springs, tmp_path) -> None:
    options = dataclasses.replace(CHEAP, tasks=("nve", "stability"))
    result = evaluate(f"{springs}:good", ["zif4-own-test"], tmp_path / "out", options)
    numbers = found(result, "nve")
    low, high = numbers["energy_drift", ""].interval_95 or (1.0, 0.0)
    assert low <= 0.0 <= high
    assert 0.0 < numbers["energy_fluctuation", ""].value < 0.5
    survived = found(result, "stability")
    assert survived["completed_share", ""].n == 9
    assert survived["time_survived", "1100 K"].value == pytest.approx(0.2)
    assert (tmp_path / "out" / "md" / "stability-1.png").is_file()


@pytest.mark.slow
def test_longer_tasks_say_what_a_quick_run_can_say(alone, springs, tmp_path) -> None:
    """Springs neither melt nor, in a picosecond, show their elastic constants."""
    tasks = ("finite-strain", "melt-quench", "strain-fluctuation")
    options = dataclasses.replace(CHEAP, tasks=tasks, by_name=False)
    result = evaluate(f"{springs}:good", ["zif4-own-test"], tmp_path / "out", options)
    made = found(result, "melt-quench")
    assert made["coordination", ""].value == pytest.approx(4.0, abs=0.2)
    assert [b.value for b in made["coordination", ""].beside] == [3.93]
    assert "rdf_w1" not in {quantity for quantity, _ in made}
    gaps = " ".join(result.tasks["melt-quench"].gaps)
    assert "no distance from the ab initio glasses: example.org" in gaps
    assert "all rings are those of the crystal: this is no glass" in gaps
    strain = found(result, "finite-strain")
    if ("bulk_modulus", "") in strain:
        assert strain["bulk_modulus", ""].subset["method"] == "finite strain"
    else:
        assert any("bulk modulus" in gap for gap in result.tasks["finite-strain"].gaps)
    assert len(result.tasks["finite-strain"].pictures) == 1
    constants = found(result, "strain-fluctuation")
    assert constants["density", ""].beside[0].value == 1.15
    assert any("bulk modulus" in gap for gap in result.tasks["strain-fluctuation"].gaps)


def test_what_cannot_be_had_is_an_error_if_it_was_named_and_a_gap_else(
    alone, springs, tmp_path
) -> None:
    options = dataclasses.replace(CHEAP, tasks=("glass",))
    model, data = f"{springs}:good", ["zif4-own-test"]
    with pytest.raises(DownloadError, match=r"example.org cannot be reached"):
        evaluate(model, data, tmp_path / "named", options)
    assert not (tmp_path / "named").exists()
    options = dataclasses.replace(options, by_name=False)
    result = evaluate(model, data, tmp_path / "all", options)
    assert result.tasks["glass"].gaps == ["not run: example.org cannot be reached"]
    assert result.tasks["glass"].measurements == []


def test_a_model_without_stress(alone, springs, tmp_path) -> None:
    options = dataclasses.replace(CHEAP, tasks=("static-strain",))
    model, data = f"{springs}:no_stress", ["zif4-own-test"]
    with pytest.raises(ModelError, match="no stress, which protocol static-strain needs"):
        evaluate(model, data, tmp_path / "named", options)
    result = evaluate(model, data, tmp_path / "all", dataclasses.replace(options, by_name=False))
    [gap] = result.tasks["static-strain"].gaps
    assert "no stress" in gap


def test_the_crystal_that_was_begun_with_is_gone_on_with(alone, tmp_path) -> None:
    first = task_starts((starts_module.CRYSTAL,), (1, 1, 1), tmp_path)
    assert not first.published

    def reachable(names):
        raise AssertionError("the run was begun without it")

    with alone.context() as context:
        context.setattr(starts_module, "_fetched", reachable)
        again = task_starts((starts_module.CRYSTAL,), (1, 1, 1), tmp_path)
    assert again.atoms["crystal"] == first.atoms["crystal"]


# -- distances ------------------------------------------------------------------------------------


def histogram(centre: float, n: int = 40) -> Curve:
    """A narrow distribution in bins of 0.1; many equal blocks."""
    x = 0.05 + 0.1 * np.arange(n)
    y = np.exp(-0.5 * ((x - centre) / 0.15) ** 2)
    return Curve("g", "r, Å", "g(r)", x, y, blocks=np.tile(y, (16, 1)))


def test_a_shift_is_the_distance() -> None:
    one, other = histogram(1.5), histogram(1.8)
    found = paired_distance([one], [other.y], [np.tile(one.y, (16, 1))], seed=0)
    assert found.value == pytest.approx(0.3, abs=1e-6)
    assert found.noise_floor == pytest.approx(0.0, abs=1e-12)
    assert found.reference_spread == pytest.approx(np.sqrt(0.15**2 + 0.1**2 / 12), rel=1e-3)
    made = unpaired_distance([one] * 3, [other.y] * 4, seed=0)
    assert made.value == pytest.approx(0.3, abs=1e-6)
    assert made.noise_floor == pytest.approx(0.0, abs=1e-12)


def test_differences_from_single_structures() -> None:
    """Runs that lie 1 above their structures and scatter by 0.1 from frame to frame."""
    rng = np.random.default_rng(0)
    runs = [5.0 + k + rng.normal(scale=0.1, size=200) for k in range(4)]
    value, ends, floor, reliable = paired_error(runs, [4.0, 5.0, 6.0, 7.0], seed=0)
    assert value == pytest.approx(1.0, abs=0.02)
    assert ends is not None
    assert ends[0] <= 1.0 <= ends[1]
    assert ends[1] - ends[0] < 0.1
    assert floor == pytest.approx(1.96 * 0.1 / np.sqrt(4), rel=0.15)
    assert reliable
    assert paired_error(runs[:2], [4.0, 5.0], seed=0)[1] is None  # two say nothing of a scatter
    assert paired_error([runs[0][:4]], [4.0], seed=0)[1:3] == (None, None)


def thermal(n: int, seed: int, scale: float = 1.0) -> Frames:
    """The crystal with independent displacements, its positions and cell scaled."""
    atoms = stand_in_crystal()
    rng = np.random.default_rng(seed)
    shape = (n, len(atoms), 3)
    return Frames(
        numbers=atoms.numbers,
        masses=atoms.get_masses(),
        pbc=atoms.pbc,
        positions=scale * atoms.positions + rng.normal(scale=0.05, size=shape),
        cell=np.tile(scale * atoms.cell.array, (n, 1, 1)),
        velocities=rng.normal(size=shape) * np.sqrt(300 * 8.617333262e-5 / 103.642696562)
        / np.sqrt(atoms.get_masses())[:, None],
        source="thermal",
    )  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1.02])
def test_a_perfect_model_is_within_the_noise_floor_and_a_wrong_one_is_not(scale, tmp_path) -> None:
    """Three runs, each beside one frame of its own ensemble; or all distances 2 % too long."""
    write_store(tmp_path / "a.zarr", {f"r{k}": thermal(40, k, scale) for k in range(3)})
    singles = tuple(MemorySource((thermal(1, 100 + k),)) for k in range(3))
    reference = Reference(singles, "three frames", "crystal", paired=True, thermal=True)
    with open_store(tmp_path / "a.zarr") as store:
        sources = [StoredTrajectory(t) for t in store.trajectories.values()]
        compared = compare(sources, reference, temperature_K=300.0, seed=0, system="crystal")
    numbers = {(m.quantity, m.subset.get("pair", "")): m for m in compared.measurements}
    for pair in ("Zn–N", "Zn–Zn", "N–N"):
        distance = numbers["rdf_w1", pair]
        assert distance.noise_floor is not None
        assert (distance.value <= distance.noise_floor) == (scale == 1.0), pair
    pores = numbers["pore_volume_error", ""]
    assert pores.noise_floor is not None
    assert (abs(pores.value) <= pores.noise_floor) == (scale == 1.0)
    assert abs(numbers["coordination_error", ""].value) < 0.01
    assert numbers["temperature", ""].value == pytest.approx(300.0, rel=0.02)


@pytest.mark.parametrize("thermal_reference", [True, False])
def test_runs_that_came_to_their_end_are_scored_beside_their_reference(
    thermal_reference, tmp_path
) -> None:
    """How runs scatter is said where the reference is one of many moments; pictures, ever."""
    protocol = load_protocol("nvt-glass")
    starts = Starts({f"s{k}": stand_in_crystal() for k in range(4)})
    planned = cases(protocol, Profile.QUICK, list(starts.atoms), seed=0, replicas=None)
    frames = {f"{case.name}.measure": thermal(2, k) for k, case in enumerate(planned)}
    write_store(tmp_path / "a.zarr", frames)
    card = SimpleNamespace(name="springs")
    run = cast("Run", SimpleNamespace(seed=0, potential=SimpleNamespace(card=card)))
    singles = tuple(MemorySource((thermal(1, 100 + k),)) for k in range(4))
    reference = Reference(
        singles, "four frames", "ab initio glass", paired=False, thermal=thermal_reference
    )
    for ended in ("completed", "runaway"):
        replicas = tuple(
            Replica(case, Outcome(case.name, ended, "", 100.0, 100.0, 1.0)) for case in planned
        )
        score = Score()
        with open_store(tmp_path / "a.zarr") as store:
            simulation = Simulation(protocol, replicas, starts, store)
            candidate = score_structure(score, simulation, run, reference)
        if ended == "runaway":
            assert candidate is None
            assert (score.measurements, score.pictures) == ([], {})
            assert score.gaps == ["structure: no run came to its end"]
            continue
        assert candidate is not None
        quantities = {m.quantity for m in score.measurements}
        assert {"coordination", "rdf_w1"} <= quantities
        assert ("pore_volume_scatter" in quantities) == thermal_reference
        assert "Bond angles, reference: four frames" in score.pictures
        assert {m.subset["system"] for m in score.measurements} == {"ab initio glass"}


# -- drift ----------------------------------------------------------------------------------------


def test_the_drift_of_a_straight_line() -> None:
    time = np.linspace(0.0, 2.0, 50)
    found = drift(time, 3.0 - 0.5 * time)
    assert found.slope == pytest.approx(-0.5)
    with pytest.raises(NotDefinedError, match="2 samples"):
        drift(time[:2], time[:2])


def test_the_interval_of_a_drift_covers_it() -> None:
    """A line with correlated noise (autoregressive, tau about 5 samples)."""
    rng, time, inside = np.random.default_rng(0), np.arange(400) * 0.005, 0
    for _ in range(200):
        noise = np.zeros(400)
        for k in range(1, 400):
            noise[k] = 0.8 * noise[k - 1] + rng.normal()
        low, high = drift(time, 0.7 * time + noise).interval_95 or (np.inf, -np.inf)
        inside += low <= 0.7 <= high
    assert inside / 200 >= 0.9


def test_what_the_engine_gets_wrong_is_not_scored(alone, springs, tmp_path, monkeypatch) -> None:
    wrong = Check(name="eager float64", passed=False, deviation=3.0, tolerance=1.0, detail="")
    monkeypatch.setattr(parity, "parity_checks", lambda *args, **options: [wrong])
    options = dataclasses.replace(CHEAP, conformance=True, tasks=("static-strain",))
    with pytest.raises(ModelError, match="the engine does not compute what the model says"):
        evaluate(f"{springs}:good", ["zif4-own-test"], tmp_path / "out", options)
    monkeypatch.setattr(evaluation, "default_tasks", lambda profile: ["static-strain"])
    options = dataclasses.replace(options, tasks=None)
    result = evaluate(f"{springs}:good", ["zif4-own-test"], tmp_path / "other", options)
    assert result.tasks["static-strain"].measurements == []
    assert "not run: the engine does not compute" in result.tasks["static-strain"].gaps[0]
    assert "eager float64" in result.failed_checks
