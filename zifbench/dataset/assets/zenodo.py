"""Records of Zenodo: what they hold, read when they are fetched and written beside the files.

The answer of `https://zenodo.org/api/records/ID` is the only source of names, sizes, md5 and
licence; what it said is kept as `zifbench-record.json`, and a record that says something else later
is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from zifbench import __version__
from zifbench.dataset.assets.registry import ArchiveRecord
from zifbench.errors import DataError
from zifbench.files import write_text_atomically

MANIFEST_NAME = "zifbench-record.json"
MANIFEST_SCHEMA = 1
_KIND = "zenodo record"


@dataclass(frozen=True)
class RecordFile:
    """One file of a record.

    Attributes:
        name: As the record calls it, a plain file name.
        n_bytes: Its size.
        checksum: "md5:…", as the record states it.
        url: Where it lies.
    """

    name: str
    n_bytes: int
    checksum: str
    url: str


@dataclass(frozen=True)
class RecordManifest:
    """What a record said.

    Attributes:
        asked: The address that was asked.
        given: The version that answered, "10015594"; another one than asked for where a concept,
            which moves to the newest version, was asked.
        doi: Of that version.
        concept_doi: Of all versions together.
        title: Of the record.
        creators: In its order.
        licence: As stated, "not stated" otherwise.
        published: Date.
        files: By name.
    """

    asked: str
    given: str
    doi: str
    concept_doi: str
    title: str
    creators: tuple[str, ...]
    licence: str
    published: str
    files: tuple[RecordFile, ...]

    @property
    def n_bytes(self) -> int:
        """Of all files together."""
        return sum(file.n_bytes for file in self.files)

    @property
    def checksum(self) -> str:
        """sha256 of version, names, sizes and checksums: what must not change."""
        facts = [self.given, *([f.name, f.n_bytes, f.checksum] for f in self.files)]
        return f"sha256:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"

    def change_to(self, other: RecordManifest) -> str | None:
        """The first difference that matters, in words; None if there is none."""
        if self.given != other.given:
            return f"version {self.given} became {other.given}"
        mine = {file.name: file for file in self.files}
        theirs = {file.name: file for file in other.files}
        for name in sorted(mine.keys() ^ theirs.keys()):
            return f"{name} was {'removed' if name in mine else 'added'}"
        for name, file in mine.items():
            if (file.n_bytes, file.checksum) != (theirs[name].n_bytes, theirs[name].checksum):
                return (
                    f"{name} had {file.n_bytes} bytes and {file.checksum}, now "
                    f"{theirs[name].n_bytes} and {theirs[name].checksum}"
                )
        return None


def parse_record(answer: object, record: ArchiveRecord) -> RecordManifest:
    """What the archive answered, checked.

    Raises:
        DataError: no record, no open files, or a file name that is a path.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("metadata"), dict):
        raise DataError(f"{record.name}: {record.api} answers with no record of Zenodo")
    metadata = answer["metadata"]
    if not answer.get("files"):
        access = metadata.get("access_right", "not stated")
        raise DataError(f"{record.name}: {record.api} lists no files (access: {access})")
    try:
        return RecordManifest(
            asked=record.api,
            given=str(answer["id"]),
            doi=str(answer.get("doi") or metadata.get("doi") or ""),
            concept_doi=str(answer.get("conceptdoi") or ""),
            title=str(metadata.get("title", "")),
            creators=tuple(str(c["name"]) for c in metadata.get("creators", [])),
            licence=_licence(metadata.get("license")),
            published=str(metadata.get("publication_date", "")),
            files=_files(answer["files"], record),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{record.name}: the answer of {record.api} is not of the form that is known "
            f"({type(error).__name__}: {error}); a newer zifbench may know it"
        ) from error


def load_manifest(file: Path) -> RecordManifest:
    """A manifest that `write_manifest` wrote.

    Raises:
        DataError: it is none.
    """
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is no manifest of a record ({error}); delete it") from error
    return parse_manifest(table, str(file))


def parse_manifest(table: object, where: str) -> RecordManifest:
    """A manifest from its JSON.

    Raises:
        DataError: it is none.
    """
    if not isinstance(table, dict) or table.get("kind") != _KIND:
        raise DataError(f"{where} is no manifest of a record; delete it")
    if table.get("schema") != MANIFEST_SCHEMA:
        raise DataError(
            f"{where} has schema {table.get('schema')!r}, wanted {MANIFEST_SCHEMA}; another "
            "version of zifbench wrote it"
        )
    try:
        facts = table["record"]
        files = tuple(RecordFile(**file) for file in facts["files"])
        creators = tuple(facts["creators"])
        return RecordManifest(**facts | {"files": files, "creators": creators})
    except (KeyError, TypeError) as error:
        raise DataError(f"{where} is no manifest of a record ({error}); delete it") from error


def write_manifest(folder: Path, manifest: RecordManifest, today: str) -> None:
    """Keep what the record said beside its files."""
    table = {
        "schema": MANIFEST_SCHEMA,
        "kind": _KIND,
        "record": asdict(manifest),
        "provenance": {"zifbench": __version__, "date": today},
    }
    text = json.dumps(table, indent=1, ensure_ascii=False)
    write_text_atomically(folder / MANIFEST_NAME, text + "\n")


def _files(entries: list[Mapping[str, Any]], record: ArchiveRecord) -> tuple[RecordFile, ...]:
    files = [_file(entry, record) for entry in entries]
    if len({file.name.casefold() for file in files}) < len(files):
        raise DataError(f"{record.name}: two files of the record have the same name")
    return tuple(sorted(files, key=lambda file: file.name))


def _file(entry: Mapping[str, Any], record: ArchiveRecord) -> RecordFile:
    name = str(entry["key"])
    plain = PurePosixPath(name).name == name and "\\" not in name and name.isprintable()
    if not name or not plain or name.startswith(".") or name == MANIFEST_NAME:
        raise DataError(f"{record.name}: the record holds a file {name!r}, which is no plain name")
    checksum = str(entry["checksum"]).lower()
    if not checksum.startswith("md5:"):
        checksum = f"md5:{checksum}"
    links = entry.get("links") or {}
    url = links.get("self") or f"{record.api}/files/{quote(name, safe='')}/content"
    return RecordFile(name, int(entry["size"]), checksum, str(url))


def _licence(stated: object) -> str:
    if isinstance(stated, dict):
        stated = stated.get("id")
    return str(stated) if stated else "not stated"
