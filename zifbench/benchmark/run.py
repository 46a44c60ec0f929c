"""What a task is, and what it may use while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zifbench.benchmark.result import TaskResult
from zifbench.profiles import Profile
from zifbench.progress import Progress

if TYPE_CHECKING:
    from zifbench.frames import Frames
    from zifbench.potentials.card import Check
    from zifbench.potentials.core import Potential


@dataclass(frozen=True)
class Run:
    """What a task may use.

    Attributes:
        potential: The candidate.
        data: Labelled frames.
        directory: Where the run keeps its files.
        profile: How long to run.
        batch_atoms: Atoms that go into one call where there is a choice.
        group_key: Label that names the phase or trajectory of a frame.
        seed: Of everything random.
        progress: For a person who waits.
        by_name: Whether the tasks were asked for by name: one that cannot run is an error then, and
            a gap in the result else.
        parity: What the engine of simulations gets from the model, beside the model itself.
    """

    potential: Potential
    data: Sequence[Frames]
    directory: Path
    profile: Profile
    batch_atoms: int
    group_key: str
    seed: int
    progress: Progress
    by_name: bool = True
    parity: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        about: What it is, for people.
        lengths: How long it is in a profile, for people.
        run: Runs it.
        needs_labels: Whether it compares with labels of the frames.
        default: Profiles in which it is run where nobody says which tasks to run.
        check: Raises where it cannot be run, before anything is computed or written.
        simulated: Whether it moves atoms, so that parity is looked at first.
    """

    about: str
    lengths: Callable[[Profile], str]
    run: Callable[[Run], TaskResult]
    needs_labels: bool = False
    default: frozenset[Profile] = frozenset(Profile)
    check: Callable[[Potential, Profile], None] | None = None
    simulated: bool = False


_DOUBLED = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))
# Supercells of the scaling task, and steps that are timed of each.
SCALING_CELLS: Mapping[Profile, tuple[tuple[tuple[int, int, int], ...], int]] = {
    Profile.QUICK: (_DOUBLED, 6),
    Profile.STANDARD: ((*_DOUBLED, (3, 3, 3)), 20),
    Profile.PAPER: ((*_DOUBLED, (3, 3, 3), (4, 4, 4), (5, 5, 5)), 50),
}

# Calls that are timed, and calls before them for warm-up.
SPEED_CALLS: Mapping[Profile, tuple[int, int]] = {
    Profile.QUICK: (10, 3),
    Profile.STANDARD: (100, 6),
    Profile.PAPER: (300, 6),
}
