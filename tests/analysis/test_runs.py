"""Observables of whole runs: published numbers, error bars, and what is not defined."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.analysis.structures import crystal, glasses
from zifbench.analysis.meters import MemorySource
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Observable, Observation, Series, Settings
from zifbench.analysis.runs import Run, RunObservation
from zifbench.analysis.runs import observe as observe_all
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import Frames, concatenate

WARM = Settings(temperature_K=300.0)


def run_of(*files: Frames) -> Run:
    return Run("run", tuple(MemorySource((frames,)) for frames in files))


def observe(run: Run, name: str | Observable, settings: Settings) -> RunObservation:
    """One observable of a run, or the reason why it is not defined, raised."""
    lines = {name: OBSERVABLES[name]} if isinstance(name, str) else {"own": name}
    for line in tuple(lines.values()):
        lines = {other: OBSERVABLES[other] for other in line.of} | lines
    result = observe_all(run, lines, settings)
    wanted = name if isinstance(name, str) else "own"
    if wanted in result.failed:
        raise NotDefinedError(result.failed[wanted])
    return result.found[wanted]


def ten_glasses() -> Run:
    frames = glasses()
    return run_of(*(frames[k] for k in range(len(frames))))


@pytest.fixture
def series(zif4) -> Frames:
    """Twenty frames 2 fs apart: the bundled crystal, shaken, in a cell that breathes."""
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.02, size=(20, zif4.n_atoms, 3))
    strain = np.eye(3) + rng.normal(scale=0.003, size=(20, 3, 3))
    return Frames(
        numbers=zif4.numbers,
        masses=zif4.masses,
        pbc=zif4.pbc,
        positions=(zif4.positions[:1] + noise) @ strain,
        cell=zif4.cell[:1] @ strain,
        time_fs=2.0 * np.arange(20),
        source="shaken",
    )


@pytest.mark.published
def test_the_crystal():
    run = run_of(crystal())
    coordination = observe(run, "coordination", WARM)
    assert coordination.values["zn_n"].value == 4.0
    rings = observe(run, "rings", WARM).curves["ring_sizes"]
    found = dict(zip(rings.curve.x, rings.y, strict=True))
    assert {size: n for size, n in found.items() if n} == {8: 4, 12: 16, 16: 32}
    pores = observe(run, "pores", WARM).values["pore_volume"]
    assert pores.value == pytest.approx(52.4, abs=0.1)
    assert pores.interval_95 is None  # one frame tells nothing of its scatter


@pytest.mark.published
def test_the_ten_glasses_are_ten_samples():
    run = ten_glasses()
    value = observe(run, "coordination", WARM).values["zn_n"]
    assert value.value == pytest.approx(3.93125, abs=1e-9)
    assert (value.n, value.n_of) == (10, "files")
    assert value.interval_95[0] < 3.93125 < value.interval_95[1] < 4.0
    pores = observe(run, "pores", WARM).values["pore_volume"]
    assert pores.value == pytest.approx(66.95, abs=0.1)
    broken = observe(run, "linkers", WARM)
    assert broken.values["broken"].value == 0.0
    assert broken.events == ()
    rings = observe(run, "rings", WARM).curves["ring_sizes"]
    published = [0, 0, 1.5, 2.4, 2.1, 6.9, 5.1, 8.2, 2.3, 2.1, 2.3, 0.2, 0.4, 0, 0, 0]
    assert rings.y == pytest.approx(published, abs=1e-9)


@pytest.mark.published
def test_the_first_peak_of_the_glasses_with_its_band():
    curve = observe(ten_glasses(), "rdf", WARM).curves["zn_n_g"]
    assert curve.y.max() == pytest.approx(43.2, abs=0.1)  # at the published bin of 0.01 Å
    peak = int(np.argmax(curve.y))
    assert curve.low[peak] < curve.y[peak] < curve.high[peak]


@pytest.mark.parametrize("name", OBSERVABLES)
def test_each_observable_of_a_series(series, name):
    """What a short flexible series of ZIF-4 defines: most of the table."""
    undefined = {
        "equation_of_state": "no stress",
        "pressure": "no stress",
        "elasticity": "wanted at least 64",
        "vibrations": "the run lasts 38 fs",
        "hessian": "no Hessian comes with",
    }
    if name in undefined:
        with pytest.raises(NotDefinedError, match=undefined[name]):
            observe(run_of(series), name, WARM)
        return
    found = observe(run_of(series), name, WARM)
    assert found.values or found.curves
    for value in found.values.values():
        assert np.isfinite(value.value)
        if value.n_of == "frames":
            assert value.interval_95[0] <= value.value <= value.interval_95[1]
    for curve in found.curves.values():
        assert curve.y.shape == curve.curve.x.shape == curve.low.shape
    for rows in found.series.values():
        assert [len(row.values) for row in rows] == [20]


def test_blocks_give_the_curve_of_all_frames(series):
    """Angles are normalised after the mean over blocks, not before."""
    whole = OBSERVABLES["angles"].function(series, WARM).curves["n_zn_n"]
    assert whole.of_mean is not None
    found = observe(run_of(series), "angles", WARM).curves["n_zn_n"]
    assert found.y == pytest.approx(whole.of_mean(whole.y), abs=1e-12)


def test_the_interval_of_files_is_that_of_independent_samples(series):
    numbers = {"a": 1.0, "b": 2.0, "c": 6.0}
    files = [dataclasses.replace(series, source="a"), dataclasses.replace(series[:5], source="b")]
    files.append(dataclasses.replace(series[:1], source="c"))
    table = Observable(
        "x", lambda f, s: Observation({"x": Series("x", "", np.full(len(f), numbers[f.source]))})
    )
    value = observe(run_of(*files), table, WARM).values["x"]
    assert (value.value, value.n, value.n_of) == (3.0, 3, "files")  # every file counts the same
    reach = 4.3027 * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert value.interval_95 == pytest.approx((3 - reach, 3 + reach), rel=0.1)  # 1000 resamples


def test_equal_files_have_no_scatter(zif4):
    turn = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    turned = [zif4.cell[:1] @ turn, zif4.cell[:1] @ turn.T]  # equal up to rounding
    again = [dataclasses.replace(zif4[0], cell=cell) for cell in turned]
    value = observe(run_of(zif4[0], *again), "density", WARM).values["volume"]
    assert value.reliable is None  # where nothing scatters, nothing is known of the scatter
    assert value.interval_95 == (value.value, value.value)
    assert value.scatter == 0.0


def test_elastic_moduli_of_a_breathing_cell(series):
    rng = np.random.default_rng(1)
    cell = series.cell[0] @ (np.eye(3) + rng.normal(scale=0.003, size=(80, 3, 3)))
    frames = dataclasses.replace(
        series, positions=np.tile(series.positions[:1], (80, 1, 1)), cell=cell, time_fs=None
    )
    hill = observe(run_of(frames), "elasticity", WARM).values
    assert {"bulk_modulus_hill", "young_modulus_hill", "shear_modulus_hill"} < set(hill)
    reuss = observe(run_of(frames), "volume_fluctuations", WARM).values
    value = reuss["bulk_modulus_volume"]
    assert value.interval_95[0] < value.value < value.interval_95[1]


def stressed(zif4: Frames, scale: float, pressure: float) -> Frames:
    return dataclasses.replace(
        zif4[0], cell=zif4.cell[:1] * scale, stress=-pressure * np.eye(3)[None], source=f"{scale}"
    )


def test_pressure_against_volume(zif4):
    from zifbench.analysis.eos import birch_murnaghan_pressure_GPa
    from zifbench.units import EV_PER_A3_IN_GPA

    v0 = float(zif4.volume[0])
    scales = np.array([0.98, 0.99, 1.0, 1.01, 1.02]) ** (1 / 3)
    pressures = birch_murnaghan_pressure_GPa(
        v0 * scales**3, bulk_modulus_GPa=1.7, equilibrium_volume_A3=v0
    )
    files = [
        stressed(zif4, s, p / EV_PER_A3_IN_GPA) for s, p in zip(scales, pressures, strict=True)
    ]
    found = observe(run_of(*files), "equation_of_state", Settings())
    assert found.values["bulk_modulus_eos"].value == pytest.approx(1.7, rel=1e-6)
    assert "no temperature" in str(found.values["bulk_modulus_eos"].note)
    warm = observe(run_of(*files), "equation_of_state", Settings(temperature_K=10.0))
    assert warm.values["density_eos"].value < found.values["density_eos"].value


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("coordination", {"pbc": np.zeros(3, bool)}, "not periodic"),
        ("density", {"cell": np.zeros((1, 3, 3))}, "zero volume"),
        ("rdf", {"positions": np.full((1, 272, 3), np.nan)}, "NaN"),
        ("rdf", {"cell": 9.0 * np.eye(3)[None]}, "shortest lattice vector"),
        ("rings", {"numbers": np.full(272, 6)}, "no Zn"),
        ("linkers", {"numbers": np.full(272, 30)}, "no C atoms"),
        ("pmf", {}, "temperature"),
        ("msd", {}, "at least two frames"),
        ("bonds", {}, "at least two frames"),
        ("elasticity", {}, "temperature"),
    ],
)
def test_not_defined_has_a_reason(zif4, name, change, reason):
    frames = dataclasses.replace(zif4[0], **change)
    with pytest.raises(NotDefinedError, match=reason):
        observe(run_of(frames), name, Settings())


def test_a_series_without_times(series):
    timeless = dataclasses.replace(series, time_fs=None)
    with pytest.raises(NotDefinedError, match="carries no times"):
        observe(run_of(timeless), "msd", Settings())
    given = observe(run_of(timeless), "msd", Settings(frame_interval_fs=2.0))
    assert given.curves["zn_msd"].curve.x[1] == pytest.approx(0.002)


def test_different_atoms_in_one_file_are_no_trajectory(series):
    swapped = dataclasses.replace(series[:1], numbers=series.numbers[::-1], source="other")
    run = Run("run", (MemorySource((series, swapped)),))
    with pytest.raises(NotDefinedError, match="atoms change in frame 20 of other: no trajectory"):
        observe(run, "msd", WARM)
    assert observe(run, "density", WARM).values["density"].n == 21


def test_frames_that_carry_other_values_are_a_trajectory_all_the_same(series):
    rich = dataclasses.replace(series[10:], energy=np.zeros(10), labels={"name": ("x",) * 10})
    run = Run("run", (MemorySource((series[:10], rich)),))
    whole = observe(run_of(series), "msd", WARM).curves["zn_msd"]
    assert observe(run, "msd", WARM).curves["zn_msd"].y == pytest.approx(whole.y, rel=1e-9)


def test_progress_counts_every_frame(series):
    done: list[int] = []
    run = run_of(series, series[:3])
    observe_all(run, {"coordination": OBSERVABLES["coordination"]}, WARM, done.append)
    assert sum(done) == 23


def scan_file(zif4: Frames, counts: list[int]) -> Frames:
    """Five volumes in one file, so many frames at each."""
    pressures = [0.02, 0.01, 0.0, -0.01, -0.02]
    parts = [
        stressed(zif4, scale, pressure)[np.zeros(n, int)]
        for scale, pressure, n in zip(
            [0.99, 0.995, 1.0, 1.005, 1.01], pressures, counts, strict=True
        )
    ]
    return concatenate(parts)


def test_a_scan_in_one_file(zif4):
    found = observe(run_of(scan_file(zif4, [2] * 5)), "equation_of_state", Settings())
    curve = found.curves["pressure_of_volume"]
    assert len(curve.y) == 5
    assert (np.diff(curve.curve.x) > 0).all()
    assert found.values["bulk_modulus_eos"].value > 0


@pytest.mark.parametrize(
    ("counts", "reason"),
    [([2, 2, 3, 2, 2], "2 to 3 frames at its volumes: no scan"), ([1, 1, 1, 1, 4], "no scan")],
)
def test_frames_at_several_volumes_that_are_no_scan(zif4, counts, reason):
    with pytest.raises(NotDefinedError, match=reason):
        observe(run_of(scan_file(zif4, counts)), "equation_of_state", Settings())


def test_a_cell_that_fluctuates_is_no_scan(series):
    stress = np.random.default_rng(0).normal(size=(20, 1, 1)) * np.eye(3)
    frames = dataclasses.replace(series, stress=stress)
    with pytest.raises(NotDefinedError, match="the cell fluctuates, which is no scan"):
        observe(run_of(frames), "equation_of_state", Settings())
    with pytest.raises(NotDefinedError, match="the cell fluctuates, which is no scan"):
        observe(run_of(frames[:10], frames[10:]), "equation_of_state", Settings())


def test_several_files_at_one_volume_are_no_scan(zif4):
    """Replicas of different length: their mean volumes differ in the last digit only."""
    lengths = (8, 11, 18)
    files = [
        dataclasses.replace(
            zif4[[0] * n],
            source=f"{n}",
            stress=np.random.default_rng(n).normal(size=(n, 1, 1)) * np.eye(3),
        )
        for n in lengths
    ]
    with pytest.raises(NotDefinedError, match="several files at one volume"):
        observe(run_of(*files), "equation_of_state", Settings())


def test_copies_are_no_independent_samples(series):
    with pytest.raises(DataError, match="run: shaken and copy hold the same frames"):
        observe(run_of(series, dataclasses.replace(series, source="copy")), "density", WARM)


def test_files_that_are_not_samples_of_one_thing_are_doubtful(zif4):
    double = Frames.from_ase(zif4[0].to_ase()[0].repeat((2, 1, 1)))
    turned = dataclasses.replace(zif4[1], source="b")
    value = observe(run_of(zif4[0], turned, double), "density", WARM).values["volume"]
    assert value.reliable is False
    assert value.note == "mean over files of different composition"


def test_the_temperature_of_the_files_goes_before_the_one_given(series):
    run = Run("run", (MemorySource((series,), temperature_K=600.0),))
    lines = {"density": OBSERVABLES["density"]}
    assert observe_all(run, lines, WARM).temperature_K == 600.0
    assert observe_all(run_of(series), lines, WARM).temperature_K == 300.0
