import numpy as np
import pytest

from zifbench.analysis.eos import (
    birch_murnaghan_pressure_GPa,
    fit_birch_murnaghan,
    points_around_zero_pressure,
)
from zifbench.errors import DataError, NotDefinedError

MASS = 3194.2  # amu, C96H96N64Zn16
VOLUMES = 4381.0 * (1.0 + 0.015 * np.arange(-4, 5))


def curve(volume: np.ndarray, k: float = 1.7, v0: float = 4400.0) -> np.ndarray:
    return birch_murnaghan_pressure_GPa(volume, bulk_modulus_GPa=k, equilibrium_volume_A3=v0)


def test_a_synthetic_curve_is_returned() -> None:
    fit = fit_birch_murnaghan(VOLUMES, curve(VOLUMES), mass_amu=MASS)
    assert fit.bulk_modulus_GPa == pytest.approx(1.7, rel=1e-6)
    assert fit.equilibrium_volume_A3 == pytest.approx(4400.0, rel=1e-8)
    assert fit.density_g_cm3 == pytest.approx(MASS / 6.02214076e23 / 4400e-24, rel=1e-8)
    assert len(fit.points) == 5


def test_bulk_modulus_is_minus_v_dp_dv_at_zero_pressure() -> None:
    h = 0.1
    slope = (curve(np.array([4400.0 + h])) - curve(np.array([4400.0 - h]))) / (2 * h)
    assert float(-4400.0 * slope[0]) == pytest.approx(1.7, rel=1e-6)


def test_pressure_is_minus_the_derivative_of_the_published_energy() -> None:
    """E(V) = 9/8 K V0 [(V0/V)^(2/3) - 1]², the second-order Birch energy."""
    volume = np.linspace(4000.0, 4800.0, 9)

    def energy(v: np.ndarray) -> np.ndarray:
        return np.asarray(9.0 / 8.0 * 1.7 * 4400.0 * ((4400.0 / v) ** (2.0 / 3.0) - 1.0) ** 2)

    numeric = -(energy(volume + 0.05) - energy(volume - 0.05)) / 0.1
    np.testing.assert_allclose(curve(volume), numeric, atol=1e-7)


def test_the_five_points_around_zero_pressure_are_taken() -> None:
    rows = points_around_zero_pressure(VOLUMES, curve(VOLUMES))
    np.testing.assert_array_equal(rows, [2, 3, 4, 5, 6])
    shuffled = np.random.default_rng(0).permutation(len(VOLUMES))
    again = points_around_zero_pressure(VOLUMES[shuffled], curve(VOLUMES)[shuffled])
    np.testing.assert_array_equal(shuffled[again], rows)


def test_fewer_points_where_the_scan_ends() -> None:
    rows = points_around_zero_pressure(VOLUMES[:6], curve(VOLUMES[:6]))
    np.testing.assert_array_equal(rows, [2, 3, 4, 5])


def test_pressure_errors_of_10_MPa_give_the_modulus_to_13_percent() -> None:
    """The figures of five points 1.5 % apart at K = 1.7 GPa: K to 13 %, V0 to 0.3 %."""
    five = VOLUMES[2:7]
    errors = np.full(5, 0.010)
    fit = fit_birch_murnaghan(five, curve(five), mass_amu=MASS, pressure_error_GPa=errors)
    assert fit.bulk_modulus_error_GPa / 1.7 == pytest.approx(0.13, abs=0.01)
    assert fit.equilibrium_volume_error_A3 / 4400.0 == pytest.approx(0.003, abs=0.0005)
    half = fit_birch_murnaghan(five, curve(five), mass_amu=MASS, pressure_error_GPa=errors / 2)
    assert half.bulk_modulus_error_GPa / 1.7 == pytest.approx(0.06, abs=0.01)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    five, error = VOLUMES[2:7], np.array([0.004, 0.003, 0.005, 0.004, 0.004])
    pulls = []
    for _ in range(1000):
        p = curve(five, v0=4381.0) + error * rng.normal(size=5)
        fit = fit_birch_murnaghan(five, p, mass_amu=MASS, pressure_error_GPa=error)
        if len(fit.points) == 5:
            pulls.append(
                (
                    (fit.bulk_modulus_GPa - 1.7) / fit.bulk_modulus_error_GPa,
                    (fit.equilibrium_volume_A3 - 4381.0) / fit.equilibrium_volume_error_A3,
                    fit.chi_squared,
                )
            )
    k, v, chi2 = np.array(pulls).T
    assert len(pulls) > 990
    assert 0.93 <= np.mean(np.abs(k) < 1.96) <= 0.97
    assert 0.93 <= np.mean(np.abs(v) < 1.96) <= 0.97
    assert np.mean(chi2) == pytest.approx(3.0, abs=0.3)


def test_units_scale() -> None:
    """Twice the cell is twice the volume and mass, and the same material."""
    one = fit_birch_murnaghan(VOLUMES, curve(VOLUMES), mass_amu=MASS)
    two = fit_birch_murnaghan(2 * VOLUMES, curve(VOLUMES), mass_amu=2 * MASS)
    assert two.bulk_modulus_GPa == pytest.approx(one.bulk_modulus_GPa, rel=1e-6)
    assert two.density_g_cm3 == pytest.approx(one.density_g_cm3, rel=1e-6)


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match="do not enclose zero; add larger"):
        fit_birch_murnaghan(VOLUMES[:4], curve(VOLUMES[:4]), mass_amu=MASS)
    with pytest.raises(NotDefinedError, match="2 volumes around zero pressure, wanted at least 3"):
        fit_birch_murnaghan(VOLUMES[4:6], curve(VOLUMES[4:6]), mass_amu=MASS)
    with pytest.raises(NotDefinedError, match="the pressure rises with volume"):
        fit_birch_murnaghan(VOLUMES, -curve(VOLUMES), mass_amu=MASS)
    with pytest.raises(DataError, match="wanted one pressure a volume"):
        fit_birch_murnaghan(VOLUMES, curve(VOLUMES)[:-1], mass_amu=MASS)
    with pytest.raises(DataError, match="occurs twice"):
        fit_birch_murnaghan(np.r_[VOLUMES, VOLUMES[:1]], np.zeros(10), mass_amu=MASS)
    with pytest.raises(DataError, match="a pressure is not finite"):
        fit_birch_murnaghan(VOLUMES, np.full(9, np.nan), mass_amu=MASS)
    with pytest.raises(DataError, match="all positive"):
        fit_birch_murnaghan(VOLUMES, curve(VOLUMES), mass_amu=MASS, pressure_error_GPa=np.zeros(9))
