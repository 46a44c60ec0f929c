"""Mean and spread of the symmetry functions over the training frames, for nequip's recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, CommonDataStatisticsManager

from zifbench.potentials.hdnnp.choice import N_RADIAL, function_set
from zifbench.potentials.hdnnp.symmetry import SymmetryFunctions

# One neighbour contributes up to about 1. What spreads less than this is rounding, or an atom that
# only touched the cutoff; divided by its spread, it would rule the forces once an atom came nearer.
_CONSTANT = 0.01


class HDNNPStatisticsManager:
    """The statistics of nequip's `CommonDataStatisticsManager` and those of the symmetry functions.

    A recipe reads the latter as `${training_data_stats:symmetry_functions}`: for each element
    "mean" and "scale" (standard deviation) of each of its functions. One that spreads by less
    than 0.01, or of an element that does not occur, has scale 1.

    Args:
        type_names: Elements of the model.
        r_max: Cutoff radius in Å, that of the model and of the neighbour list.
        cutoff: As of the model; so are the next three.
        radial: Radial symmetry functions.
        angular: Angular symmetry functions.
        smallest_distances_A: Smallest distances.
        dataloader_kwargs: Of the loader that nequip makes for the statistics.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        r_max: float,
        *,
        cutoff: str = "cosine",
        radial: Any = N_RADIAL,
        angular: Any = None,
        smallest_distances_A: Mapping[str, float] | None = None,
        dataloader_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.type_names = list(type_names)
        self.common = CommonDataStatisticsManager(
            dataloader_kwargs=None if dataloader_kwargs is None else dict(dataloader_kwargs),
            type_names=self.type_names,
        )
        self.dataloader_kwargs = self.common.dataloader_kwargs
        functions = function_set(
            self.type_names,
            r_max,
            cutoff=cutoff,
            radial=radial,
            angular=angular,
            smallest_distances_A=smallest_distances_A,
        )
        self.symmetry = SymmetryFunctions(functions)

    def reset(self) -> None:
        """Forget all frames; nequip's part keeps sums."""
        self.common.reset()

    def get_statistics(self, data_source: Iterable[Any]) -> dict[str, Any]:
        """All statistics of the frames of a loader, by name."""
        moments = [_Moments(len(columns)) for columns in self.symmetry.columns]
        for data in data_source:
            self.common(data)
            with torch.no_grad():
                values = self.symmetry(data.copy())[AtomicDataDict.NODE_FEATURES_KEY]
            types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
            for index, columns in enumerate(self.symmetry.columns):
                moments[index].add(values[types == index][:, columns])
        by_element = {
            name: of_element.result()
            for name, of_element in zip(self.type_names, moments, strict=True)
        }
        return {**self.common.compute(), "symmetry_functions": by_element}


class _Moments:
    """Running mean and sum of squared deviations of n quantities (Chan's update)."""

    def __init__(self, n: int) -> None:
        self.count = 0
        self.mean = torch.zeros(n, dtype=torch.float64)
        self.squares = torch.zeros(n, dtype=torch.float64)

    def add(self, values: Any) -> None:
        """Take in rows of values, shape (M, n)."""
        m = len(values)
        if m == 0:
            return
        mean = values.mean(dim=0)
        total = self.count + m
        self.squares += ((values - mean) ** 2).sum(dim=0)
        self.squares += (mean - self.mean) ** 2 * (self.count * m / total)
        self.mean += (mean - self.mean) * (m / total)
        self.count = total

    def result(self) -> dict[str, list[float]]:
        """Mean and scale as lists, which a recipe and a checkpoint can hold."""
        spread = torch.sqrt(self.squares / max(self.count, 1))
        scale = torch.where(spread > _CONSTANT, spread, torch.ones_like(spread))
        return {"mean": self.mean.tolist(), "scale": scale.tolist()}
