"""What a training was asked to do, and what came of it: `training.json` beside the models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from zifbench.benchmark.provenance import installed_versions
from zifbench.benchmark.result import Provenance, Record, parse_record
from zifbench.dataset.splits.manifest import Split
from zifbench.dataset.store import Store
from zifbench.errors import DataError, ResultError, ZifbenchError
from zifbench.files import is_leftover, write_text_atomically
from zifbench.training.paths import RECIPE_FILE, RECORD_FILE
from zifbench.training.recipe import DUMMY, Recipe, load_recipe
from zifbench.training.subsets import READ_SUBSETS, TEST_SUBSET

LOCK_FILE = ".zifbench.lock"  # also what tells our directories from other people's


class Subset(Record):
    """Frames of one subset: how many, and a digest of what a model sees of them."""

    n_frames: int
    digest: str


class Request(Record):
    """What identifies a training; two with equal requests and seeds give equal weights on a CPU.

    Attributes:
        recipe: Its name.
        recipe_digest: sha256 of all its entries.
        store: Name of the store.
        store_version: Its content digest.
        split: Name of the split.
        split_digest: sha256 of its manifest.
        device: "cpu" or "cuda".
        devices: Processes that train together, on all nodes.
        threads: CPU threads; None leaves that to torch.
        packages: Versions.
    """

    zifbench: str
    recipe: str
    recipe_digest: str
    store: str
    store_version: str
    split: str
    split_digest: str
    device: str
    devices: int
    threads: int | None
    packages: dict[str, str]


class Trained(Record):
    """One seed: how its training ended, and how good the model is.

    Attributes:
        seed: Of the weights and of the order of frames.
        ended: "completed" or "diverged".
        reason: In words.
        epochs: Epochs that were completed.
        best_epoch: The one that was kept, counted from 1.
        seconds: Of training, without waiting for validation of earlier, killed attempts.
        model_sha256: Of the packaged model; None if there is none.
        test_errors: Quantity -> mean absolute error on the test frames, with its unit.
    """

    seed: int
    ended: str
    reason: str
    epochs: int
    best_epoch: int | None = None
    seconds: float = 0.0
    model_sha256: str | None = None
    test_errors: dict[str, tuple[float, str]] = Field(default_factory=dict)


class TrainingRecord(Record):
    """A whole training.

    Attributes:
        request: What was asked.
        read: The subsets that were trained on and validated with.
        test: The subset that was kept apart.
        n_shared_with_test: Frames that are in `test` and in a subset that was read, by content.
        trained: What came of each seed so far.
        provenance: Machine and versions of the last command.
    """

    schema_version: int = 1
    request: Request
    read: dict[str, Subset]
    test: Subset
    n_shared_with_test: int
    trained: list[Trained] = Field(default_factory=list)
    provenance: Provenance | None = None

    def with_trained(self, trained: Trained, provenance: Provenance) -> TrainingRecord:
        """The record with one more seed, or another outcome of one."""
        others = [t for t in self.trained if t.seed != trained.seed]
        every = sorted([*others, trained], key=lambda t: t.seed)
        return self.model_copy(update={"trained": every, "provenance": provenance})


def make_request(
    recipe: Recipe | None,
    store: Store,
    split: Split,
    split_file: Path,
    *,
    device: str = "cpu",
    devices: int = 1,
    threads: int | None = None,
) -> Request:
    """The identity of a training; without a recipe of the dummy's, which is fitted on one CPU."""
    from zifbench import __version__

    return Request(
        zifbench=__version__,
        recipe=DUMMY if recipe is None else recipe.name,
        recipe_digest=digest_of_entries({} if recipe is None else recipe.dump()),
        store=split.store.name,
        store_version=store.version,
        split=split.name,
        split_digest=hashlib.sha256(split_file.read_bytes()).hexdigest(),
        device=device,
        devices=devices,
        threads=threads,
        packages=installed_versions(),
    )


def digest_of_entries(entries: Mapping[str, Any]) -> str:
    """sha256 of all entries of a recipe."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def make_record(request: Request, split: Split, digests: dict[str, str]) -> TrainingRecord:
    """The record of a training that begins; `digests` are those of `subsets.check_disjoint`."""
    subsets = {n: Subset(n_frames=split.count(n), digest=d) for n, d in digests.items()}
    return TrainingRecord(
        request=request,
        read={name: subsets[name] for name in READ_SUBSETS},
        test=subsets[TEST_SUBSET],
        n_shared_with_test=0,  # anything else was refused
    )


def open_record(out: Path, new: TrainingRecord, recipe: Recipe | None = None) -> TrainingRecord:
    """The record to go on with: that of the directory, or `new`, written.

    Args:
        out: Directory of the training.
        new: What is asked for now.
        recipe: What its digest is of, to name the entry that differs.

    Raises:
        ResultError: the directory holds something else, or a training of another request.
    """
    check_directory(out)
    file = out / RECORD_FILE
    if not file.is_file():
        write_record(out, new)
        return new
    old = parse_record(TrainingRecord, file)
    for name in Request.model_fields:
        before, now = getattr(old.request, name), getattr(new.request, name)
        if before != now:
            if name == "recipe_digest" and recipe is not None:
                name, before, now = _changed_entry(out / RECIPE_FILE, recipe) or (name, before, now)
            raise ResultError(
                f"{out} was begun with {name} = {_short(before)}, now it is {_short(now)}; go on "
                "with the same, or give another --out"
            )
    return old


def check_directory(out: Path) -> None:
    """Refuse a directory of something else, before anything is written there.

    Raises:
        ResultError: it holds other files than a training, or is a file.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file; give another --out directory")
    ours = not out.is_dir() or (out / RECORD_FILE).is_file()
    if not ours and any(
        path.name != LOCK_FILE and not is_leftover(path.name) for path in out.iterdir()
    ):
        raise ResultError(f"{out} holds other files than a training; give another --out")


def write_record(out: Path, record: TrainingRecord) -> None:
    """Replace the file."""
    write_text_atomically(out / RECORD_FILE, record.model_dump_json(indent=1) + "\n")


def _changed_entry(file: Path, recipe: Recipe) -> tuple[str, object, object] | None:
    """The first entry that differs from that of a file, if it can be read: key, before, now."""
    try:
        earlier = load_recipe(str(file))
    except (ZifbenchError, OSError):
        return None  # the digest says that something differs
    before, now = _flat(earlier.dump()), _flat(recipe.dump())
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    return next(((key, before.get(key), now.get(key)) for key in changed), None)


def _flat(entries: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Entries of sections as `section.key`, as --set takes them."""
    found: dict[str, Any] = {}
    for key, value in entries.items():
        is_section = isinstance(value, Mapping)
        found |= _flat(value, f"{section}{key}.") if is_section else {f"{section}{key}": value}
    return found


def _short(value: object) -> str:
    text = "not given" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def check_subsets(split: Split) -> None:
    """Refuse a split that lacks one of the subsets.

    Raises:
        DataError: it does, and which.
    """
    absent = [name for name in (*READ_SUBSETS, TEST_SUBSET) if name not in split.subsets]
    if absent:
        raise DataError(
            f"split {split.name} has no {absent[0]} frames, and training needs "
            f"{', '.join(READ_SUBSETS)} and {TEST_SUBSET}; ask for fewer frames in the others"
        )


def check_frames(recipe: Recipe, store: Store, split: Split) -> bool:
    """Refuse frames that the recipe cannot be trained on.

    Returns:
        Whether they have stresses.

    Raises:
        DataError: no validation frames, an element that the recipe lacks, a label that is missing.
    """
    from ase.data import chemical_symbols

    check_subsets(split)
    names = sorted({name for subset in READ_SUBSETS for name in split.rows(subset)})
    used = [store.trajectories[name] for name in names]
    for trajectory in used:
        there = {chemical_symbols[number] for number in trajectory.numbers}
        unknown = sorted(there - set(recipe.elements))
        if unknown:
            raise DataError(
                f"{trajectory.source} holds {', '.join(unknown)}, and recipe {recipe.name} knows "
                f"{', '.join(recipe.elements)}; add it to elements, or --set "
                f"elements=[{','.join([*recipe.elements, *unknown])}]"
            )
        for field in ("energy", "forces"):
            if field not in trajectory.fields:
                raise DataError(f"{trajectory.source} has no {field}, which training needs")
    stress = all("stress" in trajectory.fields for trajectory in used)
    if recipe.stress_weight and not stress:
        lacking = next(t for t in used if "stress" not in t.fields)
        raise DataError(
            f"recipe {recipe.name} weighs stresses ({recipe.stress_weight:g}), and "
            f"{lacking.source} has none; --set stress_weight=0, or other frames"
        )
    return stress
