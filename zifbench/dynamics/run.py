"""Running a protocol: every replica through its plan, frames into a store, resumable at any step.

A directory of a run holds `run.json` (what was run, and how each replica ended), `frames.zarr`
(a trajectory for each replica and stage, `REPLICA.STAGE`) and `checkpoints/`. Frames are committed
before the checkpoint that follows them; a run that goes on computes those after the checkpoint
again, the same ones, and does not store them twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from zifbench import __version__
from zifbench.dataset.store import StoreWriter
from zifbench.dataset.store.trajectory_writer import TrajectoryWriter
from zifbench.dynamics.checkpoint import read_checkpoint, write_checkpoint
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.plan import Segment, first_temperature_K, plan
from zifbench.dynamics.protocol import Ensemble, Protocol
from zifbench.dynamics.replica import Replica
from zifbench.dynamics.rules import NOT_FINITE, RULES, Sample
from zifbench.errors import DataError, ModelError, ResultError, unknown_name
from zifbench.files import write_text_atomically
from zifbench.frames import Frames, concatenate
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress

RUN_SCHEMA = 1
RUN_FILE, STORE, CHECKPOINTS = "run.json", "frames.zarr", "checkpoints"
_CHECK_EVERY = 100  # steps between two looks at the rules where no frames are kept
_NOT_A_NUMBER = "not a number"
_LEFT = "minimum of "  # prefix of what minimisations left, in the same memory
_MEMORY = "rule "  # prefix of what rules remember, in a checkpoint


@dataclass(frozen=True)
class Case:
    """One replica: a structure at a temperature, with velocities of its own.

    Attributes:
        name: Names its trajectories and its checkpoint.
        start: Name of the structure.
        segments: Its plan.
        seed: Of its velocities; it depends on nothing else that is run.
    """

    name: str
    start: str
    segments: tuple[Segment, ...]
    seed: tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """How a replica ended.

    Attributes:
        replica: Its name.
        ended: "completed", or the rule that it broke.
        reason: In words; empty if it completed and all minimisations found their minimum.
        time_fs: Simulated time.
        last_good_fs: Time of the last sample at which no rule was broken.
        wall_s: Seconds of computing, since it was last taken up.
    """

    replica: str
    ended: str
    reason: str
    time_fs: float
    last_good_fs: float
    wall_s: float


def cases(
    protocol: Protocol, profile: Profile, starts: Sequence[str], *, seed: int, replicas: int | None
) -> list[Case]:
    """All replicas of a protocol, in order.

    Raises:
        DataError: see `plan.plan`.
        UnknownNameError: a rule that there is not.
    """
    for rule in protocol.stop_on:
        if rule not in RULES:
            raise unknown_name("rule", rule, RULES)
    n_replicas = replicas or protocol.replicas.get(profile, 1)
    found = []
    for start in starts:
        for kelvin in protocol.temperatures_K or (None,):
            for k in range(n_replicas):
                name = start if kelvin is None else f"{start}-{kelvin:g}K"
                segments = plan(protocol, profile, case_K=kelvin, replica=k)
                first_temperature_K(segments)
                name = f"{name}-{k}" if k else name
                found.append(Case(name, start, segments, (seed, _number(name))))
    return found


def _number(name: str) -> int:
    """The same for the same replica, whatever is run beside it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def run_protocol(
    protocol: Protocol,
    calculator: Calculator,
    starts: Mapping[str, Atoms],
    out: Path,
    *,
    profile: Profile,
    model: Mapping[str, str],
    seed: int = 0,
    replicas: int | None = None,
    checkpoint_s: float = 60.0,
    progress: Progress = no_progress,
) -> list[Outcome]:
    """Run all replicas of a protocol, or go on where an earlier call was stopped.

    Args:
        protocol: What to run.
        calculator: Any ASE calculator with energy and forces (and stress for NPT).
        starts: Structures by name.
        out: Directory of the run.
        profile: How long.
        model: What identifies the model: name and digest.
        seed: Of the velocities.
        replicas: Runs of each case; by default what the protocol says.
        checkpoint_s: Seconds between checkpoints.
        progress: For a person who waits.

    Raises:
        ResultError: `out` holds something else, or a run with other parameters.
        DataError: a protocol that cannot be run; nothing was written then.
    """
    all_cases = cases(protocol, profile, list(starts), seed=seed, replicas=replicas)
    _check_calculator(protocol, calculator)
    for name, atoms in starts.items():
        _check_start(protocol, name, atoms)
    record = _Record(out, _identity(protocol, profile, starts, model, seed))
    total = sum(segment.n_steps for case in all_cases for segment in case.segments)
    with (
        StoreWriter(out / STORE, attributes={"protocol": protocol.name, **model}) as writer,
        progress(f"md {protocol.name}", total, record.steps_done(all_cases)) as advance,
    ):
        for case in all_cases:
            if case.name in record.outcomes:
                continue
            begun = time.monotonic()
            mover = _Mover(protocol, case, starts[case.start], calculator, writer, out)
            for n in mover.move(checkpoint_s):
                advance(n)
            outcome = mover.outcome(time.monotonic() - begun)
            record.add(outcome)
    return list(record.outcomes.values())


def _check_calculator(protocol: Protocol, calculator: Calculator) -> None:
    if "stress" in calculator.implemented_properties:
        return
    needy = [
        stage.name
        for stage in protocol.stages
        if stage.ensemble is Ensemble.NPT or stage.volume_change_percent is not None
    ]
    if needy:
        raise ModelError(
            f"the model gives no stress, which stage {needy[0]} of {protocol.name} needs "
            "(constant pressure, or P(V)); run a protocol at one volume"
        )


def _check_start(protocol: Protocol, name: str, atoms: Atoms) -> None:
    """Refuse what no stage could move, and what a rule cannot look at."""
    if len(atoms) < 2 or not atoms.pbc.all() or not atoms.cell.volume > 0.0:
        raise DataError(
            f"{name}: {len(atoms)} atoms, periodic {atoms.pbc.tolist()}, volume "
            f"{atoms.cell.volume:g} Å³; wanted a periodic cell of at least two atoms"
        )
    for rule in protocol.stop_on:
        RULES[rule](Sample(Frames.from_ase(atoms, source=name), 0.0, 0.0), {})


def _identity(
    protocol: Protocol,
    profile: Profile,
    starts: Mapping[str, Atoms],
    model: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """What must be the same for a run to go on; replicas may be added."""
    what = protocol.model_dump_json(by_alias=True, exclude={"about", "source", "replicas"})
    return {
        "protocol": json.loads(what),
        "profile": profile.value,
        "model": dict(model),
        "seed": seed,
        "engine": "ase",
        "starts": {name: _digest(atoms) for name, atoms in starts.items()},
    }


def _digest(atoms: Atoms) -> str:
    masses = hashlib.sha256(atoms.get_masses().tobytes()).hexdigest()
    return f"{Frames.from_ase(atoms).digest()[:32]} masses {masses[:16]}"


class _Record:
    """`run.json`: what was run, and the outcomes so far."""

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = out / RUN_FILE, identity
        self.outcomes: dict[str, Outcome] = {}
        if self._path.exists():
            self._read()
        elif out.exists() and any(not _is_ours(path) for path in out.iterdir()):
            raise ResultError(f"{out} holds other files than a run; give another --out")
        else:
            self._write()
        (out / CHECKPOINTS).mkdir(exist_ok=True)

    def _read(self) -> None:
        try:
            old = json.loads(self._path.read_text(encoding="utf-8"))
            if old["schema"] != RUN_SCHEMA:
                raise ResultError(
                    f"{self._path}: schema {old['schema']}, wanted {RUN_SCHEMA}; give another --out"
                )
            outcomes = [Outcome(**row) for row in old["outcomes"]]
            before = dict(old["run"])
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ResultError(f"{self._path} is no record of a run: {error}") from error
        for key, value in self._identity.items():
            if before.get(key) != value:
                raise ResultError(
                    f"{self._path.parent} was run with another {key}"
                    f"{_shown(before.get(key), value)}; give the same, or another --out"
                )
        self.outcomes = {outcome.replica: outcome for outcome in outcomes}

    def add(self, outcome: Outcome) -> None:
        """Note how a replica ended."""
        self.outcomes[outcome.replica] = outcome
        self._write()

    def _write(self) -> None:
        content = {
            "schema": RUN_SCHEMA,
            "zifbench": __version__,
            "ase": ase.__version__,
            "run": self._identity,
            "outcomes": [dataclasses.asdict(outcome) for outcome in self.outcomes.values()],
        }
        write_text_atomically(self._path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def steps_done(self, all_cases: Sequence[Case]) -> int:
        """Steps of replicas that have ended."""
        ended = [case for case in all_cases if case.name in self.outcomes]
        return sum(segment.n_steps for case in ended for segment in case.segments)


def _is_ours(path: Path) -> bool:
    """What a run leaves that was stopped before its record was written."""
    return path.name == CHECKPOINTS or (
        path.name.startswith(f".{RUN_FILE}.") and path.name.endswith(".tmp")
    )


def _shown(before: Any, now: Any) -> str:
    if isinstance(before, str | int) and isinstance(now, str | int):
        return f" ({before}, now {now})"
    return ""


class _Mover:
    """Moves one replica, keeps its frames, looks at the rules, saves."""

    def __init__(
        self,
        protocol: Protocol,
        case: Case,
        start: Atoms,
        calculator: Calculator,
        writer: StoreWriter,
        out: Path,
    ) -> None:
        self._protocol, self._case, self._writer, self._start = protocol, case, writer, start
        self._path = out / CHECKPOINTS / f"{case.name}.npz"
        atoms = start.copy()
        atoms.calc = calculator
        damping = Damping(protocol.thermostat_fs, protocol.barostat_fs)
        self._replica = Replica(atoms, case.segments, damping, case.seed)
        self._memory: dict[str, float] = {}
        self._kept: list[Frames] = []
        self._first_kept = 0  # number of the first of them in its stage
        self._trajectories: dict[str, TrajectoryWriter] = {}
        self._target_K = first_temperature_K(case.segments)
        self._broken: tuple[str, str] | None = None
        self._last_good_fs = 0.0
        self._steps_before = self._resume()

    def _resume(self) -> int:
        state = read_checkpoint(self._path)
        if state is None:
            return 0
        self._memory = {
            key.removeprefix(_MEMORY): float(state.pop(key))
            for key in list(state)
            if key.startswith(_MEMORY)
        }
        self._last_good_fs = float(state.pop("last_good_fs"))
        self._target_K = float(state.pop("target_K"))
        self._replica.restore(state)
        return self._replica.total_step

    def move(self, checkpoint_s: float) -> Iterator[int]:
        """Run to the end or to a broken rule; yields steps done."""
        yield self._steps_before
        replica, saved = self._replica, time.monotonic()
        while not replica.done and self._broken is None:
            before = replica.total_step
            self._advance()
            yield replica.total_step - before
            if time.monotonic() - saved >= checkpoint_s:
                self._save()
                saved = time.monotonic()
        self._save()

    def _advance(self) -> None:
        """One step, and what is due after it."""
        replica, segment = self._replica, self._replica.segment
        try:
            replica.advance()
        except ModelError as error:
            self._check_model()
            self._broken = ("model", str(error))
            return
        except np.linalg.LinAlgError:  # ASE's barostat, of a stress that is not finite
            self._broken = (_NOT_A_NUMBER, NOT_FINITE)
            return
        if not replica.is_finite:
            self._broken = (_NOT_A_NUMBER, NOT_FINITE)
            return
        if segment.temperature_K is not None:
            self._target_K = segment.target_K(replica.step)
        if segment.ensemble is Ensemble.MINIMISE:
            due, number = replica.at_end_of_segment, 0
            if due and replica.excess_force_eV_per_A > 0.0:
                self._memory[_LEFT + segment.name] = replica.excess_force_eV_per_A
        else:
            every = segment.sample_every or _CHECK_EVERY
            due, number = replica.step % every == 0, replica.step // every - 1
        if due:
            self._look(segment, number)
        if self._broken is None and replica.at_end_of_segment:
            self._store()
            replica.next_segment()

    def _check_model(self) -> None:
        """Whether the model still works where it once did; else the machine failed, not the model.

        Raises:
            ModelError: it does not; nothing is recorded, and the run can go on elsewhere.
        """
        probe = self._start.copy()
        probe.calc = self._replica.atoms.calc
        probe.get_potential_energy()

    def _look(self, segment: Segment, number: int) -> None:
        """Hold the rules against a sample, and keep it as that frame of its stage."""
        frame = self._replica.frame()
        sample = Sample(frame, self._replica.temperature_K, self._target_K)
        for name in self._protocol.stop_on:
            reason = RULES[name](sample, self._memory)
            if reason is not None:
                self._broken = (name, reason)
                return
        self._last_good_fs = self._replica.time_fs
        if segment.n_samples:
            if not self._kept:
                self._first_kept = number
            self._kept.append(frame)

    def _save(self) -> None:
        """Frames first, then the place to go on from."""
        self._store()
        self._writer.commit()
        if self._broken is not None:
            return  # there is nowhere to go on to; its outcome is recorded
        state = self._replica.state()
        state |= {_MEMORY + key: np.array(value) for key, value in self._memory.items()}
        state["last_good_fs"] = np.array(self._last_good_fs)
        state["target_K"] = np.array(self._target_K)
        write_checkpoint(self._path, state)

    def _store(self) -> None:
        """Append what was kept of this stage, and is not there already."""
        if not self._kept:
            return
        frames = concatenate(self._kept)
        self._kept = []
        trajectory = self._trajectory(self._replica.segment, frames)
        if trajectory.n_frames < self._first_kept:
            raise ResultError(
                f"{self._path}: the store holds {trajectory.n_frames} frames of {trajectory.name}, "
                f"the checkpoint comes after {self._first_kept}; delete the checkpoint to run that "
                "replica anew"
            )
        new = frames[trajectory.n_frames - self._first_kept :]
        if len(new):
            trajectory.append(new)

    def _trajectory(self, segment: Segment, like: Frames) -> TrajectoryWriter:
        name = f"{self._case.name}.{segment.name}"
        if name not in self._trajectories:
            attributes = self._attributes(segment)
            self._trajectories[name] = self._writer.trajectory(name, like, attributes=attributes)
        return self._trajectories[name]

    def _attributes(self, segment: Segment) -> dict[str, Any]:
        known: dict[str, Any] = {
            "ensemble": segment.ensemble.value,
            "stage": segment.name,
            "replica": self._case.name,
            "time_step_fs": segment.time_step_fs,
        }
        if segment.temperature_K is not None and len(set(segment.temperature_K)) == 1:
            known["temperature_K"] = segment.temperature_K[0]
        return known

    def outcome(self, wall_s: float) -> Outcome:
        """How it ended."""
        left = [
            f"{key.removeprefix(_LEFT)}: {value:.2g} eV/Å more than wanted are left"
            for key, value in self._memory.items()
            if key.startswith(_LEFT)
        ]
        ended, reason = self._broken or ("completed", "; ".join(left))
        return Outcome(
            self._case.name, ended, reason, self._replica.time_fs, self._last_good_fs, wall_s
        )
