"""`analyse`: from frames to numbers, arrays and a report.

    analysis.json   every number with its interval, and what is not defined and why; written last
    analysis.zarr   RUN/OBSERVABLE/curves/KEY/{x,y,low,high} and RUN/OBSERVABLE/series/KEY/FILE
    report.html     the same to look at

Everything that can be refused is refused before the directory is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import zarr

from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Observable, Settings
from zifbench.analysis.runs import Run, RunObservation, RunResult, observe
from zifbench.benchmark.provenance import collect_provenance
from zifbench.errors import DataError, unknown_name
from zifbench.files import write_text_atomically, written_whole
from zifbench.frames import FloatArray
from zifbench.progress import Progress, no_progress
from zifbench.reports.directory import check_directory
from zifbench.reports.page import write_analysis_page
from zifbench.reports.record import (
    ANALYSIS_FILE,
    ARRAYS_FOLDER,
    Analysis,
    Gap,
    Number,
    RunRecord,
)
from zifbench.reports.sources import read_run

Found = dict[str, RunObservation]  # observable -> what it says


def analyse(
    runs: Sequence[str],
    out: Path,
    *,
    references: Sequence[str] = (),
    file_format: str | None = None,
    settings: Settings | None = None,
    optional: Collection[str] = (),
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Analysis:
    """Analyse runs and write the directory.

    Args:
        runs: `FILE` or `NAME=FILE,FILE…`, each one run; a file may be a pattern with `*` or the
            name of bundled frames. Several files of a run are independent samples.
        out: Directory to write.
        references: The same, of what the runs are compared with.
        file_format: ASE's name of the format where file names do not tell it.
        settings: What the frames do not say.
        optional: Observables that are left out unless asked for, by name.
        overwrite: Replace an earlier analysis.
        progress: Shows a person how far it is.

    Raises:
        ZifbenchError: bad input, in one sentence; nothing is written then.
    """
    settings = settings or Settings()
    check_directory(out, overwrite=overwrite)
    every = [read_run(text, file_format=file_format) for text in runs]
    every += [read_run(text, file_format=file_format, reference=True) for text in references]
    if not every:
        raise DataError("nothing to analyse; give a file of frames")
    names = [run.name for run in every]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two runs are called {twice[0]}; name one of them: NAME=FILE")
    chosen = _chosen(optional, settings)
    records, found = [], {}
    for run in every:
        with progress(run.name, run.n_frames) as advance:
            result = observe(run, chosen, settings, advance)
        records.append(_record(run, result))
        found[run.name] = result.found
    analysis = Analysis(
        temperature_K=settings.temperature_K,
        frame_interval_fs=settings.frame_interval_fs,
        seed=settings.seed,
        observables=list(chosen),
        runs=records,
        provenance=collect_provenance("cpu"),
    )
    with written_whole(out) as folder:
        _write(analysis, found, folder)
    return analysis


def _chosen(optional: Collection[str], settings: Settings) -> dict[str, Observable]:
    wanted = {*optional, *(["xray"] if settings.xray else [])}
    unknown = wanted - {name for name, line in OBSERVABLES.items() if line.optional}
    if unknown:
        raise unknown_name("optional observable", unknown.pop(), OBSERVABLES)
    return {k: line for k, line in OBSERVABLES.items() if k in wanted or not line.optional}


# -- numbers --------------------------------------------------------------------------------------


def _record(run: Run, result: RunResult) -> RunRecord:
    numbers = [
        Number(observable=name, quantity=key, **vars(value))
        for name, observation in result.found.items()
        for key, value in observation.values.items()
    ]
    gaps = [Gap(observable=name, reason=reason) for name, reason in result.failed.items()]
    gaps += [
        Gap(observable=name, reason=reason)
        for name, observation in result.found.items()
        for reason in observation.gaps
    ]
    return RunRecord(
        name=run.name,
        reference=run.reference,
        files=[file.name for file in run.files],
        digest=hashlib.sha256(" ".join(result.digests).encode()).hexdigest(),
        n_frames=run.n_frames,
        formulas=list(result.formulas),
        temperature_K=result.temperature_K,
        numbers=numbers,
        gaps=gaps,
        events=[event for observation in result.found.values() for event in observation.events],
    )


# -- output ---------------------------------------------------------------------------------------


def _write(analysis: Analysis, found: Mapping[str, Found], folder: Path) -> None:
    _write_arrays(found, folder / ARRAYS_FOLDER)
    write_analysis_page(analysis, found, folder)
    write_text_atomically(folder / ANALYSIS_FILE, analysis.model_dump_json(indent=1) + "\n")


def _write_arrays(found: Mapping[str, Found], path: Path) -> None:
    root = zarr.open_group(str(path), mode="w")
    for run, observables in found.items():
        for name, observation in observables.items():
            group = root.require_group(f"{run}/{name}")
            for key, estimate in observation.curves.items():
                curve = group.require_group(f"curves/{key}")
                about = estimate.curve
                curve.attrs.update(title=about.title, x=about.x_label, y=about.y_label)
                columns = (about.x, estimate.y, estimate.low, estimate.high)
                for column, values in zip(("x", "y", "low", "high"), columns, strict=True):
                    _put(curve, column, values)
            for key, rows in observation.series.items():
                series = group.require_group(f"series/{key}")
                series.attrs.update(title=rows[0].title, unit=rows[0].unit)
                for number, row in enumerate(rows):
                    _put(series, str(number), row.values)
                    series[str(number)].attrs["file"] = observation.files[number]
        _write_axes(root, run, observables)


def _write_axes(root: zarr.Group, run: str, observables: Found) -> None:
    """Where the frames of each file stand, the same for all series of a run."""
    axes = next((found.axes for found in observables.values() if found.series), ())
    for number, axis in enumerate(axes):
        group = root.require_group(f"{run}/axes")
        _put(group, str(number), axis.values)
        group[str(number)].attrs["label"] = axis.label


def _put(group: zarr.Group, name: str, values: FloatArray) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype)
    array[...] = values
