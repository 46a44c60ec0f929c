"""The commit record: what a store holds, in one small file that is replaced atomically.

Readers trust this file alone. It lists for each array how many rows are committed and the sha256 of
every block of `BLOCK_ROWS` rows, decoded; the version is the sha256 over all of that. It carries a
checksum of itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zifbench.dataset.store.layout import (
    COMMIT_FILE,
    LOCK_FILE,
    STORE_KIND,
    STORE_SCHEMA,
    ZARR_FILE,
    ArrayLayout,
    array_text,
    canonical,
    group_text,
    safe_name,
)
from zifbench.errors import DataError

# Attributes that say how a store came about and not what it holds: not part of the version.
UNVERSIONED = frozenset({"provenance"})


@dataclass(frozen=True)
class ArrayRecord:
    """Committed state of one array: rows, bytes of its shard files, digests of its blocks."""

    layout: ArrayLayout
    rows: int = 0
    stored_bytes: int = 0
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrajectoryRecord:
    """Committed state of one trajectory; `fields`, `labels` and `arrays` are in stored order."""

    name: str
    n_frames: int
    numbers: tuple[int, ...]
    masses: tuple[float, ...]
    pbc: tuple[bool, ...]
    attributes: Mapping[str, Any]
    fields: Mapping[str, ArrayRecord]
    labels: Mapping[str, ArrayRecord]
    arrays: Mapping[str, ArrayRecord]

    @property
    def folder(self) -> str:
        """Folder of the trajectory inside the store."""
        return safe_name(self.name)

    def records(self) -> dict[str, ArrayRecord]:
        """All arrays by the name that messages use."""
        labels = {f"label {key}": record for key, record in self.labels.items()}
        arrays = {f"array {name}": record for name, record in self.arrays.items()}
        return {**self.fields, **labels, **arrays}


@dataclass(frozen=True)
class Commit:
    """Committed state of a store."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    trajectories: Mapping[str, TrajectoryRecord] = field(default_factory=dict)

    def version(self) -> str:
        """sha256 that names the content: atoms, attributes, types, shapes, blocks of all arrays.

        Sizes of chunks and shards, compression and the way appends were cut do not enter it.
        """
        content = {
            "schema": STORE_SCHEMA,
            "attributes": _versioned(self.attributes),
            "trajectories": {name: _content(t) for name, t in self.trajectories.items()},
        }
        return hashlib.sha256(canonical(content).encode()).hexdigest()

    def metadata_files(self) -> dict[str, str]:
        """Text of every `zarr.json` of the store, by its name inside the store."""
        files: dict[str, str] = {}
        for trajectory in self.trajectories.values():
            files.update(_trajectory_files(trajectory))
        root = {"zifbench": {"kind": STORE_KIND, "schema": STORE_SCHEMA}, **self.attributes}
        # With all other metadata inside: other programs open it over http, and list nothing.
        inside = {name.removesuffix(f"/{ZARR_FILE}"): text for name, text in files.items()}
        files[ZARR_FILE] = group_text(root, inside)
        return files

    def files(self) -> set[str]:
        """Names of all files that make up the committed state."""
        shards = {
            record.layout.shard_file(number)
            for trajectory in self.trajectories.values()
            for record in trajectory.records().values()
            for number in range(record.layout.shards(record.rows))
        }
        return {COMMIT_FILE, LOCK_FILE, *self.metadata_files(), *shards}

    def text(self) -> str:
        """The file."""
        body = {
            "kind": STORE_KIND,
            "schema": STORE_SCHEMA,
            "version": self.version(),
            "attributes": dict(self.attributes),
            "trajectories": {name: _to_json(t) for name, t in self.trajectories.items()},
        }
        return canonical({**body, "checksum": _checksum(body)})


def parse_commit(data: bytes, location: str) -> Commit:
    """The record out of its file.

    Raises:
        DataError: not a record of a store, of another schema, or damaged.
    """
    where = f"{location}/{COMMIT_FILE}"
    damaged = f"{where} is damaged; restore it from a copy of this version"
    try:
        content = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise DataError(damaged) from error
    if not isinstance(content, dict) or content.get("kind") != STORE_KIND:
        raise DataError(f"{where} is no record of a zifbench store, or damaged")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > STORE_SCHEMA:
        raise DataError(
            f"{location} is a store of schema {schema}, this zifbench reads {STORE_SCHEMA}; "
            "update zifbench"
        )
    if schema != STORE_SCHEMA:
        raise DataError(f"{where}: unknown schema {schema!r}, wanted {STORE_SCHEMA}")
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise DataError(damaged)
    return Commit(
        attributes=content["attributes"],
        trajectories={n: _from_json(n, t) for n, t in content["trajectories"].items()},
    )


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def _versioned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in UNVERSIONED}


def _content(trajectory: TrajectoryRecord) -> dict[str, Any]:
    return {
        "numbers": trajectory.numbers,
        "masses": trajectory.masses,
        "pbc": trajectory.pbc,
        "n_frames": trajectory.n_frames,
        "attributes": _versioned(trajectory.attributes),
        **{
            kind: {
                name: [r.layout.dtype, [r.rows, *r.layout.item], r.blocks]
                for name, r in getattr(trajectory, kind).items()
            }
            for kind in ("fields", "labels", "arrays")
        },
    }


def _trajectory_files(trajectory: TrajectoryRecord) -> dict[str, str]:
    folder = trajectory.folder
    attributes = {
        **trajectory.attributes,
        "name": trajectory.name,
        "numbers": trajectory.numbers,
        "masses": trajectory.masses,
        "pbc": trajectory.pbc,
    }
    files = {f"{folder}/{ZARR_FILE}": group_text(attributes)}
    for kind in ("labels", "arrays"):
        if getattr(trajectory, kind):
            files[f"{folder}/{kind}/{ZARR_FILE}"] = group_text({})
    for record in trajectory.records().values():
        files[f"{record.layout.path}/{ZARR_FILE}"] = array_text(record.layout, record.rows)
    return files


# -- JSON -----------------------------------------------------------------------------------------


def _to_json(trajectory: TrajectoryRecord) -> dict[str, Any]:
    content = dataclasses.asdict(trajectory)
    del content["name"]
    # A list keeps the order, which sorted keys would not.
    for kind in ("fields", "labels", "arrays"):
        content[kind] = [{"name": name, **array} for name, array in content[kind].items()]
    return content


def _from_json(name: str, content: Mapping[str, Any]) -> TrajectoryRecord:
    return TrajectoryRecord(
        name=name,
        n_frames=content["n_frames"],
        numbers=tuple(content["numbers"]),
        masses=tuple(content["masses"]),
        pbc=tuple(content["pbc"]),
        attributes=content["attributes"],
        fields=_arrays(content["fields"]),
        labels=_arrays(content["labels"]),
        arrays=_arrays(content["arrays"]),
    )


def _arrays(entries: Iterable[Mapping[str, Any]]) -> dict[str, ArrayRecord]:
    return {
        entry["name"]: ArrayRecord(
            layout=ArrayLayout(
                **{
                    **entry["layout"],
                    "item": tuple(entry["layout"]["item"]),
                    "axes": tuple(entry["layout"]["axes"]),
                }
            ),
            rows=entry["rows"],
            stored_bytes=entry["stored_bytes"],
            blocks=tuple(entry["blocks"]),
        )
        for entry in entries
    }
