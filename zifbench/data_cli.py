"""`zifbench data …`: the dataset's commands, each a few lines over `zifbench.dataset`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Datasets: fetch what is published.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


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
