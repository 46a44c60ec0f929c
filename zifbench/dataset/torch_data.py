"""Frames of a split straight from the store, as `torch.utils.data.DataLoader` wants them.

    data = StoreDataset("zif4.zarr", "split.json", "train")
    for batch in DataLoader(data, batch_size=8, shuffle=True, num_workers=4): ...

torch is not imported here: a map-style dataset is anything with `__len__` and `__getitem__`, and
the loader's own collation turns numpy arrays into tensors. The loader calls `__getitems__` once a
batch, so a batch is one read of each trajectory. An object carries the place of the store and its
frame numbers, no open file: each worker, forked or spawned, opens the store for itself.

For a dataset of nequip, subclass `nequip.data.AtomicDataset` (in the room of potentials), hold a
`StoreDataset`, and give `[from_dict(renamed(sample)) for sample in data.__getitems__(indices)]` as
`_get_data_list`, with `NEQUIP_NAMES` for the renaming; `num_atoms` needs no frame to be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.splits.manifest import Split, load_split
from zifbench.dataset.store import Store, open_store
from zifbench.errors import DataError
from zifbench.frames import Frames, IntArray

Array = npt.NDArray[Any]
Sample = dict[str, Array]

DEFAULT_FIELDS = ("positions", "cell", "energy", "forces", "stress")
# What nequip calls the arrays of a sample.
NEQUIP_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "positions": "pos",
        "cell": "cell",
        "pbc": "pbc",
        "numbers": "atomic_numbers",
        "energy": "total_energy",
        "forces": "forces",
        "stress": "stress",
    }
)


class StoreDataset:
    """One subset of a split; a sample is a dictionary of arrays.

    `numbers` (N,), `pbc` (3,) and of the fields asked for `positions`, `forces`, `velocities`
    (N, 3), `cell`, `stress` (3, 3), `energy`, `step`, `time_fs` (). Units as in `Frames`. Before
    training on stresses, look at the attribute `stress_components` of the trajectories.

    Args:
        location: The store, as `open_store` takes it.
        split: The manifest or its path.
        subset: Which of its subsets.
        fields: Arrays wanted. Those that no trajectory of the subset has are left out; one that
            only some have is refused, as samples must be alike.
        dtype: Of positions, forces, velocities, cell and stress. Energies stay float64: at
            -60 083 eV a float32 moves in steps of 4 meV.

    Raises:
        DataError: the split belongs to another version of the store.
        UnknownNameError: a subset that it does not have.
    """

    def __init__(
        self,
        location: str | Path,
        split: Split | str | Path,
        subset: str = "train",
        *,
        fields: Sequence[str] = DEFAULT_FIELDS,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        if not isinstance(split, Split):
            split = load_split(split)
        self._location = str(location)
        self._dtype = np.dtype(dtype)
        self._store: Store | None = None
        self._process = 0
        rows = split.rows(subset)
        self._names = tuple(rows)
        self._trajectory: IntArray = np.repeat(
            np.arange(len(rows)), [len(r) for r in rows.values()]
        )
        self._row: IntArray = np.concatenate(list(rows.values()))
        with open_store(location) as store:
            split.check(store)
            self._fields = _common_fields(store, self._names, fields)
            self._n_atoms = np.array([store.trajectories[name].n_atoms for name in self._names])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._row)

    def __getitem__(self, index: int) -> Sample:
        """One frame."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")  # what ends a plain loop over it
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Several frames, in the order asked for, with one read of each trajectory."""
        places = np.asarray(indices, dtype=np.int64)
        samples: list[Sample] = [{} for _ in places]
        for number in np.unique(self._trajectory[places]):
            asked = np.flatnonzero(self._trajectory[places] == number)
            # Ascending and each once: the order in which they lie on the disk.
            rows, back = np.unique(self._row[places[asked]], return_inverse=True)
            trajectory = self._opened().trajectories[self._names[number]]
            frames = trajectory.read(rows, self._fields)
            for place, row in zip(asked, back, strict=True):
                samples[place] = self._sample(frames, int(row))
        return samples

    def n_atoms(self, indices: Sequence[int]) -> IntArray:
        """Number of atoms of some frames, without reading them."""
        return np.asarray(self._n_atoms[self._trajectory[np.asarray(indices, dtype=np.int64)]])

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open store: what is pickled for a spawned worker."""
        return self.__dict__ | {"_store": None, "_process": 0}

    def _opened(self) -> Store:
        """The store of this process; what a fork inherits is not used."""
        if self._store is None or self._process != os.getpid():
            self._store, self._process = open_store(self._location), os.getpid()
        return self._store

    def _sample(self, frames: Frames, row: int) -> Sample:
        sample: Sample = {"numbers": frames.numbers.copy(), "pbc": frames.pbc.copy()}
        for name in self._fields:
            value = np.array(getattr(frames, name)[row])
            sample[name] = value.astype(self._dtype) if value.ndim else value
        return sample


def _common_fields(store: Store, names: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted fields that all trajectories have."""
    holders = {
        field: [name for name in names if field in store.trajectories[name].fields]
        for field in wanted
    }
    for field, having in holders.items():
        if 0 < len(having) < len(names):
            lacking = next(name for name in names if name not in having)
            raise DataError(
                f"{store.location}: trajectory {lacking} has no {field} and {having[0]} has; leave "
                f"{field} out of the fields, or split without one of them"
            )
    return tuple(field for field, having in holders.items() if having)


def join_atoms(samples: Sequence[Sample]) -> Sample:
    """A batch of frames of any size: atoms one after the other, as graph networks take them.

    Args:
        samples: B frames with N_1, N_2, … atoms.

    Returns:
        Arrays per atom joined, shape (ΣN, …); arrays per frame stacked, shape (B, …); `batch`, the
        number of the frame of each atom, shape (ΣN,). To be used as `collate_fn`, wrap it in a
        function that makes tensors.
    """
    joined = {
        name: np.concatenate([sample[name] for sample in samples])
        if name in _PER_ATOM
        else np.stack([sample[name] for sample in samples])
        for name in samples[0]
    }
    sizes = [len(sample["numbers"]) for sample in samples]
    return joined | {"batch": np.repeat(np.arange(len(samples)), sizes)}


_PER_ATOM = frozenset({"numbers", "positions", "forces", "velocities"})
