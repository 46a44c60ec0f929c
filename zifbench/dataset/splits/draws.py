"""Drawing frames at random, in a way that gives the same frames for ever.

The methods of `numpy.random.Generator` may change their streams from one numpy to the next. Only
the raw 64-bit words of a bit generator, seeded through `SeedSequence`, are promised to stay (NEP
19). So every candidate gets one raw word of PCG64 as its key, in the order of the candidates, and
"at random" means "with the smallest key": the order of independent keys is a uniform permutation.
A later draw takes new keys, because the keys of what an earlier one left behind are no longer
equally distributed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError
from zifbench.frames import FloatArray, IntArray

KEYS = "one raw word of PCG64(seed) a candidate, smallest first"  # named in every manifest
_LARGEST = np.uint64(2**64 - 1)


class RandomKeys:
    """A stream of 64-bit keys from one seed.

    Args:
        seed: Any non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def take(self, n: int) -> npt.NDArray[np.uint64]:
        """The next `n` keys, shape (n,)."""
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)


def smallest(keys: npt.NDArray[np.uint64], count: int) -> IntArray:
    """Places of the `count` smallest keys, in ascending order of place.

    Of equal keys, which one in 10¹³ draws of a million frames has, the first ones are taken.
    """
    if count >= len(keys):
        return np.arange(len(keys))
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    limit = np.partition(keys, count - 1)[count - 1]
    below, equal = np.flatnonzero(keys < limit), np.flatnonzero(keys == limit)
    return np.sort(np.concatenate([below, equal[: count - len(below)]]))


def histogram_edges(values: FloatArray, n_bins: int) -> FloatArray:
    """Edges of `n_bins` equal bins from the least to the greatest value, as `numpy.histogram` has.

    Returns:
        Edges, shape (n_bins + 1,). Where all values are equal, one half is added on both sides.

    Raises:
        DataError: values so close together that float64 has no number between two edges.
    """
    try:
        return np.asarray(np.histogram_bin_edges(values, bins=n_bins), dtype=float)
    except ValueError as error:
        raise DataError(
            f"energies from {values.min()} to {values.max()} eV are too close together for "
            f"{n_bins} bins; draw them with --generator random"
        ) from error


def bin_numbers(values: FloatArray, edges: FloatArray) -> IntArray:
    """Bin of each value, as `numpy.histogram` counts it.

    A bin holds its left edge and not its right one, except the last, which holds both.

    Args:
        values: Shape (n,), all within the edges.
        edges: Ascending, shape (n_bins + 1,).

    Returns:
        Numbers of bins from 0, shape (n,).
    """
    n_bins = len(edges) - 1
    # Division finds the bin to within one, as the edges are equally spaced; the edges decide.
    scale = n_bins / (edges[-1] - edges[0])
    bins = np.clip(((values - edges[0]) * scale).astype(np.int64), 0, n_bins - 1)
    bins -= values < edges[bins]
    bins += (values >= edges[bins + 1]) & (bins < n_bins - 1)
    return np.asarray(bins, dtype=np.int64)


def one_of_each_bin(bins: IntArray, n_bins: int, keys: npt.NDArray[np.uint64]) -> IntArray:
    """Place of the value with the smallest key in each bin that is not empty.

    Args:
        bins: Bin of each value, shape (n,).
        n_bins: Number of bins.
        keys: Key of each value, shape (n,).

    Returns:
        Places in ascending order, at most `n_bins` of them; no more than one from each bin.
    """
    least = np.full(n_bins, _LARGEST)
    np.minimum.at(least, bins, keys)
    places: IntArray = np.flatnonzero(keys == least[bins])
    _, first = np.unique(bins[places], return_index=True)  # the first of equal keys
    return np.sort(places[first])
