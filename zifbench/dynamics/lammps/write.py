"""From names to a deck: protocol, structures and model, checked against each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zifbench.dynamics.lammps.deck import write_deck
from zifbench.dynamics.lammps.pair import Pair, classical_pair, model_pair
from zifbench.dynamics.lammps.record import DeckRecord
from zifbench.dynamics.lammps.shell import Machine
from zifbench.dynamics.protocol import load_protocol
from zifbench.dynamics.starts import read_starts
from zifbench.errors import DataError, ModelError
from zifbench.profiles import Profile


def write_from_names(
    protocol: str,
    model: str | None,
    out: Path,
    *,
    profile: Profile,
    starts: Sequence[str] = (),
    replicas: int | None = None,
    seed: int = 0,
    supercell: str | None = None,
    pair_style: str | None = None,
    pair: str | None = None,
    pair_coeffs: Sequence[str] = (),
    machine: Machine | None = None,
    restart_every: int = 10_000,
) -> DeckRecord:
    """Write a deck; see `deck.write_deck`.

    Args:
        protocol: Name of a protocol, or a file of one's own.
        model: Model of the nequip framework; None with `pair`.
        out: Directory of the deck.
        profile: How long.
        starts: Structures; by default the protocol's.
        replicas: Runs of each case.
        seed: Of the velocities.
        supercell: "3" or "2x2x1", instead of the protocol's.
        pair_style: "nequip" or "allegro", where the model does not say.
        pair: A classical style instead of a model.
        pair_coeffs: Its coefficients.
        machine: What to run on; by default one GPU for a model, CPUs for a classical style.
        restart_every: Steps between restart files.

    Raises:
        ZifbenchError: anything that is wrong with the input; nothing was written then.
    """
    what = load_protocol(protocol)
    if supercell is not None:
        what = what.model_copy(update={"supercell": parse_supercell(supercell)})
    forces = _forces(model, pair_style, pair, pair_coeffs)
    return write_deck(
        what,
        forces,
        read_starts(starts or (what.start,), what.supercell),
        out,
        profile=profile,
        machine=machine or Machine(gpus=0 if forces.card is None else 1, nodes=1),
        seed=seed,
        replicas=replicas,
        restart_every=restart_every,
    )


def _forces(model: str | None, style: str | None, pair: str | None, coeffs: Sequence[str]) -> Pair:
    if (model is None) == (pair is None):
        raise ModelError("give a model, or --pair for a classical style of LAMMPS; one of the two")
    if pair is not None:
        if style is not None:
            raise ModelError("--pair-style is for a model; --pair names a classical style itself")
        return classical_pair(pair, coeffs)
    if coeffs:
        raise ModelError("--pair-coeff is for --pair; a model needs none")
    return model_pair(str(model), style)


def parse_supercell(text: str) -> tuple[int, int, int]:
    """Repetitions along the three cell vectors.

    Raises:
        DataError: neither one number nor three.
    """
    if not re.fullmatch(r"[1-9]\d{0,2}(x[1-9]\d{0,2}x[1-9]\d{0,2})?", text):
        raise DataError(
            f"--supercell {text!r}: wanted one number from 1 to 999 such as 3, or three such as "
            "2x2x1"
        )
    numbers = [int(part) for part in text.split("x")]
    a, b, c = numbers * 3 if len(numbers) == 1 else numbers
    return a, b, c
