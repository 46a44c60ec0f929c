"""Bootstrap intervals: values, coverage, few samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zifbench.analysis.bootstrap import bootstrap_interval, bootstrap_ratio, expanded_tail


def test_interval_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=40)
    low, high = bootstrap_ratio(values[:, None], np.ones((40, 1)), seed=1, n_resamples=20_000)[0]
    half = stats.t.ppf(0.975, 39) * values.std(ddof=1) / np.sqrt(40)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_tail_approaches_the_plain_percentile():
    assert expanded_tail(10_000, 0.95) == pytest.approx(0.025, abs=2e-4)
    assert expanded_tail(10, 0.95) < 0.012


@pytest.mark.parametrize("n", [3, 10, 30, 100])
def test_95_percent_intervals_cover_a_skewed_truth(n):
    """1000 trials of absolute errors, whose mean √(2/π) is known."""
    rng = np.random.default_rng(n)
    truth = np.sqrt(2 / np.pi)
    hits = 0
    for trial in range(1000):
        values = np.abs(rng.normal(size=(n, 1)))
        low, high = bootstrap_ratio(values, np.ones((n, 1)), seed=trial, n_resamples=1000)[0]
        hits += low <= truth <= high
    assert 0.92 <= hits / 1000 <= 0.97  # binomial error of the 1000 trials: 0.7 %


def test_few_samples_give_the_t_interval():
    values = np.array([[49.0], [79.0], [161.0]])
    low, high = bootstrap_ratio(values, np.ones((3, 1)), seed=0, n_resamples=50_000)[0]
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert low == pytest.approx(values.mean() - half, rel=0.02)
    assert high == pytest.approx(values.mean() + half, rel=0.02)


def test_errors_are_not_negative():
    values = np.array([[49.0], [79.0], [161.0]])
    assert bootstrap_ratio(values, np.ones((3, 1)), seed=0, lowest=0.0)[0, 0] == 0.0


def test_ratio_weighs_frames_by_their_counts():
    """Nineteen frames with error 3 that count ten times, one with error 2 that counts once."""
    numerator = np.array([[2.0]] + [[30.0]] * 19)
    denominator = np.array([[1.0]] + [[10.0]] * 19)
    low, high = bootstrap_ratio(numerator, denominator, seed=0)[0]
    assert high == 3.0
    assert 2.97 < low < 3.0


def test_one_sample_has_no_interval():
    assert bootstrap_ratio(np.ones((1, 1)), np.ones((1, 1)), seed=0) is None


def test_resamples_without_a_subset_are_left_out():
    """Only the first of ten frames has the subset: every defined resample gives its value."""
    numerator, denominator = np.zeros((10, 1)), np.zeros((10, 1))
    numerator[0], denominator[0] = 4.0, 2.0
    np.testing.assert_array_equal(bootstrap_ratio(numerator, denominator, seed=0), [[2.0, 2.0]])


def test_nothing_defined_gives_nan():
    assert np.isnan(bootstrap_ratio(np.zeros((12, 1)), np.zeros((12, 1)), seed=0)).all()


def test_blocks_of_resamples_do_not_change_the_result(monkeypatch):
    values = np.random.default_rng(0).normal(size=(50, 2))
    whole = bootstrap_ratio(values, np.ones_like(values), seed=3)
    monkeypatch.setattr("zifbench.analysis.bootstrap._WEIGHTS_AT_ONCE", 500)
    np.testing.assert_allclose(bootstrap_ratio(values, np.ones_like(values), seed=3), whole)


def test_the_same_seed_gives_the_same_interval():
    def statistic(weights):
        return weights[:, :1]

    first = bootstrap_interval(statistic, 5, seed=1)
    np.testing.assert_array_equal(first, bootstrap_interval(statistic, 5, seed=1))
    assert first.shape == (1, 2)
