"""The ab initio glasses at 300 K: do they stay what they are?"""

from __future__ import annotations

from zifbench.analysis.meters import MemorySource
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.md.structure import Reference, score_structure
from zifbench.benchmark.run import Run
from zifbench.frames import Frames
from zifbench.profiles import Profile

GLASS_STATE = "ab initio glass"


def score_glass(simulation: Simulation, run: Run) -> Score:
    """Numbers of the completed runs, each beside the glass that it began from."""
    score = Score([simulation.completion(GLASS_STATE)])
    completed = simulation.completed
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
    score_structure(score, simulation, run, reference)
    return score


# Glass 1 has the network of the crystal; a quick run takes the next one.
GLASS = MdTask(
    "glass",
    "nvt-glass",
    score_glass,
    starts={Profile.QUICK: ("gaillac2020/ZIF4_15glass02.cif",)},
)
