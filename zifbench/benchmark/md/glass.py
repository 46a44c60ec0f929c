"""The ab initio glasses at 300 K: do they stay what they are?"""

from __future__ import annotations

from zifbench.analysis.meters import MemorySource
from zifbench.benchmark.md.figures import draw_structure
from zifbench.benchmark.md.numbers import scatter_between
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.md.structure import Reference, broken_anywhere, compare
from zifbench.benchmark.run import Run
from zifbench.frames import Frames
from zifbench.profiles import Profile

GLASS_STATE = "ab initio glass"
_STAGE = "measure"


def score_glass(simulation: Simulation, run: Run) -> Score:
    """Numbers of the completed runs, each beside the glass that it began from."""
    score = Score([simulation.completion(GLASS_STATE)])
    completed, kelvin = simulation.completed, simulation.temperature_K(_STAGE)
    if not completed or kelvin is None:
        score.gaps.append("structure: no run came to its end")
        return score
    n = len(completed)
    reference = Reference(
        sources=tuple(
            MemorySource(
                (Frames.from_ase(simulation.starts.atoms[r.case.start], source=r.case.start),)
            )
            for r in completed
        ),
        about=f"{n} ab initio glasses, one frame each" if n > 1 else "one frame of that glass",
        state=GLASS_STATE,
        paired=True,
        thermal=True,
    )
    sources = [simulation.source(replica, _STAGE) for replica in completed]
    found = compare(sources, reference, temperature_K=kelvin, seed=run.seed, system=GLASS_STATE)
    score.measurements += found.measurements
    score.measurements += scatter_between(found.candidate, found.reference, GLASS_STATE)
    score.gaps += [*found.gaps, *broken_anywhere(found.candidate)]
    score.pictures = draw_structure(
        run.potential.card.name, found.candidate, reference.about, found.reference
    )
    return score


# Glass 1 has the network of the crystal; a quick run takes the next one.
GLASS = MdTask(
    "glass",
    "nvt-glass",
    score_glass,
    starts={Profile.QUICK: ("gaillac2020/ZIF4_15glass02.cif",)},
)
