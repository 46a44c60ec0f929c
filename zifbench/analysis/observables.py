"""The table of observables: what `analyse` computes, each as series, curves and scalars.

A new observable is one function and one line of `OBSERVABLES`; its numbers, error bars, arrays and
figures follow from what it returns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from ase.data import atomic_masses

from zifbench.analysis.angles import bond_angle_distribution
from zifbench.analysis.checks import check_cells
from zifbench.analysis.coordination import coordination_numbers
from zifbench.analysis.eos_observable import equation_of_state
from zifbench.analysis.linker_geometry import linker_angle_distribution, ring_orientation_index
from zifbench.analysis.linker_series import linker_events
from zifbench.analysis.network import MAX_RING_SIZE, KnownGraphs, ring_statistics
from zifbench.analysis.observation import (
    Curve,
    Event,
    Observable,
    Observation,
    Reading,
    Scope,
    Series,
    Settings,
)
from zifbench.analysis.pores import pore_volumes
from zifbench.analysis.rdf import barrier, partial_rdfs, potential_of_mean_force
from zifbench.analysis.scattering_observable import xray
from zifbench.analysis.spheres import largest_spheres
from zifbench.analysis.trajectory import (
    Bonds,
    Elasticity,
    HessianModes,
    Msd,
    Spectrum,
    VolumeFluctuations,
)
from zifbench.analysis.zeopp import zeo_pore_volumes
from zifbench.errors import NotDefinedError
from zifbench.frames import FloatArray, Frames
from zifbench.units import (
    AMU_A2_PER_FS2_IN_EV,
    AMU_PER_A3_IN_G_PER_CM3,
    BOLTZMANN_EV_PER_K,
    EV_IN_KJ_PER_MOL,
    EV_PER_A3_IN_GPA,
)

_MAX_COORDINATION = 12  # last bin of the histogram
_DRAWN_BINS = 5  # of 0.01 Å, in a picture of g(r)

# -- from the frames ------------------------------------------------------------------------------


def density(frames: Frames, settings: Settings) -> Observation:
    """Density of natural elements, whatever isotopes the run moves, and volume of the cell."""
    check_cells(frames)
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
        curves[f"{key}_g"] = Curve(
            f"{a}–{b}", "r, Å", "g(r)", found.r_A, found.g, drawn_bins=_DRAWN_BINS
        )
        curves[f"{key}_running"] = Curve(
            f"{a}–{b}, running", "r, Å", f"{b} within r of {a}", found.edges_A[1:],
            found.coordination,
        )  # fmt: skip
    return Observation(curves=curves)


def pmf(found: Observation, settings: Settings) -> Observation:
    """Zn–N potential of mean force, zero at the first maximum of g(r), and its barrier."""
    energy = partial(_free_energy, temperature_K=settings.temperature())
    g = found.curves["zn_n_g"]
    kT = BOLTZMANN_EV_PER_K * settings.temperature() * EV_IN_KJ_PER_MOL
    height = Reading("Barrier of the Zn–N bond", "kJ/mol", partial(barrier, g.x, kT=kT))
    curve = replace(
        g, title="Zn–N", y_label="F(r), kJ/mol", of_mean=energy, drawn_bins=1,
        readings={"zn_n_barrier": height},
    )  # fmt: skip
    return Observation(curves={"zn_n_pmf": curve})


def _free_energy(values: FloatArray, *, temperature_K: float) -> FloatArray:
    return potential_of_mean_force(values, temperature_K=temperature_K) * EV_IN_KJ_PER_MOL


def angles(frames: Frames, settings: Settings) -> Observation:
    """N–Zn–N and Zn–Im–Zn angle distributions."""
    curves = {}
    sources = {
        "n_zn_n": ("N–Zn–N", bond_angle_distribution(frames, may_be_empty=True)),
        "zn_im_zn": ("Zn–Im–Zn", linker_angle_distribution(frames, may_be_empty=True)),
    }
    for key, (title, found) in sources.items():
        theta = found.theta_deg
        y = np.asarray(found.counts / found.n_frames, dtype=float)
        readings = {f"{key}_mean": Reading(f"{title} angle, mean", "°", partial(_mean, theta))}
        curves[key] = Curve(
            title, "θ, °", "p(θ), 1/°", theta, y, partial(_per_degree, widths=_widths(theta)),
            readings=readings,
        )  # fmt: skip
    return Observation(curves=curves)


def _widths(centres: FloatArray) -> FloatArray:
    return np.full(len(centres), float(centres[1] - centres[0]))


def _mean(x: FloatArray, density: FloatArray) -> float:
    return float(x @ density / density.sum())


def _per_degree(counts: FloatArray, *, widths: FloatArray) -> FloatArray:
    if not counts.sum() > 0.0:
        raise NotDefinedError("no such angle in any frame")
    return np.asarray(counts / (counts.sum() * widths), dtype=float)


def angular_pmf(found: Observation, settings: Settings) -> Observation:
    """Free energy of the angles per solid angle, zero at the minimum."""
    kelvin = settings.temperature()
    curves = {
        f"{key}_pmf": replace(
            curve,
            y_label="F(θ), kJ/mol",
            of_mean=partial(_per_solid_angle, theta_deg=curve.x, temperature_K=kelvin),
            readings={},
        )
        for key, curve in found.curves.items()
    }
    return Observation(curves=curves)


def _per_solid_angle(
    counts: FloatArray, *, theta_deg: FloatArray, temperature_K: float
) -> FloatArray:
    half = 0.5 * _widths(theta_deg)
    share = np.cos(np.radians(theta_deg - half)) - np.cos(np.radians(theta_deg + half))
    return _free_energy(counts / share, temperature_K=temperature_K)


def rings(frames: Frames, settings: Settings, *, memory: KnownGraphs | None = None) -> Observation:
    """Primitive rings of the Zn–Im graph per cell; sizes count Zn and Im."""
    found = ring_statistics(frames, known=memory)
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
    events = []
    for event in found.events:
        atoms, frame = ", ".join(map(str, event.atoms)), frames.where(event.frame)
        events.append(Event(f"{event.kind}: atoms {atoms}", frame, frame))
    share = Series("Broken imidazolates", "share", found.broken_fraction)
    return Observation({"broken": share}, events=tuple(events))


def orientation(frames: Frames, settings: Settings) -> Observation:
    """How parallel the rings around one Zn stand; the definition is ours."""
    values = ring_orientation_index(frames)
    return Observation(
        {"ring_orientation": Series("Ring orientation index (our definition)", "", values)}
    )


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


def zeo(frames: Frames, settings: Settings) -> Observation:
    """Pore volume for helium by Zeo++, reachable and not."""
    found = zeo_pore_volumes(frames)
    names = {
        "total": "Pore volume, Zeo++",
        "accessible": "Accessible pore volume, Zeo++",
        "non_accessible": "Non-accessible pore volume, Zeo++",
    }
    return Observation(
        {f"zeo_{key}": Series(title, "cm³/kg", found[key]) for key, title in names.items()}
    )


def pressure(frames: Frames, settings: Settings) -> Observation:
    """Pressure and volume of each frame.

    The stress of frames is its potential part. The kinetic part Σ m v² / 3V is added from the
    velocities, or N k_B T / V from the temperature of the run where frames have none.
    """
    check_cells(frames)
    if frames.stress is None:
        raise NotDefinedError(f"no stress in {frames.where(0)}")
    diagonal = np.diagonal(frames.stress, axis1=1, axis2=2)
    lacking = ~np.isfinite(diagonal).all(axis=1)
    if lacking.any():
        raise NotDefinedError(
            f"stress: components missing in {frames.where(int(lacking.argmax()))}"
        )
    kinetic, title = _kinetic_energy(frames, settings)
    values = -diagonal.mean(axis=1) + 2.0 / 3.0 * kinetic / frames.volume
    return Observation({"pressure": Series(title, "GPa", values * EV_PER_A3_IN_GPA)})


def _kinetic_energy(frames: Frames, settings: Settings) -> tuple[FloatArray, str]:
    """Kinetic energy of each frame in eV, and what the pressure is called with it."""
    if frames.velocities is not None:
        squares = np.einsum("a,tai,tai->t", frames.masses, frames.velocities, frames.velocities)
        return 0.5 * AMU_A2_PER_FS2_IN_EV * squares, "Pressure"
    if settings.temperature_K is None:
        return np.zeros(len(frames)), "Pressure, potential part (no temperature was given)"
    kT = BOLTZMANN_EV_PER_K * settings.temperature_K
    title = f"Pressure (kinetic part of {settings.temperature_K:g} K)"
    return np.full(len(frames), 1.5 * frames.n_atoms * kT), title


OBSERVABLES: dict[str, Observable] = {
    "density": Observable("density and volume", density),
    "coordination": Observable("Zn–N coordination", coordination),
    "rdf": Observable("radial distribution functions", rdf),
    "pmf": Observable("potential of mean force", pmf, Scope.OTHER, of=("rdf",)),
    "angles": Observable("bond angles", angles),
    "angular_pmf": Observable(
        "free energy of the bond angles", angular_pmf, Scope.OTHER, of=("angles",)
    ),
    "rings": Observable("primitive rings of the Zn–imidazolate network", rings, memory=dict),
    "linkers": Observable("survival of the imidazolates", linkers),
    "orientation": Observable("orientation of the imidazolate rings", orientation),
    "pores": Observable("pore volume", pores),
    "zeo": Observable("pore volume by Zeo++", zeo, optional=True, slow=True),
    "spheres": Observable("largest spheres", spheres, optional=True, slow=True),
    "xray": Observable("X-ray scattering (a picture, unscored)", xray, optional=True),
    "msd": Observable("mean square displacement", Msd, Scope.TRAJECTORY),
    "bonds": Observable("Zn–N bond exchange", Bonds, Scope.TRAJECTORY),
    "vibrations": Observable("vibrations from motion", Spectrum, Scope.TRAJECTORY),
    "hessian": Observable("normal modes", HessianModes, Scope.TRAJECTORY),
    "elasticity": Observable("elastic constants from the cell", Elasticity, Scope.TRAJECTORY),
    "volume_fluctuations": Observable(
        "bulk modulus from the volume", VolumeFluctuations, Scope.TRAJECTORY
    ),
    "pressure": Observable("pressure", pressure),
    "equation_of_state": Observable(
        "pressure against volume", equation_of_state, Scope.FILES, of=("density", "pressure")
    ),
}
