"""`analyse`: from frames to numbers, arrays and a report.

    analysis.json   every number with its interval, and what is not defined and why; written last
    analysis.zarr   RUN/OBSERVABLE/curves/KEY/{x,y,low,high} and RUN/OBSERVABLE/series/KEY/FILE
    report.html     the same to look at

Everything that can be refused is refused before the directory is touched.
"""

from __future__ import annotations

import glob
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import zarr

from zifbench.analysis.observables import OBSERVABLES, Settings
from zifbench.analysis.runs import Advance, Run, RunObservation, observe
from zifbench.ase_io import read_frames
from zifbench.benchmark.provenance import collect_provenance
from zifbench.bundled import BUNDLED_DATA
from zifbench.errors import DataError, ResultError
from zifbench.files import printable, write_text_atomically
from zifbench.frames import FloatArray
from zifbench.progress import Progress, no_progress
from zifbench.reports.page import REPORT_FILE, write_analysis_page
from zifbench.reports.record import (
    ANALYSIS_FILE,
    ARRAYS_FOLDER,
    Analysis,
    Gap,
    Number,
    RunRecord,
)

Found = dict[str, RunObservation]  # observable -> what it says
_WRITTEN = {ANALYSIS_FILE, ARRAYS_FOLDER, REPORT_FILE}


def analyse(
    runs: Sequence[str],
    out: Path,
    *,
    references: Sequence[str] = (),
    file_format: str | None = None,
    settings: Settings | None = None,
    spheres: bool = False,
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
        spheres: Whether to compute the largest spheres too.
        overwrite: Replace an earlier analysis.
        progress: Shows a person how far it is.

    Raises:
        ZifbenchError: bad input, in one sentence; nothing is written then.
    """
    settings = settings or Settings()
    _check_directory(out, overwrite=overwrite)
    every = [read_run(text, file_format=file_format) for text in runs]
    every += [read_run(text, file_format=file_format, reference=True) for text in references]
    if not every:
        raise DataError("nothing to analyse; give a file of frames")
    names = [run.name for run in every]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two runs are called {twice[0]}; name one of them: NAME=FILE")
    chosen = [name for name, line in OBSERVABLES.items() if spheres or not line.optional]
    records, found = [], {}
    for run in every:
        with progress(run.name, len(chosen) * run.n_frames) as advance:
            observed, gaps = _observe_all(run, chosen, settings, advance)
        records.append(_record(run, observed, gaps))
        found[run.name] = observed
    analysis = Analysis(
        temperature_K=settings.temperature_K,
        frame_interval_fs=settings.frame_interval_fs,
        seed=settings.seed,
        observables=chosen,
        runs=records,
        provenance=collect_provenance("cpu"),
    )
    _write(analysis, found, out)
    return analysis


# -- input ----------------------------------------------------------------------------------------


def read_run(text: str, *, file_format: str | None = None, reference: bool = False) -> Run:
    """The run of one argument, `FILE` or `NAME=FILE,FILE…`.

    Raises:
        DataError: no such file, unreadable frames, or a name that cannot be one.
    """
    if Path(text).is_file() or text in BUNDLED_DATA or "=" not in text:
        name, files = Path(text).stem, [text]
    else:
        name, _, listed = text.partition("=")
        files = [file for pattern in listed.split(",") for file in _matching(pattern)]
    name = printable(name)
    if not name or "/" in name or name.startswith("."):
        raise DataError(f"{text}: {name!r} is no name of a run; wanted NAME=FILE,FILE…")
    paths = [BUNDLED_DATA[file].path if file in BUNDLED_DATA else Path(file) for file in files]
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError(f"{text}: a file is given twice; its frames would count twice")
    parts = tuple(tuple(read_frames(path, file_format=file_format)) for path in paths)
    return Run(name, parts, reference)


def _matching(pattern: str) -> list[str]:
    if not pattern:
        raise DataError("an empty file name in NAME=FILE,FILE…; leave out the comma")
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern))  # noqa: PTH207 (absolute patterns, which Path.glob refuses)
    if not found:
        raise DataError(f"{pattern}: no file matches")
    return found


# -- numbers --------------------------------------------------------------------------------------


def _observe_all(
    run: Run, chosen: Sequence[str], settings: Settings, advance: Advance
) -> tuple[Found, list[Gap]]:
    """Every observable that the run defines, and the reason for each that it does not."""
    found: Found = {}
    gaps: list[Gap] = []
    for name in chosen:
        done = _Counter(advance)
        try:
            found[name] = observe(run, OBSERVABLES[name], settings, done.advance)
            gaps += [Gap(observable=name, reason=reason) for reason in found[name].gaps]
        except DataError as error:
            gaps.append(Gap(observable=name, reason=str(error)))
        done.advance(run.n_frames - done.n)
    return found, gaps


class _Counter:
    """Counts what was reported, so that a bar ends where it should."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self.n = advance, 0

    def advance(self, n: int) -> None:
        """Pass on."""
        self.n += n
        self._advance(n)


def _record(run: Run, found: Found, gaps: list[Gap]) -> RunRecord:
    parts = [part for file in run.files for part in file]
    digest = hashlib.sha256(" ".join(part.digest() for part in parts).encode()).hexdigest()
    numbers = [
        Number(observable=name, quantity=key, **vars(value))
        for name, observation in found.items()
        for key, value in observation.values.items()
    ]
    return RunRecord(
        name=run.name,
        reference=run.reference,
        files=[file[0].source for file in run.files],
        digest=digest,
        n_frames=run.n_frames,
        formulas=sorted({part.formula for part in parts}),
        numbers=numbers,
        gaps=gaps,
        events=[event for observation in found.values() for event in observation.events],
    )


# -- output ---------------------------------------------------------------------------------------


def _check_directory(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - _WRITTEN:
        raise ResultError(f"{out} holds other files than an analysis; give another --out")
    if names and not overwrite:
        raise ResultError(f"{out} holds an analysis; give --overwrite, or another --out")


def _write(analysis: Analysis, found: Mapping[str, Found], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / ANALYSIS_FILE).unlink(missing_ok=True)  # until all is there again
    shutil.rmtree(out / ARRAYS_FOLDER, ignore_errors=True)
    _write_arrays(found, out / ARRAYS_FOLDER)
    write_analysis_page(analysis, found, out)
    write_text_atomically(out / ANALYSIS_FILE, analysis.model_dump_json(indent=1) + "\n")


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


def _put(group: zarr.Group, name: str, values: FloatArray) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype)
    array[...] = values
