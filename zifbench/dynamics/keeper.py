"""What is kept of one replica: its frames, what the rules remember, and how it ended."""

from __future__ import annotations

from typing import Any

import numpy as np

from zifbench.dataset.store import StoreWriter
from zifbench.dataset.store.trajectory_writer import TrajectoryWriter
from zifbench.dynamics.cases import Case
from zifbench.dynamics.engines.interface import Failure, Moving
from zifbench.dynamics.plan import Segment, first_temperature_K
from zifbench.dynamics.protocol import Ensemble, Protocol
from zifbench.dynamics.record import Outcome, stage_attributes
from zifbench.dynamics.rules import RULES, SUSPICION, Sample, followed_K
from zifbench.errors import ResultError
from zifbench.frames import Frames, concatenate

_CHECK_EVERY = 100  # steps between two looks at the rules where no frames are kept
_LEFT = "minimum of "  # prefix of what minimisations left, in the same memory
_MEMORY = "rule "  # prefix of what rules remember, in a checkpoint


class Keeper:
    """Looks at a replica after each step, and keeps what is due.

    Args:
        protocol: What is run.
        case: Which replica.
        replica: It, moved by an engine.
        writer: Where its frames go.
    """

    def __init__(
        self, protocol: Protocol, case: Case, replica: Moving, writer: StoreWriter
    ) -> None:
        self._protocol, self._replica, self._writer = protocol, replica, writer
        self.case = case
        self._memory: dict[str, float] = {}
        self._kept: list[Frames] = []
        self._first_kept = 0  # number of the first of them in its stage
        self._trajectories: dict[str, TrajectoryWriter] = {}
        self._target_K = first_temperature_K(case.segments)
        self._last_good_fs = 0.0
        self.broken: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether it is done or broken."""
        return self.broken is not None or self._replica.done

    def after_step(self, failure: Failure | None) -> None:
        """What is due after a step of the engine."""
        if failure is not None:
            self.broken = failure
            return
        replica, segment = self._replica, self._replica.segment
        if segment.temperature_K is not None:
            target = segment.target_K(replica.step)
            self._target_K = followed_K(self._target_K, target, segment.time_step_fs)
        at_end = replica.at_end_of_segment
        if segment.ensemble is Ensemble.MINIMISE:
            due, number = at_end, 0
            if due and replica.excess_force_eV_per_A > 0.0:
                self._memory[_LEFT + segment.name] = replica.excess_force_eV_per_A
        else:
            every = segment.sample_every or _CHECK_EVERY
            due, number = replica.step % every == 0, replica.step // every - 1
        if due:
            self._look(segment, number)
        if self.broken is None and at_end:
            self.store()
            replica.next_segment()

    def _look(self, segment: Segment, number: int) -> None:
        """Hold the rules against a sample, and keep it as that frame of its stage."""
        frame = self._replica.frame()
        at_rest = segment.ensemble is Ensemble.MINIMISE  # velocities are drawn, but not in use
        kelvin = 0.0 if at_rest else self._replica.temperature_K
        sample = Sample(frame, kelvin, self._target_K)
        for name in self._protocol.stop_on:
            reason = RULES[name](sample, self._memory)
            if reason is not None:
                self.broken = (name, reason)
                return
        if not self._memory.get(SUSPICION):  # else the first bad sample may lie behind
            self._last_good_fs = self._replica.time_fs
        if segment.n_samples:
            if not self._kept:
                self._first_kept = number
            self._kept.append(frame)

    def state(self) -> dict[str, Any]:
        """What this keeper and its replica go on from, as arrays."""
        state = self._replica.state()
        state |= {_MEMORY + key: np.array(value) for key, value in self._memory.items()}
        state["last_good_fs"] = np.array(self._last_good_fs)
        state["target_K"] = np.array(self._target_K)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken."""
        self._memory = {
            key.removeprefix(_MEMORY): float(state.pop(key))
            for key in list(state)
            if key.startswith(_MEMORY)
        }
        self._last_good_fs = float(state.pop("last_good_fs"))
        self._target_K = float(state.pop("target_K"))
        self._replica.restore(state)

    def store(self) -> None:
        """Append what was kept of this stage, and is not there already."""
        if not self._kept:
            return
        frames = concatenate(self._kept)
        self._kept = []
        trajectory = self._trajectory(self._replica.segment, frames)
        if trajectory.n_frames < self._first_kept:
            raise ResultError(
                f"the store holds {trajectory.n_frames} frames of {trajectory.name}, the "
                f"checkpoint of {self.case.name} comes after {self._first_kept}; delete the "
                "checkpoint to run that replica anew"
            )
        new = frames[trajectory.n_frames - self._first_kept :]
        if len(new):
            trajectory.append(new)

    def _trajectory(self, segment: Segment, like: Frames) -> TrajectoryWriter:
        name = f"{self.case.name}.{segment.name}"
        if name not in self._trajectories:
            attributes = stage_attributes(segment, self.case.name)
            self._trajectories[name] = self._writer.trajectory(name, like, attributes=attributes)
        return self._trajectories[name]

    def outcome(self, wall_s: float) -> Outcome:
        """How it ended."""
        left = [
            f"{key.removeprefix(_LEFT)}: {value:.2g} eV/Å more than wanted are left"
            for key, value in self._memory.items()
            if key.startswith(_LEFT)
        ]
        ended, reason = self.broken or ("completed", "; ".join(left))
        return Outcome(
            self.case.name, ended, reason, self._replica.time_fs, self._last_good_fs, wall_s
        )
