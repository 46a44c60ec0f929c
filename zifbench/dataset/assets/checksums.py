"""Checksums of files, and the ones that were first seen where the source states none."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from zifbench.errors import DataError
from zifbench.files import config_directory, write_text_atomically
from zifbench.progress import Progress, no_progress

FIRST_SEEN_SCHEMA = 1
_BLOCK = 1 << 20
_WORTH_A_BAR = 1 << 28  # bytes; about a second


def checksum_of(path: Path, algorithm: str = "sha256", *, progress: Progress = no_progress) -> str:
    """Checksum of a file, read in blocks, with its algorithm: "sha256:…"."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = path.stat().st_size
    show = progress if size >= _WORTH_A_BAR else no_progress
    with path.open("rb") as file, show(f"checking {path.name}", size) as advance:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block))
    return f"{algorithm}:{digest.hexdigest()}"


def matches(path: Path, checksum: str, *, progress: Progress = no_progress) -> bool:
    """Whether a file has this checksum, of the algorithm that it names."""
    algorithm = checksum.partition(":")[0]
    return checksum_of(path, algorithm, progress=progress) == checksum.lower()


def first_seen_file() -> Path:
    """Where checksums of files are kept whose source states none."""
    return config_directory() / "first-seen.json"


def first_seen(name: str) -> str | None:
    """The checksum that this asset had when it was first fetched on this computer."""
    entry = _entries().get(name)
    return str(entry["checksum"]) if entry else None


def record_first_seen(name: str, checksum: str, origin: str) -> None:
    """Remember a checksum; from now on it is required.

    Args:
        name: The asset or record.
        checksum: Of the file, or of a record's list of files.
        origin: Where it came from, for the person who reads the list.
    """
    path = first_seen_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        entries = _entries()
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        entries.setdefault(name, {"checksum": checksum, "date": today, "from": origin})
        text = json.dumps({"schema": FIRST_SEEN_SCHEMA, "seen": entries}, indent=1)
        write_text_atomically(path, text + "\n")


def _entries() -> dict[str, dict[str, Any]]:
    path = first_seen_file()
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    entries = table.get("seen") if isinstance(table, dict) else None
    if not isinstance(entries, dict) or table.get("schema") != FIRST_SEEN_SCHEMA:
        raise _damaged(path, f"no list of checksums of schema {FIRST_SEEN_SCHEMA}")
    if not all(isinstance(entry, dict) and "checksum" in entry for entry in entries.values()):
        raise _damaged(path, "an entry without checksum")
    return entries


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is damaged ({reason}); delete it, and what is fetched next counts as first seen"
    )
