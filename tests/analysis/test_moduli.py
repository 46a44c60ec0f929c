import numpy as np
import pytest
import scipy.linalg

from zifbench.analysis.moduli import born_stability, hill_average, reuss_average, voigt_average
from zifbench.errors import DataError, NotDefinedError

PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def cubic(c11: float, c12: float, c44: float) -> np.ndarray:
    c = np.diag([c11 - c12] * 3 + [c44] * 3)
    c[:3, :3] += c12
    return c


def rotated(c: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    full = np.zeros((3, 3, 3, 3))
    for a, (i, j) in enumerate(PAIRS):
        for b, (k, m) in enumerate(PAIRS):
            for p, q in ((i, j), (j, i)):
                full[p, q, k, m] = full[p, q, m, k] = c[a, b]
    full = np.einsum("ai,bj,ck,dl,ijkl", *[rotation] * 4, full)
    return np.array([[full[i, j, k, m] for k, m in PAIRS] for i, j in PAIRS])


def test_isotropic_material() -> None:
    """λ = 2, μ = 3: K = λ + 2μ/3, E = μ(3λ + 2μ)/(λ + μ), ν = λ/(2(λ + μ))."""
    c = cubic(8.0, 2.0, 3.0)
    for average in (voigt_average, reuss_average, hill_average):
        m = average(c)
        assert (m.bulk_GPa, m.shear_GPa) == (pytest.approx(4.0), pytest.approx(3.0))
        assert (m.young_GPa, m.poisson) == (pytest.approx(7.2), pytest.approx(0.2))


def test_copper() -> None:
    """The closed forms of a cubic crystal: G_V = 54.64 GPa, G_R = 40.03 GPa."""
    c = cubic(168.4, 121.4, 75.4)
    assert hill_average(c).bulk_GPa == pytest.approx((168.4 + 2 * 121.4) / 3)
    assert voigt_average(c).shear_GPa == pytest.approx((47.0 + 3 * 75.4) / 5)
    assert reuss_average(c).shear_GPa == pytest.approx(5 * 47.0 * 75.4 / (4 * 75.4 + 3 * 47.0))


def test_averages_do_not_depend_on_the_axes() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    c = a @ a.T + 3 * np.eye(6)
    q = scipy.linalg.qr(rng.normal(size=(3, 3)))[0]
    for average in (voigt_average, reuss_average, hill_average):
        assert vars(average(rotated(c, q))) == pytest.approx(vars(average(c)), rel=1e-9)
    assert reuss_average(c).bulk_GPa < hill_average(c).bulk_GPa < voigt_average(c).bulk_GPa


def test_bulk_moduli_are_responses_to_uniform_strain_and_to_pressure() -> None:
    c = np.diag([4.0, 5.0, 6.0, 1.2, 2.0, 1.6])
    c[0, 1] = c[1, 0] = 1.5
    c[0, 2] = c[2, 0] = 2.0
    c[1, 2] = c[2, 1] = 2.5
    s = np.linalg.inv(c)
    ones = np.r_[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert voigt_average(c).bulk_GPa == pytest.approx(ones @ c @ ones / 9.0)
    assert reuss_average(c).bulk_GPa == pytest.approx(1.0 / (ones @ s @ ones))


def test_born() -> None:
    assert born_stability(cubic(8.0, 2.0, 3.0)).stable
    np.testing.assert_allclose(
        born_stability(cubic(8.0, 2.0, 3.0)).eigenvalues_GPa, [3, 3, 3, 6, 6, 12]
    )
    assert not born_stability(cubic(2.0, 3.0, 1.0)).stable  # C11 < C12
    assert not born_stability(cubic(8.0, 2.0, -0.1)).stable
    assert not born_stability(cubic(8.0, -4.1, 3.0)).stable  # C11 + 2 C12 < 0


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"shape \(3, 3\), wanted \(6, 6\)"):
        hill_average(np.eye(3))
    with pytest.raises(DataError, match="not symmetric"):
        born_stability(np.triu(np.ones((6, 6))))
    with pytest.raises(DataError, match="NaN or infinite"):
        voigt_average(np.full((6, 6), np.nan))
    with pytest.raises(NotDefinedError, match="singular"):
        reuss_average(np.diag([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]))
