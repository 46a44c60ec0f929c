import numpy as np
import pytest

from tests.published import published_vibrations
from zifbench.analysis.hessian import (
    SymmetryOperation,
    complete_by_symmetry,
    displaced_positions,
    hessian_by_finite_differences,
    hessian_defects,
    hessian_from_forces,
    symmetrised,
)
from zifbench.errors import DataError, NotDefinedError
from zifbench.units import BOHR_A, HARTREE_EV


def spring_hessian(n: int, seed: int = 0) -> np.ndarray:
    """Random springs between all pairs: symmetric and blind to translations."""
    k = np.random.default_rng(seed).normal(size=(n, n, 3, 3))
    k = k + k.transpose(1, 0, 2, 3)
    k = 0.5 * (k + k.swapaxes(2, 3))
    k[np.arange(n), np.arange(n)] = 0.0
    h = -k.transpose(0, 2, 1, 3).copy()
    for i in range(n):
        h[i, :, i] = k[i].sum(0)
    return h.reshape(3 * n, 3 * n)


def test_finite_differences_of_harmonic_forces_give_the_hessian_back() -> None:
    h = spring_hessian(5)
    minimum = np.random.default_rng(1).normal(size=(5, 3))

    def forces(positions: np.ndarray) -> np.ndarray:
        return -(h @ (positions - minimum).ravel()).reshape(-1, 3)

    full = hessian_by_finite_differences(minimum, forces, displacement_A=0.01)
    np.testing.assert_allclose(full, h, atol=1e-10)
    some = hessian_by_finite_differences(minimum, forces, displacement_A=0.01, atoms=[3, 1])
    np.testing.assert_allclose(some, np.concatenate([h[9:12], h[3:6]]), atol=1e-10)


def test_odd_anharmonicity_cancels_in_central_differences() -> None:
    """F = -k x - a x²: the quadratic term drops out at any step."""
    positions = np.zeros((2, 3))
    full = hessian_by_finite_differences(
        positions, lambda x: -3.0 * x - 5.0 * x**2, displacement_A=0.1
    )
    np.testing.assert_allclose(full, 3.0 * np.eye(6), atol=1e-12)


def test_displacements_run_over_atom_axis_and_sign_and_leave_the_input() -> None:
    positions = np.zeros((2, 3))
    moved = list(displaced_positions(positions, displacement_A=0.5))
    assert [m[:3] for m in moved[:3]] == [(0, 0, 1), (0, 0, -1), (0, 1, 1)]
    assert (len(moved), moved[1][3][0, 0], np.abs(positions).max()) == (12, -0.5, 0.0)


def test_defects() -> None:
    h = spring_hessian(4)
    assert hessian_defects(h).asymmetry < 1e-12
    assert hessian_defects(h).translation < 1e-12
    h[0, 5] += 0.25
    assert hessian_defects(h).asymmetry == pytest.approx(0.25)
    assert hessian_defects(h).translation == pytest.approx(0.25)
    assert hessian_defects(symmetrised(h)).asymmetry == 0.0


def square() -> tuple[np.ndarray, list[SymmetryOperation]]:
    """Hessian of a square of four equal atoms with springs, and its four rotations."""
    corners = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    h = np.zeros((4, 3, 4, 3))
    for i in range(4):
        for j in range(4):
            if i != j:
                d = corners[i] - corners[j]
                block = np.outer(d, d) / (d @ d) ** 2 + 0.1 * np.eye(3)
                h[i, :, j] -= block
                h[i, :, i] += block
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    operations = [
        SymmetryOperation(np.linalg.matrix_power(quarter, k), (np.arange(4) + k) % 4)
        for k in range(4)
    ]
    return h.reshape(12, 12), operations


def test_symmetry_completes_the_rows_of_one_atom() -> None:
    h, operations = square()
    np.testing.assert_allclose(complete_by_symmetry(h[3:6], [1], operations), h, atol=1e-12)
    both = complete_by_symmetry(h[:6], [0, 1], operations)
    np.testing.assert_allclose(both, h, atol=1e-12)


def test_atoms_out_of_reach_are_named() -> None:
    h, operations = square()
    with pytest.raises(NotDefinedError, match=r"to atom 1 \(3 such atoms\)"):
        complete_by_symmetry(h[:3], [0], operations[:1])
    with pytest.raises(DataError, match=r"rows: shape \(6, 12\), wanted \(3, 12\)"):
        complete_by_symmetry(h[:6], [0], operations)


def test_bad_forces() -> None:
    good = np.zeros((6, 2, 3))
    with pytest.raises(DataError, match=r"wanted the same \(displacements, atoms, 3\) twice"):
        hessian_from_forces(good, good[:5], displacement_A=0.01)
    with pytest.raises(DataError, match=r"displacement_A: 0\.0, wanted a positive step"):
        hessian_from_forces(good, good, displacement_A=0.0)
    bad = good.copy()
    bad[4, 1, 2] = np.nan
    with pytest.raises(DataError, match=r"infinite force in displacement \-4"):
        hessian_from_forces(good, bad, displacement_A=0.01)
    with pytest.raises(DataError, match=r"shape \(5, 5\), wanted \(3 atoms, 3 atoms\)"):
        hessian_defects(np.zeros((5, 5)))


@pytest.mark.published
def test_defects_of_the_published_hessian() -> None:
    found = published_vibrations()
    plus, minus = found.displaced(+1), found.displaced(-1)
    defects = hessian_defects(hessian_from_forces(plus, minus, displacement_A=found.displacement_A))
    unit = HARTREE_EV / BOHR_A**2
    assert defects.largest / unit == pytest.approx(0.845, abs=5e-4)
    assert defects.asymmetry / unit == pytest.approx(9.0e-6, abs=1e-7)
    assert defects.translation / unit == pytest.approx(4.1e-4, abs=1e-5)
