"""The command line: every command is a few lines over the library."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from zifbench.data_cli import data
from zifbench.errors import ZifbenchError
from zifbench.md_cli import md
from zifbench.train_cli import recipes, sweep, train

app = typer.Typer(
    name="zifbench",
    help="Benchmark machine-learned interatomic potentials on the MOF glass ZIF-4.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
leaderboard = typer.Typer(
    help="Compare models: one validated JSON entry each.", no_args_is_help=True
)
app.add_typer(leaderboard, name="leaderboard")
app.add_typer(data, name="data")
app.add_typer(md, name="md")
app.command()(train)
app.command()(sweep)
app.command()(recipes)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Board = Annotated[Path, typer.Option(help="Directory of the leaderboard.")]


def _version(value: bool) -> None:
    if value:
        from zifbench import __version__

        typer.echo(f"zifbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Benchmark machine-learned interatomic potentials on the MOF glass ZIF-4."""


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Model file (.pth, .nequip.pt2, .nequip.zip, .ckpt; recognised by content), "
            "bundled name (nequip-small), or module:factory / file.py:factory of an ASE calculator."
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Frames with labels: a file that ASE reads (extxyz, traj, …), a store, "
            "STORE/TRAJECTORY or a bundled name. Repeat for several. [default: zif4-own-test]"
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Split of the store in --data: score one of its subsets.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of the split. [default: test]")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated tasks, or all (see `zifbench tasks`). [default: what is usual in "
            "the profile]"
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick, standard or paper: how long to run.")
    ] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="Directory of the result. [default: results/MODEL]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    batch_atoms: Annotated[
        int | None,
        typer.Option(min=1, help="Atoms in one call. [default: 512 on a CPU, 4096 on a GPU]"),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="Use only so many frames, evenly spread over the data.")
    ] = None,
    group_by: Annotated[
        str, typer.Option(help="Label of the frames that names their phase or trajectory.")
    ] = "phase",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    conformance: Annotated[
        bool, typer.Option(help="Check the model for consistency before scoring it.")
    ] = True,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Let this model run code while loading; remembered by sha256."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a potential: conformance, accuracy, speed, molecular dynamics, with error bars."""
    from zifbench import console
    from zifbench.benchmark.evaluation import Options, default_out
    from zifbench.benchmark.evaluation import evaluate as run
    from zifbench.benchmark.tasks import parse_tasks
    from zifbench.bundled import DEFAULT_DATA
    from zifbench.errors import DataError
    from zifbench.profiles import parse_profile
    from zifbench.training.origin import recipe_of

    if subset is not None and split is None:
        raise DataError(f"--subset {subset} is one of a split, and none is given; give --split too")
    options = Options(
        tasks=None if tasks is None else tuple(parse_tasks(tasks)),
        by_name=tasks != "all",
        profile=parse_profile(profile),
        device=device,
        threads=threads,
        batch_atoms=batch_atoms,
        max_frames=max_frames,
        group_key=group_by,
        seed=seed,
        conformance=conformance,
        trust=trust,
        resume=resume,
        overwrite=overwrite,
        split=split,
        subset=subset or "test",
        name=recipe_of(model),
    )
    directory = out or default_out(model)
    result = run(model, data or [DEFAULT_DATA], directory, options, progress=console.progress_bar)
    if as_json:
        typer.echo(result.model_dump_json(indent=1))
        return
    console.show_result(result)
    console.out.print(f"report: {directory / 'report.html'}", soft_wrap=True)


@app.command()
def analyse(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="FILE, or NAME=FILE,FILE… for several independent samples of the same thing "
            "(patterns with * too): frames that ASE reads, a store, STORE/TRAJECTORY, or a "
            "bundled name.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the analysis.")] = Path("analysis"),
    reference: Annotated[
        list[str] | None,
        typer.Option(help="A run to compare with, written in the same way. Repeat for several."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="In K, for free energies and elastic moduli, where no store says it."),
    ] = None,
    frame_interval: Annotated[
        float | None, typer.Option(help="Time between frames in fs, where the frames have none.")
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="ASE's name of the format of all files.")
    ] = None,
    spheres: Annotated[bool, typer.Option("--spheres", help="The largest spheres too.")] = False,
    zeo: Annotated[bool, typer.Option("--zeo", help="Zeo++'s pore volumes too (slow).")] = False,
    xray: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measured F(Q) (.int01) or D(r) (.dofr) to show X-ray scattering beside. "
            "Repeat for both."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier analysis in --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Analyse structures or trajectories: all observables of the glass, with error bars."""
    from zifbench import console
    from zifbench.analysis.observation import Settings
    from zifbench.reports.analyse import analyse as run
    from zifbench.reports.measured import read_measured

    analysis = run(
        runs,
        out,
        references=reference or (),
        file_format=file_format,
        settings=Settings(temperature, frame_interval, seed, tuple(map(read_measured, xray or ()))),
        optional=[name for name, asked in {"spheres": spheres, "zeo": zeo}.items() if asked],
        overwrite=overwrite,
        progress=console.progress_bar,
    )
    if as_json:
        typer.echo(analysis.model_dump_json(indent=1))
        return
    console.show_analysis(analysis)
    console.out.print(f"report: {out / 'report.html'}", soft_wrap=True)


@app.command()
def tasks(as_json: Json = False) -> None:
    """List what can be run, and how long each task is."""
    from zifbench import console
    from zifbench.benchmark.tasks import TASKS
    from zifbench.potentials.conformance import CHECKS
    from zifbench.profiles import Profile

    if as_json:
        listing = {
            name: {"about": task.about, "lengths": {p.value: task.lengths(p) for p in Profile}}
            for name, task in TASKS.items()
        }
        typer.echo(json.dumps(listing, indent=1))
        return
    rows = [[name, task.about, *map(task.lengths, Profile)] for name, task in TASKS.items()]
    first = [
        "conformance",
        "consistency of the model, before any score",
        *[f"{len(CHECKS)} checks"] * 3,
    ]
    console.show_rows("", ["task", "measures", *Profile], [first, *rows])


@app.command()
def models(as_json: Json = False) -> None:
    """List the bundled models and frames, which go by name."""
    from zifbench import console
    from zifbench.bundled import BUNDLED_DATA, BUNDLED_MODELS

    kinds = {"model": BUNDLED_MODELS, "data": BUNDLED_DATA}
    rows = [[kind, name, b.about] for kind, table in kinds.items() for name, b in table.items()]
    if as_json:
        typer.echo(json.dumps([dict(zip(("kind", "name", "about"), r, strict=True)) for r in rows]))
        return
    console.show_rows("", ["kind", "name", "about"], rows)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show versions, devices and what is missing."""
    from zifbench import console
    from zifbench.doctor import diagnose

    report = diagnose()
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        return
    advice = report.pop("advice")
    packages = report.pop("packages")
    rows = [*report.items(), *packages.items()]
    console.show_rows("", ["", ""], [[name, _plain(value)] for name, value in rows])
    for line in advice:
        console.say("yellow", "advice", line)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v[:12]}…" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "missing" if value is None else str(value)


@leaderboard.command("add")
def leaderboard_add(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Result directory, or its result.json. Several, of models that differ in their "
            "seed only, make one entry: their mean, with its spread.",
        ),
    ],
    board: Board = Path("leaderboards"),
    name: Annotated[
        str | None, typer.Option(help="Name on the board. [default: the model's]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an entry of this name.")
    ] = False,
) -> None:
    """Put a result on the leaderboard."""
    from zifbench.leaderboard.entries import add_entry

    typer.echo(f"added {add_entry(results, board, name=name, replace=replace)}")


@leaderboard.command("show")
def leaderboard_show(
    board: Board = Path("leaderboards"),
    sort: Annotated[
        str, typer.Option(help="Column: model, energy, energy-shifted, force, stress, speed, …")
    ] = "force",
    reverse: Annotated[bool, typer.Option("--reverse", help="Worst first.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show the leaderboard, one table for each set of frames."""
    from zifbench.leaderboard.entries import by_data, load_board
    from zifbench.leaderboard.tables import markdown_table, sorted_entries

    tables = [sorted_entries(t, sort, reverse=reverse) for t in by_data(load_board(board)).values()]
    if as_json:
        entries = [entry.model_dump(mode="json") for table in tables for entry in table]
        typer.echo(json.dumps(entries, indent=1))
    elif markdown:
        typer.echo("\n".join(markdown_table(table) for table in tables))
    else:
        from zifbench import console

        for table in tables:
            console.show_board(table)


# -- errors ---------------------------------------------------------------------------------------


class _StoppedError(BaseException):
    """Ctrl-C, or a batch system whose time is up; passes through typer, which knows neither."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def _stop(number: int, frame: object) -> None:
    raise _StoppedError(number)


def main() -> None:
    """Run the command line: one sentence for bad input (2) and for being stopped (130, 143)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no µ still gets the rest
    sys.exit(_exit_code(app))


# Base of typer's own errors about the command line; it is public under no name of its own.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


# What a command leaves behind when it is stopped, and how it goes on.
_WHEN_STOPPED = {
    "evaluate": "stopped; an evaluation that had begun continues with --resume and the same "
    "options",
    "analyse": "stopped; nothing was written, and an earlier analysis is as it was",
    "data export": "stopped; nothing was written, and an earlier export is as it was",
    "data leakage": "stopped; nothing was written, and an earlier report is as it was",
}
_RESUME = {"evaluate": " with --resume"}


def _command() -> str:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return " ".join(words[:2]) if words[:1] in (["data"], ["md"]) else "".join(words[:1])


def _exit_code(command: Callable[..., Any]) -> int:
    try:
        code = command(standalone_mode=False)
    except ZifbenchError as error:
        _say(f"error: {error}")
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except _CommandLineError as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except _StoppedError as stopped:
        _say(_WHEN_STOPPED.get(_command(), "stopped; the same command continues"))
        return stopped.exit_code
    except BrokenPipeError:  # `zifbench … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = f"; make room, then run it again{_RESUME.get(_command(), '')}" if full else ""
        _say(f"error: {error.strerror or error}{place}{advice}")
        return 2
    return int(code or 0)


def _say(message: str) -> None:
    typer.echo(message, err=True)


if __name__ == "__main__":
    main()
