"""A store of a few atoms, a split of it, and a recipe that is trained in seconds."""

from __future__ import annotations

from tests.dataset.stores import ABOUT, series, write_store
from zifbench.dataset.splits.generators import make_split, write_split
from zifbench.dataset.store import open_store

# Smaller than any that comes with the package.
TINY = (
    "cutoff_A=4",
    "model.layers=1",
    "model.features=4",
    "model.l_max=1",
    "model.radial_width=4",
    "model.pair_potential=none",
)


def tiny_store(folder, make_frames, *, train=6, validation=3, test=4, **symbols):
    """Store and split: paths; those that are there already are the ones."""
    if (folder / "split.json").exists():
        return folder / "tiny.zarr", folder / "split.json"
    frames = series(make_frames, train + validation + test, seed=3, **symbols)
    path = write_store(folder / "tiny.zarr", {"liquid": (frames, ABOUT)})
    with open_store(path) as store:
        split = make_split(store, "random", train=train, test=test, validation=validation)
    write_split(split, folder / "split.json", overwrite=True)
    return path, folder / "split.json"
