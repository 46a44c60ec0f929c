from itertools import pairwise
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.vibrations import Vibrations

from tests.analysis.synthetic import ar1
from tests.analysis.test_hessian import spring_hessian
from tests.published import published_vibrations
from zifbench.analysis.hessian import hessian_by_finite_differences, hessian_from_forces
from zifbench.analysis.resampling import bootstrap_mean
from zifbench.analysis.vibrations import (
    density_of_states,
    normal_modes,
    velocities_by_differences,
    velocity_spectra,
)
from zifbench.errors import DataError, NotDefinedError

LIGHT_CM_FS = 2.99792458e-5  # speed of light in cm/fs


def diatomic(k: float) -> np.ndarray:
    """A spring of k eV/Å² along x between two atoms."""
    h = np.zeros((6, 6))
    h[np.ix_([0, 3], [0, 3])] = k * np.array([[1.0, -1.0], [-1.0, 1.0]])
    return h


def test_diatomic_molecule() -> None:
    """ν = sqrt(k/μ) / 2πc; k = 1 eV/Å² = 16.0218 N/m, μ = 1 · 3 / 4 amu."""
    modes = normal_modes(diatomic(1.0), [1.0, 3.0])
    nu = np.sqrt(16.02176634 / (0.75 * 1.66053906660e-27)) / (2 * np.pi * 2.99792458e10)
    np.testing.assert_allclose(modes.wavenumber_per_cm, [0.0, 0.0, nu], atol=1e-4)
    x = modes.displacements[-1, :, 0]
    assert x[0] / x[1] == pytest.approx(-3.0)  # the centre of mass stays


def test_imaginary_modes_stay_visible_as_negative_numbers() -> None:
    modes = normal_modes(diatomic(-1.0), [1.0, 3.0])
    assert modes.wavenumber_per_cm[0] == pytest.approx(-521.4709 / np.sqrt(0.75), abs=1e-3)
    assert modes.n_imaginary == 1


def test_modes_are_orthonormal_and_free_of_translation() -> None:
    masses = np.array([1.0, 12.0, 14.0, 65.4])
    modes = normal_modes(spring_hessian(4), masses)
    flat = modes.displacements.reshape(9, -1)
    np.testing.assert_allclose((flat * np.repeat(masses, 3)) @ flat.T, np.eye(9), atol=1e-10)
    np.testing.assert_allclose(np.einsum("a,kax->kx", masses, modes.displacements), 0, atol=1e-12)


def test_modes_do_not_depend_on_axes_or_order_of_atoms() -> None:
    h, masses = spring_hessian(4), np.array([1.0, 12.0, 14.0, 65.4])
    wanted = normal_modes(h, masses).wavenumber_per_cm
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn = np.kron(np.eye(4), q)
    np.testing.assert_allclose(
        normal_modes(turn @ h @ turn.T, masses).wavenumber_per_cm, wanted, atol=1e-8
    )
    order = [2, 0, 3, 1]
    mixed = h.reshape(4, 3, 4, 3)[order][:, :, order].reshape(12, 12)
    np.testing.assert_allclose(
        normal_modes(mixed, masses[order]).wavenumber_per_cm, wanted, atol=1e-8
    )


def test_a_broken_acoustic_sum_does_not_reach_the_modes_of_equal_masses() -> None:
    h = spring_hessian(3)
    wanted = normal_modes(h, np.ones(3)).wavenumber_per_cm
    broken = h + 0.1 * np.kron(np.ones((3, 3)), np.eye(3))
    np.testing.assert_allclose(normal_modes(broken, np.ones(3)).wavenumber_per_cm, wanted)


def test_against_ase(tmp_path: Path) -> None:
    """ASE's vibrations of a copper crystal with the EMT potential, same displacement."""
    atoms = ase.build.bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)

    def forces(positions: np.ndarray) -> np.ndarray:
        moved = atoms.copy()
        moved.positions = positions
        moved.calc = EMT()
        return np.asarray(moved.get_forces())

    h = hessian_by_finite_differences(atoms.positions, forces, displacement_A=0.01)
    ours = normal_modes(h, atoms.get_masses()).wavenumber_per_cm
    atoms.calc = EMT()
    vib = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.01)
    vib.run()
    energies = vib.get_frequencies()
    theirs = np.sort(energies.real - np.abs(energies.imag))
    # ASE keeps the three translations, within 1 cm⁻¹ of zero here.
    keep = np.argsort(np.abs(theirs))[3:]
    np.testing.assert_allclose(ours, np.sort(theirs[keep]), atol=0.05)


@pytest.mark.published
def test_published_frequencies_of_the_zif4_crystal() -> None:
    """The 813 printed values to 0.5 cm⁻¹ (0.09 in fact), none imaginary."""
    found = published_vibrations()
    plus, minus = found.displaced(+1), found.displaced(-1)
    h = hessian_from_forces(plus, minus, displacement_A=found.displacement_A)
    modes = normal_modes(h, found.masses)
    printed = found.wavenumbers_per_cm
    assert modes.wavenumber_per_cm.shape == printed.shape == (813,)
    assert np.abs(modes.wavenumber_per_cm - printed).max() < 0.1
    assert modes.wavenumber_per_cm[-1] == pytest.approx(3193.37, abs=0.005)
    assert modes.n_imaginary == 0


def test_density_of_states_counts_the_modes() -> None:
    grid = np.linspace(-200.0, 1200.0, 14_001)
    g = density_of_states([-50.0, 300.0, 310.0, 900.0], grid_per_cm=grid, width_per_cm=6.0)
    assert np.trapezoid(g, grid) == pytest.approx(4.0, rel=1e-6)
    assert np.trapezoid(g[grid < 0], grid[grid < 0]) == pytest.approx(1.0, rel=1e-6)
    assert g.max() == pytest.approx(g[np.argmin(np.abs(grid - 305.0))], rel=0.05)


def oscillation(nu: float, n_frames: int, dt: float) -> np.ndarray:
    """Two atoms of masses 1 and 3 that vibrate against each other along x."""
    v = np.zeros((n_frames, 2, 3))
    v[:, 0, 0] = np.cos(2 * np.pi * LIGHT_CM_FS * nu * dt * np.arange(n_frames) + 0.3)
    v[:, 1, 0] = -v[:, 0, 0] / 3.0
    return v


@pytest.mark.parametrize(("dt", "segment"), [(0.5, 4096), (1.0, 2048), (2.0, 1001)])
def test_a_vibration_appears_at_its_wavenumber(dt: float, segment: int) -> None:
    spectrum = velocity_spectra(
        oscillation(1200.0, 6000, dt), [1.0, 3.0], time_step_fs=dt, segment_frames=segment
    )
    density = spectrum.density.mean(0)
    nu = spectrum.wavenumber_per_cm
    assert float((density * nu).sum() / density.sum()) == pytest.approx(1200.0, abs=1.0)
    assert density.sum() * nu[1] == pytest.approx(1.0)


def test_two_vibrations_share_by_their_kinetic_energy() -> None:
    v = oscillation(1200.0, 8000, 1.0) + 2.0 * oscillation(400.0, 8000, 1.0)
    spectrum = velocity_spectra(v, [1.0, 3.0], time_step_fs=1.0, segment_frames=2000)
    density, nu = spectrum.density.mean(0), spectrum.wavenumber_per_cm
    assert density[nu < 800].sum() * nu[1] == pytest.approx(0.8, abs=2e-3)


def test_the_spectrum_is_the_transform_of_the_velocity_autocorrelation() -> None:
    """Naive sum over lags of the windowed velocities of one segment."""
    v = np.random.default_rng(0).normal(size=(32, 2, 3))
    masses = np.array([1.0, 3.0])
    spectrum = velocity_spectra(v, masses, time_step_fs=1.0, segment_frames=32)
    x = v - np.einsum("a,tax->tx", masses / 4.0, v)[:, None]
    x = x * np.sin(np.pi * np.arange(32) / 32)[:, None, None] ** 2
    lags = np.arange(-31, 32)
    vacf = [
        sum(
            masses[a] * x[t, a] @ x[t + k, a]
            for a in range(2)
            for t in range(32)
            if 0 <= t + k < 32
        )
        for k in lags
    ]
    naive = np.array([np.sum(vacf * np.cos(2 * np.pi * f * lags / 32)) for f in range(17)])
    naive[1:16] *= 2.0
    np.testing.assert_allclose(
        spectrum.density[0], naive / naive.sum() / spectrum.wavenumber_per_cm[1], atol=1e-12
    )


def test_harmonic_md_at_equipartition_has_the_density_of_states_of_its_hessian() -> None:
    h = 40.0 * np.eye(12) + spring_hessian(4)
    h = h - np.kron(np.ones((4, 4)), np.eye(3)) * 10.0
    masses = np.array([1.0, 1.0, 2.0, 4.0])
    modes = normal_modes(h, masses)
    omega = 2 * np.pi * LIGHT_CM_FS * modes.wavenumber_per_cm
    rng = np.random.default_rng(2)
    t = np.arange(40_000) * 0.5
    phase = rng.uniform(0, 2 * np.pi, size=9)
    v = np.einsum("kt,kax->tax", np.cos(omega[:, None] * t + phase[:, None]), modes.displacements)
    spectrum = velocity_spectra(v, masses, time_step_fs=0.5, segment_frames=20_000)
    density, nu = spectrum.density.mean(0), spectrum.wavenumber_per_cm
    edges = np.r_[0.0, 0.5 * (modes.wavenumber_per_cm[1:] + modes.wavenumber_per_cm[:-1]), 1e9]
    shares = [density[(nu >= a) & (nu < b)].sum() * nu[1] for a, b in pairwise(edges)]
    np.testing.assert_allclose(shares, 1.0 / 9.0, rtol=0.03)


def test_centre_of_mass_motion_and_its_drift_do_not_show() -> None:
    v = oscillation(1200.0, 4000, 1.0)
    drift = v + np.linspace(0.0, 3.0, 4000)[:, None, None]
    one, two = (
        velocity_spectra(x, [1.0, 3.0], time_step_fs=1.0, segment_frames=1000) for x in (v, drift)
    )
    np.testing.assert_allclose(one.density, two.density, atol=1e-10)


def test_segments_use_every_frame_and_give_error_bars() -> None:
    noise = ar1(tau=3.0, n_frames=5003, n_series=12, seed=1).T.reshape(5003, 4, 3)
    spectrum = velocity_spectra(noise, np.ones(4), time_step_fs=1.0, segment_frames=500)
    assert len(spectrum.density) == 20
    spoiled = noise.copy()
    spoiled[-1] = np.nan
    with pytest.raises(DataError, match="NaN or infinite in frame 5002"):
        velocity_spectra(spoiled, np.ones(4), time_step_fs=1.0, segment_frames=500)
    error = bootstrap_mean(spectrum.density, seed=0, block_length=2).standard_error
    assert np.all(error[1:-1] > 0.0)


def test_velocities_by_differences() -> None:
    t = 0.5 * np.arange(4001)
    omega = 2 * np.pi * LIGHT_CM_FS * 3200.0
    x = np.zeros((4001, 2, 3))
    x[:, 0, 0] = 0.1 * np.sin(omega * t) / omega
    v = velocities_by_differences(x, time_step_fs=0.5)
    exact = 0.1 * np.cos(omega * (t[1:] - 0.25))
    loss = (v[:, 0, 0] @ v[:, 0, 0]) / (exact @ exact)
    assert loss == pytest.approx(np.sinc(omega * 0.25 / np.pi) ** 2, abs=1e-6)
    assert 0.990 < loss < 0.994
    x[100:, 1] += [15.4, 0.0, 0.0]
    with pytest.raises(DataError, match="atom 1 jumps after frame 99; wanted unwrapped"):
        velocities_by_differences(x, time_step_fs=0.5)
    with pytest.raises(NotDefinedError, match="1 frames, wanted at least 2"):
        velocities_by_differences(x[:1], time_step_fs=0.5)


def test_bad_input() -> None:
    v = oscillation(1200.0, 100, 1.0)
    with pytest.raises(NotDefinedError, match="segments of 200 frames from a run of 100"):
        velocity_spectra(v, [1.0, 3.0], time_step_fs=1.0, segment_frames=200)
    with pytest.raises(NotDefinedError, match="no atom moves"):
        velocity_spectra(0 * v, [1.0, 3.0], time_step_fs=1.0, segment_frames=50)
    with pytest.raises(DataError, match=r"wanted \(frames, 3, 3\)"):
        velocity_spectra(v, [1.0, 3.0, 1.0], time_step_fs=1.0, segment_frames=50)
    with pytest.raises(DataError, match=r"time_step_fs: -1\.0"):
        velocity_spectra(v, [1.0, 3.0], time_step_fs=-1.0, segment_frames=50)
    with pytest.raises(DataError, match=r"masses: shape \(3,\), wanted \(2,\)"):
        normal_modes(diatomic(1.0), [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="one is not a positive number"):
        normal_modes(diatomic(1.0), [1.0, 0.0])
    with pytest.raises(NotDefinedError, match="one atom has translations only"):
        normal_modes(np.eye(3), [1.0])
    with pytest.raises(DataError, match=r"width_per_cm: 0\.0"):
        density_of_states([1.0], grid_per_cm=[0.0, 1.0], width_per_cm=0.0)
