"""Reading a deck back: dumps and tables into the store and record that a run with ASE leaves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zifbench import __version__
from zifbench.dataset.store import StoreWriter
from zifbench.dataset.store.trajectory_writer import TrajectoryWriter
from zifbench.dynamics.lammps.dump import LostAtomsError
from zifbench.dynamics.lammps.log import read_log
from zifbench.dynamics.lammps.output import StageOutput, kinetic_eV
from zifbench.dynamics.lammps.record import DeckRecord, ReplicaRecord, read_deck
from zifbench.dynamics.lammps.script import StageFiles, stage_files
from zifbench.dynamics.plan import Segment, first_temperature_K
from zifbench.dynamics.protocol import Ensemble
from zifbench.dynamics.record import RUN_FILE, RUN_SCHEMA, STORE, Outcome, stage_attributes
from zifbench.dynamics.rules import RULES, Sample, followed_K
from zifbench.errors import DataError
from zifbench.files import write_text_atomically, written_whole
from zifbench.frames import Frames, concatenate
from zifbench.units import BOLTZMANN_EV_PER_K

_NOT_A_NUMBER, _LOST_ATOM = "not a number", "lost atom"
_CHUNK_ATOMS = 500_000  # atoms of the frames that are held in memory


@dataclass
class ReadBack:
    """What was found.

    Attributes:
        outcomes: Of the replicas that have ended.
        notes: What is missing or was left out, a sentence each.
        n_frames: Frames of each trajectory.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_frames: dict[str, int] = field(default_factory=dict)


def read_back(folder: Path) -> ReadBack:
    """Read what a deck has given so far; the store and `run.json` are replaced whole.

    Args:
        folder: Of the deck.

    Raises:
        ResultError: no deck.
        DataError: nothing was run yet, or dumps that are damaged or of something else; an earlier
            store stays as it was then.
    """
    deck = read_deck(folder)
    if not any(list((folder / replica.name).glob("*.log")) for replica in deck.replicas):
        raise DataError(f"{folder} holds no dumps and no logs; run it first: bash run.sh")
    found = ReadBack()
    attributes = {"protocol": deck.run["protocol"]["name"], **deck.run["model"]}
    with written_whole(folder / STORE) as new, StoreWriter(new, attributes=attributes) as writer:
        for replica in deck.replicas:
            _Reader(folder, deck, replica, writer, found).read()
    content = {
        "schema": RUN_SCHEMA,
        "zifbench": __version__,
        "run": deck.run,
        "outcomes": [dataclasses.asdict(outcome) for outcome in found.outcomes],
    }
    write_text_atomically(
        folder / RUN_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    )
    return found


class _Reader:
    """Reads one replica, holds the rules against its frames."""

    def __init__(
        self,
        folder: Path,
        deck: DeckRecord,
        replica: ReplicaRecord,
        writer: StoreWriter,
        found: ReadBack,
    ) -> None:
        self._folder, self._deck, self._replica = folder / replica.name, deck, replica
        self._writer, self._found = writer, found
        self._start = deck.starts[replica.start]
        self._memory: dict[str, float] = {}
        self._target_K = first_temperature_K(replica.segments)
        self._followed_fs = 0.0
        self._last_good_fs = 0.0
        self._wall_s = 0.0
        self._whole = True  # no frames of a finished stage are missing

    def read(self) -> None:
        """All stages, up to the one that is not there or broke a rule."""
        step, time_fs = 0, 0.0
        for number, segment in enumerate(self._replica.segments):
            files = stage_files(number, segment)
            if not (self._folder / files.log).is_file():
                self._note(f"stage {segment.name} has not begun")
                return
            log = read_log(self._folder / files.log)
            self._wall_s += log.wall_s
            if log.not_minimised and log.left_eV_per_A > segment.force_eV_per_A:
                self._note(
                    f"stage {segment.name} ended by {log.not_minimised} and left a force of "
                    f"{log.left_eV_per_A:.3g} eV/Å, wanted {segment.force_eV_per_A:g}"
                )
            broken = self._stage(files, segment, step, time_fs)
            if broken is not None:
                self._end(*broken)
                return
            if not (self._folder / files.end).is_file():
                self._unfinished(segment, log.error, log.rule, time_fs)
                return
            step += segment.n_steps
            time_fs += segment.n_steps * segment.time_step_fs
        if self._whole:
            self._end("completed", "", time_fs)

    def _unfinished(self, segment: Segment, error: str, rule: str, time_fs: float) -> None:
        if rule:
            self._end(rule, f"LAMMPS: {error}", max(time_fs, self._last_good_fs))
        elif error:
            self._note(f"stage {segment.name} stopped, LAMMPS says: {error}")
        else:
            self._note(f"stage {segment.name} is not finished; bash run.sh goes on with it")

    def _end(self, ended: str, reason: str, time_fs: float) -> None:
        self._found.outcomes.append(
            Outcome(self._replica.name, ended, reason, time_fs, self._last_good_fs, self._wall_s)
        )

    def _note(self, text: str) -> None:
        self._found.notes.append(f"{self._replica.name}: {text}")

    # -- frames -----------------------------------------------------------------------------------

    def _stage(
        self, files: StageFiles, segment: Segment, step: int, time_fs: float
    ) -> tuple[str, str, float] | None:
        """Append the frames of a stage; returns how the replica ended if a rule was broken."""
        if not segment.n_samples:
            self._follow(segment, segment.n_steps, time_fs + segment.n_steps * segment.time_step_fs)
            return None
        title = self._deck.title(self._replica.name, segment.name)
        output = StageOutput(self._folder, files, title, segment, self._start)
        trajectory = _Trajectory(self._writer, f"{self._replica.name}.{segment.name}")
        broken = None
        try:
            for frame in output.frames(step, time_fs):
                broken = self._broken(frame, segment, frame_step(frame) - step)
                if broken is not None:
                    break
                trajectory.append(frame, stage_attributes(segment, self._replica.name))
        except LostAtomsError as error:
            broken = _LOST_ATOM, str(error), time_fs + error.step * segment.time_step_fs
        if n_frames := trajectory.finish():
            self._found.n_frames[trajectory.name] = n_frames
        if output.cut:
            self._note(f"left out the end of stage {segment.name}: {output.cut}")
        if broken is None and (self._folder / files.end).is_file() and n_frames < segment.n_samples:
            self._note(f"stage {segment.name}: {n_frames} of {segment.n_samples} frames are there")
            self._whole = False
        return broken

    def _broken(self, frame: Frames, segment: Segment, step: int) -> tuple[str, str, float] | None:
        """The rule that a frame breaks, with the reason and its time."""
        time_fs = float(np.asarray(frame.time_fs)[0])
        self._follow(segment, step, time_fs)
        n_free = 3 * (frame.n_atoms - 1)
        kelvin = 2.0 * kinetic_eV(frame) / (n_free * BOLTZMANN_EV_PER_K)
        if segment.ensemble is Ensemble.MINIMISE:  # velocities are drawn, but not in use
            kelvin = 0.0
        sample = Sample(frame, kelvin, self._target_K)
        for name in dict.fromkeys((_NOT_A_NUMBER, *self._deck.stop_on)):
            reason = RULES[name](sample, self._memory)
            if reason is not None:
                return name, reason, time_fs
        self._last_good_fs = time_fs
        return None

    def _follow(self, segment: Segment, step: int, time_fs: float) -> None:
        """What the thermostat can have come to after so many steps of a stage."""
        if segment.temperature_K is not None:
            elapsed_fs = time_fs - self._followed_fs
            self._target_K = followed_K(self._target_K, segment.target_K(step), elapsed_fs)
        self._followed_fs = time_fs


class _Trajectory:
    """Frames on their way into the store, a few at a time."""

    def __init__(self, writer: StoreWriter, name: str) -> None:
        self._writer, self.name = writer, name
        self._kept: list[Frames] = []
        self._out: TrajectoryWriter | None = None

    def append(self, frame: Frames, attributes: Mapping[str, Any]) -> None:
        """Add a frame; the first one makes the trajectory."""
        if self._out is None:
            self._out = self._writer.trajectory(self.name, frame, attributes=attributes)
        self._kept.append(frame)
        if len(self._kept) * frame.n_atoms >= _CHUNK_ATOMS:
            self._flush()

    def finish(self) -> int:
        """Store what is left; returns the number of frames."""
        if self._out is None:
            return 0
        self._flush()
        self._out.commit()
        return self._out.n_frames

    def _flush(self) -> None:
        if self._out is not None and self._kept:
            self._out.append(concatenate(self._kept))
            self._kept = []


def frame_step(frame: Frames) -> int:
    """Step of a single frame that has one."""
    return int(np.asarray(frame.step)[0])
