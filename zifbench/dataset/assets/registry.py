"""The registry of published files: names, where they lie, checksums, licences, citations.

`assets.toml` beside this file is the whole list; a new file is one line there. Three kinds of names
can be fetched: an asset (`castel2024/crystal.lmp`), a group of them (`zif4-glasses`, or a whole
collection, `castel2024`), and a record of an archive (`zif4-aimd`), whose files only the archive
knows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zifbench.errors import DataError, UnknownNameError, near_names, unknown_name

REGISTRY_FILE = Path(__file__).with_name("assets.toml")
REGISTRY_SCHEMA = 1


@dataclass(frozen=True)
class Asset:
    """One published file.

    Attributes:
        name: COLLECTION/FILE, also its path in a cache and in a mirror.
        url: Where it is published.
        n_bytes: Its size, None if it is not known.
        checksum: "sha256:…" or "md5:…", None if it is not known yet.
        licence: SPDX identifier, or what the source says.
        citation: What to cite when it is used.
    """

    name: str
    url: str
    n_bytes: int | None
    checksum: str | None
    licence: str
    citation: str


@dataclass(frozen=True)
class ArchiveRecord:
    """A record of Zenodo; files, checksums and licence are read from `api` when it is fetched."""

    name: str
    api: str
    citation: str
    about: str


@dataclass(frozen=True)
class Group:
    """Several assets under one name."""

    name: str
    about: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """Everything that can be fetched, by name."""

    assets: Mapping[str, Asset]
    groups: Mapping[str, Group]
    records: Mapping[str, ArchiveRecord]

    def resolve(self, names: Sequence[str]) -> list[Asset | ArchiveRecord]:
        """The assets and records behind names of any kind, each once, in this order.

        Raises:
            UnknownNameError: a name is in none of the three tables.
        """
        found: dict[str, Asset | ArchiveRecord] = {}
        for name in names:
            found.update((item.name, item) for item in self._named(name))
        return list(found.values())

    def _named(self, name: str) -> list[Asset | ArchiveRecord]:
        if name in self.assets:
            return [self.assets[name]]
        if name in self.records:
            return [self.records[name]]
        if name in self.groups:
            return [self.assets[member] for member in self.groups[name].members]
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownNameError:
        """The nearest names; all of them, a hundred, would help nobody who is far off."""
        short = [*self.groups, *self.records]
        tail = [a for a in self.assets if a.rpartition("/")[2] == name.rpartition("/")[2]]
        known = tail or ([*short, *self.assets] if "/" in name or "." in name else short)
        if tail or near_names(name, known):
            return unknown_name("asset", name, known)
        return UnknownNameError(f"unknown asset {name!r}; `zifbench data assets` lists them all")


def load_registry(path: Path = REGISTRY_FILE) -> Registry:
    """Read a registry.

    Raises:
        DataError: the file is no registry, or of another schema.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no list of assets: {error}") from error
    if table.get("schema") != REGISTRY_SCHEMA:
        raise DataError(
            f"{path}: schema {table.get('schema')!r}, wanted {REGISTRY_SCHEMA}; "
            "another version of zifbench wrote it"
        )
    try:
        return _registry(table)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no list of assets: {error} is missing or misplaced") from error


def _registry(table: Mapping[str, Any]) -> Registry:
    assets: dict[str, Asset] = {}
    groups: dict[str, Group] = {}
    for name, collection in table.get("collections", {}).items():
        origin = table["origins"][collection["origin"]]
        members = {a.name: a for a in _assets(name, collection, origin)}
        assets.update(members)
        groups[name] = Group(name, collection["about"], tuple(members))
    for name, group in table.get("groups", {}).items():
        members_of = tuple(a for a in assets if any(fnmatchcase(a, p) for p in group["names"]))
        groups[name] = Group(name, group["about"], members_of)
    records = {
        name: ArchiveRecord(name, record["api"], record["citation"], record["about"])
        for name, record in table.get("records", {}).items()
    }
    return Registry(assets, groups, records)


def _assets(name: str, collection: Mapping[str, Any], origin: Mapping[str, Any]) -> Iterator[Asset]:
    for file in collection["files"]:
        path = f"{collection['folder']}/{file.get('path', file['name'])}"
        sha256 = file.get("sha256")
        yield Asset(
            name=f"{name}/{file['name']}",
            url=f"{origin['url']}/{quote(path)}",
            n_bytes=file.get("bytes"),
            checksum=f"sha256:{sha256}" if sha256 else None,
            licence=origin["licence"],
            citation=collection["citation"],
        )
