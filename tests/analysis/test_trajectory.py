"""Observables of a trajectory on motion that is known: walkers, springs, breathing cells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.analysis.test_elasticity import KNOWN, ORTHORHOMBIC, ensemble
from zifbench.analysis.meters import MemorySource
from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Settings
from zifbench.analysis.rdf import barrier
from zifbench.analysis.runs import Run, RunResult, observe
from zifbench.analysis.vibrations import (
    SpectrumMeter,
    normal_modes,
    velocities_by_differences,
    velocity_spectra,
)
from zifbench.errors import DataError, NotDefinedError
from zifbench.frames import FloatArray, Frames
from zifbench.units import (
    AMU_A2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    EV_PER_A3_IN_GPA,
    PER_FS_IN_PER_CM,
)

WARM = Settings(temperature_K=300.0)


def gas(positions: FloatArray, *, interval_fs: float, edge_A: float = 30.0, **more) -> Frames:
    """Zn and N atoms in a cube at given places."""
    n_frames, n_atoms = positions.shape[:2]
    return Frames(
        numbers=np.where(np.arange(n_atoms) % 2 == 0, 30, 7),
        masses=np.ones(n_atoms),
        pbc=np.ones(3, dtype=bool),
        positions=positions,
        cell=np.tile(edge_A * np.eye(3), (n_frames, 1, 1)),
        time_fs=interval_fs * np.arange(n_frames),
        source="gas",
        **more,
    )


def run(name: str, *frames: Frames, settings: Settings = WARM) -> RunResult:
    sources = tuple(MemorySource((f,)) for f in frames)
    return observe(Run("run", sources), {name: OBSERVABLES[name]}, settings)


def walk(seed: int, *, n_frames: int = 2000, n_atoms: int = 40, step_A: float = 0.1) -> Frames:
    steps = np.random.default_rng(seed).normal(scale=step_A, size=(n_frames, n_atoms, 3))
    return gas(np.cumsum(steps, axis=0), interval_fs=100.0)


def test_diffusion_of_walkers_with_its_error():
    """D = σ²/2Δt: 0.01 Å² / 200 fs = 0.5e-5 cm²/s; drift of 40 walkers takes 1/40 away."""
    found = run("msd", walk(0)).found["msd"]
    truth = 0.5 * 39 / 40
    for key in ("zn_diffusion", "n_diffusion"):
        value = found.values[key]
        assert value.unit == "10⁻⁵ cm²/s"
        assert value.interval_95[0] < truth < value.interval_95[1]
        assert value.interval_95[1] - value.interval_95[0] < 0.3
    curve = found.curves["zn_msd"]
    assert curve.y[0] == 0.0
    assert (curve.low[1:] < curve.y[1:]).all()


def test_rattling_is_no_diffusion():
    noise = np.random.default_rng(0).normal(scale=0.1, size=(400, 40, 3))
    found = run("msd", gas(15.0 + noise, interval_fs=100.0)).found["msd"]
    assert not found.values
    assert found.curves["zn_msd"].y[5] == pytest.approx(0.06, rel=0.1)
    assert any("Zn: the mean square displacement reaches 0.059 Å²" in gap for gap in found.gaps)
    wide = run("msd", gas(15.0 + 10.0 * noise, interval_fs=100.0)).found["msd"]
    assert any("Zn: the displacement grows as time to the" in gap for gap in wide.gaps)


def test_free_flight_is_no_diffusion():
    velocities = np.random.default_rng(1).normal(scale=0.01, size=(40, 3))
    places = 15.0 + velocities * 10.0 * np.arange(400)[:, None, None]
    found = run("msd", gas(places, interval_fs=10.0)).found["msd"]
    assert not found.values
    assert any("to the 2.00" in gap and "wanted at most 1.4" in gap for gap in found.gaps)


def test_pressure_takes_the_kinetic_part_of_the_velocities():
    """An ideal gas: P V = Σ m v² / 3, whatever temperature is said."""
    velocities = np.random.default_rng(2).normal(scale=0.01, size=(5, 20, 3))
    places = np.full((5, 20, 3), 15.0)
    still = np.zeros((5, 3, 3))
    hot = gas(places, interval_fs=1.0, velocities=velocities, stress=still)
    energy_eV = 0.5 * (velocities**2).sum(axis=(1, 2)) * AMU_A2_PER_FS2_IN_EV
    wanted = 2.0 / 3.0 * energy_eV / 30.0**3 * EV_PER_A3_IN_GPA
    found = run("pressure", hot).found["pressure"]
    assert found.values["pressure"].value == pytest.approx(wanted.mean())
    assert found.values["pressure"].title == "Pressure"
    cold = run("pressure", gas(places, interval_fs=1.0, stress=still)).found["pressure"]
    kT = BOLTZMANN_EV_PER_K * 300.0
    assert cold.values["pressure"].value == pytest.approx(20 * kT / 30.0**3 * EV_PER_A3_IN_GPA)
    assert "kinetic part of 300 K" in cold.values["pressure"].title


@pytest.mark.parametrize("value", [0.0, -5.0, float("nan"), float("inf")])
def test_settings_that_make_no_sense(value):
    with pytest.raises(DataError, match=r"temperature .* K: wanted a positive number"):
        Settings(temperature_K=value)
    with pytest.raises(DataError, match=r"frame interval .* fs: wanted a positive number"):
        Settings(frame_interval_fs=value)


@pytest.mark.slow
def test_the_band_of_one_file_covers_the_truth():
    """95 % intervals of MSD and D from blocks of one run, 120 runs: at least nine in ten hold."""
    hits = []
    for seed in range(120):
        found = run("msd", walk(seed, n_frames=1200, n_atoms=20)).found["msd"]
        curve, value = found.curves["zn_msd"], found.values["zn_diffusion"]
        k = len(curve.y) // 4
        truth = 3 * 0.01 * 19 / 20 * curve.curve.x[k] / 0.1
        d = 0.5 * 19 / 20
        hits.append(
            [
                curve.low[k] <= truth <= curve.high[k],
                value.interval_95[0] <= d <= value.interval_95[1],
            ]
        )
    assert (np.mean(hits, axis=0) > 0.88).all(), np.mean(hits, axis=0)


def test_three_files_are_three_samples_of_a_diffusion_coefficient():
    value = run("msd", *(walk(seed, n_frames=400) for seed in range(3))).found["msd"].values
    assert (value["zn_diffusion"].n, value["zn_diffusion"].n_of) == (3, "files")


def springs(n_frames: int, *, step_fs: float, velocities: bool) -> Frames:
    """Forty atoms in two springs, 300 and 1200 cm⁻¹, with equal energies and random phases."""
    rng = np.random.default_rng(3)
    wavenumber = np.array([300.0, 1200.0])[np.arange(40) % 2]
    omega = 2.0 * np.pi * wavenumber[:, None] / PER_FS_IN_PER_CM
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(40, 3))
    t = step_fs * np.arange(n_frames)[:, None, None]
    place = rng.uniform(0.0, 30.0, size=(40, 3))
    amplitude = 0.01 / omega * omega.max()
    positions = place + 0.1 * amplitude * np.sin(omega * t + phase)
    moving = 0.1 * amplitude * omega * np.cos(omega * t + phase)
    more = {"velocities": moving} if velocities else {}
    return gas(positions, interval_fs=step_fs, **more)


@pytest.mark.parametrize("velocities", [True, False])
def test_two_springs_in_the_spectrum(velocities):
    """Equal kinetic energies are equal areas, also where steps stand for velocities."""
    result = run("vibrations", springs(4000, step_fs=2.0, velocities=velocities))
    curve = result.found["vibrations"].curves["velocity_spectrum"]
    x, y = curve.curve.x, curve.y
    width = x[1]
    slow = y[(x > 200) & (x < 400)].sum() * width
    fast = y[(x > 1100) & (x < 1300)].sum() * width
    assert slow == pytest.approx(0.5, abs=0.01)
    assert fast == pytest.approx(0.5, abs=0.01)
    assert x[np.argmax(np.where(x < 700, y, 0))] == pytest.approx(300, abs=width)
    assert x[np.argmax(np.where(x > 700, y, 0))] == pytest.approx(1200, abs=width)
    assert curve.curve.title.startswith("From velocities" if velocities else "From steps")


def test_a_stream_of_velocities_gives_what_the_whole_gives():
    v = np.random.default_rng(0).normal(size=(1000, 7, 3))
    masses = np.arange(1.0, 8.0)
    whole = velocity_spectra(v, masses, time_step_fs=1.0, segment_frames=96)
    meter = SpectrumMeter(masses, time_step_fs=1.0, segment_frames=96, n_frames=1000)
    for piece in np.split(v, [1, 40, 41, 300, 905]):
        meter.add(piece)
    np.testing.assert_allclose(meter.result().density, whole.density, rtol=1e-10)


def test_the_power_that_differences_lack_is_given_back():
    frames = springs(3000, step_fs=4.0, velocities=True)
    masses = np.ones(40)
    true = velocity_spectra(frames.velocities, masses, time_step_fs=4.0, segment_frames=500)
    steps = velocities_by_differences(frames.positions, time_step_fs=4.0)
    meter = SpectrumMeter(
        masses, time_step_fs=4.0, segment_frames=500, n_frames=2999, differences=True
    )
    meter.add(steps)
    fast = (true.wavenumber_per_cm > 1100) & (true.wavenumber_per_cm < 1300)
    share = true.density.mean(0)[fast].sum() / true.density.mean(0).sum()
    found = meter.result().density.mean(0)
    assert found[fast].sum() / found.sum() == pytest.approx(share, rel=1e-3)
    plain = velocity_spectra(steps, masses, time_step_fs=4.0, segment_frames=500).density.mean(0)
    assert plain[fast].sum() / plain.sum() < 0.97 * share


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (springs(500, step_fs=10.0, velocities=True), "at most 5 fs"),
        (springs(50, step_fs=2.0, velocities=True), "the run lasts"),
        (springs(1, step_fs=2.0, velocities=True), "at least two frames"),
        (dataclasses.replace(springs(500, step_fs=2.0, velocities=True), time_fs=None), "no times"),
    ],
)
def test_no_spectrum_without_a_reason(frames, reason):
    assert reason in run("vibrations", frames).failed["vibrations"]


def test_velocities_in_some_frames_only():
    frames = springs(1000, step_fs=2.0, velocities=True)
    source = MemorySource((frames[:700], dataclasses.replace(frames[700:], velocities=None)))
    lines = {"vibrations": OBSERVABLES["vibrations"]}
    result = observe(Run("run", (source,)), lines, WARM)
    assert result.failed["vibrations"] == "velocities in some frames only, from frame 700 of gas on"


def test_elastic_constants_against_time_and_their_stability():
    """A cell that fluctuates as a known tensor asks, 4000 frames of 100 fs."""
    cells, truth = ensemble(KNOWN, ORTHORHOMBIC, 4000, seed=2), KNOWN
    frames = gas(np.zeros((4000, 2, 3)), interval_fs=100.0)
    frames = dataclasses.replace(frames, cell=cells)
    found = run("elasticity", frames).found["elasticity"]
    curve = found.curves["c11"]
    assert curve.curve.x_label == "length of the run, ps"
    assert curve.curve.x[-1] == pytest.approx(399.9)
    assert np.isfinite(curve.low).all()
    for key in ("c11", "c44", "c12"):
        i, j = int(key[1]) - 1, int(key[2]) - 1
        value = found.values[key]
        assert value.value == pytest.approx(truth[i, j], rel=0.15, abs=0.1)
        assert value.interval_95[0] < value.value < value.interval_95[1]
    soft = found.values["softest_strain"]
    assert soft.value == pytest.approx(np.linalg.eigvalsh(truth)[0], rel=0.1)
    assert soft.note == "stable: every strain costs energy"
    assert found.values["c11"].reliable is True


def test_normal_modes_of_a_hessian_that_comes_along(zif4):
    n = 3 * zif4.n_atoms
    root = np.random.default_rng(0).normal(size=(n, n))
    hessian = root @ root.T
    for a in range(3):  # no force on the whole
        shift = np.zeros(n)
        shift[a::3] = 1.0 / np.sqrt(zif4.n_atoms)
        hessian -= np.outer(hessian @ shift, shift)
        hessian -= np.outer(shift, shift @ hessian)

    class WithHessian(MemorySource):
        arrays = {"hessian": hessian}  # noqa: RUF012

    lines = {"hessian": OBSERVABLES["hessian"]}
    result = observe(Run("run", (WithHessian((zif4[0],)),)), lines, WARM)
    modes = normal_modes(hessian, zif4.masses).wavenumber_per_cm
    found = result.found["hessian"]
    assert found.values["highest_mode"].value == pytest.approx(modes[-1])
    assert found.values["imaginary_modes"].value == 0.0
    curve = found.curves["density_of_states"]
    assert np.trapezoid(curve.y, curve.curve.x) == pytest.approx(len(modes), rel=0.01)


# -- barrier --------------------------------------------------------------------------------------


def double_well(r: FloatArray, height: float) -> FloatArray:
    """Minima at 2 and 4 Å, the second 1 higher, a parabola of `height` between them."""
    inside = height * (1.0 - (r - 3.0) ** 2)
    return np.where(r < 2.0, 30.0 * (r - 2.0) ** 2, np.where(r < 4.0, inside + 0.5 * (r - 2.0), 50))


def test_barrier_between_two_wells():
    r = np.arange(0.005, 12.0, 0.01)
    energy = double_well(r, 10.0)
    kT = 2.5
    exact = float(double_well(np.linspace(2.0, 3.99, 2001), 10.0).max() - energy.min())
    assert barrier(r, energy, kT=kT) == pytest.approx(exact, abs=0.05)


def test_a_barrier_that_nobody_crossed():
    r = np.arange(0.005, 12.0, 0.01)
    energy = double_well(r, 10.0)
    energy[(r > 2.7) & (r < 3.3)] = np.inf
    with pytest.raises(NotDefinedError, match="no bond was seen breaking"):
        barrier(r, energy, kT=2.5)


def test_lone_empty_bins_do_not_hide_a_barrier():
    r = np.arange(0.005, 12.0, 0.01)
    energy = double_well(r, 10.0)
    whole = barrier(r, energy, kT=2.5)
    energy[299:301] = np.inf
    assert barrier(r, energy, kT=2.5) == pytest.approx(whole, abs=0.6)


def test_settings_say_the_temperature_or_the_source_does():
    frames = dataclasses.replace(walk(0, n_frames=100), source="a")
    lines = {name: OBSERVABLES[name] for name in ("rdf", "pmf")}
    told = observe(Run("run", (MemorySource((frames,), 300.0),)), lines, Settings())
    assert told.temperature_K == 300.0
    other = dataclasses.replace(walk(1, n_frames=100), source="b")
    differ = (MemorySource((frames,), 300.0), MemorySource((other,), 600.0))
    untold = observe(Run("run", differ), lines, Settings())
    assert untold.temperature_K is None
    assert "needs the temperature" in untold.failed["pmf"]


def test_a_wrong_interval_is_refused():
    with pytest.raises(DataError):
        SpectrumMeter(np.ones(2), time_step_fs=1.0, segment_frames=3, n_frames=100)


def test_pressures_of_two_kinds_are_not_averaged():
    velocities = np.full((20, 10, 3), 0.01)
    places = np.full((20, 10, 3), 15.0)
    still = np.zeros((20, 3, 3))
    parts = (
        gas(places, interval_fs=1.0, velocities=velocities, stress=still),
        gas(places, interval_fs=1.0, stress=still),
    )
    source = MemorySource(parts)
    found = observe(Run("run", (source,)), {"pressure": OBSERVABLES["pressure"]}, Settings())
    assert "pressure" not in found.found
    assert "others “Pressure, potential part" in found.failed["pressure"]
