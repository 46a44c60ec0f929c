import dataclasses
import re

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.transform

from tests.analysis.synthetic import ar1
from zifbench.analysis.elasticity import (
    bulk_modulus_from_volumes_estimate,
    bulk_modulus_from_volumes_GPa,
    cell_strains,
    check_convergence,
    hill_estimate,
    stiffness_convergence,
    stiffness_estimate,
    stiffness_GPa,
)
from zifbench.analysis.moduli import hill_average, reuss_average
from zifbench.errors import DataError, NotDefinedError

T = 300.0
ORTHORHOMBIC = np.diag([15.4231, 15.4042, 18.4379])
TRICLINIC = np.array([[15.4, 0.0, 0.0], [2.1, 14.9, 0.0], [-3.0, 1.7, 17.2]])
KNOWN = np.diag([4.0, 5.0, 6.0, 1.2, 2.0, 1.6])
KNOWN[0, 1] = KNOWN[1, 0] = 1.5
KNOWN[0, 2] = KNOWN[2, 0] = 1.8
KNOWN[1, 2] = KNOWN[2, 1] = 2.2
PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def full_tensor() -> np.ndarray:
    """A stable tensor with all 21 constants."""
    a = np.random.default_rng(3).normal(size=(6, 6))
    return np.asarray(KNOWN + 0.06 * (a @ a.T))


def tensors(e: np.ndarray) -> np.ndarray:
    """Symmetric 3 × 3 strains of Voigt strains with engineering shears."""
    out = np.zeros((*e.shape[:-1], 3, 3))
    for a, (i, j) in enumerate(PAIRS):
        out[..., i, j] = out[..., j, i] = e[..., a] * (1.0 if i == j else 0.5)
    return out


def deformed(h0: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Cells whose Green–Lagrange strain against h0 is e: h = h0 F, F = sqrt(1 + 2 ε)."""
    values, vectors = np.linalg.eigh(np.eye(3) + 2.0 * tensors(e))
    root = (vectors * np.sqrt(values)[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.asarray(h0 @ root)


def gaussian_strains(c: np.ndarray, volume: float, noise: np.ndarray) -> np.ndarray:
    """Strains of covariance kT/V C⁻¹ from unit normal noise of shape (…, 6)."""
    kT = 1.380649e-23 * T / (volume * 1e-30) * 1e-9  # GPa
    return np.asarray(noise @ np.linalg.cholesky(kT * np.linalg.inv(c)).T)


def ensemble(c: np.ndarray, h0: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(n, 6))
    return deformed(h0, gaussian_strains(c, float(np.linalg.det(h0)), noise))


def rotations(n: int, seed: int = 1) -> np.ndarray:
    return np.asarray(scipy.spatial.transform.Rotation.random(n, rng=seed).as_matrix())


@pytest.mark.parametrize("h0", [ORTHORHOMBIC, TRICLINIC])
def test_a_stretched_cell_gives_its_strain_back(h0: np.ndarray) -> None:
    """h = h0 (1 + a)ᵀ with a small symmetric a has the strain a + a²/2, exactly."""
    a = np.random.default_rng(0).normal(scale=0.01, size=(3, 3))
    a = a + a.T
    stretched = h0 @ (np.eye(3) + a).T
    upright = np.linalg.cholesky(stretched @ stretched.T)
    cells = np.array([stretched, 2.0 * h0 - upright])  # a second cell that makes the mean h0
    np.testing.assert_allclose(tensors(cell_strains(cells)[0]), a + a @ a / 2.0, atol=1e-13)


def test_strain_equals_the_naive_loop() -> None:
    cells = ensemble(full_tensor(), TRICLINIC, 20)
    upright = [np.linalg.cholesky(h @ h.T) for h in cells]
    h0 = np.mean(upright, axis=0)
    for h, e in zip(upright, cell_strains(cells), strict=True):
        f = np.linalg.solve(h0, h).T  # h = h0 Fᵀ
        green = 0.5 * (f.T @ f - np.eye(3))
        np.testing.assert_allclose(tensors(e), green, atol=1e-12)


def test_known_orthorhombic_tensor_to_1_percent() -> None:
    cells = ensemble(KNOWN, ORTHORHOMBIC, 200_000)
    c = stiffness_GPa(cells, temperature_K=T)
    np.testing.assert_allclose(np.diag(c), np.diag(KNOWN), rtol=0.01)
    assert np.abs(c - KNOWN).max() < 0.01 * KNOWN.max()
    known, got = hill_average(KNOWN), hill_average(c)
    for name in ("bulk_GPa", "young_GPa", "shear_GPa", "poisson"):
        assert getattr(got, name) == pytest.approx(getattr(known, name), rel=0.01)


def test_all_21_constants_of_a_triclinic_cell() -> None:
    known = full_tensor()
    c = stiffness_GPa(ensemble(known, TRICLINIC, 200_000), temperature_K=T)
    assert np.abs(c - known).max() < 0.01 * known.max()


def test_rotations_of_the_cell_do_not_matter() -> None:
    cells = ensemble(full_tensor(), TRICLINIC, 5000)
    turned = cells @ rotations(5000)
    np.testing.assert_allclose(
        stiffness_GPa(turned, temperature_K=T), stiffness_GPa(cells, temperature_K=T), rtol=1e-7
    )


def test_shear_constants_of_lower_triangular_cells_are_not_biased() -> None:
    """The column form on row cells would give C44 and C55 (a/c)² = 0.70 of the truth here."""
    cells = np.linalg.cholesky((h := ensemble(KNOWN, ORTHORHOMBIC, 100_000)) @ h.swapaxes(1, 2))
    c = stiffness_GPa(cells, temperature_K=T)
    assert (c[3, 3], c[4, 4]) == (pytest.approx(1.2, rel=0.015), pytest.approx(2.0, rel=0.015))


def test_a_supercell_has_the_same_constants() -> None:
    """Eight times the volume, an eighth of the variance of strain: the same material."""
    one = stiffness_GPa(ensemble(KNOWN, ORTHORHOMBIC, 20_000), temperature_K=T)
    two = stiffness_GPa(ensemble(KNOWN, 2.0 * ORTHORHOMBIC, 20_000), temperature_K=T)
    np.testing.assert_allclose(np.diag(two), np.diag(one), rtol=0.01)


def test_volume_fluctuations_give_the_reuss_modulus() -> None:
    cells = ensemble(KNOWN, ORTHORHOMBIC, 200_000)
    k = bulk_modulus_from_volumes_GPa(np.linalg.det(cells), temperature_K=T)
    reuss = reuss_average(stiffness_GPa(cells, temperature_K=T)).bulk_GPa
    assert k == pytest.approx(reuss, rel=7e-3)  # strains of 3 % are not small
    assert k == pytest.approx(reuss_average(KNOWN).bulk_GPa, rel=0.01)


def correlated_cells(n_runs: int, n_frames: int, tau: float) -> np.ndarray:
    noise = ar1(tau=tau, n_frames=n_frames, n_series=6 * n_runs, seed=4)
    noise = noise.reshape(n_runs, 6, n_frames).swapaxes(1, 2)
    e = gaussian_strains(KNOWN, float(np.linalg.det(ORTHORHOMBIC)), noise)
    return np.stack([deformed(ORTHORHOMBIC, run) for run in e])


def test_errors_of_the_constants_are_the_scatter_of_repeated_correlated_runs() -> None:
    runs = correlated_cells(100, 4000, tau=5.0)
    estimates = [stiffness_estimate(r, temperature_K=T, seed=0, n_resamples=60) for r in runs]
    scatter = np.std([e.estimate for e in estimates], axis=0)
    error = np.sqrt(np.mean([e.standard_error**2 for e in estimates], axis=0))
    np.testing.assert_allclose(np.diag(error) / np.diag(scatter), 1.0, atol=0.25)
    inside = [(e.low <= KNOWN) & (e.high >= KNOWN) for e in estimates]
    assert 0.92 <= np.mean(inside) <= 0.99


def test_hill_estimate_and_volume_estimate_have_honest_errors() -> None:
    runs = correlated_cells(100, 2000, tau=3.0)
    hill = [hill_estimate(r, temperature_K=T, seed=0, n_resamples=60) for r in runs]
    known = hill_average(KNOWN)
    truth = [known.bulk_GPa, known.young_GPa, known.shear_GPa, known.poisson]
    assert 0.89 <= np.mean([(h.low <= truth) & (truth <= h.high) for h in hill]) <= 0.99
    volumes = [
        bulk_modulus_from_volumes_estimate(
            np.linalg.det(r), temperature_K=T, seed=0, n_resamples=100
        )
        for r in runs
    ]
    k = reuss_average(KNOWN).bulk_GPa
    assert 0.89 <= np.mean([v.low <= k <= v.high for v in volumes]) <= 0.99


def test_a_resample_without_motion_takes_the_error_and_not_the_estimate() -> None:
    """The cell stands still for a while: some resamples hold nothing but that."""
    moving = ensemble(KNOWN, ORTHORHOMBIC, 64)
    cells = np.concatenate([np.tile(moving[:1], (576, 1, 1)), moving])
    found = hill_estimate(cells, temperature_K=T, seed=0, n_resamples=300)
    assert np.isfinite(found.estimate).all()
    assert not found.reliable


def test_constants_without_an_error_are_not_converged() -> None:
    cells = ensemble(KNOWN, ORTHORHOMBIC, 6000)
    track = stiffness_convergence(cells, temperature_K=T, seed=0, n_points=4, n_resamples=50)
    assert check_convergence(track, tolerance=0.2).converged
    lost = dataclasses.replace(track, standard_error_GPa=track.standard_error_GPa * np.nan)
    assert "an error could not be had" in check_convergence(lost, tolerance=0.2).reason
    assert not check_convergence(lost, tolerance=0.2).converged


def test_convergence_ends_at_the_whole_run_with_shrinking_errors() -> None:
    cells = ensemble(KNOWN, ORTHORHOMBIC, 20_000)
    track = stiffness_convergence(cells, temperature_K=T, seed=0, n_points=8, n_resamples=100)
    assert track.n_frames[-1] == 20_000
    np.testing.assert_allclose(track.stiffness_GPa[-1], stiffness_GPa(cells, temperature_K=T))
    first, last = (np.diag(track.standard_error_GPa[i]) for i in (0, -1))
    np.testing.assert_allclose(first / last, np.sqrt(8.0), rtol=0.35)


def test_convergence_verdicts() -> None:
    settings = {"temperature_K": T, "seed": 0, "n_points": 6, "n_resamples": 100}
    cells = ensemble(KNOWN, ORTHORHOMBIC, 6000)
    good = check_convergence(stiffness_convergence(cells, **settings), tolerance=0.05)
    assert good.converged
    assert "or better, none moving" in good.reason
    short = check_convergence(stiffness_convergence(cells[:600], **settings), tolerance=0.05)
    assert not short.converged
    assert re.search(r"C\d\d is known to \d+ %", short.reason)
    softer = np.concatenate([cells[:3000], ensemble(KNOWN / 2.0, ORTHORHOMBIC, 3000)])
    moving = check_convergence(stiffness_convergence(softer, **settings), tolerance=0.5)
    assert not moving.converged
    assert re.search(r"C\d\d moved \d+\.\d errors since half the run", moving.reason)


def test_runs_that_do_not_define_the_constants() -> None:
    constant = np.repeat(ORTHORHOMBIC[None], 100, axis=0)
    with pytest.raises(NotDefinedError, match="0 of 6 strains fluctuate; run at constant stress"):
        stiffness_GPa(constant, temperature_K=T)
    breathing = constant * np.random.default_rng(0).normal(1.0, 0.01, size=(100, 1, 1))
    with pytest.raises(NotDefinedError, match="1 of 6 strains fluctuate"):
        stiffness_GPa(breathing, temperature_K=T)
    boxes = constant * (1 + 0.01 * np.random.default_rng(0).normal(size=(100, 1, 3)))
    with pytest.raises(NotDefinedError, match="3 of 6 strains fluctuate"):
        stiffness_GPa(boxes, temperature_K=T)
    with pytest.raises(NotDefinedError, match="the volume never changes"):
        bulk_modulus_from_volumes_GPa(np.linalg.det(constant), temperature_K=T)
    with pytest.raises(NotDefinedError, match="50 frames, wanted at least 64"):
        stiffness_GPa(ensemble(KNOWN, ORTHORHOMBIC, 50), temperature_K=T)


def test_bad_input() -> None:
    cells = ensemble(KNOWN, ORTHORHOMBIC, 100)
    with pytest.raises(DataError, match=r"shape \(100, 3\), wanted \(frames, 3, 3\)"):
        stiffness_GPa(cells[:, 0], temperature_K=T)
    with pytest.raises(DataError, match="NaN or infinite in frame 7"):
        stiffness_GPa(np.where(np.arange(100)[:, None, None] == 7, np.nan, cells), temperature_K=T)
    with pytest.raises(NotDefinedError, match="frame 2 has no cell"):
        stiffness_GPa(np.where(np.arange(100)[:, None, None] == 2, 0.0, cells), temperature_K=T)
    with pytest.raises(DataError, match="temperature_K: 0, wanted a positive"):
        stiffness_GPa(cells, temperature_K=0)
