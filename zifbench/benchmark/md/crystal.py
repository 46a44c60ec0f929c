"""The crystal at 300 K: does its structure stay, and what is its pressure?"""

from __future__ import annotations

from zifbench.analysis.meters import MemorySource
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.md.structure import Reference, score_structure
from zifbench.benchmark.run import Run
from zifbench.frames import Frames

_PUBLISHED = "crystal.lmp, one ab initio frame"
_STAND_IN = "one bundled harmonic frame, in the cell of the ab initio MD"


def score_crystal(simulation: Simulation, run: Run) -> Score:
    """Numbers of the completed runs beside one structure of the crystal and the paper."""
    score = Score([simulation.completion("crystal")])
    is_published = simulation.starts.published
    reference = Reference(
        sources=tuple(
            MemorySource((Frames.from_ase(simulation.starts.atoms[r.case.start]),))
            for r in simulation.completed
        ),
        about=_PUBLISHED if is_published else _STAND_IN,
        state="crystal",
        paired=True,
        thermal=False,  # one frame of one moment
        model="AIMD" if is_published else "bundled DFT frame",
    )
    score_structure(score, simulation, run, reference)
    return score


CRYSTAL = MdTask("crystal", "nvt-crystal", score_crystal)
