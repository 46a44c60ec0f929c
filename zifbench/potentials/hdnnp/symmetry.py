"""Values of the symmetry functions, in time and memory proportional to the number of neighbours.

Angular sums over pairs of neighbours are written exactly through moments. With ζ a whole number,

    2^(1−ζ) (1 + λ cos θ)^ζ = Σ_{l ≤ ζ} c_l P_l(cos θ),   P_l(û·v̂) = Σ_m S_lm(û) S_lm(v̂)

(Legendre polynomials; addition theorem of the real spherical harmonics S_lm, Schmidt's norm), so

    Σ_{j∈a, k∈b} = Σ_l c_l Σ_m A^a_lm A^b_lm,   A^a_lm = Σ_{j∈a} exp(−η r_ij²) f_c(r_ij) S_lm(r̂_ij)

from which, for a = b, the terms j = k are taken and the rest is halved. |P_l| ≤ 1 and Σ |c_l| ≤ 2
bound the rounding error, whatever ζ. One set of moments serves all λ and ζ; no shape depends on how
many triples there are, so torch can export it. The other angular function of Behler 2011 (G⁴, with
r_jk) is no such product and is not offered.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin
from nequip.nn.utils import with_edge_vectors_

from zifbench.potentials.hdnnp.choice import Angular, FunctionSet
from zifbench.potentials.hdnnp.cutoffs import CUTOFFS

_FLOAT = torch.float64


class SymmetryFunctions(GraphModuleMixin, torch.nn.Module):  # type: ignore[misc]
    """Symmetry functions of every atom, as the features of its node.

    With T elements the columns are those of all centres: T · K radial ones (K the largest number
    for one pair), then H · T(T+1)/2 · S angular ones (H the largest number of η of one centre, S
    the number of different (λ, ζ)). `columns` says which of them an element has.

    Everything is float64 whatever the dtype of the networks: forces are small differences of large
    slopes, and float32 leaves noise of 0.5 meV/Å in them.

    Args:
        functions: Which to compute.
    """

    def __init__(self, functions: FunctionSet) -> None:
        super().__init__()
        names = functions.type_names
        self.n_types = len(names)
        self.r_max_A = functions.r_max_A
        self.cutoff = functions.cutoff
        pairs = list(itertools.combinations_with_replacement(range(self.n_types), 2))
        etas = {
            name: sorted(
                {f.eta for key, fs in functions.angular.items() if key[0] == name for f in fs}
            )
            for name in names
        }
        shapes = sorted({(f.lambda_, f.zeta) for fs in functions.angular.values() for f in fs})
        self.n_radial = max((len(fs) for fs in functions.radial.values()), default=0)
        self.n_etas = max(len(of_centre) for of_centre in etas.values())
        self.l_max = max((zeta for _, zeta in shapes), default=0)
        n_angular = self.n_etas * len(pairs) * len(shapes)
        self.n_columns = self.n_types * self.n_radial + n_angular

        # Of the pair (centre, neighbour), and of the centre; what is missing is filled with zeros.
        radial = torch.zeros(self.n_types**2, self.n_radial, 2, dtype=_FLOAT)
        for row, pair in enumerate(itertools.product(names, names)):
            for k, function in enumerate(functions.radial.get(pair, ())):
                radial[row, k] = torch.tensor(function, dtype=_FLOAT)
        angular = torch.zeros(self.n_types, self.n_etas, dtype=_FLOAT)
        for row, name in enumerate(names):
            angular[row, : len(etas[name])] = torch.tensor(etas[name], dtype=_FLOAT)
        self.register_buffer("radial_eta", radial[..., 0].contiguous())
        self.register_buffer("radial_shift", radial[..., 1].contiguous())
        self.register_buffer("angular_eta", angular)
        self.register_buffer("mixing", _legendre_coefficients(shapes, self.l_max))
        at_zero = torch.tensor(
            [2.0 * ((1 + lam) / 2) ** zeta for lam, zeta in shapes], dtype=_FLOAT
        )
        self.register_buffer("same_neighbour", at_zero)
        first, second = (torch.tensor(column) for column in zip(*pairs, strict=True))
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        self.register_buffer("alike", (first == second).to(_FLOAT)[:, None])

        self.columns = [self._columns(functions, name, pairs, etas[name], shapes) for name in names]
        self._init_irreps(irreps_out={AtomicDataDict.NODE_FEATURES_KEY: f"{self.n_columns}x0e"})

    def _columns(
        self,
        functions: FunctionSet,
        centre: str,
        pairs: list[tuple[int, int]],
        etas: list[float],
        shapes: list[tuple[float, int]],
    ) -> list[int]:
        """Columns of one element: radial by neighbour, then angular by pair, as they are listed."""
        names = functions.type_names
        radial = [
            b * self.n_radial + k
            for b, neighbour in enumerate(names)
            for k in range(len(functions.radial.get((centre, neighbour), ())))
        ]

        def column(p: int, f: Angular) -> int:
            row = etas.index(f.eta) * len(pairs) + p
            shape = shapes.index((f.lambda_, f.zeta))
            return self.n_types * self.n_radial + row * len(shapes) + shape

        return radial + [
            column(p, f)
            for p, (a, b) in enumerate(pairs)
            for f in functions.angular.get((centre, names[a], names[b]), ())
        ]

    def forward(self, data: Any) -> Any:
        """Adds the values to `data`, shape (N, `n_columns`), float64."""
        data = with_edge_vectors_(data, with_lengths=True)
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
        centre, neighbour = data[AtomicDataDict.EDGE_INDEX_KEY].unbind(0)
        centre_type = torch.index_select(types, 0, centre)
        neighbour_type = torch.index_select(types, 0, neighbour)
        slot = centre * self.n_types + neighbour_type  # neighbours of one element of one atom

        r = data[AtomicDataDict.EDGE_LENGTH_KEY].view(-1, 1)  # (E, 1)
        unit = data[AtomicDataDict.EDGE_VECTORS_KEY] / r  # (E, 3)
        smooth = CUTOFFS[self.cutoff](r / self.r_max_A)  # (E, 1)

        n_atoms = types.size(0)
        parts = []
        if self.n_radial > 0:
            pair = centre_type * self.n_types + neighbour_type
            eta = torch.index_select(self.radial_eta, 0, pair)  # (E, K)
            shift = torch.index_select(self.radial_shift, 0, pair)
            values = torch.exp(-eta * (r - shift) ** 2) * smooth
            parts.append(self._sum(values, slot, n_atoms).flatten(1))
        if self.n_etas > 0:
            eta = torch.index_select(self.angular_eta, 0, centre_type)  # (E, H)
            weight = torch.exp(-eta * r**2) * smooth
            parts.append(self._angular(weight, unit, slot, n_atoms).flatten(1))
        data[AtomicDataDict.NODE_FEATURES_KEY] = torch.cat(parts, dim=1)
        return data

    def _sum(self, values: Any, slot: Any, n_atoms: int) -> Any:
        """Σ over the neighbours of one element, (E, …) → (N, T, …)."""
        shape = values.shape[1:]
        total = torch.zeros(
            (n_atoms * self.n_types, *shape), dtype=values.dtype, device=slot.device
        )
        return total.index_add(0, slot, values).view(n_atoms, self.n_types, *shape)

    def _angular(self, weight: Any, unit: Any, slot: Any, n_atoms: int) -> Any:
        """Angular sums, shape (N, H, P, S), from weights (E, H) and directions (E, 3)."""
        harmonics = spherical_harmonics(unit, self.l_max)  # (E, L)
        moments = self._sum(weight.unsqueeze(-1) * harmonics.unsqueeze(1), slot, n_atoms)
        squares = self._sum(weight**2, slot, n_atoms)  # (N, T, H)
        moments = moments.transpose(1, 2)  # (N, H, T, L)
        products = torch.index_select(moments, 2, self.first) * torch.index_select(
            moments, 2, self.second
        )
        values = torch.matmul(products, self.mixing)  # (N, H, P, S)
        squares = torch.index_select(squares.transpose(1, 2), 2, self.first).unsqueeze(-1)
        values = values - self.alike * squares * self.same_neighbour
        return values * (1.0 - 0.5 * self.alike)


def spherical_harmonics(unit: Any, l_max: int) -> Any:
    """Real spherical harmonics S_lm in Schmidt's norm, for l ≤ `l_max`, of unit vectors.

    S_lm = q_l^|m|(z) · Re or Im (x + iy)^|m|, polynomials without a pole anywhere;
    √(l² − m²) q_l^m = (2l − 1) z q_{l−1}^m − √((l − 1)² − m²) q_{l−2}^m.

    Args:
        unit: Unit vectors, shape (E, 3).
        l_max: Highest degree.

    Returns:
        Shape (E, (l_max + 1)²), by degree; for each l the cosines m = 0 … l, then the sines 1 … l.
    """
    x, y, z = unit.unbind(-1)
    cosines, sines = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(l_max):
        c, s = cosines[-1], sines[-1]
        cosines.append(x * c - y * s)
        sines.append(x * s + y * c)
    cosine, sine = torch.stack(cosines, dim=1), torch.stack(sines, dim=1)  # (E, l_max + 1)

    z = z.unsqueeze(-1)
    before, last = None, torch.ones_like(z)  # q_{l−2} and q_{l−1}, columns m = 0 …
    harmonics = [last]
    diagonal = 1.0
    for l in range(1, l_max + 1):  # noqa: E741
        m = torch.arange(l, dtype=unit.dtype, device=unit.device)
        q = (2 * l - 1) * z * last
        if before is not None:
            root = torch.sqrt((l - 1.0) ** 2 - m[:-1] ** 2)
            q = q - torch.nn.functional.pad(root * before, (0, 1))
        q = q / torch.sqrt(float(l * l) - m**2)
        diagonal *= 1.0 if l == 1 else ((2 * l - 1) / (2 * l)) ** 0.5
        q = torch.cat([q, torch.full_like(z, diagonal)], dim=1)
        harmonics += [q * cosine[:, : l + 1], q[:, 1:] * sine[:, 1 : l + 1]]
        before, last = last, q
    return torch.cat(harmonics, dim=1)


def _legendre_coefficients(shapes: list[tuple[float, int]], l_max: int) -> Any:
    """c_l of 2^(1−ζ) (1 + λx)^ζ for each (λ, ζ), once for every m: shape ((l_max + 1)², S)."""
    matrix = np.zeros(((l_max + 1) ** 2, len(shapes)))
    for column, (lambda_, zeta) in enumerate(shapes):
        power = np.polynomial.Polynomial([0.5, 0.5 * lambda_]) ** zeta
        legendre = 2.0 * np.polynomial.legendre.poly2leg(power.coef)
        for degree, value in enumerate(legendre):
            matrix[degree**2 : (degree + 1) ** 2, column] = value
    return torch.tensor(matrix, dtype=_FLOAT)
