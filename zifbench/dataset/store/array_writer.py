"""Appending rows to one array: whole shards as they fill, the unfinished one at each commit.

A file of committed rows is only ever replaced in one step, by one that holds these rows and more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from zifbench.dataset.store.array_reader import ArrayReader, DamageError
from zifbench.dataset.store.commit import ArrayRecord
from zifbench.dataset.store.layout import BLOCK_ROWS
from zifbench.dataset.store.locations import LocalFiles
from zifbench.dataset.store.shards import (
    Rows,
    build_shard,
    content_bytes,
    decode_chunk,
    encode_chunk,
)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file by other content in one step that survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class ArrayWriter:
    """Appends to one array of a store, from its committed state.

    A shard in which a killed writer was further on is set back first.

    Args:
        root: Directory of the store.
        record: The committed state.
        name: What messages call the array.

    Raises:
        DamageError: the rows of the unfinished shard are not those that were committed.
    """

    def __init__(self, root: Path, record: ArrayRecord, name: str) -> None:
        self._root, self._record, self._name = root, record, name
        self._layout = record.layout
        self.rows = record.rows
        self._chunks: list[bytes] = []  # encoded, of the unfinished shard
        self._rest: list[Rows] = []  # fewer rows than a chunk, in pieces
        self._rest_rows = 0
        self._full_bytes = 0  # size of the finished shards
        self._blocks = list(record.blocks[: record.rows // BLOCK_ROWS])
        self._block = hashlib.sha256()  # of the unfinished block
        self._restore()

    # -- appending ----------------------------------------------------------------------------

    def append(self, rows: Rows) -> None:
        """Take rows, already of the type on disk; a shard that becomes full is written."""
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + self._layout.chunk - self._rest_rows)
            self._take(rows[start:stop])
            start = stop

    def _take(self, piece: Rows) -> None:
        """Rows up to the end of a chunk at most."""
        self._hash(piece)
        self._rest.append(piece if isinstance(piece, list) else np.array(piece))
        self._rest_rows += len(piece)
        self.rows += len(piece)
        if self._rest_rows < self._layout.chunk:
            return
        self._chunks.append(encode_chunk(self._joined(), self._layout))
        self._rest, self._rest_rows = [], 0
        if self.rows % self._layout.shard == 0:
            self._full_bytes += self._write_shard(self.rows // self._layout.shard - 1, self._chunks)
            self._chunks = []

    def _hash(self, piece: Rows) -> None:
        start = 0
        while start < len(piece):
            stop = min(len(piece), start + BLOCK_ROWS - (self.rows + start) % BLOCK_ROWS)
            self._block.update(content_bytes(piece[start:stop], self._layout))
            if (self.rows + stop) % BLOCK_ROWS == 0:
                self._blocks.append(self._block.hexdigest())
                self._block = hashlib.sha256()
            start = stop

    def _joined(self) -> Rows:
        if isinstance(self._rest[0], list):
            return [text for piece in self._rest for text in piece]
        return self._rest[0] if len(self._rest) == 1 else np.concatenate(self._rest)

    # -- committing ---------------------------------------------------------------------------

    def commit(self) -> ArrayRecord:
        """Make all rows durable, and return the state to be recorded."""
        unfinished = self._unfinished()
        tail_bytes = 0
        if unfinished:
            if self.rows != self._record.rows:
                tail_bytes = self._write_shard(self.rows // self._layout.shard, unfinished)
            else:
                tail_bytes = self._record.stored_bytes - self._full_bytes
        blocks = [*self._blocks, *([self._block.hexdigest()] if self.rows % BLOCK_ROWS else [])]
        self._record = dataclasses.replace(
            self._record,
            rows=self.rows,
            stored_bytes=self._full_bytes + tail_bytes,
            blocks=tuple(blocks),
        )
        return self._record

    def _unfinished(self) -> list[bytes]:
        """Chunks of the unfinished shard, the last one filled up."""
        if not self._rest_rows:
            return self._chunks
        return [*self._chunks, encode_chunk(self._joined(), self._layout)]

    def _write_shard(self, number: int, chunks: list[bytes]) -> int:
        data = build_shard(chunks, self._layout)
        write_durably(self._root / self._layout.shard_file(number), data)
        return len(data)

    # -- starting from a committed state --------------------------------------------------------

    def _restore(self) -> None:
        layout, rows = self._layout, self.rows
        shard = rows // layout.shard
        if rows % layout.shard:
            self._restore_shard(shard)
        self._restore_block()
        self._full_bytes = self._record.stored_bytes
        if unfinished := self._unfinished():
            data = build_shard(unfinished, layout)
            self._full_bytes -= len(data)
            path = self._root / layout.shard_file(shard)
            if path.read_bytes() != data:  # a killed writer was further on
                write_durably(path, data)

    def _restore_shard(self, shard: int) -> None:
        """Encoded chunks and remaining rows of the unfinished shard."""
        layout = self._layout
        full, rest = divmod(self.rows % layout.shard, layout.chunk)
        reader = self._reader()
        encoded = reader.encoded(shard, np.arange(full + (rest > 0)))
        for number, data in enumerate(encoded):
            reader.check(shard, number, data)
        self._chunks = encoded[:full]
        if rest:
            self._rest = [decode_chunk(encoded[full], layout)[:rest]]
            self._rest_rows = rest

    def _restore_block(self) -> None:
        """State of the unfinished block's digest; it must be the recorded one."""
        first = len(self._blocks) * BLOCK_ROWS
        if first == self.rows:
            return
        reader = self._reader()
        for start in range(first, self.rows, self._layout.chunk):
            numbers = np.arange(start, min(self.rows, start + self._layout.chunk))
            self._block.update(content_bytes(reader.rows(numbers), self._layout))
        if self._block.hexdigest() != self._record.blocks[-1]:
            raise DamageError(
                file=self._layout.shard_file(first // self._layout.shard),
                array=self._name,
                frames=(first, self.rows),
                what="not what was committed",
                location=str(self._root),
            )

    def _reader(self) -> ArrayReader:
        return ArrayReader(LocalFiles(self._root), self._record, self._name)
