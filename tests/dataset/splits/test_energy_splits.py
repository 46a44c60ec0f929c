"""Random and flat-histogram splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset.splits.pools import correlated_energies, pool_with
from zifbench.dataset.splits.by_energy import FlatHistogram, Random, flat_histogram, random_split
from zifbench.dataset.splits.draws import RandomKeys
from zifbench.errors import DataError
from zifbench.units import BOLTZMANN_EV_PER_K


def flat(pool, seed=0, **parameters):
    return flat_histogram(pool, FlatHistogram(**parameters), RandomKeys(seed))


def test_flat_histogram_is_what_the_paper_describes():
    """A loop after the text: bin by energy, one at random of each bin, again with what is left."""
    energies = np.random.default_rng(1).normal(-60083.0, 1.5, size=400)
    drawn = flat(pool_with(energies[:150], energies[150:]), seed=3, train=60, test=20)
    keys = RandomKeys(3)
    left = list(range(400))
    wanted = {}
    for name, n_bins in (("train", 60), ("test", 20)):
        words = dict(zip(left, keys.take(len(left)), strict=True))
        low, high = min(energies[left]), max(energies[left])
        edges = np.linspace(low, high, n_bins + 1)
        bins: dict[int, list[int]] = {}
        for frame in left:
            reached = [k for k in range(n_bins) if energies[frame] >= edges[k]]
            bins.setdefault(max(reached), []).append(frame)
        wanted[name] = sorted(min(inside, key=words.__getitem__) for inside in bins.values())
        left = [frame for frame in left if frame not in wanted[name]]
    wanted["validation"] = left
    assert {name: ids.tolist() for name, ids in drawn.subsets.items()} == wanted


def test_flat_histogram_is_flat():
    energies = correlated_energies(200_000)
    chosen = energies[flat(pool_with(energies), train=500, test=50).subsets["train"]]
    counts, _ = np.histogram(chosen, bins=np.histogram_bin_edges(energies, bins=500))
    assert counts.max() == 1
    # A random choice follows the density instead: its histogram in 20 bins is far from flat.
    at_random = energies[
        random_split(pool_with(energies), Random(500, 50), RandomKeys(0)).subsets["train"]
    ]
    spread = [
        np.histogram(part, bins=20, range=(energies.min(), energies.max()))[0].std()
        for part in (chosen, at_random)
    ]
    assert spread[0] < 0.2 * spread[1]


def test_fewer_frames_than_bins_are_stated():
    drawn = flat(pool_with([*np.linspace(0.0, 0.1, 9), 5.0, 10.0]), train=10, test=2)
    assert drawn.notes == (
        "train: 3 frames from 10 bins, as 7 bins were empty",
        "test: 2 frames from 2 bins",
    )


@pytest.mark.parametrize(("train", "test", "published"), [(1000, 100, (964, 96)),
                                                          (2500, 200, (2357, 190))])  # fmt: skip
def test_yields_are_near_the_published_ones(train, test, published):
    """1 189 836 energies of four liquids, modelled: 964 + 96 and 2357 + 190 in the paper.

    The model is classical and harmonic: energies at T have the mean 3/2 N k T and scatter by
    sqrt(3/2 N) k T, 2.6 eV at 1500 K; the four volumes are 1 eV apart. It gives 946 + 100 and
    2297 + 194. Where the tails end depends on the trajectories, so 5 % are tolerated.
    """
    kT = {T: BOLTZMANN_EV_PER_K * T for T in (1500, 1750)}
    runs = [(1500, 0.0), (1500, 2.0), (1750, 0.0), (1750, 3.0)]
    pool = pool_with(
        *(
            correlated_energies(
                297_459,
                mean=-60083.0 + 1.5 * 272 * kT[T] + strain,
                scatter=np.sqrt(1.5 * 272) * kT[T],
                tau=60.0,
                seed=k,
            )
            for k, (T, strain) in enumerate(runs)
        )
    )
    drawn = flat(pool, train=train, test=test)
    counts = len(drawn.subsets["train"]), len(drawn.subsets["test"])
    assert np.abs(np.array(counts) / published - 1.0).max() < 0.05
    assert sum(map(len, drawn.subsets.values())) == 4 * 297_459


def test_all_energies_equal_give_one_frame():
    drawn = flat(pool_with([-5.0] * 8), train=4, test=2)
    assert [len(drawn.subsets[name]) for name in ("train", "test", "validation")] == [1, 1, 6]


def test_energies_of_other_atoms_or_levels_are_not_pooled():
    pool = pool_with([0.0, 1.0], [7.0, 8.0], formulas=["ZnN4", "CH4"])
    with pytest.raises(DataError, match=r"CH4, PBE and of ZnN4, PBE have no common scale.*grouped"):
        flat(pool, train=1, test=1)
    levels = [{"level_of_theory": "PBE"}, {"level_of_theory": "BLYP"}]
    with pytest.raises(DataError, match="no common scale"):
        flat(pool_with([0.0, 1.0], [7.0, 8.0], attributes=levels), train=1, test=1)


def test_groups_get_bins_of_their_own():
    small, large = np.linspace(0.0, 1.0, 50), np.linspace(-90.0, -80.0, 80)
    pool = pool_with(small, large, small + 0.01, formulas=["CH4", "ZnN4", "CH4"])
    drawn = flat(pool, train=21, test=10, grouped=True)
    train = pool.energy[drawn.subsets["train"]]
    assert (np.sum(train > -1.0), np.sum(train < -1.0)) == (11, 10)
    assert sum(map(len, drawn.subsets.values())) == 180


def test_frames_without_an_energy_are_never_drawn():
    energies = np.linspace(0.0, 1.0, 30)
    energies[::3] = np.nan
    for drawn in (
        flat(pool_with(energies), train=5, test=3),
        random_split(pool_with(energies), Random(5, 3), RandomKeys(0)),
    ):
        everything = np.concatenate(list(drawn.subsets.values()))
        assert sorted(everything) == [k for k in range(30) if k % 3]


def test_more_frames_than_there_are():
    pool = pool_with(np.linspace(0.0, 1.0, 10))
    with pytest.raises(DataError, match="train: 11 frames asked for, 10 are left"):
        flat(pool, train=11, test=1)
    with pytest.raises(DataError, match="test: 4 frames asked for, 3 are left"):
        random_split(pool, Random(7, 4), RandomKeys(0))
    with pytest.raises(DataError, match="validation: 2 frames asked for, 1 are left"):
        random_split(pool, Random(7, 2, 2), RandomKeys(0))
    with pytest.raises(DataError, match="train: -1 frames"):
        random_split(pool, Random(-1, 2), RandomKeys(0))


@given(st.integers(0, 30), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9))
def test_subsets_do_not_overlap_and_the_seed_decides(n_more, train, test, seed):
    energies = np.random.default_rng(seed).normal(size=train + test + n_more)
    pool = pool_with(energies[: train // 2], energies[train // 2 :])
    for make in (
        lambda s: flat(pool, seed=s, train=train, test=test),
        lambda s: random_split(pool, Random(train, test), RandomKeys(s)),
    ):
        one, again = make(seed).subsets, make(seed).subsets
        assert all(np.array_equal(one[name], again[name]) for name in one)
        assert np.array_equal(np.sort(np.concatenate(list(one.values()))), np.arange(len(energies)))


def test_counts_of_the_random_split_are_exact():
    drawn = random_split(pool_with(np.arange(50.0)), Random(20, 10, 5), RandomKeys(0))
    assert {name: len(ids) for name, ids in drawn.subsets.items()} == {
        "train": 20,
        "test": 10,
        "validation": 5,
    }
    assert (
        "validation"
        not in random_split(pool_with(np.arange(50.0)), Random(20, 10, 0), RandomKeys(0)).subsets
    )
