"""What an HDNNP call costs against its symmetry functions and neighbours, beside nequip-small.

Energy, forces and stress of one ZIF-4 frame (272 atoms) by the bare module, untrained: weights do
not change the cost. The reference is `nequip-small` on the same frame (its own cutoff, 4.5 Å), so
each ratio is also one of µs/atom; the Allegro model of the recipe `allegro-small`, untrained and
with its own cutoff, stands beside it. A name says how many functions and neighbours an atom has.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import vesin
from hydra.utils import instantiate
from nequip.utils.global_state import set_global_state

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.potentials.hdnnp import HDNNPModel
from zifbench.potentials.loading import load_potential
from zifbench.training.expand import model_config
from zifbench.training.recipe import load_recipe

TYPE_NAMES = ("H", "C", "N", "Zn")
ROUNDS = 5


def angular(zetas: tuple[int, ...], n_etas: int) -> list[list[float]]:
    """Functions with λ = ±1 for every triple."""
    etas = np.linspace(0.0, 0.2, n_etas)
    return [[float(e), s, z] for e, z, s in itertools.product(etas, zetas, (1, -1))]


# Name: cutoff in Å, options of the model.
CASES: dict[str, tuple[float, dict[str, Any]]] = {
    "5 radial": (6.0, {"angular": []}),
    "20 radial": (6.0, {"radial": 20, "angular": []}),
    "5 radial, 2 angular to ζ 1": (6.0, {"angular": angular((1,), 1)}),
    "5 radial, 4 angular to ζ 4": (6.0, {"angular": angular((1, 4), 1)}),
    "systematic: 5 radial, 8 angular to ζ 4, 2 η": (6.0, {}),
    "5 radial, 16 angular to ζ 4, 4 η": (6.0, {"angular": angular((1, 4), 4)}),
    "5 radial, 8 angular to ζ 8": (6.0, {"angular": angular((1, 2, 4, 8), 1)}),
    "5 radial, 8 angular to ζ 16": (6.0, {"angular": angular((1, 2, 4, 16), 1)}),
    "systematic at 4.5 Å": (4.5, {}),
    "systematic at 8 Å": (8.0, {}),
}
ALLEGRO = "allegro-small"


def allegro(n_neighbours: float) -> Any:
    """The model of the recipe with plausible statistics."""
    given = {"avg_num_neighbors": n_neighbours, "per_type_energy_scales": 1.0}
    config = model_config(load_recipe(ALLEGRO), seed=1) | given | {"per_type_energy_shifts": -220.0}
    return instantiate(config, _convert_="all", _recursive_=False).eval()


def graph(r_max: float) -> tuple[dict[str, torch.Tensor], float]:
    """Input of the module, and the neighbours of an atom."""
    frame = read_frames(BUNDLED_DATA["zif4-own-train"].path)[0][0]
    i, j, shifts = vesin.NeighborList(cutoff=r_max, full_list=True).compute(
        points=frame.positions[0], box=frame.cell[0], periodic=True, quantities="ijS"
    )
    data = {
        "pos": torch.tensor(frame.positions[0]),
        "cell": torch.tensor(frame.cell[0])[None],
        "edge_index": torch.tensor(np.stack([i, j]).astype(np.int64)),
        "edge_cell_shift": torch.tensor(shifts, dtype=torch.float64),
        "atom_types": torch.tensor([TYPE_NAMES.index(symbol) for symbol in frame.symbols]),
    }
    return data, len(i) / frame.n_atoms


def call(module: Any, data: dict[str, torch.Tensor]) -> Any:
    return module({key: value.clone() for key, value in data.items()})["forces"].detach()


@pytest.mark.parametrize("what", ["nequip-small, reference", ALLEGRO, *CASES])
def bench_hdnnp(benchmark, what):
    benchmark.group = "272 atoms, energy, forces, stress"
    set_global_state(allow_tf32=False)
    if what.endswith("reference"):
        data, n_neighbours = graph(4.5)
        module = load_potential("nequip-small", device="cpu")._module
        name = f"{n_neighbours:.0f} neighbours, nequip-small, reference"
    elif what == ALLEGRO:
        data, n_neighbours = graph(load_recipe(ALLEGRO).cutoff_A)
        module = allegro(n_neighbours)
        name = f"{n_neighbours:.0f} neighbours, {ALLEGRO}"
    else:
        r_max, options = CASES[what]
        data, n_neighbours = graph(r_max)
        module = HDNNPModel(
            seed=1, model_dtype="float32", type_names=TYPE_NAMES, r_max=r_max, **options
        ).eval()
        networks = next(m for m in module.modules() if type(m).__name__ == "ElementNetworks")
        n_functions = len(networks.columns_0)
        name = f"{what} ({n_functions} functions per atom, {n_neighbours:.0f} neighbours)"
    benchmark.name = name
    benchmark.extra_info["neighbours"] = n_neighbours
    assert torch.isfinite(call(module, data)).all()
    benchmark.pedantic(call, args=(module, data), rounds=ROUNDS, warmup_rounds=1)
