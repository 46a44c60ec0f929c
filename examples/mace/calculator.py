"""A trained MACE as an ASE calculator: `zifbench evaluate examples/mace/calculator.py:factory`."""

from __future__ import annotations

import os
from pathlib import Path

from ase.data import chemical_symbols
from mace.calculators import MACECalculator

from zifbench.errors import ModelError

TRAINED = Path(__file__).resolve().parents[2] / "build/mace/training/mace.model"


def factory(device: str) -> MACECalculator:
    """The model at `MACE_MODEL`, or else the one that `make -C examples/mace` has trained.

    In float64, whatever it was trained in: the total energy, -60 000 eV, needs the digits.

    Args:
        device: "cpu" or "cuda", as given to `zifbench evaluate`.

    Raises:
        ModelError: no such file.
    """
    path = Path(os.environ.get("MACE_MODEL", TRAINED))
    if not path.is_file():
        raise ModelError(
            f"no trained MACE at {path}; run make -C examples/mace, or let MACE_MODEL name the file"
        )
    calculator = MACECalculator(model_paths=str(path), device=device, default_dtype="float64")
    # For zifbench: stands on the card of the model, in its results and on leaderboards.
    calculator.zifbench_card = {
        "architecture": "MACE",
        "species": [chemical_symbols[number] for number in calculator.z_table.zs],
        "cutoff_A": calculator.r_max,
        "dtype": "float64",
        "n_parameters": sum(weight.numel() for weight in calculator.models[0].parameters()),
        "weights": [path],
    }
    return calculator
