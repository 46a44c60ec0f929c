"""Starting the training process, watching it, and ending it with us."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from zifbench.errors import (
    BusyError,
    OutOfMemoryError,
    ResultError,
    TrainingError,
    lacks_memory,
)
from zifbench.training.ending import ENDING_FILE, Ending, read_ending
from zifbench.training.paths import LAST_FILE, LOG_FILE
from zifbench.training.slurm import launcher, without_slurm

PARENT_VARIABLE = "ZIFBENCH_TRAINING_PARENT"
_LOOK_S = 0.2  # between two looks at what the process has written
_PATIENCE_S = 45.0  # for a process that was asked to end; srun gives its own 30 s
# What gloo says in the first of several processes when another one is killed; one that fails by
# itself has written its own reason by then.
_PEER_IS_GONE = "Connection closed by peer"
_LEAST_BYTES = 2**20  # with less a disk counts as full
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int]:
    """A lock that ends with the last process that has inherited it, on this node.

    Yields:
        Its file descriptor, for processes to inherit.

    Raises:
        BusyError: another training has it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # not a POSIX system: no lock, and no harm for a single run
            pass
        except BlockingIOError as error:
            raise BusyError(
                f"another training is running in {file.parent}; wait for it or give another --out"
            ) from error
        yield handle.fileno()


def run_training(
    directory: Path,
    *,
    threads: int | None,
    lock: int,
    look: Callable[[], None],
    nodes: int = 1,
    devices: int = 1,
) -> Ending:
    """Train in a process of its own, or one for each device of several nodes, until it ends.

    Args:
        directory: Of this training, with its configuration.
        threads: CPU threads of torch; None leaves that to the environment.
        lock: File descriptor of a lock to inherit.
        look: Called a few times each second.
        nodes: Of the SLURM job that this runs in; 1 is this node alone.
        devices: Processes on each of several nodes.

    Returns:
        How it ended: "completed" or "diverged".

    Raises:
        OutOfMemoryError: memory did not suffice.
        OSError: the disk is full.
        ResultError: the checkpoint to go on from is damaged.
        TrainingError: the process failed in another way.
    """
    kept = directory / LAST_FILE
    if kept.is_file() and not zipfile.is_zipfile(kept):
        raise ResultError(
            f"{kept} is damaged; delete it, and the same command begins this seed anew"
        )
    (directory / ENDING_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "zifbench.training.worker", str(directory)]
    begin = launcher(nodes, devices)
    with (directory / LOG_FILE).open("a") as log:
        code = _watched([*begin, *command], log, threads=threads, lock=lock, look=look)
    ending = read_ending(directory)
    again = f"; {kept} is good, the same command goes on from there" if kept.is_file() else ""
    # srun says of a training that failed that it was killed, since it ends the other processes so.
    if (ending is None and code in _KILLED) or (ending and _PEER_IS_GONE in ending.reason):
        raise OutOfMemoryError(
            f"the training process was killed, most likely for lack of memory{again}; a smaller "
            "batch_frames, cutoff_A or model needs less"
        )
    if ending is None or ending.kind == "failed":
        _check_room(directory, "" if ending is None else ending.reason)
    if ending is None:
        said = last_line(directory / LOG_FILE)
        wrong = OutOfMemoryError if lacks_memory(RuntimeError(said)) else TrainingError
        raise wrong(f"the training process ended with code {code}: {said}{again}")
    if ending.kind == "out of memory":
        raise OutOfMemoryError(
            f"not enough memory for one batch ({ending.reason}){again}; a smaller batch_frames, "
            "cutoff_A or model needs less"
        )
    if ending.kind not in ("completed", "diverged"):
        raise TrainingError(f"training failed: {ending.reason} (see {directory / LOG_FILE}){again}")
    return ending


def run_tool(
    program: str, arguments: list[str], directory: Path, *, threads: int | None, lock: int
) -> None:
    """Run one of nequip's programs, its output in the log.

    Raises:
        OutOfMemoryError: the system killed it.
        OSError: the disk is full.
        TrainingError: it failed; the message gives the last line that it wrote.
    """
    code = f"from nequip.scripts.{program} import main; main()"
    with (directory / LOG_FILE).open("a") as log:
        status = _watched([sys.executable, "-c", code, *arguments], log, threads=threads, lock=lock)
    if status in _KILLED:
        raise OutOfMemoryError(
            f"nequip-{program} was killed, most likely for lack of memory; the training is "
            "complete, and the same command goes on after it"
        )
    if status:
        _check_room(directory, "")
        raise TrainingError(
            f"nequip-{program} failed (see {directory / LOG_FILE}): "
            f"{last_line(directory / LOG_FILE)}"
        )


def _check_room(directory: Path, reason: str) -> None:
    """What fails on a full disk fails for that, and may have had no room to say so.

    Raises:
        OSError: the disk is full.
    """
    full = os.strerror(errno.ENOSPC)
    if full in reason or shutil.disk_usage(directory).free < _LEAST_BYTES:
        raise OSError(errno.ENOSPC, full, str(directory))


def _watched(
    command: list[str],
    log: IO[str],
    *,
    threads: int | None,
    lock: int,
    look: Callable[[], None] = lambda: None,
) -> int:
    if command[0] == sys.executable:
        environment = without_slurm(os.environ) | {PARENT_VARIABLE: str(os.getpid())}
    else:  # srun needs to know its job, and is not the parent of what it begins
        environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    # A session of its own: Ctrl-C comes to us, and we end it.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        pass_fds=(lock,),
    )
    try:
        while process.poll() is None:
            look()
            time.sleep(_LOOK_S)
    finally:
        _end(process)
    look()
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it has started, also where it has left them behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it wrote nothing")[:300]
