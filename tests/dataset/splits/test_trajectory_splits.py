"""Splits by state and by label."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dataset.splits.pools import pool_with
from zifbench.dataset.splits.by_trajectory import ByLabel, LeaveStateOut, by_label, leave_state_out
from zifbench.dataset.splits.draws import RandomKeys
from zifbench.errors import DataError

STATES = [
    {"temperature_K": 1500.0, "state": "liquid"},
    {"temperature_K": 300, "state": "crystal"},
    {"temperature_K": 1750.0, "state": "liquid"},
]


@pytest.fixture
def pool():
    return pool_with(np.zeros(4), np.zeros(3), np.zeros(5), attributes=STATES)


def leave(pool, by, *states, **parameters):
    return leave_state_out(pool, LeaveStateOut(by, states, **parameters), RandomKeys(0)).subsets


def test_a_state_is_left_out_whole(pool):
    assert leave(pool, "state", "crystal")["test"].tolist() == [4, 5, 6]
    assert leave(pool, "state", "crystal")["train"].tolist() == [0, 1, 2, 3, 7, 8, 9, 10, 11]
    subsets = leave(pool, "temperature_K", "300", validation_states=("1750",))
    assert {name: ids.tolist() for name, ids in subsets.items()} == {
        "train": [0, 1, 2, 3],
        "validation": [7, 8, 9, 10, 11],
        "test": [4, 5, 6],
    }
    assert leave(pool, "name", "t0", "t2")["train"].tolist() == [4, 5, 6]


def test_counts_of_frames(pool):
    subsets = leave(pool, "state", "crystal", train=5, test=2)
    assert (len(subsets["train"]), len(subsets["test"])) == (5, 2)
    with pytest.raises(DataError, match="test: 4 frames asked for, 3"):
        leave(pool, "state", "crystal", test=4)


def test_states_that_are_not_there(pool):
    with pytest.raises(
        DataError, match="no trajectory has state = gas; there are: crystal, liquid"
    ):
        leave(pool, "state", "gas")
    with pytest.raises(DataError, match="t0 has no attribute 'phase'; it has: name, state, temp"):
        leave(pool, "phase", "gas")
    with pytest.raises(DataError, match="state = crystal is asked for twice"):
        leave(pool, "state", "crystal", validation_states=("crystal",))


def test_labels_decide():
    labels = [{"subset": ["train", "", "val", "test"]}, {}]
    pool = pool_with([0.0, 1.0, 2.0, np.nan], np.zeros(2), labels=labels)
    with pytest.raises(DataError, match="'dev' in trajectory t0 names no subset"):
        by_label(pool_with([0.0], labels=[{"subset": ["dev"]}]), ByLabel(), RandomKeys(0))
    with pytest.raises(DataError, match="no frame has a label 'other'"):
        by_label(pool, ByLabel("other"), RandomKeys(0))
    drawn = by_label(pool, ByLabel(), RandomKeys(0))
    assert {name: ids.tolist() for name, ids in drawn.subsets.items()} == {
        "train": [0],
        "validation": [2],
    }
    assert drawn.notes == ("3 frames without a label 'subset' are left out",)
