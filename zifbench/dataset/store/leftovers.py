"""What a killed writer left in a store: files that no commit names, where only ours can lie.

Whoever keeps other files below a store keeps them: shards and temporary files are told by their
place and their name together, and `zarr.json`, a name that other programs use as well, by the
commit that was on its way.
"""

from __future__ import annotations

import re
from pathlib import Path

from zifbench.dataset.store.commit import Commit, parse_commit
from zifbench.dataset.store.layout import FIELDS, NEXT_FILE, ZARR_FILE
from zifbench.errors import DataError

_FOLDER = r"[A-Za-z0-9_+=-][A-Za-z0-9_.+=-]*"  # what `safe_name` gives
_NUMBER = r"c\.(?:0|[1-9][0-9]*)"
_FIELD_SHARDS = "|".join(
    f"{name}/{_NUMBER}" + r"\.0" * len(field.axes) for name, field in FIELDS.items()
)
_SHARD = re.compile(
    rf"{_FOLDER}/(?:{_FIELD_SHARDS}|labels/{_FOLDER}/{_NUMBER}|arrays/{_FOLDER}/{_NUMBER}(?:\.0)*)"
)
_INSIDE = rf"(?:{'|'.join(FIELDS)}|(?:labels|arrays)(?:/{_FOLDER})?)"
_METADATA = re.compile(
    rf"(?:{_FOLDER}/(?:{_INSIDE}/)?)?{re.escape(ZARR_FILE)}|{re.escape(NEXT_FILE)}"
)
_TEMPORARY = re.compile(r"(.*/)?\.([^/]+)\.tmp")


def leftovers(root: Path, commit: Commit) -> list[Path]:
    """Files that a writer of this store made, and that are no part of what is committed.

    Args:
        root: Directory of the store.
        commit: Its committed state.
    """
    known, coming = commit.files(), _coming(root)
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    strangers = sorted(set(names) - known)
    # An array or group of another program, whose other files may be called as ours are.
    foreign = {
        _folder(name)
        for name in strangers
        if name.rpartition("/")[2] == ZARR_FILE and name not in coming
    }
    return [
        root / name
        for name in strangers
        if name in coming or (_is_piece(name) and _folder(name) not in foreign)
    ]


def _coming(root: Path) -> set[str]:
    """Metadata of the commit that was stopped: it was recorded before any of that was written."""
    try:
        return set(parse_commit((root / NEXT_FILE).read_bytes(), str(root)).metadata_files())
    except (OSError, DataError):
        return set()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is_piece(name: str) -> bool:
    """Whether a writer makes a shard, or a temporary file, of this name in this place."""
    temporary = _TEMPORARY.fullmatch(name)
    if temporary is None:
        return _SHARD.fullmatch(name) is not None
    whole = (temporary[1] or "") + temporary[2]
    return any(pattern.fullmatch(whole) for pattern in (_SHARD, _METADATA))
