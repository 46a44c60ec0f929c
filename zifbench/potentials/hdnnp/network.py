"""One feed-forward network per element: symmetry functions in, the atom's energy out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin

from zifbench.errors import ModelError
from zifbench.potentials.hdnnp.choice import FunctionSet
from zifbench.potentials.hdnnp.symmetry import SymmetryFunctions


class ElementNetworks(GraphModuleMixin, torch.nn.Module):  # type: ignore[misc]
    """Atomic energies from centred and scaled symmetry functions.

    All networks run on all atoms and each atom keeps the result of its own element: they are small
    beside the symmetry functions, and no shape depends on how many atoms an element has.

    Args:
        functions: Symmetry functions of each element.
        symmetry: The module that computes them.
        hidden: Neurons of each hidden layer, tanh; the output is linear.
        statistics: For each element "mean" and "scale" of each of its functions over the training
            frames; None leaves the values as they are.

    Raises:
        ModelError: hidden layers or statistics that do not fit.
    """

    def __init__(
        self,
        functions: FunctionSet,
        symmetry: SymmetryFunctions,
        *,
        hidden: Sequence[int],
        statistics: Mapping[str, Mapping[str, Sequence[float]]] | None,
    ) -> None:
        super().__init__()
        if isinstance(hidden, str) or any(not isinstance(n, int) or n < 1 for n in hidden):
            raise ModelError(f"hidden: wanted whole numbers of neurons above 0, got {hidden!r}")
        self.dtype = torch.get_default_dtype()  # that of the model, set by nequip's builder
        networks = []
        for index, (name, columns) in enumerate(
            zip(functions.type_names, symmetry.columns, strict=True)
        ):
            mean, scale = _statistics_of(name, len(columns), statistics)
            self.register_buffer(f"columns_{index}", torch.tensor(columns))
            self.register_buffer(f"mean_{index}", torch.tensor(mean, dtype=torch.float64))
            self.register_buffer(f"scale_{index}", torch.tensor(scale, dtype=torch.float64))
            networks.append(_network([len(columns), *hidden, 1]))
        self.networks = torch.nn.ModuleList(networks)
        self._init_irreps(
            irreps_in=symmetry.irreps_out,
            irreps_out={AtomicDataDict.PER_ATOM_ENERGY_KEY: "1x0e"},
        )

    def forward(self, data: Any) -> Any:
        """Adds the energy of each atom to `data`, shape (N, 1), in units of the energy scale."""
        values = data[AtomicDataDict.NODE_FEATURES_KEY]
        energies = []
        for index, network in enumerate(self.networks):
            own = torch.index_select(values, 1, getattr(self, f"columns_{index}"))
            own = (own - getattr(self, f"mean_{index}")) / getattr(self, f"scale_{index}")
            energies.append(network(own.to(self.dtype)))
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1, 1)
        data[AtomicDataDict.PER_ATOM_ENERGY_KEY] = torch.gather(
            torch.cat(energies, dim=1), 1, types
        )
        return data


def _network(sizes: list[int]) -> Any:
    """Linear layers of these sizes with tanh between; weights by Glorot, biases zero."""
    layers: list[Any] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = torch.nn.Linear(n_in, n_out)
        torch.nn.init.xavier_normal_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def _statistics_of(
    name: str, n: int, statistics: Mapping[str, Mapping[str, Sequence[float]]] | None
) -> tuple[list[float], list[float]]:
    """Mean and scale of the functions of one element."""
    if statistics is None:
        return [0.0] * n, [1.0] * n
    of_element = statistics.get(name, {})
    mean, scale = (list(of_element.get(key, ())) for key in ("mean", "scale"))
    if len(mean) != n or len(scale) != n:
        raise ModelError(
            f"statistics: {len(mean)} means and {len(scale)} scales for {name}, which has {n} "
            "symmetry functions; give the statistics manager the same functions as the model"
        )
    if any(value <= 0 for value in scale):
        raise ModelError(f"statistics: wanted scales above 0 for {name}, got {min(scale):g}")
    return mean, scale
