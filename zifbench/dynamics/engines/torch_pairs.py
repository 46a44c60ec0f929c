"""Neighbour lists of many systems that move, on the device where the model runs.

Pairs within the cutoff and a skin are listed on the host (vesin) and sorted; at each step those
within the cutoff are picked on the device. As they are sorted, the same positions give the same
pairs in the same order, whenever the list was made: a run that goes on rounds as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import vesin

from zifbench.frames import FloatArray, IntArray

if TYPE_CHECKING:
    import torch

SKIN_A = 1.0
_MOST_SHIFTS = 1 << 9  # cell shifts are counted from -256 to 255 in a sorting key


@dataclass(eq=False)
class _Listed:
    """Pairs within cutoff and skin, and where the atoms were when they were listed.

    Of one system, or of several joined; then `inverse` has a leading axis.
    """

    pairs: torch.Tensor
    shifts: torch.Tensor
    fractional: torch.Tensor
    inverse: torch.Tensor  # of the cell


class PairLists:
    """Pairs within a cutoff, for systems that are known by a number.

    Args:
        cutoff_A: Largest distance.
        device: Where positions are and pairs are wanted.
    """

    def __init__(self, cutoff_A: float, device: str) -> None:
        self._cutoff_A, self._device = cutoff_A, device
        self._listed: dict[int, _Listed] = {}
        self._joined: dict[tuple[int, ...], _Listed] = {}

    def find(
        self,
        systems: Sequence[int],
        positions: torch.Tensor,
        cell: torch.Tensor,
        counts: Sequence[int],
        system_of_atom: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All ordered pairs within the cutoff.

        Args:
            systems: Their numbers.
            positions: Å, float64, atoms of one after those of the other, shape (N, 3).
            cell: Rows, Å, shape (S, 3, 3).
            counts: Atoms of each.
            system_of_atom: Shape (N,).

        Returns:
            Pairs (i, j), shape (2, E), and cell shifts of j, shape (E, 3), sorted.
        """
        listed = self._renew(tuple(systems), positions, cell, counts, system_of_atom)
        pairs, shifts = listed.pairs, listed.shifts
        first, second = pairs
        images = (shifts[:, :, None] * cell[system_of_atom[first]]).sum(1)
        square = (positions[second] - positions[first] + images).square().sum(1)
        near = square <= self._cutoff_A**2
        return pairs[:, near], shifts[near]

    def forget(self, system: int) -> None:
        """A system that has left."""
        self._listed.pop(system, None)
        self._joined = {key: one for key, one in self._joined.items() if system not in key}

    def forget_joined(self) -> None:
        """What is listed of several systems at once; it is joined again where it is asked for."""
        self._joined.clear()

    def _renew(
        self,
        systems: tuple[int, ...],
        positions: torch.Tensor,
        cell: torch.Tensor,
        counts: Sequence[int],
        system_of_atom: torch.Tensor,
    ) -> _Listed:
        """What is listed, systems anew that are unknown or have moved by more than the skin."""
        stale = [system not in self._listed for system in systems]
        if not any(stale):
            if systems not in self._joined:
                self._joined[systems] = self._join(systems, counts)
            listed = self._joined[systems]
            stale = self._has_moved(listed, positions, cell, counts, system_of_atom)
            if not any(stale):
                return listed
        start = 0
        for k, (system, count) in enumerate(zip(systems, counts, strict=True)):
            if stale[k]:
                self.forget(system)
                self._listed[system] = self._list(positions[start : start + count], cell[k])
            start += count
        self._joined[systems] = self._join(systems, counts)
        return self._joined[systems]

    def _has_moved(
        self,
        listed: _Listed,
        positions: torch.Tensor,
        cell: torch.Tensor,
        counts: Sequence[int],
        system_of_atom: torch.Tensor,
    ) -> list[bool]:
        """Whether a pair may have come into the cutoff from beyond the skin, by system.

        A pair's vector changes by what its atoms move within the cell, twice the farthest at most,
        and by the strain of the cell times its length.
        """
        import torch

        moved = positions - (listed.fractional[:, :, None] * cell[system_of_atom]).sum(1)
        lengths = torch.tensor(counts, device=self._device)
        farthest = torch.segment_reduce(moved.square().sum(1), "max", lengths=lengths).sqrt()
        strain = listed.inverse @ cell - torch.eye(3, dtype=cell.dtype, device=self._device)
        stretched = (self._cutoff_A + SKIN_A) * strain.flatten(1).norm(dim=1)
        stale: list[bool] = (2.0 * farthest + stretched >= SKIN_A).tolist()
        return stale

    def _list(self, positions: torch.Tensor, cell: torch.Tensor) -> _Listed:
        import torch

        points, box = positions.cpu().numpy(), cell.cpu().numpy()
        first, second, shift = vesin.NeighborList(
            cutoff=self._cutoff_A + SKIN_A, full_list=True
        ).compute(points=points, box=box, periodic=True, quantities="ijS")
        order = _order(first, second, shift, len(points))
        pairs = np.stack([first, second]).astype(np.int64)[:, order]
        return _Listed(
            torch.tensor(pairs, device=self._device),
            torch.tensor(shift[order].astype(float), device=self._device),
            torch.linalg.solve(cell, positions, left=False),
            torch.linalg.inv(cell),
        )

    def _join(self, systems: Sequence[int], counts: Sequence[int]) -> _Listed:
        import torch

        listed = [self._listed[system] for system in systems]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
        return _Listed(
            torch.cat([one.pairs + start for one, start in zip(listed, starts, strict=True)], 1),
            torch.cat([one.shifts for one in listed]),
            torch.cat([one.fractional for one in listed]),
            torch.stack([one.inverse for one in listed]),
        )


def _order(first: IntArray, second: IntArray, shift: FloatArray, n_atoms: int) -> IntArray:
    """By i, then j, then the shift."""
    key = first.astype(np.int64) * n_atoms + second.astype(np.int64)
    for column in shift.T:
        key = key * _MOST_SHIFTS + (column.astype(np.int64) + _MOST_SHIFTS // 2)
    return np.argsort(key, kind="stable")
