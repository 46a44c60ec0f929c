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
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Assets, groups or records; `zifbench data assets` lists them."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every asset (not the trajectories of records).")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="Directory to fetch to. [default: the user's cache]")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            help="Directory or base URL that is asked first; repeat for several. "
            "[default: $ZIFBENCH_MIRROR]"
        ),
    ] = None,
    unpack: Annotated[bool, typer.Option("--unpack", help="Unpack zip files too.")] = False,
) -> None:
    """Fetch published files: continued if interrupted, verified before they appear."""
    from functools import partial

    from zifbench import console
    from zifbench.dataset.download import Manner
    from zifbench.dataset.fetch import Fetcher, checked_mirrors, default_mirrors
    from zifbench.files import cache_directory

    fetcher = Fetcher(
        directory=to or cache_directory(),
        mirrors=checked_mirrors(mirror) if mirror else default_mirrors(),
        manner=Manner(progress=partial(console.progress_bar, in_bytes=True), note=console.note),
        unpack=unpack,
    )
    wanted = [*(names or []), *(fetcher.registry.assets if everything else [])]
    if not wanted:
        raise typer.BadParameter("name at least one asset, group or record, or give --all")
    console.show_fetched(fetcher.fetch_each(wanted))


@data.command()
def assets(as_json: Json = False) -> None:
    """List what can be fetched: groups, records, single files."""
    from zifbench import console
    from zifbench.dataset.assets import load_registry
    from zifbench.dataset.listing import list_assets

    rows = list_assets(load_registry())
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    console.show_assets(rows)


@data.command(name="zip")
def zip_command(
    store: Annotated[Path, typer.Argument(help="Directory of a store.")],
    archive: Annotated[Path, typer.Argument(help="The zip file to write.")],
) -> None:
    """Write a store as one zip file, which is opened like the directory."""
    from zifbench import console
    from zifbench.dataset.store_zip import zip_store

    console.out.print(f"{zip_store(store, archive)}", soft_wrap=True)
