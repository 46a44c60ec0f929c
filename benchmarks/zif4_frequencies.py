"""Γ-point frequencies of the ZIF-4 crystal: a deployed NequIP model beside the published DFT.

The crystal has eight symmetry operations and 34 inequivalent atoms, so 204 displaced structures
give the whole Hessian. The model's minimum in the DFT cell is found first, by Newton steps with
the DFT Hessian. Run from the repository root:

    python -m benchmarks.zif4_frequencies MODEL.pth ZIF4.out.bz2 OUT_DIRECTORY

with ZIF4.in beside ZIF4.out.bz2.

The rows found so far are kept in OUT_DIRECTORY, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.data
import numpy as np
import torch
import vesin

from zifbench.analysis.distances import wasserstein_1_samples
from zifbench.analysis.hessian import (
    SymmetryOperation,
    complete_by_symmetry,
    hessian_by_finite_differences,
    hessian_defects,
    hessian_from_forces,
    symmetrised,
)
from zifbench.analysis.vibrations import normal_modes
from zifbench.dataset.ingest.cp2k_vibrations import Vibrations, read_vibrations

Forces = Callable[[np.ndarray], np.ndarray]
TYPE_NAMES = ("H", "C", "N", "Zn")  # the order in the model file
CUTOFF_A = 6.0
DISPLACEMENT_A = 0.01
BANDS_PER_CM = ((0, 100), (100, 400), (400, 1000), (1000, 1700), (1700, 4000))


@dataclass(frozen=True)
class Crystal:
    """Symbols, positions (N, 3) and cell (3, 3) in Å."""

    symbols: list[str]
    positions: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, found: Vibrations) -> Crystal:
        """The structure that was displaced."""
        symbols = [ase.data.chemical_symbols[z] for z in found.numbers]
        return cls(symbols, found.positions, found.cell)


def model_forces(path: Path, crystal: Crystal) -> Forces:
    """Forces of a TorchScript model deployed by nequip < 0.7, as a function of positions."""
    model = torch.jit.load(str(path), map_location="cpu")
    types = torch.tensor([[TYPE_NAMES.index(s)] for s in crystal.symbols])
    cell = torch.tensor(crystal.cell, dtype=torch.float32)
    neighbours = vesin.NeighborList(cutoff=CUTOFF_A, full_list=True)

    def forces(positions: np.ndarray) -> np.ndarray:
        i, j, shift = neighbours.compute(
            points=positions, box=crystal.cell, periodic=True, quantities="ijS"
        )
        data = {
            "pos": torch.tensor(positions, dtype=torch.float32),
            "edge_index": torch.tensor(np.stack([i, j]).astype(np.int64)),
            "edge_cell_shift": torch.tensor(shift.astype(np.float32)),
            "cell": cell,
            "pbc": torch.tensor([True, True, True]),
            "atom_types": types,
        }
        return np.asarray(model(data)["forces"].detach().numpy(), dtype=float)

    return forces


def space_group(crystal: Crystal, tolerance_A: float = 0.01) -> list[SymmetryOperation]:
    """Operations x -> R x + t with R diagonal and t half a cell vector, all that Pbca has."""
    scaled = crystal.positions @ np.linalg.inv(crystal.cell)
    symbols = np.array(crystal.symbols)
    operations = []
    for signs in itertools.product((1.0, -1.0), repeat=3):
        for shift in itertools.product((0.0, 0.5), repeat=3):
            gap = (scaled * signs + shift)[:, None] - scaled
            distance = np.linalg.norm((gap - gap.round()) @ crystal.cell, axis=2)
            distance[symbols[:, None] != symbols] = np.inf
            if distance.min(1).max() < tolerance_A:
                operations.append(SymmetryOperation(np.diag(signs), distance.argmin(1)))
    return operations


def symmetric(vectors: np.ndarray, operations: list[SymmetryOperation]) -> np.ndarray:
    """Average of a vector field over the operations."""
    total = np.zeros_like(vectors)
    for operation in operations:
        total[operation.image_of] += vectors @ operation.rotation.T
    return total / len(operations)


def relaxed(
    positions: np.ndarray, forces: Forces, hessian: np.ndarray, operations: list[SymmetryOperation]
) -> tuple[np.ndarray, float]:
    """Newton steps with a near Hessian until the largest force is below 1e-4 eV/Å."""
    inverse = np.linalg.pinv(hessian, rcond=1e-6, hermitian=True)
    for _ in range(20):
        force = symmetric(forces(positions), operations)
        largest = float(np.abs(force).max())
        sys.stderr.write(f"largest force {largest:.6f} eV/Å\n")
        if largest < 1e-4:
            break
        step = symmetric((inverse @ force.ravel()).reshape(-1, 3), operations)
        positions = positions + step * min(1.0, 0.1 / np.abs(step).max())
    return positions, largest


def rows_of(
    atoms: list[int], positions: np.ndarray, forces: Forces, out: Path
) -> tuple[np.ndarray, float]:
    """Hessian rows of some atoms, each kept in `out` once it is there."""
    rows, seconds = [], 0.0
    for atom in atoms:
        kept = out / f"rows-{atom}.npy"
        if not kept.exists():
            start = time.perf_counter()
            found = hessian_by_finite_differences(
                positions, forces, displacement_A=DISPLACEMENT_A, atoms=[atom]
            )
            np.save(kept, found)
            seconds += time.perf_counter() - start
            sys.stderr.write(f"atom {atom}: {seconds:.0f} s\n")
        rows.append(np.load(kept))
    return np.concatenate(rows), seconds


def compare(dft: np.ndarray, model: np.ndarray) -> dict[str, object]:
    """Differences of sorted frequencies, all and by band of the DFT's, in cm⁻¹."""
    difference = model - dft
    bands = {
        f"{low}-{high}": {
            "modes": int(inside.sum()),
            "mean": float(difference[inside].mean()),
            "mean_absolute": float(np.abs(difference[inside]).mean()),
            "largest": float(np.abs(difference[inside]).max()),
        }
        for low, high in BANDS_PER_CM
        if (inside := (dft >= low) & (dft < high)).any()
    }
    return {
        "mean": float(difference.mean()),
        "mean_absolute": float(np.abs(difference).mean()),
        "wasserstein_1": wasserstein_1_samples(dft, model),
        "imaginary": int((model < 0).sum()),
        "lowest_dft": dft[:6].tolist(),
        "lowest_model": model[:6].tolist(),
        "highest_dft": float(dft[-1]),
        "highest_model": float(model[-1]),
        "bands": bands,
    }


def main() -> None:
    """Relax, differentiate, diagonalise, compare; write `frequencies.json` and `.npz`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("model", "hessian", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    found = read_vibrations(options.hessian)
    crystal = Crystal.of(found)
    n = len(crystal.symbols)
    plus, minus = found.displaced(+1), found.displaced(-1)
    dft = hessian_from_forces(plus, minus, displacement_A=found.displacement_A)
    operations = space_group(crystal)
    orbits = sorted({int(min(op.image_of[a] for op in operations)) for a in range(n)})
    forces = model_forces(options.model, crystal)
    minimum, residual = start_of(options.out, crystal, forces, dft, operations)
    rows, seconds = rows_of(orbits, minimum, forces, options.out)
    model = complete_by_symmetry(rows, orbits, operations)

    masses = ase.data.atomic_masses[[ase.data.atomic_numbers[s] for s in crystal.symbols]]
    nu_dft, nu_model = (normal_modes(h, masses).wavenumber_per_cm for h in (dft, model))
    np.savez(options.out / "frequencies.npz", dft=nu_dft, model=nu_model, hessian=model)
    error = symmetrised(model) - symmetrised(dft)
    report = {
        "operations": len(operations),
        "inequivalent_atoms": len(orbits),
        "largest_force_eV_per_A": residual,
        "largest_move_A": float(np.abs(minimum - crystal.positions).max()),
        "seconds_in_this_run": seconds,
        "defects_model_eV_per_A2": vars(hessian_defects(model)),
        "hessian_mae_eV_per_A2": float(np.abs(error).mean()),
        "hessian_rms_dft_eV_per_A2": float(np.sqrt((dft**2).mean())),
        "hessian_rms_error_eV_per_A2": float(np.sqrt((error**2).mean())),
        "frequencies_per_cm": compare(nu_dft, nu_model),
    }
    (options.out / "frequencies.json").write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def start_of(
    out: Path,
    crystal: Crystal,
    forces: Forces,
    dft: np.ndarray,
    operations: list[SymmetryOperation],
) -> tuple[np.ndarray, float]:
    """The model's minimum, found once and kept."""
    kept = out / "minimum.npz"
    if not kept.exists():
        minimum, residual = relaxed(crystal.positions, forces, symmetrised(dft), operations)
        np.savez(kept, positions=minimum, residual=residual)
    with np.load(kept) as found:
        return found["positions"], float(found["residual"])


if __name__ == "__main__":
    main()
