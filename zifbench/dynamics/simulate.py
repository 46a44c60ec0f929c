"""From names to a run: protocol, model, structures, checked against each other before any step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.dynamics.engines import make_engine
from zifbench.dynamics.parity import engine_path, parity_checks, refuse_failed
from zifbench.dynamics.protocol import load_protocol
from zifbench.dynamics.run import Outcome, run_protocol
from zifbench.dynamics.starts import read_starts
from zifbench.frames import Frames
from zifbench.potentials.core import check_applicable, compute
from zifbench.potentials.loading import load_eager_float64, load_potential
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress


def simulate(
    protocol: str,
    model: str,
    out: Path,
    *,
    profile: Profile,
    starts: Sequence[str] = (),
    replicas: int | None = None,
    seed: int = 0,
    device: str = "auto",
    trust: bool = False,
    checkpoint_s: float = 60.0,
    progress: Progress = no_progress,
    despite_parity: bool = False,
    engine: str = "ase",
    batch_atoms: int | None = None,
) -> list[Outcome]:
    """Run a protocol with a model, or go on with it; see `run.run_protocol`.

    What the engine gets from the model is first held against the model itself, and what was found
    stands in the record of the run. `despite_parity` runs all the same where it differs.

    Raises:
        ZifbenchError: anything that is wrong with the input, before any step.
    """
    what = load_protocol(protocol)
    structures = read_starts(starts or (what.start,), what.supercell)
    potential = load_potential(model, device=device, trust=trust)
    frames = [Frames.from_ase(atoms, source=name) for name, atoms in structures.items()]
    for frame in frames:
        check_applicable(potential.card, frame)
    first = compute(potential, frames[0])
    card = potential.card
    exact = load_eager_float64(model, device=device, trust=trust)
    calculator = PotentialCalculator(potential, stress=first.stress is not None)
    mover = make_engine(engine, calculator, batch_atoms=batch_atoms)
    mover.check(what)
    path = engine_path(mover.name, potential)
    parity = parity_checks(potential, path, frames, exact=exact)
    if not despite_parity:
        refuse_failed(parity)
    return run_protocol(
        what,
        calculator,
        structures,
        out,
        profile=profile,
        model={"model": card.name, "model_sha256": card.sha256},
        seed=seed,
        replicas=replicas,
        checkpoint_s=checkpoint_s,
        progress=progress,
        parity=parity,
        engine=mover,
    )
