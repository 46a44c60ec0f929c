import numpy as np
import pytest

from zifbench.analysis.draws import drawn_rows, resampled_means

RUNS = [np.random.default_rng(0).normal(size=(n, 2)) for n in (23, 40)]


def test_a_resample_is_made_of_whole_blocks_and_as_long_as_the_run() -> None:
    rows = drawn_rows(23, 5, np.random.default_rng(0))
    assert rows.shape == (23,)
    steps = np.diff(rows).reshape(-1)
    inside = np.delete(steps, [4, 9, 14, 19])
    assert (inside == 1).all()
    assert rows.min() >= 0
    assert rows.max() < 23


def test_blocks_of_the_whole_run_give_its_mean() -> None:
    run = RUNS[1]
    means = resampled_means([run], seed=0, block_length=40, n_resamples=3)
    np.testing.assert_allclose(means, np.tile(run.mean(0), (3, 1)), atol=1e-12)


@pytest.mark.parametrize("n_frames", [None, 17, 500])
def test_means_of_resamples_scatter_about_the_mean_as_naive_draws_do(n_frames: int | None) -> None:
    means = resampled_means(RUNS, seed=1, block_length=4, n_resamples=4000, n_frames=n_frames)
    rng = np.random.default_rng(2)
    naive = []
    for _ in range(4000):
        if n_frames is None:
            drawn = [run[drawn_rows(len(run), 4, rng)] for run in RUNS]
        else:
            sizes = [4] * (n_frames // 4) + ([n_frames % 4] if n_frames % 4 else [])
            drawn = []
            for size in sizes:
                run = RUNS[rng.choice(2, p=[23 / 63, 40 / 63])]
                start = rng.integers(len(run) - size + 1)
                drawn.append(run[start : start + size])
        naive.append(np.concatenate(drawn).mean(0))
    np.testing.assert_allclose(means.std(0), np.std(naive, axis=0), rtol=0.06)
    np.testing.assert_allclose(means.mean(0), np.mean(naive, axis=0), atol=0.02)


def test_whole_replicas_are_weighted_by_their_frames() -> None:
    means = resampled_means(RUNS, seed=0, block_length=None, n_resamples=200)
    sums = [run.sum(0) for run in RUNS]
    possible = [sums[0] / 23, sums[1] / 40, (sums[0] + sums[1]) / 63]
    for mean in means:
        assert min(np.abs(mean - p).max() for p in possible) < 1e-12
