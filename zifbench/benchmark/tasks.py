"""The tasks that can be run, and how long each is in each profile.

A new task is one file with a function from a `Run` to a `TaskResult`, and one entry in `TASKS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from zifbench.benchmark.result import TaskResult
from zifbench.benchmark.run import SCALING_CELLS, SPEED_CALLS, Run, Task
from zifbench.errors import unknown_name
from zifbench.profiles import Profile

if TYPE_CHECKING:
    from zifbench.benchmark.md.simulation import MdTask

_LONG = frozenset({Profile.STANDARD, Profile.PAPER})
_LONGEST = frozenset({Profile.PAPER})


def _accuracy(run: Run) -> TaskResult:
    from zifbench.benchmark.accuracy_task import run_accuracy

    return run_accuracy(run)


def _speed(run: Run) -> TaskResult:
    from zifbench.benchmark.speed import run_speed

    return run_speed(run)


def _scaling(run: Run) -> TaskResult:
    from zifbench.benchmark.scaling import run_scaling

    return run_scaling(run)


def _scaling_steps(profile: Profile) -> str:
    cells, steps = SCALING_CELLS[profile]
    return f"{steps} steps, up to {' × '.join(map(str, cells[-1]))} cells"


def _speed_calls(profile: Profile) -> str:
    calls, warm_up = SPEED_CALLS[profile]
    return f"{calls} calls after {warm_up} for warm-up"


def _md(about: str, place: str, default: frozenset[Profile] = frozenset(Profile)) -> Task:
    """A task of molecular dynamics; `place` is MODULE.NAME of its `MdTask`, imported when used."""
    module, _, name = place.partition(".")

    def what() -> MdTask:
        found: MdTask = getattr(import_module(f"zifbench.benchmark.md.{module}"), name)
        return found

    def run(run: Run) -> TaskResult:
        from zifbench.benchmark.md.task import run_md_task

        return run_md_task(what(), run)

    return Task(
        about=about,
        lengths=lambda profile: what().length(profile),
        run=run,
        default=default,
        check=lambda potential, profile: what().check(potential, profile),
        simulated=True,
    )


TASKS: dict[str, Task] = {
    "accuracy": Task(
        about="errors of energy, forces and stress on labelled frames",
        lengths=lambda profile: "all frames given",
        run=_accuracy,
        needs_labels=True,
    ),
    "speed": Task(
        about="time and memory of one call on the first frame",
        lengths=_speed_calls,
        run=_speed,
    ),
    "scaling": Task(
        about="time and memory of a step of MD against the number of atoms",
        lengths=_scaling_steps,
        run=_scaling,
        default=_LONG,
    ),
    "crystal": _md("structure and pressure of the crystal at 300 K", "crystal.CRYSTAL"),
    "static-strain": _md("bulk modulus and density of the crystal at rest", "strain.STATIC_STRAIN"),
    "glass": _md("structure of the ab initio glasses at 300 K", "glass.GLASS"),
    "nve": _md("drift of the energy without a thermostat", "nve.NVE", _LONG),
    "finite-strain": _md(
        "bulk modulus and density of the crystal at 300 K", "strain.FINITE_STRAIN", _LONG
    ),
    "liquid": _md("structure of the liquid at 1500 K", "melt_quench.LIQUID", _LONG),
    "melt-quench": _md(
        "structure of glasses made from the crystal", "melt_quench.MELT_QUENCH", _LONGEST
    ),
    "strain-fluctuation": _md(
        "elastic constants of the crystal", "fluctuation.STRAIN_FLUCTUATION", _LONGEST
    ),
    "strain-fluctuation-glass": _md(
        "elastic constants of the ab initio glasses",
        "fluctuation.STRAIN_FLUCTUATION_GLASS",
        _LONGEST,
    ),
    "stability": _md("survival of the crystal at 1100 K to 1900 K", "stability.STABILITY", _LONG),
}


def default_tasks(profile: Profile) -> list[str]:
    """What is run where nobody says which tasks to run."""
    return [name for name, task in TASKS.items() if profile in task.default]


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
