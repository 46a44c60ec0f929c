"""The store of frames: Zarr v3 on disk, versioned by content, appended to without risk."""

from __future__ import annotations

from zifbench.dataset.array_reader import DamageError
from zifbench.dataset.store_layout import STORE_SCHEMA
from zifbench.dataset.store_reader import Store, Trajectory, open_store
from zifbench.dataset.store_writer import StoreWriter, TrajectoryWriter, write_store

__all__ = [
    "STORE_SCHEMA",
    "DamageError",
    "Store",
    "StoreWriter",
    "Trajectory",
    "TrajectoryWriter",
    "open_store",
    "write_store",
]
