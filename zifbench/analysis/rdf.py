"""Partial radial distribution functions, running coordination number, potential of mean force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zifbench.analysis.checks import (
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    species_index,
)
from zifbench.analysis.neighbours import pairs_kernel
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames, IntArray, cell_heights
from zifbench.jit import jit
from zifbench.units import BOLTZMANN_EV_PER_K

_BEYOND_A = (1.0, 2.5)  # where the second minimum lies, after the first
_SMOOTH_A = 0.1  # the top of a barrier is the mean of so much
ZIF_PAIRS = (("Zn", "N"), ("Zn", "Zn"), ("N", "N"))


@dataclass(frozen=True)
class PartialRdf:
    """g_ab(r) of one pair of elements, in B bins of equal width from r = 0.

    Attributes:
        centre: Symbol of the atoms looked from.
        neighbour: Symbol of the atoms looked at.
        edges_A: Edges of the bins in Å, shape (B + 1,).
        g: Mean of g_ab in each bin, shape (B,); tends to 1 for a large disordered system.
        neighbours: Mean number of neighbours of one centre atom in each bin, shape (B,).
        n_frames: Number of frames averaged.
    """

    centre: str
    neighbour: str
    edges_A: FloatArray
    g: FloatArray
    neighbours: FloatArray
    n_frames: int

    @property
    def r_A(self) -> FloatArray:
        """Centres of the bins in Å, shape (B,)."""
        return 0.5 * (self.edges_A[1:] + self.edges_A[:-1])

    @property
    def coordination(self) -> FloatArray:
        """Running coordination number at the upper edge of each bin, shape (B,)."""
        return np.cumsum(self.neighbours)


def partial_rdfs(
    frames: FrameStream,
    *,
    pairs: Sequence[tuple[str, str]] = ZIF_PAIRS,
    r_max_A: float = 12.0,
    bin_width_A: float = 0.01,
) -> dict[tuple[str, str], PartialRdf]:
    """Partial radial distribution functions, all pairs in one pass.

    g_ab(r) = ⟨V n_ab(r, r + dr)⟩ / (N_a N_b 4π/3 [(r + dr)³ − r³]), n_ab counting ordered pairs
    over all periodic images, ⟨⟩ the mean over frames. Like pairs divide by N·N, not N (N − 1), as
    ASE, freud and MDAnalysis do. The height of a peak depends on the bin: 0.01 Å is the published
    one.

    Args:
        frames: T frames, or a stream of pieces.
        pairs: (centre, neighbour) symbols.
        r_max_A: End of the last bin, at most the shortest lattice vector: beyond it an atom sees
            its own image.
        bin_width_A: Width of a bin; must divide `r_max_A`.

    Raises:
        NotDefinedError: a symbol that does not occur, r_max beyond the shortest lattice vector,
            or frames without cell or with NaN.

    Source: Castel et al. 2024; r_max and bin from the authors' public settings.
    """
    edges = _edges(r_max_A, bin_width_A)
    symbols = sorted({symbol for pair in pairs for symbol in pair})
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    shape = (len(symbols), len(symbols), len(edges) - 1)
    counts, weighted, n_frames = np.zeros(shape), np.zeros(shape), 0
    sizes = np.zeros(len(symbols))
    for chunk in checked_chunks(frames, species=symbols):
        check_r_max(chunk, r_max_A=r_max_A)
        index = [species_index(chunk, symbol) for symbol in symbols]
        sizes[:] = [len(atoms) for atoms in index]
        types = np.repeat(np.arange(len(symbols)), sizes.astype(int))
        positions = np.ascontiguousarray(chunk.positions[:, np.concatenate(index)])
        table = _wanted(symbols, pairs) * r_max_A
        histogram_kernel(
            positions, chunk.cell, inverse_cell(chunk.cell), types, table, chunk.volume,
            counts, weighted,
        )  # fmt: skip
        n_frames += len(chunk)
    result = {}
    for a, b in pairs:
        k, m = symbols.index(a), symbols.index(b)
        g = weighted[k, m] / (n_frames * sizes[k] * sizes[m] * shells)
        neighbours = counts[k, m] / (n_frames * sizes[k])
        result[a, b] = PartialRdf(a, b, edges, g, neighbours, n_frames)
    return result


def _edges(r_max_A: float, bin_width_A: float) -> FloatArray:
    check_positive("r_max_A", r_max_A, unit="Å")
    check_positive("bin_width_A", bin_width_A, unit="Å")
    n_bins = round(r_max_A / bin_width_A)
    if n_bins < 1 or abs(n_bins * bin_width_A - r_max_A) > 1.0e-6 * r_max_A:
        raise NotDefinedError(
            f"r_max_A = {r_max_A} is no whole number of bins of {bin_width_A} Å; change one of them"
        )
    return np.linspace(0.0, r_max_A, n_bins + 1)


def _wanted(symbols: Sequence[str], pairs: Sequence[tuple[str, str]]) -> FloatArray:
    table = np.zeros((len(symbols), len(symbols)))
    for a, b in pairs:
        k, m = symbols.index(a), symbols.index(b)
        table[k, m] = table[m, k] = 1.0
    return table


def check_r_max(frames: Frames, *, r_max_A: float) -> None:
    """Refuse a radius beyond the shortest lattice vector.

    Raises:
        NotDefinedError: an atom would be counted as its own neighbour.
    """
    heights = cell_heights(frames.cell)
    for row in np.flatnonzero(heights.min(axis=1) < r_max_A):  # no lattice vector is shorter
        if row and np.array_equal(frames.cell[row], frames.cell[row - 1]):
            continue
        reach = np.ceil(r_max_A / heights[row]).astype(int)
        steps = np.array(list(itertools.product(*(range(-k, k + 1) for k in reach))))
        lengths = np.linalg.norm(steps[steps.any(axis=1)] @ frames.cell[row], axis=1)
        if lengths.min() < r_max_A:
            raise NotDefinedError(
                f"r_max {r_max_A:g} Å is beyond the shortest lattice vector, {lengths.min():.4f} "
                f"Å, in {frames.where(int(row))}: atoms would meet their own images; "
                "lower r_max or replicate the cell"
            )


@jit
def histogram_kernel(
    positions: FloatArray,
    cells: FloatArray,
    inverses: FloatArray,
    types: IntArray,
    table: FloatArray,
    volumes: FloatArray,
    counts: FloatArray,
    weighted: FloatArray,
) -> None:
    """Add the ordered pairs of each frame to `counts`, and times the volume to `weighted`."""
    n_bins = counts.shape[2]
    scale = n_bins / table.max()
    for t in range(len(positions)):
        i, j, _, vector = pairs_kernel(positions[t], cells[t], inverses[t], types, table)
        for p in range(len(i)):
            r = np.sqrt(vector[p, 0] ** 2 + vector[p, 1] ** 2 + vector[p, 2] ** 2)
            k = min(int(r * scale), n_bins - 1)
            counts[types[i[p]], types[j[p]], k] += 1.0
            weighted[types[i[p]], types[j[p]], k] += volumes[t]


def potential_of_mean_force(density: FloatArray, *, temperature_K: float) -> FloatArray:
    """F = −k_B T (ln p − ln p_max) in eV, for g(r) or for an angle distribution.

    Infinite where `density` is zero: no sample, no estimate.

    Args:
        density: g(r) or a distribution, any shape, on any scale.
        temperature_K: Temperature of the run.

    Raises:
        NotDefinedError: nothing in `density` is above zero, or the temperature is not positive.

    Source: Castel et al. 2024.
    """
    check_positive("temperature_K", temperature_K, unit="K")
    density = np.asarray(density, dtype=float)
    if not density.size or not density.max() > 0:
        raise NotDefinedError("potential of mean force: the distribution has no counts at all")
    energy = np.full(density.shape, np.inf)
    sampled = density > 0
    ratio = np.log(density[sampled] / density.max())
    energy[sampled] = -BOLTZMANN_EV_PER_K * temperature_K * ratio
    return energy


def barrier(r_A: FloatArray, energy: FloatArray, *, kT: float) -> float:
    """Height of a potential of mean force between its first and its second minimum.

    The second minimum is the lowest point beyond 1 Å and up to 2.5 Å after the first; for Zn–N it
    is the other N of the same imidazolate. Where noise makes single bins empty, the mean density
    of 0.1 Å counts: −kT ln of the mean of e^(−F/kT) there.

    Args:
        r_A: Distances, evenly spaced, shape (B,).
        energy: F(r) in any unit, shape (B,); infinite where nothing was sampled.
        kT: Thermal energy in the same unit.

    Returns:
        F at the top minus F at the first minimum, in the unit of `energy`.

    Raises:
        NotDefinedError: the top was never visited, so that only a lower limit is known.
    """
    lowest = np.where(np.isfinite(energy), energy, np.inf)
    first = int(np.argmin(lowest))
    beyond = (r_A > r_A[first] + _BEYOND_A[0]) & (r_A <= r_A[first] + _BEYOND_A[1])
    if not np.isfinite(lowest[beyond]).any():
        raise NotDefinedError("barrier: no second minimum of the potential of mean force was seen")
    second = int(np.flatnonzero(beyond)[np.argmin(lowest[beyond])])
    width = max(1, round(_SMOOTH_A / float(r_A[1] - r_A[0])))
    density = np.exp(-(lowest - lowest[first]) / kT)
    smooth = np.convolve(density, np.full(width, 1.0 / width), mode="same")
    between = smooth[first : second + 1]
    if not between.min() > 0.0:
        raise NotDefinedError(
            "barrier: no bond was seen breaking, so F is infinite between its two minima"
        )
    return float(-kT * np.log(between.min()))
