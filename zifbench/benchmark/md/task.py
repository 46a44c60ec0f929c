"""The frame of every task of molecular dynamics: prepare, run, score, draw."""

from __future__ import annotations

import time

from zifbench.benchmark.md.simulation import MD_FOLDER, MdTask, prepare, simulate
from zifbench.benchmark.plots import png_of
from zifbench.benchmark.result import Measurement, Picture, TaskResult
from zifbench.benchmark.run import Run
from zifbench.dynamics.parity import refuse_failed
from zifbench.errors import DownloadError, ModelError


def run_md_task(task: MdTask, run: Run) -> TaskResult:
    """Simulate and score; what cannot be run is a gap, or an error if it was asked for by name.

    Raises:
        DownloadError: structures that cannot be had, of a task that was asked for by name.
        ModelError: a model that cannot be run on them, or that the engine gets wrong, likewise.
    """
    begun = time.perf_counter()
    try:
        refuse_failed(run.parity)
        prepared = prepare(task, run)
    except (DownloadError, ModelError) as error:
        if run.by_name or (run.directory / MD_FOLDER / task.name).exists():
            raise  # asked for, or begun already: what was simulated is not given up
        gap = f"not run: {error}"
        return TaskResult(
            task=task.name, measurements=[], gaps=[gap], wall_s=time.perf_counter() - begun
        )
    simulation = simulate(task, prepared, run)
    found = task.score(simulation, run)
    if not simulation.starts.published:  # another system, for every table
        found.measurements = [_from_stand_in(one) for one in found.measurements]
    return TaskResult(
        task=task.name,
        measurements=found.measurements,
        gaps=list(dict.fromkeys([*simulation.gaps(), *found.gaps])),
        settings=simulation.settings(),
        pictures=_keep(found.pictures, task, run),
        wall_s=time.perf_counter() - begun,
    )


def _from_stand_in(measurement: Measurement) -> Measurement:
    subset = {**measurement.subset, "start": "begun from a bundled frame"}
    return measurement.model_copy(update={"subset": subset})


def _keep(pictures: dict[str, str], task: MdTask, run: Run) -> list[Picture]:
    """Figures as files beside the frames."""
    kept = []
    for number, (title, url) in enumerate(pictures.items(), start=1):
        name = f"{MD_FOLDER}/{task.name}-{number}.png"
        (run.directory / name).write_bytes(png_of(url))
        kept.append(Picture(title=title, file=name))
    return kept
