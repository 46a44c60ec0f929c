"""Rows of one array out of its shards: few small reads for few rows, whole stretches for a scan."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from zifbench.dataset.store.commit import ArrayRecord
from zifbench.dataset.store.layout import STRING
from zifbench.dataset.store.locations import Files
from zifbench.dataset.store.shards import (
    ChunkError,
    Rows,
    decode_chunk,
    index_bytes,
    parse_index,
)
from zifbench.errors import DataError
from zifbench.frames import IntArray

_INDICES_KEPT = 64  # per array; an index takes some kilobytes
_GAP_BYTES = 64 * 1024  # chunks closer than this are read in one go
_READ_BYTES = 16 * 1024 * 1024  # at most this much is read at once
_ADVICE = "; `zifbench data verify` lists all damage"


class ArrayReader:
    """Reads rows of one array.

    Args:
        files: The store.
        record: The committed state; rows beyond it are never read.
        name: What messages call the array.
    """

    def __init__(self, files: Files, record: ArrayRecord, name: str) -> None:
        self._files, self.record, self.name = files, record, name
        self._layout = record.layout
        self._indices: OrderedDict[int, IntArray] = OrderedDict()
        self._lock = threading.Lock()

    def rows(self, rows: IntArray, dtype: Any = None) -> Rows:
        """Rows by number, in any order and repeated if asked so.

        Args:
            rows: Row numbers, all of them committed.
            dtype: Type of the result, instead of the one on disk.

        Raises:
            DataError: a file is missing or damaged; the message names it and the rows.
        """
        layout = self._layout
        text = layout.dtype == STRING
        values = np.empty((len(rows), *layout.item), object if text else dtype or layout.dtype)
        for chunk, places, inside in self._grouped(rows):
            values[places] = np.asarray(chunk, dtype=object if text else None)[inside]
        return values.tolist() if text else values

    def _grouped(self, rows: IntArray) -> Iterator[tuple[Any, Any, Any]]:
        """Each chunk that is needed, once, with where its rows go and where they are in it."""
        if not len(rows):
            return
        layout = self._layout
        ascending = bool(np.all(rows[1:] >= rows[:-1]))
        order = np.arange(len(rows)) if ascending else np.argsort(rows, kind="stable")
        numbers, starts = np.unique(rows[order] // layout.chunk, return_index=True)
        stops = [*starts[1:], len(rows)]
        chunks = self.chunks(numbers)
        for number, chunk, start, stop in zip(numbers, chunks, starts, stops, strict=True):
            places = order[start:stop]
            inside = rows[places] - number * layout.chunk
            if ascending and np.all(np.diff(inside) == 1):
                yield chunk, slice(start, stop), slice(inside[0], inside[-1] + 1)
            else:
                yield chunk, places, inside

    def chunks(self, numbers: IntArray) -> Iterator[Rows]:
        """Decoded chunks by number, ascending, read in stretches that bound the memory."""
        per_shard = self._layout.shard // self._layout.chunk
        for shard in np.unique(numbers // per_shard):
            inside = numbers[numbers // per_shard == shard] - shard * per_shard
            for piece in self._stretches(int(shard), inside):
                data = self.encoded(int(shard), piece)
                for number, encoded in zip(piece, data, strict=True):
                    yield self._decoded(int(shard), int(number), encoded)

    def _stretches(self, shard: int, inside: IntArray) -> Iterator[IntArray]:
        """Chunks of one shard in groups of bounded size."""
        n_chunks = -(-self.record.rows // self._layout.chunk)
        size = max(1, _READ_BYTES * n_chunks // max(1, self.record.stored_bytes))
        for start in range(0, len(inside), size):
            yield inside[start : start + size]

    def check(self, shard: int, number: int, data: bytes) -> None:
        """Refuse a chunk that is not what was written.

        Raises:
            DamageError: it does not decompress, or its checksum is wrong.
        """
        try:
            decode_chunk(data, self._layout)
        except ChunkError as error:
            raise self.damage(shard, number, str(error)) from error

    def _decoded(self, shard: int, number: int, data: bytes) -> Rows:
        try:
            return decode_chunk(data, self._layout)
        except ChunkError:
            # A writer may have replaced the last shard since its index was read: look once more.
            with self._lock:
                self._indices.pop(shard, None)
        data = self.encoded(shard, np.array([number]))[0]
        self.check(shard, number, data)
        return decode_chunk(data, self._layout)

    def encoded(self, shard: int, inside: IntArray) -> list[bytes]:
        """Bytes of some chunks of a shard, unchecked; neighbours in one read.

        Raises:
            DamageError: the index is damaged or lacks one of them, or the file is missing.
        """
        places = self.index(shard)[inside]
        if np.any(places[:, 0] < 0):
            missing = int(inside[np.argmax(places[:, 0] < 0)])
            raise self.damage(shard, missing, "not in the index of the file")
        breaks = np.flatnonzero(
            (places[1:, 0] - places[:-1, 1] > _GAP_BYTES) | (places[1:, 0] < places[:-1, 1])
        )
        groups = np.split(places, breaks + 1)
        spans = [(int(group[0, 0]), int(group[-1, 1])) for group in groups]
        pieces = self._spans(shard, spans)
        return [
            piece[start - span[0] : stop - span[0]]
            for span, piece, group in zip(spans, pieces, groups, strict=True)
            for start, stop in group.tolist()
        ]

    def index(self, shard: int) -> IntArray:
        """Offset and end of each chunk of a shard, shape (chunks, 2).

        Raises:
            DataError: the index is damaged, or the file is missing.
        """
        with self._lock:
            if shard in self._indices:
                return self._indices[shard]
        data = self._spans(shard, [(0, index_bytes(self._layout))])[0]
        try:
            spans = parse_index(data, self._layout)
        except ChunkError as error:
            raise self.damage(shard, None, str(error)) from error
        with self._lock:
            self._indices[shard] = spans
            while len(self._indices) > _INDICES_KEPT:
                self._indices.popitem(last=False)
        return spans

    def _spans(self, shard: int, spans: list[tuple[int, int]]) -> list[bytes]:
        try:
            return self._files.spans(self._layout.shard_file(shard), spans)
        except FileNotFoundError as error:
            raise self.damage(shard, None, "the file is missing") from error
        except OSError as error:
            raise self.damage(shard, None, f"the file cannot be read ({error})") from error

    def damage(self, shard: int, number: int | None, what: str) -> DamageError:
        """The error for a chunk of a shard, or for the whole shard."""
        layout = self._layout
        start = shard * layout.shard + (0 if number is None else number * layout.chunk)
        stop = start + (layout.shard if number is None else layout.chunk)
        return DamageError(
            file=layout.shard_file(shard),
            array=self.name,
            frames=(start, min(stop, self.record.rows)),
            what=what,
            location=self._files.location,
        )


class DamageError(DataError):
    """A piece of a store that is missing or not what was written.

    Attributes:
        file: Name of the file inside the store.
        array: The array, as messages name it.
        frames: First frame that is concerned, and the one after the last.
        what: What is wrong.
    """

    def __init__(
        self, *, file: str, array: str, frames: tuple[int, int], what: str, location: str
    ) -> None:
        super().__init__(
            f"{location} is damaged: {file}, {array} of frames {frames[0]} to {frames[1] - 1}: "
            f"{what}{_ADVICE}"
        )
        self.file, self.array, self.frames, self.what = file, array, frames, what
