"""`run.json`: what was run, and how each replica ended."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
from ase import Atoms

from zifbench import __version__
from zifbench.dynamics.cases import Case
from zifbench.dynamics.plan import Segment
from zifbench.dynamics.protocol import Protocol
from zifbench.errors import ResultError
from zifbench.files import write_text_atomically
from zifbench.frames import Frames
from zifbench.potentials.card import Check
from zifbench.profiles import Profile

RUN_SCHEMA = 1
RUN_FILE, STORE, CHECKPOINTS = "run.json", "frames.zarr", "checkpoints"


@dataclass(frozen=True)
class Outcome:
    """How a replica ended.

    Attributes:
        replica: Its name.
        ended: "completed", or the rule that it broke.
        reason: In words; empty if it completed and all minimisations found their minimum.
        time_fs: Simulated time.
        last_good_fs: Time of the last sample at which no rule was broken.
        wall_s: Seconds of computing, since it was last taken up; of the whole batch, if it moved
            in one.
    """

    replica: str
    ended: str
    reason: str
    time_fs: float
    last_good_fs: float
    wall_s: float


def identity(
    protocol: Protocol,
    profile: Profile,
    starts: Mapping[str, Atoms],
    model: Mapping[str, str],
    *,
    seed: int,
    engine: str,
) -> dict[str, Any]:
    """What must be the same for a run to go on; replicas may be added."""
    what = protocol.model_dump_json(by_alias=True, exclude={"about", "source", "replicas"})
    return {
        "protocol": json.loads(what),
        "profile": profile.value,
        "model": dict(model),
        "seed": seed,
        "engine": engine,
        "starts": {name: _digest(atoms) for name, atoms in starts.items()},
    }


def _digest(atoms: Atoms) -> str:
    masses = hashlib.sha256(atoms.get_masses().tobytes()).hexdigest()
    return f"{Frames.from_ase(atoms).digest()[:32]} masses {masses[:16]}"


def stage_attributes(segment: Segment, replica: str) -> dict[str, Any]:
    """What the trajectory of a stage says about itself."""
    known: dict[str, Any] = {
        "ensemble": segment.ensemble.value,
        "stage": segment.name,
        "replica": replica,
        "time_step_fs": segment.time_step_fs,
    }
    if segment.temperature_K is not None and len(set(segment.temperature_K)) == 1:
        known["temperature_K"] = segment.temperature_K[0]
    return known


def no_record(file: Path, error: Exception) -> ResultError:
    """The error for a `run.json` that cannot be read."""
    return ResultError(
        f"{file} is no record of a run ({type(error).__name__}: {error}); put back a copy of it, "
        "or begin anew with another --out"
    )


class Record:
    """`run.json` of a directory; made, or read and compared.

    Args:
        out: The directory.
        identity: What must be the same.
        parity: What was found of the engine before; None leaves what is on record.

    Raises:
        ResultError: the directory holds something else, or a run with other parameters.
    """

    def __init__(
        self, out: Path, identity: Mapping[str, Any], parity: Sequence[Check] | None = None
    ) -> None:
        self._path, self._identity, self._parity = out / RUN_FILE, identity, parity
        self.outcomes: dict[str, Outcome] = {}
        self._remarks: dict[str, str] = {}  # by the first replica of a batch
        if self._path.exists():
            self._read()
        elif out.exists() and any(not _is_ours(path) for path in out.iterdir()):
            raise ResultError(f"{out} holds other files than a run; give another --out")
        else:
            self._write()
        (out / CHECKPOINTS).mkdir(exist_ok=True)

    def _read(self) -> None:
        try:
            old = json.loads(self._path.read_text(encoding="utf-8"))
            if old["schema"] != RUN_SCHEMA:
                raise ResultError(
                    f"{self._path}: schema {old['schema']}, wanted {RUN_SCHEMA}; give another --out"
                )
            outcomes = [Outcome(**row) for row in old["outcomes"]]
            before = dict(old["run"])
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise no_record(self._path, error) from error
        for key, value in self._identity.items():
            if before.get(key) != value:
                raise ResultError(
                    f"{self._path.parent} was run with another {key}"
                    f"{_shown(before.get(key), value)}; give the same, or another --out"
                )
        self.outcomes = {outcome.replica: outcome for outcome in outcomes}
        self._remarks = old.get("remarks", {})
        rows = old.get("parity")
        if self._parity is None and rows is not None:
            self._parity = [Check(**row) for row in rows]
        elif self._parity is not None and rows != self._parity_rows():
            self._write()

    def _parity_rows(self) -> list[dict[str, Any]] | None:
        return None if self._parity is None else [c.model_dump() for c in self._parity]

    @property
    def digest(self) -> str:
        """Of what must be the same; checkpoints carry it."""
        text = json.dumps(self._identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def add(self, outcome: Outcome) -> None:
        """Note how a replica ended."""
        self.outcomes[outcome.replica] = outcome
        self._write()

    def remark(self, batch: str, words: str) -> None:
        """Note what a person should know of how a batch moved, by its first replica."""
        if words and self._remarks.get(batch) != words:
            self._remarks[batch] = words
            self._write()

    def _write(self) -> None:
        content = {
            "schema": RUN_SCHEMA,
            "zifbench": __version__,
            "ase": ase.__version__,
            "run": self._identity,
            "parity": self._parity_rows(),
            "remarks": self._remarks,
            "outcomes": [dataclasses.asdict(outcome) for outcome in self.outcomes.values()],
        }
        write_text_atomically(self._path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def steps_done(self, all_cases: Sequence[Case]) -> int:
        """Steps of replicas that have ended."""
        return sum(case.n_steps for case in all_cases if case.name in self.outcomes)


def _is_ours(path: Path) -> bool:
    """What a run leaves that was stopped before its record was written."""
    return path.name == CHECKPOINTS or (
        path.name.startswith(f".{RUN_FILE}.") and path.name.endswith(".tmp")
    )


def _shown(before: Any, now: Any) -> str:
    if isinstance(before, str | int) and isinstance(now, str | int):
        return f" ({before}, now {now})"
    return ""
