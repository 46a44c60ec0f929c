"""HDNNP: symmetry functions against loops and paper, and the model as any other potential."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vesin

from tests.potentials.models import (
    TINY_R_MAX,
    TYPE_NAMES,
    TinyModel,
    changed,
    console_script,
    morse_frames,
    train_tiny,
)
from zifbench.errors import ModelError, UnknownNameError, ZifbenchError
from zifbench.frames import FloatArray, Frames
from zifbench.potentials.card import ModelCard
from zifbench.potentials.conformance import run_conformance
from zifbench.potentials.core import Potential, compute
from zifbench.potentials.hdnnp import HDNNPModel, HDNNPStatisticsManager
from zifbench.potentials.hdnnp.choice import (
    SMALLEST_DISTANCES_A,
    FunctionSet,
    function_set,
    systematic_angular,
    systematic_radial,
)
from zifbench.potentials.hdnnp.symmetry import SymmetryFunctions, spherical_harmonics
from zifbench.potentials.loading import load_potential
from zifbench.potentials.torch_potential import CURRENT, TorchPotential

# Different functions for different pairs and triples, some of them without any.
MAPPED: dict[str, Any] = {
    "radial": {
        "H-C": [[0.3, 0.0]],
        "C-H": 3,
        "C-N": [[0.0, 0.0], [1.5, 1.4]],
        "N-Zn": 2,
        "Zn-N": [[0.2, 2.0]],
        "Zn-Zn": 4,
    },
    "angular": {
        "C-H-C": [[0.1, 1, 3]],
        "N-Zn-N": [[0.0, -1, 5], [0.2, 1, 1]],
        "Zn-N-C": [[0.05, 1, 2]],
        "H-C-N": [[0.0, 1, 2], [0.0, -1, 7]],
    },
}
RECIPES: dict[str, dict[str, Any]] = {
    "systematic": {},
    "polynomial cutoff": {"cutoff": "polynomial"},
    "mapped": MAPPED,
    "radial only": {"angular": []},
    "angular only": {"radial": [], "angular": [[0.02, 1, 3], [0.3, -1, 2]]},
}


def graph(frame: Frames, r_max: float) -> dict[str, torch.Tensor]:
    """What nequip hands to a model, for the first of `frame`."""
    i, j, shifts = vesin.NeighborList(cutoff=r_max, full_list=True).compute(
        points=frame.positions[0],
        box=frame.cell[0],
        periodic=bool(frame.pbc.all()),
        quantities="ijS",
    )
    return {
        "pos": torch.tensor(frame.positions[0]),
        "cell": torch.tensor(frame.cell[0])[None],
        "edge_index": torch.tensor(np.stack([i, j]).astype(np.int64)),
        "edge_cell_shift": torch.tensor(shifts, dtype=torch.float64),
        "atom_types": torch.tensor([TYPE_NAMES.index(symbol) for symbol in frame.symbols]),
    }


def values(functions: FunctionSet, frame: Frames) -> list[FloatArray]:
    """Symmetry functions of each atom, those of its element only."""
    module = SymmetryFunctions(functions)
    data = graph(frame, functions.r_max_A)
    rows = module(data)["node_features"].numpy()
    return [rows[n, module.columns[t]] for n, t in enumerate(data["atom_types"])]


CUTOFF = {
    "cosine": lambda x: (np.cos(np.pi * x) + 1) / 2,
    "polynomial": lambda x: 1 - 10 * x**3 + 15 * x**4 - 6 * x**5,
}


def naive(functions: FunctionSet, frame: Frames, atom: int) -> list[float]:
    """Symmetry functions of one atom: all images in reach, all pairs of them, as in Behler 2011."""
    r_max = functions.r_max_A
    cell, positions = frame.cell[0], frame.positions[0]
    heights = abs(np.linalg.det(cell)) / np.linalg.norm(
        np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1
    )
    spread = float(np.ptp(positions, axis=0).max()) * 3**0.5  # atoms may lie outside the cell
    reach = np.ceil((r_max + spread) / heights).astype(int) if frame.pbc.all() else np.zeros(3, int)
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach)))) @ cell
    vectors: dict[str, list[FloatArray]] = {name: [] for name in functions.type_names}
    for j, symbol in enumerate(frame.symbols):
        for vector in positions[j] - positions[atom] + shifts:
            if 1e-9 < np.linalg.norm(vector) < r_max:
                vectors[symbol].append(vector)

    def cut(r: float) -> float:
        return float(CUTOFF[functions.cutoff](r / r_max))

    centre, names = frame.symbols[atom], functions.type_names
    result = []
    for neighbour in names:
        distances = [float(np.linalg.norm(v)) for v in vectors[neighbour]]
        for eta, shift in functions.radial.get((centre, neighbour), ()):
            result.append(sum(np.exp(-eta * (r - shift) ** 2) * cut(r) for r in distances))
    for a, b in itertools.combinations_with_replacement(names, 2):
        own = functions.angular.get((centre, a, b), ())
        pairs = (
            itertools.combinations(vectors[a], 2)
            if a == b
            else itertools.product(vectors[a], vectors[b])
        )
        sums = np.zeros(len(own))
        for u, v in pairs if own else ():
            r, s = float(np.linalg.norm(u)), float(np.linalg.norm(v))
            cosine = float(u @ v) / (r * s)
            for k, (eta, lambda_, zeta) in enumerate(own):
                term = 2.0 ** (1 - zeta) * (1 + lambda_ * cosine) ** zeta
                sums[k] += term * np.exp(-eta * (r * r + s * s)) * cut(r) * cut(s)
        result += sums.tolist()
    return result


def random_cell(seed: int) -> Frames:
    """Four to six atoms in a skewed cell far smaller than the cutoff: they see their own images."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 7))
    cell = np.diag(rng.uniform(3.0, 5.0, 3)) + np.tril(rng.uniform(-1.5, 1.5, (3, 3)), -1)
    numbers = rng.choice([1, 6, 7, 30], n)
    return Frames(
        numbers=numbers,
        masses=np.ones(n),
        pbc=np.ones(3, bool),
        positions=rng.uniform(-3.0, 6.0, (1, n, 3)),
        cell=cell[None],
        source="test",
    )


def molecule(symbols: str, positions: Any) -> Frames:
    """A molecule alone; the cell only gives it a volume."""
    numbers = {"H": 1, "C": 6, "N": 7, "Z": 30}
    return Frames(
        numbers=np.array([numbers[s] for s in symbols]),
        masses=np.ones(len(symbols)),
        pbc=np.zeros(3, bool),
        positions=np.asarray(positions, float)[None],
        cell=np.diag([60.0, 60.0, 60.0])[None],
        source="test",
    )


# -- symmetry functions ---------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("seed", range(2))
def test_symmetry_functions_against_loops(seed: int, recipe: str) -> None:
    frame = random_cell(seed)
    functions = function_set(TYPE_NAMES, 4.5, **RECIPES[recipe])
    for atom, row in enumerate(values(functions, frame)):
        wanted = naive(functions, frame, atom)
        assert len(row) == functions.count(frame.symbols[atom])
        np.testing.assert_allclose(row, wanted, rtol=1e-11, atol=1e-12 * max(wanted, default=1.0))


def test_symmetry_functions_of_zif4_against_loops(zif4: Frames) -> None:
    """One atom of each element with its 50 to 60 neighbours, at the cutoff of the recipes."""
    functions = function_set(TYPE_NAMES, 6.0)
    rows = values(functions, zif4[:1])
    for name in TYPE_NAMES:
        atom = zif4.symbols.index(name)
        wanted = naive(functions, zif4[:1], atom)
        assert len(wanted) == 4 * 5 + 10 * 8 and max(wanted) > 10
        np.testing.assert_allclose(rows[atom], wanted, rtol=1e-10, atol=1e-12 * max(wanted))


def test_dimer_and_trimer_by_hand() -> None:
    """N–N at 1.5 Å with Zn 1.5 Å from both: cos θ = ½, f_c = ½ (cos 67.5° + 1) = 0.691341…"""
    cut = 0.6913417161825449
    functions = function_set(
        TYPE_NAMES, 4.0, radial=[[0.0, 0.0], [0.4, 1.0]], angular=[[0.1, 1, 2], [0.1, -1, 2]]
    )
    dimer = values(functions, molecule("NN", [[0, 0, 0], [0, 0, 1.5]]))
    triangle = [[0, 0, 0], [0, 0, 1.5], [0, 1.5 * np.sqrt(0.75), 0.75]]
    trimer = values(functions, molecule("NNZ", triangle))
    # 2^(1-2) (1 ± ½)² exp(-0.1 (1.5² + 1.5²)) f_c² = (1.125, 0.125) exp(-0.45) f_c²
    pair = np.exp(-0.45) * cut**2
    radial = [cut, np.exp(-0.4 * 0.25) * cut]
    by_hand = np.zeros((3, 4 * 2 + 10 * 2))
    # radial by neighbour H, C, N, Zn; pairs HH HC HN HZn CC CN CZn NN NZn ZnZn
    by_hand[:2, 4:6] = by_hand[:2, 6:8] = radial
    by_hand[:2, 8 + 16 : 8 + 18] = [1.125 * pair, 0.125 * pair]
    by_hand[2, 4:6] = [2 * r for r in radial]
    by_hand[2, 8 + 14 : 8 + 16] = [1.125 * pair, 0.125 * pair]
    np.testing.assert_allclose(trimer, by_hand, rtol=1e-13, atol=1e-14)
    by_hand[:2, 6:] = 0.0
    np.testing.assert_allclose(dimer, by_hand[:2], rtol=1e-13, atol=1e-14)


def test_addition_theorem() -> None:
    """Σ_m S_lm(û) S_lm(v̂) = P_l(û·v̂), at the poles too."""
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(6, 3)), [[0, 0, 1], [0, 0, -1], [1, 0, 0]]])
    unit = torch.tensor(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    harmonics = spherical_harmonics(unit, 20)
    cosines = (unit @ unit.T).numpy()
    for degree in range(21):
        block = harmonics[:, degree**2 : (degree + 1) ** 2]
        wanted = np.polynomial.legendre.Legendre.basis(degree)(cosines)
        np.testing.assert_allclose((block @ block.T).numpy(), wanted, rtol=0, atol=1e-13)


def test_high_zeta_stays_exact() -> None:
    """((1 ± cos θ) / 2)^64 from moments up to l = 64 against the power itself."""
    frame = random_cell(7)
    functions = function_set(TYPE_NAMES, 3.5, radial=[], angular=[[0.0, 1, 64], [0.0, -1, 64]])
    for atom, row in enumerate(values(functions, frame)):
        np.testing.assert_allclose(row, naive(functions, frame, atom), rtol=0, atol=1e-12)


# -- their choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cutoff", CUTOFF)
@pytest.mark.parametrize("smallest", [0.9, 1.7, 2.5])
def test_systematic_radial_functions_turn_at_even_distances(smallest: float, cutoff: str) -> None:
    functions = systematic_radial(5, smallest, 6.0, cutoff)
    assert functions[0] == (0.0, 0.0)
    r = np.linspace(0, 6, 60001)
    for (eta, shift), wanted in zip(functions, np.linspace(3.0, smallest, 5), strict=True):
        value = np.exp(-eta * r**2) * CUTOFF[cutoff](r / 6)
        assert shift == 0.0
        assert r[np.argmin(np.gradient(value, r))] == pytest.approx(wanted, abs=0.005)


def test_pairs_that_are_always_far_get_shifted_functions() -> None:
    for smallest in (3.5, 4.8, 7.0):
        functions = systematic_radial(5, smallest, 6.0, "cosine")
        assert [f.shift_A for f in functions] == [3.0, 3.6, 4.2, 4.8, 5.4]
        assert {f.eta for f in functions} == {1.389}  # 1 / (2 · 0.6²)


def test_systematic_choice_has_the_published_numbers() -> None:
    functions = function_set(TYPE_NAMES, 6.0)
    assert {len(of_pair) for of_pair in functions.radial.values()} == {5}
    (angular,) = set(functions.angular.values())
    assert angular == systematic_angular(6.0, "cosine") and len(set(angular)) == 8
    assert {f.eta for f in angular} == {0.0, 0.1577}  # turns at 1.5 Å
    assert len(functions.radial) == 16 and len(functions.angular) == 40
    assert all(functions.radial[a, b] == functions.radial[b, a] for a, b in functions.radial)


def test_smallest_distances_are_those_of_the_bundled_frames() -> None:
    from zifbench.ase_io import read_frames
    from zifbench.bundled import BUNDLED_DATA

    smallest = dict.fromkeys(SMALLEST_DISTANCES_A, np.inf)
    neighbours = vesin.NeighborList(cutoff=6.0, full_list=False)
    for frames in read_frames(BUNDLED_DATA["zif4-own-train"].path):
        types = np.array([TYPE_NAMES.index(symbol) for symbol in frames.symbols])
        for points, box in zip(frames.positions, frames.cell, strict=True):
            i, j, d = neighbours.compute(points=points, box=box, periodic=True, quantities="ijd")
            low, high = np.minimum(types[i], types[j]), np.maximum(types[i], types[j])
            for key in smallest:
                a, b = (TYPE_NAMES.index(name) for name in key.split("-"))
                own = d[(low == a) & (high == b)]
                smallest[key] = min(smallest[key], own.min(initial=np.inf))
    for key, value in SMALLEST_DISTANCES_A.items():
        assert value <= smallest[key] < value + 0.1, key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": -1.0}, "r_max: wanted a cutoff above 0 Å, got -1"),
        ({"r_max": float("nan")}, "r_max: wanted a finite number, got nan"),
        ({"cutoff": "cosin"}, "unknown cutoff function 'cosin'; did you mean cosine"),
        ({"radial": {"Zn-N": 3}, "angular": []}, "element H has no symmetry functions"),
        ({"radial": [], "angular": []}, "element H has no symmetry functions"),
        ({"radial": {"Zn-O": 3}}, "unknown element of radial 'Zn-O' 'O'; known: C, H, N, Zn"),
        ({"radial": {"ZnN": 3}}, "radial: wanted 2 elements as CENTRE-NEIGHBOUR, got 'ZnN'"),
        ({"radial": [[0.1]]}, r"radial H-H: wanted \[eta, shift\], got \[0.1\]"),
        ({"radial": [[-0.1, 0.0]]}, "radial H-H: wanted eta and shift of at least 0"),
        ({"radial": "five"}, "radial H-H: wanted a list of functions, got 'five'"),
        ({"radial": -2}, "radial: wanted at least 1 function"),
        ({"angular": [[0.0, 1, 1.5]]}, "lambda 1 or -1 and a whole zeta from 1 to 64"),
        ({"angular": [[0.0, 0.5, 1]]}, "lambda 1 or -1 and a whole zeta from 1 to 64"),
        ({"angular": [[0.0, 1, "4"]]}, "angular H-H-H: wanted a finite number, got '4'"),
        (
            {"angular": {"N-Zn-C": [[0, 1, 1]], "C-Zn-N": [[0, 1, 1]]}},
            "angular: C-Zn-N is given twice",
        ),
        ({"type_names": ["H", "O"]}, "smallest_distances_A: nothing for H-O"),
        ({"type_names": ["H", "H"]}, "type_names: wanted different elements"),
        ({"smallest_distances_A": {"H-H": 0}}, "a smallest distance above 0 Å, got 5 and 0 Å"),
        ({"hidden": [15, 0]}, r"hidden: wanted whole numbers of neurons above 0, got \[15, 0\]"),
        ({"hiden": [15]}, "unknown argument of HDNNPModel 'hiden'; did you mean hidden"),
        ({"statistics": {"H": {"mean": [0.0], "scale": [1.0]}}}, "1 means and 1 scales for H"),
        (
            {
                "type_names": ["N"],
                "radial": [[0.0, 0.0]],
                "angular": [],
                "statistics": {"N": {"mean": [0.0], "scale": [0.0]}},
            },
            "statistics: wanted scales above 0 for N, got 0",
        ),
    ],
)
def test_bad_recipes_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelError, UnknownNameError), match=message) as caught:
        build(**options)
    assert isinstance(caught.value, ZifbenchError) and "\n" not in str(caught.value)


def test_other_elements_with_their_distances() -> None:
    functions = function_set(
        ["H", "O"], 5.0, smallest_distances_A={"O-H": 0.9, "O-O": 2.4, "H-H": 1.4}
    )
    assert functions.count("O") == functions.count("H") == 2 * 5 + 3 * 8
    assert functions.radial["H", "O"] == systematic_radial(5, 0.9, 5.0, "cosine")


# -- the model ------------------------------------------------------------------------------------


def build(*, dtype: str = "float64", **options: Any) -> Any:
    """An untrained model."""
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    known = {"seed": 3, "model_dtype": dtype, "type_names": TYPE_NAMES, "r_max": 6.0}
    return HDNNPModel(**(known | options)).eval()


def potential(**options: Any) -> Potential:
    """An untrained model as loaded, for frames with lattices wider than its cutoff of 4 Å."""
    options = {
        "r_max": 4.0,
        "per_type_energy_scales": 0.3,
        "per_type_energy_shifts": -220.0,
    } | options
    card = ModelCard(
        name="hdnnp",
        file="hdnnp",
        format="test",
        sha256="",
        size_bytes=0,
        species=TYPE_NAMES,
        cutoff_A=options["r_max"],
        dtype=options.get("dtype", "float64"),
    )
    return TorchPotential(card, build(**options), device="cpu", signature=CURRENT)


@pytest.mark.parametrize("recipe", ["systematic", "polynomial cutoff", "mapped"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conformance(frames: Frames, dtype: str, recipe: str) -> None:
    """Forces, stress, translation, rotation, inversion, permutation, supercell, batch …"""
    checks = run_conformance(potential(dtype=dtype, **RECIPES[recipe]), frames)
    assert [check for check in checks if not check.passed] == []


def test_conformance_with_a_pair_potential(frames: Frames) -> None:
    """ZBL comes on top, and pushes atoms apart that are closer than any training frame."""
    zbl = {
        "_target_": "nequip.nn.pair_potential.ZBL",
        "units": "metal",
        "chemical_species": list(TYPE_NAMES),
    }
    with_zbl = potential(pair_potential=zbl)
    assert [check for check in run_conformance(with_zbl, frames) if not check.passed] == []
    close = molecule("CC", [[0, 0, 0], [0, 0, 0.3]])
    assert compute(with_zbl, close).energy[0] > compute(potential(), close).energy[0] + 100


def test_parameter_count() -> None:
    """Per element: n·15 + 15, 15·15 + 15, 15 + 1; 100 functions each by the systematic choice."""
    count = sum(p.numel() for p in build().parameters())
    assert count == 4 * (100 * 15 + 15 + 15 * 15 + 15 + 15 + 1) == 7084
    functions = function_set(TYPE_NAMES, 6.0, **MAPPED)
    count = sum(p.numel() for p in build(hidden=[7], **MAPPED).parameters())
    assert [functions.count(name) for name in TYPE_NAMES] == [2, 7, 3, 7]
    assert count == sum(n * 7 + 7 + 7 + 1 for n in (2, 7, 3, 7))


def test_seed_makes_the_weights() -> None:
    one, same, other = build(), build(), build(seed=4)
    first = next(iter(one.parameters()))
    assert torch.equal(first, next(iter(same.parameters())))
    assert not torch.equal(first, next(iter(other.parameters())))


@pytest.mark.parametrize("cutoff", CUTOFF)
@pytest.mark.parametrize(
    "recipe", [{"angular": []}, {"radial": []}, {}], ids=["radial", "angular", "both"]
)
def test_energy_and_forces_are_continuous_at_the_cutoff(
    recipe: Mapping[str, Any], cutoff: str
) -> None:
    """A third atom crosses 4 Å from one of a pair, and stays within reach of the other.

    With f_c ~ δ² energies differ by δ² and forces by δ; nothing is left at 1e-7 Å from the cutoff.
    """
    model = potential(cutoff=cutoff, **recipe)

    def at(distance: float) -> tuple[float, FloatArray]:
        prediction = compute(model, molecule("ZNC", [[0, 0, 0], [0.9, 1.5, 0], [0, distance, 0]]))
        return float(prediction.energy[0]), prediction.forces[0]

    outside, far = at(4.0 + 1e-7), at(4.0 + 1e-3)
    np.testing.assert_allclose(far[1][0], outside[1][0], rtol=0, atol=2e-3)
    for delta in (1e-3, 1e-5, 1e-7):
        inside = at(4.0 - delta)
        # N–C goes on below the cutoff, so forces move with it by less than 2 eV/Å² · δ.
        assert abs(inside[0] - outside[0]) < 2 * (delta + 1e-7)
        np.testing.assert_allclose(inside[1], outside[1], rtol=0, atol=2 * (delta + 1e-7))
    assert np.abs(at(3.0)[1][0] - outside[1][0]).max() > 1e-3  # there is something to cross


def test_second_derivative_at_the_cutoff() -> None:
    """½ (cos πx + 1) bends by π²/2 up to the cutoff and not beyond; the polynomial does not."""
    from zifbench.potentials.hdnnp.cutoffs import CUTOFFS

    h = 1e-3
    x = torch.tensor([1 - 2 * h, 1 - h, 1.0, 1 + h, 1 + 2 * h], dtype=torch.float64)
    for name, inner in {"cosine": np.pi**2 / 2, "polynomial": 0.0}.items():
        f = CUTOFFS[name](x).numpy()
        assert (f[0] - 2 * f[1] + f[2]) / h**2 == pytest.approx(inner, abs=0.1)
        assert (f[2], f[3], f[4]) == (0.0, 0.0, 0.0)
        assert CUTOFFS[name](torch.zeros(1)).item() == 1.0


def test_every_element_has_a_network_of_its_own() -> None:
    """A larger bias at the end of one network is seen by the atoms of its element alone."""
    pair = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal"}
    frame = molecule("ZNNCHH", [[0.1 * k * k, 1.1 * k, 0.3 * k] for k in range(6)])
    for options in ({}, {"pair_potential": pair | {"chemical_species": list(TYPE_NAMES)}}):
        module = build(r_max=4.0, **options)
        networks = next(m for m in module.modules() if type(m).__name__ == "ElementNetworks")
        before = module(graph(frame, 4.0))["atomic_energy"].detach()
        for index, element in enumerate(TYPE_NAMES):
            bias = networks.networks[index][-1].bias
            with torch.no_grad():
                bias += 0.5
            change = module(graph(frame, 4.0))["atomic_energy"].detach() - before
            with torch.no_grad():
                bias -= 0.5
            wanted = [0.5 * (symbol == element) for symbol in frame.symbols]
            np.testing.assert_allclose(change.view(-1), wanted, rtol=0, atol=1e-12)


def test_single_atom_and_missing_elements() -> None:
    """Alone: the network of its element at zero, no force; a pair without C and Zn works."""
    model = potential()
    alone = compute(model, molecule("N", [[1.0, 2.0, 3.0]]))
    far = compute(model, molecule("NN", [[0, 0, 0], [0, 0, 4.5]]))
    assert far.energy[0] == pytest.approx(2 * alone.energy[0], abs=1e-12)
    assert not alone.forces.any() and not far.forces.any()
    pair = compute(model, molecule("HN", [[0, 0, 0], [0, 0, 1.0]]))
    assert np.abs(pair.forces).max() > 1e-3
    np.testing.assert_allclose(pair.forces[0, 0], -pair.forces[0, 1], rtol=0, atol=1e-12)


def test_atoms_beyond_the_cutoff_do_not_count() -> None:
    """A neighbour list with a skin gives the same as one without."""
    module, frame = build(r_max=4.0), morse_frames()[:1]
    exact, skinned = (module(graph(frame, r)) for r in (4.0, 4.6))
    for key in ("total_energy", "forces", "stress"):
        np.testing.assert_allclose(exact[key].detach(), skinned[key].detach(), rtol=0, atol=1e-12)


# -- statistics -----------------------------------------------------------------------------------


def test_statistics_are_those_of_all_atoms_of_an_element() -> None:
    frames = [morse_frames()[row] for row in range(3)]
    manager = HDNNPStatisticsManager(TYPE_NAMES, 4.0, **MAPPED)
    data = [graph(frame, 4.0) for frame in frames]
    for one, frame in zip(data, frames, strict=True):
        n = frame.n_atoms
        one |= {"num_atoms": torch.tensor([n]), "batch": torch.zeros(n, dtype=torch.long)}
        one |= {"total_energy": torch.zeros(1, 1), "forces": torch.zeros(n, 3)}
    found = manager.get_statistics(data)
    assert found["per_atom_energy_mean"] == 0.0 and "forces_rms" in found
    functions = function_set(TYPE_NAMES, 4.0, **MAPPED)
    rows = [values(functions, frame) for frame in frames]
    symbols = frames[0].symbols
    for name in TYPE_NAMES:
        own = np.array([row[n] for row in rows for n in range(24) if symbols[n] == name])
        got = found["symmetry_functions"][name]
        np.testing.assert_allclose(got["mean"], own.mean(axis=0), rtol=1e-12, atol=1e-14)
        spread = own.std(axis=0)
        np.testing.assert_allclose(
            got["scale"], np.where(spread > 0.01, spread, 1.0), rtol=1e-10, atol=1e-14
        )
    # and the networks then see mean 0 and spread 1
    module = build(r_max=4.0, statistics=found["symmetry_functions"], **MAPPED)
    networks = next(m for m in module.modules() if type(m).__name__ == "ElementNetworks")
    seen: list[torch.Tensor] = []
    networks.networks[3].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for frame in frames:
        module(graph(frame, 4.0))
    zinc = torch.tensor([symbol == "Zn" for symbol in symbols])
    inputs = torch.cat([one[zinc] for one in seen]).detach().numpy()
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-10)
    spread = np.array(found["symmetry_functions"]["Zn"]["scale"])
    wanted = np.where(spread == 1.0, inputs.std(axis=0), 1.0)
    np.testing.assert_allclose(inputs.std(axis=0), wanted, atol=1e-10)
    assert inputs.std(axis=0).max() < 1 + 1e-10 and (spread != 1.0).any()


def test_statistics_begin_anew_after_a_reset() -> None:
    manager = HDNNPStatisticsManager(["N"], 4.0, smallest_distances_A={"N-N": 2.0})
    found = []
    for energy in (-3.0, -5.0):
        one = graph(molecule("NN", [[0, 0, 0], [0, 0, 2.5]]), 4.0)
        one |= {"num_atoms": torch.tensor([2]), "batch": torch.zeros(2).long()}
        one |= {"atom_types": torch.zeros(2).long(), "forces": torch.ones(2, 3)}
        manager.reset()
        found.append(manager.get_statistics([one | {"total_energy": torch.tensor([[energy]])}]))
    assert [statistics["per_atom_energy_mean"] for statistics in found] == [-1.5, -2.5]


def test_atoms_that_only_touch_the_cutoff_are_not_blown_up() -> None:
    """Distances 1e-4 Å apart, just below 4 Å: a spread of 1e-8, which is not scaled to 1."""
    manager = HDNNPStatisticsManager(["N"], 4.0, smallest_distances_A={"N-N": 2.0})
    data = []
    for distance in (3.9998, 3.9999):
        one = graph(molecule("NN", [[0, 0, 0], [0, 0, distance]]), 4.0)
        one |= {"num_atoms": torch.tensor([2]), "batch": torch.zeros(2).long()}
        one |= {"atom_types": torch.zeros(2).long(), "total_energy": torch.zeros(1, 1)}
        data.append(one | {"forces": torch.zeros(2, 3)})
    found = manager.get_statistics(data)["symmetry_functions"]["N"]
    assert 0 < max(found["mean"]) < 1e-7 and set(found["scale"]) == {1.0}


def test_statistics_of_an_element_that_does_not_occur() -> None:
    frame = molecule("NN", [[0, 0, 0], [0, 0, 1.5]])
    manager = HDNNPStatisticsManager(TYPE_NAMES, 4.0)
    data = graph(frame, 4.0) | {"num_atoms": torch.tensor([2]), "batch": torch.zeros(2).long()}
    data |= {"total_energy": torch.zeros(1, 1), "forces": torch.zeros(2, 3)}
    found = manager.get_statistics([data])["symmetry_functions"]
    assert found["Zn"] == {"mean": [0.0] * 100, "scale": [1.0] * 100}
    assert found["N"]["scale"] == [1.0] * 100  # both atoms alike: nothing varies


# -- trained, packaged and compiled by nequip's own commands --------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A minuscule HDNNP after one epoch on one frame, and its package."""
    return train_tiny(tmp_path_factory.mktemp("hdnnp") / "tiny", "HDNNP")


@pytest.mark.slow
def test_checkpoint_and_package_load_and_conform(trained: TinyModel, zif4: Frames) -> None:
    models = [
        load_potential(str(path), device="cpu", trust=True)
        for path in (trained.checkpoint, trained.package)
    ]
    for model in models:
        card = model.card
        assert (card.architecture, card.species, card.cutoff_A) == ("HDNNP", TYPE_NAMES, TINY_R_MAX)
        assert card.dtype == "float64"
    one, other = (compute(model, zif4[:1]) for model in models)
    np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.energy, other.energy, rtol=0, atol=1e-3)
    checks = run_conformance(models[1], zif4)
    assert [check for check in checks if not check.passed] == []


@pytest.mark.slow
def test_compiled_model_gives_the_same(trained: TinyModel, zif4: Frames, tmp_path: Path) -> None:
    """On another frame, and on one of another number of atoms than it was compiled for."""
    options = ["--device", "cpu", "--mode", "aotinductor", "--target", "ase"]
    path = tmp_path / "tiny.nequip.pt2"
    console_script("nequip-compile", str(trained.package), str(path), *options, cwd=tmp_path)
    compiled = load_potential(str(path), device="cpu", trust=True)
    eager = load_potential(str(trained.package), device="cpu", trust=True)
    for frames in (zif4[1:2], changed(morse_frames()[:1])):
        one, other = compute(compiled, frames), compute(eager, frames)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-4)
        np.testing.assert_allclose(one.energy, other.energy, rtol=0, atol=1e-3)
        np.testing.assert_allclose(one.stress, other.stress, rtol=0, atol=1e-5)
