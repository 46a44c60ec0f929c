"""`zifbench md`: every command is a few lines over the dynamics room."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zifbench.dynamics.forecast import Forecast
    from zifbench.dynamics.record import Outcome
    from zifbench.potentials.card import Check
    from zifbench.profiles import Profile

md = typer.Typer(
    help="Molecular dynamics with a candidate: the same protocols for every model.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@md.command()
def protocols(as_json: Json = False) -> None:
    """List the protocols, and how long each is."""
    from zifbench import console
    from zifbench.dynamics.protocol import load_protocol, protocol_names
    from zifbench.profiles import Profile

    found = [load_protocol(name) for name in protocol_names()]
    if as_json:
        typer.echo(json.dumps([json.loads(p.model_dump_json(by_alias=True)) for p in found]))
        return
    rows = [
        [p.name, p.about, *(f"{p.length_ps(profile):g} ps" for profile in Profile)] for p in found
    ]
    console.show_rows("", ["protocol", "what it runs", *Profile], rows)


@md.command()
def run(
    protocol: Annotated[
        str, typer.Argument(help="Name of a protocol (see `md protocols`), or a .toml of your own.")
    ],
    model: Annotated[str, typer.Argument(help="As for `zifbench evaluate`.")],
    out: Annotated[Path, typer.Option(help="Directory of the run.")],
    profile: Annotated[
        str | None, typer.Option(help="quick, standard or paper: how long. [default: quick]")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Take the longest profile that ends within 30min, 8h, 2d, by a probe."),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            help="Structure to begin with: a file that ASE reads (FILE@-1: its last frame), a "
            "published asset or a group of them. Repeat for several. [default: the protocol's]"
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Runs of each case. [default: the protocol's]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the velocities.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    trust: Annotated[
        bool, typer.Option("--trust", help="Let this model run code while loading.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            help="ase: any model, one replica after the other; torchsim: torch models, replicas in "
            "batches; auto: torchsim on a GPU where it is installed, else ase."
        ),
    ] = "auto",
    batch_atoms: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most atoms that torchsim moves at once. [default: what suits the device]"
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0.1, help="Save after so many seconds; a kill loses no more.")
    ] = 60.0,
    despite_parity: Annotated[
        bool,
        typer.Option(
            "--despite-parity",
            help="Run although the engine's energies, forces or stress are not the model's; that "
            "stays on record.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a protocol with a model; the same command continues where it was stopped.

    A replica that blows up ends there, with its time and its reason; the others go on. Frames lie
    in OUT/frames.zarr, a trajectory for each replica and stage: `zifbench analyse` reads them.
    """
    from zifbench import console
    from zifbench.dynamics.forecast import parse_hours
    from zifbench.dynamics.simulate import simulate
    from zifbench.errors import DataError
    from zifbench.profiles import parse_profile

    if profile is not None and budget is not None:
        raise DataError("--profile and --budget contradict each other; give one of them")
    outcomes = simulate(
        protocol,
        model,
        out,
        profile=parse_profile(profile or "quick"),
        budget_h=None if budget is None else parse_hours(budget),
        starts=start or (),
        replicas=replicas,
        seed=seed,
        device=device,
        trust=trust,
        checkpoint_s=checkpoint_seconds,
        progress=console.progress_bar,
        despite_parity=despite_parity,
        engine=engine,
        batch_atoms=batch_atoms,
    )
    if as_json:
        typer.echo(json.dumps([vars(outcome) for outcome in outcomes], indent=1))
        return
    _show_outcomes(outcomes)
    console.out.print(f"frames: {out / 'frames.zarr'}", soft_wrap=True)


@md.command()
def lammps(
    protocol: Annotated[
        str, typer.Argument(help="Name of a protocol (see `md protocols`), or a .toml of your own.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="A NequIP or Allegro model: package, checkpoint, compiled.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Directory of the deck.")],
    profile: Annotated[str, typer.Option(help="quick, standard or paper: how long.")] = "quick",
    start: Annotated[
        list[str] | None,
        typer.Option(help="Structure to begin with, as for `md run`. Repeat for several."),
    ] = None,
    supercell: Annotated[
        str | None, typer.Option(help="3 or 2x2x1. [default: the protocol's]")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Runs of each case. [default: the protocol's]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the velocities.")] = 0,
    gpus: Annotated[
        int | None,
        typer.Option(min=0, help="GPUs of a node; 0: CPUs. [default: 1, with --pair 0]"),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes for one replica.")] = 1,
    pair_style: Annotated[
        str | None, typer.Option(help="nequip or allegro, where the model does not say.")
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(help='A classical pair style instead of a model, for instance "lj/cut 8.5".'),
    ] = None,
    pair_coeff: Annotated[
        list[str] | None, typer.Option(help='Its coefficients, "* * 0.01 3.4". Repeat.')
    ] = None,
    restart_every: Annotated[
        int, typer.Option(min=1, help="Steps between restart files; a kill loses no more.")
    ] = 10_000,
) -> None:
    """Write a LAMMPS deck of a protocol, for systems beyond one GPU.

    OUT holds run.sh, submit.sbatch, a README.txt, and a folder for each replica; `md lammps-read`
    reads back what was run.
    """
    from zifbench import console
    from zifbench.dynamics.lammps.shell import Machine
    from zifbench.dynamics.lammps.write import write_from_names
    from zifbench.profiles import parse_profile

    default = 1 if pair is None else 0
    deck = write_from_names(
        protocol,
        model,
        out,
        profile=parse_profile(profile),
        starts=start or (),
        replicas=replicas,
        seed=seed,
        supercell=supercell,
        pair_style=pair_style,
        pair=pair,
        pair_coeffs=pair_coeff or (),
        machine=Machine(gpus=default if gpus is None else gpus, nodes=nodes),
        restart_every=restart_every,
    )
    n_atoms = max(len(start.numbers) for start in deck.starts.values())
    console.out.print(
        f"{out}: {len(deck.replicas)} replicas of up to {n_atoms} atoms; README.txt says how to "
        "run them",
        soft_wrap=True,
    )


@md.command("lammps-read")
def lammps_read(
    deck: Annotated[Path, typer.Argument(help="Directory that `md lammps` wrote.")],
    as_json: Json = False,
) -> None:
    """Read what a LAMMPS deck has given so far into DECK/frames.zarr, as `md run` leaves it."""
    from zifbench import console
    from zifbench.dynamics.lammps.read import read_back

    found = read_back(deck)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=1))
        return
    _show_outcomes(found.outcomes)
    console.show_rows("", ["trajectory", "frames"], list(found.n_frames.items()))
    for note in found.notes:
        console.note(note)
    console.out.print(f"frames: {deck / 'frames.zarr'}", soft_wrap=True)


def _show_outcomes(outcomes: Sequence[Outcome]) -> None:
    from zifbench import console

    rows = [
        [o.replica, o.ended, f"{o.time_fs / 1000:g}", f"{o.last_good_fs / 1000:g}", o.reason]
        for o in outcomes
    ]
    console.show_rows("", ["replica", "ended", "ps", "good until, ps", "reason"], rows)


@md.command()
def forecast(
    model: Annotated[str, typer.Argument(help="As for `zifbench evaluate`.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Name of a protocol or a .toml; repeat for several. [default: all]"),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(help="Structures in place of the protocols' own, as for `md run`."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Mark what fits into 30min, 8h, 2d altogether, and what alone."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    trust: Annotated[
        bool, typer.Option("--trust", help="Let this model run code while loading.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what protocols will cost here with a model: hours, memory, disk, from a few steps.

    Hours are those of one replica after the other, which is more than batches on a GPU take; memory
    is that of a batch there, where TorchSim is installed. Larger cells are scaled with their atoms;
    frames on disk are counted before compression.
    """
    from zifbench import console
    from zifbench.dynamics.forecast import choose, choose_alone, parse_hours
    from zifbench.dynamics.simulate import forecast_protocols
    from zifbench.profiles import Profile

    hours = None if budget is None else parse_hours(budget)
    rows = forecast_protocols(
        model,
        protocol or (),
        starts=start or (),
        device=device,
        trust=trust,
        progress=console.progress_bar,
    )
    chosen = {} if hours is None else choose(rows, hours)
    alone = {} if hours is None else choose_alone(rows, hours)
    names = list(dict.fromkeys(row.protocol for row in rows))
    if as_json:
        fits = [
            {
                **vars(row),
                "chosen": chosen.get(row.protocol) is row.profile,
                "chosen_alone": alone.get(row.protocol) is row.profile,
            }
            for row in rows
        ]
        typer.echo(json.dumps(fits, indent=1))
        return
    heads = ["protocol", "systems", *Profile, "memory, GiB", "frames, GiB"]
    console.show_rows("", heads, [_costs(name, rows) for name in names])
    console.out.print("systems, memory and frames are those of the longest profile", soft_wrap=True)
    if hours is None:
        return
    lines = [[name, _fits(name, rows, chosen), _fits(name, rows, alone)] for name in names]
    console.show_rows(f"what fits into {budget}", ["protocol", "together", "alone"], lines)
    console.out.print(
        "together: all of that column, one after the other, the shorter profiles first; alone: "
        "this protocol and no other (--protocol NAME). The time shown, that of the slowest steps, "
        f"is what was held against {budget}",
        soft_wrap=True,
    )


def _fits(name: str, rows: Sequence[Forecast], chosen: Mapping[str, Profile]) -> str:
    """The profile that a budget buys, or the first that it does not, and what was compared."""
    at_most = {row.profile: row.hours_at_most for row in rows if row.protocol == name}
    profile = chosen.get(name, next(iter(at_most)))
    time = _exactly(at_most[profile])
    return f"{profile}, {time}" if name in chosen else f"no ({profile}, {time})"


def _costs(name: str, rows: Sequence[Forecast]) -> list[str]:
    """A line of the table of forecasts."""
    of_profile = {row.profile: row for row in rows if row.protocol == name}
    longest = list(of_profile.values())[-1]
    return [
        name,
        f"{longest.n_replicas} × {longest.n_atoms}",
        *(_duration(row.hours) for row in of_profile.values()),
        f"{longest.memory_GiB:.2g}",
        f"{longest.disk_GiB:.2g}",
    ]


def _exactly(hours: float) -> str:
    """As `_duration`, with two digits of minutes: it is compared with a budget."""
    return f"{60.0 * hours:.2g} min" if hours < 1.0 else _duration(hours)


def _duration(hours: float) -> str:
    """Hours in the unit that people would use."""
    if hours < 1.0:
        return f"{max(1.0, 60.0 * hours):.0f} min"
    return f"{hours:.1f} h" if hours < 48.0 else f"{hours / 24.0:.0f} d"


@md.command()
def check(
    engine: Annotated[str, typer.Option(help="Which engine moves the atoms.")] = "ase",
    as_json: Json = False,
) -> None:
    """Hold an engine against models with known answers; minutes.

    Newton's equations, energy, temperatures of every replica, element and direction, an ideal gas
    under pressure, a crystal under pressure, the temperature of the cell. Exits with 1 where one
    fails.
    """
    from zifbench import console
    from zifbench.dynamics.engine_checks import GROUPS, check_engine, engine_maker

    make = engine_maker(engine)
    with console.progress_bar("md check", len(GROUPS)) as advance:
        found = check_engine(make, progress=lambda _: advance(1))
    if as_json:
        typer.echo(json.dumps([c.model_dump() for c in found], indent=1))
    else:
        rows = [
            ["passed" if c.passed else "FAILED", c.name, *_shown(c), c.unit or "", c.detail]
            for c in found
        ]
        console.show_rows("", ["", "check", "off by", "tolerated", "", "what"], rows)
    if not all(c.passed or not c.required for c in found):
        raise typer.Exit(1)


def _shown(check: Check) -> list[str]:
    return ["" if x is None else f"{x:.2g}" for x in (check.deviation, check.tolerance)]
