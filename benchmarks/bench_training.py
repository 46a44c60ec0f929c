"""How fast frames reach a training: ours straight from the store, nequip's own from an extxyz.

Both give the same frames and neighbours to the same kind of loader, one at a time, in one process:
a whole epoch. nequip's holds the frames of its file and makes the neighbours of a frame each time
that it is asked for. Ours keeps them with their neighbours if that fits into memory (as here), else
without (as nequip's), else it reads each frame again.
"""

from __future__ import annotations

import numpy as np
import pytest

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.splits.generators import make_split, write_split
from zifbench.dataset.store import StoreWriter, open_store

pytest.importorskip("nequip")

ELEMENTS = ["H", "C", "N", "Zn"]
CUTOFF_A = 4.5
N_FRAMES = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a split, and its training frames as a file: paths."""
    import ase.io
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    folder = tmp_path_factory.mktemp("training")
    [frames, *_] = read_frames(BUNDLED_DATA["zif4-own-train"].path)
    n_needed = N_FRAMES + 4
    rows = frames[np.arange(n_needed) % len(frames)]
    with StoreWriter(folder / "s.zarr") as writer:
        trajectory = writer.trajectory("a", rows)
        trajectory.append(rows)
        trajectory.commit()
    with open_store(folder / "s.zarr") as store:
        split = make_split(store, "random", train=N_FRAMES, test=2, validation=2)
        [training] = store.read(split.ids("train"))
    write_split(split, folder / "split.json")
    ase.io.write(folder / "train.extxyz", training.to_ase(), format="extxyz")
    return folder


def ours(folder, held_bytes, workers=0):
    from zifbench.training.store_data import StoreDataModule

    data = StoreDataModule(
        store=str(folder / "s.zarr"),
        split=str(folder / "split.json"),
        seed=0,
        elements=ELEMENTS,
        cutoff_A=CUTOFF_A,
        train_dataloader={"num_workers": workers},
    )
    data.train_dataset_config[0]["held_bytes"] = held_bytes
    return data


def theirs(folder):
    from nequip.data.datamodule import ASEDataModule

    transforms = "nequip.data.transforms"
    return ASEDataModule(
        seed=0,
        train_file_path=str(folder / "train.extxyz"),
        val_file_path=str(folder / "train.extxyz"),
        transforms=[
            {
                "_target_": f"{transforms}.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": ELEMENTS,
            },
            {"_target_": f"{transforms}.NeighborListTransform", "r_max": CUTOFF_A},
        ],
        train_dataloader={"batch_size": 1, "shuffle": True},
    )


CASES = {
    "nequip's ASEDataModule, reference": theirs,
    "store, kept with neighbours": lambda folder: ours(folder, 2**30),
    "store, kept without neighbours": lambda folder: ours(folder, 32 * 60_000),
    "store, read each epoch": lambda folder: ours(folder, 0),
}


@pytest.mark.parametrize("what", CASES)
def bench_epoch_of_frames(benchmark, made, what):
    """32 frames of 272 atoms, 4.5 Å; what is timed is every epoch after the first."""
    benchmark.group = "training: an epoch of frames"
    benchmark.name = what
    data = CASES[what](made)
    data.setup("fit")
    loader = data.train_dataloader()

    def epoch():
        return sum(int(batch["num_atoms"].sum()) for batch in loader)

    assert epoch() == 272 * N_FRAMES
    benchmark.extra_info["frames"] = N_FRAMES
    benchmark.pedantic(epoch, rounds=5)
