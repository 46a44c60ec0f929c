"""`zifbench data`: every command is a few lines over the dataset room."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="The dataset: fetch, label, ingest, split, export.", no_args_is_help=True)

StoreName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Directory, zip file or URL (http, https, s3) of a store."),
]
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
    from zifbench.dataset.assets.download import Manner
    from zifbench.dataset.assets.fetch import Fetcher, checked_mirrors, default_mirrors
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
    from zifbench.dataset.assets.listing import list_assets
    from zifbench.dataset.assets.registry import load_registry

    rows = list_assets(load_registry())
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    console.show_assets(rows)


@data.command()
def label(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Frames to label, any file ASE reads.")
    ],
    out: Annotated[Path, typer.Option(help="Store to write, or to add to.")],
    by: Annotated[
        str | None,
        typer.Option(help="Label of the frames that names their trajectory. [default: the file]"),
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(help="Directory of the CP2K jobs, one folder each. [default: OUT.jobs]"),
    ] = None,
    cp2k: Annotated[
        str | None, typer.Option(help="CP2K executable. [default: the first on PATH]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="OpenMP threads of a job.")] = 1,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Compute at most so many; the rest another time."),
    ] = None,
) -> None:
    """Compute PBE-D3 energies, forces and stress with a local CP2K, as the published AIMD does.

    One job a frame; finished jobs are never repeated, so an interrupted labelling goes on where it
    was, and several of these commands may share one directory of jobs.
    """
    from zifbench import console
    from zifbench.ase_io import read_frames
    from zifbench.dataset.label.cp2k import find_cp2k
    from zifbench.dataset.label.jobs import at_most, plan_jobs, run_jobs
    from zifbench.dataset.label.results import store_labels, trajectories_of

    frames = [part for file in files for part in read_frames(file)]
    trajectories = trajectories_of(frames, by)
    directory = jobs or out.with_name(f"{out.name}.jobs")
    planned = at_most(plan_jobs(list(trajectories.values())), directory, limit)
    with console.progress_bar("label", len(planned)) as advance:
        result = run_jobs(
            planned,
            directory,
            executable=find_cp2k(cp2k),
            workers=workers,
            threads=threads,
            advance=advance,
        )
    added = store_labels(out, trajectories, result)
    console.say("green", "labelled", f"{len(result.labels)} frames, {added} of them new in {out}")
    for key, reason in result.failures.items():
        console.say("red", f"job {key}", reason)
    if result.elsewhere:
        console.say("yellow", "not ours", f"{len(result.elsewhere)} jobs run elsewhere; come again")
    if result.failures:
        raise typer.Exit(1)


@data.command()
def info(name: StoreName, as_json: Json = False) -> None:
    """What a store holds: frames, atoms, types, sizes, ranges, licence, version."""
    from zifbench.dataset.named import open_named
    from zifbench.dataset.store.info import describe

    store, trajectory = open_named(name)
    with store:
        content = describe(store, trajectory)
    if as_json:
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    from zifbench.dataset.store.tables import show_info

    show_info(content)


@data.command()
def verify(name: StoreName, as_json: Json = False) -> None:
    """Read everything again, and name all damage; exit code 2 if there is any."""
    from zifbench import console
    from zifbench.dataset.store import open_store
    from zifbench.dataset.store.verify import n_rows
    from zifbench.dataset.store.verify import verify as check

    with open_store(name) as store, console.progress_bar("verify", n_rows(store)) as advance:
        result = check(store, advance)
        version = store.version
    if as_json:
        content = {"version": version, **dataclasses.asdict(result)}
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        from zifbench.dataset.store.tables import show_verification

        show_verification(result, version)
    if result.damage:
        raise typer.Exit(2)


@data.command()
def diff(old: StoreName, new: StoreName, as_json: Json = False) -> None:
    """What changed from one store to another: trajectories added, removed, extended, changed."""
    from zifbench.dataset.store import open_store
    from zifbench.dataset.store.diff import diff as compare

    with open_store(old) as a, open_store(new) as b:
        result = compare(a, b)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False))
        return
    from zifbench.dataset.store.tables import show_difference

    show_difference(result)


@data.command(name="zip")
def zip_command(
    store: Annotated[Path, typer.Argument(help="Directory of a store.")],
    archive: Annotated[Path, typer.Argument(help="The zip file to write.")],
) -> None:
    """Write a store as one zip file, which is opened like the directory."""
    from zifbench import console
    from zifbench.dataset.store.zipped import zip_store

    console.out.print(f"store: {zip_store(store, archive)}", soft_wrap=True)


@data.command()
def split(
    store: StoreName,
    generator: Annotated[
        str,
        typer.Option(
            help="random, flat-histogram, blocked, leave-state-out or by-label; what each may be "
            "asked is marked below."
        ),
    ] = "flat-histogram",
    train: Annotated[
        int | None,
        typer.Option(help="Training frames (flat-histogram: bins, of which some may be empty)."),
    ] = None,
    test: Annotated[int | None, typer.Option(help="Test frames.")] = None,
    test_of: Annotated[
        Path | None,
        typer.Option(
            help="random, flat-histogram: take the test frames of this split, draw from the rest."
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(help="Validation frames. [default: all that is left, as in the paper]"),
    ] = None,
    validation_of: Annotated[
        Path | None, typer.Option(help="The same for validation frames.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("split.json"),
    name: Annotated[
        str | None, typer.Option(help="What to call it. [default: GENERATOR-SEED]")
    ] = None,
    trajectory: Annotated[
        list[str] | None,
        typer.Option(help="Draw from this trajectory, or pattern, only. Repeat for several."),
    ] = None,
    grouped: Annotated[
        bool,
        typer.Option(
            "--grouped", help="flat-histogram: own bins for each composition and level of theory."
        ),
    ] = False,
    block: Annotated[float | None, typer.Option(help="blocked: length of a block.")] = None,
    embargo: Annotated[
        float | None, typer.Option(help="blocked: least gap between subsets.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="blocked: fs or frames, of both lengths. [default: fs]")
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            help="blocked: share of the blocks for train, validation, test. [default: 0.8,0.1,0.1]"
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="leave-state-out: attribute (temperature_K, state, …), or name."),
    ] = None,
    test_state: Annotated[
        list[str] | None, typer.Option(help="leave-state-out: value for test only. Repeat.")
    ] = None,
    validation_state: Annotated[
        list[str] | None, typer.Option(help="leave-state-out: value for validation only. Repeat.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="by-label: label that names the subset. [default: subset]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Choose training, validation and test frames; the file names the version of the store."""
    from zifbench import console
    from zifbench.dataset.splits.by_time import parse_fractions
    from zifbench.dataset.splits.generators import load_split, make_split, write_split
    from zifbench.dataset.store import open_store

    with open_store(store) as opened:
        made = make_split(
            opened,
            generator,
            seed=seed,
            name=name,
            trajectories=trajectory or (),
            taken_from={
                subset: load_split(file)
                for subset, file in {"test": test_of, "validation": validation_of}.items()
                if file is not None
            },
            train=train,
            test=test,
            validation=validation,
            grouped=grouped or None,
            block=block,
            embargo=embargo,
            unit=unit,
            fractions=None if fractions is None else parse_fractions(fractions),
            by=by,
            test_states=tuple(test_state) if test_state else None,
            validation_states=tuple(validation_state) if validation_state else None,
            label=label,
        )
    write_split(made, out, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(made.summary(), indent=1))
        return
    rows = [[s, made.count(s), len(made.rows(s))] for s in made.subsets]
    console.show_rows(made.name, ["subset", "frames", "trajectories"], rows)
    for note in made.notes:
        console.say("yellow", "note", note)
    console.out.print(f"split: {out}", soft_wrap=True)


@data.command()
def leakage(
    store: StoreName,
    split: Annotated[Path, typer.Argument(help="Split of this version of the store.")],
    out: Annotated[Path, typer.Option(help="Directory of the report.")] = Path("leakage"),
    subset: Annotated[str, typer.Option(help="What to look at: test or validation.")] = "test",
    max_frames: Annotated[
        int, typer.Option(min=1, help="Frames without a time compared by structure at most.")
    ] = 500,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how near the test frames are to the nearest training frames, in time or structure."""
    from zifbench import console
    from zifbench.dataset.splits.generators import load_split
    from zifbench.dataset.store import open_store
    from zifbench.reports.leakage import report_leakage

    with open_store(store) as opened:
        report = report_leakage(
            opened,
            load_split(split),
            out,
            subset=subset,
            max_frames=max_frames,
            overwrite=overwrite,
            progress=console.progress_bar,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
        return
    console.show_leakage(report)
    console.out.print(f"report: {out / 'report.html'}", soft_wrap=True)


@data.command()
def export(
    store: StoreName,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="extxyz, npz, lmdb, traj, ase-db, parquet (Hugging Face) or "
            "huggingface (saved DatasetDict).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory to make.")],
    split: Annotated[
        Path | None, typer.Option(help="Split of this version. [default: the whole store]")
    ] = None,
    subset: Annotated[
        list[str] | None, typer.Option(help="Only this subset of the split. Repeat for several.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export in --out.")
    ] = False,
) -> None:
    """Write frames in the files of other programs, one for each subset."""
    from zifbench import console
    from zifbench.dataset.export.run import export as run
    from zifbench.dataset.export.selection import select
    from zifbench.dataset.splits.manifest import load_split
    from zifbench.dataset.store import open_store

    with open_store(store) as opened:
        chosen = select(opened, None if split is None else load_split(split), subsets=subset or ())
        run(chosen, out, file_format, overwrite=overwrite, progress=console.progress_bar)
    console.out.print(f"export: {out}", soft_wrap=True)


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
    by: Annotated[
        str | None,
        typer.Option(help="extxyz: label of the frames that names their trajectory (state, say)."),
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
        float, typer.Option(min=0.1, help="Commit after so many seconds; a kill loses no more.")
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
        by=by,
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
