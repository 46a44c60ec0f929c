"""Reading all of a store again, and naming everything that is not what was written.

Three layers. Each chunk and each index carries a crc32c, so a flipped byte is found with its file
and its frames. Each block of rows has a sha256 in the commit record, so a file that was exchanged
for another valid one is found too. Each `zarr.json` follows from the commit record byte by byte,
and the record has a checksum of itself; so no byte of a store is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from zifbench.dataset.store.array_reader import ArrayReader, DamageError
from zifbench.dataset.store.commit import parse_commit
from zifbench.dataset.store.layout import BLOCK_ROWS, COMMIT_FILE, NEXT_FILE
from zifbench.dataset.store.reader import Store
from zifbench.dataset.store.shards import content_bytes
from zifbench.errors import DataError


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong.

    Attributes:
        file: Name of the file inside the store.
        what: What is wrong with it.
        trajectory: The trajectory, where it concerns one.
        array: Its array ("positions", "label name", "array hessian").
        frames: First frame that is concerned and the one after the last.
    """

    file: str
    what: str
    trajectory: str | None = None
    array: str | None = None
    frames: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        damage: Everything that is wrong.
        strangers: Files that do not belong to the store; harmless. A killed writer leaves some,
            and the next one removes them.
        n_frames: Frames that were read.
    """

    damage: tuple[Damage, ...]
    strangers: tuple[str, ...]
    n_frames: int


def verify(store: Store, advance: Callable[[int], None] = lambda n: None) -> Verification:
    """Read everything; `advance` is called with the number of rows read (see `n_rows`)."""
    damage = list(_metadata(store))
    for trajectory in store.trajectories.values():
        for array, reader in trajectory.readers.items():
            damage += _array(trajectory.name, array, reader, advance)
    names = store.files.names() or []
    return Verification(
        damage=tuple(damage),
        strangers=tuple(sorted(set(names) - store.commit.files())),
        n_frames=store.n_frames,
    )


def n_rows(store: Store) -> int:
    """Rows of all arrays, for a progress bar."""
    return sum(
        reader.record.rows for t in store.trajectories.values() for reader in t.readers.values()
    )


def _metadata(store: Store) -> Iterator[Damage]:
    texts = {COMMIT_FILE: store.commit.text(), **store.commit.metadata_files()}
    coming = _coming(store)
    owners = {t.record.folder: name for name, t in store.trajectories.items()}
    for name, text in texts.items():
        owner = owners.get(name.split("/")[0])
        try:
            if store.files.read(name) not in (text.encode(), coming.get(name)):
                yield Damage(name, "not what the commit record says", owner)
        except FileNotFoundError:
            yield Damage(name, "the file is missing", owner)
        except OSError as error:
            yield Damage(name, str(error), owner)


def _coming(store: Store) -> dict[str, bytes]:
    """Metadata of a commit that was stopped half-way: some of it may be there already."""
    try:
        commit = parse_commit(store.files.read(NEXT_FILE), store.location)
    except (OSError, DataError):
        return {}
    return {name: text.encode() for name, text in commit.metadata_files().items()}


def _array(
    trajectory: str, array: str, reader: ArrayReader, advance: Callable[[int], None]
) -> Iterator[Damage]:
    """Damage of one array: by chunk where checksums tell, by block where only digests do."""
    record = reader.record
    seen: set[tuple[str, tuple[int, int]]] = set()
    for number, digest in enumerate(record.blocks):
        first, stop = number * BLOCK_ROWS, min((number + 1) * BLOCK_ROWS, record.rows)
        block, bad = hashlib.sha256(), False
        for start, end, result in _pieces(reader, first, stop):
            if isinstance(result, DamageError):
                bad = True
                key = (result.file, result.frames)
                if key not in seen:  # a damaged index is one damage, not one for each chunk
                    seen.add(key)
                    yield Damage(result.file, result.what, trajectory, array, result.frames)
            else:
                block.update(result)
            advance(end - start)
        if not bad and block.hexdigest() != digest:
            shards = sorted({row // record.layout.shard for row in (first, stop - 1)})
            files = " and ".join(record.layout.shard_file(shard) for shard in shards)
            what = "valid, but not what was committed"
            yield Damage(files, what, trajectory, array, (first, stop))


def _pieces(
    reader: ArrayReader, first: int, stop: int
) -> Iterator[tuple[int, int, bytes | DamageError]]:
    """Content of a block, in one piece if it is sound and chunk by chunk if it is not."""
    try:
        yield first, stop, content_bytes(reader.rows(np.arange(first, stop)), reader.record.layout)
    except DamageError:
        chunk = reader.record.layout.chunk
        for start in range(first, stop, chunk):
            end = min(stop, start + chunk)
            try:
                rows = reader.rows(np.arange(start, end))
            except DamageError as error:
                yield start, end, error
            else:
                yield start, end, content_bytes(rows, reader.record.layout)
