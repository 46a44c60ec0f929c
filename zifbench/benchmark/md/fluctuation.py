"""Elastic constants and moduli from the fluctuations of a flexible cell at zero stress."""

from __future__ import annotations

from zifbench.analysis.observables import OBSERVABLES
from zifbench.analysis.observation import Settings
from zifbench.analysis.runs import Run as AnalysedRun
from zifbench.analysis.runs import observe
from zifbench.benchmark.md.glass import GLASS_STATE
from zifbench.benchmark.md.numbers import Wanted, measurements
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.references import published
from zifbench.benchmark.run import Run
from zifbench.reports.figures import draw_curves

_STAGE = "measure"
_LINES = {name: OBSERVABLES[name] for name in ("density", "elasticity", "volume_fluctuations")}
_CONSTANTS = ("11", "22", "33", "44", "55", "66", "23", "13", "12")
# Method, as in the published tables -> its numbers.
_WANTED: dict[str, tuple[Wanted, ...]] = {
    "elastic constants": (
        Wanted("elasticity", "bulk_modulus_hill", "bulk_modulus"),
        Wanted("elasticity", "young_modulus_hill", "young_modulus"),
        Wanted("elasticity", "shear_modulus_hill", "shear_modulus"),
        Wanted("elasticity", "poisson_ratio_hill", "poisson_ratio"),
        Wanted("elasticity", "softest_strain", "softest_strain"),
        *(Wanted("elasticity", f"c{ij}", f"c{ij}") for ij in _CONSTANTS),
    ),
    "volume fluctuations": (Wanted("volume_fluctuations", "bulk_modulus_volume", "bulk_modulus"),),
    "strain fluctuations": (Wanted("density", "density", "density"),),
}
_UNITS = {
    "bulk_modulus": "GPa",
    "young_modulus": "GPa",
    "shear_modulus": "GPa",
    "poisson_ratio": "",
    "density": "g/cm³",
}


def score_fluctuation(simulation: Simulation, run: Run) -> Score:
    """C_ij with their convergence, Hill's moduli, K from the volume, density at zero pressure."""
    system = "crystal" if len(simulation.starts.atoms) == 1 else GLASS_STATE
    score = Score([simulation.completion(system)])
    completed = simulation.completed
    if not completed:
        score.gaps.append("elastic constants: no run came to its end")
        return score
    sources = tuple(simulation.source(replica, _STAGE) for replica in completed)
    found = observe(AnalysedRun("candidate", sources), _LINES, Settings(seed=run.seed))
    for method, wanted in _WANTED.items():
        beside = {
            quantity: published(
                quantity, system, unit, models=("AIMD", "NequIP"), methods=(method,)
            )
            for quantity, unit in _UNITS.items()
        }
        subset = {"system": system, "method": method}
        kept, gaps = measurements(wanted, found, subset=subset, beside=beside)
        score.measurements += kept
        score.gaps += gaps
    if "elasticity" in found.found:
        url = draw_curves({run.potential.card.name: found.found["elasticity"]}, [])
        if url is not None:
            score.pictures["Elastic constants against the length of the run"] = url
    return score


STRAIN_FLUCTUATION = MdTask("strain-fluctuation", "strain-fluctuation", score_fluctuation)
STRAIN_FLUCTUATION_GLASS = MdTask(
    "strain-fluctuation-glass", "strain-fluctuation-glass", score_fluctuation
)
