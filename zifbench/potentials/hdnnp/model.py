"""The builder that a nequip training recipe names: a second-generation HDNNP."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from nequip.data import AtomicDataDict
from nequip.model import model_builder
from nequip.nn import AtomwiseReduce, ForceStressOutput, PerTypeScaleShift, SequentialGraphNetwork
from nequip.nn.embedding import AddRadialCutoffToData, EdgeLengthNormalizer, PolynomialCutoff

from zifbench.errors import unknown_name
from zifbench.potentials.hdnnp.choice import N_RADIAL, function_set
from zifbench.potentials.hdnnp.network import ElementNetworks
from zifbench.potentials.hdnnp.symmetry import SymmetryFunctions


@model_builder  # type: ignore[untyped-decorator]
def HDNNPModel(
    r_max: float,
    type_names: Sequence[str],
    *,
    cutoff: str = "cosine",
    radial: Any = N_RADIAL,
    angular: Any = None,
    smallest_distances_A: Mapping[str, float] | None = None,
    hidden: Sequence[int] = (15, 15),
    statistics: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    per_type_energy_scales: float | Mapping[str, float] | None = None,
    per_type_energy_shifts: float | Mapping[str, float] | None = None,
    per_type_energy_scales_trainable: bool = False,
    per_type_energy_shifts_trainable: bool = False,
    pair_potential: Mapping[str, Any] | None = None,
    do_derivatives: bool = True,
    **unknown: Any,
) -> Any:
    """High-dimensional neural network potential of Behler and Parrinello, second generation.

    E = Σ_i [s(t_i) · NN_{t_i}(G_i) + e(t_i)], the forces and the stress by nequip's own derivative.
    `seed` and `model_dtype` are taken by nequip.

    Args:
        r_max: Cutoff radius in Å.
        type_names: Elements.
        cutoff: Cutoff function: "cosine" or "polynomial".
        radial: Radial symmetry functions, see `choice.function_set`.
        angular: Angular symmetry functions, see `choice.function_set`.
        smallest_distances_A: Smallest distance in Å of each pair, for the systematic choice.
        hidden: Neurons of each hidden layer.
        statistics: Mean and scale of the symmetry functions, from `HDNNPStatisticsManager`.
        per_type_energy_scales: s in eV, one number or one for each element.
        per_type_energy_shifts: e in eV, one number or one for each element.
        per_type_energy_scales_trainable: Train s.
        per_type_energy_shifts_trainable: Train e.
        pair_potential: A pair potential of nequip to add, for instance ZBL.
        do_derivatives: Forces and stress besides the energy.
        **unknown: Refused.

    Raises:
        ModelError: an argument that makes no sense.
        UnknownNameError: an argument, element or cutoff function that does not exist.

    Source: Behler and Parrinello, Phys. Rev. Lett. 2007, 98, 146401; Behler, J. Chem. Phys. 2011,
        134, 074106; for a metal-organic framework Herbold and Behler, Phys. Chem. Chem. Phys. 2023.
    """
    for name in unknown:
        known = inspect.signature(HDNNPModel).parameters.keys() - {"unknown"}
        raise unknown_name("argument of HDNNPModel", name, {"seed", "model_dtype", *known})
    functions = function_set(
        type_names,
        r_max,
        cutoff=cutoff,
        radial=radial,
        angular=angular,
        smallest_distances_A=smallest_distances_A,
    )
    symmetry = SymmetryFunctions(functions)
    networks = ElementNetworks(functions, symmetry, hidden=hidden, statistics=statistics)
    scale_shift = PerTypeScaleShift(
        type_names=list(type_names),
        field=AtomicDataDict.PER_ATOM_ENERGY_KEY,
        scales=per_type_energy_scales,
        shifts=per_type_energy_shifts,
        scales_trainable=per_type_energy_scales_trainable,
        shifts_trainable=per_type_energy_shifts_trainable,
        irreps_in=networks.irreps_out,
    )
    modules = {
        "symmetry": symmetry,
        "networks": networks,
        "per_type_energy_scale_shift": scale_shift,
    }
    if pair_potential is not None:
        modules |= _pair_potential(pair_potential, type_names, r_max, scale_shift.irreps_out)
    total = AtomwiseReduce(
        irreps_in=list(modules.values())[-1].irreps_out,
        reduce="sum",
        field=AtomicDataDict.PER_ATOM_ENERGY_KEY,
        out_field=AtomicDataDict.TOTAL_ENERGY_KEY,
    )
    return ForceStressOutput(
        SequentialGraphNetwork(modules | {"total_energy_sum": total}), do_derivatives
    )


def _pair_potential(
    config: Mapping[str, Any], type_names: Sequence[str], r_max: float, irreps: Any
) -> dict[str, Any]:
    """A pair potential of nequip and what it reads: reduced distances and a smooth cutoff."""
    norm = EdgeLengthNormalizer(r_max=r_max, type_names=list(type_names), irreps_in=irreps)
    smooth = AddRadialCutoffToData(cutoff=PolynomialCutoff(6), irreps_in=norm.irreps_out)
    pair = instantiate(config, type_names=list(type_names), irreps_in=smooth.irreps_out)
    return {"edge_norm": norm, "cutoff": smooth, "pair_potential": pair}
