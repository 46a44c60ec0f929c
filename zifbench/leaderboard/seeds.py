"""One entry for several models that differ in the seed of their training only.

What a recipe is worth is the mean over its seeds; one model alone may have been lucky. Trainings of
`zifbench train` and `sweep` say beside their results what they were; of models that were trained
elsewhere it is taken on trust.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from zifbench.benchmark.result import Measurement, Result
from zifbench.errors import ResultError
from zifbench.potentials.card import ModelCard
from zifbench.training.origin import training_of

# What models of one recipe have in common, and what results of one comparison have.
_SAME_MODEL = ("format", "architecture", "species", "cutoff_A", "dtype", "n_parameters",
               "compiled_for")  # fmt: skip
_SAME_RUN = ("profile", "conforms")
_SAME_TRAINING = ("recipe_digest", "split_digest", "store_version")
_OF_THE_MACHINE = ("time_", "peak_")  # beginnings of quantities that a machine decides


def check_trainings(results: Sequence[Path]) -> str | None:
    """Refuse results of trainings that differ in more than their seed.

    Args:
        results: Directories of results, or their `result.json`.

    Returns:
        Name of the recipe, None if they are of no trainings of ours.

    Raises:
        ResultError: another recipe, split or store, a record for some of them only, or one seed
            twice.
    """
    folders = {path: (path if path.is_dir() else path.parent).resolve() for path in results}
    found = {path: training_of(folder) for path, folder in folders.items()}
    first, *others = found
    for path in others:
        for key in _SAME_TRAINING:
            one, two = found[first].get(key), found[path].get(key)
            if one != two:
                raise ResultError(
                    f"{first} and {path} are of trainings with different {key} ({_short(one)} and "
                    f"{_short(two)}); one entry is of one recipe on one split, with several seeds"
                )
    recipe = found[first].get("recipe")
    if recipe is not None:  # packages of equal weights differ in their digests
        _check_seeds({path: folder.parent.name for path, folder in folders.items()})
    return recipe if isinstance(recipe, str) else None


def _check_seeds(seeds: Mapping[Path, str]) -> None:
    """Each result lies in the folder of its seed, `seed-N`."""
    paths: dict[str, Path] = {}
    for path, seed in seeds.items():
        if seed in paths:
            raise ResultError(
                f"{paths[seed]} and {path} are both of {seed}, trained twice to the same; wanted "
                "one result for each seed"
            )
        paths[seed] = path


def _short(value: object) -> str:
    return "none recorded" if value is None else str(value)[:12]


def check_alike(results: Sequence[Result]) -> None:
    """Refuse results that are not of one recipe, on the same frames and the same device.

    Raises:
        ResultError: they differ, or one model is there twice.
    """
    first = results[0]
    for other in results[1:]:
        pairs = [("test frames", first.data.digest, other.data.digest)]
        pairs += [
            (key, getattr(first.model, key), getattr(other.model, key)) for key in _SAME_MODEL
        ]
        pairs += [(key, getattr(first, key), getattr(other, key)) for key in _SAME_RUN]
        pairs += [("device", first.provenance.device, other.provenance.device)]
        for what, one, two in pairs:
            if one != two:
                raise ResultError(
                    f"{first.model.name} and {other.model.name} differ in {what} ({one} and {two})"
                    "; one entry is of one recipe with several seeds, add the others by themselves"
                )
    digests = [result.model.digest for result in results]
    if len(set(digests)) < len(digests):
        raise ResultError("the same model is given twice; wanted one result for each seed")


def card_of_seeds(results: Sequence[Result], name: str) -> ModelCard:
    """What the models have in common; the digest is of all their digests."""
    digests = "\n".join(sorted(result.model.digest for result in results))
    return results[0].model.model_copy(
        update={
            "name": name,
            "file": f"{len(results)} models",
            "sha256": hashlib.sha256(digests.encode()).hexdigest(),
            "weights_sha256": (),  # each stands in the digest of its model
            "size_bytes": max(result.model.size_bytes for result in results),
        }
    )


def measurements_of_seeds(results: Sequence[Result]) -> list[Measurement]:
    """The mean of every measurement that all results have, with the spread between them.

    The interval is for the mean of the recipe over all seeds and frames: the models were tested on
    the same frames, so the sampling error of these does not average out and stands as the
    quadratic mean of the single half-widths; beside it Student's t interval of the seeds. Speed and
    memory are left out where the models were timed on different machines. Counts, references and
    notes are those of the first.
    """
    machines = {
        (made.device, made.cpu, made.n_threads)
        for made in (result.provenance for result in results)
    }
    one_machine = len(machines) == 1
    tables = [
        {(m.quantity, tuple(sorted(m.subset.items()))): m for m in result.measurements()}
        for result in results
    ]
    return [
        _combined([table[key] for table in tables])
        for key in tables[0]
        if all(key in table for table in tables)
        and (one_machine or not key[0].startswith(_OF_THE_MACHINE))
    ]


def _combined(found: Sequence[Measurement]) -> Measurement:
    values = [m.value for m in found]
    mean, spread = statistics.mean(values), statistics.stdev(values)
    floors = [m.noise_floor for m in found if m.noise_floor is not None]
    return found[0].model_copy(
        update={
            "value": mean,
            "interval_95": _interval(found, mean, spread),
            "spread_95": None,
            "seed_sd": spread,
            "noise_floor": statistics.mean(floors) if len(floors) == len(found) else None,
        }
    )


def _interval(
    found: Sequence[Measurement], mean: float, spread: float
) -> tuple[float, float] | None:
    from scipy.stats import t

    known = [(m.value, m.interval_95) for m in found if m.interval_95 is not None]
    if len(known) < len(found):
        return None
    n = len(found)
    seeds = float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    below = math.sqrt(statistics.mean((value - low) ** 2 for value, (low, _) in known))
    above = math.sqrt(statistics.mean((high - value) ** 2 for value, (_, high) in known))
    low, high = mean - math.hypot(below, seeds), mean + math.hypot(above, seeds)
    # What is positive by nature stays so: of two seeds, Student's t alone would leave that range.
    positive = all(value >= 0.0 and bottom >= 0.0 for value, (bottom, _) in known)
    return (max(0.0, low) if positive else low), high
