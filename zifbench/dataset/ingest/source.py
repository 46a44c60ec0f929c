"""What every reader gives: trajectories that stream, and a report of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from zifbench.errors import DataError
from zifbench.frames import FloatArray, Frames

Keep = Literal["first", "last"]


@dataclass(frozen=True)
class Check:
    """One test of the input.

    Attributes:
        name: What can be given to `--skip-check`.
        passed: None where there was nothing to test.
        value: The largest deviation, or the number tested.
        wanted: What it had to be, in words.
        detail: Where, how many, why not tested.
    """

    name: str
    passed: bool | None
    value: float | None = None
    wanted: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data for a store's attributes."""
        return {key: value for key, value in vars(self).items() if value not in ("", None)}


@dataclass
class IngestReport:
    """What became of one trajectory's input.

    Attributes:
        files: Kind -> file name.
        n_frames: Frames kept.
        missing: File name -> steps that other files have and this one has not, as ranges.
        duplicates: File name -> number of rows or frames whose step occurs again.
        damaged: Sentences about truncated tails and broken places that were left out.
        checks: Every test with its result.
        notes: Anything else that the user should know.
    """

    files: dict[str, str] = field(default_factory=dict)
    n_frames: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for a store's attributes."""
        return {**vars(self), "checks": [check.as_json() for check in self.checks]}


@dataclass(frozen=True)
class Options:
    """What the user can say about the input.

    Attributes:
        name: Name of the trajectory, or of all of them with a number.
        keep: Which of several frames with the same step counts, in all files alike.
        masses: Symbol -> mass in amu, over what the input files say.
        skip_checks: Checks whose failure is reported and does not stop.
        attributes: Stored with each trajectory (`state`, `temperature_K`, `citation`, …).
        by: Label of the frames of a file that names their trajectory.
    """

    name: str | None = None
    keep: Keep = "last"
    masses: Mapping[str, float] = field(default_factory=dict)
    skip_checks: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    by: str | None = None


class SourceTrajectory(Protocol):
    """Frames of the same atoms that can be read in order, from any frame on."""

    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def n_frames(self) -> int:
        """Number of frames that `chunks` gives."""
        ...

    @property
    def exact(self) -> bool:
        """Whether float32 would be too coarse for these frames."""
        ...

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What holds for all frames."""
        ...

    @property
    def arrays(self) -> Mapping[str, FloatArray]:
        """Arrays of the whole, such as a Hessian."""
        ...

    @property
    def report(self) -> IngestReport:
        """What became of the input."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of the input, so that nothing is resumed with other files."""
        ...

    def chunks(self, start: int = 0) -> Iterator[Frames]:
        """Consecutive frames from `start` on, in our units and signs."""
        ...


class Source(Protocol):
    """One file or directory, open."""

    def trajectories(self) -> Sequence[SourceTrajectory]:
        """All that is in it; everything that can be checked without reading it whole is."""
        ...


def settle(report: IngestReport, check: Check, options: Options, message: str) -> None:
    """Record a check; stop where it failed and nobody asked to go on.

    Raises:
        DataError: with `message`.
    """
    report.checks.append(check)
    if check.passed is False and check.name not in options.skip_checks:
        raise DataError(f"{message} (--skip-check {check.name} takes the frames all the same)")


def ranges(steps: Sequence[int], *, most: int = 20) -> str:
    """Steps in few words: "3, 7-9, 12"; runs may be of any spacing, cut off after `most`."""
    words: list[str] = []
    start = previous = None
    for step in [*steps, None]:
        if previous is not None and step is not None and step == previous + 1:
            previous = step
            continue
        if start is not None:
            words.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = step
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more ranges" if len(words) > most else shown
