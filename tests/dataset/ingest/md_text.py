"""Small CP2K runs as text, record by record, and a naive reader of them.

Five atoms move as waves; forces are mass times acceleration and energies fit, so that every check
of the reader passes until something is broken on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from zifbench.units import (
    AMU_A2_PER_FS2_IN_EV,
    BOHR_PER_AU_TIME_IN_A_PER_FS,
    BOLTZMANN_EV_PER_K,
    HARTREE_EV,
    HARTREE_PER_BOHR_IN_EV_PER_A,
)

SYMBOLS = ("Zn", "N", "C", "H", "H")
MASSES = np.array([65.38, 14.0067, 12.0107, 2.014101777, 2.014101777])
TIME_STEP_FS = 0.5
CELL = np.array([[9.0, 0, 0], [1.0, 9.5, 0], [-0.5, 0.7, 10.0]])
NAMES = {
    "positions": "run-pos-1.xyz",
    "forces": "run.frc",
    "velocities": "run-vel-1.xyz",
    "cell": "run-1.cell",
    "stress": "run.stress",
    "energies": "run-1.ener",
}
HEADERS = {
    "cell": "#   Step   Time [fs]       Ax [Angstrom] … Cz [Angstrom]      Volume [Angstrom^3]\n",
    "stress": "#   Step   Time [fs]            xx [bar]            xy [bar] … zz [bar]\n",
    "energies": "#     Step Nr.          Time[fs]        Kin.[a.u.]          Temp[K]  Pot.[a.u.]\n",
}
INPUT = "&GLOBAL\n&END GLOBAL\n&MOTION\n &MD\n  ENSEMBLE NVE\n &END MD\n&END MOTION\n"
_RNG = np.random.default_rng(7)
_OMEGA = 2 * np.pi * _RNG.uniform(0.004, 0.04, size=(5, 3))
_PHASE = _RNG.uniform(0, 6, size=(5, 3))
_AMPLITUDE = 0.02 / _OMEGA / np.sqrt(MASSES)[:, None]
_START = _RNG.uniform(0, 9, size=(5, 3))


def state(step: int, branch: int = 0) -> dict[str, np.ndarray]:
    """Everything of one step in CP2K's units; another branch has other energies."""
    angle = _OMEGA * step * TIME_STEP_FS + _PHASE
    displacement = _AMPLITUDE * np.sin(angle)
    velocity = _AMPLITUDE * _OMEGA * np.cos(angle)
    mass = AMU_A2_PER_FS2_IN_EV * MASSES[:, None]
    kinetic = 0.5 * float((mass * velocity**2).sum()) / HARTREE_EV
    pressure = _RNG_PRESSURE + 50.0 * np.sin(0.1 * step)
    return {
        "positions": _START + displacement,
        "forces": -(_OMEGA**2) * displacement * mass / HARTREE_PER_BOHR_IN_EV_PER_A,
        "velocities": velocity / BOHR_PER_AU_TIME_IN_A_PER_FS,
        "energy": np.array(-40.0 - 0.01 * np.sin(0.3 * step) - 0.01 * branch),
        "kinetic": np.array(kinetic),
        "temperature": np.array(2 * kinetic * HARTREE_EV / (BOLTZMANN_EV_PER_K * 12)),
        "cell": CELL,
        "stress": pressure + pressure.T,
    }


_RNG_PRESSURE = _RNG.uniform(-4000, 4000, size=(3, 3))


def record(kind: str, step: int, branch: int = 0, passing: int = 0) -> str:
    """Text of one frame or row; a later pass differs in the tenth decimal of the energy."""
    values = state(step, branch)
    time = step * TIME_STEP_FS
    energy = float(values["energy"]) + passing * 1.0e-10
    if kind in ("positions", "forces", "velocities"):
        title = f" i = {step:8d}, time = {time:12.3f}, E = {energy:20.10f}\n"
        lines = (
            f"  {symbol:<2}" + "".join(f"{x:20.10f}" for x in row) + "\n"
            for symbol, row in zip(SYMBOLS, values[kind], strict=True)
        )
        return f"{len(SYMBOLS):8d}\n{title}{''.join(lines)}"
    if kind == "energies":
        numbers = (values["kinetic"], values["temperature"], energy, energy, 1.5 + passing)
        return f"{step:10d}{time:20.6f}" + "".join(f"{x:20.9f}" for x in numbers) + "\n"
    numbers = values[kind].ravel() + (passing * 1.0e-6 if kind == "stress" else 0.0)
    row = f"{step:8d}{time:12.3f}" + "".join(f" {x:19.10f}" for x in numbers)
    return row + (f" {np.linalg.det(CELL):24.10f}\n" if kind == "cell" else "\n")


def write_run(directory: Path, texts: Mapping[str, str], *, masses: bool = True) -> Path:
    """Write files from the text of each kind, and an input that states the masses."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind, text in texts.items():
        (directory / NAMES[kind]).write_text(text)
    if masses:
        kind = "&FORCE_EVAL\n &SUBSYS\n  &KIND H\n   MASS 2.014101777\n  &END KIND\n &END SUBSYS\n"
        (directory / "run.inp").write_text(INPUT + kind + "&END FORCE_EVAL\n")
    return directory


def plain_run(steps: Iterable[int], kinds: Iterable[str] = NAMES) -> dict[str, str]:
    """Text of every file with the same steps."""
    steps = list(steps)
    return {
        kind: HEADERS.get(kind, "") + "".join(record(kind, step) for step in steps)
        for kind in kinds
    }


# -- the naive reader ------------------------------------------------------------------------------

_FRAME = re.compile(
    r" +5\n i = +(\d+), time = +([\d.]+), E = +(-?\d+\.\d{10})\n"
    r"((?:  [A-Z][a-z ](?: +-?\d+\.\d{10}){3}\n){5})"
)
_ROWS = {
    "cell": re.compile(r"^ *(\d+) +[\d.]+((?: +-?\d+\.\d{10}){10})\n", re.M),
    "stress": re.compile(r"^ *(\d+) +[\d.]+((?: +-?\d+\.\d{10}){9})\n", re.M),
    "energies": re.compile(r"^ *(\d+) +[\d.]+((?: +-?\d+\.\d{9}){5})\n", re.M),
}


def naive_read(kind: str, text: str) -> list[tuple[int, str, list[float]]]:
    """(step, energy of the title or "", numbers) of every complete record, by one pattern."""
    if kind in _ROWS:
        return [(int(m[1]), "", list(map(float, m[2].split()))) for m in _ROWS[kind].finditer(text)]
    return [
        (int(m[1]), m[3], [float(w) for line in m[4].splitlines() for w in line.split()[1:]])
        for m in _FRAME.finditer(text)
    ]
