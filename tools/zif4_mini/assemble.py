"""All frames of zif4-mini as one extxyz: the twelve bundled ones and what `data label` computed.

    python -m tools.zif4_mini.assemble LABELLED_STORE OUT.extxyz

Atoms stand in one order in all frames (C, H, N, Zn); every frame says which state it belongs to,
its temperature, and how its positions were made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import ase.calculators.singlepoint
import ase.io
import numpy as np
from ase import Atoms

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.dataset.named import load_named

ELEMENT_ORDER = ("C", "H", "N", "Zn")
LABELS = ("name", "state", "phase", "temperature_K", "sampling")
_VOLUMES = {"harm600": ("+2", "0", "-2", "-4"), "harm1000": ("+2", "0", "-2")}


def main() -> None:
    """Write the file."""
    store, out = sys.argv[1], Path(sys.argv[2])
    frames = [*bundled_frames(), *labelled_frames(store)]
    frames = sorted((ordered(atoms) for atoms in frames), key=lambda a: a.info["state"])
    names = [atoms.info["name"] for atoms in frames]
    if len(set(names)) < len(names):
        raise SystemExit("two frames have one name")
    ase.io.write(out, frames, format="extxyz")
    sys.stderr.write(f"{len(frames)} frames, {len({a.info['state'] for a in frames})} states\n")


def bundled_frames() -> Iterator[Atoms]:
    """The frames that came before, with the labels that their names stand for."""
    for name in ("zif4-own-train", "zif4-own-val", "zif4-own-test"):
        for frames in read_frames(BUNDLED_DATA[name].path):
            for atoms in frames.to_ase():
                atoms.info.update(_described(str(atoms.info["name"])))
                yield atoms


def _described(name: str) -> dict[str, str]:
    kind, number = name.split("_")
    if kind.startswith("harm"):
        temperature = kind.removeprefix("harm")
        volume = _VOLUMES.get(kind, ("0",) * 3)[int(number)]
        return {
            "state": f"crystal_{temperature}K_{_signed(volume)}_dft-cell",
            "phase": "crystal",
            "temperature_K": temperature,
            "sampling": f"harmonic sample of the DFT Hessian at {temperature} K, volume {volume} % "
            "of the DFT cell",
        }
    temperature = re.sub(r"\D", "", kind)
    volume = {"1500": "+2", "1750": "-2"}[temperature]
    return {
        "state": f"{number}_{temperature}K_{_signed(volume)}",
        "phase": "disordered",
        "temperature_K": temperature,
        "sampling": f"60 fs of Langevin MD at {temperature} K with the published NequIP model from "
        f"ab initio glass {number.removeprefix('glass')}, volume {volume} %",
    }


def _signed(volume: str) -> str:
    return volume.replace("+", "p").replace("-", "m")


def labelled_frames(store: str) -> Iterator[Atoms]:
    """Frames from a store that `data label` wrote."""
    for frames in load_named(store):
        yield from frames.to_ase()


def ordered(atoms: Atoms) -> Atoms:
    """The same frame with atoms in the one order, and only the labels that all have."""
    order = np.argsort([ELEMENT_ORDER.index(s) for s in atoms.symbols], kind="stable")
    results = dict(atoms.calc.results)
    results["forces"] = results["forces"][order]
    frame = Atoms(
        numbers=atoms.numbers[order], positions=atoms.positions[order], cell=atoms.cell, pbc=True
    )
    frame.info = {key: str(atoms.info[key]) for key in (*LABELS, "level_of_theory")}
    frame.info["level_of_theory"] = "PBE-D3(0)/DZVP-GTH, 600/40 Ry, CP2K 2023.1"
    frame.calc = ase.calculators.singlepoint.SinglePointCalculator(frame, **results)
    return frame


if __name__ == "__main__":
    main()
