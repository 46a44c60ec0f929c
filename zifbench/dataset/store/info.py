"""What a store holds: counts, sizes, ranges, as one JSON document."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.formula import Formula
from ase.symbols import Symbols

from zifbench.dataset.store.layout import STORE_SCHEMA
from zifbench.dataset.store.reader import Store, Trajectory
from zifbench.dataset.store.shards import row_bytes

_RANGES = ("energy", "step", "time_fs")


def describe(store: Store, only: str | None = None) -> dict[str, Any]:
    """Counts, atoms, types, sizes in bytes, ranges, attributes of a store and its trajectories.

    Args:
        store: The store.
        only: Name of the one trajectory to describe.
    """
    trajectories = {n: _describe(t) for n, t in store.trajectories.items() if only in (None, n)}
    return {
        "schema": STORE_SCHEMA,
        "location": store.location,
        "version": store.version,
        "n_frames": sum(t["n_frames"] for t in trajectories.values()),
        "stored_bytes": sum(t["stored_bytes"] for t in trajectories.values()),
        "float64_bytes": sum(t["float64_bytes"] for t in trajectories.values()),
        "attributes": dict(store.attributes),
        "trajectories": trajectories,
    }


def _describe(trajectory: Trajectory) -> dict[str, Any]:
    record = trajectory.record
    arrays = record.records()
    return {
        "n_frames": len(trajectory),
        "n_atoms": trajectory.n_atoms,
        "formula": _formula(trajectory),
        "mass_amu": float(trajectory.masses.sum()),
        "pbc": [bool(p) for p in trajectory.pbc],
        "fields": {
            name: {
                "dtype": array.layout.dtype,
                "unit": array.layout.unit,
                "stored_bytes": array.stored_bytes,
                "raw_bytes": array.rows * row_bytes(array.layout),
            }
            for name, array in record.fields.items()
        },
        "labels": list(trajectory.labels),
        "arrays": {
            name: {"dtype": array.layout.dtype, "shape": [array.rows, *array.layout.item]}
            for name, array in record.arrays.items()
        },
        "n_files": sum(array.layout.shards(array.rows) for array in arrays.values()),
        "stored_bytes": sum(array.stored_bytes for array in arrays.values()),
        "float64_bytes": sum(
            array.rows * int(np.prod(array.layout.item)) * 8 for array in record.fields.values()
        ),
        "ranges": _ranges(trajectory),
        "attributes": dict(trajectory.attributes),
    }


def _formula(trajectory: Trajectory) -> str:
    return str(Formula.from_list(list(Symbols(trajectory.numbers))).convert("hill"))


def _ranges(trajectory: Trajectory) -> dict[str, list[float]]:
    """Smallest and largest energy, step and time."""
    if not len(trajectory):
        return {}
    values = {name: trajectory.array(name) for name in _RANGES if name in trajectory.fields}
    return {name: [array.min().item(), array.max().item()] for name, array in values.items()}
