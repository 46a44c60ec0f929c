"""Potentials that are torch modules of the nequip framework, old or new, eager or compiled.

They differ in the names and dtypes of the tensors that go in; `Signature` holds those differences.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zifbench.errors import MissingDependencyError, ModelError, OutOfMemoryError, lacks_memory
from zifbench.frames import Frames
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import Prediction
from zifbench.potentials.neighbours import neighbour_list

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]
else:
    Tensors = dict


@dataclass(frozen=True)
class Signature:
    """How one generation of models wants its input.

    Attributes:
        geometry_dtype: dtype of positions, cells and shifts.
        type_column: Atom types as an (N, 1) column, as before nequip 0.7, or flat.
        counts_key: Name of what tells the frames of a batch apart besides `batch`: "ptr" holds
            offsets, "num_atoms" sizes.
        batch_always: Give the batch tensors also for a single frame.
    """

    geometry_dtype: str
    type_column: bool
    counts_key: str
    batch_always: bool


LEGACY = Signature("model", type_column=True, counts_key="ptr", batch_always=False)
CURRENT = Signature("float64", type_column=False, counts_key="num_atoms", batch_always=False)
CURRENT_BATCHED = Signature("float64", type_column=False, counts_key="num_atoms", batch_always=True)


@dataclass(frozen=True, eq=False)
class TorchSystems:
    """Periodic systems side by side, as tensors on one device.

    Attributes:
        numbers: Atomic numbers, shape (N,), N atoms of all S systems together.
        positions: Å, float64, shape (N, 3).
        cell: Cell vectors as rows in Å, float64, shape (S, 3, 3).
        counts: Atoms of each system.
        pairs: Ordered pairs (i, j) within the cutoff, shape (2, E).
        shifts: Cell shift of j, float64, shape (E, 3): from i to j it is r_j - r_i + S·cell.
        system_of_atom: Shape (N,).
        counts_on_device: `counts` as a tensor, shape (S,).
    """

    numbers: torch.Tensor
    positions: torch.Tensor
    cell: torch.Tensor
    counts: tuple[int, ...]
    pairs: torch.Tensor
    shifts: torch.Tensor
    system_of_atom: torch.Tensor
    counts_on_device: torch.Tensor

    def vectors(self) -> torch.Tensor:
        """From i to j in Å, shape (E, 3)."""
        first, second = self.pairs
        cell = self.cell[self.system_of_atom[first]]
        images = (self.shifts[:, :, None] * cell).sum(1)
        return self.positions[second] - self.positions[first] + images


@dataclass(frozen=True, eq=False)
class TorchPrediction:
    """What a model gives for `TorchSystems`, on the device, in float64.

    Attributes:
        energy: eV, shape (S,); summed from atomic energies where the model gives them.
        forces: eV/Å, shape (N, 3).
        stress: eV/Å³, tension positive, shape (S, 3, 3), or None.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor | None


class TorchPotential:
    """A model that maps named tensors to named tensors.

    Args:
        card: What the model says of itself; species and cutoff must be known.
        module: The model, in evaluation mode, on `device`.
        device: "cpu" or "cuda".
        signature: How it wants its input.
        batched: Whether it takes several frames at once.
        pair_cutoffs_A: Cutoff by (centre, neighbour) symbol where it depends on the elements.
    """

    def __init__(
        self,
        card: ModelCard,
        module: Callable[[Tensors], Tensors],
        *,
        device: str,
        signature: Signature,
        batched: bool = True,
        pair_cutoffs_A: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        if card.species is None or card.cutoff_A is None or card.dtype is None:
            raise ModelError(f"{card.file} does not say its species, cutoff and dtype")
        self.card = card
        self.device = device
        self.batched = batched
        self._module = module
        self._signature = signature
        self._cutoff_A = card.cutoff_A
        self._dtype = card.dtype
        self._type_of = {symbol: index for index, symbol in enumerate(card.species)}
        self._pair_cutoffs_A = _cutoff_table(card.species, pair_cutoffs_A)

    def prepare(self, frames: Frames) -> Tensors:
        """See `Potential.prepare`."""
        import torch

        frames = _right_handed(frames)
        types = np.array([self._type_of[symbol] for symbol in frames.symbols])
        lists = [self._neighbours(frames, row, types) for row in range(len(frames))]
        offsets = np.arange(len(frames)) * frames.n_atoms
        pairs = np.concatenate([p + o for (p, _), o in zip(lists, offsets, strict=True)], axis=1)
        shifts = np.concatenate([shift for _, shift in lists])
        types = np.tile(types, len(frames))

        def tensor(array: Any) -> torch.Tensor:
            return torch.tensor(np.ascontiguousarray(array), device=self.device)

        return self._tensors(
            tensor(frames.positions.reshape(-1, 3)),
            tensor(frames.cell),
            tensor(np.tile(frames.pbc, (len(frames), 1))),
            tensor(types),
            tensor(pairs),
            tensor(shifts),
            (frames.n_atoms,) * len(frames),
        )

    def _tensors(
        self,
        positions: torch.Tensor,
        cell: torch.Tensor,
        pbc: torch.Tensor,
        types: torch.Tensor,
        pairs: torch.Tensor,
        shifts: torch.Tensor,
        counts: tuple[int, ...],
    ) -> Tensors:
        """The model's input, in its own names and types."""
        import torch

        name = self._signature.geometry_dtype
        real = getattr(torch, self._dtype if name == "model" else name)
        batch = {
            "pos": positions.to(real),
            "cell": cell.to(real),
            "pbc": pbc,
            "edge_index": pairs,
            "edge_cell_shift": shifts.to(real),
            "atom_types": types[:, None] if self._signature.type_column else types,
        }
        if len(counts) > 1 or self._signature.batch_always:
            batch |= self._batch_tensors(counts)
        return batch

    def _batch_tensors(self, counts: tuple[int, ...]) -> Tensors:
        import torch

        sizes = torch.tensor(counts, device=self.device)
        frame_of_atom = torch.arange(len(counts), device=self.device).repeat_interleave(sizes)
        if self._signature.counts_key == "ptr":
            sizes = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return {"batch": frame_of_atom, self._signature.counts_key: sizes}

    def _neighbours(self, frames: Frames, row: int, types: Any) -> tuple[Any, Any]:
        pairs, shifts = neighbour_list(frames, row, self._cutoff_A)
        if self._pair_cutoffs_A is None:
            return pairs, shifts
        positions = frames.positions[row]
        vectors = positions[pairs[1]] - positions[pairs[0]] + shifts @ frames.cell[row]
        limit = self._pair_cutoffs_A[types[pairs[0]], types[pairs[1]]]
        near = np.einsum("ij,ij->i", vectors, vectors) <= limit**2
        return pairs[:, near], shifts[near]

    def forward(self, batch: Tensors) -> Tensors:
        """See `Potential.forward`."""
        import torch

        try:
            return self._module(dict(batch))
        except (RuntimeError, torch.jit.Error) as error:  # the latter: `raise` inside TorchScript
            if lacks_memory(error):
                raise OutOfMemoryError(
                    f"{self.card.file} needs more memory than {self.device} has for "
                    f"{len(batch['pos'])} atoms and {batch['edge_index'].shape[1]} pairs; use a "
                    "smaller --batch-atoms or a larger device"
                ) from error
            raise ModelError(
                f"{self.card.file} fails on {self.device}: {_last_line(error)}"
            ) from error

    @property
    def cutoff_A(self) -> float:
        """Largest distance at which two atoms interact."""
        return self._cutoff_A

    def evaluate(self, systems: TorchSystems) -> TorchPrediction:
        """Energies, forces and stresses of periodic systems that stay on the device.

        Raises:
            OutOfMemoryError: they do not fit.
            ModelError: the model fails, or gives no forces.
        """
        import torch

        flip = torch.linalg.det(systems.cell).sign()  # see `_right_handed`
        pairs, shifts = self._within_pair_cutoffs(systems)
        batch = self._tensors(
            systems.positions,
            systems.cell * flip[:, None, None],
            torch.ones(len(systems.counts), 3, dtype=torch.bool, device=self.device),
            self._types(systems.numbers),
            pairs,
            shifts * flip[systems.system_of_atom[pairs[0]], None],
            systems.counts,
        )
        output = self.forward(batch)
        missing = {"total_energy", "forces"} - set(output)
        if missing:
            raise ModelError(
                f"{self.card.file} gives no {missing.pop()}; is it a potential with forces?"
            )
        stress = None
        if "stress" in output:
            stress = output["stress"].detach().double().reshape(-1, 3, 3)
        elif "virial" in output:
            volume = torch.linalg.det(systems.cell).abs()
            stress = -output["virial"].detach().double().reshape(-1, 3, 3) / volume[:, None, None]
        energy = output["total_energy"].detach().double().reshape(-1)
        if "atomic_energy" in output:
            atomic = output["atomic_energy"].detach().double().reshape(-1)
            energy = torch.segment_reduce(atomic, "sum", lengths=systems.counts_on_device)
        return TorchPrediction(energy, output["forces"].detach().double(), stress)

    def _types(self, numbers: torch.Tensor) -> torch.Tensor:
        return self._type_table[numbers]

    @functools.cached_property
    def _type_table(self) -> torch.Tensor:
        """Atomic number -> type; -1 for elements that the model does not know."""
        import torch
        from ase.data import atomic_numbers

        table = torch.full((max(atomic_numbers.values()) + 1,), -1)
        for symbol, index in self._type_of.items():
            table[atomic_numbers[symbol]] = index
        return table.to(self.device)

    def _within_pair_cutoffs(self, systems: TorchSystems) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if self._pair_cutoffs_A is None:
            return systems.pairs, systems.shifts
        types = self._types(systems.numbers)
        table = torch.tensor(self._pair_cutoffs_A, device=self.device)
        first, second = systems.pairs
        near = systems.vectors().square().sum(1) <= table[types[first], types[second]].square()
        return systems.pairs[:, near], systems.shifts[near]

    def collect(self, output: Tensors, frames: Frames) -> Prediction:
        """See `Potential.collect`."""
        shape = (len(frames), frames.n_atoms)

        def host(key: str) -> Any:
            if key not in output:
                raise ModelError(f"{self.card.file} gives no {key}; is it a potential with forces?")
            return output[key].detach().to("cpu").double().numpy()

        atomic = host("atomic_energy").reshape(shape) if "atomic_energy" in output else None
        energy = host("total_energy").reshape(-1) if atomic is None else atomic.sum(axis=1)
        return Prediction(
            energy=energy,
            forces=host("forces").reshape(*shape, 3),
            stress=_stress(output, host, frames),
            atomic_energy=atomic,
            dtype=self._dtype,
        )


def _right_handed(frames: Frames) -> Frames:
    """The same lattices with det(cell) > 0.

    Before 0.7, nequip divides the virial by the signed volume: a left-handed cell gives a stress
    of the wrong sign.
    """
    left = np.linalg.det(frames.cell) < 0
    if not left.any():
        return frames
    return dataclasses.replace(
        frames, cell=np.where(left[:, None, None], -frames.cell, frames.cell)
    )


def _stress(output: Tensors, host: Callable[[str], Any], frames: Frames) -> Any:
    """Stress as given, or from the virial, which nequip defines as -stress·V; none for clusters."""
    if not frames.pbc.all():
        return None
    if "stress" in output:
        return host("stress").reshape(-1, 3, 3)
    if "virial" in output:
        return -host("virial").reshape(-1, 3, 3) / frames.volume[:, None, None]
    return None


def _cutoff_table(species: tuple[str, ...], cutoffs: Mapping[tuple[str, str], float] | None) -> Any:
    if cutoffs is None:
        return None
    return np.array([[cutoffs[centre, other] for other in species] for centre in species])


def _last_line(error: Exception) -> str:
    """Messages of torch are pages long; the last line says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def import_torch() -> Any:
    """The torch module, or one sentence on how to get it.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "torch is not installed, which this model needs; pip install 'zifbench[nequip]'"
        ) from error
    return torch


def choose_device(device: str) -> str:
    """The device meant: "auto" becomes "cuda" where there is one, else "cpu".

    Raises:
        ModelError: a device that torch does not see.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ModelError(f"no device {device!r}; use auto, cpu, cuda or cuda:N")
    torch = import_torch()
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        others = "cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise ModelError(
            f"no device {device!r} here ({_last_line(error)}); use {others}"
        ) from error
    return device
