"""Bulk modulus and density at zero pressure of the crystal, at rest and at 300 K."""

from __future__ import annotations

import numpy as np

from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Settings
from zifbench.analysis.runs import Run as AnalysedRun
from zifbench.analysis.runs import RunResult, observe
from zifbench.benchmark.md.figures import draw_pressure
from zifbench.benchmark.md.numbers import Wanted, measurements
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.references import published
from zifbench.benchmark.run import Run
from zifbench.frames import FloatArray

_LINES = {name: OBSERVABLES[name] for name in ("density", "pressure", "equation_of_state")}
_WANTED = (
    Wanted("equation_of_state", "bulk_modulus_eos", "bulk_modulus"),
    Wanted("equation_of_state", "density_eos", "density"),
)
_METHODS = (
    "finite strain",
    "high-pressure crystallography",
    "mercury intrusion",
    "crystallography",
)
_AT_REST = "at rest: without thermal motion, which the published numbers have"


def score_strain(simulation: Simulation, run: Run) -> Score:
    """K and density from the fit of P(V), beside the paper."""
    moves = any(stage.length_ps for stage in simulation.protocol.stages)
    method = "finite strain" if moves else "static strain"
    score = Score([simulation.completion("crystal")])
    completed = simulation.completed
    if not completed:
        score.gaps.append("P(V): the run did not come to its end")
        return score
    stages = [s.name for s in simulation.protocol.stages if s.keep or s.sample_fs is not None]
    sources = tuple(simulation.source(completed[0], stage) for stage in stages)
    found = observe(AnalysedRun("candidate", sources), _LINES, Settings(seed=run.seed))
    beside = {
        quantity: published(
            quantity, "crystal", unit, models=("AIMD", "NequIP", "experiment"), methods=_METHODS
        )
        for quantity, unit in (("bulk_modulus", "GPa"), ("density", "g/cm³"))
    }
    kept, gaps = measurements(
        _WANTED,
        found,
        subset={"system": "crystal", "method": method},
        beside=beside,
        note=None if moves else _AT_REST,
    )
    score.measurements += kept
    score.gaps += gaps
    score.pictures = _picture(found, run.potential.card.name)
    return score


def _picture(found: RunResult, name: str) -> dict[str, str]:
    """The points whether there is a fit or not."""
    if not {"density", "pressure"} <= set(found.found):
        return {}
    rows = zip(
        found.found["density"].series["volume"],
        found.found["pressure"].series["pressure"],
        strict=True,
    )
    points = np.array([(volume.values.mean(), pressure.values.mean()) for volume, pressure in rows])
    curves = found.found["equation_of_state"].curves if "equation_of_state" in found.found else {}
    fit: tuple[FloatArray, FloatArray] | None = None
    if "pressure_fit" in curves:
        fit = (curves["pressure_fit"].curve.x, curves["pressure_fit"].y)
    errors = None
    order = np.argsort(points[:, 0])
    if "pressure_of_volume" in curves and np.isfinite(curves["pressure_of_volume"].high).all():
        errors = curves["pressure_of_volume"].high - curves["pressure_of_volume"].y
    volumes, pressures = points[order].T
    return {"Pressure and volume": draw_pressure(volumes, pressures, errors, fit, name=name)}


STATIC_STRAIN = MdTask("static-strain", "static-strain", score_strain)
FINITE_STRAIN = MdTask("finite-strain", "finite-strain", score_strain)
