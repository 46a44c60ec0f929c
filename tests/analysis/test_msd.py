"""Mean square displacement: known walks, a naive loop, freud, wrapping, bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.analysis.structures import moved_by_lattice, rotated, skewed, supercell, wrapped
from zifbench.analysis.msd import mean_square_displacement
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames

CELL = np.array([[14.0, 0, 0], [3, 13, 0], [-2, 1.5, 15]])


def _frames(positions: FloatArray, *, step_fs: float = 10.0, n_zinc: int = 3) -> Frames:
    n_frames, n_atoms = positions.shape[:2]
    return Frames(
        numbers=np.array([30] * n_zinc + [7] * (n_atoms - n_zinc)),
        masses=np.linspace(1.0, 30.0, n_atoms),
        pbc=np.ones(3, bool),
        positions=positions,
        cell=np.repeat(CELL[None], n_frames, axis=0),
        time_fs=np.arange(n_frames) * step_fs,
    )


def _walk(n_frames: int = 60, n_atoms: int = 8, step_A: float = 0.5) -> Frames:
    steps = np.random.default_rng(0).normal(size=(n_frames, n_atoms, 3)) * step_A
    return _frames(np.cumsum(steps, axis=0))


def test_straight_flight_is_parabolic() -> None:
    velocity = np.array([0.01, 0.02, -0.02])  # Å/fs, speed 0.03
    positions = np.zeros((50, 4, 3))
    positions[:, 0] = np.arange(50)[:, None] * 10.0 * velocity
    msd = mean_square_displacement(
        _frames(positions, n_zinc=1), max_lag_fs=400, lag_step_fs=20, remove_drift=False
    )
    np.testing.assert_allclose(msd.lag_fs, np.arange(0, 401, 20))
    np.testing.assert_allclose(msd.msd_A2["Zn"], 9.0e-4 * msd.lag_fs**2, rtol=1e-12)
    np.testing.assert_allclose(msd.msd_A2["N"], 0.0)
    np.testing.assert_array_equal(msd.n_origins, 50 - np.arange(0, 41, 2))


def test_common_drift_is_removed() -> None:
    positions = np.zeros((50, 4, 3)) + np.arange(50)[:, None, None] * 0.2
    msd = mean_square_displacement(_frames(positions), max_lag_fs=400, lag_step_fs=20)
    np.testing.assert_allclose(msd.msd_A2["Zn"], 0.0, atol=1e-20)


def test_random_walk_has_its_diffusion_coefficient() -> None:
    """Steps of variance s² a component every 10 fs: D = s²/(2 · 10 fs) = 0.0125 Å²/fs."""
    frames = _walk(n_frames=4000, n_atoms=100)
    msd = mean_square_displacement(frames, max_lag_fs=500, lag_step_fs=10, remove_drift=False)
    for symbol in ("Zn", "N"):
        found = msd.diffusion_cm2_per_s(symbol, from_fs=50, to_fs=500)
        assert found == pytest.approx(0.0125 * 0.1, rel=0.08)


def test_against_naive_loop() -> None:
    frames = _walk()
    centred = (
        frames.positions - np.average(frames.positions, axis=1, weights=frames.masses)[:, None]
    )
    msd = mean_square_displacement(frames, max_lag_fs=300, lag_step_fs=30)
    for k, lag in enumerate(range(0, 31, 3)):
        squared = ((centred[lag:] - centred[: 60 - lag]) ** 2).sum(axis=2)
        assert msd.msd_A2["Zn"][k] == pytest.approx(squared[:, :3].mean(), rel=1e-9)
        assert msd.msd_A2["N"][k] == pytest.approx(squared[:, 3:].mean(), rel=1e-9)


def test_freud_agrees() -> None:
    """freud.msd.MSD(mode="window") on unwrapped positions."""
    freud = pytest.importorskip("freud")
    frames = _walk()
    own = mean_square_displacement(frames, max_lag_fs=590, lag_step_fs=10, remove_drift=False)
    msd = freud.msd.MSD(mode="window").compute(frames.positions[:, :3]).msd
    np.testing.assert_allclose(own.msd_A2["Zn"], msd, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("move", [wrapped, rotated, skewed], ids=lambda move: move.__name__)
def test_invariance(move) -> None:  # type: ignore[no-untyped-def]
    frames = _walk()
    before = mean_square_displacement(frames, max_lag_fs=300, lag_step_fs=30)
    after = mean_square_displacement(move(frames), max_lag_fs=300, lag_step_fs=30)
    for symbol, msd in before.msd_A2.items():
        np.testing.assert_allclose(after.msd_A2[symbol], msd, rtol=1e-9, atol=1e-12)


def test_random_images_of_every_frame_and_a_supercell() -> None:
    frames = _walk()
    before = mean_square_displacement(frames, max_lag_fs=300, lag_step_fs=30)
    for other in (moved_by_lattice(frames), supercell(frames)):
        after = mean_square_displacement(other, max_lag_fs=300, lag_step_fs=30)
        np.testing.assert_allclose(after.msd_A2["N"], before.msd_A2["N"], rtol=1e-9, atol=1e-12)


def test_pieces_give_the_same() -> None:
    frames = _walk()
    before = mean_square_displacement(frames, max_lag_fs=300, lag_step_fs=30)
    for size in (1, 7, 59):
        after = mean_square_displacement(frames.chunks(size), max_lag_fs=300, lag_step_fs=30)
        np.testing.assert_allclose(after.msd_A2["Zn"], before.msd_A2["Zn"], rtol=1e-9, atol=1e-12)


def test_a_breathing_cell_does_not_move_atoms_many_cells_away() -> None:
    """Unwrapped positions carry whole cells, which grow and shrink with the cell; atoms do not."""
    frames = _walk(step_A=0.05)
    frames = dataclasses.replace(frames, positions=frames.positions + CELL.sum(axis=0) / 2.0)
    scale = 1.0 + 0.01 * np.sin(np.arange(60))[:, None, None]
    cells = frames.cell * scale
    away = np.random.default_rng(1).integers(-5, 6, (1, 8, 3)).astype(float)
    breathing = dataclasses.replace(frames, cell=cells, positions=frames.positions + away @ cells)
    before = mean_square_displacement(frames, max_lag_fs=100, lag_step_fs=10)
    for other in (breathing, wrapped(breathing)):
        after = mean_square_displacement(other, max_lag_fs=100, lag_step_fs=10)
        for symbol, msd in before.msd_A2.items():
            np.testing.assert_allclose(after.msd_A2[symbol], msd, rtol=1e-9, atol=1e-12)


def test_bad_input() -> None:
    frames = _walk()
    with pytest.raises(NotDefinedError, match="at least two frames, got 1"):
        mean_square_displacement(frames[0])
    with pytest.raises(NotDefinedError, match="max_lag_fs = 20000 is not shorter than the run"):
        mean_square_displacement(frames)
    with pytest.raises(NotDefinedError, match="lag_step_fs = 15 is no multiple"):
        mean_square_displacement(frames, lag_step_fs=15.0)
    with pytest.raises(NotDefinedError, match="max_lag_fs = 10 is below lag_step_fs = 20"):
        mean_square_displacement(frames, max_lag_fs=10.0, lag_step_fs=20.0)
    with pytest.raises(NotDefinedError, match="no C atoms"):
        mean_square_displacement(frames, species=["C"], max_lag_fs=100, lag_step_fs=10)
    with pytest.raises(NotDefinedError, match="too far apart to tell motion from wrapping"):
        mean_square_displacement(_walk(step_A=4.0), max_lag_fs=100, lag_step_fs=10)
    msd = mean_square_displacement(frames, max_lag_fs=100, lag_step_fs=50)
    with pytest.raises(NotDefinedError, match="2 lags between 40 and 100 fs, wanted at least 3"):
        msd.diffusion_cm2_per_s("Zn", from_fs=40, to_fs=100)
