"""`zifbench train`, `sweep` and `recipes`: a few lines over the training room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe (see `zifbench recipes`), or a .yaml file.")
    ],
    data: Annotated[str, typer.Option(help="The store.")],
    split: Annotated[Path, typer.Option(help="A split of it, with validation and test frames.")],
    out: Annotated[Path, typer.Option(help="Directory of the training.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first training. [default: the recipe's]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, with the seeds that follow.")] = 1,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change an entry: key=value or section.key=value. Repeat."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Short for --set epochs=N.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs (CPU: processes), each with a batch of its own.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Nodes of a SLURM job, each with so many --devices.")
    ] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read frames ahead.")] = 0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the models too (minutes).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Train a candidate on a split; the same command continues where it was stopped.

    OUT/seed-N holds the packaged model, checkpoints, the learning curve and an accuracy report on
    the test frames, which training never reads; where TensorBoard is installed, its events are in
    OUT/seed-N/tensorboard. Exit code 3: the training failed or diverged; 4: memory did not suffice.
    """
    from zifbench import console
    from zifbench.errors import DataError
    from zifbench.training.recipe import DUMMY, load_recipe
    from zifbench.training.run import Machine, train_dummy
    from zifbench.training.run import train as run

    if recipe == DUMMY:
        asked: dict[str, object] = {"--seed": seed is not None, "--seeds": seeds > 1}
        asked |= {"--set": change, "--epochs": epochs, "--compile": compiled, "--nodes": nodes > 1}
        given = [option for option, is_given in asked.items() if is_given]
        if given:
            raise DataError(
                f"{DUMMY} is a mean, for which {', '.join(given)} means nothing; leave that out"
            )
        result = train_dummy(data, split, out, progress=console.progress_bar)
        typer.echo(result.model_dump_json(indent=1)) if as_json else console.show_result(result)
        return
    words = [word for word in change or () if word.partition("=")[0].strip() == "epochs"]
    if epochs is not None and words:
        raise DataError(f"--epochs {epochs} and --set {words[0]} contradict each other; give one")
    short = [] if epochs is None else [f"epochs={epochs}"]
    what = load_recipe(recipe, [*(change or ()), *short])
    first = what.seed if seed is None else seed
    record = run(
        what,
        data,
        split,
        out,
        range(first, first + seeds),
        Machine(device, devices, threads, workers, compiled, nodes),
        progress=console.progress_bar,
        say=console.note,
    )
    if as_json:
        typer.echo(record.model_dump_json(indent=1))
        return
    console.show_training(record)
    console.out.print(f"models: {out}/seed-*/model.nequip.zip, curves: {out / 'curves.png'}")


def sweep(
    grid: Annotated[
        str, typer.Argument(help="Name of a sweep (see `zifbench recipes`), or a .yaml file.")
    ],
    data: Annotated[str, typer.Option(help="The store.")],
    out: Annotated[Path, typer.Option(help="Directory of the sweep.")],
    split: Annotated[
        list[Path] | None,
        typer.Option(help="Train on this split, in place of those of the sweep. Repeat."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Train CANDIDATE/SPLIT/SEED or a pattern of it only, and make no tables: a job of "
            "a cluster. Repeat."
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--list", help="Print the names of all trainings, and train none.")
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Train none: make the tables of what is finished.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Begin anew what was trained with another recipe, split or store."
        ),
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change an entry of every recipe: key=value. Repeat."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="GPUs (CPU: processes) of a node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of a SLURM job, for each.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read frames ahead.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Train recipes on splits with several seeds, and compare them in tables and pictures.

    The same command continues where it was stopped. Several processes or jobs may work in one
    directory (--only); --tables then makes the tables of what they have finished. Exit code 3: a
    training failed; the others are done.
    """
    from zifbench import console
    from zifbench.errors import DataError, TrainingError
    from zifbench.training.run import Machine
    from zifbench.training.sweep.figures import draw_sweep
    from zifbench.training.sweep.grid import load_grid
    from zifbench.training.sweep.plan import make_plan
    from zifbench.training.sweep.run import run_cells
    from zifbench.training.sweep.table import collect, headings, lines, write_tables

    plan = make_plan(*load_grid(grid), data, out, split_files=split or (), changes=change or ())
    if tables and (only or names):
        raise DataError("--tables goes with neither --only nor --list; leave one out")
    cells = () if tables else plan.picked(only or ())
    if names:
        for cell in cells:
            typer.echo(cell.name)
        return
    machine = Machine(device, devices, threads, workers, nodes=nodes)
    failed = run_cells(
        plan, cells, machine, replace=replace, progress=console.progress_bar, say=console.note
    )
    if not only:
        found = collect(plan, failed)
        write_tables(found, out)
        pictures = draw_sweep(plan, found)
        if as_json:
            typer.echo(found.model_dump_json(indent=1))
        else:
            title = f"{found.name} on {found.store}: mean ± standard deviation over the seeds"
            console.show_rows(title, *console.fitting(headings(found), lines(found)))
            for remark in found.notes:
                console.say("yellow", "note", remark)
            written = ", ".join(["table.md", "table.csv", *(path.name for path in pictures)])
            console.out.print(f"sweep: {out} ({written})", soft_wrap=True)
    if failed:
        name, reason = next(iter(failed.items()))
        if all(error.exit_code == DataError.exit_code for error in failed.values()):
            raise reason
        raise TrainingError(f"{len(failed)} of {len(cells)} trainings failed, {name}: {reason}")


def recipes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes for `zifbench train`, and the sweeps over them."""
    import json

    from zifbench import console
    from zifbench.training.recipe import DUMMY, load_recipe, recipe_names
    from zifbench.training.sweep.grid import grid_names, load_grid

    found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        typer.echo(json.dumps([recipe.dump() for recipe in found]))
        return
    rows = [[r.name, r.about, r.split] for r in found]
    rows.append([DUMMY, "no network: the mean energy of the training frames, no forces", "any"])
    console.show_rows("", ["recipe", "what it trains", "meant for"], rows)
    grids = [load_grid(name)[0] for name in grid_names()]
    console.show_rows("", ["sweep", "what it compares"], [[g.name, g.about] for g in grids])
