"""Flat-histogram split of all 1 189 836 energies of the published AIMD, against the plain way.

The plain way is what one writes in a notebook: for each bin a mask over all energies and
`rng.choice` of what is inside, for the training and then for the test frames.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.splits.pools import correlated_energies, pool_with
from zifbench.dataset.splits.by_energy import FlatHistogram, flat_histogram
from zifbench.dataset.splits.draws import RandomKeys

N_FRAMES = 1_189_836
TRAIN, TEST = 2500, 200


@pytest.fixture(scope="module")
def energies():
    parts = [
        correlated_energies(N_FRAMES // 4, tau=60.0, mean=mean, scatter=scatter, seed=seed)
        for seed, (mean, scatter) in enumerate([(0.0, 2.6), (2.0, 2.6), (9.0, 3.0), (12.0, 3.0)])
    ]
    return np.concatenate(parts)


@pytest.mark.benchmark(group="flat histogram")
def bench_mask_for_each_bin_reference(benchmark, energies):
    def draw():
        rng = np.random.default_rng(0)
        left = np.arange(len(energies))
        subsets = []
        for n_bins in (TRAIN, TEST):
            edges = np.histogram_bin_edges(energies[left], bins=n_bins)
            here = energies[left]
            chosen = []
            for k in range(n_bins):
                below = here <= edges[k + 1] if k == n_bins - 1 else here < edges[k + 1]
                inside = np.flatnonzero((here >= edges[k]) & below)
                if len(inside):
                    chosen.append(rng.choice(inside))
            subsets.append(left[chosen])
            left = np.delete(left, chosen)
        return [*subsets, left]

    subsets = benchmark.pedantic(draw, rounds=2)
    assert sum(map(len, subsets)) == len(energies)


@pytest.mark.benchmark(group="flat histogram")
def bench_flat_histogram(benchmark, energies):
    def draw():
        return flat_histogram(
            pool_with(energies), FlatHistogram(TRAIN, TEST), RandomKeys(0)
        ).subsets

    subsets = benchmark.pedantic(draw, rounds=10)
    assert sum(map(len, subsets.values())) == len(energies)
