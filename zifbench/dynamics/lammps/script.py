"""The input script of one stage: what `zifbench.dynamics.integrators` does, in LAMMPS's words."""

from __future__ import annotations

import dataclasses

from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.lammps.cells import box_of
from zifbench.dynamics.lammps.pair import Pair
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.protocol import Ensemble
from zifbench.dynamics.replica import MOST_MINIMISER_STEPS
from zifbench.frames import FloatArray

DATA_FILE = "data.lmp"
MARK = "zifbench begins at step"  # a line of the log at each start of a stage
_FS_PER_PS = 1000.0
_BAR_PER_GPA = 1.0e4
_EVALUATIONS_PER_STEP = 20  # of a minimiser's line search, at most
_THERMO_EVERY = 100  # steps between lines of the log where no frames are kept
_SKIN_A = 1.0


@dataclasses.dataclass(frozen=True)
class StageFiles:
    """Names of a stage's files, in the folder of its replica; parts begin where LAMMPS did.

    Attributes:
        stem: Number and name of the stage.
    """

    stem: str

    @property
    def script(self) -> str:
        """Input script."""
        return f"{self.stem}.in"

    @property
    def log(self) -> str:
        """Log of all starts, one after the other."""
        return f"{self.stem}.log"

    @property
    def end(self) -> str:
        """Restart file at the end of the stage."""
        return f"{self.stem}.end.restart"

    def dump(self, begin: int | str) -> str:
        """Frames of the part that began at that step."""
        return f"{self.stem}.{begin}.dump"

    def table(self, begin: int | str) -> str:
        """Energies and pressures of that part."""
        return f"{self.stem}.{begin}.table"


def stage_files(number: int, segment: Segment) -> StageFiles:
    """Files of the stage with that number, from 0."""
    return StageFiles(f"{number + 1:02d}-{segment.name}")


def stage_script(
    number: int,
    segment: Segment,
    *,
    replica: str,
    title: str,
    lower: FloatArray,
    pair: Pair,
    pair_lines: tuple[str, ...],
    damping: Damping,
    restart_every: int,
) -> str:
    """An input script; `run.sh` sets `from` (a restart file) and `fresh` (1 or 0).

    Args:
        number: Of the stage, from 0.
        segment: The stage in steps.
        replica: Name of the replica.
        title: First line of the tables, by which reading recognises them.
        lower: Starting cell, lower triangular, in Å.
        pair: What gives the forces.
        pair_lines: Its `pair_style` and `pair_coeff` lines.
        damping: Damping times.
        restart_every: Steps between restart files.
    """
    files = stage_files(number, segment)
    blocks = [
        [
            f"# {replica}: stage {number + 1}, {segment.name} ({segment.ensemble})",
            f"log {files.log} append",
            "units metal",
            "atom_style atomic",
            "boundary p p p",
            f"newton {'on' if pair.newton else 'off'}",
            "box tilt large",
            *_beginning(number, segment),
            "variable begin string $(step)",
            f'print "{MARK} ${{begin}}"',
        ],
        [
            *pair_lines,
            f"neighbor {_SKIN_A} bin",
            "neigh_modify every 1 delay 0 check yes",
            f"timestep {segment.time_step_fs / _FS_PER_PS!r}",
        ],
        _observables(segment),
    ]
    if segment.ensemble is Ensemble.MINIMISE:
        blocks += _minimisation(segment, files, title, lower)
    else:
        blocks += _motion(number, segment, files, title, lower, damping, restart_every)
    blocks.append([f"write_restart {files.end}"])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _beginning(number: int, segment: Segment) -> list[str]:
    if number == 0:
        return [
            f'if "${{fresh}} == 1" then "read_data {DATA_FILE}" else "read_restart ${{from}}"',
        ]
    return ["read_restart ${from}", 'if "${fresh} == 1" then "reset_timestep 0"']


def _observables(segment: Segment) -> list[str]:
    """What a frame has beside its atoms: energy, and the potential part of the pressure."""
    parts = [f"c_virial[{k}]" for k in range(1, 7)]
    return [
        "compute virial all pressure NULL virial",
        "variable pe equal pe",
        "variable ke equal ke",
        *(f"variable p{k} equal {part}" for k, part in enumerate(parts, start=1)),
        f"thermo_style custom step temp pe ke press vol {' '.join(parts)}",
        "thermo_modify flush yes lost error",
        f"thermo {segment.sample_every or _THERMO_EVERY}",
    ]


def _minimisation(
    segment: Segment, files: StageFiles, title: str, lower: FloatArray
) -> list[list[str]]:
    driven = []
    if segment.edges is not None:
        driven = [f"change_box all {_final(lower * segment.edges[1])} remap units box"]
    descent = [
        *driven,
        "min_style cg",
        "min_modify norm max",
        f"minimize 0.0 {segment.force_eV_per_A!r} {MOST_MINIMISER_STEPS} "
        f"{MOST_MINIMISER_STEPS * _EVALUATIONS_PER_STEP}",
        "reset_timestep 0",
    ]
    kept = [*_frames(1, files, title), "run 0 post no"] if segment.keep else []
    return [descent, kept]


def _motion(
    number: int,
    segment: Segment,
    files: StageFiles,
    title: str,
    lower: FloatArray,
    damping: Damping,
    restart_every: int,
) -> list[list[str]]:
    # The name of the thermostat is the same in all stages, so that it goes on into a next stage of
    # the same kind. That of a ramp is not: it would go on from where the last ramp began.
    fixes = [f"fix move all {_integrator(segment, damping)}"]
    if segment.edges is not None:
        fixes.append(
            f"fix ramp{number + 1} all deform 1 {_final(lower * segment.edges[1])} "
            "remap x flip no units box"
        )
    kept = [] if segment.sample_every is None else _frames(segment.sample_every, files, title)
    steps = segment.n_steps
    run = [
        f"restart {restart_every} {files.stem}.a.restart {files.stem}.b.restart",
        f"run {steps} upto start 0 stop {steps}",
    ]
    return [fixes, kept, run]


def _integrator(segment: Segment, damping: Damping) -> str:
    if segment.temperature_K is None:
        return "nve"
    first, last = segment.temperature_K
    bath = f"temp {first!r} {last!r} {damping.thermostat_fs / _FS_PER_PS!r}"
    if segment.ensemble is Ensemble.NVT:
        return f"nvt {bath}"
    bar = segment.pressure_GPa * _BAR_PER_GPA
    return (
        f"npt {bath} tri {bar!r} {bar!r} {damping.barostat_fs / _FS_PER_PS!r} "
        "flip no fixedpoint 0.0 0.0 0.0"
    )


def _frames(every: int, files: StageFiles, title: str) -> list[str]:
    values = " ".join(f"${{{name}}}" for name in ("pe", "ke", *(f"p{k}" for k in range(1, 7))))
    return [
        f'fix table all print {every} "$(step) {values}" file {files.table("${begin}")} '
        f'screen no title "{title}"',
        f"dump frames all custom {every} {files.dump('${begin}')} id type xu yu zu vx vy vz",
        "dump_modify frames sort id flush yes format float %.10g",
    ]


def _final(lower: FloatArray) -> str:
    lx, ly, lz, xy, xz, yz = box_of(lower)
    edges = f"x final 0.0 {lx!r} y final 0.0 {ly!r} z final 0.0 {lz!r}"
    return f"{edges} xy final {xy!r} xz final {xz!r} yz final {yz!r}"
