"""Which symmetry functions each element has: a systematic choice, or the user's own.

Radial (G² of Behler 2011) for a centre i and neighbours of one element:

    G_i = Σ_j exp(−η (r_ij − R_s)²) f_c(r_ij)

Angular (G⁵ of Behler 2011, number 9 of RuNNer and n2p2), for a pair of neighbour elements, the sum
over unordered pairs of different neighbours:

    G_i = 2^(1−ζ) Σ_{j<k} (1 + λ cos θ_jik)^ζ exp(−η (r_ij² + r_ik²)) f_c(r_ij) f_c(r_ik)

The systematic choice is the usual one of HDNNPs, with the numbers of functions of Herbold and
Behler (HDNNP1: five radial ones for each pair of elements, eight angular ones for each triple; the
parameters themselves are in a supplement that we do not have):

- radial: R_s = 0, the first η = 0, which turns half way to the cutoff; the others so that their
  turning points (where |dG/dr| is largest) are equidistant from there down to the smallest distance
  of the pair. Pairs that are never closer than half the cutoff (Zn–Zn) would get the same function
  every time; theirs are Gaussians centred evenly from there to the cutoff instead.
- angular: λ = ±1, ζ = 1 and 4, each with η = 0 and with the η that turns at a quarter of the cutoff
  (1.5 Å of 6 Å: bonded neighbours). In a short training on zif4-mini this learned forces faster, at
  half the cost, than ζ = 1, 2, 4, 8 with η = 0.

η is in 1/Å² here, in 1/bohr² in RuNNer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from zifbench.errors import ModelError, unknown_name
from zifbench.potentials.hdnnp.cutoffs import CUTOFFS


class Radial(NamedTuple):
    """One radial symmetry function: η in 1/Å², R_s in Å."""

    eta: float
    shift_A: float


class Angular(NamedTuple):
    """One angular symmetry function: η in 1/Å², λ = ±1, ζ a positive whole number."""

    eta: float
    lambda_: float
    zeta: int


# Å; smallest distances in the eight bundled training frames of ZIF-4 (zif4-own-train, crystal at
# 300 to 1000 K and a glass at 1500 K), rounded down to 0.1 Å.
SMALLEST_DISTANCES_A = {
    "H-H": 1.3,
    "H-C": 0.9,
    "H-N": 1.7,
    "H-Zn": 2.2,
    "C-C": 1.3,
    "C-N": 1.2,
    "C-Zn": 2.5,
    "N-N": 2.0,
    "N-Zn": 1.7,
    "Zn-Zn": 4.8,
}
N_RADIAL = 5
_LARGEST_ZETA = 64  # (1 + cos θ)^64 is 24° wide; beyond it moments only get dearer
_LARGEST_ETA = 1e3  # 1/Å²


class FunctionSet(NamedTuple):
    """The symmetry functions of every element.

    No dataclass: those cannot be imported from a torch.package when annotations are texts.

    Attributes:
        type_names: Elements, in the order of the model's types.
        r_max_A: Cutoff radius.
        cutoff: Name of the cutoff function.
        radial: By (centre, neighbour); pairs without any are left out.
        angular: By (centre, neighbour, neighbour), the neighbours in the order of `type_names`.
    """

    type_names: tuple[str, ...]
    r_max_A: float
    cutoff: str
    radial: dict[tuple[str, str], tuple[Radial, ...]]
    angular: dict[tuple[str, str, str], tuple[Angular, ...]]

    def count(self, centre: str) -> int:
        """Number of symmetry functions of atoms of one element, the inputs of its network."""
        radial = sum(len(fs) for key, fs in self.radial.items() if key[0] == centre)
        return radial + sum(len(fs) for key, fs in self.angular.items() if key[0] == centre)


def function_set(
    type_names: Sequence[str],
    r_max: float,
    *,
    cutoff: str = "cosine",
    radial: Any = N_RADIAL,
    angular: Any = None,
    smallest_distances_A: Mapping[str, float] | None = None,
) -> FunctionSet:
    """The symmetry functions that a recipe asks for.

    Args:
        type_names: Elements of the model.
        r_max: Cutoff radius in Å.
        cutoff: "cosine" or "polynomial".
        radial: Number of functions for each pair by the systematic choice; or a list of [η, R_s]
            for every pair; or a mapping from "CENTRE-NEIGHBOUR" to either, pairs not named having
            none.
        angular: None for the systematic choice; or a list of [η, λ, ζ] for every triple; or a
            mapping from "NEIGHBOUR-CENTRE-NEIGHBOUR" to such lists, triples not named having none.
        smallest_distances_A: Smallest distance in Å of each pair "A-B", for the systematic choice;
            those of ZIF-4 where none is given.

    Raises:
        ModelError: a value that makes no sense, or an element without symmetry functions.
        UnknownNameError: an unknown cutoff function or element.
    """
    names = tuple(str(name) for name in type_names)
    if not names or len(set(names)) < len(names):
        raise ModelError(f"type_names: wanted different elements, got {list(names)}")
    r_max_A = _number(r_max, "r_max")
    if r_max_A <= 0:
        raise ModelError(f"r_max: wanted a cutoff above 0 Å, got {r_max_A:g}")
    if cutoff not in CUTOFFS:
        raise unknown_name("cutoff function", str(cutoff), CUTOFFS)
    smallest = _smallest_distances(smallest_distances_A, names)

    def radial_of(value: Any, key: tuple[str, str]) -> tuple[Radial, ...]:
        where = "-".join(key)
        if isinstance(value, int) and not isinstance(value, bool):
            if frozenset(key) not in smallest:
                raise ModelError(
                    f"smallest_distances_A: nothing for {where}, which the systematic choice of "
                    "radial functions needs; give it, or list [eta, shift] for this pair"
                )
            return systematic_radial(value, smallest[frozenset(key)], r_max_A, cutoff)
        return tuple(_radial(entry, where) for entry in _list(value, f"radial {where}"))

    def angular_of(value: Any, key: tuple[str, str, str]) -> tuple[Angular, ...]:
        where = "-".join((key[1], key[0], key[2]))
        return tuple(_angular(entry, where) for entry in _list(value, f"angular {where}"))

    if angular is None:
        angular = systematic_angular(r_max_A, cutoff)
    radial_by_pair = {
        key: radial_of(value, key)
        for key, value in _by_pair(radial, names).items()
        if value not in (0, [], ())
    }
    angular_by_triple = {
        key: angular_of(value, key)
        for key, value in _by_triple(angular, names).items()
        if value not in ([], ())
    }
    functions = FunctionSet(names, r_max_A, cutoff, radial_by_pair, angular_by_triple)
    for name in names:
        if functions.count(name) == 0:
            raise ModelError(
                f"element {name} has no symmetry functions, so its atoms would feel nothing; add "
                f"radial {name}-… or angular …-{name}-… functions, or leave it out of type_names"
            )
    return functions


def systematic_radial(n: int, smallest_A: float, r_max_A: float, cutoff: str) -> tuple[Radial, ...]:
    """Radial functions whose ranges spread evenly from half the cutoff to the smallest distance.

    Args:
        n: Number of functions.
        smallest_A: Smallest distance of the pair of elements.
        r_max_A: Cutoff radius.
        cutoff: Name of the cutoff function.

    Raises:
        ModelError: less than one function, or no distance.
    """
    if n < 1 or not smallest_A > 0:
        raise ModelError(
            f"radial: wanted at least 1 function and a smallest distance above 0 Å, got {n} and "
            f"{smallest_A:g} Å"
        )
    widest_A = r_max_A / 2  # where both cutoff functions alone are steepest
    if smallest_A >= widest_A:
        spacing = (r_max_A - widest_A) / n
        eta = _rounded(0.5 / spacing**2)
        return tuple(Radial(eta, round(widest_A + k * spacing, 3)) for k in range(n))
    ends = [widest_A + (smallest_A - widest_A) * k / max(n - 1, 1) for k in range(n)]
    return tuple(
        Radial(0.0 if k == 0 else _eta_turning_at(end, r_max_A, cutoff), 0.0)
        for k, end in enumerate(ends)
    )


def systematic_angular(r_max_A: float, cutoff: str) -> tuple[Angular, ...]:
    """The eight angular functions of every triple, for all neighbours and for near ones."""
    return tuple(
        Angular(eta, sign, zeta)
        for eta in (0.0, _eta_turning_at(r_max_A / 4, r_max_A, cutoff))
        for zeta in (1, 4)
        for sign in (1.0, -1.0)
    )


def _turning_point(eta: float, r_max_A: float, cutoff: str) -> float:
    """Distance in Å at which exp(−η r²) f_c(r) falls most steeply, to 1/4000 of the cutoff."""
    r = torch.linspace(0.0, r_max_A, 4001, dtype=torch.float64)
    value = torch.exp(-eta * r**2) * CUTOFFS[cutoff](r / r_max_A)
    steepest = int(torch.argmin(value.diff()))
    return float((r[steepest] + r[steepest + 1]) / 2)


def _eta_turning_at(distance_A: float, r_max_A: float, cutoff: str) -> float:
    """η in 1/Å² whose function turns at `distance_A`: the larger η, the nearer it turns."""
    low, high = 0.0, _LARGEST_ETA
    for _ in range(60):
        middle = (low + high) / 2
        if _turning_point(middle, r_max_A, cutoff) > distance_A:
            low = middle
        else:
            high = middle
    return _rounded(high)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


# -- reading what a recipe says -------------------------------------------------------------------


def _smallest_distances(
    given: Mapping[str, float] | None, names: tuple[str, ...]
) -> dict[frozenset[str], float]:
    table = {frozenset(key.split("-")): d for key, d in SMALLEST_DISTANCES_A.items()}
    for key, value in (given or {}).items():
        table[frozenset(_elements(key, 2, names, "smallest_distances_A"))] = _number(
            value, f"smallest_distances_A {key}"
        )
    return table


def _by_pair(value: Any, names: tuple[str, ...]) -> dict[tuple[str, str], Any]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(itertools.product(names, names), value)
    found: dict[tuple[str, str], Any] = {}
    for text, entry in value.items():
        centre, neighbour = _elements(text, 2, names, "radial")
        found[centre, neighbour] = entry
    return found


def _by_triple(value: Any, names: tuple[str, ...]) -> dict[tuple[str, str, str], Any]:
    if not isinstance(value, Mapping):
        pairs = itertools.combinations_with_replacement(names, 2)
        return {(c, *pair): value for c, pair in itertools.product(names, list(pairs))}
    found: dict[tuple[str, str, str], Any] = {}
    for text, entry in value.items():
        one, centre, other = _elements(text, 3, names, "angular")
        first, second = sorted((one, other), key=names.index)
        if (centre, first, second) in found:
            raise ModelError(f"angular: {text} is given twice, the order of neighbours is free")
        found[centre, first, second] = entry
    return found


def _elements(text: Any, n: int, names: tuple[str, ...], where: str) -> list[str]:
    parts = str(text).split("-")
    if len(parts) != n:
        wanted = "CENTRE-NEIGHBOUR" if n == 2 else "NEIGHBOUR-CENTRE-NEIGHBOUR"
        raise ModelError(f"{where}: wanted {n} elements as {wanted}, got {text!r}")
    for part in parts:
        if part not in names:
            raise unknown_name(f"element of {where} {text!r}", part, names)
    return parts


def _list(value: Any, where: str) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ModelError(f"{where}: wanted a list of functions, got {value!r}")
    return list(value)


def _radial(entry: Any, where: str) -> Radial:
    values = _list(entry, f"radial {where}")
    if len(values) != 2:
        raise ModelError(f"radial {where}: wanted [eta, shift], got {entry!r}")
    eta, shift = (_number(value, f"radial {where}") for value in values)
    if eta < 0 or shift < 0:
        raise ModelError(f"radial {where}: wanted eta and shift of at least 0, got {entry!r}")
    return Radial(eta, shift)


def _angular(entry: Any, where: str) -> Angular:
    values = _list(entry, f"angular {where}")
    if len(values) != 3:
        raise ModelError(f"angular {where}: wanted [eta, lambda, zeta], got {entry!r}")
    eta, lambda_, zeta = (_number(value, f"angular {where}") for value in values)
    if eta < 0 or abs(lambda_) != 1 or zeta not in range(1, _LARGEST_ZETA + 1):
        raise ModelError(
            f"angular {where}: wanted eta of at least 0, lambda 1 or -1 and a whole zeta from 1 to "
            f"{_LARGEST_ZETA}, got {list(values)}"
        )
    return Angular(eta, lambda_, int(zeta))


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"{where}: wanted a finite number, got {value!r}")
    return float(value)
