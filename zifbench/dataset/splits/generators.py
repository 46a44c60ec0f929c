"""Splits of a store into training, validation and test frames.

`GENERATORS` is the table of the ways to make one; a new way is a frozen dataclass of parameters, a
function of pool, parameters and keys, and a line there.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from zifbench import __version__
from zifbench.dataset.splits.by_energy import FlatHistogram, Random, flat_histogram, random_split
from zifbench.dataset.splits.by_time import Blocked, blocked
from zifbench.dataset.splits.by_trajectory import ByLabel, LeaveStateOut, by_label, leave_state_out
from zifbench.dataset.splits.draws import KEYS, RandomKeys
from zifbench.dataset.splits.manifest import Split, StoreName, load_split, write_split
from zifbench.dataset.splits.pool import Pool, pool_of
from zifbench.dataset.splits.subsets import SUBSETS, Drawn
from zifbench.errors import DataError, unknown_name
from zifbench.frames import IntArray

if TYPE_CHECKING:
    from zifbench.dataset.store import Store

__all__ = ["GENERATORS", "Generator", "Split", "load_split", "make_split", "write_split"]


@dataclass(frozen=True)
class Generator:
    """A way to make a split.

    Attributes:
        about: What it does, in a line.
        parameters: Frozen dataclass of what it can be asked.
        draw: From pool, parameters and keys to subsets.
        draws_counts: Whether each subset is just so many frames, so that those of another split
            may take its place.
    """

    about: str
    parameters: type[Any]
    draw: Callable[[Pool, Any, RandomKeys], Drawn]
    draws_counts: bool = False


GENERATORS: dict[str, Generator] = {
    "random": Generator("frames at random, as in the paper", Random, random_split, True),
    "flat-histogram": Generator(
        "one frame from each bin of the energy, as in the paper",
        FlatHistogram,
        flat_histogram,
        True,
    ),
    "blocked": Generator("blocks of time with an embargo between subsets", Blocked, blocked),
    "leave-state-out": Generator(
        "whole trajectories by temperature, state, name, …", LeaveStateOut, leave_state_out
    ),
    "by-label": Generator("as a label of the frames says", ByLabel, by_label),
}


def make_split(
    store: Store,
    generator: str,
    *,
    seed: int = 0,
    name: str | None = None,
    trajectories: Sequence[str] = (),
    taken_from: Mapping[str, Split] = MappingProxyType({}),
    **parameters: Any,
) -> Split:
    """Split the frames of a store.

    Args:
        store: An open store.
        generator: A name in `GENERATORS`.
        seed: Of its random draws.
        name: What to call the split; by default generator and seed.
        trajectories: Names or patterns of the trajectories to draw from; none means all.
        taken_from: "test", "validation" -> another split of this version of the store, whose
            frames of that name are taken and kept out of all draws: models that were trained on
            either are then tested on the same.
        parameters: Of the generator; None means not given.

    Raises:
        UnknownNameError: no such generator or trajectory.
        DataError: parameters that the generator does not have or needs and did not get, or that
            cannot be met; an empty subset.
    """
    if generator not in GENERATORS:
        raise unknown_name("generator", generator, GENERATORS)
    line = GENERATORS[generator]
    taken = _taken(store, generator, parameters, taken_from)
    values = _parameters(generator, line.parameters, parameters | dict.fromkeys(taken, 0))
    labels = [values.label] if isinstance(values, ByLabel) else []
    pool = pool_of(store, names=trajectories, labels=labels, held_out=_united(taken.values()))
    drawn = line.draw(pool, values, RandomKeys(seed))
    chosen: dict[str, Any] = {"trajectories": list(trajectories)} if trajectories else {}
    chosen |= {f"{subset}_of": split.name for subset, split in taken_from.items()}
    by_subset = {name: pool.by_trajectory(ids) for name, ids in drawn.subsets.items()} | taken
    return Split(
        name=name or f"{generator}-{seed}",
        generator=generator,
        seed=seed,
        parameters=chosen | dataclasses.asdict(values),
        store=StoreName(
            name=PurePath(store.location).name, version=store.version, n_frames=store.n_frames
        ),
        subsets={name: by_subset[name] for name in SUBSETS if name in by_subset},
        notes=(*_left_out(pool), *drawn.notes),
        provenance={
            "zifbench": __version__,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "random": KEYS,
        },
    )


def _taken(
    store: Store,
    generator: str,
    parameters: Mapping[str, Any],
    taken_from: Mapping[str, Split],
) -> dict[str, dict[str, IntArray]]:
    """The frames that come from other splits: subset -> trajectory -> frames."""
    for subset, other in taken_from.items():
        if not GENERATORS[generator].draws_counts:
            able = " and ".join(name for name, line in GENERATORS.items() if line.draws_counts)
            raise DataError(
                f"{generator} chooses {subset} frames itself; --{subset}-of goes with {able}"
            )
        if parameters.get(subset) is not None:
            raise DataError(f"--{subset} and --{subset}-of contradict each other; give one of them")
        other.check(store)
    return {subset: dict(other.rows(subset)) for subset, other in taken_from.items()}


def _united(subsets: Iterable[Mapping[str, IntArray]]) -> dict[str, IntArray]:
    """Trajectory -> frames of all subsets together."""
    found: dict[str, list[IntArray]] = {}
    for trajectories in subsets:
        for name, frames in trajectories.items():
            found.setdefault(name, []).append(frames)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _parameters(generator: str, kind: type[Any], given: dict[str, Any]) -> Any:
    """The parameters of a generator from what a person gave."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {key: value for key, value in given.items() if value is not None}
    foreign = sorted(set(values) - set(fields))
    if foreign:
        raise DataError(
            f"{generator} has no parameter {_option(foreign[0])}; it has "
            f"{', '.join(map(_option, fields))}"
        )
    missing = [
        _option(key)
        for key, field in fields.items()
        if field.default is dataclasses.MISSING and key not in values
    ]
    if missing:
        raise DataError(f"{generator} needs {' and '.join(missing)}")
    return kind(**values)


def _option(name: str) -> str:
    return name.replace("_", "-")


def _left_out(pool: Pool) -> list[str]:
    n = pool.n_without_energy
    return [f"{n} frames without an energy are in no subset"] if n else []
