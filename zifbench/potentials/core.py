"""What every potential is: a card that describes it, and a function from atoms to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from zifbench.errors import DataError, ModelError, OutOfMemoryError, SpeciesError
from zifbench.frames import FloatArray, Frames, cell_heights
from zifbench.potentials.card import ModelCard


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a potential gives for T frames of N atoms.

    Attributes:
        energy: Total energy in eV, shape (T,); summed in float64 from atomic energies where the
            model gives them, because a float32 total near -60 083 eV moves in steps of 3.9 meV.
        forces: eV/Å, shape (T, N, 3).
        stress: eV/Å³, tension positive, shape (T, 3, 3), or None if the model has none.
        atomic_energy: eV, shape (T, N), or None.
        dtype: Precision in which the model computed, "float32" or "float64".
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray | None
    atomic_energy: FloatArray | None
    dtype: str


class Potential(Protocol):
    """A loaded potential. A call is prepare, then forward, then collect; the first two are timed.

    `batched` is False for potentials that take one frame at a time.
    """

    card: ModelCard
    device: str
    batched: bool

    def prepare(self, frames: Frames) -> Any:
        """Neighbour list and input tensors on the device, for all frames as one batch."""

    def forward(self, batch: Any) -> Any:
        """The model itself."""

    def collect(self, output: Any, frames: Frames) -> Prediction:
        """The results on the host, in eV and Å."""


def compute(potential: Potential, frames: Frames) -> Prediction:
    """Energy, forces and stress of `frames` in one batch (one by one if it cannot batch)."""
    if not potential.batched and len(frames) > 1:
        return join([compute(potential, frames[row]) for row in range(len(frames))])
    prediction = potential.collect(potential.forward(potential.prepare(frames)), frames)
    _check_shapes(prediction, frames, potential.card)
    return prediction


def _check_shapes(prediction: Prediction, frames: Frames, card: ModelCard) -> None:
    t, n = len(frames), frames.n_atoms
    wanted = {"energy": (t,), "forces": (t, n, 3), "stress": (t, 3, 3), "atomic_energy": (t, n)}
    for name, shape in wanted.items():
        array = getattr(prediction, name)
        if array is not None and array.shape != shape:
            raise ModelError(f"{card.name} gives {name} of shape {array.shape}, wanted {shape}")


def compute_within_memory(potential: Potential, frames: Frames) -> Prediction:
    """`compute`, halving the batch as long as the device runs out of memory.

    Raises:
        OutOfMemoryError: a single frame does not fit.
    """
    try:
        return compute(potential, frames)
    except OutOfMemoryError:
        if len(frames) == 1:
            raise
    half = len(frames) // 2
    parts = (frames[:half], frames[half:])
    return join([compute_within_memory(potential, part) for part in parts])


def join(parts: list[Prediction]) -> Prediction:
    """Predictions of consecutive frames as one."""

    def stack(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    names = ("energy", "forces", "stress", "atomic_energy")
    return Prediction(**{name: stack(name) for name in names}, dtype=parts[0].dtype)


def check_applicable(card: ModelCard, frames: Frames) -> None:
    """Refuse frames that the potential cannot mean anything for.

    Raises:
        SpeciesError: an element that the model does not know.
        DataError: no atoms, a flat cell, or a periodic cell thinner than the cutoff, where an atom
            would interact with its own image.
    """
    if frames.n_atoms == 0:
        raise DataError(f"{frames.source} holds frames without atoms; wanted at least one atom")
    if card.species is not None:
        unknown = sorted(set(frames.symbols) - set(card.species))
        if unknown:
            raise SpeciesError(
                f"{card.file} knows {' '.join(card.species)} but not {' '.join(unknown)}, which "
                f"{frames.source} contains; use a model trained on these elements"
            )
    if not frames.pbc.any():
        return
    heights = cell_heights(frames.cell)[:, frames.pbc]
    thinnest = heights.min(axis=1)
    row = int(thinnest.argmin())
    if not thinnest[row] > 0:
        raise DataError(f"the cell has no volume in {frames.where(row)}; periodic frames need one")
    if card.cutoff_A is not None and thinnest[row] < card.cutoff_A:
        raise DataError(
            f"the cell is {thinnest[row]:.2f} Å thin in {frames.where(row)}, less than the cutoff "
            f"of {card.file}, {card.cutoff_A:g} Å, so that atoms would see their own image; "
            "evaluate a supercell"
        )


def check_finite(prediction: Prediction, frames: Frames, card: ModelCard) -> None:
    """Refuse NaN or infinite results, naming the frame."""
    for name in ("energy", "forces", "stress"):
        array = getattr(prediction, name)
        if array is not None and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ModelError(
                f"{card.file} gives NaN or infinite {name} for {frames.where(row)}; the model or "
                "that frame is broken"
            )
