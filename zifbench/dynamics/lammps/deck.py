"""Writing a deck: everything is checked first, then the directory appears whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from zifbench import __version__
from zifbench.dynamics.integrators import Damping
from zifbench.dynamics.lammps.cells import lower_triangular
from zifbench.dynamics.lammps.data_file import AtomTypes, atom_types, data_text
from zifbench.dynamics.lammps.pair import Pair
from zifbench.dynamics.lammps.record import (
    DECK_FILE,
    DECK_SCHEMA,
    DeckRecord,
    ReplicaRecord,
    StartRecord,
)
from zifbench.dynamics.lammps.script import DATA_FILE, stage_files, stage_script
from zifbench.dynamics.lammps.shell import (
    Machine,
    compile_text,
    readme_text,
    run_text,
    submit_text,
)
from zifbench.dynamics.plan import velocity_temperature_K
from zifbench.dynamics.protocol import Protocol
from zifbench.dynamics.replica import drawn_momenta
from zifbench.dynamics.rules import FARTHEST_A
from zifbench.dynamics.run import Case, cases
from zifbench.errors import DataError, ModelError, ResultError
from zifbench.files import written_whole
from zifbench.frames import FloatArray, Frames
from zifbench.potentials.core import check_applicable
from zifbench.profiles import Profile

# Names become folders, and words of a shell and of LAMMPS.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def write_deck(
    protocol: Protocol,
    pair: Pair,
    starts: Mapping[str, Atoms],
    out: Path,
    *,
    profile: Profile,
    machine: Machine,
    seed: int = 0,
    replicas: int | None = None,
    restart_every: int = 10_000,
) -> DeckRecord:
    """Write a deck for all replicas of a protocol.

    Args:
        protocol: What to run.
        pair: What gives the forces.
        starts: Structures by name, supercells of the protocol's size already.
        out: Directory of the deck, new or empty.
        profile: How long.
        machine: What to run on.
        seed: Of the velocities; they are those of a run with ASE of the same seed.
        replicas: Runs of each case; by default what the protocol says.
        restart_every: Steps between restart files.

    Raises:
        DataError: a protocol or structure that cannot be run; nothing was written then.
        ModelError: a model that cannot mean these atoms.
        ResultError: `out` holds something.
    """
    all_cases = cases(protocol, profile, list(starts), seed=seed, replicas=replicas)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResultError(f"{out} is there and not empty; give another --out")
    for name, atoms in starts.items():
        _check_start(name, atoms, pair)
    if machine.nodes > 1 and not pair.several_ranks:
        raise ModelError(
            f"pair style {pair.style} runs on one MPI rank, so on one node, got {machine.nodes} "
            "nodes; use an Allegro model for more"
        )
    record = _record(protocol, pair, starts, all_cases, profile=profile, seed=seed)
    with written_whole(out) as folder:
        _write(folder / DECK_FILE, record.model_dump_json(indent=1) + "\n")
        _write_surroundings(folder, protocol, pair, record, machine)
        for case in all_cases:
            _write_replica(
                folder / case.name, case, starts[case.start], record, pair,
                Damping(protocol.thermostat_fs, protocol.barostat_fs), restart_every,
            )  # fmt: skip
    return record


def _check_start(name: str, atoms: Atoms, pair: Pair) -> None:
    if not _PLAIN.fullmatch(name):
        raise DataError(
            f"structure {name!r}: its name becomes a folder and a word of LAMMPS; rename the file "
            "to letters, digits and _ . + -"
        )
    if len(atoms) < 2 or not atoms.pbc.all():
        raise DataError(
            f"{name}: {len(atoms)} atoms, periodic {atoms.pbc.tolist()}; wanted a periodic cell of "
            "at least two atoms"
        )
    lower_triangular(atoms.cell.array, where=name)
    corners = np.stack([atoms.cell.array.sum(axis=0), *atoms.cell.array, *atoms.positions])
    if (far := float(np.abs(corners).max())) > FARTHEST_A:
        raise DataError(
            f"{name} reaches {far:.0f} Å; frames of more than {FARTHEST_A:g} Å cannot be stored: "
            "give a smaller supercell"
        )
    if pair.card is not None:
        check_applicable(pair.card, Frames.from_ase(atoms, source=name))


def _record(
    protocol: Protocol,
    pair: Pair,
    starts: Mapping[str, Atoms],
    all_cases: Sequence[Case],
    *,
    profile: Profile,
    seed: int,
) -> DeckRecord:
    what = protocol.model_dump_json(by_alias=True, exclude={"about", "source", "replicas"})
    records = {name: _start_record(atoms, name) for name, atoms in starts.items()}
    run: dict[str, Any] = {
        "protocol": json.loads(what),
        "profile": profile.value,
        "model": _identity(pair),
        "seed": seed,
        "engine": "lammps",
        "starts": {name: _digest(atoms) for name, atoms in starts.items()},
    }
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
    return DeckRecord(
        schema_version=DECK_SCHEMA,
        zifbench=__version__,
        digest=digest,
        run=run,
        stop_on=protocol.stop_on,
        starts=records,
        replicas=tuple(
            ReplicaRecord(name=case.name, start=case.start, segments=case.segments)
            for case in all_cases
        ),
    )


def _identity(pair: Pair) -> dict[str, str]:
    if pair.card is not None:
        return {"model": pair.card.name, "model_sha256": pair.card.sha256}
    text = "\n".join((pair.style, *pair.coeffs))
    return {"model": pair.style, "model_sha256": hashlib.sha256(text.encode()).hexdigest()}


def _digest(atoms: Atoms) -> str:
    masses = hashlib.sha256(atoms.get_masses().tobytes()).hexdigest()
    return f"{Frames.from_ase(atoms).digest()[:32]} masses {masses[:16]}"


def _start_record(atoms: Atoms, name: str) -> StartRecord:
    _, rotation = lower_triangular(atoms.cell.array, where=name)
    return StartRecord(
        numbers=tuple(atoms.numbers.tolist()),
        masses=tuple(atoms.get_masses().tolist()),
        cell=tuple(map(tuple, atoms.cell.array.tolist())),
        rotation=tuple(map(tuple, rotation.tolist())),
    )


def _write_surroundings(
    folder: Path, protocol: Protocol, pair: Pair, record: DeckRecord, machine: Machine
) -> None:
    names = [replica.name for replica in record.replicas]
    stems = [stage_files(k, s).stem for k, s in enumerate(record.replicas[0].segments)]
    supercell = record.run["protocol"]["supercell"]
    _write(folder / "README.txt", readme_text(protocol, pair, machine, supercell))
    _write(folder / "run.sh", run_text(stems, names, pair, machine))
    _write(folder / "submit.sbatch", submit_text(protocol.name, names, pair, machine))
    if pair.source is not None:
        shutil.copyfile(pair.source, folder / pair.stored_as)
        if pair.used_as != pair.stored_as:
            _write(folder / "compile.sh", compile_text(pair, machine))


def _write_replica(
    folder: Path,
    case: Case,
    atoms: Atoms,
    record: DeckRecord,
    pair: Pair,
    damping: Damping,
    restart_every: int,
) -> None:
    folder.mkdir()
    lower, rotation = lower_triangular(atoms.cell.array, where=case.start)
    types = atom_types(atoms.numbers, atoms.get_masses())
    _write(folder / DATA_FILE, _data(case, atoms, types, lower, rotation))
    for number, segment in enumerate(case.segments):
        text = stage_script(
            number,
            segment,
            replica=case.name,
            title=f"# {record.title(case.name, segment.name)}",
            lower=lower,
            pair=pair,
            pair_lines=pair.lines(types.symbols),
            damping=damping,
            restart_every=restart_every,
        )
        _write(folder / stage_files(number, segment).script, text)


def _data(
    case: Case, atoms: Atoms, types: AtomTypes, lower: FloatArray, rotation: FloatArray
) -> str:
    momenta = drawn_momenta(atoms, velocity_temperature_K(case.segments), case.seed)
    velocities = momenta / atoms.get_masses()[:, None] * units.fs
    return data_text(
        f"{case.name}, written by zifbench {__version__}",
        types,
        lower,
        atoms.positions @ rotation.T,
        velocities @ rotation.T,
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
