"""CP2K MD output as text, made fast: for benchmarks at any scale.

Frames of ZIF-4 at the bundled structure that move as a sum of waves in time, with forces that are
mass times acceleration, so that everything the reader checks holds: titles, times, volumes, kinetic
energies, accelerations. Layouts are CP2K's to the byte: 17 750 bytes for a frame of 272 atoms, 200,
225 and 130 for the rows of stress, cell and energies. Run from the repository root:

    python -m benchmarks.cp2k_text DIRECTORY N_FRAMES
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from zifbench.ase_io import read_frames
from zifbench.bundled import BUNDLED_DATA
from zifbench.frames import Frames
from zifbench.jit import jit
from zifbench.units import (
    AMU_A2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    HARTREE_EV,
    HARTREE_PER_BOHR_IN_EV_PER_A,
)

TIME_STEP_FS = 0.5
_BLOCK = 512
_TITLE = " i = {step:8d}, time = {time:12.3f}, E = {energy:20.10f}\n"
_CELL_HEAD = "#   Step   Time [fs]" + "".join(
    f"{f'{v}{k} [Angstrom]':>20}" for v in "ABC" for k in "xyz"
)
_STRESS_HEAD = "#   Step   Time [fs]" + "".join(
    f"{f'{a}{b} [bar]':>20}" for a in "xyz" for b in "xyz"
)
_ENER_HEAD = "#     Step Nr.          Time[fs]        Kin.[a.u.]          Temp[K]"
_ENER_TAIL = "            Pot.[a.u.]        Cons Qty[a.u.]        UsedTime[s]"


@jit
def _print_numbers(values, ends, out):  # type: ignore[no-untyped-def]
    """Write each value as F20.10 before `ends` into each row of `out`."""
    for row in range(values.shape[0]):
        for k in range(values.shape[1]):
            value = values[row, k]
            negative = value < 0
            mantissa = np.int64(np.rint(abs(value) * 1.0e10))
            position = ends[k] - 1
            for _ in range(10):
                out[row, position] = 48 + mantissa % 10
                mantissa //= 10
                position -= 1
            out[row, position] = 46
            position -= 1
            while True:
                out[row, position] = 48 + mantissa % 10
                mantissa //= 10
                position -= 1
                if mantissa == 0:
                    break
            if negative:
                out[row, position] = 45
                position -= 1
            while position >= ends[k] - 20:
                out[row, position] = 32
                position -= 1


class Waves:
    """Positions, velocities and accelerations of all atoms at any time."""

    def __init__(self, frames: Frames, temperature_K: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = frames.n_atoms
        self.frames = frames
        self.start = frames.positions[0]
        # One wave for each coordinate: 100 to 1500 cm⁻¹, each with kT.
        self.omega = 2 * np.pi * rng.uniform(0.003, 0.045, size=(n, 3))
        self.phase = rng.uniform(0, 2 * np.pi, size=(n, 3))
        width = np.sqrt(
            2 * BOLTZMANN_EV_PER_K * temperature_K / (AMU_A2_PER_FS2_IN_EV * frames.masses)
        )
        self.amplitude = width[:, None] / self.omega

    def at(self, time_fs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (T, N, 3) in Å, forces in hartree/bohr, kinetic energies (T,) in hartree."""
        angle = self.omega * time_fs[:, None, None] + self.phase
        displacement = self.amplitude * np.sin(angle)
        velocity = self.amplitude * self.omega * np.cos(angle)
        mass = AMU_A2_PER_FS2_IN_EV * self.frames.masses
        forces = -(self.omega**2) * displacement * mass[:, None]
        kinetic = 0.5 * (mass[:, None] * velocity**2).sum(axis=(1, 2))
        return (
            self.start + displacement,
            forces / HARTREE_PER_BOHR_IN_EV_PER_A,
            kinetic / HARTREE_EV,
        )


def write_run(directory: Path, n_frames: int, *, temperature_K: float = 1500.0) -> int:
    """Write the five files of one run; the number of bytes."""
    frames = read_frames(BUNDLED_DATA["zif4-own-test"].path)[0][0]
    waves = Waves(frames, temperature_K)
    directory.mkdir(parents=True, exist_ok=True)
    names = ("bench-pos-1.xyz", "bench-frc-1.xyz", "bench-1.cell", "bench-1.stress", "bench-1.ener")
    files = [(directory / name).open("wb") for name in names]
    heads = (
        "",
        "",
        _CELL_HEAD + f"{'Volume [Angstrom^3]':>25}\n",
        _STRESS_HEAD + "\n",
        _ENER_HEAD + _ENER_TAIL + "\n",
    )
    for file, head in zip(files, heads, strict=True):
        file.write(head.encode())
    for first in range(0, n_frames, _BLOCK):
        steps = np.arange(first, min(first + _BLOCK, n_frames))
        for file, data in zip(files, _block(waves, steps), strict=True):
            file.write(data)
    for file in files:
        file.close()
    return sum((directory / name).stat().st_size for name in names)


def _block(waves: Waves, steps: np.ndarray) -> tuple[bytes, ...]:
    """Text of some frames for each of the five files."""
    frames = waves.frames
    time = steps * TIME_STEP_FS
    positions, forces, kinetic = waves.at(time)
    energy = -2208.0 - 0.001 * np.sin(0.01 * time)
    n_free = 3 * frames.n_atoms - 3
    temperature = 2 * kinetic * HARTREE_EV / (BOLTZMANN_EV_PER_K * n_free)
    cell = " ".join(f"{x:19.10f}" for x in frames.cell[0].ravel())
    volume = f"{np.linalg.det(frames.cell[0]):24.10f}"
    pressure = [f"{x:19.10f}" for x in (9513.7, 201.4, 377.5, 201.4, 751.6, 161.1, 377.5, 161.1)]
    cells, stresses, energies = [], [], []
    for k, step in enumerate(steps):
        cells.append(f"{step:8d}{time[k]:12.3f} {cell} {volume}\n")
        diagonal = f"{12848.3 + 10 * np.sin(0.02 * time[k]):19.10f}"
        stresses.append(f"{step:8d}{time[k]:12.3f} {' '.join([*pressure, diagonal])}\n")
        energies.append(
            f"{step:10d}{time[k]:20.6f}{kinetic[k]:20.9f}{temperature[k]:20.9f}"
            f"{energy[k]:20.9f}{energy[k] + kinetic[k]:20.9f}{7.1:20.9f}\n"
        )
    return (
        _xyz(frames, steps, time, energy, positions),
        _xyz(frames, steps, time, energy, forces),
        "".join(cells).encode(),
        "".join(stresses).encode(),
        "".join(energies).encode(),
    )


def _xyz(
    frames: Frames, steps: np.ndarray, time: np.ndarray, energy: np.ndarray, values: np.ndarray
) -> bytes:
    """Frames of an xyz file."""
    heads = [
        f"{frames.n_atoms:8d}\n" + _TITLE.format(step=s, time=t, energy=e)
        for s, t, e in zip(steps.tolist(), time.tolist(), energy.tolist(), strict=True)
    ]
    n_head = len(heads[0])
    body = "".join(f"  {symbol:<2}{'':60}\n" for symbol in frames.symbols)
    template = np.frombuffer((heads[0] + body).encode(), dtype=np.uint8)
    text = np.tile(template, (len(steps), 1))
    text[:, :n_head] = np.frombuffer("".join(heads).encode(), dtype=np.uint8).reshape(-1, n_head)
    line = 65
    ends = n_head + line * np.arange(frames.n_atoms)[:, None] + 4 + 20 * np.arange(1, 4)
    _print_numbers(values.reshape(len(steps), -1), ends.ravel(), text)
    return text.tobytes()


def main() -> None:
    """Write one run and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("n_frames", type=int)
    options = parser.parse_args()
    sys.stdout.write(f"{write_run(options.directory, options.n_frames)} bytes\n")


if __name__ == "__main__":
    main()
