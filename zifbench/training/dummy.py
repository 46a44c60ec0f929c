"""The dummy on a leaderboard: the mean energy of a formula unit, no forces, no stress.

What a model must beat to have learnt anything. It is fitted to the same training frames.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from zifbench.dataset.splits.manifest import load_split
from zifbench.dataset.torch_data import StoreDataset
from zifbench.errors import DataError, ModelError
from zifbench.files import write_bytes_atomically
from zifbench.training.recipe import DUMMY

DUMMY_MODEL_FILE = f"{DUMMY}.pkl"
Composition = tuple[tuple[int, int], ...]  # atomic number, how many


class MeanEnergy(Calculator):  # type: ignore[misc]  # ASE has no types
    """Energies by composition.

    Args:
        energies: Formula unit -> its mean energy, eV.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, energies: Mapping[Composition, float]) -> None:
        super().__init__()
        self._energies = dict(energies)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        """The mean energy of the atoms' composition, twice as much for twice the atoms.

        Raises:
            ModelError: no training frame had this composition.
        """
        super().calculate(atoms, properties, system_changes)
        numbers = self.atoms.numbers
        unit, n_units = formula_units(numbers)
        found = self._energies.get(unit)
        if found is None:
            raise ModelError(
                f"{DUMMY} was fitted to no frame of composition {self.atoms.get_chemical_formula()}"
            )
        forces, stress = np.zeros((len(numbers), 3)), np.zeros(6)
        self.results = {"energy": n_units * found, "forces": forces, "stress": stress}


def formula_units(numbers: Any) -> tuple[Composition, int]:
    """The smallest formula unit of some atoms, and how many of it they are."""
    kinds, counts = np.unique(numbers, return_counts=True)
    n_units = math.gcd(*counts.tolist())
    return tuple(zip(kinds.tolist(), (counts // n_units).tolist(), strict=True)), n_units


def fit_dummy(data: str, split_file: Path, out: Path) -> Path:
    """Fit the dummy to the training frames of a split.

    Returns:
        The model, an ASE calculator as a pickle: `zifbench evaluate` takes it.

    Raises:
        DataError: no energies, or a split of another store.
    """
    frames = StoreDataset(data, load_split(split_file), "train", fields=("energy",))
    energies: dict[Composition, list[float]] = {}
    for k in range(len(frames)):
        sample = frames[k]
        if "energy" not in sample:
            raise DataError(f"{data}: the training frames have no energy to average")
        unit, n_units = formula_units(sample["numbers"])
        energies.setdefault(unit, []).append(float(sample["energy"]) / n_units)
    means = {kind: float(np.mean(values)) for kind, values in energies.items()}
    path = out / DUMMY_MODEL_FILE
    write_bytes_atomically(path, pickle.dumps(MeanEnergy(means)))
    return path
