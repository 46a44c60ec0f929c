"""`evaluate`: the main job, from a model and frames to a result directory.

    run.json          what was asked for; a resumed run must ask for the same
    tasks/            results of finished tasks, until all are finished
    md/               what was simulated, and its figures
    predictions.zarr  what the potential gave for every frame; predictions.done.json counts them
    result.json       the result, written last
    report.html       the same to look at

Everything that can be refused is refused before the directory is touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from zifbench.ase_io import read_frames
from zifbench.benchmark.predictions import DONE_FILE, PREDICTIONS_FOLDER
from zifbench.benchmark.provenance import collect_provenance, installed_versions
from zifbench.benchmark.report import REPORT_FILE, write_report
from zifbench.benchmark.result import (
    RESULT_FILE,
    DataCard,
    Record,
    Result,
    TaskResult,
    load_result,
    parse_record,
    save_result,
)
from zifbench.benchmark.run import Run
from zifbench.benchmark.tasks import TASKS, default_tasks
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.named import is_store_name, load_named
from zifbench.errors import DataError, ResultError, ZifbenchError, unknown_name
from zifbench.files import is_leftover, write_text_atomically
from zifbench.frames import Frames
from zifbench.potentials.card import Check
from zifbench.potentials.conformance import CHECKS, run_conformance
from zifbench.potentials.core import Potential, check_applicable
from zifbench.potentials.formats import model_name
from zifbench.potentials.loading import load_eager_float64, load_potential
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress

RUN_FILE = "run.json"
_LOCK_FILE = ".zifbench.lock"  # also what tells our directories from other people's
_TASKS_FOLDER = "tasks"
_FILES = (RESULT_FILE, DONE_FILE, REPORT_FILE)  # in the order in which they are removed
_MD_FOLDER = "md"
_FOLDERS = (PREDICTIONS_FOLDER, _TASKS_FOLDER, _MD_FOLDER)  # results before what they were made of
# Atoms in one call: on a CPU large batches fall out of its caches and are slower than single
# frames; a GPU wants to be filled.
_BATCH_ATOMS = {"cpu": 512, "cuda": 4096}


class Request(Record):
    """What an evaluation was asked to do; two runs with equal requests give equal numbers."""

    schema_version: int = 1
    zifbench: str
    model: str
    model_sha256: str
    data_digest: str
    tasks: list[str]
    profile: Profile
    device: str
    batch_atoms: int
    group_key: str
    seed: int
    conformance: bool
    threads: int | None
    packages: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate; the defaults are those of the command line.

    Attributes:
        tasks: Names of the tasks; None for those that are usual in the profile.
        by_name: Whether a task that cannot be run is an error, or a gap in the result; what is
            usual is never an error.
        profile: How long to run each.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of torch; None leaves them alone.
        batch_atoms: Atoms in one call; None lets the device decide.
        max_frames: Use only so many frames, evenly spread; None uses all.
        group_key: Label that names the phase or trajectory.
        seed: Of everything random, not negative.
        conformance: Whether to check the potential first.
        trust: Let the model run code while loading.
        resume: Continue what was interrupted.
        overwrite: Replace an earlier result.
        split: Split of the store in the data; None takes all its frames.
        subset: Subset of the split.
        name: What to call the model; None for what its file is called.
    """

    tasks: tuple[str, ...] | None = None
    by_name: bool = True
    profile: Profile = Profile.QUICK
    device: str = "auto"
    threads: int | None = None
    batch_atoms: int | None = None
    max_frames: int | None = None
    group_key: str = "phase"
    seed: int = 0
    conformance: bool = True
    trust: bool = False
    resume: bool = False
    overwrite: bool = False
    split: Path | None = None
    subset: str = "test"
    name: str | None = None


def evaluate(
    model: str,
    data: Sequence[str],
    out: Path,
    options: Options,
    *,
    progress: Progress = no_progress,
) -> Result:
    """Evaluate a model and write the result directory.

    Args:
        model: Path of a model file, a bundled name, `module:factory` or `file.py:factory`.
        data: Files of frames, or names of bundled data.
        out: Directory of the result.
        options: How.
        progress: Shows a person how far it is.

    Returns:
        The result, as written to `out/result.json`.

    Raises:
        ZifbenchError: bad input, in one sentence, before anything is written; or a model that fails
            while it runs, and what was computed until then is kept.
    """
    if options.seed < 0:
        raise DataError(f"--seed {options.seed}: wanted 0 or a positive number")
    _check_directory(out, options)
    frames = load_data(data, options.max_frames, split=options.split, subset=options.subset)
    tasks = _tasks(options)
    _check_labels(frames, tasks)
    _check_group_key(frames, options.group_key)
    potential = load_potential(
        model, device=options.device, trust=options.trust, name=_name(model, out, options)
    )
    _set_threads(options.threads)
    for part in frames:
        check_applicable(potential.card, part)
    by_name = options.by_name and options.tasks is not None
    for name in tasks if by_name else ():
        check = TASKS[name].check
        if check is not None:
            check(potential, options.profile)
    request = _request(potential, frames, options)
    with _claimed(out, request, options):
        if not (out / RESULT_FILE).is_file():
            try:
                exact = partial(
                    load_eager_float64, model, device=request.device, trust=options.trust
                )
                result = _run(
                    potential, frames, out, request, progress, by_name=by_name, exact=exact
                )
            except ZifbenchError:
                if not any(
                    (out / name).exists() for name in (_TASKS_FOLDER, DONE_FILE, _MD_FOLDER)
                ):
                    _empty(out)  # nothing was computed that could be kept
                raise
            _write(result, frames, out)
        shutil.rmtree(out / _TASKS_FOLDER, ignore_errors=True)
        return load_result(out)


def _tasks(options: Options) -> tuple[str, ...]:
    if options.tasks is None:
        return tuple(default_tasks(options.profile))
    return options.tasks


def _name(model: str, out: Path, options: Options) -> str | None:
    """An evaluation that has begun under the name of the file goes on under it."""
    run_file = out / RUN_FILE
    if options.name is not None and options.resume and run_file.is_file():
        begun = parse_record(Request, run_file).model
        return None if begun == model_name(Path(model)) else options.name
    return options.name


def default_out(model: str) -> Path:
    """Directory of the result when none is given: named after the model, below `results`."""
    return Path("results") / model_name(Path(model.replace(":", "-")))


def _set_threads(threads: int | None) -> None:
    torch = sys.modules.get("torch")  # absent for calculators that do not use it
    if threads is not None and torch is not None:
        torch.set_num_threads(threads)


# -- input ----------------------------------------------------------------------------------------


def load_data(
    data: Sequence[str],
    max_frames: int | None = None,
    *,
    split: Path | None = None,
    subset: str = "test",
) -> list[Frames]:
    """Frames from files, bundled names, stores (STORE, STORE/TRAJECTORY) or a split of a store.

    Raises:
        DataError: unreadable, or `max_frames` below one, or a split without its store.
    """
    frames = []
    if split is not None and (len(data) != 1 or not _is_store(data[0])):
        raise DataError(f"--split {split} belongs to one store; give that store, alone, as --data")
    repeated = sorted({name for name in data if list(data).count(name) > 1})
    if repeated:
        raise DataError(f"--data {repeated[0]} is given twice; its frames would count twice")
    for name in data:
        if _is_store(name):
            frames += load_named(name, split=split, subset=subset)
        else:
            frames += read_frames(BUNDLED_DATA[name].path if name in BUNDLED_DATA else Path(name))
    if max_frames is None:
        return frames
    if max_frames < 1:
        raise DataError(f"--max-frames {max_frames}: wanted at least 1")
    return _thinned(frames, max_frames)


def _is_store(name: str) -> bool:
    return name not in BUNDLED_DATA and is_store_name(name)


def _thinned(frames: list[Frames], max_frames: int) -> list[Frames]:
    """At most so many frames, evenly spread over all."""
    total = sum(len(part) for part in frames)
    if total <= max_frames:
        return frames
    keep = np.unique(np.linspace(0, total - 1, max_frames).round().astype(int))
    starts = np.cumsum([0, *(len(part) for part in frames)])
    thinned = []
    for part, start in zip(frames, starts[:-1], strict=True):
        rows = keep[(keep >= start) & (keep < start + len(part))] - start
        if len(rows):
            thinned.append(part[rows])
    return thinned


def _check_labels(frames: Sequence[Frames], tasks: Sequence[str]) -> None:
    from zifbench.benchmark.accuracy import check_labelled

    if any(TASKS[name].needs_labels for name in tasks):
        check_labelled(frames)


def _check_group_key(frames: Sequence[Frames], key: str) -> None:
    """Refuse a mistyped label; without the usual one, files are the groups."""
    known = sorted({label for part in frames for label in part.labels})
    if key != Options.group_key and key not in known:
        raise unknown_name("label", key, known or ["none in these frames"])


def _request(potential: Potential, frames: Sequence[Frames], options: Options) -> Request:
    from zifbench import __version__

    kind = "cuda" if potential.device.startswith("cuda") else "cpu"
    return Request(
        zifbench=__version__,
        model=potential.card.name,
        model_sha256=potential.card.digest,
        data_digest=data_digest(frames),
        tasks=list(_tasks(options)),
        profile=options.profile,
        device=potential.device,
        batch_atoms=options.batch_atoms or _BATCH_ATOMS[kind],
        group_key=options.group_key,
        seed=options.seed,
        conformance=options.conformance,
        threads=options.threads,
        packages=installed_versions(),
    )


def data_digest(frames: Sequence[Frames]) -> str:
    """sha256 that names a set of frames with their labels."""
    return hashlib.sha256(" ".join(part.digest() for part in frames).encode()).hexdigest()


# -- the directory --------------------------------------------------------------------------------


def _check_directory(out: Path, options: Options) -> None:
    """Refuse an output directory before any time is spent."""
    if options.resume and options.overwrite:
        raise ResultError("--resume and --overwrite contradict each other; give one of them")
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    ours = out.is_dir() and _is_ours(out)
    used = out.is_dir() and any(
        path.name != _LOCK_FILE and not is_leftover(path.name) for path in out.iterdir()
    )
    if options.resume and not (out / RUN_FILE).is_file():
        raise ResultError(f"nothing to resume in {out}: it holds no {RUN_FILE}; leave --resume out")
    if options.overwrite and used and not ours:
        raise ResultError(f"{out} holds other files than a result; it is not overwritten")
    if used and not options.resume and not options.overwrite:
        finished = (out / RESULT_FILE).is_file()
        hint = "--resume to continue it" if ours and not finished else "another --out"
        raise ResultError(f"{out} is not empty; give {hint}, or --overwrite if it is a result")


def _is_ours(out: Path) -> bool:
    """Whether an evaluation wrote this directory; names such as `tasks` alone prove nothing."""
    names = {path.name for path in out.iterdir()}
    return _LOCK_FILE in names and (RUN_FILE in names or names <= {*_FILES, *_FOLDERS, _LOCK_FILE})


@contextlib.contextmanager
def _claimed(out: Path, request: Request, options: Options) -> Iterator[None]:
    """Make the directory ours: new, emptied, or the one to resume; no two runs at once."""
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out / _LOCK_FILE):
        _check_directory(out, options)  # again: another run may have come and gone meanwhile
        if options.overwrite:
            _empty(out)
        run_file = out / RUN_FILE
        if run_file.is_file():
            _check_same(parse_record(Request, run_file), request, out)
        else:
            write_text_atomically(run_file, request.model_dump_json(indent=1) + "\n")
        yield


def _empty(out: Path) -> None:
    """Remove what an evaluation writes, in an order that leaves a resumable state at any time.

    First what says that something is finished, last what says that the directory is ours.
    """
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    (out / RUN_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """An advisory lock that the system drops when the process ends, however it ends."""
    file.touch()
    try:
        import fcntl
    except ImportError:  # not a POSIX system: no lock, and no harm for a single run
        yield
        return
    with file.open("a") as handle:  # the file stays: a lock on one that is replaced locks nothing
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultError(
                f"another evaluation is running in {file.parent}; wait for it or give another --out"
            ) from error
        yield


def _check_same(before: Request, now: Request, out: Path) -> None:
    """Refuse to mix two different evaluations in one directory."""
    for name in Request.model_fields:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            raise ResultError(
                f"{out} was begun with {name} = {_short(old)}, now it is {_short(new)}; resume "
                "with the same, or give another --out"
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


# -- the work -------------------------------------------------------------------------------------


def _run(
    potential: Potential,
    frames: list[Frames],
    out: Path,
    request: Request,
    progress: Progress,
    *,
    by_name: bool,
    exact: Callable[[], Potential | None],
) -> Result:
    checks = _checks(potential, frames[0], out, request, progress)
    periodic = next((part for part in frames if part.pbc.all()), frames[0])
    parity = _parity(potential, periodic[0], out, request, exact)
    run = Run(
        potential=potential,
        data=frames,
        directory=out,
        profile=request.profile,
        batch_atoms=request.batch_atoms,
        group_key=request.group_key,
        seed=request.seed,
        progress=progress,
        by_name=by_name,
        parity=tuple(parity),
    )
    tasks = {name: _task(name, run) for name in request.tasks}
    return Result(
        model=potential.card,
        data=_data_card(frames, request.data_digest),
        profile=request.profile.value,
        seed=request.seed,
        conformance=[*checks, *(parity if checks else ())],  # alone, it proves no conformance
        tasks=tasks,
        provenance=collect_provenance(potential.device),
    )


class _Checks(Record):
    checks: list[Check]


def _checks(
    potential: Potential, frames: Frames, out: Path, request: Request, progress: Progress
) -> list[Check]:
    """Conformance, from the file if an earlier run has finished it."""
    file = out / _TASKS_FOLDER / "conformance.json"
    if not request.conformance:
        return []
    if file.is_file():
        return parse_record(_Checks, file).checks
    with progress("conformance", len(CHECKS)) as advance:
        checks = run_conformance(
            potential, frames, batch_atoms=request.batch_atoms, progress=lambda _: advance(1)
        )
    write_text_atomically(file, _Checks(checks=checks).model_dump_json())
    return checks


def _parity(
    potential: Potential,
    frame: Frames,
    out: Path,
    request: Request,
    exact: Callable[[], Potential | None],
) -> list[Check]:
    """What the engine of the simulated tasks gets from the model, beside the model in float64."""
    if not any(TASKS[name].simulated for name in request.tasks):
        return []
    file = out / _TASKS_FOLDER / "parity.json"
    if file.is_file():
        return parse_record(_Checks, file).checks
    from zifbench.dynamics.calculator import PotentialCalculator
    from zifbench.dynamics.engines import make_engine
    from zifbench.dynamics.parity import engine_path, parity_checks

    engine = make_engine("auto", PotentialCalculator(potential, stress=False)).name
    checks = parity_checks(potential, engine_path(engine, potential), [frame], exact=exact())
    write_text_atomically(file, _Checks(checks=checks).model_dump_json())
    return checks


def _task(name: str, run: Run) -> TaskResult:
    """A task's result, from the file if an earlier run has finished it."""
    file = run.directory / _TASKS_FOLDER / f"{name}.json"
    if file.is_file():
        return parse_record(TaskResult, file)
    result = TASKS[name].run(run)
    write_text_atomically(file, result.model_dump_json())
    return result


def _data_card(frames: Sequence[Frames], digest: str) -> DataCard:
    levels = {part.info["level_of_theory"] for part in frames if "level_of_theory" in part.info}
    return DataCard(
        names=list(dict.fromkeys(part.source for part in frames)),
        digest=digest,
        n_frames=sum(len(part) for part in frames),
        n_atoms=sorted({part.n_atoms for part in frames}),
        formulas=list(dict.fromkeys(part.formula for part in frames)),
        levels_of_theory=sorted(levels),
    )


def _write(result: Result, frames: Sequence[Frames], out: Path) -> None:
    """Report first, result last: a directory with a result is complete."""
    write_report(result, frames, out)
    save_result(result, out)
