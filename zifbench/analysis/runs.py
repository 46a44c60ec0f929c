"""Runs: several files each, with error bars over blocks of one file, or over several files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from zifbench.analysis.combine import CurveEstimate, Value, combine
from zifbench.analysis.meters import Advance, Axis, FileResult, FrameSource, measure
from zifbench.analysis.observation import Observable, Observation, Scope, Series, Settings
from zifbench.errors import DataError, NotDefinedError, ZifbenchError


@dataclass(frozen=True)
class Run:
    """Frames under one name.

    Attributes:
        name: Label in tables and figures.
        files: Several files are independent samples of the same thing, and each counts the same.
        reference: Whether it is what others are compared with.
    """

    name: str
    files: tuple[FrameSource, ...]
    reference: bool = False

    @property
    def n_frames(self) -> int:
        """Frames of all files."""
        return sum(file.n_frames for file in self.files)

    @property
    def temperature_K(self) -> float | None:
        """What the files themselves say, if they all say the same."""
        said = {file.temperature_K for file in self.files}
        return said.pop() if len(said) == 1 else None


@dataclass(frozen=True)
class RunObservation:
    """What one observable says about one run.

    Attributes:
        values: Key -> number.
        curves: Key -> curve.
        series: Key -> the series of each file.
        files: Name of each file.
        axes: Abscissa of the series of each file.
        events: What happened, in words.
        gaps: What could not be had, with the reason.
    """

    values: dict[str, Value]
    curves: dict[str, CurveEstimate]
    series: dict[str, list[Series]]
    files: tuple[str, ...] = ()
    axes: tuple[Axis, ...] = ()
    events: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """Everything about one run.

    Attributes:
        found: Observable -> what it says.
        failed: Observable -> why it is not defined.
        digests: sha256 of what was analysed of each file.
        formulas: Compositions that occur, sorted.
        temperature_K: Temperature used.
    """

    found: dict[str, RunObservation]
    failed: dict[str, str]
    digests: tuple[str, ...]
    formulas: tuple[str, ...]
    temperature_K: float | None = None


def observe(
    run: Run,
    chosen: Mapping[str, Observable],
    settings: Settings,
    advance: Advance = lambda n: None,
) -> RunResult:
    """All chosen observables of one run, each file in one pass.

    Args:
        run: The frames.
        chosen: Lines of the table `OBSERVABLES`.
        settings: What the frames do not say.
        advance: Told how many frames were done.

    Raises:
        DataError: a file cannot be read to its end, or two files hold the same frames.
    """
    settings = settings_of(run, settings)
    results = [measure(file, chosen, settings, advance=advance) for file in run.files]
    return put_together(run, results, chosen, settings)


def settings_of(run: Run, settings: Settings) -> Settings:
    """The settings, with what the files say themselves before anything else."""
    if run.temperature_K is None:
        return settings
    return replace(settings, temperature_K=run.temperature_K)


def put_together(
    run: Run,
    results: Sequence[FileResult],
    chosen: Mapping[str, Observable],
    settings: Settings,
) -> RunResult:
    """What `observe` says, from what was found in each file.

    Raises:
        DataError: two files hold the same frames.
    """
    _check_different(run, results)
    axes = tuple(result.axis for result in results)
    found: dict[str, RunObservation] = {}
    failed: dict[str, str] = {}
    for name, line in chosen.items():
        try:
            rows = _rows(name, line, results, settings)
            found[name] = _with_doubts(_combined(run, rows, axes, settings), run, results)
        except ZifbenchError as error:
            failed[name] = str(error)
    return RunResult(
        found,
        failed,
        tuple(result.digest for result in results),
        tuple(sorted(frozenset().union(*(result.formulas for result in results)))),
        settings.temperature_K,
    )


def _check_different(run: Run, results: Sequence[FileResult]) -> None:
    """Copies of one file are no independent samples."""
    seen: dict[str, str] = {}
    for file, result in zip(run.files, results, strict=True):
        if result.digest in seen:
            raise DataError(
                f"{run.name}: {seen[result.digest]} and {file.name} hold the same frames, which "
                "would count twice; leave one out"
            )
        seen[result.digest] = file.name


def _with_doubts(found: RunObservation, run: Run, results: Sequence[FileResult]) -> RunObservation:
    """Means over files that are not samples of one thing, marked as such."""
    doubts = []
    if len({result.formulas for result in results}) > 1:
        doubts.append("composition")
    if len({file.temperature_K for file in run.files} - {None}) > 1:
        doubts.append("temperature")
    counted = [*doubts, "length"] if len({file.n_frames for file in run.files}) > 1 else doubts
    values = {}
    for key, value in found.values.items():
        reasons = counted if value.unit == "events" else doubts
        if value.n_of == "files" and reasons:
            note = f"mean over files of different {' and '.join(reasons)}"
            note = f"{value.note}; {note}" if value.note else note
            value = replace(value, reliable=False, note=note)
        values[key] = value
    return replace(found, values=values)


def _rows(
    name: str, line: Observable, results: Sequence[FileResult], settings: Settings
) -> list[Observation]:
    """What the observable found in each file, or in all of them together."""
    if line.scope is not Scope.FILES:
        _check_all(name, results)
        return [result.found[name] for result in results]
    for other in line.of:
        _check_all(other, results)
    files = [{other: result.found[other] for other in line.of} for result in results]
    return [line.function(files, settings)]


def _check_all(name: str, results: Sequence[FileResult]) -> None:
    reasons = [result.failed[name] for result in results if name in result.failed]
    if reasons:
        more = f" (and {len(reasons) - 1} more of the files)" if len(reasons) > 1 else ""
        raise NotDefinedError(f"{reasons[0]}{more}")


def _combined(
    run: Run, rows: Sequence[Observation], axes: tuple[Axis, ...], settings: Settings
) -> RunObservation:
    files = tuple(file.name for file in run.files)
    names = files if len(rows) == len(files) else (run.name,)
    found = combine(rows, names, len(axes[0].values), settings)
    events = tuple(str(event) for row in rows for event in row.events)
    return RunObservation(
        found.values, found.curves, found.series, files, axes, events, tuple(found.gaps)
    )
