"""The schema of `analysis.json`."""

from __future__ import annotations

from typing import Literal

from zifbench.benchmark.result import Provenance, Record

ANALYSIS_SCHEMA: Literal[1] = 1
ANALYSIS_FILE = "analysis.json"
ARRAYS_FOLDER = "analysis.zarr"
REPORT_FILE = "report.html"


class Number(Record):
    """One number of one run; see `zifbench.analysis.runs.Value`."""

    observable: str
    quantity: str
    title: str
    unit: str
    value: float
    interval_95: tuple[float, float] | None
    scatter: float | None
    n: int
    n_of: str
    reliable: bool | None
    note: str | None
    long_enough: bool | None
    run_length: str | None


class Gap(Record):
    """An observable, or a part of it, that the frames do not define, and why."""

    observable: str
    reason: str


class RunRecord(Record):
    """One run: its frames and all that was found."""

    name: str
    reference: bool
    files: list[str]
    digest: str
    n_frames: int
    formulas: list[str]
    temperature_K: float | None
    numbers: list[Number]
    gaps: list[Gap]
    events: list[str]


class Analysis(Record):
    """The whole of `analysis.json`."""

    schema_version: Literal[1] = ANALYSIS_SCHEMA
    temperature_K: float | None
    frame_interval_fs: float | None
    seed: int
    observables: list[str]
    runs: list[RunRecord]
    provenance: Provenance
