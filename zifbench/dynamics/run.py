"""Running a protocol: every replica through its plan, frames into a store, resumable at any step.

A directory of a run holds `run.json` (what was run, and how each replica ended), `frames.zarr`
(a trajectory for each replica and stage, `REPLICA.STAGE`) and `checkpoints/`, one for each batch
that is not at its end. Frames are committed before the checkpoint that follows them; a run that
goes on computes those after the checkpoint again, the same ones, and does not store them twice.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import Calculator

from zifbench.dataset.store import StoreWriter
from zifbench.dynamics.cases import Case, cases
from zifbench.dynamics.checkpoint import Checkpoint, read_checkpoint
from zifbench.dynamics.engines import make_engine
from zifbench.dynamics.engines.interface import Engine, Moving
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.keeper import Keeper
from zifbench.dynamics.protocol import Protocol
from zifbench.dynamics.record import CHECKPOINTS, RUN_FILE, STORE, Outcome, Record, identity
from zifbench.dynamics.rules import RULES, Sample
from zifbench.dynamics.speedometer import Speedometer
from zifbench.errors import DataError, ResultError
from zifbench.frames import Frames
from zifbench.potentials.card import Check
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress

__all__ = ["CHECKPOINTS", "RUN_FILE", "STORE", "Case", "Outcome", "cases", "run_protocol"]


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
    engine: str | Engine = "ase",
    batch_atoms: int | None = None,
    parity: Sequence[Check] | None = None,
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
        engine: What moves the atoms, see `engines.ENGINES`; an engine already made leaves
            `calculator` aside.
        batch_atoms: Most atoms that an engine moves at once; by default it chooses.
        parity: What `parity.parity_checks` found, for the record.

    Raises:
        ResultError: `out` holds something else, or a run with other parameters.
        DataError: a protocol that cannot be run; nothing was written then.
        ModelError: an engine or a model that cannot run it.
    """
    all_cases = cases(protocol, profile, list(starts), seed=seed, replicas=replicas)
    if isinstance(engine, str):
        engine = make_engine(engine, calculator, batch_atoms=batch_atoms)
    engine.check(protocol)
    for name, atoms in starts.items():
        check_start(protocol, name, atoms)
    what = identity(protocol, profile, starts, model, seed=seed, engine=engine.name)
    record = Record(out, what, parity)
    saved = _unfinished(out, record)
    done = record.steps_done(all_cases) + sum(old.steps_done for old in saved.values())
    total = sum(case.n_steps for case in all_cases)
    with (
        StoreWriter(out / STORE, attributes={"protocol": protocol.name, **model}) as writer,
        progress(f"md {protocol.name}", total, done) as advance,
    ):
        speed = Speedometer(advance)
        for batch in _batches(all_cases, engine, starts, record, saved):
            run = _BatchRun(protocol, engine, batch, starts, writer, out, record)
            run.resume(saved.get(batch[0].name))
            run.move(checkpoint_s, speed)
        speed.finish()
    order = {case.name: number for number, case in enumerate(all_cases)}
    return sorted(record.outcomes.values(), key=lambda o: order.get(o.replica, len(order)))


def check_start(protocol: Protocol, name: str, atoms: Atoms) -> None:
    """Refuse what no stage could move, and what a rule cannot look at.

    Args:
        protocol: What is to be run.
        name: Of the structure, for the message.
        atoms: The structure.

    Raises:
        DataError: it cannot be run.
    """
    if len(atoms) < 2 or not atoms.pbc.all() or not atoms.cell.volume > 0.0:
        raise DataError(
            f"{name}: {len(atoms)} atoms, periodic {atoms.pbc.tolist()}, volume "
            f"{atoms.cell.volume:g} Å³; wanted a periodic cell of at least two atoms"
        )
    for rule in protocol.stop_on:
        reason = RULES[rule](Sample(Frames.from_ase(atoms, source=name), 0.0, 0.0), {})
        if reason is not None:
            raise DataError(f"{name}, before any step: {reason}; mend the structure")


def _unfinished(out: Path, record: Record) -> dict[str, Checkpoint]:
    """Checkpoints by the name of their first replica, outcomes that they know put on record.

    Raises:
        ResultError: a checkpoint of another run.
    """
    found = {}
    for path in sorted((out / CHECKPOINTS).glob("*.npz")):
        checkpoint = read_checkpoint(path)
        if checkpoint.run != record.digest:
            raise ResultError(
                f"{path} belongs to a run with other parameters; delete it to run its replicas "
                "from their start"
            )
        for name, row in checkpoint.outcomes.items():
            if name not in record.outcomes:
                record.add(Outcome(**row))
        if checkpoint.states:
            found[checkpoint.members[0]] = checkpoint
        else:
            path.unlink()
    return found


def _batches(
    all_cases: Sequence[Case],
    engine: Engine,
    starts: Mapping[str, Atoms],
    record: Record,
    saved: Mapping[str, Checkpoint],
) -> list[list[Case]]:
    """What is left to run: batches as they were saved, and new ones.

    Raises:
        ResultError: only some of the replicas of a saved batch are wanted.
    """
    by_name = {case.name: case for case in all_cases}
    old = []
    for members in (checkpoint.members for checkpoint in saved.values()):
        known = [by_name[name] for name in members if name in by_name]
        if known and len(known) < len(members):
            missing = ", ".join(name for name in members if name not in by_name)
            raise ResultError(
                f"the unfinished batch of {members[0]} holds {missing} too; give as many "
                "replicas as before, or more"
            )
        old += [known] if known else []
    taken = {case.name for batch in old for case in batch}
    left = [c for c in all_cases if c.name not in taken and c.name not in record.outcomes]
    found = old + engine.batches(left, starts)
    order = {case.name: number for number, case in enumerate(all_cases)}
    return sorted(found, key=lambda batch: order[batch[0].name])


class _BatchRun:
    """Moves one batch to its end: looks, keeps, saves."""

    def __init__(
        self,
        protocol: Protocol,
        engine: Engine,
        batch: Sequence[Case],
        starts: Mapping[str, Atoms],
        writer: StoreWriter,
        out: Path,
        record: Record,
    ) -> None:
        self._writer, self._record = writer, record
        self._path = out / CHECKPOINTS / f"{batch[0].name}.npz"
        damping = Damping(protocol.thermostat_fs, protocol.barostat_fs)
        self._batch = engine.begin(batch, starts, damping)
        self._keepers = [
            Keeper(protocol, case, replica, writer)
            for case, replica in zip(batch, self._batch.replicas, strict=True)
        ]
        self._moving = list(range(len(batch)))
        self._outcomes: dict[str, Outcome] = {}

    def resume(self, checkpoint: Checkpoint | None) -> None:
        """Go to where a checkpoint was taken."""
        if checkpoint is None:
            return
        self._outcomes = {name: Outcome(**row) for name, row in checkpoint.outcomes.items()}
        self._moving = []
        for number, keeper in enumerate(self._keepers):
            if keeper.case.name in checkpoint.states:
                keeper.restore(checkpoint.states[keeper.case.name])
                self._moving.append(number)
        self._batch.restore(checkpoint.batch)

    def move(self, checkpoint_s: float, speed: Speedometer) -> None:
        """Run to the end of every replica."""
        begun = saved = time.monotonic()
        while self._moving:
            replicas = [self._batch.replicas[number] for number in self._moving]
            before = sum(replica.total_step for replica in replicas)
            time_before = sum(replica.time_fs for replica in replicas)
            failures = self._batch.advance(self._moving)
            speed.remark = self._batch.remark
            self._record.remark(self._keepers[0].case.name, self._batch.remark)
            for number in self._moving:
                self._keepers[number].after_step(failures.get(number))
            now = time.monotonic()
            ended = [number for number in self._moving if self._keepers[number].ended]
            speed.count(
                sum(replica.total_step for replica in replicas) - before,
                sum(replica.time_fs for replica in replicas) - time_before,
                self._well(),
            )
            for number in ended:
                self._end(number, now - begun)
            if ended or now - saved >= checkpoint_s:
                self._save()
                saved = now
            for number in ended:
                self._record.add(self._outcomes[self._keepers[number].case.name])
        self._path.unlink(missing_ok=True)

    def _well(self) -> list[Moving]:
        """Replicas that go on; one that broke may have no energy to show."""
        moving = [n for n in self._moving if not self._keepers[n].ended]
        return [self._batch.replicas[number] for number in moving]

    def _end(self, number: int, wall_s: float) -> None:
        keeper = self._keepers[number]
        keeper.store()
        self._outcomes[keeper.case.name] = keeper.outcome(wall_s)
        self._moving.remove(number)

    def _save(self) -> None:
        """Frames first, then the place to go on from."""
        moving = [self._keepers[number] for number in self._moving]
        for keeper in moving:
            keeper.store()
        self._writer.commit()
        Checkpoint(
            tuple(keeper.case.name for keeper in self._keepers),
            self._record.digest,
            {keeper.case.name: keeper.state() for keeper in moving},
            {name: dataclasses.asdict(outcome) for name, outcome in self._outcomes.items()},
            self._batch.state(),
            sum(self._batch.replicas[number].total_step for number in self._moving),
        ).write(self._path)
