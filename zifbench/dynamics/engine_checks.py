"""Does an engine move atoms as it should? Runs of models with known answers.

Each group of `GROUPS` runs the engine once or twice and yields what follows from the frames; what
went wrong in other engines is the list (thermostat of a batch, cell forces, ideal gas, stress sign,
rows and columns of the cell, defaults of the barostat). Fluctuating means are held against their
own block errors, but never with more tolerance than stated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator

from zifbench.analysis.timeseries import mean_estimate
from zifbench.ase_io import full_stress
from zifbench.dynamics.cases import cases
from zifbench.dynamics.engines import ENGINES, check_torchsim, make_engine
from zifbench.dynamics.engines.interface import Engine
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.known import IdealGas, SoftFluid, SpringCrystal
from zifbench.dynamics.protocol import Protocol, parse_protocol
from zifbench.errors import ModelError, ZifbenchError, unknown_name
from zifbench.frames import FloatArray, Frames, concatenate
from zifbench.potentials.card import Check
from zifbench.profiles import Profile
from zifbench.units import AMU_A2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, EV_PER_A3_IN_GPA

EngineMaker = Callable[[Calculator], Engine]

_SPRING_EV_PER_A2, _EDGE_A = 0.1, 5.3  # argon's spacing
_HEIGHT_EV, _DIAMETER_A, _BOX_A = 0.5, 4.0, 9.0  # a dense fluid: collisions all the time
_HOT_K = 300.0
_COLD_K = 10.0  # nearly at rest, where paper and pencil are right
_CONFIDENCE = 0.9995  # of the intervals of fluctuating means; a dozen of them are looked at
_N_REPLICAS = 4
_WARM = {"name": "nvt", "ensemble": "nvt", "temperature_K": _HOT_K}
_FREE = {"name": "npt", "ensemble": "npt", "temperature_K": _HOT_K}


def engine_maker(name: str) -> EngineMaker:
    """The engine of that name over any calculator.

    Raises:
        UnknownNameError: there is none.
        MissingDependencyError: it is not installed.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if name != "torchsim":
        return lambda calculator: make_engine(name, calculator)
    check_torchsim()
    from zifbench.dynamics.engines.torch_host import HostPotential
    from zifbench.dynamics.engines.torchsim import TorchSimEngine

    return lambda calculator: TorchSimEngine(HostPotential(calculator), stress=True)


# -- running ------------------------------------------------------------------------------------


def run_frames(
    engine: Engine, protocol: Protocol, starts: Mapping[str, Atoms], *, replicas: int = 1
) -> dict[str, dict[str, Frames]]:
    """Run a protocol in memory; replica -> stage -> the frames that it samples.

    Raises:
        ModelError: a replica fails.
    """
    engine.check(protocol)
    all_cases = cases(protocol, Profile.QUICK, list(starts), seed=0, replicas=replicas)
    damping = Damping(protocol.thermostat_fs, protocol.barostat_fs)
    kept: dict[str, dict[str, list[Frames]]] = {case.name: {} for case in all_cases}
    for group in engine.batches(all_cases, starts):
        batch = engine.begin(group, starts, damping)
        moving = list(range(len(group)))
        while moving:
            for number, (rule, reason) in batch.advance(moving).items():
                raise ModelError(f"{group[number].name} fails ({rule}): {reason}")
            for number in moving:
                replica = batch.replicas[number]
                segment = replica.segment
                if segment.sample_every and replica.step % segment.sample_every == 0:
                    kept[group[number].name].setdefault(segment.name, []).append(replica.frame())
                if replica.at_end_of_segment:
                    replica.next_segment()
            moving = [number for number in moving if not batch.replicas[number].done]
    return {
        name: {stage: concatenate(frames) for stage, frames in stages.items()}
        for name, stages in kept.items()
    }


def _protocol(*stages: Mapping[str, Any], **settings: Any) -> Protocol:
    rows = [{**stage, "length_ps": dict.fromkeys(Profile, stage["length_ps"])} for stage in stages]
    table = {
        "schema": 1, "name": "check", "about": "", "source": "", "start": "", "time_step_fs": 10.0,
        "hot_K": 1e6, "stop_on": (), "stages": rows, **settings,
    }  # fmt: skip
    return parse_protocol(table, where="check")


def spring_crystal() -> Atoms:
    """Fcc at rest, two elements in turn."""
    atoms = bulk("Ar", "fcc", a=_EDGE_A, cubic=True).repeat((2, 1, 1))
    atoms.numbers[::2] = 10  # Ne
    atoms.set_masses(None)
    return atoms


def springs() -> SpringCrystal:
    """The model of `spring_crystal`."""
    return SpringCrystal(spring_crystal(), _SPRING_EV_PER_A2)


def fluid() -> Atoms:
    """Two elements in turn; so few atoms that three degrees of freedom are many."""
    atoms = bulk("Ar", "sc", a=0.5 * _BOX_A).repeat(2)
    atoms.numbers[::2] = 10
    atoms.set_masses(None)
    return atoms


def spheres() -> SoftFluid:
    """The model of `fluid`."""
    return SoftFluid(_HEIGHT_EV, _DIAMETER_A)


def _sheared() -> Atoms:
    """The crystal in a triclinic cell without symmetry, strained by per cents."""
    atoms = spring_crystal()
    strain = np.array([[0.02, 0.03, -0.02], [0.0, -0.01, 0.04], [0.0, 0.0, 0.01]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


# -- what is looked at ---------------------------------------------------------------------------


def _motion(make: EngineMaker) -> Iterator[Check]:
    """Newton's equations, step by step, and what is recorded of each."""
    protocol = _protocol(
        {**_WARM, "length_ps": 0.01},
        {"name": "nve", "ensemble": "nve", "length_ps": 2.0, "sample_fs": 10.0},
    )
    frames = run_frames(make(springs()), protocol, {"x": _sheared()})["x"]["nve"]
    step_fs, velocities = 10.0, _given(frames.velocities)
    right = _recomputed(frames)
    acceleration = right.forces / frames.masses[:, None] / AMU_A2_PER_FS2_IN_EV
    moved = np.diff(frames.positions, axis=0)
    twice = np.diff(moved, axis=0) / step_fs**2
    yield _ratio(
        "acceleration = force / mass", _slope(acceleration[1:-1], twice), 1e-3,
        "second differences of positions without thermostat; units, masses, forces",
    )  # fmt: skip
    central = (moved[1:] + moved[:-1]) / (2.0 * step_fs)
    yield _ratio(
        "velocity = change of position", _slope(velocities[1:-1], central), 1e-3,
        "central differences of positions without thermostat",
    )  # fmt: skip
    yield _absolute(
        "recorded energy",
        float(np.abs(_given(frames.energy) - right.energy).max()), 1e-5, "eV",
        "of the recorded positions and cell, triclinic: rows and columns are told apart",
    )  # fmt: skip
    yield _absolute(
        "recorded stress",
        float(np.abs(_given(frames.stress) - right.stress).max()) * 1e3 * EV_PER_A3_IN_GPA,
        0.1, "MPa", "tension positive, without the kinetic part; triclinic cell",
    )  # fmt: skip
    momenta = np.einsum("a,tai->ti", frames.masses, velocities)
    yield _absolute(
        "momentum", float(np.abs(momenta).max()), 1e-4, "amu Å/fs",
        "of the centre of mass, drawn as zero",
    )  # fmt: skip


def _energy(make: EngineMaker) -> Iterator[Check]:
    """Energy without thermostat: kept, and the better the smaller the step, as its square."""
    spread, drift = [], 0.0
    for step_fs in (16.0, 8.0):
        protocol = _protocol(
            {**_WARM, "length_ps": 1e-3 * step_fs},
            {"name": "nve", "ensemble": "nve", "length_ps": 8.0, "sample_fs": 16.0},
            time_step_fs=step_fs,
        )
        frames = run_frames(make(springs()), protocol, {"x": spring_crystal()})["x"]["nve"]
        total = (_given(frames.energy) + _kinetic_eV(frames)) / frames.n_atoms
        spread.append(float(total.std()))
        drift = float(np.polyfit(_given(frames.time_fs) / 1000.0, total, 1)[0])
    yield _absolute(
        "energy drift", abs(drift) * 1e3, 1e-3 * BOLTZMANN_EV_PER_K * _HOT_K * 1e3,
        "meV/atom/ps", "springs without thermostat, 8 fs steps",
    )  # fmt: skip
    yield _absolute(
        "second order", abs(spread[0] / spread[1] - 4.0), 1.0, "",
        f"energy spreads {spread[0] / spread[1]:.2f} times less at half the step, 4 wanted",
    )  # fmt: skip


def _thermostat(make: EngineMaker) -> Iterator[Check]:
    """Temperatures of a batch: every replica, element and direction; and their fluctuations."""
    protocol = _protocol(
        {**_WARM, "name": "settle", "length_ps": 3.0},
        {**_WARM, "length_ps": 20.0, "sample_fs": 10.0},
        thermostat_fs=200.0,
    )
    found = run_frames(make(spheres()), protocol, {"x": fluid()}, replicas=_N_REPLICAS)
    runs = [stages["nvt"] for stages in found.values()]
    for number, frames in enumerate(runs):
        yield _mean(
            f"temperature of replica {number + 1}", [_temperatures_K(frames) / _HOT_K], 0.1,
            f"3N − 3 degrees of freedom, {_N_REPLICAS} replicas in one run",
        )  # fmt: skip
    for symbol in sorted(set(runs[0].symbols)):
        rows = np.array([s == symbol for s in runs[0].symbols])
        series = [_temperatures_K(frames, atoms=rows) / _HOT_K for frames in runs]
        yield _mean(f"temperature of {symbol}", series, 0.15, "equipartition")
    for axis, letter in enumerate("xyz"):
        series = [_temperatures_K(frames, axis=axis) / _HOT_K for frames in runs]
        yield _mean(f"temperature along {letter}", series, 0.2, "equipartition")
    kelvin = np.concatenate([_temperatures_K(frames) for frames in runs])
    wanted = 2.0 / (3 * runs[0].n_atoms - 3)  # var(T) / T² in the canonical ensemble
    yield _ratio(
        "fluctuation of the temperature", kelvin.var() / kelvin.mean() ** 2 / wanted, 0.25,
        "canonical: var(T) = 2 T² / (3N − 3)",
    )  # fmt: skip


def _companions(make: EngineMaker) -> Iterator[Check]:
    """A trajectory does not depend on what is moved with it."""
    protocol = _protocol({**_WARM, "length_ps": 0.5, "sample_fs": 100.0})
    start = {"x": fluid()}
    alone = run_frames(make(spheres()), protocol, start)["x"]["nvt"]
    among = run_frames(make(spheres()), protocol, start, replicas=_N_REPLICAS)
    off = float(np.abs(among["x"]["nvt"].positions - alone.positions).max())
    yield _absolute(
        "alone = among others", off, 1e-6, "Å", f"50 steps, alone and with {_N_REPLICAS - 1} more"
    )
    spread = min(
        float(np.abs(stages["nvt"].positions - alone.positions).max())
        for name, stages in among.items()
        if name != "x"
    )
    yield Check(
        name="replicas differ",
        passed=spread > 1e-3,
        detail=f"velocities of their own: {spread:.2g} Å apart after 50 steps",
    )


def _ideal_gas(make: EngineMaker) -> Iterator[Check]:
    """Volume without forces: P⟨V⟩ = N k_B T, fluctuating by √N k_B T.

    The centre of mass rests, which takes one atom from V^N e^(−βPV) and the volume's own measure
    gives one back: V^(N−1) e^(−βPV), mean N k_B T / P and variance N (k_B T / P)². ASE's barostat
    counts 3N where 3N − 3 move, and N − 1/N comes out.
    """
    n, pressure_GPa = 64, 0.01
    per_atom = BOLTZMANN_EV_PER_K * _HOT_K / pressure_GPa * EV_PER_A3_IN_GPA  # Å³
    edge = (n * per_atom) ** (1.0 / 3.0)
    rng = np.random.default_rng(1)
    gas = Atoms(f"Ar{n}", positions=rng.uniform(0.0, edge, (n, 3)), cell=[edge] * 3, pbc=True)
    held = {**_FREE, "pressure_GPa": pressure_GPa}
    protocol = _protocol(
        {**held, "name": "settle", "length_ps": 4.0},
        {**held, "length_ps": 25.0, "sample_fs": 20.0},
        thermostat_fs=100.0,
        barostat_fs=200.0,
    )
    found = run_frames(make(IdealGas()), protocol, {"x": gas}, replicas=2)
    series = [stages["npt"].volume / (n * per_atom) for stages in found.values()]
    yield _mean("volume of an ideal gas", series, 0.04, "P⟨V⟩ = N k_B T")
    yield _ratio(
        "its fluctuation", n * float(np.concatenate(series).var()), 0.4, "var(V) = N (k_B T / P)²"
    )


def _pressure(make: EngineMaker) -> Iterator[Check]:
    """A crystal nearly at rest under pressure stays where its own stress balances it."""
    share = 0.94
    pressure_GPa = _static_pressure_GPa(share)
    held = {**_FREE, "temperature_K": _COLD_K, "pressure_GPa": pressure_GPa}
    protocol = _protocol(
        {**held, "length_ps": 8.0, "sample_fs": 10.0}, thermostat_fs=200.0, barostat_fs=2000.0
    )
    frames = run_frames(make(springs()), protocol, {"x": _squeezed(share)})["x"]["npt"]
    wanted = share * spring_crystal().get_volume()
    yield _ratio(
        "volume under pressure", float(frames.volume.mean()) / wanted, 5e-3,
        f"{pressure_GPa:.3f} GPa leave {share:g} of a crystal's volume: sign and size",
    )  # fmt: skip


def _cell(make: EngineMaker) -> Iterator[Check]:
    """The cell is as hot as the atoms."""
    protocol = _protocol(
        {**_FREE, "name": "settle", "length_ps": 5.0},
        {**_FREE, "length_ps": 25.0, "sample_fs": 10.0},
        thermostat_fs=200.0,
        barostat_fs=500.0,
    )
    frames = run_frames(make(springs()), protocol, {"x": spring_crystal()})["x"]["npt"]
    yield _cell_temperature(frames, protocol)


def _cell_temperature(frames: Frames, protocol: Protocol) -> Check:
    """Kinetic energy of the cell: ½ k_B T for each of six degrees of freedom.

    ½ W tr(D²), D = h⁻¹ ḣ the rate of strain and W = (N + 1) k_B T τ² the mass of the barostat, from
    the cells of successive steps.

    Source: Martyna, Tobias and Klein, J. Chem. Phys. 101 (1994) 4177, fully flexible cells.
    """
    cells = frames.cell
    time_fs = _given(frames.time_fs)
    rate = (cells[2:] - cells[:-2]) / (time_fs[2:] - time_fs[:-2])[:, None, None]
    strain = np.linalg.inv(cells[1:-1]) @ rate
    doubled = np.einsum("tij,tji->t", strain, strain)
    mass = (frames.n_atoms + 1) * protocol.barostat_fs**2  # over k_B T
    return _mean(
        "temperature of the cell",
        [mass * doubled / 6.0],
        0.25,
        "six degrees of freedom, ½ k_B T each",
    )


# A new group is one function and one line here.
GROUPS: dict[str, Callable[[EngineMaker], Iterator[Check]]] = {
    "motion": _motion,
    "energy": _energy,
    "thermostat": _thermostat,
    "companions": _companions,
    "ideal gas": _ideal_gas,
    "pressure": _pressure,
    "cell": _cell,
}


def check_engine(
    make: EngineMaker, *, progress: Callable[[str], None] | None = None
) -> list[Check]:
    """Run all groups with an engine.

    Args:
        make: Gives the engine over a calculator.
        progress: Called with the name of each group after it has run.

    Returns:
        Checks in order; a group that cannot be run is one that fails.
    """
    found: list[Check] = []
    for name, group in GROUPS.items():
        try:
            found.extend(group(make))
        except ZifbenchError as error:
            found.append(Check(name=name, passed=False, detail=f"cannot be run: {error}"))
        if progress is not None:
            progress(name)
    return found


# -- small tools ---------------------------------------------------------------------------------


def _given(array: FloatArray | None) -> FloatArray:
    if array is None:
        raise ModelError("the engine's frames lack energy, stress, velocities or time")
    return array


def _recomputed(frames: Frames) -> Any:
    """Energy, forces and stress of frames by the model itself."""
    from zifbench.potentials.core import Prediction

    model, results = springs(), []
    for atoms in frames.to_ase():
        model.calculate(atoms)
        results.append(dict(model.results))
    return Prediction(
        energy=np.array([r["energy"] for r in results]),
        forces=np.array([r["forces"] for r in results]),
        stress=full_stress(np.array([r["stress"] for r in results])),
        atomic_energy=None,
        dtype="float64",
    )


def _squeezed(share: float) -> Atoms:
    """The crystal at a share of its volume."""
    atoms = spring_crystal()
    atoms.set_cell(atoms.cell * share ** (1.0 / 3.0), scale_atoms=True)
    return atoms


def _static_pressure_GPa(share: float) -> float:
    """Pressure of the crystal at rest at a share of its volume."""
    model = springs()
    model.calculate(_squeezed(share))
    return -float(np.mean(model.results["stress"][:3])) * EV_PER_A3_IN_GPA


def _kinetic_eV(frames: Frames) -> FloatArray:
    velocities = _given(frames.velocities)
    found = 0.5 * np.einsum("a,tai,tai->t", frames.masses, velocities, velocities)
    return np.asarray(found * AMU_A2_PER_FS2_IN_EV, dtype=float)


def _temperatures_K(
    frames: Frames, *, atoms: Any = slice(None), axis: int | None = None
) -> FloatArray:
    """Kinetic temperature of some atoms and directions, the centre of mass at rest.

    ⟨p²/m⟩ of one atom along one direction is then k_B T (1 − m / Σm).
    """
    axes = slice(None) if axis is None else slice(axis, axis + 1)
    velocities = _given(frames.velocities)[:, atoms, axes]
    masses = frames.masses[atoms]
    doubled = AMU_A2_PER_FS2_IN_EV * np.einsum("a,tai,tai->t", masses, velocities, velocities)
    share = float(np.sum(1.0 - masses / frames.masses.sum())) * velocities.shape[2]
    return np.asarray(doubled / (share * BOLTZMANN_EV_PER_K), dtype=float)


def _slope(x: FloatArray, y: FloatArray) -> float:
    return float(np.sum(x * y) / np.sum(x * x))


def _mean(name: str, ratios: Sequence[FloatArray], limit: float, detail: str) -> Check:
    """A mean over replicas that should be one, within its interval and within `limit`."""
    estimates = [mean_estimate(ratio, confidence=_CONFIDENCE) for ratio in ratios]
    found = float(np.mean([estimate.mean for estimate in estimates]))
    reach = float(np.linalg.norm([e.high - e.mean for e in estimates])) / len(estimates)
    tolerance = min(limit, max(reach, 0.1 * limit))
    return _ratio(name, found, tolerance, f"{detail}; found {found:.4f} ± {reach:.4f}")


def _ratio(name: str, ratio: float, limit: float, detail: str) -> Check:
    return _absolute(name, 100.0 * abs(ratio - 1.0), 100.0 * limit, "%", detail)


def _absolute(name: str, deviation: float, limit: float, unit: str, detail: str) -> Check:
    return Check(
        name=name,
        passed=bool(deviation <= limit),
        deviation=float(deviation),
        tolerance=float(limit),
        unit=unit,
        detail=detail,
    )
