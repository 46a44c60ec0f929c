"""`zifbench md`: every command is a few lines over the dynamics room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zifbench.potentials.card import Check

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
    profile: Annotated[str, typer.Option(help="quick, standard or paper: how long.")] = "quick",
    start: Annotated[
        list[str] | None,
        typer.Option(
            help="Structure to begin with: a file that ASE reads, a published asset or a group of "
            "them. Repeat for several. [default: the protocol's]"
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
    from zifbench.dynamics.simulate import simulate
    from zifbench.profiles import parse_profile

    outcomes = simulate(
        protocol,
        model,
        out,
        profile=parse_profile(profile),
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
    rows = [
        [o.replica, o.ended, f"{o.time_fs / 1000:g}", f"{o.last_good_fs / 1000:g}", o.reason]
        for o in outcomes
    ]
    console.show_rows("", ["replica", "ended", "ps", "good until, ps", "reason"], rows)
    console.out.print(f"frames: {out / 'frames.zarr'}", soft_wrap=True)


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
