"""The two splits of Castel et al. 2024: at random, and with a flat histogram of energies.

Both draw the training frames first, the test frames from what is left, and call everything that is
still left "validation", as the paper does: "The unsampled frames were saved as 'validation'". (Its
training programs were given the test frames to stop by, and its Table 1 scores 10 000 of the rest.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zifbench.dataset.splits.draws import (
    RandomKeys,
    bin_numbers,
    histogram_edges,
    one_of_each_bin,
    smallest,
)
from zifbench.dataset.splits.pool import Pool
from zifbench.dataset.splits.subsets import Drawn, check_count
from zifbench.errors import DataError
from zifbench.frames import IntArray


@dataclass(frozen=True)
class Random:
    """Parameters of `random_split`.

    Attributes:
        train: Number of training frames.
        test: Number of test frames.
        validation: Number of validation frames; None means all that is left, as in the paper.
    """

    train: int
    test: int
    validation: int | None = None


@dataclass(frozen=True)
class FlatHistogram:
    """Parameters of `flat_histogram`.

    Attributes:
        train: Number of bins, and so the greatest number of frames, of the training draw.
        test: The same of the test draw.
        validation: The same of a third draw; None means all that is left, as in the paper.
        grouped: Whether frames of several compositions or levels of theory, which have no common
            scale of energy, get bins of their own, an equal share of the number for each.
    """

    train: int
    test: int
    validation: int | None = None
    grouped: bool = False


def random_split(pool: Pool, parameters: Random, keys: RandomKeys) -> Drawn:
    """Frames at random without replacement: training, then test, then validation or the rest.

    Raises:
        DataError: more frames asked for than there are.
    """
    left, subsets = pool.usable, {}
    for name, count in _in_order(parameters).items():
        if count is None:
            subsets[name] = left
            continue
        check_count(name, count, len(left))
        chosen = smallest(keys.take(len(left)), count)
        subsets[name], left = left[chosen], np.delete(left, chosen)
    return Drawn({name: ids for name, ids in subsets.items() if len(ids)})


def flat_histogram(pool: Pool, parameters: FlatHistogram, keys: RandomKeys) -> Drawn:
    """One frame at random from each of equally wide bins of the energy.

    The total energies of all frames are sorted into as many bins as frames are asked for, from the
    least to the greatest energy there is; a bin holds its left edge and not its right one, the last
    one both (`numpy.histogram`). One frame is drawn from each bin that is not empty: the training
    frames. For the test frames the same is done with what is left, in new bins from the least to
    the greatest energy of what is left; and once more if validation frames are asked for. As some
    bins of the tails are empty, fewer frames come than were asked for: the paper got 964 of 1000
    and 96 of 100, then 2357 of 2500 and 190 of 200. A larger request would not give exactly the
    number either, so the number is not corrected; the notes state it.

    Total energies of several trajectories are pooled as they are, as in the paper, where all hold
    the same atoms at one level of theory. Dividing by the number of atoms would not make other
    compositions comparable, so these are refused, or kept apart with `grouped`.

    Raises:
        DataError: more frames asked for than there are, or energies without a common scale.

    Source: Castel et al., Digital Discovery 2024, 3, 355, "Flat histogram sampling".
    """
    groups = _groups(pool)
    if len(groups) > 1 and not parameters.grouped:
        raise DataError(
            f"flat-histogram: energies of {' and of '.join(groups)} have no common scale; choose "
            "trajectories of one of them (--trajectory), or give each its own bins (--grouped)"
        )
    subsets: dict[str, IntArray] = {}
    notes = []
    lefts = list(groups.values())
    for name, count in _in_order(parameters).items():
        if count is None:
            subsets[name] = np.concatenate(lefts)
            continue
        check_count(name, count, sum(map(len, lefts)))
        drawn = []
        for k, left in enumerate(lefts):
            chosen = _one_round(pool, left, _share(count, k, len(lefts)), keys)
            drawn.append(left[chosen])
            lefts[k] = np.delete(left, chosen)
        subsets[name] = np.sort(np.concatenate(drawn))
        if count:
            notes.append(_yield(name, count, len(subsets[name])))
    return Drawn({name: ids for name, ids in subsets.items() if len(ids)}, tuple(notes))


def _in_order(parameters: Random | FlatHistogram) -> Mapping[str, int | None]:
    """The draws in the order of the paper."""
    return {
        "train": parameters.train,
        "test": parameters.test,
        "validation": parameters.validation,
    }


def _one_round(pool: Pool, left: IntArray, n_bins: int, keys: RandomKeys) -> IntArray:
    """Places in `left` of one frame of each bin."""
    if not n_bins or not len(left):
        return np.zeros(0, dtype=np.int64)
    energy = pool.energy[left]
    bins = bin_numbers(energy, histogram_edges(energy, n_bins))
    return one_of_each_bin(bins, n_bins, keys.take(len(left)))


def _share(count: int, k: int, n_groups: int) -> int:
    """Part k of a count that is divided as evenly as can be."""
    return count // n_groups + (k < count % n_groups)


def _yield(name: str, asked: int, given: int) -> str:
    empty = f", as {asked - given} bins were empty" if given < asked else ""
    return f"{name}: {given} frames from {asked} bins{empty}"


def _groups(pool: Pool) -> dict[str, IntArray]:
    """Frames whose energies can be compared: composition and level -> numbers, ascending."""
    parts: dict[str, list[IntArray]] = {}
    for k, trajectory in enumerate(pool.trajectories):
        ids = pool.only_usable(pool.numbers_of(k))
        if len(ids):
            parts.setdefault(trajectory.group, []).append(ids)
    return {group: np.concatenate(ids) for group, ids in sorted(parts.items())}
