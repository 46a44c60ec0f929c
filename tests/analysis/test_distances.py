from functools import partial

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats

from tests.analysis.synthetic import ar1
from zifbench.analysis.distances import (
    jensen_shannon,
    kolmogorov_smirnov,
    noise_floor,
    spread,
    total_variation,
    wasserstein_1,
    wasserstein_1_samples,
)
from zifbench.errors import DataError, NotDefinedError

EDGES = np.linspace(0.0, 10.0, 41)
DISTANCES = (wasserstein_1, kolmogorov_smirnov, total_variation, jensen_shannon)


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    x = np.random.default_rng(0).normal(size=500)
    assert wasserstein_1_samples(x, x + 0.37) == pytest.approx(0.37, abs=1e-12)
    counts = np.zeros(40)
    counts[3:9] = [1, 4, 6, 4, 2, 1]
    assert wasserstein_1(counts, np.roll(counts, 5), edges=EDGES) == pytest.approx(1.25)


def test_wasserstein_of_histograms_equals_the_integral_on_a_fine_grid() -> None:
    rng = np.random.default_rng(1)
    edges = np.cumsum(rng.uniform(0.1, 1.0, size=13))
    p, q = rng.uniform(size=(2, 12))
    grid = np.linspace(edges[0], edges[-1], 2_000_001)
    functions = [np.interp(grid, edges, np.r_[0.0, np.cumsum(w) / w.sum()]) for w in (p, q)]
    naive = np.trapezoid(np.abs(functions[0] - functions[1]), grid)
    assert wasserstein_1(p, q, edges=edges) == pytest.approx(naive, rel=1e-6)


def test_wasserstein_of_fine_histograms_equals_that_of_the_samples() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(5.0, 0.5, 4000), rng.normal(5.2, 0.8, 3000)
    edges = np.linspace(0.0, 10.0, 4001)
    counts = [np.histogram(v, edges)[0] for v in (x, y)]
    assert wasserstein_1(*counts, edges=edges) == pytest.approx(
        wasserstein_1_samples(x, y), abs=2.5e-3
    )


def test_distances_against_scipy() -> None:
    p, q = np.random.default_rng(3).uniform(size=(2, 40))
    p, q = p / p.sum(), q / q.sum()
    bits = scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2
    assert jensen_shannon(p, q, edges=EDGES) == pytest.approx(bits, rel=1e-9)
    assert total_variation(p, q, edges=EDGES) == pytest.approx(0.5 * np.abs(p - q).sum())
    centres = 0.5 * (EDGES[1:] + EDGES[:-1])
    x, y = (np.repeat(centres, np.round(w * 1000).astype(int)) for w in (p, q))
    counts = [np.histogram(v, EDGES)[0] for v in (x, y)]
    assert kolmogorov_smirnov(*counts, edges=EDGES) == pytest.approx(
        scipy.stats.ks_2samp(x, y).statistic, abs=1e-12
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_symmetric_zero_for_equals_and_blind_to_the_number_of_counts(
    distance: object,
) -> None:
    assert callable(distance)
    p, q = np.random.default_rng(4).uniform(size=(2, 40))
    assert distance(p, 3.0 * p, edges=EDGES) == pytest.approx(0.0, abs=1e-12)
    assert distance(p, q, edges=EDGES) == pytest.approx(distance(q, p, edges=EDGES), rel=1e-12)
    assert distance(p, q, edges=EDGES) > 0.0


def test_distances_without_overlap() -> None:
    p, q = np.zeros((2, 40))
    p[0] = q[20] = 1.0
    assert wasserstein_1(p, q, edges=EDGES) == pytest.approx(5.0)
    assert [d(p, q, edges=EDGES) for d in DISTANCES[1:]] == pytest.approx([1.0, 1.0, 1.0])


def test_spread_of_a_uniform_distribution() -> None:
    assert spread(np.ones(40), edges=EDGES) == pytest.approx(10.0 / np.sqrt(12.0))
    one = np.zeros(40)
    one[3] = 2.0
    assert spread(one, edges=EDGES) == pytest.approx(0.25 / np.sqrt(12.0))


def histograms(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return ((x[..., None] > edges[:-1]) & (x[..., None] <= edges[1:])).astype(float)


@pytest.mark.parametrize("tau", [0.0, 5.0])
def test_the_noise_floor_is_the_distance_between_two_independent_runs(tau: float) -> None:
    edges = np.linspace(-4.0, 4.0, 33)
    distance = partial(wasserstein_1, edges=edges)
    runs = histograms(ar1(tau=tau, n_frames=4000, n_series=200, seed=6), edges)
    means = runs.mean(1)
    shorter = runs[:, :1500].mean(1)
    true = [distance(means[i], shorter[i + 100]) for i in range(100)]
    floors = [
        noise_floor(run, distance=distance, n_candidate_frames=1500, seed=i, n_resamples=60)
        for i, run in enumerate(runs[:30])
    ]
    assert np.mean([f.mean for f in floors]) == pytest.approx(np.mean(true), rel=0.12)
    assert np.mean([f.high for f in floors]) == pytest.approx(np.quantile(true, 0.95), rel=0.2)


def test_a_longer_candidate_lowers_the_floor() -> None:
    edges = np.linspace(-4.0, 4.0, 33)
    runs = list(histograms(ar1(tau=1.0, n_frames=3000, n_series=3, seed=6), edges))
    short, long = (
        noise_floor(
            runs, distance=partial(wasserstein_1, edges=edges), n_candidate_frames=n, seed=0
        )
        for n in (300, 30_000)
    )
    assert long.mean < 0.6 * short.mean < short.high


def test_bad_input() -> None:
    with pytest.raises(NotDefinedError, match="no counts"):
        wasserstein_1(np.zeros(40), np.ones(40), edges=EDGES)
    with pytest.raises(DataError, match=r"histogram: shape \(39,\), wanted \(40,\)"):
        wasserstein_1(np.ones(39), np.ones(40), edges=EDGES)
    with pytest.raises(DataError, match="negative or not finite"):
        jensen_shannon(-np.ones(40), np.ones(40), edges=EDGES)
    with pytest.raises(DataError, match="at least two rising numbers"):
        spread(np.ones(2), edges=[0.0, 1.0, 1.0])
    with pytest.raises(NotDefinedError, match="second sample is empty"):
        wasserstein_1_samples([1.0], [])
    with pytest.raises(DataError, match="NaN or infinite in the first sample"):
        wasserstein_1_samples([np.nan], [1.0])
    run = ar1(tau=20.0, n_frames=4000, n_series=1, seed=0)[0]
    with pytest.raises(NotDefinedError, match="a candidate of 20 frames is shorter"):
        noise_floor(
            histograms(run, EDGES - 5.0),
            distance=partial(wasserstein_1, edges=EDGES - 5.0),
            n_candidate_frames=20,
            seed=0,
        )
