import numpy as np
import pytest

from tests.analysis.synthetic import ar1, ar1_tau, vibration
from zifbench.analysis.timeseries import (
    autocorrelation,
    autocorrelation_time,
    block_errors,
    block_means,
    mean_estimate,
)
from zifbench.errors import DataError, NotDefinedError


def test_autocorrelation_equals_the_naive_sum() -> None:
    x = np.random.default_rng(0).normal(size=37)
    d = x - x.mean()
    naive = [sum(d[t] * d[t + k] for t in range(37 - k)) / (d @ d) for k in range(37)]
    np.testing.assert_allclose(autocorrelation(x), naive, atol=1e-12)


@pytest.mark.parametrize("tau", [0.0, 2.0, 10.0, 50.0])
def test_autocorrelation_time_of_a_known_process(tau: float) -> None:
    runs = ar1(tau=tau, n_frames=20_000, n_series=20, seed=3)
    times = [autocorrelation_time(x) for x in runs]
    assert np.mean([t.tau for t in times]) == pytest.approx(ar1_tau(tau), rel=0.06, abs=0.01)
    assert all(t.reliable for t in times)


def test_autocorrelation_time_does_not_depend_on_scale_offset_or_direction() -> None:
    x = ar1(tau=5.0, n_frames=3000, n_series=1, seed=1)[0]
    tau = autocorrelation_time(x).tau
    assert autocorrelation_time(-7.0 * x + 60083.0).tau == pytest.approx(tau, rel=1e-9)
    assert autocorrelation_time(x[::-1]).tau == pytest.approx(tau, rel=1e-9)


def test_a_wider_spacing_of_frames_divides_tau() -> None:
    x = ar1(tau=40.0, n_frames=200_000, n_series=1, seed=1)[0]
    assert autocorrelation_time(x[::10]).tau == pytest.approx(
        autocorrelation_time(x).tau / 10.0, rel=0.1
    )


def test_anticorrelated_frames_never_count_for_more_than_one_each() -> None:
    x = np.diff(np.random.default_rng(0).normal(size=1001))
    assert autocorrelation_time(x).tau == 0.5
    assert autocorrelation_time(x).effective_samples == 1000


def test_too_short_a_series_is_said_to_be() -> None:
    x = ar1(tau=50.0, n_frames=300, n_series=1, seed=0)[0]
    assert not autocorrelation_time(x).reliable
    assert not mean_estimate(x).reliable


def test_block_means_use_every_frame() -> None:
    x = np.arange(10.0)
    np.testing.assert_allclose(block_means(x, 3), [1.0, 4.0, 7.5])
    curves = np.stack([x, 2 * x], axis=1)
    np.testing.assert_allclose(block_means(curves, 3)[:, 1], [2.0, 8.0, 15.0])


def test_block_errors_rise_to_the_plateau() -> None:
    tau, n = 10.0, 100_000
    curve = block_errors(ar1(tau=tau, n_frames=n, n_series=1, seed=5)[0])
    plateau = np.sqrt(2.0 * ar1_tau(tau) / n)
    assert curve.standard_error[0] == pytest.approx(1.0 / np.sqrt(n), rel=0.02)
    late = curve.block_length > 200
    pull = (curve.standard_error - plateau)[late] / curve.uncertainty[late]
    assert np.abs(pull).max() < 3.0
    assert curve.block_length[-1] <= n / 8


@pytest.mark.parametrize(
    ("tau", "n_frames"), [(0.0, 100), (0.0, 1000), (2.0, 1000), (10.0, 2000), (50.0, 10_000)]
)
def test_95_percent_intervals_cover_the_truth(tau: float, n_frames: int) -> None:
    runs = ar1(tau=tau, n_frames=n_frames, n_series=1000, seed=int(11 + tau))
    estimates = [mean_estimate(x) for x in runs]
    assert 0.93 <= np.mean([e.low <= 0.0 <= e.high for e in estimates]) <= 0.97


@pytest.mark.parametrize(("period", "decay"), [(20.0, 50.0), (7.0, 300.0)])
def test_vibrations_do_not_hide_a_slow_motion_below_them(period: float, decay: float) -> None:
    """As potential energy and pressure have them: a quarter of the variance is slow."""
    n_frames = 10_000
    fast = vibration(period=period, decay=decay, n_frames=n_frames, n_series=1000, seed=11)
    slow = ar1(tau=15.0, n_frames=n_frames, n_series=1000, seed=12)
    estimates = [mean_estimate(x) for x in fast + 0.5 * slow]
    assert 0.93 <= np.mean([e.low <= 0.0 <= e.high for e in estimates]) <= 0.97


def test_the_error_of_a_mere_vibration_is_not_too_small() -> None:
    runs = vibration(period=20.0, decay=50.0, n_frames=5000, n_series=300, seed=3)
    assert np.mean([(e := mean_estimate(x)).low <= 0.0 <= e.high for x in runs]) >= 0.94


def test_standard_error_is_the_scatter_of_repeated_runs() -> None:
    estimates = [mean_estimate(x) for x in ar1(tau=10.0, n_frames=3000, n_series=1000, seed=2)]
    true = np.std([e.mean for e in estimates])
    assert np.sqrt(np.mean([e.standard_error**2 for e in estimates])) == pytest.approx(
        true, rel=0.07
    )


def test_a_constant_series_has_a_mean_without_error_and_no_correlation_time() -> None:
    estimate = mean_estimate(np.full(100, 4.0))
    assert (estimate.mean, estimate.standard_error, estimate.low) == (4.0, 0.0, 4.0)
    with pytest.raises(NotDefinedError, match="never changes in 100 frames"):
        autocorrelation_time(np.full(100, 4.0))


@pytest.mark.parametrize("function", [autocorrelation_time, mean_estimate, block_errors])
def test_bad_series(function: object) -> None:
    assert callable(function)
    with pytest.raises(DataError, match="NaN or infinite in frame 3"):
        function([1.0, 2.0, 1.0, np.nan, 2.0, 1.0, 3.0, 1.0, 1.0])
    with pytest.raises(NotDefinedError, match="1 frames, wanted a time series"):
        function([1.0])
    with pytest.raises(DataError, match=r"wanted \(frames,\): one number a frame"):
        function(np.ones((9, 2)))


def test_too_few_frames_for_an_error() -> None:
    with pytest.raises(NotDefinedError, match="5 frames, wanted at least 8"):
        mean_estimate(np.arange(5.0))
    with pytest.raises(NotDefinedError, match="5 frames do not make 6 blocks"):
        block_means(np.arange(5.0), 6)
    with pytest.raises(DataError, match="confidence: 95, wanted a number between"):
        mean_estimate(np.arange(50.0), confidence=95)
