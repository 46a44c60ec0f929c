"""Running a protocol for a task: once, kept with the result, resumable by its own checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import scipy.stats

from zifbench.benchmark.md.starts import STAND_IN, Starts, task_starts
from zifbench.benchmark.result import Measurement
from zifbench.benchmark.run import Run
from zifbench.dataset.assets.registry import load_registry
from zifbench.dataset.store import Store, open_store
from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.dynamics.engines import make_engine
from zifbench.dynamics.protocol import Ensemble, Protocol, Stage, load_protocol
from zifbench.dynamics.run import STORE, Case, Outcome, cases, run_protocol
from zifbench.errors import ModelError
from zifbench.frames import Frames
from zifbench.potentials.core import Potential, check_applicable, compute
from zifbench.profiles import Profile
from zifbench.reports.sources import StoredTrajectory

MD_FOLDER = "md"  # in the directory of a result
COMPLETED = "completed"


@dataclass
class Score:
    """What a task says.

    Attributes:
        measurements: Its numbers.
        gaps: What could not be had.
        pictures: Title -> figure as a data URL.
    """

    measurements: list[Measurement] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MdTask:
    """What a task simulates, and how it is scored.

    Attributes:
        name: Of the task.
        protocol: Name of the protocol.
        score: From what was simulated to numbers.
        starts: Profile -> structures to begin with, where they are not the protocol's.
    """

    name: str
    protocol: str
    score: Callable[[Simulation, Run], Score]
    starts: Mapping[Profile, tuple[str, ...]] = field(default_factory=dict)

    def start_names(self, profile: Profile) -> tuple[str, ...]:
        """Assets or groups of them."""
        return self.starts.get(profile) or (load_protocol(self.protocol).start,)

    def length(self, profile: Profile) -> str:
        """How long it is, for people."""
        protocol = load_protocol(self.protocol)
        n_starts = len(load_registry().resolve(self.start_names(profile)))
        n = n_starts * protocol.replicas.get(profile, 1) * max(1, len(protocol.temperatures_K))
        length = protocol.length_ps(profile)
        if not length:
            return f"{len(protocol.stages)} minimisations"
        more = max(stage.length_ps_per_replica.get(profile, 0.0) for stage in protocol.stages)
        text = f"{length:g} ps" if not more else f"{length:g} ps and more"
        return text if n == 1 else f"{n} × {text}"

    def check(self, potential: Potential, profile: Profile) -> None:
        """Refuse what cannot be run, before anything is computed.

        Raises:
            DownloadError: structures that cannot be had.
            ModelError: a model that does not know their elements.
        """
        protocol = load_protocol(self.protocol)
        frames = _check_model(potential, task_starts(self.start_names(profile), protocol.supercell))
        _check_stress(protocol, potential, frames[0])


def _check_model(potential: Potential, starts: Starts) -> list[Frames]:
    frames = [Frames.from_ase(atoms, source=name) for name, atoms in starts.atoms.items()]
    for frame in frames:
        check_applicable(potential.card, frame)
    return frames


@dataclass(frozen=True)
class Replica:
    """One replica as it ended.

    Attributes:
        case: Its plan.
        outcome: How it ended.
    """

    case: Case
    outcome: Outcome

    @property
    def completed(self) -> bool:
        """Whether it came to its end."""
        return self.outcome.ended == COMPLETED


@dataclass(frozen=True)
class Simulation:
    """A protocol that was run.

    Attributes:
        protocol: What was run.
        replicas: In order.
        starts: The structures that they began from.
        store: Their frames.
    """

    protocol: Protocol
    replicas: tuple[Replica, ...]
    starts: Starts
    store: Store

    @property
    def completed(self) -> list[Replica]:
        """Those that came to their end; only these are measured."""
        return [replica for replica in self.replicas if replica.completed]

    def source(self, replica: Replica, stage: str) -> StoredTrajectory:
        """Frames of a stage of a replica."""
        return StoredTrajectory(self.store.trajectories[f"{replica.case.name}.{stage}"])

    def temperature_K(self, stage: str) -> float | None:
        """What a stage's thermostat is set to; None without one, or with a ramp."""
        (found,) = [one.temperature_K for one in self.protocol.stages if one.name == stage]
        return found if isinstance(found, float | int) else None

    def settings(self) -> dict[str, str | int | float]:
        """For the record."""
        return {
            "protocol": self.protocol.name,
            "replicas": len(self.replicas),
            "ps_each": round(max(r.outcome.time_fs for r in self.replicas) / 1000.0, 3),
        }

    def gaps(self) -> list[str]:
        """What did not go as planned."""
        found = []
        if not self.starts.published:
            found.append(STAND_IN)
        for replica in self.replicas:
            outcome = replica.outcome
            if not replica.completed:
                found.append(
                    f"{outcome.replica} ended after {outcome.time_fs / 1000.0:g} ps "
                    f"({outcome.ended}: {outcome.reason}); its frames are not measured"
                )
            elif outcome.reason:
                found.append(f"{outcome.replica}: {outcome.reason}")
        n, k = len(self.replicas), len(self.completed)
        if 0 < k < n:
            found.append(f"structure is that of the {k} of {n} runs that came to their end")
        return found

    def completion(self, system: str) -> Measurement:
        """Share of all replicas that came to their end."""
        return share_completed(self.replicas, {"system": system, "protocol": self.protocol.name})


def share_completed(replicas: Sequence[Replica], subset: Mapping[str, str]) -> Measurement:
    """Share of replicas that came to their end, with Clopper and Pearson's interval."""
    n, k = len(replicas), sum(replica.completed for replica in replicas)
    ends = scipy.stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    lost = [replica.outcome for replica in replicas if not replica.completed]
    note = "; ".join(f"{o.replica}: {o.ended} at {o.time_fs / 1000.0:g} ps" for o in lost)
    return Measurement(
        quantity="completed_share",
        value=k / n,
        unit="",
        subset=dict(subset),
        interval_95=(float(ends.low), float(ends.high)),
        n=n,
        n_of="runs",
        note=note or None,
    )


@dataclass(frozen=True)
class Prepared:
    """What can be run.

    Attributes:
        protocol: What to run.
        starts: Structures to begin with.
        calculator: The candidate.
    """

    protocol: Protocol
    starts: Starts
    calculator: PotentialCalculator


def prepare(task: MdTask, run: Run) -> Prepared:
    """Everything that can be refused before the first step.

    Raises:
        DownloadError: structures that cannot be had.
        ModelError: a model that does not know their elements, or gives no stress where one is
            needed.
    """
    protocol = load_protocol(task.protocol)
    directory = run.directory / MD_FOLDER
    starts = task_starts(task.start_names(run.profile), protocol.supercell, directory)
    frames = _check_model(run.potential, starts)
    has_stress = _check_stress(protocol, run.potential, frames[0])
    return Prepared(protocol, starts, PotentialCalculator(run.potential, stress=has_stress))


def _check_stress(protocol: Protocol, potential: Potential, frame: Frames) -> bool:
    """Whether the model gives a stress; refused where the protocol needs one and it does not."""
    has_stress = compute(potential, frame).stress is not None
    if not has_stress and any(_needs_stress(stage) for stage in protocol.stages):
        raise ModelError(f"the model gives no stress, which protocol {protocol.name} needs")
    return has_stress


def _needs_stress(stage: Stage) -> bool:
    return stage.ensemble is Ensemble.NPT or stage.volume_change_percent is not None


def simulate(task: MdTask, prepared: Prepared, run: Run) -> Simulation:
    """Run the task's protocol, or go on with it where an earlier call was stopped."""
    out = run.directory / MD_FOLDER / task.name
    card, protocol, starts = run.potential.card, prepared.protocol, prepared.starts
    outcomes = run_protocol(
        protocol,
        prepared.calculator,
        starts.atoms,
        out,
        engine=make_engine("auto", prepared.calculator),
        parity=run.parity,
        profile=run.profile,
        model={"model": card.name, "model_sha256": card.digest},
        seed=run.seed,
        progress=run.progress,
    )
    ended = {outcome.replica: outcome for outcome in outcomes}
    planned = cases(protocol, run.profile, list(starts.atoms), seed=run.seed, replicas=None)
    replicas = tuple(Replica(case, ended[case.name]) for case in planned)
    return Simulation(protocol, replicas, starts, open_store(out / STORE))
