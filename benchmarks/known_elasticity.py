"""Bulk modulus and elastic constants of a crystal whose answers are known, by both of our routes.

A Lennard-Jones crystal of fixed nearest neighbours. At rest K and C_ij are known on paper; at 40 K
they are had from stresses of strained cells at constant volume, which is what the two routes are
held against: P(V) at several volumes (finite strain), and the strain fluctuations of a free cell.
All runs go through `run_protocol` and the analysis room. Run from the repository root:

    python -m benchmarks.known_elasticity DIRECTORY [--engine torchsim] [--length 1.0]
        [--cell-degrees 9]

The TorchSim engine moves sixteen crystals at once, each with velocities of its own, in place of one
for sixteen times as long.

What 108 atoms cannot give: their strains, 1 % in volume, are large enough to feel how C_ij change
with them. From fluctuations C_ij come out 2 to 3 % smaller than from strained cells, whichever the
engine, which shows where errors are that small (`--length 12`). The static lattice sampled without
any dynamics says the same: C11, C44 and K smaller by 2.5, 2.2 and 2.3 % at 108 atoms, and by 0.3,
0.4 and 0.1 % at 864.

`--cell-degrees 9` is what ASE 3.29 does by itself: the cell is half as hot again as the atoms, and
C_ij come out too small, down to two thirds where the cell shares little of its heat with the atoms
(a tenth too small here: K 1.06 ± 0.04 GPa of 1.19 ± 0.02).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from zifbench.analysis.elasticity import bulk_modulus_from_volumes_estimate, stiffness_estimate
from zifbench.analysis.eos import EquationOfState, fit_birch_murnaghan
from zifbench.analysis.timeseries import mean_estimate
from zifbench.dataset.store import open_store
from zifbench.dynamics.engines import check_torchsim
from zifbench.dynamics.engines.interface import Engine
from zifbench.dynamics.known import LennardJonesCrystal
from zifbench.dynamics.protocol import Protocol, parse_protocol
from zifbench.dynamics.run import run_protocol
from zifbench.frames import FloatArray, Frames, concatenate
from zifbench.profiles import Profile
from zifbench.units import AMU_A2_PER_FS2_IN_EV, EV_PER_A3_IN_GPA

EDGE_A, DEPTH_EV, TEMPERATURE_K = 5.3, 0.0104, 40.0
_CHANGES_PERCENT = (5.0, 6.5, 8.0, 9.5, 11.0)  # around the volume at 40 K
_STRAIN = 0.015
_SETTLE_PS, _SETTLE_FREE_PS = 4.0, 20.0
COPIES = {"ase": 1, "torchsim": 16}  # crystals that an engine moves together
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Value:
    """A number with its standard error, GPa."""

    value: float
    error: float

    def agrees(self, other: Value, *, errors: float = 3.0) -> bool:
        """Whether both are the same within so many joint errors."""
        joint = float(np.hypot(self.error, other.error))
        return abs(self.value - other.value) <= errors * joint

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


def crystal() -> Atoms:
    """108 atoms at rest; a third as many share their energy with the cell too slowly."""
    return bulk("Ar", "fcc", a=EDGE_A, cubic=True).repeat(3)


def model() -> LennardJonesCrystal:
    """What holds it."""
    return LennardJonesCrystal(crystal(), DEPTH_EV)


def at_rest_GPa() -> dict[str, float]:
    """On paper, at 0 K."""
    scale = model().spring_eV_per_A2 / EDGE_A * EV_PER_A3_IN_GPA
    return {"C11": 2.0 * scale, "C12": scale, "C44": scale, "K": 4.0 / 3.0 * scale}


# -- runs ----------------------------------------------------------------------------------------


def run(
    protocol: Protocol, starts: Mapping[str, Atoms], out: Path, engine: str, *, copies: int = 1
) -> dict[str, Frames]:
    """Frames by START.STAGE, those of all copies one after the other."""
    outcomes = run_protocol(
        protocol, model(), starts, out,
        profile=Profile.QUICK, model={"model": "Lennard-Jones crystal"},
        engine=_mover(engine), replicas=copies,
    )  # fmt: skip
    if any(outcome.ended != "completed" for outcome in outcomes):
        raise RuntimeError(f"a replica failed: {outcomes}")
    parts: dict[str, list[Frames]] = {}
    with open_store(out / "frames.zarr") as store:
        for name, trajectory in store.trajectories.items():
            replica, _, stage = name.partition(".")
            key = f"{replica.partition('-')[0]}.{stage}"
            parts.setdefault(key, []).append(trajectory.read(range(len(trajectory))))
    return {key: concatenate(frames) for key, frames in parts.items()}


def _mover(engine: str) -> str | Engine:
    if engine != "torchsim":
        return engine
    check_torchsim()
    from zifbench.dynamics.engines.torch_host import HostCrystals
    from zifbench.dynamics.engines.torchsim import TorchSimEngine

    batch_atoms = COPIES[engine] * len(crystal())
    return TorchSimEngine(HostCrystals(model()), stress=True, batch_atoms=batch_atoms)


def _protocol(*stages: Mapping[str, object], **settings: object) -> Protocol:
    table = {
        "schema": 1, "name": "known", "about": "", "source": "", "start": "", "time_step_fs": 20.0,
        "thermostat_fs": 300.0, "barostat_fs": 1000.0, "stop_on": ("not a number",),
        "stages": stages, **settings,
    }  # fmt: skip
    return parse_protocol(table, where="known")


def _held(name: str, length_ps: float, **more: object) -> dict[str, object]:
    length = dict.fromkeys(Profile, round(length_ps / 0.02) * 0.02)
    return {
        "name": name, "ensemble": "nvt", "temperature_K": TEMPERATURE_K, "length_ps": length, **more
    }  # fmt: skip


def static_scan(out: Path, engine: str = "ase") -> EquationOfState:
    """P(V) at rest."""
    stages = [
        {
            "name": f"at{change:+g}",
            "ensemble": "minimise",
            "volume_change_percent": change,
            "force_eV_per_A": 1e-5,
            "keep": True,
        }
        for change in (-0.2, -0.1, 0.0, 0.1, 0.2)
    ]
    found = run(_protocol(*stages), {"x": crystal()}, out, engine)
    return _fit([(f.volume[0], _pressures_GPa(f)[:1]) for f in found.values()])


def finite_strain(out: Path, length: float, engine: str = "ase") -> EquationOfState:
    """Route 1: P(V) at 40 K."""
    copies = COPIES[engine]
    stages: list[dict[str, object]] = []
    for change in _CHANGES_PERCENT:
        stages.append(_held(f"to{change:+g}", _SETTLE_PS, volume_change_percent=change))
        stages.append(_held(f"at{change:+g}", 30.0 * length / copies, sample_fs=40.0))
    found = run(_protocol(*stages), {"x": crystal()}, out, engine, copies=copies)
    held = [frames for name, frames in found.items() if ".at" in name]
    return _fit([(frames.volume[0], _pressures_GPa(frames)) for frames in held])


def strained(out: Path, length: float, volume_A3: float, engine: str = "ase") -> dict[str, Value]:
    """The oracle: stresses of cells strained by ±1.5 % at constant volume V0, by differences."""
    starts = {}
    for name, (i, j) in (("xx", _VOIGT[0]), ("yz", _VOIGT[3])):
        for sign, letter in ((1.0, "p"), (-1.0, "m")):
            strain = np.eye(3)
            strain[i, j] += sign * _STRAIN / 2.0
            strain[j, i] += sign * _STRAIN / 2.0
            atoms = crystal()
            edge = (volume_A3 / atoms.get_volume()) ** (1.0 / 3.0)
            atoms.set_cell(atoms.cell.array * edge @ strain, scale_atoms=True)
            starts[name + letter] = atoms
    copies = max(1, COPIES[engine] // len(starts))
    held = _held("held", 60.0 * length / copies, sample_fs=40.0)
    stages = (_held("settle", _SETTLE_PS), held)
    found = run(_protocol(*stages), starts, out, engine, copies=copies)

    def constant(name: str, *pairs: tuple[int, int]) -> Value:
        slopes, errors = [], []
        for pair in pairs:
            up, down = (
                mean_estimate(_stresses_GPa(found[f"{name}{x}.held"])[:, pair[0], pair[1]])
                for x in "pm"
            )
            slopes.append((up.mean - down.mean) / (2.0 * _STRAIN))
            errors.append(np.hypot(up.standard_error, down.standard_error) / (2.0 * _STRAIN))
        # Two components of one run are correlated: their mean is no better known than each.
        return Value(float(np.mean(slopes)), float(np.mean(errors)))

    values = {
        "C11": constant("xx", (0, 0)),
        "C12": constant("xx", (1, 1), (2, 2)),
        "C44": constant("yz", (1, 2)),
    }
    c11, c12 = values["C11"], values["C12"]
    bulk_error = float(np.hypot(c11.error, 2.0 * c12.error)) / 3.0
    return {**values, "K": Value((c11.value + 2.0 * c12.value) / 3.0, bulk_error)}


def fluctuations(out: Path, length: float, engine: str = "ase") -> dict[str, Value]:
    """Route 2: strains of a free cell at zero stress; cubic symmetry is averaged over."""
    copies = COPIES[engine]
    free = {**_held("settle", _SETTLE_FREE_PS), "ensemble": "npt"}
    measured = {**_held("npt", 220.0 * length / copies, sample_fs=40.0), "ensemble": "npt"}
    start = crystal()
    start.set_cell(start.cell * 1.08 ** (1.0 / 3.0), scale_atoms=True)
    frames = run(_protocol(free, measured), {"x": start}, out, engine, copies=copies)["x.npt"]
    c = stiffness_estimate(frames.cell, temperature_K=TEMPERATURE_K, seed=0)
    volume = bulk_modulus_from_volumes_estimate(frames.volume, temperature_K=TEMPERATURE_K, seed=0)

    def averaged(*places: tuple[int, int]) -> Value:
        samples = np.mean([c.samples[:, i, j] for i, j in places], axis=0)
        spread = np.mean([c.standard_error[i, j] / c.samples[:, i, j].std() for i, j in places])
        value = np.mean([c.estimate[i, j] for i, j in places])
        return Value(float(value), float(spread * samples.std(ddof=1)))

    return {
        "C11": averaged((0, 0), (1, 1), (2, 2)),
        "C12": averaged((0, 1), (0, 2), (1, 2)),
        "C44": averaged((3, 3), (4, 4), (5, 5)),
        "K": Value(float(volume.estimate), float(volume.standard_error)),
    }


# -- small tools ---------------------------------------------------------------------------------


def _stresses_GPa(frames: Frames) -> FloatArray:
    """Whole stress, the kinetic part included, shape (T, 3, 3)."""
    if frames.stress is None or frames.velocities is None:
        raise RuntimeError("frames without stress or velocities")
    v = frames.velocities
    kinetic = AMU_A2_PER_FS2_IN_EV * np.einsum("a,tai,taj->tij", frames.masses, v, v)
    whole = frames.stress - kinetic / frames.volume[:, None, None]
    return np.asarray(whole * EV_PER_A3_IN_GPA, dtype=float)


def _pressures_GPa(frames: Frames) -> FloatArray:
    return -np.trace(_stresses_GPa(frames), axis1=1, axis2=2) / 3.0


def _fit(points: list[tuple[float, FloatArray]]) -> EquationOfState:
    volumes = np.array([volume for volume, _ in points])
    means = np.array([values.mean() for _, values in points])
    errors = None
    if all(len(values) > 1 for _, values in points):
        errors = np.array([mean_estimate(values).standard_error for _, values in points])
    mass = float(crystal().get_masses().sum())
    return fit_birch_murnaghan(volumes, means, mass_amu=mass, pressure_error_GPa=errors)


def main() -> None:
    """Run all of it and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--engine", choices=sorted(COPIES), default="ase")
    parser.add_argument("--length", type=float, default=1.0, help="times the default lengths")
    parser.add_argument("--cell-degrees", type=int, default=6)
    options = parser.parse_args()
    if options.cell_degrees != 6:
        name = "engines.torch_steps" if options.engine == "torchsim" else "integrators"
        steps = importlib.import_module(f"zifbench.dynamics.{name}")
        steps._CELL_DEGREES = options.cell_degrees
    write, paper = sys.stdout.write, at_rest_GPa()
    static = static_scan(options.directory / "static", options.engine)
    write(f"at rest: K {static.bulk_modulus_GPa:.4f} GPa, {paper['K']:.4f} on paper\n")
    curve = finite_strain(options.directory / "finite", options.length, options.engine)
    volume = curve.equilibrium_volume_A3
    write(
        f"P(V) at {TEMPERATURE_K:g} K: K {curve.bulk_modulus_GPa:.3f} ± "
        f"{curve.bulk_modulus_error_GPa:.3f} GPa, V0 {volume:.1f} ± "
        f"{curve.equilibrium_volume_error_A3:.1f} Å³\n"
    )
    oracle = strained(options.directory / "strained", options.length, volume, options.engine)
    routed = fluctuations(options.directory / "fluctuations", options.length, options.engine)
    write("GPa      at rest   stress–strain     fluctuations\n")
    for name, value in oracle.items():
        write(f"{name:<8}{paper[name]:8.3f}   {value!s:<17} {routed[name]!s}\n")


if __name__ == "__main__":
    main()
