"""Imidazolate linkers, recognised in each frame by itself, and what happened to those that are not.

A bond cutoff alone calls linkers of hot frames broken: ring bonds stretch to where the atoms two
bonds apart come. Here the *order* of the distances decides who is bonded to whom (each ring atom
to its two nearest, if both agree) and a generous length only who is not: a bond longer than
`BREAK_A` is broken. The lengths were chosen on harmonic samples of the DFT Hessian, 64 000 linkers
at each temperature: the longest ring bond is 1.51 Å at 300 K and 1.66 Å at 1500 K, the shortest
distance of atoms two bonds apart 1.91 Å at 1500 K, and a C moved outwards by 0.9 Å is 2.02 Å from
its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zifbench.analysis.checks import FrameStream, checked_chunks, inverse_cell, species_index
from zifbench.analysis.neighbours import pairs_kernel
from zifbench.frames import FloatArray, Frames, IntArray
from zifbench.jit import jit

BoolArray = npt.NDArray[np.bool_]

# A ring bond longer than this is broken: midway between the two, 7.7 sd from the mean at 1500 K.
BREAK_A = 1.85
# C or N of two linkers that are closer than this are bonded; a C–C bond is 1.54 Å.
MERGE_A = 1.75
# An H belongs to its nearest C or N up to here; C–H is 1.08 Å, the next H is beyond 2 Å.
HYDROGEN_A = 2.0
# aMOF: 1.5 × the sum of the covalent radii.
ZINC_NITROGEN_A = 3.088

# Types of the compiled search.
_H, _C, _N, _ZN = 0, 1, 2, 3
_TYPE_OF = {"H": _H, "C": _C, "N": _N, "Zn": _ZN}


@dataclass(frozen=True)
class Linkers:
    """The linkers of one frame: L intact five-rings of three C and two N, and the remains.

    Attributes:
        rings: Atoms of each ring in order round it, N first, shape (L, 5).
        offsets: Cell of each ring atom that makes the ring contiguous, shape (L, 5, 3).
        merged: The ring has a bond to a C or N that is not its own, shape (L,).
        protonated: One of its N carries an H, shape (L,).
        deprotonated: One of its C carries no H, shape (L,); never where the frame has no H.
        fragments: Atoms of each group of bonded C and N that is no such ring.
        loose_hydrogen: H atoms that no C or N is near to.
        n_expected: Linkers that the number of N atoms makes, N/2.
    """

    rings: IntArray
    offsets: IntArray
    merged: BoolArray
    protonated: BoolArray
    deprotonated: BoolArray
    fragments: tuple[IntArray, ...]
    loose_hydrogen: IntArray
    n_expected: float

    @property
    def broken_fraction(self) -> float:
        """Share of linkers that are no five-ring of their own: broken or merged."""
        n_intact = len(self.rings) - int(self.merged.sum())
        return (self.n_expected - n_intact) / self.n_expected


def find_linkers(
    frames: FrameStream, *, break_A: float = BREAK_A, merge_A: float = MERGE_A
) -> Iterator[Linkers]:
    """The linkers of each frame.

    1. C and N atoms closer than `break_A` (N–N apart) are candidates; each atom keeps the two
       nearest, a bond is what both ends keep.
    2. An intact linker is a closed walk of five such bonds over three C and two N.
    3. A ring is merged where a C or N that is not its own is closer to it than `merge_A`.
    4. Each H belongs to its nearest C or N.

    Args:
        frames: T frames, or a stream of pieces; C, N and H are told apart by element.
        break_A: Length beyond which a ring bond is broken.
        merge_A: Length below which two linkers are bonded.

    Yields:
        One `Linkers` a frame; atoms are numbered as in the frames.

    Raises:
        NotDefinedError: no C or no N, or frames without cell or with NaN.
    """
    for chunk in checked_chunks(frames, species=("C", "N")):
        unit = UnitSearch(chunk, break_A=break_A)
        for row in range(len(chunk)):
            yield unit.linkers(row, merge_A=merge_A)


class UnitSearch:
    """Atoms of the units (H, C, N, Zn) with their types, ready for the compiled loops."""

    def __init__(self, frames: Frames, *, break_A: float = BREAK_A) -> None:
        types = np.full(frames.n_atoms, -1, dtype=np.int64)
        for symbol, kind in _TYPE_OF.items():
            if symbol in frames.symbols:
                types[species_index(frames, symbol)] = kind
        self.atoms = np.flatnonzero(types >= 0)
        self.types = types[self.atoms]
        self.positions = np.ascontiguousarray(frames.positions[:, self.atoms])
        self.cell, self.inverse = frames.cell, inverse_cell(frames.cell)
        self.table = np.zeros((4, 4))
        self.table[_C : _N + 1, _C : _N + 1] = break_A
        self.table[_H, _C : _N + 1] = self.table[_C : _N + 1, _H] = HYDROGEN_A
        self.table[_ZN, _N] = self.table[_N, _ZN] = ZINC_NITROGEN_A

    def linkers(self, row: int, *, merge_A: float = MERGE_A) -> Linkers:
        """Linkers of one frame of the chunk."""
        i, j, shift, vector = pairs_kernel(
            self.positions[row], self.cell[row], self.inverse[row], self.types, self.table
        )
        rings, offsets, ring_of = ring_kernel(i, j, shift, vector, self.types)
        merged, protonated, deprotonated, loose = _states(
            i, j, vector, self.types, rings, ring_of, merge_A
        )
        return Linkers(
            rings=self.atoms[rings],
            offsets=offsets,
            merged=merged,
            protonated=protonated,
            deprotonated=deprotonated,
            fragments=tuple(self._fragments(i, j, ring_of)),
            loose_hydrogen=self.atoms[loose],
            n_expected=float((self.types == _N).sum()) / 2.0,
        )

    def _fragments(self, i: IntArray, j: IntArray, ring_of: IntArray) -> Iterator[IntArray]:
        """Groups of bonded C and N outside all rings, as sorted atom numbers."""
        ring_atom = (self.types == _C) | (self.types == _N)
        left = set(np.flatnonzero(ring_atom & (ring_of < 0)).tolist())
        if not left:
            return
        joined = ring_atom[i] & ring_atom[j]
        neighbours: dict[int, list[int]] = {}
        for a, b in zip(i[joined].tolist(), j[joined].tolist(), strict=True):
            neighbours.setdefault(a, []).append(b)
        while left:
            group = [left.pop()]
            for atom in group:
                for other in neighbours.get(atom, ()):
                    if other in left:
                        left.remove(other)
                        group.append(other)
            yield np.sort(self.atoms[group])


@jit
def ring_kernel(
    i: IntArray, j: IntArray, shift: IntArray, vector: FloatArray, types: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Five-rings of mutual nearest neighbours: atoms, offsets, and the ring of each atom (−1)."""
    n = len(types)
    nearest = np.full((n, 2), -1, np.int64)  # pair numbers of the two nearest candidates
    length = np.full((n, 2), np.inf)
    for p in range(len(i)):
        a, b = types[i[p]], types[j[p]]
        carbon = (a == 1 and (b == 1 or b == 2)) or (a == 2 and b == 1)
        if not carbon:
            continue
        r = vector[p, 0] ** 2 + vector[p, 1] ** 2 + vector[p, 2] ** 2
        if r < length[i[p], 0]:
            length[i[p], 1], nearest[i[p], 1] = length[i[p], 0], nearest[i[p], 0]
            length[i[p], 0], nearest[i[p], 0] = r, p
        elif r < length[i[p], 1]:
            length[i[p], 1], nearest[i[p], 1] = r, p
    return _closed_rings(nearest, j, shift, types)


@jit
def _closed_rings(
    nearest: IntArray, j: IntArray, shift: IntArray, types: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Walk from each N along bonds that both ends keep; a ring closes after five."""
    n = len(types)
    ring_of = np.full(n, -1, np.int64)
    rings, offsets = np.empty((n, 5), np.int64), np.empty((n, 5, 3), np.int64)
    count = 0
    for start in range(n):
        if types[start] != 2 or ring_of[start] >= 0 or nearest[start, 1] < 0:
            continue
        atom, came, n_nitrogen, closed = start, -1, 0, False
        rings[count, 0] = start
        offset = np.zeros(3, np.int64)
        for step in range(5):
            rings[count, step] = atom
            offsets[count, step] = offset
            n_nitrogen += types[atom] == 2
            pair = nearest[atom, 0]
            if came >= 0 and pair >= 0 and j[pair] == came:
                pair = nearest[atom, 1]
            if pair < 0:
                break
            following = j[pair]
            back = False
            for k in range(2):
                q = nearest[following, k]
                back = back or (q >= 0 and j[q] == atom)
            if not back or ring_of[following] >= 0:
                break
            offset = offset + shift[pair]
            came, atom = atom, following
            closed = step == 4 and atom == start and not offset.any()
        if closed and n_nitrogen == 2 and len(np.unique(rings[count])) == 5:
            for k in range(5):
                ring_of[rings[count, k]] = count
            count += 1
    return rings[:count].copy(), offsets[:count].copy(), ring_of


@jit
def _states(
    i: IntArray,
    j: IntArray,
    vector: FloatArray,
    types: IntArray,
    rings: IntArray,
    ring_of: IntArray,
    merge_A: float,
) -> tuple[BoolArray, BoolArray, BoolArray, IntArray]:
    """Merged, protonated and deprotonated rings, and the H that belong to nobody."""
    n_rings = len(rings)
    merged, protonated = np.zeros(n_rings, np.bool_), np.zeros(n_rings, np.bool_)
    deprotonated = np.zeros(n_rings, np.bool_)
    owner, best = np.full(len(types), -1, np.int64), np.full(len(types), np.inf)
    for p in range(len(i)):
        a, b, ring = types[i[p]], types[j[p]], ring_of[i[p]]
        r = vector[p, 0] ** 2 + vector[p, 1] ** 2 + vector[p, 2] ** 2
        if ring >= 0 and (b == 1 or b == 2) and r < merge_A * merge_A:
            merged[ring] |= ring_of[j[p]] != ring
        if a == 0 and r < best[i[p]]:
            best[i[p]], owner[i[p]] = r, j[p]
    any_hydrogen = (types == 0).any()  # a structure without H says nothing about protons
    hydrogens = np.zeros(len(types), np.int64)
    for atom in range(len(types)):
        if owner[atom] >= 0:
            hydrogens[owner[atom]] += 1
    for ring in range(n_rings):
        for atom in rings[ring]:
            protonated[ring] |= types[atom] == 2 and hydrogens[atom] > 0
            deprotonated[ring] |= any_hydrogen and types[atom] == 1 and hydrogens[atom] == 0
    return merged, protonated, deprotonated, np.flatnonzero((types == 0) & (owner < 0))
