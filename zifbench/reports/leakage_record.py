"""The schema of `leakage.json`."""

from __future__ import annotations

from typing import Literal

from zifbench.benchmark.result import Provenance, Record

LEAKAGE_SCHEMA: Literal[1] = 1
LEAKAGE_FILE = "leakage.json"
TABLE_FILE = "leakage.csv"


class TrajectoryLeakage(Record):
    """One trajectory.

    Attributes:
        trajectory: Its name.
        n_frames: Frames of the examined subset in it.
        n_train: Training frames in it.
        interval_fs: Time between its frames, or None where it is no series in time.
        tau_fs: Integrated autocorrelation time of its energy, or None where there is none to have.
        tau_reliable: Whether the series is long enough for that number; if not, it is a lower
            limit.
        note: Why something is missing, or on which stretch of frames tau was computed.
    """

    trajectory: str
    n_frames: int
    n_train: int
    interval_fs: float | None
    tau_fs: float | None
    tau_reliable: bool | None
    note: str | None


class Distances(Record):
    """Distribution of the distance from a frame to the nearest training frame.

    Attributes:
        quantity: Which distance.
        unit: Its unit.
        n: Number of frames that have one.
        least: Smallest.
        percentile_5: 5 % of the frames are nearer.
        median: Half of them are.
        greatest: Largest.
        share_within: Share of the frames that are nearer than `within`, or None.
        within: Limit of that share, in `unit`.
    """

    quantity: str
    unit: str
    n: int
    least: float
    percentile_5: float
    median: float
    greatest: float
    share_within: float | None = None
    within: float | None = None


class Leakage(Record):
    """The whole of `leakage.json`."""

    schema_version: Literal[1] = LEAKAGE_SCHEMA
    split: str
    generator: str
    seed: int
    store: str
    store_version: str
    subset: str
    n_frames: int
    n_in_time: int
    n_by_structure: int
    n_not_compared: int
    distances: list[Distances]
    trajectories: list[TrajectoryLeakage]
    notes: list[str]
    provenance: Provenance
