"""Labels for frames: one CP2K job a frame, in a directory of its own, any number at a time.

The job directory is the memory of a labelling: it is named by a digest of geometry and settings, so
a frame is computed once, whatever is interrupted, and several processes or nodes may share the
directory, each taking jobs that no other holds. Each job starts from the wave function of the most
similar finished frame, which halves the number of steps to self-consistency. The store is filled
from the finished jobs, in the order of the frames.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zifbench.dataset.label.cp2k import (
    PAPER,
    WAVE_FUNCTION_FILE,
    Settings,
    SinglePoint,
    is_finished,
    job_key,
    read_single_point,
    run_single_point,
)
from zifbench.errors import DataError
from zifbench.frames import FloatArray, Frames

LOCK_FILE = "lock"
# Wave functions of 272 atoms take 20 MB each.
_KEPT_WAVE_FUNCTIONS = 8


@dataclass(frozen=True)
class Job:
    """One frame to label."""

    frames: Frames
    row: int
    key: str

    @property
    def where(self) -> str:
        """Words for messages."""
        return self.frames.where(self.row)

    @property
    def geometry(self) -> FloatArray:
        """Cell and positions in Å as one vector, to tell similar frames."""
        return np.concatenate(
            [self.frames.cell[self.row].ravel(), self.frames.positions[self.row].ravel()]
        )


@dataclass
class Labelling:
    """What became of the jobs.

    Attributes:
        labels: key -> result, of the jobs that are finished.
        failures: key -> reason, of the jobs that CP2K could not do.
        elsewhere: Jobs that another process is working on.
    """

    labels: dict[str, SinglePoint] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def plan_jobs(data: Sequence[Frames], settings: Settings = PAPER) -> list[Job]:
    """One job for each different geometry, in the order of the frames."""
    jobs: dict[str, Job] = {}
    for frames in data:
        for row in range(len(frames)):
            key = job_key(frames, row, settings)
            jobs.setdefault(key, Job(frames, row, key))
    return list(jobs.values())


def at_most(jobs: Sequence[Job], directory: Path, limit: int | None) -> list[Job]:
    """The finished jobs, and at most `limit` of the others."""
    if limit is None:
        return list(jobs)
    open_jobs = [job for job in jobs if not is_finished(directory / job.key)]
    left = {job.key for job in open_jobs[limit:]}
    return [job for job in jobs if job.key not in left]


def run_jobs(
    jobs: Sequence[Job],
    directory: Path,
    *,
    executable: str,
    settings: Settings = PAPER,
    workers: int = 1,
    threads: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Labelling:
    """Label every frame whose job is not finished.

    Args:
        jobs: From `plan_jobs`.
        directory: Where the job directories are.
        executable: Path of CP2K.
        settings: Level of theory.
        workers: Jobs at a time.
        threads: OpenMP threads of each.
        advance: Called with the number of jobs that are done.

    Returns:
        Labels and failures. An interrupt ends the running jobs and keeps the finished ones.
    """
    result = Labelling()
    todo = []
    for job in jobs:
        if is_finished(directory / job.key):
            _keep(result, job, directory)
            advance(1)
        else:
            todo.append(job)
    runner = _Runner(directory, executable, settings, threads)
    runner.remember([job for job in jobs if job.key in result.labels])
    waiting = deque(todo)
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running: dict[Future[str | None], Job] = {}
        try:
            while True:
                while waiting and len(running) < workers:
                    job = waiting.popleft()
                    running[pool.submit(runner.run, job, stop)] = job
                if not running:
                    return result
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    _settle(result, running.pop(future), future, directory)
                    advance(1)
        except BaseException:
            stop.set()  # ends the running CP2K processes
            raise


def _settle(result: Labelling, job: Job, future: Future[str | None], directory: Path) -> None:
    try:
        state = future.result()
    except DataError as error:
        result.failures[job.key] = str(error)
        return
    if state == "elsewhere":
        result.elsewhere.append(job.key)
    else:
        _keep(result, job, directory)


def _keep(result: Labelling, job: Job, directory: Path) -> None:
    try:
        label = read_single_point(directory / job.key, job.frames.symbols)
    except DataError as error:
        result.failures[job.key] = str(error)
    else:
        result.labels[job.key] = label


class _Runner:
    """Runs jobs; knows which wave functions are there to start from."""

    def __init__(self, directory: Path, executable: str, settings: Settings, threads: int) -> None:
        self._directory = directory
        self._executable = executable
        self._settings = settings
        self._threads = threads
        self._known: list[Job] = []
        self._mutex = threading.Lock()

    def remember(self, jobs: Sequence[Job]) -> None:
        """Offer the wave functions of finished jobs; the oldest are deleted."""
        with self._mutex:
            self._known += [job for job in jobs if self._wave_function(job).is_file()]
            for old in self._known[:-_KEPT_WAVE_FUNCTIONS]:
                self._wave_function(old).unlink(missing_ok=True)
            self._known = self._known[-_KEPT_WAVE_FUNCTIONS:]

    def run(self, job: Job, stop: threading.Event) -> str | None:
        """Run one job unless another process holds it, or has finished it since it was planned."""
        directory = self._directory / job.key
        directory.mkdir(parents=True, exist_ok=True)
        with _held(directory / LOCK_FILE) as lock:
            if lock is None:
                return "elsewhere"
            if not is_finished(directory):
                run_single_point(
                    job.frames,
                    job.row,
                    directory,
                    settings=self._settings,
                    executable=self._executable,
                    threads=self._threads,
                    previous=self._nearest(job),
                    stop=stop,
                    lock=lock,
                )
        self.remember([job])
        return None

    def _wave_function(self, job: Job) -> Path:
        return self._directory / job.key / WAVE_FUNCTION_FILE

    def _nearest(self, job: Job) -> Path | None:
        """Wave function of the most similar frame of the same atoms."""
        with self._mutex:
            same = [k for k in self._known if np.array_equal(k.frames.numbers, job.frames.numbers)]
            if not same:
                return None
            here = job.geometry
            return self._wave_function(
                min(same, key=lambda k: float(np.abs(k.geometry - here).mean()))
            )


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int | None]:
    """The open lock of a job, or None where another process has it.

    The system frees it when the last process that has it open ends, killed or not.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        file.truncate(0)
        file.write(f"{os.uname().nodename} {os.getpid()} {time.time():.0f}\n")
        file.flush()
        yield file.fileno()


def labelled(frames: Frames, result: Labelling, settings: Settings = PAPER) -> Frames | None:
    """The frames that have a label, with it; None if none has.

    Each carries the name of its job and the number of SCF steps as labels, so that a number can be
    followed to the output it came from.
    """
    keys = [job_key(frames, row, settings) for row in range(len(frames))]
    rows = [row for row, key in enumerate(keys) if key in result.labels]
    if not rows:
        return None
    found = [result.labels[keys[row]] for row in rows]
    kept = frames[rows]
    versions = sorted({label.version for label in found})
    return dataclasses.replace(
        kept,
        energy=np.array([label.energy for label in found]),
        forces=np.array([label.forces for label in found]),
        stress=np.array([label.stress for label in found]),
        labels={
            **kept.labels,
            "job": tuple(keys[row] for row in rows),
            "scf_steps": tuple(str(label.scf_steps) for label in found),
        },
        info={**kept.info, "level_of_theory": settings.level_of_theory(", ".join(versions))},
    )
