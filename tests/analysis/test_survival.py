"""Survival curves against a naive estimate, and how often their intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from zifbench.analysis.survival import survival_curve
from zifbench.errors import DataError, NotDefinedError


def naive(time, ended):
    """Kaplan and Meier's product, moment by moment."""
    rows, share = [], 1.0
    for moment in sorted(set(time)):
        watched = sum(t >= moment for t in time)
        died = sum(t == moment and over for t, over in zip(time, ended, strict=True))
        share *= 1.0 - died / watched
        rows.append((moment, share))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_against_the_product_by_hand(seed) -> None:
    rng = np.random.default_rng(seed)
    time, ended = rng.integers(1, 9, size=15).astype(float), rng.random(15) < 0.6
    found = survival_curve(time, ended)
    expected = naive(time.tolist(), ended.tolist())
    assert found.time[0] == 0.0
    assert found.survival[0] == 1.0
    np.testing.assert_allclose(np.transpose([found.time, found.survival])[1:], expected)
    assert (found.n, found.n_ended) == (15, int(ended.sum()))
    assert (found.low <= found.survival + 1e-12).all()
    assert (found.high >= found.survival - 1e-12).all()
    assert np.isfinite([found.low, found.high]).all()


def test_four_runs_by_hand() -> None:
    """Ends at 1 and 2, watched until 3: S = 3/4, 1/2; Clopper and Pearson's of 2 of 4."""
    found = survival_curve([1.0, 2.0, 3.0, 3.0], [True, True, False, False])
    np.testing.assert_allclose(found.survival, [1.0, 0.75, 0.5, 0.5])
    np.testing.assert_allclose(found.low[-1], 0.0676, atol=1e-4)
    np.testing.assert_allclose(found.high[-1], 0.9324, atol=1e-4)
    assert found.mean_time(3.0) == pytest.approx(1.0 + 0.75 + 0.5)
    assert found.mean_time(1.5) == pytest.approx(1.0 + 0.5 * 0.75)


def test_nothing_has_ended() -> None:
    """Nine runs that all last: at least 66 % do, 0.025^(1/9)."""
    found = survival_curve([5.0] * 9, [False] * 9)
    np.testing.assert_allclose(found.survival, 1.0)
    np.testing.assert_allclose(found.low, 0.025 ** (1.0 / 9.0))
    np.testing.assert_allclose(found.high, 1.0)
    assert found.mean_time(5.0) == 5.0


def test_everything_has_ended() -> None:
    found = survival_curve([1.0, 1.0, 2.0], [True] * 3)
    assert found.survival[-1] == 0.0
    assert found.high[-1] == pytest.approx(1.0 - 0.025 ** (1.0 / 3.0))


def test_some_were_lost_from_sight_before() -> None:
    """One is lost at 1; of the others none ends: two of two that are still watched."""
    found = survival_curve([1.0, 4.0, 4.0], [False, False, False])
    assert found.low[-1] == pytest.approx(0.025**0.5)


@pytest.mark.parametrize(("n", "watched"), [(4, False), (9, False), (30, False), (30, True)])
def test_the_band_covers_an_exponential(n, watched) -> None:
    """Lifetimes of mean 1, watched until 1.5; S(1) = 1/e is inside in at least 95 %.

    With watches that end at random Greenwood's interval is not exact: 91 % are asked for.
    """
    rng = np.random.default_rng(n)
    inside, trials = 0, 400
    for _ in range(trials):
        life = rng.exponential(size=n)
        until = rng.uniform(0.5, 2.5, size=n) if watched else np.full(n, 1.5)
        found = survival_curve(np.minimum(life, until), life <= until)
        at = np.searchsorted(found.time, 1.0, side="right") - 1
        inside += found.low[at] <= np.exp(-1.0) <= found.high[at]
    assert inside / trials >= (0.91 if watched else 0.95)


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match="no samples"):
        survival_curve([], [])
    with pytest.raises(DataError, match=r"times of shape \(2,\), ends of shape \(1,\)"):
        survival_curve([1.0, 2.0], [True])
    with pytest.raises(DataError, match="negative or not finite"):
        survival_curve([-1.0], [True])
