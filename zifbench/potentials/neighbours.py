"""Neighbour lists, from vesin (triclinic cells, any cutoff, numpy only)."""

from __future__ import annotations

import numpy as np
import vesin

from zifbench.frames import FloatArray, Frames, IntArray


def neighbour_list(frames: Frames, row: int, cutoff_A: float) -> tuple[IntArray, FloatArray]:
    """All ordered pairs of one frame within the cutoff, over all periodic images.

    Args:
        frames: T frames of N atoms.
        row: Which frame.
        cutoff_A: Largest distance in Å.

    Returns:
        Pairs (i, j), shape (2, E), and the cell shift S of j, shape (E, 3), such that the vector
        from i to j is r_j - r_i + S·cell.
    """
    first, second, shift = vesin.NeighborList(cutoff=cutoff_A, full_list=True).compute(
        points=frames.positions[row],
        box=frames.cell[row],
        periodic=frames.pbc,
        quantities="ijS",
    )
    return np.stack([first, second]).astype(np.int64), shift.astype(float)
