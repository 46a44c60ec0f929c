"""Glasses and liquids that a candidate makes from the crystal, beside the ab initio glasses."""

from __future__ import annotations

from zifbench.analysis.meters import MemorySource
from zifbench.analysis.runs import RunResult
from zifbench.benchmark.md.simulation import MdTask, Score, Simulation
from zifbench.benchmark.md.starts import task_starts
from zifbench.benchmark.md.structure import Reference, score_structure
from zifbench.benchmark.run import Run
from zifbench.errors import DownloadError
from zifbench.frames import Frames

_MADE = "glass made by the model"
_GLASSES = "zif4-glasses"
# Primitive rings of the crystal in a cell of 272 atoms, by their nodes (Zn and imidazolates).
_CRYSTAL_RINGS = {8: 4.0, 12: 16.0, 16: 32.0}


def score_melt_quench(simulation: Simulation, run: Run) -> Score:
    """Structure of the glasses that were made, and how it scatters."""
    return _score(simulation, run, _MADE, against_glasses=True)


def score_liquid(simulation: Simulation, run: Run) -> Score:
    """Structure of the liquid; of the ab initio one there are published numbers only."""
    return _score(simulation, run, "liquid", against_glasses=False)


def _score(simulation: Simulation, run: Run, state: str, *, against_glasses: bool) -> Score:
    score = Score([simulation.completion(state)])
    structures: tuple[MemorySource, ...] = ()
    if against_glasses and simulation.completed:
        try:
            structures = _glasses()
        except DownloadError as error:
            score.gaps.append(f"no distance from the ab initio glasses: {error}")
    reference = Reference(
        sources=structures,
        about=f"{len(structures)} ab initio glasses, one frame each",
        state=state,
        paired=False,
        thermal=True,
    )
    found = score_structure(score, simulation, run, reference)
    if found is not None and _has_crystal_rings(found):
        score.gaps.append(f"all rings are those of the crystal: this is no {state.split()[0]}")
    return score


def _glasses() -> tuple[MemorySource, ...]:
    starts = task_starts((_GLASSES,), (1, 1, 1))
    return tuple(
        MemorySource((Frames.from_ase(atoms, source=name),)) for name, atoms in starts.atoms.items()
    )


def _has_crystal_rings(found: RunResult) -> bool:
    """Whether the network never changed; a melt that has only begun is not told from this."""
    if "rings" not in found.found:
        return False
    values = found.found["rings"].values
    return all(values[f"rings_{size}"].value == n for size, n in _CRYSTAL_RINGS.items())


MELT_QUENCH = MdTask("melt-quench", "melt-quench-cells", score_melt_quench)
LIQUID = MdTask("liquid", "nvt-liquid", score_liquid)
