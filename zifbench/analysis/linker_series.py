"""Linkers against time: the survival of the organic part of the framework, three ways.

`linker_events` recognises each frame by itself, `ring_bond_maxima` follows the bonds of the first
frame, and `intact_by_cutoff` is the published criterion, kept for comparison: it calls linkers of
hot frames broken that are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.checks import (
    FrameStream,
    check_positive,
    checked_chunks,
    inverse_cell,
    reduced_cells,
)
from zifbench.analysis.linkers import BREAK_A, MERGE_A, Linkers, find_linkers
from zifbench.analysis.neighbours import pairs_kernel
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, IntArray
from zifbench.jit import jit

BoolArray = npt.NDArray[np.bool_]

# aMOF: 1.2 × the sum of the covalent radii.
AMOF_CC_A, AMOF_CN_A, AMOF_NN_A = 1.752, 1.728, 1.704


@dataclass(frozen=True)
class LinkerEvent:
    """A linker that is not as it should be.

    Attributes:
        frame: Row of the frame.
        kind: "broken", "merged", "protonated", "deprotonated" or "loose hydrogen".
        atoms: Numbers of the atoms concerned: those of the ring, of the fragment, or the H.
    """

    frame: int
    kind: str
    atoms: tuple[int, ...]


@dataclass(frozen=True)
class LinkerSeries:
    """What happened to the linkers, frame by frame.

    Attributes:
        broken_fraction: Share of linkers that are no five-ring of their own, shape (T,).
        events: All that is not as it should be, in the order of the frames.
    """

    broken_fraction: FloatArray
    events: tuple[LinkerEvent, ...]

    def count(self, kind: str) -> int:
        """Number of events of one kind."""
        return sum(event.kind == kind for event in self.events)


def linker_events(
    frames: FrameStream, *, break_A: float = BREAK_A, merge_A: float = MERGE_A
) -> LinkerSeries:
    """Broken, merged, protonated and deprotonated linkers of every frame, with their atoms.

    Args:
        frames: T frames, or a stream of pieces.
        break_A: Length beyond which a ring bond is broken.
        merge_A: Length below which two linkers are bonded.

    Raises:
        NotDefinedError: no C or no N, or frames without cell or with NaN.
    """
    fractions: list[float] = []
    events: list[LinkerEvent] = []
    for frame, linkers in enumerate(find_linkers(frames, break_A=break_A, merge_A=merge_A)):
        fractions.append(linkers.broken_fraction)
        events.extend(_events(frame, linkers))
    return LinkerSeries(np.array(fractions), tuple(events))


def _events(frame: int, linkers: Linkers) -> list[LinkerEvent]:
    found = [LinkerEvent(frame, "broken", tuple(f.tolist())) for f in linkers.fragments]
    for kind in ("merged", "protonated", "deprotonated"):
        rings = linkers.rings[getattr(linkers, kind)]
        found += [LinkerEvent(frame, kind, tuple(ring.tolist())) for ring in rings]
    loose = linkers.loose_hydrogen.tolist()
    return found + [LinkerEvent(frame, "loose hydrogen", (atom,)) for atom in loose]


def ring_bond_maxima(frames: FrameStream) -> tuple[FloatArray, IntArray]:
    """Longest of the five ring bonds of each linker, the bonds taken from the first frame.

    Returns:
        Lengths in Å, shape (T, L), and the atoms of the rings, shape (L, 5).

    Raises:
        NotDefinedError: no intact linker in the first frame.
    """
    rings: IntArray | None = None
    maxima = []
    for chunk in checked_chunks(frames, species=("C", "N")):
        if rings is None:
            rings = next(find_linkers(chunk[0])).rings
            if not len(rings):
                raise NotDefinedError(
                    f"no intact imidazolate in {chunk.where(0)}; there are no ring bonds to follow"
                )
        bonds = chunk.positions[:, np.roll(rings, -1, axis=1)] - chunk.positions[:, rings]
        cells = reduced_cells(chunk.cell)
        steps = np.einsum("tlkx,txy->tlky", bonds, inverse_cell(cells))
        bonds -= np.einsum("tlkx,txy->tlky", np.round(steps), cells)
        maxima.append(np.linalg.norm(bonds, axis=3).max(axis=2))
    return np.concatenate(maxima), rings if rings is not None else np.zeros((0, 5), np.int64)


def persistent(flags: BoolArray, *, n_frames: int) -> BoolArray:
    """Flags that stay set for at least `n_frames` frames on end, shape (T, …) as `flags`.

    Raises:
        NotDefinedError: fewer frames than that, so that nothing could persist.
    """
    check_positive("n_frames", n_frames, unit="frames")
    if n_frames > len(flags):
        raise NotDefinedError(f"persistence over {n_frames} frames in a run of {len(flags)}")
    n_windows = len(flags) - n_frames + 1
    windows = np.ones_like(flags[:n_windows])
    for start in range(n_frames):
        windows &= flags[start : start + n_windows]
    result = np.zeros_like(flags)
    for start in range(n_frames):
        result[start : start + n_windows] |= windows
    return result


def intact_by_cutoff(
    frames: FrameStream,
    *,
    cc_A: float = AMOF_CC_A,
    cn_A: float = AMOF_CN_A,
    nn_A: float = AMOF_NN_A,
) -> IntArray:
    """Number of intact linkers by bond cutoffs alone, as published, shape (T,).

    Intact: a connected group of exactly three C and two N in which every atom has two bonds and no
    two N are bonded.

    Source: aMOF 1.1.0, Fig. S14 of Castel et al. 2024.
    """
    table = np.array([[cc_A, cn_A], [cn_A, nn_A]])
    counts = []
    for chunk in checked_chunks(frames, species=("C", "N")):
        atoms = np.flatnonzero((chunk.numbers == 6) | (chunk.numbers == 7))
        types = (chunk.numbers[atoms] == 7).astype(np.int64)
        positions = np.ascontiguousarray(chunk.positions[:, atoms])
        counts.append(_count_intact(positions, chunk.cell, inverse_cell(chunk.cell), types, table))
    return np.concatenate(counts)


@jit
def _count_intact(
    positions: FloatArray,
    cells: FloatArray,
    inverses: FloatArray,
    types: IntArray,
    table: FloatArray,
) -> IntArray:
    """Groups in which a walk over atoms of exactly two bonds closes after five."""
    counts = np.zeros(len(positions), np.int64)
    for t in range(len(positions)):
        i, j, _, _ = pairs_kernel(positions[t], cells[t], inverses[t], types, table)
        degree = np.zeros(len(types), np.int64)
        partners = np.zeros((len(types), 2), np.int64)
        for p in range(len(i)):
            if degree[i[p]] < 2:
                partners[i[p], degree[i[p]]] = j[p]
            degree[i[p]] += 1
        for start in range(len(types)):
            atom, came, n_nitrogen, smallest, good = start, -1, 0, True, True
            for _ in range(5):
                good = good and degree[atom] == 2
                n_nitrogen += types[atom]
                smallest = smallest and atom >= start
                following = partners[atom, 1 if partners[atom, 0] == came else 0]
                good = good and not (types[atom] == 1 and types[following] == 1)
                came, atom = atom, following
            counts[t] += good and smallest and atom == start and n_nitrogen == 2
    return counts
