"""What a split is drawn from: every frame of a store, with its energy, time and labels.

Frames are numbered through, trajectory after trajectory, in the alphabetical order of the names of
the trajectories; generators work on these numbers.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zifbench.errors import DataError, unknown_name
from zifbench.frames import FloatArray, IntArray

if TYPE_CHECKING:
    from zifbench.dataset.store import Store, Trajectory


BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PoolTrajectory:
    """The frames of one trajectory.

    Attributes:
        name: Its name in the store.
        energy: Total potential energy in eV, NaN where a frame has none, shape (T,).
        time_fs: Time in fs, shape (T,), or None.
        formula: Hill formula.
        attributes: Those of the store: temperature_K, state, level_of_theory, …
        labels: Text that differs from frame to frame: key -> T strings; only what was asked for.
        held_out: Frames that may not be drawn, as they are kept for another purpose.
    """

    name: str
    energy: FloatArray
    time_fs: FloatArray | None = None
    formula: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    held_out: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def usable(self) -> BoolArray:
        """Frames that may be drawn, shape (T,): without an energy no frame can be learnt from."""
        usable: BoolArray = np.isfinite(self.energy)
        usable[self.held_out] = False
        return usable

    @property
    def group(self) -> str:
        """Frames whose energies may be compared: same composition, same level of theory."""
        level = attribute_of(self.attributes, "level_of_theory")
        return f"{self.formula}, {level or 'unknown level of theory'}"


@dataclass(frozen=True, eq=False)
class Pool:
    """All frames, numbered through.

    Attributes:
        trajectories: In alphabetical order.
    """

    trajectories: tuple[PoolTrajectory, ...]

    @cached_property
    def starts(self) -> IntArray:
        """Number of the first frame of each trajectory, and of all frames, shape (n + 1,)."""
        lengths = [len(trajectory) for trajectory in self.trajectories]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def energy(self) -> FloatArray:
        """Energy of all frames in eV, NaN where unknown, shape (n_frames,)."""
        return np.concatenate([trajectory.energy for trajectory in self.trajectories])

    @cached_property
    def usable(self) -> IntArray:
        """Numbers of the frames that may be drawn."""
        return np.flatnonzero(self._is_usable)

    @cached_property
    def n_without_energy(self) -> int:
        """Frames that have no energy."""
        return int(np.isnan(self.energy).sum())

    @cached_property
    def _is_usable(self) -> BoolArray:
        return np.concatenate([trajectory.usable for trajectory in self.trajectories])

    def only_usable(self, ids: IntArray) -> IntArray:
        """Those of `ids` that may be drawn."""
        return ids[self._is_usable[ids]]

    def numbers_of(self, trajectory: int) -> IntArray:
        """Numbers of all frames of a trajectory."""
        return np.arange(self.starts[trajectory], self.starts[trajectory + 1])

    def by_trajectory(self, ids: IntArray) -> dict[str, IntArray]:
        """Trajectory -> frames within it, ascending, from numbers of the pool."""
        ids = np.sort(ids)
        cuts = np.searchsorted(ids, self.starts)
        return {
            trajectory.name: ids[cuts[k] : cuts[k + 1]] - self.starts[k]
            for k, trajectory in enumerate(self.trajectories)
            if cuts[k + 1] > cuts[k]
        }


def attribute_of(attributes: Mapping[str, Any], key: str) -> Any:
    """An attribute, or else the text that the frames carried (`Frames.info`), or None."""
    if key in attributes:
        return attributes[key]
    info = attributes.get("info")
    return info.get(key) if isinstance(info, Mapping) else None


def pool_of(
    store: Store,
    *,
    names: Sequence[str] = (),
    labels: Sequence[str] = (),
    held_out: Mapping[str, IntArray] = MappingProxyType({}),
) -> Pool:
    """The frames of a store, or of some of its trajectories.

    Args:
        store: An open store.
        names: Names or patterns (`liquid*`) of the trajectories wanted; none means all.
        labels: Labels of the frames that are wanted.
        held_out: Trajectory -> frames that may not be drawn.

    Raises:
        UnknownNameError: a name that no trajectory has.
        DataError: no frame has an energy.
    """
    chosen = sorted(store.trajectories)
    for name in names:
        if not any(_matches(known, name) for known in chosen):
            raise unknown_name("trajectory", name, chosen)
    if names:
        chosen = [known for known in chosen if any(_matches(known, name) for name in names)]
    pool = Pool(
        tuple(_pooled(store.trajectories[name], labels, held_out.get(name)) for name in chosen)
    )
    if not pool.trajectories or not len(pool.usable):
        left = "all frames with an energy are held out" if held_out else "no frame has an energy"
        raise DataError(f"{store.location}: {left}, so there is nothing to split")
    return pool


def _matches(known: str, name: str) -> bool:
    return known == name or fnmatch.fnmatchcase(known, name)


def _pooled(
    trajectory: Trajectory, labels: Sequence[str], held_out: IntArray | None
) -> PoolTrajectory:
    n = len(trajectory)
    known = "energy" in trajectory.fields
    wanted = [key for key in labels if key in trajectory.labels]
    return PoolTrajectory(
        name=trajectory.name,
        energy=trajectory.array("energy") if known else np.full(n, np.nan),
        time_fs=trajectory.array("time_fs") if "time_fs" in trajectory.fields else None,
        formula=_formula(trajectory.numbers),
        attributes=trajectory.attributes,
        labels=_labels(trajectory, wanted) if wanted else {},
        held_out=np.zeros(0, dtype=np.int64) if held_out is None else held_out,
    )


def _labels(trajectory: Trajectory, keys: Sequence[str]) -> dict[str, list[str]]:
    """Labels of all frames; read by themselves, as `Trajectory.read` brings positions too."""
    rows = np.arange(len(trajectory))
    return {key: list(trajectory.readers[f"label {key}"].rows(rows)) for key in keys}


def _formula(numbers: IntArray) -> str:
    from ase.data import chemical_symbols
    from ase.formula import Formula

    symbols = [chemical_symbols[number] for number in numbers]
    return str(Formula.from_list(symbols).convert("hill"))
