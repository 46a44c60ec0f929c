"""Bond-angle distributions: N–Zn–N by distance, and any set of angles by histogram."""

from __future__ import annotations

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
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit


@dataclass(frozen=True)
class AngleDistribution:
    """Distribution of an angle in B bins of equal width over 0–180°.

    Two normalisations that must not be mixed: `density_per_deg` is what the paper plots;
    `relative_to_isotropic` has the trivial sin θ taken out, so that its potential of mean force is
    a free energy per solid angle.

    Attributes:
        edges_deg: Edges of the bins in degrees, shape (B + 1,).
        counts: Number of angles in each bin, shape (B,).
        mean_deg: Mean of the angles themselves, not of the bins; NaN where there is no angle.
        sd_deg: Their standard deviation.
        n_frames: Number of frames.
    """

    edges_deg: FloatArray
    counts: IntArray
    mean_deg: float
    sd_deg: float
    n_frames: int

    @property
    def n_angles(self) -> int:
        """Number of angles in all frames."""
        return int(self.counts.sum())

    @property
    def theta_deg(self) -> FloatArray:
        """Centres of the bins in degrees, shape (B,)."""
        return 0.5 * (self.edges_deg[1:] + self.edges_deg[:-1])

    @property
    def density_per_deg(self) -> FloatArray:
        """p(θ) per degree, shape (B,), integral 1; no division by sin θ (Castel et al. 2024)."""
        return self.counts / (self.n_angles * np.diff(self.edges_deg))

    @property
    def relative_to_isotropic(self) -> FloatArray:
        """p(θ) over that of random directions, ½ sin θ integrated over the bin, shape (B,)."""
        isotropic = -0.5 * np.diff(np.cos(np.radians(self.edges_deg)))
        return self.counts / (self.n_angles * isotropic)


def bond_angle_distribution(
    frames: FrameStream,
    *,
    centre: str = "Zn",
    neighbour: str = "N",
    cutoff_A: float = 2.5,
    bin_width_deg: float = 1.0,
    may_be_empty: bool = False,
) -> AngleDistribution:
    """Angles neighbour–centre–neighbour, every pair of neighbours of one centre once.

    Args:
        frames: T frames, or a stream of pieces.
        centre: Symbol at the vertex.
        neighbour: Symbol at both ends.
        cutoff_A: Bond cutoff; 2.5 Å for Zn–N.
        bin_width_deg: Width of a bin; must divide 180.
        may_be_empty: Give zero counts where no centre has two neighbours: for a piece of a run,
            of which the next one may have some.

    Raises:
        NotDefinedError: a symbol does not occur, or no centre has two neighbours.

    Source: Castel et al. 2024.
    """
    check_positive("cutoff_A", cutoff_A, unit="Å")
    histogram = AngleHistogram(bin_width_deg=bin_width_deg)
    for chunk in checked_chunks(frames, species=(centre, neighbour)):
        index = np.union1d(species_index(chunk, centre), species_index(chunk, neighbour))
        elements = np.unique(chunk.numbers[index])
        types = np.searchsorted(elements, chunk.numbers[index])
        centre_type = types[np.searchsorted(index, species_index(chunk, centre)[0])]
        end_type = types[np.searchsorted(index, species_index(chunk, neighbour)[0])]
        table = np.zeros((len(elements), len(elements)))
        table[centre_type, end_type] = table[end_type, centre_type] = cutoff_A
        _bin_bond_angles(
            np.ascontiguousarray(chunk.positions[:, index]), chunk.cell, inverse_cell(chunk.cell),
            types, table, centre_type, histogram.counts, histogram.sums,
        )  # fmt: skip
        histogram.n_frames += len(chunk)
    return histogram.result(
        None if may_be_empty else f"no {centre} has two {neighbour} within {cutoff_A} Å"
    )


class AngleHistogram:
    """Running histogram of angles that compiled loops add to."""

    def __init__(self, *, bin_width_deg: float) -> None:
        check_positive("bin_width_deg", bin_width_deg, unit="degrees")
        n_bins = round(180.0 / bin_width_deg)
        if n_bins < 1 or abs(n_bins * bin_width_deg - 180.0) > 1.0e-9:
            raise NotDefinedError(f"bin_width_deg = {bin_width_deg} does not divide 180 degrees")
        self.counts = np.zeros(n_bins, dtype=np.int64)
        self.sums = np.zeros(2)
        self.n_frames = 0

    def result(self, reason: str | None) -> AngleDistribution:
        """The distribution, or `reason` as the error where there is not one angle."""
        n = int(self.counts.sum())
        if n == 0 and reason is not None:
            raise NotDefinedError(f"angle distribution: {reason} in any frame")
        mean = self.sums[0] / n if n else np.nan
        sd = float(np.sqrt(max(0.0, self.sums[1] / n - mean**2))) if n else np.nan
        edges = np.linspace(0.0, 180.0, len(self.counts) + 1)
        return AngleDistribution(edges, self.counts, float(mean), sd, self.n_frames)


@jit
def add_angle(u: FloatArray, v: FloatArray, counts: IntArray, sums: FloatArray) -> None:
    """Add the angle between two vectors to a histogram and to Σθ, Σθ²; none for a zero vector."""
    dot = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
    norms = (u[0] ** 2 + u[1] ** 2 + u[2] ** 2) * (v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    if norms == 0.0:
        return  # one atom lies on the other: no direction, no angle
    theta = np.degrees(np.arccos(max(-1.0, min(1.0, dot / np.sqrt(norms)))))
    counts[min(int(theta / 180.0 * len(counts)), len(counts) - 1)] += 1
    sums[0] += theta
    sums[1] += theta * theta


@jit
def _bin_bond_angles(
    positions: FloatArray,
    cells: FloatArray,
    inverses: FloatArray,
    types: IntArray,
    table: FloatArray,
    centre_type: int,
    counts: IntArray,
    sums: FloatArray,
) -> None:
    for t in range(len(positions)):
        i, _, _, vector = pairs_kernel(positions[t], cells[t], inverses[t], types, table)
        for p in range(len(i)):
            if types[i[p]] != centre_type:
                continue
            q = p + 1
            while q < len(i) and i[q] == i[p]:
                add_angle(vector[p], vector[q], counts, sums)
                q += 1
