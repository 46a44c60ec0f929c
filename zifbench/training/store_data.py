"""Frames of a split straight from the store, as the nequip framework wants them.

Imported in the training process only, which loads torch and nequip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from nequip.data import AtomicDataDict, from_dict
from nequip.data.datamodule import NequIPDataModule
from nequip.data.dataset import AtomicDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

from zifbench.dataset.torch_data import NEQUIP_NAMES, Sample, StoreDataset
from zifbench.errors import DataError
from zifbench.training.subsets import READ_SUBSETS

_HELD_BYTES = 2**30  # of frames with their neighbours, in each process that reads


class StoreFrames(AtomicDataset):  # type: ignore[misc]  # nequip has no types
    """A subset of a split, with the neighbours of each atom.

    Frames do not change, so they are kept once they are made: with their neighbours if all of them
    fit into `held_bytes` like that, else without, if that fits.

    Args:
        store: As `open_store` takes it.
        split: Manifest.
        subset: "train" or "validation"; the test frames are never read here.
        elements: Symbols in the order of the model's types.
        cutoff_A: Cutoff radius.
        held_bytes: Memory for frames that are kept.

    Raises:
        DataError: another subset.
    """

    def __init__(
        self,
        store: str,
        split: str,
        subset: str,
        elements: Sequence[str],
        cutoff_A: float,
        held_bytes: int = _HELD_BYTES,
    ) -> None:
        if subset not in READ_SUBSETS:
            raise DataError(f"training reads {' and '.join(READ_SUBSETS)}, not {subset}")
        super().__init__(
            transforms=[
                ChemicalSpeciesToAtomTypeMapper(model_type_names=list(elements)),
                NeighborListTransform(r_max=cutoff_A),
            ]
        )
        self._frames = StoreDataset(store, split, subset)
        self._made = _Held(len(self), held_bytes)
        self._read = _Held(len(self), held_bytes)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def __getitems__(self, indices: Any) -> list[AtomicDataDict.Type]:
        """Several frames, in the order asked for."""
        chosen = range(len(self))[indices] if isinstance(indices, slice) else indices
        return self._made.get([int(k) for k in chosen], super().__getitems__)

    def num_atoms(self, indices: Any) -> list[int]:
        """Number of atoms of some frames, without reading them."""
        return [int(n) for n in self._frames.n_atoms(indices)]

    def _get_data_list(self, indices: Sequence[int]) -> list[AtomicDataDict.Type]:
        return self._read.get(indices, self._from_store)

    def _from_store(self, indices: Sequence[int]) -> list[AtomicDataDict.Type]:
        samples = self._frames.__getitems__(indices)
        return [from_dict(_in_nequips_words(sample)) for sample in samples]


class _Held:
    """Frames that were made once, if all of them fit into so many bytes; else none."""

    def __init__(self, n_frames: int, n_bytes: int) -> None:
        self._n_frames, self._n_bytes = n_frames, n_bytes
        self._frames: dict[int, AtomicDataDict.Type] | None = {}

    def get(
        self, asked: Sequence[int], make: Callable[[list[int]], list[AtomicDataDict.Type]]
    ) -> list[AtomicDataDict.Type]:
        """The frames asked for; those that are not held come from `make`."""
        if self._frames is None:
            return make(list(asked))
        missing = [k for k in dict.fromkeys(asked) if k not in self._frames]
        if missing:
            self._frames |= dict(zip(missing, make(missing), strict=True))
        found = [dict(self._frames[k]) for k in asked]  # callers may add to them
        if found and _n_bytes(found[0]) * self._n_frames > self._n_bytes:
            self._frames = None
        return found


def _in_nequips_words(sample: Sample) -> dict[str, Any]:
    """Its names, and a leading axis for the one frame where it wants one."""
    return {
        NEQUIP_NAMES[name]: value[None] if name in _PER_FRAME else value
        for name, value in sample.items()
    }


_PER_FRAME = ("energy", "stress")


def _n_bytes(frame: AtomicDataDict.Type) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in frame.values())


class EpochSampler(torch.utils.data.Sampler[int]):  # type: ignore[misc]  # torch is skipped
    """An order of the frames that depends on seed and epoch only, so that resuming repeats it.

    Args:
        n_frames: Number of frames.
        seed: Of the order.
        shuffle: False gives them as they lie in the split.
    """

    def __init__(self, n_frames: int, seed: int, shuffle: bool) -> None:
        self._n_frames, self._seed, self._shuffle = n_frames, seed, shuffle
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says here which epoch comes."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of frames."""
        return self._n_frames

    def __iter__(self) -> Iterator[int]:
        """Frame numbers of this epoch."""
        if not self._shuffle:
            return iter(range(self._n_frames))
        generator = np.random.default_rng([self._seed, self._epoch])
        return iter(generator.permutation(self._n_frames).tolist())


def _kept_alive(loader: Mapping[str, Any]) -> dict[str, Any]:
    """Workers hold the frames that they have made, so they live as long as the training."""
    return {"persistent_workers": loader.get("num_workers", 0) > 0, **loader}


class StoreDataModule(NequIPDataModule):  # type: ignore[misc]  # nequip has no types
    """Training and validation frames of a split of a store.

    Args:
        store: As `open_store` takes it.
        split: Manifest.
        seed: Of the order of frames.
        elements: Symbols in the order of the model's types.
        cutoff_A: Cutoff radius.
        shuffle: Whether each epoch has an order of its own.
        train_dataloader: Settings of torch's `DataLoader`; `num_workers` processes read ahead.
        val_dataloader: The same for validation.
        stats_manager: What computes the statistics that the model wants; nequip's common ones.
    """

    def __init__(
        self,
        *,
        store: str,
        split: str,
        seed: int,
        elements: Sequence[str],
        cutoff_A: float,
        shuffle: bool = True,
        train_dataloader: Mapping[str, Any] = MappingProxyType({}),
        val_dataloader: Mapping[str, Any] = MappingProxyType({}),
        stats_manager: dict[str, Any] | None = None,
    ) -> None:
        def subset(name: str) -> dict[str, Any]:
            return {
                "_target_": "zifbench.training.store_data.StoreFrames",
                "store": store,
                "split": split,
                "subset": name,
                "elements": list(elements),
                "cutoff_A": cutoff_A,
            }

        train, validation = READ_SUBSETS
        super().__init__(
            seed=seed,
            train_dataset=subset(train),
            val_dataset=subset(validation),
            train_dataloader=_kept_alive(train_dataloader),
            val_dataloader=_kept_alive(val_dataloader),
            stats_manager={
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": list(elements),
                "dataloader_kwargs": {"num_workers": 0, "persistent_workers": False},
                **(stats_manager or {}),
            },
        )
        self._shuffle = shuffle

    def train_dataloader(self) -> Any:
        """Made once; its order follows the epoch, that of a resumed training too."""
        if not hasattr(self, "_train_dataloader"):
            sampler = EpochSampler(len(self.train_dataset[0]), self.seed, self._shuffle)
            if self.trainer is not None:
                sampler.set_epoch(self.trainer.current_epoch)
            config = self.train_dataloader_config | {"sampler": sampler}
            self._train_dataloader = self._get_dloader(
                self.train_dataset, self.train_generator, config
            )
        return self._train_dataloader[0]
