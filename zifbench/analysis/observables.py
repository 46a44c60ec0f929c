"""The table of observables: what `analyse` computes, each as series, curves and scalars.

A new observable is one function and one line of `OBSERVABLES`; its numbers, error bars, arrays and
figures follow from what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
from ase.data import atomic_masses

from zifbench.analysis.angles import AngleDistribution, bond_angle_distribution
from zifbench.analysis.checks import checked_chunks
from zifbench.analysis.coordination import bond_history, coordination_numbers
from zifbench.analysis.elasticity import bulk_modulus_from_volumes_estimate, hill_estimate
from zifbench.analysis.eos import birch_murnaghan_pressure_GPa, fit_birch_murnaghan
from zifbench.analysis.linker_geometry import linker_angle_distribution, ring_orientation_index
from zifbench.analysis.linker_series import linker_events
from zifbench.analysis.msd import mean_square_displacement
from zifbench.analysis.network import MAX_RING_SIZE, ring_statistics
from zifbench.analysis.pores import pore_volumes
from zifbench.analysis.rdf import ZIF_PAIRS, partial_rdfs, potential_of_mean_force
from zifbench.analysis.spheres import largest_spheres
from zifbench.analysis.timeseries import MIN_BLOCKS, mean_estimate
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames
from zifbench.units import (
    AMU_PER_A3_IN_G_PER_CM3,
    BOLTZMANN_EV_PER_K,
    EV_IN_KJ_PER_MOL,
    EV_PER_A3_IN_GPA,
)

_FS_PER_PS = 1000.0
_MAX_COORDINATION = 12  # last bin of the histogram
_SURVIVAL_POINTS = 101
_LAGS = 40  # points of a mean square displacement
_MAX_LAG_FS = 20_000.0  # the authors' window


@dataclass(frozen=True)
class Settings:
    """What the frames themselves do not say.

    Attributes:
        temperature_K: Temperature of the runs; free energies and elastic constants need it.
        frame_interval_fs: Time between frames where the frames carry no times.
        seed: Of the bootstrap.
    """

    temperature_K: float | None = None
    frame_interval_fs: float | None = None
    seed: int = 0

    def temperature(self) -> float:
        """The temperature in K.

        Raises:
            NotDefinedError: it was not given.
        """
        if self.temperature_K is None:
            raise NotDefinedError("it needs the temperature of the run; give it (--temperature)")
        return self.temperature_K


@dataclass(frozen=True)
class Series:
    """One number a frame, shape (T,); its mean is the number reported."""

    title: str
    unit: str
    values: FloatArray


@dataclass(frozen=True)
class Curve:
    """A curve whose ordinate is a mean over frames, or a function of such a mean.

    Attributes:
        title: What it is.
        x_label: Abscissa with unit.
        y_label: Ordinate with unit.
        x: Abscissa, shape (B,).
        y: Mean contribution of a frame, shape (B,).
        of_mean: From the mean contribution to the ordinate; None where they are the same.
        bars: Drawn as bars and not as a line.
    """

    title: str
    x_label: str
    y_label: str
    x: FloatArray
    y: FloatArray
    of_mean: Callable[[FloatArray], FloatArray] | None = None
    bars: bool = False


@dataclass(frozen=True)
class Scalar:
    """One number of a whole trajectory, with the interval that its own estimator gives."""

    title: str
    unit: str
    value: float
    interval_95: tuple[float, float] | None = None
    reliable: bool | None = None
    note: str | None = None


@dataclass(frozen=True)
class Observation:
    """What an observable makes of some frames; the keys name arrays in files.

    Attributes:
        series: Numbers frame by frame.
        curves: Means over frames.
        scalars: Numbers of the whole.
        events: What happened, in words.
        gaps: What could not be had, with the reason.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


class Scope(StrEnum):
    """What an observable must see at once."""

    FRAMES = "frames"  # any frames: blocks of them give the error bars
    TRAJECTORY = "trajectory"  # all frames of one file, in order
    FILES = "files"  # all files of a run


@dataclass(frozen=True)
class Observable:
    """A line of the table.

    Attributes:
        about: What it is, for people.
        function: From `Frames` (a sequence of them for `Scope.FILES`) and `Settings`.
        scope: What the function must see at once.
        optional: Left out unless asked for.
    """

    about: str
    function: Callable[..., Observation]
    scope: Scope = Scope.FRAMES
    optional: bool = False


# -- from the frames ------------------------------------------------------------------------------


def density(frames: Frames, settings: Settings) -> Observation:
    """Density of natural elements, whatever isotopes the run moves, and volume of the cell."""
    for _ in checked_chunks(frames):
        continue
    mass = atomic_masses[frames.numbers].sum()
    values = mass / frames.volume * AMU_PER_A3_IN_G_PER_CM3
    return Observation(
        {
            "density": Series("Density", "g/cm³", values),
            "volume": Series("Cell volume", "Å³", frames.volume),
        }
    )


def coordination(frames: Frames, settings: Settings) -> Observation:
    """Zn–N coordination number: mean of each frame, and shares of Zn with 0, 1, 2, … N."""
    counts = coordination_numbers(frames)
    shares = np.bincount(
        np.minimum(counts, _MAX_COORDINATION).ravel(), minlength=_MAX_COORDINATION + 1
    )
    return Observation(
        {"zn_n": Series("Zn–N coordination", "", counts.mean(axis=1))},
        {
            "zn_n_histogram": Curve(
                "Zn–N coordination",
                "N within 2.5 Å",
                "share of Zn",
                np.arange(len(shares), dtype=np.float64),
                np.asarray(shares / shares.sum(), dtype=np.float64),
                bars=True,
            )
        },
    )


def rdf(frames: Frames, settings: Settings) -> Observation:
    """Partial radial distribution functions and running coordination numbers to 12 Å."""
    curves = {}
    for (a, b), found in partial_rdfs(frames).items():
        key = f"{a}_{b}".lower()
        curves[f"{key}_g"] = Curve(f"{a}–{b}", "r, Å", "g(r)", found.r_A, found.g)
        curves[f"{key}_running"] = Curve(
            f"{a}–{b}, running", "r, Å", f"{b} within r of {a}", found.edges_A[1:],
            found.coordination,
        )  # fmt: skip
    return Observation(curves=curves)


def pmf(frames: Frames, settings: Settings) -> Observation:
    """Zn–N potential of mean force, zero at the first maximum of g(r)."""
    energy = partial(_free_energy, temperature_K=settings.temperature())
    found = partial_rdfs(frames, pairs=ZIF_PAIRS[:1])[ZIF_PAIRS[0]]
    curve = Curve("Zn–N", "r, Å", "F(r), kJ/mol", found.r_A, found.g, energy)
    return Observation(curves={"zn_n_pmf": curve})


def _free_energy(values: FloatArray, *, temperature_K: float) -> FloatArray:
    return potential_of_mean_force(values, temperature_K=temperature_K) * EV_IN_KJ_PER_MOL


def _angle_sources(frames: Frames) -> dict[str, tuple[str, AngleDistribution]]:
    return {
        "n_zn_n": ("N–Zn–N", bond_angle_distribution(frames)),
        "zn_im_zn": ("Zn–Im–Zn", linker_angle_distribution(frames)),
    }


def angles(frames: Frames, settings: Settings) -> Observation:
    """N–Zn–N and Zn–Im–Zn angle distributions."""
    curves = {}
    for key, (title, found) in _angle_sources(frames).items():
        to_density = partial(_per_degree, widths=np.diff(found.edges_deg))
        y = np.asarray(found.counts / found.n_frames, dtype=float)
        curves[key] = Curve(title, "θ, °", "p(θ), 1/°", found.theta_deg, y, to_density)
    return Observation(curves=curves)


def _per_degree(counts: FloatArray, *, widths: FloatArray) -> FloatArray:
    return np.asarray(counts / (counts.sum() * widths), dtype=float)


def angular_pmf(frames: Frames, settings: Settings) -> Observation:
    """Free energy of the angles per solid angle, zero at the minimum."""
    energy = partial(_free_energy, temperature_K=settings.temperature())
    curves = {}
    for key, (title, found) in _angle_sources(frames).items():
        y = found.relative_to_isotropic * found.n_angles / found.n_frames
        curves[f"{key}_pmf"] = Curve(title, "θ, °", "F(θ), kJ/mol", found.theta_deg, y, energy)
    return Observation(curves=curves)


def rings(frames: Frames, settings: Settings) -> Observation:
    """Primitive rings of the Zn–Im graph per cell; sizes count Zn and Im."""
    found = ring_statistics(frames)
    sizes = np.arange(2, MAX_RING_SIZE + 1, 2)
    counts = found.counts.astype(np.float64)
    nodes = sizes.astype(np.float64)
    series = {
        f"rings_{size}": Series(f"Rings of {size} nodes", "per cell", counts[:, size])
        for size in sizes
    }
    total = Series("Rings", "per cell", counts.sum(axis=1))
    return Observation(
        {"rings": total, **series},
        {
            "ring_sizes": Curve(
                "Primitive rings", "nodes (Zn and Im)", "rings per cell", nodes,
                found.mean[sizes], bars=True,
            ),
            "nodes_on_rings": Curve(
                "Nodes on a ring", "nodes (Zn and Im)", "share of nodes", nodes,
                found.node_fraction.mean(axis=0)[sizes], bars=True,
            ),
        },
    )  # fmt: skip


def linkers(frames: Frames, settings: Settings) -> Observation:
    """Broken, merged, protonated and deprotonated imidazolates, with their atoms."""
    found = linker_events(frames)
    events = tuple(
        f"{event.kind}: atoms {', '.join(map(str, event.atoms))} in {frames.where(event.frame)}"
        for event in found.events
    )
    return Observation(
        {"broken": Series("Broken imidazolates", "share", found.broken_fraction)}, events=events
    )


def orientation(frames: Frames, settings: Settings) -> Observation:
    """How parallel the rings around one Zn stand."""
    values = ring_orientation_index(frames)
    return Observation({"ring_orientation": Series("Ring orientation index", "", values)})


def pores(frames: Frames, settings: Settings) -> Observation:
    """Total pore volume for helium, on a grid."""
    return Observation({"pore_volume": Series("Pore volume", "cm³/kg", pore_volumes(frames))})


def spheres(frames: Frames, settings: Settings) -> Observation:
    """Diameters of the largest included and the largest free sphere."""
    found = largest_spheres(frames)
    return Observation(
        {
            "included_sphere": Series("Largest included sphere", "Å", found.included_A),
            "free_sphere": Series("Largest free sphere", "Å", found.free_A),
        }
    )


# -- from a trajectory ----------------------------------------------------------------------------


def msd(frames: Frames, settings: Settings) -> Observation:
    """Mean square displacement of each element, up to a quarter of the run or 20 ps."""
    interval = _interval_fs(frames, settings)
    longest = min(_MAX_LAG_FS, interval * max(1, (len(frames) - 1) // 4))
    step = interval * max(1, round(longest / interval / _LAGS))
    found = mean_square_displacement(
        frames, max_lag_fs=longest, lag_step_fs=step, frame_interval_fs=settings.frame_interval_fs
    )
    lag_ps = found.lag_fs / _FS_PER_PS
    curves = {
        f"{name.lower()}_msd": Curve(name, "time, ps", "MSD, Å²", lag_ps, values)
        for name, values in found.msd_A2.items()
    }
    return Observation(curves=curves)


def _interval_fs(frames: Frames, settings: Settings) -> float:
    if len(frames) < 2:
        raise NotDefinedError(f"a time series needs at least two frames, got {len(frames)}")
    if settings.frame_interval_fs is not None:
        return settings.frame_interval_fs
    if frames.time_fs is None:
        raise NotDefinedError(
            f"{frames.source} carries no times; give the frame interval (--frame-interval)"
        )
    return float(frames.time_fs[1] - frames.time_fs[0])


def bonds(frames: Frames, settings: Settings) -> Observation:
    """Zn–N bonds through time: how many changed their Zn, how long they live."""
    _interval_fs(frames, settings)
    found = bond_history(frames, frame_interval_fs=settings.frame_interval_fs)
    n_broken = int((~found.censored).sum())
    scalars = {
        "exchanges": Scalar("N that changed their Zn", "events", float(found.n_exchanges)),
        "bonds_broken": Scalar("Zn–N bonds broken", "events", float(n_broken)),
    }
    times, survival = found.survival()
    age = np.linspace(0.0, found.n_frames * found.frame_interval_fs, _SURVIVAL_POINTS)
    lives = np.append(1.0, survival)[np.searchsorted(times, age, side="right")]
    curve = Curve("Zn–N bonds", "time, ps", "share that lives longer", age / _FS_PER_PS, lives)
    gaps: tuple[str, ...] = ()
    if n_broken:
        lifetime = found.mean_lifetime_fs / _FS_PER_PS
        scalars["bond_lifetime"] = Scalar("Mean lifetime of a Zn–N bond", "ps", lifetime)
    else:
        gaps = (f"lifetime of a Zn–N bond: none broke in {frames.source}",)
    return Observation(curves={"bond_survival": curve}, scalars=scalars, gaps=gaps)


def elasticity(frames: Frames, settings: Settings) -> Observation:
    """Elastic moduli from the fluctuations of a flexible cell, Hill's averages."""
    temperature = settings.temperature()
    for _ in checked_chunks(frames):
        continue
    hill = hill_estimate(frames.cell, temperature_K=temperature, seed=settings.seed)
    names = (
        ("bulk_modulus_hill", "Bulk modulus K, Hill", "GPa"),
        ("young_modulus_hill", "Young's modulus E, Hill", "GPa"),
        ("shear_modulus_hill", "Shear modulus G, Hill", "GPa"),
        ("poisson_ratio_hill", "Poisson's ratio ν, Hill", ""),
    )
    scalars = {
        key: Scalar(title, unit, float(value), (float(low), float(high)), hill.reliable)
        for (key, title, unit), value, low, high in zip(
            names, hill.estimate, hill.low, hill.high, strict=True
        )
    }
    return Observation(scalars=scalars)


def volume_fluctuations(frames: Frames, settings: Settings) -> Observation:
    """Bulk modulus from the fluctuations of the volume, the Reuss one."""
    temperature = settings.temperature()
    for _ in checked_chunks(frames):
        continue
    found = bulk_modulus_from_volumes_estimate(
        frames.volume, temperature_K=temperature, seed=settings.seed
    )
    ends = (float(found.low), float(found.high))
    scalar = Scalar(
        "Bulk modulus K, volume fluctuations", "GPa", float(found.estimate), ends, found.reliable
    )
    return Observation(scalars={"bulk_modulus_volume": scalar})


# -- from several files ---------------------------------------------------------------------------


def equation_of_state(files: Sequence[Frames], settings: Settings) -> Observation:
    """Birch–Murnaghan fit of P(V), one volume a file.

    The stress of frames is its potential part; with a temperature the kinetic N k_B T / V is added.
    """
    missing = [frames.source for frames in files if frames.stress is None]
    if missing:
        raise NotDefinedError(f"no stress in {missing[0]}; P(V) needs it at every volume")
    kT = BOLTZMANN_EV_PER_K * (settings.temperature_K or 0.0)
    pressures = [_pressures_GPa(frames, kT) for frames in files]
    volumes = np.array([frames.volume.mean() for frames in files])
    means = np.array([values.mean() for values in pressures])
    enough = all(len(values) >= MIN_BLOCKS for values in pressures)
    errors = np.array([mean_estimate(v).standard_error for v in pressures]) if enough else None
    fit = fit_birch_murnaghan(
        volumes,
        means,
        mass_amu=float(atomic_masses[files[0].numbers].sum()),
        pressure_error_GPa=errors if errors is not None and (errors > 0).all() else None,
    )
    note = None if kT else "potential pressure only: no temperature was given"
    k, rho = fit.bulk_modulus_GPa, fit.density_g_cm3
    order = np.argsort(volumes)
    x = np.linspace(volumes.min(), volumes.max(), 101)
    y = birch_murnaghan_pressure_GPa(
        x, bulk_modulus_GPa=k, equilibrium_volume_A3=fit.equilibrium_volume_A3
    )
    axes = ("P(V)", "volume, Å³", "pressure, GPa")
    return Observation(
        curves={
            "pressure": Curve(*axes, volumes[order], means[order]),
            "pressure_fit": Curve("P(V), fit", *axes[1:], x, y),
        },
        scalars={
            "bulk_modulus_eos": Scalar(
                "Bulk modulus K, P(V)", "GPa", k, _within(k, fit.bulk_modulus_error_GPa), note=note
            ),
            "density_eos": Scalar(
                "Density at zero pressure", "g/cm³", rho, _within(rho, fit.density_error_g_cm3),
                note=note,
            ),
        },
    )  # fmt: skip


def _pressures_GPa(frames: Frames, kT_eV: float) -> FloatArray:
    if frames.stress is None or not np.isfinite(frames.stress).all():
        raise NotDefinedError(f"stress: components missing in {frames.source}")
    potential = -np.trace(frames.stress, axis1=1, axis2=2) / 3.0
    kinetic = frames.n_atoms * kT_eV / frames.volume
    return np.asarray((potential + kinetic) * EV_PER_A3_IN_GPA, dtype=float)


def _within(value: float, error: float) -> tuple[float, float] | None:
    if not np.isfinite(error):
        return None
    return value - 1.96 * error, value + 1.96 * error


OBSERVABLES: dict[str, Observable] = {
    "density": Observable("density and volume", density),
    "coordination": Observable("Zn–N coordination", coordination),
    "rdf": Observable("radial distribution functions", rdf),
    "pmf": Observable("potential of mean force", pmf),
    "angles": Observable("bond angles", angles),
    "angular_pmf": Observable("free energy of the bond angles", angular_pmf),
    "rings": Observable("primitive rings of the Zn–imidazolate network", rings),
    "linkers": Observable("survival of the imidazolates", linkers),
    "orientation": Observable("orientation of the imidazolate rings", orientation),
    "pores": Observable("pore volume", pores),
    "spheres": Observable("largest spheres", spheres, optional=True),
    "msd": Observable("mean square displacement", msd, Scope.TRAJECTORY),
    "bonds": Observable("Zn–N bond exchange", bonds, Scope.TRAJECTORY),
    "elasticity": Observable("elastic moduli from the cell", elasticity, Scope.TRAJECTORY),
    "volume_fluctuations": Observable(
        "bulk modulus from the volume", volume_fluctuations, Scope.TRAJECTORY
    ),
    "equation_of_state": Observable("pressure against volume", equation_of_state, Scope.FILES),
}
