"""P(V) of the ZIF-4 crystal at rest: bulk modulus and density of a model beside the paper's.

At each volume LBFGS finds the minimum of the model, beginning with the published DFT Hessian: tens
of calls, where one that knows nothing takes hundreds (the framework has modes of 20 cm⁻¹ beside
bonds of 3200). The cell keeps the shape of the AIMD's. Run from the repository root:

    python -m benchmarks.zif4_static_modulus MODEL ZIF4.out.bz2 crystal.lmp OUT.json

with ZIF4.in beside ZIF4.out.bz2. The volumes found so far are kept in OUT.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import LBFGS

from benchmarks.zif4_frequencies import Crystal
from zifbench.analysis.eos import fit_birch_murnaghan
from zifbench.analysis.hessian import hessian_from_forces, symmetrised
from zifbench.ase_io import read_frames
from zifbench.dataset.ingest.cp2k_vibrations import read_vibrations
from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.potentials.loading import load_potential
from zifbench.units import EV_PER_A3_IN_GPA

CHANGES_PERCENT = (-1.5, 0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0)
LARGEST_FORCE_EV_PER_A = 3e-3
SOFTEST_EV_PER_A2 = 0.1
PAPER = "Castel et al. 2024: 1.69 GPa and 1.16 g/cm3 at 300 K"


def ordered_as(wanted: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """A right-angled cell whose edges are as long, in the order of another's; shape (3, 3)."""
    lengths = np.sort(np.linalg.norm(cell, axis=1))
    return np.diag(lengths[np.argsort(np.argsort(np.linalg.norm(wanted, axis=1)))])


def say(sentence: str) -> None:
    """A line on stdout."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def preconditioner(hessian: np.ndarray) -> np.ndarray:
    """Inverse of a near Hessian, its soft end lifted; shape (3N, 3N), Å²/eV."""
    values, vectors = np.linalg.eigh(hessian)
    return np.asarray((vectors / np.maximum(values, SOFTEST_EV_PER_A2)) @ vectors.T)


def relax(atoms: Atoms, inverse: np.ndarray) -> int:
    """To the minimum of the cell as it is; returns the number of calls."""
    minimiser = LBFGS(atoms, logfile=None)
    minimiser.state.H0 = inverse
    for call, converged in enumerate(minimiser.irun(fmax=LARGEST_FORCE_EV_PER_A, steps=400), 1):
        largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
        pressure = -atoms.get_stress()[:3].mean() * EV_PER_A3_IN_GPA
        sys.stderr.write(f"  {call}: largest force {largest:.5f} eV/A, {pressure:.4f} GPa\n")
        if converged:
            return call
    raise SystemExit(f"no minimum after {call} calls")


def main() -> None:
    """Find the minima, fit, say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("vibrations", type=Path)
    parser.add_argument("cell", type=Path, help="the AIMD crystal, for its cell")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    found = read_vibrations(chosen.vibrations)
    crystal = Crystal.of(found)
    plus, minus = found.displaced(+1), found.displaced(-1)
    dft = symmetrised(hessian_from_forces(plus, minus, displacement_A=found.displacement_A))
    inverse = preconditioner(dft)
    cell = ordered_as(crystal.cell, read_frames(chosen.cell)[0][0].cell[0])
    potential = load_potential(chosen.model, device="cpu", trust=False)
    atoms = Atoms(crystal.symbols, crystal.positions, cell=crystal.cell, pbc=True)
    atoms.calc = PotentialCalculator(potential, stress=True)
    rows = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    for change in CHANGES_PERCENT:
        if str(change) not in rows:
            atoms.set_cell(cell * (1.0 + 0.01 * change) ** (1.0 / 3.0), scale_atoms=True)
            calls = relax(atoms, inverse)
            pressure = -float(atoms.get_stress()[:3].mean()) * EV_PER_A3_IN_GPA
            rows[str(change)] = {
                "volume_A3": float(atoms.get_volume()),
                "pressure_GPa": pressure,
                "energy_eV": float(atoms.get_potential_energy()),
                "calls": calls,
            }
            chosen.out.write_text(json.dumps(rows, indent=1))
        say(f"{change} % {rows[str(change)]}")
    volume, pressure = (
        np.array([row[key] for row in rows.values()]) for key in ("volume_A3", "pressure_GPa")
    )
    fit = fit_birch_murnaghan(volume, pressure, mass_amu=float(atoms.get_masses().sum()))
    say(f"K {fit.bulk_modulus_GPa:.2f} +- {fit.bulk_modulus_error_GPa:.2f} GPa (of the fit)")
    say(f"density at P = 0 {fit.density_g_cm3:.4f} +- {fit.density_error_g_cm3:.4f} g/cm3")
    say(PAPER)


if __name__ == "__main__":
    main()
