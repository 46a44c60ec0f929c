"""`zifbench data`: every command is a few lines over the dataset room."""

from __future__ import annotations

import dataclasses
import json
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
