"""From names to a run: protocol, model, structures, checked against each other before any step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ase import Atoms

from zifbench.dynamics.calculator import PotentialCalculator
from zifbench.dynamics.engines import make_engine
from zifbench.dynamics.forecast import Forecast, StepCost, choose, forecast, probe
from zifbench.dynamics.parity import engine_path, parity_checks, refuse_failed
from zifbench.dynamics.protocol import Protocol, load_protocol, protocol_names
from zifbench.dynamics.record import no_record
from zifbench.dynamics.run import RUN_FILE, Outcome, check_start, run_protocol
from zifbench.dynamics.starts import read_starts
from zifbench.errors import DataError
from zifbench.frames import Frames
from zifbench.potentials.core import Potential, check_applicable, compute
from zifbench.potentials.loading import load_eager_float64, load_potential
from zifbench.profiles import Profile
from zifbench.progress import Progress, no_progress

_CELL = (1, 1, 1)


def simulate(
    protocol: str,
    model: str,
    out: Path,
    *,
    profile: Profile = Profile.QUICK,
    budget_h: float | None = None,
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
    stands in the record of the run.

    Args:
        protocol: Name or file.
        model: As for `evaluate`.
        out: Directory of the run.
        profile: How long; not looked at where there is a budget.
        budget_h: Take the longest profile that ends within so many hours, judged by a probe; a run
            that goes on keeps its own.
        starts: Structures in place of the protocol's own.
        replicas: Runs of each case; by default what the protocol says.
        seed: Of the velocities.
        device: auto, cpu or cuda.
        trust: Let the model run code while loading.
        checkpoint_s: Seconds between checkpoints.
        progress: For a person who waits.
        despite_parity: Run although the engine gets something else from the model.
        engine: What moves the atoms, see `engines.ENGINES`.
        batch_atoms: Most atoms that an engine moves at once; by default it chooses.

    Raises:
        ZifbenchError: anything that is wrong with the input, before any step.
    """
    what = load_protocol(protocol)
    names = tuple(starts or (what.start,))
    structures = _checked_starts(what, names, what.supercell)
    potential = load_potential(model, device=device, trust=trust)
    calculator = _calculator(potential, structures)
    mover = make_engine(engine, calculator, batch_atoms=batch_atoms)
    mover.check(what)
    if budget_h is not None:
        cell = read_starts(names, _CELL)
        profile = _begun_with(out) or _fitting(
            what, budget_h, cell, _probe(calculator, cell, potential), replicas
        )
    card = potential.card
    exact = load_eager_float64(model, device=device, trust=trust)
    path = engine_path(mover.name, potential)
    parity = parity_checks(potential, path, _frames(structures), exact=exact)
    if not despite_parity:
        refuse_failed(parity)
    return run_protocol(
        what,
        calculator,
        structures,
        out,
        profile=profile,
        model={"model": card.name, "model_sha256": card.digest},
        seed=seed,
        replicas=replicas,
        checkpoint_s=checkpoint_s,
        progress=progress,
        parity=parity,
        engine=mover,
    )


def _checked_starts(
    what: Protocol, names: Sequence[str], supercell: tuple[int, int, int]
) -> dict[str, Atoms]:
    """Structures that the protocol can begin with: neither a model nor a probe sees others."""
    structures = read_starts(names, supercell)
    for name, atoms in structures.items():
        check_start(what, name, atoms)
    return structures


def _calculator(potential: Potential, structures: Mapping[str, Atoms]) -> PotentialCalculator:
    """The potential for these structures; one call tells whether it gives a stress."""
    frames = _frames(structures)
    for frame in frames:
        check_applicable(potential.card, frame)
    first = compute(potential, frames[0])
    return PotentialCalculator(potential, stress=first.stress is not None)


def _frames(structures: Mapping[str, Atoms]) -> list[Frames]:
    return [Frames.from_ase(atoms, source=name) for name, atoms in structures.items()]


# -- what it will cost ----------------------------------------------------------------------------


def forecast_protocols(
    model: str,
    protocols: Sequence[str] = (),
    *,
    starts: Sequence[str] = (),
    device: str = "auto",
    trust: bool = False,
    progress: Progress = no_progress,
) -> list[Forecast]:
    """Forecast protocols in all profiles, from one probe for each kind of structure.

    Args:
        model: As for `evaluate`.
        protocols: Names or files; by default all that come along.
        starts: Structures in place of the protocols' own.
        device: auto, cpu or cuda.
        trust: Let the model run code while loading.
        progress: For a person who waits.

    Raises:
        ZifbenchError: anything that is wrong with the input.
    """
    chosen = [load_protocol(name) for name in protocols or protocol_names()]
    potential = load_potential(model, device=device, trust=trust)
    cells: dict[tuple[str, ...], tuple[Mapping[str, Atoms], StepCost, int | None]] = {}
    found = []
    with progress("forecast", len(chosen)) as advance:
        for what in chosen:
            names = tuple(starts or (what.start,))
            if names not in cells:
                cell = _checked_starts(what, names, _CELL)
                calculator = _calculator(potential, cell)
                cost = _probe(calculator, cell, potential)
                cells[names] = cell, cost, make_engine("auto", calculator).at_once
            structures, cost, at_once = cells[names]
            found += _forecasts(what, structures, cost, at_once=at_once)
            advance(1)
    return found


def _probe(
    calculator: PotentialCalculator, cell: Mapping[str, Atoms], potential: Potential
) -> StepCost:
    return probe(calculator, next(iter(cell.values())), device=potential.device)


def _forecasts(
    what: Protocol,
    cell: Mapping[str, Atoms],
    cost: StepCost,
    *,
    replicas: int | None = None,
    at_once: int | None = None,
) -> list[Forecast]:
    n_cells = what.supercell[0] * what.supercell[1] * what.supercell[2]
    n_atoms = {name: n_cells * len(atoms) for name, atoms in cell.items()}
    return [
        forecast(what, profile, n_atoms, cost, replicas=replicas, at_once=at_once)
        for profile in Profile
    ]


def _fitting(
    what: Protocol,
    budget_h: float,
    cell: Mapping[str, Atoms],
    cost: StepCost,
    replicas: int | None,
) -> Profile:
    rows = _forecasts(what, cell, cost, replicas=replicas)
    chosen = choose(rows, budget_h)
    if not chosen:
        raise DataError(
            f"{what.name} in its shortest profile takes about {rows[0].hours_at_most:.2g} h with "
            f"this model here, the budget is {budget_h:.2g} h; give more, or fewer --replicas"
        )
    return chosen[what.name]


def _begun_with(out: Path) -> Profile | None:
    """Profile of a run that is there already."""
    file = out / RUN_FILE
    if not file.exists():
        return None
    try:
        return Profile(json.loads(file.read_text(encoding="utf-8"))["run"]["profile"])
    except (KeyError, TypeError, ValueError) as error:
        raise no_record(file, error) from error
