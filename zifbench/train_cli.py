"""`zifbench train`: a few lines over the training room."""

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
    from zifbench.training.dummy import DUMMY
    from zifbench.training.recipe import load_recipe
    from zifbench.training.run import Machine, train_dummy
    from zifbench.training.run import train as run

    if recipe == DUMMY:
        asked: dict[str, object] = {"--seed": seed is not None, "--seeds": seeds > 1}
        asked |= {"--set": change, "--epochs": epochs, "--compile": compiled}
        given = [option for option, is_given in asked.items() if is_given]
        if given:
            raise DataError(
                f"{DUMMY} is a mean, for which {', '.join(given)} means nothing; leave that out"
            )
        result = train_dummy(data, split, out, progress=console.progress_bar)
        typer.echo(result.model_dump_json(indent=1)) if as_json else console.show_result(result)
        return
    short = [] if epochs is None else [f"epochs={epochs}"]
    what = load_recipe(recipe, [*(change or ()), *short])
    first = what.seed if seed is None else seed
    record = run(
        what,
        data,
        split,
        out,
        range(first, first + seeds),
        Machine(device, devices, threads, workers, compiled),
        progress=console.progress_bar,
        say=console.note,
    )
    if as_json:
        typer.echo(record.model_dump_json(indent=1))
        return
    console.show_training(record)
    console.out.print(f"models: {out}/seed-*/model.nequip.zip, curves: {out / 'curves.png'}")


def recipes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes for `zifbench train`."""
    import json

    from zifbench import console
    from zifbench.training.dummy import DUMMY
    from zifbench.training.recipe import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        typer.echo(json.dumps([recipe.dump() for recipe in found]))
        return
    rows = [[r.name, r.about, r.split] for r in found]
    rows.append([DUMMY, "no network: the mean energy of the training frames, no forces", "any"])
    console.show_rows("", ["recipe", "what it trains", "meant for"], rows)
