"""Geometries of zif4-mini, before labelling: how each of its own frames was made.

    ZIFBENCH_MIRROR=DIRECTORY python -m tools.zif4_mini.geometries OUT.extxyz

DIRECTORY holds the published files that `zifbench data fetch` brings (the crystal of Castel 2024,
the ab initio glasses of Gaillac 2020, the DFT Hessian of Dürholt 2019). The frames are labelled by

    zifbench data label OUT.extxyz --out STORE --by state

Eight are harmonic samples of the DFT Hessian at 300 K, in the DFT cell (`tests/analysis/thermal.py`
says how); the others come from molecular dynamics.

That is Langevin dynamics (0.5 fs, friction 0.02/fs, deuterium as in the published runs) with
the bundled model `nequip-small`: short, because that model holds a hot liquid together for about
150 fs only, and good enough to move atoms as heat moves them; the labels are DFT's. Frames with a
contact below 0.86 Å or a temperature 25 % above the thermostat's are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from nequip.integrations.ase import NequIPCalculator

from tests.analysis.thermal import thermal_frames
from tests.published import published_file
from zifbench.bundled import BUNDLED_MODELS

V0_A3 = 4380.49  # cell of the published AIMD
DEUTERIUM_AMU = 2.014101777
SHORTEST_CONTACT_A = 0.86
ELEMENT_ORDER = ("C", "H", "N", "Zn")


@dataclass(frozen=True)
class Run:
    """One short MD run: `frames` frames, the first after `first_fs`, then every `gap_fs`."""

    start: int  # number of the ab initio glass, 0 for the crystal
    temperature_K: int
    volume_change: int  # per cent of V0
    first_fs: int
    frames: int
    gap_fs: int
    mark: str = ""

    @property
    def state(self) -> str:
        """Name of the thermodynamic state."""
        start = f"glass{self.start:02d}" if self.start else "crystal"
        sign = {1: "p", 0: "", -1: "m"}[int(np.sign(self.volume_change))]
        return f"{start}_{self.temperature_K}K_{sign}{abs(self.volume_change)}"


# In the order of their seeds.
RUNS = (
    Run(2, 1500, 2, 90, 2, 30),
    Run(3, 1500, 0, 90, 2, 30),
    Run(0, 300, 0, 300, 3, 80),
    Run(5, 1750, -2, 90, 2, 30),
    Run(6, 1750, -4, 90, 2, 30),
    Run(0, 600, 2, 300, 2, 80),
    Run(0, 600, -2, 300, 2, 80),
    Run(0, 600, -4, 300, 2, 80),
    Run(0, 1000, 0, 300, 2, 80),
    Run(0, 1500, -2, 300, 2, 80),
    Run(0, 1500, -4, 300, 2, 80),
    Run(7, 1500, 2, 90, 2, 30),
    Run(8, 1500, 0, 90, 2, 30),
    Run(9, 1750, -2, 90, 2, 30),
    Run(10, 1750, -4, 90, 2, 30),
    Run(4, 300, 0, 200, 2, 80),
    Run(0, 300, 0, 300, 3, 80, mark="b"),
    Run(0, 1000, 2, 300, 2, 80),
    Run(0, 1000, -4, 300, 2, 80),
    Run(0, 600, 0, 300, 2, 80),
    Run(1, 600, 0, 150, 2, 80),
    Run(10, 300, 0, 200, 2, 80),
)
FIRST_SEED = 1000
HARMONIC_FRAMES, HARMONIC_DRAWN, HARMONIC_SEED = 8, 14, 20261121


def main() -> None:
    """Write all frames to the file named on the command line."""
    out = Path(sys.argv[1])
    model = BUNDLED_MODELS["nequip-small"].path
    calculator = NequIPCalculator._from_saved_model(
        str(model), device="cpu", chemical_species_to_atom_type_map=True
    )
    frames = list(harmonic_frames())
    for seed, run in enumerate(RUNS, start=FIRST_SEED):
        frames += md_frames(run, calculator, seed)
        sys.stderr.write(f"{run.state}: {len(frames)} frames so far\n")
    ase.io.write(out, frames, format="extxyz")


def harmonic_frames() -> Iterator[Atoms]:
    """Samples of the DFT Hessian at 300 K in the cell of its optimised crystal."""
    drawn = thermal_frames(HARMONIC_DRAWN, temperature_K=300, seed=HARMONIC_SEED)
    for number, atoms in enumerate(drawn.to_ase()[:HARMONIC_FRAMES]):
        atoms.info = {
            "name": f"harm300v0_{number}",
            "state": "crystal_300K_0_dft-cell",
            "phase": "crystal",
            "temperature_K": "300",
            "sampling": f"harmonic sample of the DFT Hessian at 300 K, seed {HARMONIC_SEED}",
        }
        yield atoms


def md_frames(run: Run, calculator: NequIPCalculator, seed: int) -> Iterator[Atoms]:
    """Frames of one run that hold together."""
    rng = np.random.default_rng(seed)
    atoms = starting_structure(run)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=run.temperature_K, rng=rng)
    Stationary(atoms)
    dynamics = Langevin(
        atoms,
        0.5 * units.fs,
        temperature_K=run.temperature_K,
        friction=0.02 / units.fs,
        rng=rng,
        fixcm=True,
    )
    for number in range(run.frames):
        time_fs = run.first_fs + number * run.gap_fs
        dynamics.run(2 * (run.gap_fs if number else run.first_fs))
        if not holds_together(atoms, run):
            continue
        frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        origin = f"ab initio glass {run.start:02d}" if run.start else "the crystal"
        frame.info = {
            "name": f"{run.state}{run.mark}_{number}",
            "state": run.state,
            "phase": "disordered" if run.start else "crystal",
            "temperature_K": str(run.temperature_K),
            "sampling": f"{time_fs} fs of Langevin MD at {run.temperature_K} K with nequip-small "
            f"from {origin}, volume {run.volume_change:+d} %, seed {seed}",
        }
        yield frame


def starting_structure(run: Run) -> Atoms:
    """The crystal or a glass at the volume of the run, elements in one order."""
    if run.start:
        atoms = ase.io.read(published_file(f"gaillac2020/ZIF4_15glass{run.start:02d}.cif"))
    else:
        atoms = ase.io.read(published_file("castel2024/crystal.lmp"), format="lammps-data")
    order = np.argsort([ELEMENT_ORDER.index(s) for s in atoms.symbols], kind="stable")
    atoms = atoms[order]
    atoms.pbc = True
    volume = V0_A3 * (1.0 + run.volume_change / 100.0)
    atoms.set_cell(atoms.cell * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    masses = atoms.get_masses()
    masses[atoms.numbers == 1] = DEUTERIUM_AMU
    atoms.set_masses(masses)
    return atoms


def holds_together(atoms: Atoms, run: Run) -> bool:
    """No atoms too close, no temperature out of hand."""
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    cool = atoms.get_temperature() < 1.25 * run.temperature_K
    return bool(distances.min() > SHORTEST_CONTACT_A and cool)


if __name__ == "__main__":
    main()
