"""The tasks that can be run, and how long each is in each profile.

A new task is one file with a function from a `Run` to a `TaskResult`, and one entry in `TASKS`.
"""

from __future__ import annotations

from zifbench.benchmark.result import TaskResult
from zifbench.benchmark.run import SPEED_CALLS, Run, Task
from zifbench.errors import unknown_name
from zifbench.profiles import Profile


def _accuracy(run: Run) -> TaskResult:
    from zifbench.benchmark.accuracy_task import run_accuracy

    return run_accuracy(run)


def _speed(run: Run) -> TaskResult:
    from zifbench.benchmark.speed import run_speed

    return run_speed(run)


TASKS: dict[str, Task] = {
    "accuracy": Task(
        about="errors of energy, forces and stress on labelled frames",
        lengths=dict.fromkeys(Profile, "all frames given"),
        run=_accuracy,
        needs_labels=True,
    ),
    "speed": Task(
        about="time and memory of one call on the first frame",
        lengths={p: f"{n} calls after {w} for warm-up" for p, (n, w) in SPEED_CALLS.items()},
        run=_speed,
    ),
}


def parse_tasks(text: str) -> list[str]:
    """Task names from "accuracy,speed" or "all", in the order in which they run.

    Raises:
        UnknownNameError: a name that is no task.
    """
    names = list(TASKS) if text == "all" else [t.strip() for t in text.split(",") if t.strip()]
    known = [*TASKS, "all", "conformance"]  # the last runs in any case, and may run alone
    for name in names or [text]:
        if name not in known:
            raise unknown_name("task", name, known)
    return [name for name in TASKS if name in names]
