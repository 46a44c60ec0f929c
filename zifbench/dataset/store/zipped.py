"""A store as one zip file: to send, to publish, to track; opened as the directory is."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from zifbench.dataset.store import Store, open_store
from zifbench.dataset.store.layout import LOCK_FILE
from zifbench.dataset.store.verify import verify
from zifbench.errors import DataError

# The least date that zip knows: equal stores give equal zips.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


def zip_store(store: Path, archive: Path) -> Path:
    """Write all files of a store into one zip, uncompressed, as they are compressed already.

    The zip depends on the content of the store alone, not on dates or on who wrote it. Files that
    are not the store's own, or that a killed writer left, stay out.

    Raises:
        DataError: `store` is no directory with a store, was written to meanwhile, or `archive` is
            there already.
    """
    if archive.exists():
        raise DataError(f"{archive} is there already; give another name, or delete it")
    if not store.is_dir():
        raise DataError(f"{store} is no directory with a store")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".{archive.name}.tmp")
    try:
        with open_store(store) as opened, zipfile.ZipFile(unfinished, "w") as target:
            version = opened.version
            _check_sound(opened)
            for name in sorted(opened.commit.files() - {LOCK_FILE}):
                _add(target, store / name, name)
        with open_store(store) as opened:
            if opened.version != version:
                raise DataError(f"{store} was written to while it was zipped; do it again")
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def _check_sound(store: Store) -> None:
    found = verify(store).damage
    if found:
        raise DataError(
            f"{store.location} is damaged ({found[0].file}: {found[0].what}); a zip of it would be "
            "too, see zifbench data verify"
        )


def _add(target: zipfile.ZipFile, file: Path, name: str) -> None:
    member = zipfile.ZipInfo(name, _DATE)
    member.external_attr = _MODE
    # force_zip64 would change small files; a shard is far below 4 GB.
    with file.open("rb") as source, target.open(member, "w") as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
