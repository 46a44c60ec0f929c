"""From a protocol and a profile to the steps of one replica: lengths, targets, samples."""

from __future__ import annotations

from dataclasses import dataclass

from zifbench.dynamics.protocol import EACH_CASE, Ensemble, Protocol, Stage
from zifbench.errors import DataError
from zifbench.profiles import Profile

_FS_PER_PS = 1000.0


@dataclass(frozen=True)
class Segment:
    """A stage in steps.

    Attributes:
        name: Name of the stage.
        ensemble: What is kept constant.
        n_steps: Its length; 0 where atoms do not move.
        time_step_fs: Time step.
        temperature_K: Target at the start and at the end; None where there is none.
        edges: Cell edges at the start and at the end, as a share of the starting ones; None where
            the cell is not driven.
        pressure_GPa: External pressure in NPT.
        sample_every: Steps between the frames that are kept; None keeps none.
        force_eV_per_A: Largest force that a minimisation leaves.
        keep: Whether its minimum is kept as a frame.
    """

    name: str
    ensemble: Ensemble
    n_steps: int
    time_step_fs: float
    temperature_K: tuple[float, float] | None
    edges: tuple[float, float] | None
    pressure_GPa: float
    sample_every: int | None
    force_eV_per_A: float = 0.05
    keep: bool = False

    @property
    def n_samples(self) -> int:
        """Frames that are kept."""
        if self.keep:
            return 1
        return self.n_steps // self.sample_every if self.sample_every else 0

    def target_K(self, step: int) -> float:
        """Target after so many steps of the stage; linear in time."""
        if self.temperature_K is None:
            raise ValueError(f"stage {self.name} has no thermostat")
        return _between(self.temperature_K, step / self.n_steps)

    def edge(self, step: int) -> float:
        """Cell edges after so many steps, as a share of the starting ones."""
        return 1.0 if self.edges is None else _between(self.edges, step / self.n_steps)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def plan(
    protocol: Protocol, profile: Profile, *, case_K: float | None = None, replica: int = 0
) -> tuple[Segment, ...]:
    """The segments of one replica.

    Args:
        protocol: What to run.
        profile: How long.
        case_K: Temperature of the case, where the protocol has cases.
        replica: Number of the replica, from 0.

    Raises:
        DataError: a sampling time that is no multiple of the time step, a stage shorter than a
            step or than its samples, or a driven cell after a free one.
    """
    edge, segments = 1.0, []
    free: str | None = None  # the first stage with a cell of its own will
    for stage in protocol.stages:
        segment = _segment(stage, protocol, profile, case_K, replica, edge)
        edge = edge if segment.edges is None else segment.edges[1]
        if segment.edges is not None and free is not None:
            raise DataError(
                f"protocol {protocol.name}, stage {stage.name} drives the volume after {free} let "
                "it go; drive it first: driven edges are shares of the starting cell"
            )
        free = stage.name if stage.ensemble is Ensemble.NPT else free
        segments.append(segment)
    return tuple(segments)


def _segment(
    stage: Stage,
    protocol: Protocol,
    profile: Profile,
    case_K: float | None,
    replica: int,
    edge: float,
) -> Segment:
    where = f"protocol {protocol.name}, stage {stage.name}"
    temperature = _temperature(stage, case_K)
    hot = temperature is not None and max(temperature) > protocol.hot_K
    time_step = protocol.hot_time_step_fs if hot else protocol.time_step_fs
    n_steps = 0
    if stage.ensemble is not Ensemble.MINIMISE:
        length = stage.length_ps[profile]
        length += replica * stage.length_ps_per_replica.get(profile, 0.0)
        n_steps = _multiple(length * _FS_PER_PS, time_step, f"{where}: length_ps")
    every = None
    if stage.sample_fs is not None:
        every = _multiple(stage.sample_fs, time_step, f"{where}: sample_fs")
        if every > n_steps:
            raise DataError(f"{where}: sample_fs is longer than the stage; no frame would be kept")
    edges = None
    if stage.volume_change_percent is not None:
        edges = (edge, (1.0 + 0.01 * stage.volume_change_percent) ** (1.0 / 3.0))
    return Segment(
        stage.name, stage.ensemble, n_steps, time_step, temperature, edges, stage.pressure_GPa,
        every, stage.force_eV_per_A, stage.keep,
    )  # fmt: skip


def _temperature(stage: Stage, case_K: float | None) -> tuple[float, float] | None:
    wanted = case_K if stage.temperature_K == EACH_CASE else stage.temperature_K
    if wanted is None or isinstance(wanted, tuple):
        return wanted
    return float(wanted), float(wanted)


def _multiple(time_fs: float, time_step_fs: float, where: str) -> int:
    n = round(time_fs / time_step_fs)
    if n < 1 or abs(n * time_step_fs - time_fs) > 1.0e-6 * time_fs:
        raise DataError(
            f"{where}: {time_fs:g} fs is no multiple of the time step, {time_step_fs:g} fs"
        )
    return n


def first_temperature_K(segments: tuple[Segment, ...]) -> float:
    """Temperature of the first thermostat; 0 if nothing moves.

    Raises:
        DataError: something moves, and none of the stages has a thermostat.
    """
    if all(segment.ensemble is Ensemble.MINIMISE for segment in segments):
        return 0.0
    for segment in segments:
        if segment.temperature_K is not None:
            return segment.temperature_K[0]
    raise DataError("no stage has a temperature; velocities cannot be drawn")


def velocity_temperature_K(segments: tuple[Segment, ...]) -> float:
    """What the velocities are drawn from: the first thermostat's temperature, or twice that.

    In a minimum there is no potential energy to share in. Half of the kinetic energy goes there
    within a few vibrations, and what is left is the temperature that was asked for.

    Raises:
        DataError: see `first_temperature_K`.
    """
    at_rest = segments[0].ensemble is Ensemble.MINIMISE
    return (2.0 if at_rest else 1.0) * first_temperature_K(segments)
