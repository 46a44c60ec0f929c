"""Picture: X-ray F(Q) and D(r) of the ab initio glasses and the crystal beside the experiment.

Unscored: the experiment's scale is known to about 20 %, its distances to 1–2 %, and the glasses
stand in the crystal's cell. Run from the repository root:

    python -m benchmarks.zif4_xray MIRROR_DIRECTORY OUT.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import ase.io.lammpsdata
import matplotlib
import matplotlib.figure
import numpy as np

from zifbench.analysis.scattering import (
    differential_correlation,
    fit_scale_and_stretch,
    pair_distributions,
    structure_factor,
)
from zifbench.ase_io import read_frames
from zifbench.frames import Frames

SPECIES = {1: 6, 2: 1, 3: 7, 4: 30}  # LAMMPS types of crystal.lmp


def models(mirror: Path) -> dict[str, list[Frames]]:
    """The ten glasses and the crystal."""
    glasses = sorted(mirror.glob("gaillac2020/ZIF4_15glass*.cif"))
    crystal = ase.io.lammpsdata.read_lammps_data(
        str(mirror / "castel2024/crystal.lmp"), Z_of_type=SPECIES, atom_style="atomic"
    )
    return {
        "ten ab initio glasses": [read_frames(path)[0] for path in glasses],
        "crystal": [Frames.from_ase(crystal)],
    }


def curves(frames: Iterable[Frames], q: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F on the experiment's Q and D on its r."""
    f_q = structure_factor(pair_distributions(frames), q_per_A=q)
    return f_q, differential_correlation(q, f_q, r_A=r)


def main() -> None:
    """Compute, print the fits, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mirror", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    folder = options.mirror / "gaillac2017"
    q, f_measured = np.loadtxt(folder / "ZIF4glassa_31.int01", comments="#")[:-1, :2].T
    r, d_measured = np.loadtxt(folder / "ZIF4glassa_31.dofr", comments="#")[:, :2].T

    matplotlib.use("Agg")
    figure = matplotlib.figure.Figure(figsize=(8, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    top.plot(q, q * f_measured, "k", label="experiment, 31 °C")
    bottom.plot(r, d_measured, "k")
    for name, frames in models(options.mirror).items():
        f_q, d_r = curves(frames, q, r)
        fit = fit_scale_and_stretch(r, d_r, d_measured)
        sys.stdout.write(f"{name}: {fit}\n")
        label = (
            f"{name}: scale {fit.scale:.2f}, stretch {fit.stretch:.3f}, r = {fit.correlation:.3f}"
        )
        top.plot(q, q * f_q, label=name)
        bottom.plot(r, fit.scale * np.interp(r / fit.stretch, r, d_r), label=label)
    top.set(xlabel="Q / Å⁻¹", ylabel="Q F(Q) / Å⁻¹", xlim=(0.5, 20))
    bottom.set(xlabel="r / Å", ylabel="D(r)", xlim=(0.8, 12))
    for axes in (top, bottom):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
