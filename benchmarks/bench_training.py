"""How fast frames reach a training: ours straight from the store, nequip's own from its files.

All give the same frames and neighbours to the same kind of loader, one at a time, in one process:
a whole epoch. nequip's ASE data module holds the frames of its extxyz, its LMDB data set (in a file
of `zifbench data export`) reads a frame each time; both make the neighbours of a frame each time
that it is asked for. Ours keeps them with their neighbours if that fits into memory (as here), else
without, else it reads each frame again.

What that is worth is shown by a training: two epochs of nequip-small through Lightning with our
data module, and with nequip's. Its first epoch makes the frames that the second finds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.export.run import export
from zifbench.dataset.export.selection import select
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
        export(select(store, split), folder / "exported", "lmdb")
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


TRANSFORMS = [
    {
        "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "model_type_names": ELEMENTS,
    },
    {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF_A},
]


def theirs(folder):
    from nequip.data.datamodule import ASEDataModule

    return ASEDataModule(
        seed=0,
        train_file_path=str(folder / "train.extxyz"),
        val_file_path=str(folder / "train.extxyz"),
        transforms=TRANSFORMS,
        train_dataloader={"batch_size": 1, "shuffle": True},
    )


def their_lmdb(folder):
    from nequip.data.datamodule import NequIPDataModule

    frames = {
        "_target_": "nequip.data.dataset.NequIPLMDBDataset",
        "file_path": str(folder / "exported" / "train.lmdb"),
        "transforms": TRANSFORMS,
    }
    return NequIPDataModule(
        seed=0,
        train_dataset=frames,
        val_dataset=frames,
        train_dataloader={"batch_size": 1, "shuffle": True},
    )


CASES = {
    "nequip's ASEDataModule, reference": theirs,
    "nequip's LMDB data set, of our export": their_lmdb,
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


def training_module(data):
    """nequip-small as `zifbench train` has it, untrained."""
    from hydra.utils import instantiate

    from zifbench.training.expand import expand
    from zifbench.training.recipe import load_recipe

    recipe = load_recipe("nequip-small")
    config = expand(recipe, store="", split=Path(), out=Path(), seed=0, device="cpu", stress=True)[
        "training_module"
    ]
    config["model"] |= {
        "avg_num_neighbors": 30.0,
        "per_type_energy_shifts": -220.0,
        "per_type_energy_scales": 1.0,
    }
    return instantiate(config, _recursive_=False, _convert_="all", num_datasets=data.num_datasets)


def processor_times():
    """A profiler of Lightning that keeps seconds of this process: others do not add to them."""
    import time
    from collections import defaultdict

    from lightning.pytorch.profilers import Profiler

    class Times(Profiler):
        def __init__(self):
            super().__init__()
            self.begun, self.lasted = {}, defaultdict(list)

        def start(self, action_name):
            self.begun[action_name] = time.process_time()

        def stop(self, action_name):
            self.lasted[action_name].append(time.process_time() - self.begun[action_name])

    return Times()


@pytest.mark.parametrize("what", ["nequip's ASEDataModule, reference", "store"])
def bench_training(benchmark, made, what):
    """Two epochs; the name says frames/s and the share of the time that is spent on getting them.

    Both are those of the second epoch, in which no frame is new; `extra_info` has the first too.
    Frames are read in this process, so the seconds are those of its processor time.
    """
    import lightning

    benchmark.group = "training: two epochs of nequip-small"
    data = theirs(made) if what.endswith("reference") else ours(made, 2**30)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=processor_times(),
    )
    module = training_module(data)
    module.world_size = trainer.world_size
    benchmark.pedantic(trainer.fit, args=(module,), kwargs={"datamodule": data}, rounds=1)
    assert trainer.global_step == 2 * N_FRAMES
    lasted = trainer.profiler.lasted
    waits = np.array(lasted["[_TrainingEpochLoop].train_dataloader_next"]).reshape(2, -1).sum(1)
    epochs = np.array(lasted["run_training_epoch"])
    shown = {"frames_per_s": N_FRAMES / epochs, "share_of_loader": waits / epochs}
    benchmark.extra_info |= {name: values.round(4).tolist() for name, values in shown.items()}
    rate, share = (values[1] for values in shown.values())
    benchmark.stats.name = f"{rate:.1f} frames/s, {share:.2%} of it the loader, {what}"
