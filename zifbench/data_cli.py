"""`zifbench data`: every command is a few lines over the dataset room."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="The dataset: stores of frames and their versions.", no_args_is_help=True)

StoreName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Directory, zip file or URL (http, https, s3) of a store."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@data.command()
def info(name: StoreName, as_json: Json = False) -> None:
    """What a store holds: frames, atoms, types, sizes, ranges, licence, version."""
    from zifbench.dataset.info import describe
    from zifbench.dataset.store import open_store

    with open_store(name) as store:
        content = describe(store)
    if as_json:
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    from zifbench.dataset.tables import show_info

    show_info(content)


@data.command()
def verify(name: StoreName, as_json: Json = False) -> None:
    """Read everything again, and name all damage; exit code 2 if there is any."""
    from zifbench import console
    from zifbench.dataset.store import open_store
    from zifbench.dataset.verify import n_rows
    from zifbench.dataset.verify import verify as check

    with open_store(name) as store, console.progress_bar("verify", n_rows(store)) as advance:
        result = check(store, advance)
        version = store.version
    if as_json:
        content = {"version": version, **dataclasses.asdict(result)}
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        from zifbench.dataset.tables import show_verification

        show_verification(result, version)
    if result.damage:
        raise typer.Exit(2)


@data.command()
def diff(old: StoreName, new: StoreName, as_json: Json = False) -> None:
    """What changed from one store to another: trajectories added, removed, extended, changed."""
    from zifbench.dataset.diff import diff as compare
    from zifbench.dataset.store import open_store

    with open_store(old) as a, open_store(new) as b:
        result = compare(a, b)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False))
        return
    from zifbench.dataset.tables import show_difference

    show_difference(result)


@data.command()
def ingest(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="Directories of CP2K MD output, outputs of a CP2K vibrational analysis, extxyz or "
            "npz files; recognised by content.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the store, new or existing.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the trajectory. [default: that of the source]")
    ] = None,
    file_format: Annotated[
        str,
        typer.Option("--format", help="auto, cp2k-md, cp2k-vibrations, extxyz or nequip-npz."),
    ] = "auto",
    state: Annotated[
        str | None, typer.Option(help="Thermodynamic state, for instance liquid.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature in K; checked against the run.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Any other attribute (licence=…, citation=…)."),
    ] = None,
    mass: Annotated[
        list[str] | None,
        typer.Option(metavar="X=AMU", help="Mass of an element (deuterium: H=2.014101777)."),
    ] = None,
    keep: Annotated[
        str, typer.Option(help="Which of several frames of one step: first or last, in all files.")
    ] = "last",
    skip_check: Annotated[
        list[str] | None, typer.Option(help="Take the frames although this check fails.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Store all numbers as float64.")] = False,
    commit_seconds: Annotated[
        float, typer.Option(help="Commit after so many seconds; a kill loses no more.")
    ] = 20.0,
    as_json: Json = False,
) -> None:
    """Read raw files into a store; the same command continues where it was stopped.

    CP2K's files are joined on the step number and checked against each other; units, signs and the
    kinetic part of the stress are dealt with. What was missing, came twice or was cut is reported.
    """
    from zifbench import console
    from zifbench.dataset.ingest.options import parse_options
    from zifbench.dataset.ingest.run import ingest as run

    options = parse_options(
        name=name,
        keep=keep,
        masses=mass or (),
        skip_checks=skip_check or (),
        attributes=attribute or (),
        state=state,
        temperature_K=temperature,
    )
    summary = run(
        sources,
        out,
        options=options,
        file_format=file_format,
        exact=exact,
        commit_s=commit_seconds,
        progress=console.progress_bar,
    )
    if as_json:
        typer.echo(json.dumps(summary.as_json(), indent=1, ensure_ascii=False))
        return
    from zifbench.dataset.ingest.tables import show_summary

    show_summary(summary)
