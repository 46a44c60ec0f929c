"""Shards and chunks of Zarr v3 as bytes: the codecs `sharding_indexed`, `blosc`, `crc32c`.

The format is the public one (zarr-specs.readthedocs.io, codecs/sharding-indexed), and zarr-python
reads what is written here; a test holds the two together. Encoding is ours for three reasons.
Appends: the chunks of an unfinished shard are kept encoded, so a commit does not compress them
again, and the writer decides when a file is flushed to disk. Damage: a chunk that fails its
checksum is named, with its rows. Speed: a random chunk through zarr-python 3.1.6 costs milliseconds
of event loop, more than reading, checking and decompressing it (`benchmarks/bench_store.py`).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc
from numcodecs.zstd import compress as zstd_compress
from numcodecs.zstd import decompress as zstd_decompress

from zifbench.dataset.store.layout import BLOCK_ROWS, STRING, ArrayLayout

Rows = npt.NDArray[Any] | list[str]
_CRC_BYTES = 4
_EMPTY = 2**64 - 1  # offset and length of a chunk that is not there


class ChunkError(ValueError):
    """Bytes that are not the chunk or index that was written."""


def encode_chunk(rows: Rows, layout: ArrayLayout) -> bytes:
    """Bytes of one chunk; rows that are missing at its end are filled with zeros or empty text."""
    if layout.dtype == STRING:
        texts = [*rows, *[""] * (layout.chunk - len(rows))]
        packed = zstd_compress(struct.pack("<I", len(texts)) + pack_texts(texts), 1)
    else:
        values = np.zeros((layout.chunk, *layout.item), dtype=_dtype(layout))
        values[: len(rows)] = rows
        # Frames as the last axis: the bytes of one coordinate through time lie together.
        turned = np.ascontiguousarray(np.moveaxis(values, 0, -1))
        # One block: with several, the order of blocks would depend on threads.
        packed = blosc.compress(turned, b"zstd", 1, blosc.SHUFFLE, turned.nbytes)
    return _with_crc(packed)


def decode_chunk(data: bytes, layout: ArrayLayout) -> Rows:
    """All rows of a chunk, fill included.

    Raises:
        ChunkError: the checksum or the size is wrong.
    """
    packed = _without_crc(data)
    try:
        if layout.dtype == STRING:
            return _unpack_texts(zstd_decompress(packed), layout.chunk)
        raw = np.frombuffer(blosc.decompress(packed), dtype=_dtype(layout))
        last = len(layout.item)
        return raw.reshape(*layout.item, layout.chunk).transpose(last, *range(last))
    except (RuntimeError, ValueError, struct.error) as error:
        raise ChunkError(f"does not decompress ({error})") from error


def chunks_per_shard(layout: ArrayLayout) -> int:
    """Number of chunks in a full shard."""
    return layout.shard // layout.chunk


def index_bytes(layout: ArrayLayout) -> int:
    """Length of the index at the start of a shard."""
    return 16 * chunks_per_shard(layout) + _CRC_BYTES


def build_shard(chunks: Sequence[bytes], layout: ArrayLayout) -> bytes:
    """A shard file: index of (offset, length), its checksum, then the chunks in order."""
    index = np.full((chunks_per_shard(layout), 2), _EMPTY, dtype="<u8")
    lengths = np.array([len(chunk) for chunk in chunks], dtype="<u8")
    index[: len(chunks), 1] = lengths
    index[: len(chunks), 0] = index_bytes(layout) + np.cumsum(lengths) - lengths
    return b"".join([_with_crc(index.tobytes()), *chunks])


def parse_index(data: bytes, layout: ArrayLayout) -> npt.NDArray[np.int64]:
    """Offset and end of each chunk in its shard, shape (chunks, 2); -1 where there is none.

    Raises:
        ChunkError: the checksum or the size is wrong.
    """
    if len(data) != index_bytes(layout):
        raise ChunkError(f"index of {len(data)} bytes, wanted {index_bytes(layout)}")
    index = np.frombuffer(_without_crc(data), dtype="<u8").reshape(-1, 2)
    there = index[:, 0] != _EMPTY
    spans = np.full(index.shape, -1, dtype=np.int64)
    spans[there, 0] = index[there, 0]
    spans[there, 1] = index[there].sum(axis=1)
    return spans


def content_bytes(rows: Rows, layout: ArrayLayout) -> bytes:
    """What digests are over: rows in order, little-endian; texts with their lengths."""
    if layout.dtype == STRING:
        return pack_texts(list(rows))
    return np.ascontiguousarray(rows, dtype=_dtype(layout)).tobytes()


def block_digests(rows: Rows, layout: ArrayLayout) -> list[str]:
    """sha256 of every block of rows, the last one as long as it is."""
    starts = range(0, len(rows), BLOCK_ROWS)
    blocks = (content_bytes(rows[start : start + BLOCK_ROWS], layout) for start in starts)
    return [hashlib.sha256(block).hexdigest() for block in blocks]


def pack_texts(texts: Sequence[str]) -> bytes:
    """Texts as UTF-8, each after its length (4 bytes): the codec `vlen-utf8` without its count."""
    encoded = [text.encode("utf-8") for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _unpack_texts(data: bytes, count: int) -> list[str]:
    if struct.unpack_from("<I", data)[0] != count:
        raise ChunkError(f"does not hold {count} texts")
    texts, place = [], 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, place)
        texts.append(data[place + 4 : place + 4 + length].decode("utf-8"))
        place += 4 + length
    return texts


def _dtype(layout: ArrayLayout) -> npt.DTypeLike:
    return np.dtype(layout.dtype).newbyteorder("<")


def row_bytes(layout: ArrayLayout) -> int:
    """Uncompressed bytes of a row; 0 for text."""
    if layout.dtype == STRING:
        return 0
    return np.dtype(layout.dtype).itemsize * math.prod(layout.item)


def _with_crc(data: bytes) -> bytes:
    return bytes(data) + struct.pack("<I", google_crc32c.value(data))


def _without_crc(data: bytes) -> bytes:
    packed, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if not packed or crc != struct.pack("<I", google_crc32c.value(packed)):
        raise ChunkError("the checksum does not fit the bytes")
    return packed
