"""`train`: from a recipe and a split to packaged models with an accuracy report, seed by seed.

A directory of a training holds

    training.json   what was asked, digests of data and split, versions, and what came of each seed
    recipe.yaml     the recipe with all its entries
    curves.png      the learning curves of all seeds
    seed-N/         config.yaml (what nequip reads), curve.csv, last.ckpt, best.ckpt, train.log,
                    model.nequip.zip, model.nequip.pt2 if it was compiled, evaluation/

The same command goes on where it was stopped or killed; what is finished is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zifbench.benchmark.evaluation import RUN_FILE, Options, evaluate
from zifbench.benchmark.provenance import collect_provenance
from zifbench.benchmark.result import Result
from zifbench.dataset.named import open_named
from zifbench.dataset.splits.manifest import Split, load_split
from zifbench.dataset.store import Store
from zifbench.errors import DataError, TrainingError
from zifbench.files import write_text_atomically
from zifbench.potentials.formats import sha256_of
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress
from zifbench.training.curve import CURVE_FILE, Row, draw_learning_curves, read_curve
from zifbench.training.dummy import fit_dummy
from zifbench.training.ending import Ending, read_ending
from zifbench.training.expand import check_model, expand
from zifbench.training.origin import recipe_of
from zifbench.training.paths import (
    BEST_FILE,
    COMPILED_FILE,
    CONFIG_FILE,
    EVALUATION_FOLDER,
    LAST_FILE,
    MODEL_FILE,
    PICTURE_FILE,
    RECIPE_FILE,
)
from zifbench.training.process import locked, run_tool, run_training
from zifbench.training.recipe import Recipe
from zifbench.training.record import (
    LOCK_FILE,
    Trained,
    TrainingRecord,
    check_directory,
    check_frames,
    check_subsets,
    make_record,
    make_request,
    open_record,
    write_record,
)
from zifbench.training.slurm import check_nodes
from zifbench.training.strict import as_yaml
from zifbench.training.subsets import TEST_SUBSET, check_disjoint

_SAY_S = 30.0  # between two lines about errors
# Quantities of the accuracy report that the table of seeds shows.
SHOWN_ERRORS = ("energy_mae", "force_mae", "stress_mae")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """Where and how to train; nothing of it belongs to the recipe.

    Attributes:
        device: "auto", "cpu" or "cuda".
        devices: GPUs (or processes, on a CPU) on each node.
        threads: CPU threads of torch; None leaves that to the environment.
        workers: Processes that read frames ahead.
        compile: Whether to compile the models too.
        nodes: Nodes of a SLURM job that train together.
    """

    device: str = "auto"
    devices: int = 1
    threads: int | None = None
    workers: int = 0
    compile: bool = False
    nodes: int = 1


@dataclass(frozen=True)
class Report:
    """What is said of a finished model, on the test frames.

    Attributes:
        tasks: Tasks of `zifbench evaluate`.
        conformance: Whether it is checked first.
        profile: How long each task is.
    """

    tasks: tuple[str, ...] = ("accuracy",)
    conformance: bool = False
    profile: Profile = Profile.QUICK


def train(
    recipe: Recipe,
    data: str,
    split_file: Path,
    out: Path,
    seeds: Sequence[int],
    machine: Machine,
    *,
    report: Report = Report(),
    progress: Progress = no_progress,
    say: Say = lambda sentence: None,
) -> TrainingRecord:
    """Train a recipe with each of some seeds, or go on with that.

    Args:
        recipe: What to train.
        data: The store.
        split_file: A split of that version of the store.
        out: Directory of the training.
        seeds: One training for each.
        machine: Where and how.
        report: What is said of the models.
        progress: Shows a person how far it is.
        say: Takes a sentence about the errors now and then.

    Raises:
        ZifbenchError: bad input, before anything is written; or what happened to the training.
        TrainingError: a training diverged; the others were finished.
    """
    from zifbench.potentials.torch_potential import choose_device

    check_directory(out)
    check_model(recipe)
    split = load_split(split_file)
    with _whole_store(data) as store:
        split.check(store)
        stress = check_frames(recipe, store, split)
        device = choose_device(machine.device)
        _check_devices(device, machine.devices, machine.nodes)
        request = make_request(
            recipe,
            store,
            split,
            split_file,
            device=device,
            devices=machine.devices * machine.nodes,
            threads=machine.threads,
        )
    new = make_record(request, split, dict(check_disjoint(data, split)))
    with locked(out / LOCK_FILE) as lock:
        record = open_record(out, new, recipe)
        write_text_atomically(out / RECIPE_FILE, as_yaml(recipe.dump()))
        job = _Job(recipe, data, split, split_file, out, machine, report, device, stress, lock)
        for seed in seeds:
            trained = job.run(seed, progress, say)
            record = record.with_trained(trained, collect_provenance(device))
            _draw(record, out, recipe)  # before the record, which says that the seed is finished
            write_record(out, record)
    _complain(record, out, seeds)
    return record


def train_dummy(
    data: str,
    split_file: Path,
    out: Path,
    *,
    report: Report = Report(),
    progress: Progress = no_progress,
) -> Result:
    """Fit the dummy to the training frames, and score it on the test frames.

    Raises:
        ZifbenchError: see `train`.
    """
    check_directory(out)
    split = load_split(split_file)
    with _whole_store(data) as store:
        split.check(store)
        check_subsets(split)
        request = make_request(None, store, split, split_file)
    new = make_record(request, split, dict(check_disjoint(data, split)))
    with locked(out / LOCK_FILE):
        open_record(out, new)
        model = fit_dummy(data, split_file, out)
        folder = out / EVALUATION_FOLDER
        return _evaluate(model, data, split_file, folder, "cpu", None, report, progress)


def _check_devices(device: str, devices: int, nodes: int) -> None:
    check_nodes(nodes)
    if devices * nodes == 1 or device == "cpu":
        return
    import torch

    if ":" in device:
        more = f"--devices {devices}" if devices > 1 else f"--nodes {nodes}"
        raise DataError(f"--device {device} is one GPU, and {more} wants more; leave one out")
    n_there = torch.cuda.device_count()
    if devices > n_there:
        raise DataError(f"--devices {devices}: there are {n_there} GPUs here")


def _whole_store(data: str) -> Store:
    store, trajectory = open_named(data)
    if trajectory is not None:
        store.close()
        raise DataError(f"--data {data} is one trajectory; a split belongs to the whole store")
    return store


def seed_folder(out: Path, seed: int) -> Path:
    """Where one of the trainings lies."""
    return out / f"seed-{seed}"


@dataclass(frozen=True)
class _Job:
    """What the trainings of all seeds have in common."""

    recipe: Recipe
    data: str
    split: Split
    split_file: Path
    out: Path
    machine: Machine
    report: Report
    device: str
    stress: bool
    lock: int

    def run(self, seed: int, progress: Progress, say: Say) -> Trained:
        """One seed, from where it is."""
        directory = seed_folder(self.out, seed)
        ending = read_ending(directory)
        if ending is None or ending.kind != "completed":
            ending = self._train(seed, directory, progress, say)
        rows = read_curve(directory / CURVE_FILE)
        trained = Trained(
            seed=seed,
            ended=ending.kind,
            reason=ending.reason,
            epochs=len(rows),
            best_epoch=_best(rows)["epoch"] + 1 if rows else None,
            seconds=round(sum(row["seconds"] for row in rows), 1),
        )
        if ending.kind != "completed":
            return trained
        model = self._package(directory, say)
        return trained.model_copy(
            update={
                "model_sha256": sha256_of(model),
                "test_errors": self._test(model, directory / EVALUATION_FOLDER, progress),
            }
        )

    def _train(self, seed: int, directory: Path, progress: Progress, say: Say) -> Ending:
        config = expand(
            self.recipe,
            store=self.data,
            split=self.split_file,
            out=directory,
            seed=seed,
            device=self.device,
            stress=self.stress,
            workers=self.machine.workers,
            devices=self.machine.devices,
            nodes=self.machine.nodes,
            tensorboard=_has_tensorboard(),
        )
        write_text_atomically(directory / CONFIG_FILE, as_yaml(config))
        curve = _Watch(directory / CURVE_FILE, seed, self.recipe.epochs, say)
        if not (directory / LAST_FILE).is_file():
            (directory / CURVE_FILE).unlink(missing_ok=True)
        done = curve.count()
        with progress(f"seed {seed}", self.recipe.epochs, done) as advance:
            return run_training(
                directory,
                threads=self.machine.threads,
                lock=self.lock,
                look=lambda: curve.look(advance),
                nodes=self.machine.nodes,
                devices=self.machine.devices,
            )

    def _package(self, directory: Path, say: Say) -> Path:
        """The packaged model, and its compiled form if that is wanted."""
        model = directory / MODEL_FILE
        if not model.is_file():
            unfinished = directory / f"unfinished.{MODEL_FILE}"
            run_tool(
                "package",
                ["build", str(directory / BEST_FILE), str(unfinished)],
                directory,
                threads=self.machine.threads,
                lock=self.lock,
            )
            unfinished.replace(model)
        compiled = directory / COMPILED_FILE
        if self.machine.compile and not compiled.is_file():
            unfinished = directory / f"unfinished.{COMPILED_FILE}"
            options = ["--mode", "aotinductor", "--device", self.device, "--target", "ase"]
            say("compiling the model, which takes minutes")
            run_tool(
                "compile",
                [str(model), str(unfinished), *options],
                directory,
                threads=self.machine.threads,
                lock=self.lock,
            )
            unfinished.replace(compiled)
        return model

    def _test(
        self, model: Path, directory: Path, progress: Progress
    ) -> dict[str, tuple[float, str]]:
        """Mean absolute errors on the test frames; the report lies in the directory."""
        result = _evaluate(
            model,
            self.data,
            self.split_file,
            directory,
            self.device,
            self.machine.threads,
            self.report,
            progress,
        )
        return {
            m.quantity: (m.value, m.unit)
            for m in result.measurements()
            if m.quantity in SHOWN_ERRORS and not m.subset
        }


def _evaluate(
    model: Path,
    data: str,
    split_file: Path,
    out: Path,
    device: str,
    threads: int | None,
    report: Report,
    progress: Progress,
) -> Result:
    """The report on a model that was made here."""
    options = Options(
        tasks=report.tasks,
        profile=report.profile,
        device=device,
        threads=threads,
        conformance=report.conformance,
        trust=True,  # it was made here, just now
        resume=(out / RUN_FILE).is_file(),
        split=split_file,
        subset=TEST_SUBSET,
        name=recipe_of(str(model)),
    )
    return evaluate(str(model), [data], out, options, progress=progress)


class _Watch:
    """Reads the curve while the training process writes it."""

    def __init__(self, curve: Path, seed: int, epochs: int, say: Say) -> None:
        self._curve, self._seed, self._epochs, self._say = curve, seed, epochs, say
        self._known = len(read_curve(curve))
        self._changed: float = 0.0
        self._said = time.monotonic()

    def count(self) -> int:
        """Epochs so far."""
        return self._known

    def look(self, advance: Callable[[int], None]) -> None:
        """Move the bar by what is new; say how it goes now and then."""
        try:
            changed = self._curve.stat().st_mtime
        except FileNotFoundError:
            return
        if changed == self._changed:
            return
        self._changed = changed
        rows = read_curve(self._curve)
        if len(rows) > self._known:  # a resumed training repeats what came after its checkpoint
            advance(len(rows) - self._known)
            self._known = len(rows)
        now = time.monotonic()
        if rows and now - self._said > _SAY_S:
            self._said = now
            self._say(f"seed {self._seed}, epoch {len(rows)} of {self._epochs}: {_errors(rows)}")


def _errors(rows: Sequence[Row]) -> str:
    last, best = rows[-1], _best(rows)
    units = {"per_atom_energy": "meV/atom", "forces": "meV/Å"}
    errors = [
        f"{1000 * last[f'validation_{name}_rmse']:.3g} {unit}"
        for name, unit in units.items()
        if f"validation_{name}_rmse" in last
    ]
    return (
        f"validation RMSE {', '.join(errors)}, loss {last['validation_loss']:.3g} "
        f"(lowest {best['validation_loss']:.3g} in epoch {best['epoch'] + 1})"
    )


def _best(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: float(row["validation_loss"]))


def _has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None or find_spec("tensorboardX") is not None


def _draw(record: TrainingRecord, out: Path, recipe: Recipe) -> None:
    curves = {
        f"seed {t.seed}": read_curve(seed_folder(out, t.seed) / CURVE_FILE) for t in record.trained
    }
    drawn = {name: rows for name, rows in curves.items() if rows}
    if drawn:
        frames = record.read["train"].n_frames
        title = f"{recipe.name}, {frames} training frames of split {record.request.split}"
        draw_learning_curves(drawn, out / PICTURE_FILE, title)


def _complain(record: TrainingRecord, out: Path, seeds: Sequence[int]) -> None:
    failed = [t for t in record.trained if t.seed in seeds and t.ended != "completed"]
    if failed:
        first = failed[0]
        kept = seed_folder(out, first.seed) / LAST_FILE
        good = f"the last good checkpoint is {kept}" if kept.is_file() else "no epoch was completed"
        raise TrainingError(
            f"the training of seed {first.seed} {first.ended}: {first.reason}; {good}; a lower "
            f"learning_rate may help ({len(failed)} of {len(seeds)} seeds failed)"
        )
