"""Random keys, bins, and the frame drawn from each bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zifbench.dataset.splits.draws import (
    RandomKeys,
    bin_numbers,
    histogram_edges,
    one_of_each_bin,
    smallest,
)
from zifbench.errors import DataError

energies = arrays(
    float, st.integers(1, 60), elements=st.floats(-60090.0, -60070.0, width=32, allow_nan=False)
)


def test_keys_are_the_same_for_ever():
    """The words of PCG64 seeded with 0, which numpy promises to keep (NEP 19)."""
    keys = RandomKeys(0)
    first = keys.take(2).tolist()
    assert first == [11749869230777074271, 4976686463289251617]
    assert keys.take(1).tolist() == [755828109848996024]
    assert RandomKeys(0).take(3).tolist() == [*first, 755828109848996024]
    assert RandomKeys(1).take(1).tolist() != first[:1]


def test_smallest_is_sorted_and_takes_the_first_of_equal_keys():
    keys = np.array([5, 1, 3, 3, 3, 9], dtype=np.uint64)
    assert smallest(keys, 3).tolist() == [1, 2, 3]
    assert smallest(keys, 0).tolist() == []
    assert smallest(keys, 6).tolist() == [0, 1, 2, 3, 4, 5]


@given(energies, st.integers(1, 40))
def test_bins_are_those_of_numpy_histogram(values, n_bins):
    edges = histogram_edges(values, n_bins)
    bins = bin_numbers(values, edges)
    counts, wanted = np.histogram(values, bins=n_bins)
    assert np.array_equal(edges, wanted)
    assert np.array_equal(np.bincount(bins, minlength=n_bins), counts)
    assert np.array_equal(bins, naive_bins(values, edges))


def naive_bins(values, edges):
    """A value belongs to the last bin whose left edge it reaches; the greatest to the last bin."""
    last = len(edges) - 2
    return [min(last, sum(value >= edge for edge in edges) - 1) for value in values]


def test_a_value_on_an_edge_belongs_to_the_bin_on_its_right_but_for_the_last():
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert bin_numbers(values, histogram_edges(values, 4)).tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("n_bins", [3, 7, 49, 1000, 2500])
@pytest.mark.parametrize("ends", [(-60090.1, -60070.3), (0.0, 0.7), (-1e-9, 2e-9)])
def test_the_edges_decide_where_division_rounds(ends, n_bins):
    """Values on each edge and one step of the last digit beside it."""
    edges = histogram_edges(np.array(ends), n_bins)
    values = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    values = values[(values >= edges[0]) & (values <= edges[-1])]
    wanted = np.minimum(np.searchsorted(edges, values, side="right") - 1, n_bins - 1)
    assert np.array_equal(bin_numbers(values, edges), wanted)


@given(energies, st.integers(1, 40), st.integers(0, 5))
def test_one_of_each_bin_is_what_a_loop_finds(values, n_bins, seed):
    bins = bin_numbers(values, histogram_edges(values, n_bins))
    keys = RandomKeys(seed).take(len(values))
    wanted = []
    for number in range(n_bins):
        inside = [place for place in range(len(values)) if bins[place] == number]
        if inside:
            wanted.append(min(inside, key=lambda place: (keys[place], place)))
    assert one_of_each_bin(bins, n_bins, keys).tolist() == sorted(wanted)


def test_of_equal_keys_one_bin_gives_one_frame():
    keys = np.full(6, 7, dtype=np.uint64)
    assert one_of_each_bin(np.array([0, 0, 2, 2, 1, 2]), 4, keys).tolist() == [0, 2, 4]


def test_every_frame_is_equally_likely():
    """Chi squared over 20 frames in 4000 draws of 5: mean 19, and above 43.8 once in a thousand."""
    keys = RandomKeys(0)
    counts = np.zeros(20)
    for _ in range(4000):
        counts[smallest(keys.take(20), 5)] += 1
    expected = 4000 * 5 / 20
    # Draws without replacement scatter less than independent ones, by (20 - 5) / (20 - 1).
    assert ((counts - expected) ** 2).sum() / expected / (15 / 19) < 43.8


def test_the_last_key_that_can_be_is_drawn_too():
    keys = np.array([2**64 - 1], dtype=np.uint64)
    assert one_of_each_bin(np.array([0]), 1, keys).tolist() == [0]


@pytest.mark.parametrize("seed", [0, 2**40])
def test_any_seed_is_good(seed):
    assert len(np.unique(RandomKeys(seed).take(1000))) == 1000


def test_energies_without_room_for_bins_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"too close together for 8 bins"):
        histogram_edges(-60083.0 + np.array([0.0, 7.3e-12]), 8)
