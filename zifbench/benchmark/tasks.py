"""The tasks that can be run, and how long each is in each profile.

A new task is one file with a function from a `Run` to a `TaskResult`, and one entry in `TASKS`.
"""

from __future__ import annotations

from zifbench.benchmark.result import TaskResult
from zifbench.benchmark.run import SCALING_CELLS, SPEED_CALLS, Run, Task
from zifbench.errors import unknown_name
from zifbench.profiles import Profile


def _accuracy(run: Run) -> TaskResult:
    from zifbench.benchmark.accuracy_task import run_accuracy

    return run_accuracy(run)


def _speed(run: Run) -> TaskResult:
    from zifbench.benchmark.speed import run_speed

    return run_speed(run)


def _times(repeat: tuple[int, int, int]) -> str:
    return " × ".join(map(str, repeat))


def _scaling(run: Run) -> TaskResult:
    from zifbench.benchmark.scaling import run_scaling

    return run_scaling(run)


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
    "scaling": Task(
        about="time and memory of a step of MD against the number of atoms",
        lengths={
            p: f"{n} steps, up to {_times(c[-1])} cells" for p, (c, n) in SCALING_CELLS.items()
        },
        run=_scaling,
        by_default=False,
    ),
}


DEFAULT = "default"


def default_tasks() -> list[str]:
    """Tasks that run when none are named."""
    return [name for name, task in TASKS.items() if task.by_default]


def parse_tasks(text: str) -> list[str]:
    """Task names from "accuracy,speed", "default" or "all", in the order in which they run.

    Raises:
        UnknownNameError: a name that is no task.
    """
    groups = {"all": list(TASKS), DEFAULT: default_tasks()}
    names = groups.get(text) or [t.strip() for t in text.split(",") if t.strip()]
    known = [*TASKS, *groups, "conformance"]  # the last runs in any case, and may run alone
    for name in names or [text]:
        if name not in known:
            raise unknown_name("task", name, known)
    return [name for name in TASKS if name in names]
