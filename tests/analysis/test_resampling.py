from itertools import pairwise

import numpy as np
import pytest

from tests.analysis.synthetic import ar1
from zifbench.analysis.resampling import bootstrap, bootstrap_mean, slowest_tau
from zifbench.errors import DataError, NotDefinedError


def coverage(estimates: list, truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


@pytest.mark.parametrize(("tau", "n_frames"), [(0.0, 400), (5.0, 2000), (20.0, 4000)])
def test_intervals_of_a_correlated_mean_cover_the_truth(tau: float, n_frames: int) -> None:
    runs = ar1(tau=tau, n_frames=n_frames, n_series=1000, seed=int(7 + tau))
    estimates = [bootstrap_mean(x, seed=i, n_resamples=400) for i, x in enumerate(runs)]
    assert 0.93 <= coverage(estimates, 0.0) <= 0.97


def test_intervals_of_a_ratio_of_correlated_means_cover_the_truth() -> None:
    noise = ar1(tau=5.0, n_frames=2000, n_series=2000, seed=9).reshape(1000, 2, 2000)
    estimates = [
        bootstrap_mean(
            np.stack([3.0 + a, 6.0 + b], axis=1),
            transform=lambda mean: mean[0] / mean[1],
            seed=i,
            n_resamples=400,
        )
        for i, (a, b) in enumerate(noise)
    ]
    assert 0.93 <= coverage(estimates, 0.5) <= 0.97


def test_intervals_of_a_curve_cover_the_truth_bin_by_bin() -> None:
    """Histograms of a slow variable: the block length must follow the variable, not the bins."""
    edges = np.linspace(-1.5, 1.5, 7)
    centres = ar1(tau=10.0, n_frames=4000, n_series=1000, seed=5)
    truth = np.mean(
        [(centres > a) & (centres <= b) for a, b in pairwise(edges)],
        axis=(1, 2),
    )
    inside = []
    for i, x in enumerate(centres):
        histogram = (x[:, None] > edges[:-1]) & (x[:, None] <= edges[1:])
        e = bootstrap_mean(histogram.astype(float), seed=i, n_resamples=200)
        inside.append((e.low <= truth) & (truth <= e.high))
    share = np.mean(inside, axis=0)
    assert np.all((share >= 0.93) & (share <= 0.975)), share


def test_intervals_over_replicas_cover_the_truth_where_replicas_differ() -> None:
    rng = np.random.default_rng(0)
    runs = ar1(tau=10.0, n_frames=100, n_series=10_000, seed=8).reshape(1000, 10, 100)
    runs = runs + rng.normal(size=(1000, 10, 1))
    estimates = [
        bootstrap_mean(list(r), level="replicas", seed=i, n_resamples=400)
        for i, r in enumerate(runs)
    ]
    assert 0.93 <= coverage(estimates, 0.0) <= 0.97
    frames = [bootstrap_mean(list(r), seed=i, n_resamples=200) for i, r in enumerate(runs[:200])]
    assert coverage(frames, 0.0) < 0.9  # blocks of frames do not see the spread of replicas


def test_any_statistic_of_frames_equals_the_mean_where_it_is_the_mean() -> None:
    x = ar1(tau=3.0, n_frames=1000, n_series=1, seed=2)[0]
    fast = bootstrap_mean(x, seed=1, n_resamples=4000)
    general = bootstrap(x, statistic=np.mean, seed=1, n_resamples=4000)
    assert general.estimate == pytest.approx(float(fast.estimate), abs=1e-12)
    assert general.standard_error == pytest.approx(float(fast.standard_error), rel=0.06)
    assert general.block_length == fast.block_length


@pytest.mark.slow
def test_intervals_of_a_median_cover_the_truth() -> None:
    runs = ar1(tau=2.0, n_frames=600, n_series=1000, seed=3)
    estimates = [
        bootstrap(x, statistic=np.median, seed=i, n_resamples=100) for i, x in enumerate(runs)
    ]
    assert 0.93 <= coverage(estimates, 0.0) <= 0.97


def test_replicas_of_unequal_length_count_by_their_frames() -> None:
    x = ar1(tau=1.0, n_frames=900, n_series=1, seed=1)[0]
    e = bootstrap_mean([x[:300], x[300:]], seed=0)
    assert e.estimate == pytest.approx(x.mean())
    over = bootstrap_mean([x[:100], x[100:400], x[400:]], seed=0, level="replicas")
    assert (over.estimate, over.n_units) == (pytest.approx(x.mean()), 3)


def test_single_frames_are_replicas() -> None:
    """Ten glasses of one frame each: the standard error is s/√10, the interval Student's."""
    glasses = np.random.default_rng(0).normal(size=(10, 1))
    e = bootstrap_mean(list(glasses), level="replicas", seed=0, n_resamples=20_000)
    error = glasses.std(ddof=1) / np.sqrt(10.0)
    assert float(e.standard_error) == pytest.approx(error, rel=0.02)
    assert float(e.high - e.estimate) == pytest.approx(2.262 * error, rel=0.02)
    with pytest.raises(NotDefinedError, match="replica 0: 1 frames, wanted a time series"):
        bootstrap_mean(list(glasses), seed=0)


def test_same_seed_same_result_and_the_input_stays() -> None:
    x = ar1(tau=2.0, n_frames=500, n_series=1, seed=1)[0]
    before = x.copy()
    first, second = (bootstrap_mean(x, seed=4) for _ in range(2))
    assert np.array_equal(first.samples, second.samples)
    assert not np.array_equal(first.samples, bootstrap_mean(x, seed=5).samples)
    assert np.array_equal(x, before)


def test_a_bin_that_a_resample_leaves_empty_has_no_error_and_the_others_do() -> None:
    counts = np.zeros((200, 3))
    counts[:, 0] = np.random.default_rng(0).poisson(5.0, 200)
    counts[7, 1] = 1.0
    with np.errstate(divide="ignore"):
        e = bootstrap_mean(counts, transform=lambda n: -np.log(n), seed=0)
    assert np.isfinite(e.standard_error[0])
    assert np.isnan(e.standard_error[1:]).all()
    assert np.isfinite(e.estimate[1])


@pytest.mark.parametrize("value", [4.0, 0.1])  # 0.1: the mean is not the value, by rounding
def test_a_constant_observable_has_no_error(value: float) -> None:
    e = bootstrap_mean(np.full(100, value), seed=0)
    assert float(e.estimate) == pytest.approx(value, rel=1e-14)
    assert float(e.standard_error) < 1e-14


def test_too_short_a_run_is_marked() -> None:
    assert bootstrap_mean(ar1(tau=2.0, n_frames=900, n_series=1, seed=0)[0], seed=0).reliable
    assert not bootstrap_mean(ar1(tau=40.0, n_frames=900, n_series=1, seed=0)[0], seed=0).reliable


def test_a_run_that_cannot_tell_its_times_is_not_reliable() -> None:
    """Six autocorrelation times of an AR(1) process: most runs see a tau that is too short."""
    runs = ar1(tau=20.0, n_frames=128, n_series=100, seed=4)
    assert np.mean([bootstrap_mean(run, seed=0, n_resamples=20).reliable for run in runs]) < 0.05
    runs = ar1(tau=0.0, n_frames=128, n_series=100, seed=4)
    assert np.mean([bootstrap_mean(run, seed=0, n_resamples=20).reliable for run in runs]) > 0.9


def test_slowest_tau_sees_the_motion_behind_the_counting_noise() -> None:
    slow = ar1(tau=20.0, n_frames=8000, n_series=1, seed=0)
    noise = ar1(tau=0.0, n_frames=8000, n_series=50, seed=1)
    curves = (0.5 * slow + noise).T
    assert slowest_tau(curves) > 15.0
    assert slowest_tau(noise[0]) < 0.7


def test_bad_input() -> None:
    x = np.random.default_rng(0).normal(size=100)
    with pytest.raises(NotDefinedError, match="2 replicas, wanted at least 3"):
        bootstrap_mean([x, x], seed=0, level="replicas")
    with pytest.raises(NotDefinedError, match="blocks of 60 frames, wanted 1 to 50"):
        bootstrap_mean(x, seed=0, block_length=60)
    with pytest.raises(NotDefinedError, match="blocks of 0 frames"):
        bootstrap_mean(x, seed=0, block_length=0)
    with pytest.raises(NotDefinedError, match="no replicas"):
        bootstrap_mean([], seed=0)
    with pytest.raises(DataError, match="replica 1: observable of shape"):
        bootstrap_mean([x, np.ones((100, 2))], seed=0)
    with pytest.raises(DataError, match="replica 1: NaN or infinite in frame 4"):
        bootstrap_mean([x, np.where(np.arange(100) == 4, np.nan, x)], seed=0)
    with pytest.raises(DataError, match="n_resamples: 1, wanted at least 2"):
        bootstrap_mean(x, seed=0, n_resamples=1)
    with pytest.raises(ValueError, match="atoms"):
        bootstrap_mean(x, seed=0, level="atoms")
