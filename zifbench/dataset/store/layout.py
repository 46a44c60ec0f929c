"""Where everything lies in a store, and how large its pieces are: names, types, `zarr.json` texts.

Every text made here depends on its arguments alone, so that two stores of the same content are the
same files, and `verify` can compare each metadata file with what it must be.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

STORE_SCHEMA = 1
STORE_KIND = "zifbench store"
COMMIT_FILE = "commit.json"
NEXT_FILE = "commit.next.json"  # only while a commit is on its way
LOCK_FILE = "writer.lock"
ZARR_FILE = "zarr.json"

STRING = "string"
DTYPES = ("float32", "float64", "int64", STRING)

# A chunk is the smallest piece that can be read: 16 frames of 272 atoms in float32. Smaller chunks
# compress worse (the frames of a chunk are compressed together), larger ones make a random frame
# dearer. A shard is one file. See the numbers in `store/__init__.py`.
_CHUNK_BYTES = 64 * 1024
_CHUNK_ROWS = 4096
_SHARD_BYTES = 32 * 1024 * 1024
_SHARD_ROWS = 262_144
_STRING_BYTES = 64  # assumed for a label, whose length is not known in advance


# Rows under one digest: `verify` can say no more exactly than this which rows differ where the
# checksums of the chunks are right. Part of the version; it never changes within a schema.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Field:
    """One array of `Frames`: its type on disk, the shape of one frame, its unit."""

    dtype: str
    axes: tuple[str, ...]
    unit: str


# Names as in `Frames`; the order is that of the files. "atom" stands for N, the others for three.
FIELDS: Mapping[str, Field] = {
    "positions": Field("float32", ("atom", "xyz"), "Å"),
    "cell": Field("float64", ("vector", "xyz"), "Å"),
    "energy": Field("float64", (), "eV"),
    "forces": Field("float32", ("atom", "xyz"), "eV/Å"),
    "stress": Field("float64", ("row", "xyz"), "eV/Å³"),
    "velocities": Field("float32", ("atom", "xyz"), "Å/fs"),
    "step": Field("int64", (), "1"),
    "time_fs": Field("float64", (), "fs"),
}


@dataclass(frozen=True)
class ArrayLayout:
    """One array on disk, rows (frames) first.

    Attributes:
        path: Folder of the array inside the store.
        dtype: One of `DTYPES`.
        item: Shape of one row.
        chunk: Rows compressed together.
        shard: Rows in one file.
        axes: Names of all axes, rows included.
        unit: Unit of the values, or nothing.
    """

    path: str
    dtype: str
    item: tuple[int, ...]
    chunk: int
    shard: int
    axes: tuple[str, ...]
    unit: str = ""

    def shard_file(self, number: int) -> str:
        """Name inside the store of one shard."""
        return f"{self.path}/c.{number}" + ".0" * len(self.item)

    def shards(self, rows: int) -> int:
        """Number of shard files that hold so many rows."""
        return -(-rows // self.shard)


def array_layout(
    path: str, dtype: str, item: tuple[int, ...], axes: tuple[str, ...], unit: str = ""
) -> ArrayLayout:
    """Layout with the piece sizes that fit rows of this size."""
    width = _STRING_BYTES if dtype == STRING else np.dtype(dtype).itemsize * math.prod(item)
    chunk = _power_of_two(_CHUNK_BYTES / max(1, width), 1, _CHUNK_ROWS)
    shard = _power_of_two(_SHARD_BYTES / max(1, width), chunk, _SHARD_ROWS)
    return ArrayLayout(path, dtype, item, chunk, shard, axes, unit)


def _power_of_two(value: float, low: int, high: int) -> int:
    """The largest power of two up to `value`, within limits."""
    return max(low, min(high, 1 << math.floor(math.log2(max(1.0, value)))))


def field_layout(folder: str, name: str, n_atoms: int, dtype: str) -> ArrayLayout:
    """Layout of one field of a trajectory."""
    field = FIELDS[name]
    item = tuple(n_atoms if axis == "atom" else 3 for axis in field.axes)
    return array_layout(f"{folder}/{name}", dtype, item, ("frame", *field.axes), field.unit)


def label_layout(folder: str, key: str) -> ArrayLayout:
    """Layout of one label of a trajectory."""
    return array_layout(f"{folder}/labels/{safe_name(key)}", STRING, (), ("frame",))


def extra_layout(folder: str, name: str, shape: tuple[int, ...], dtype: str) -> ArrayLayout:
    """Layout of an array that belongs to a whole trajectory; cut along its first axis."""
    axes = tuple(f"axis_{k}" for k in range(len(shape)))
    return array_layout(f"{folder}/arrays/{safe_name(name)}", dtype, shape[1:], axes)


def safe_name(name: str) -> str:
    """A folder name for any text, reversible: other characters become `=XX` of their UTF-8."""

    def escaped(match: re.Match[str]) -> str:
        return "".join(f"={byte:02X}" for byte in match.group().encode("utf-8", "surrogateescape"))

    text = re.sub(r"[^A-Za-z0-9_.+-]", escaped, name)
    return re.sub(r"^\.", "=2E", text)


# -- zarr.json ------------------------------------------------------------------------------------


def canonical(content: Any) -> str:
    """JSON with one spelling for one content. NaN is refused, it is no JSON."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def group_text(attributes: Mapping[str, Any], inside: Mapping[str, str] | None = None) -> str:
    """`zarr.json` of a group; `inside` is the metadata of everything below it, for the root."""
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    if inside is not None:
        content["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": {name: json.loads(text) for name, text in inside.items()},
        }
    return canonical(content)


def array_text(layout: ArrayLayout, rows: int) -> str:
    """`zarr.json` of an array with so many rows."""
    item = list(layout.item)
    return canonical(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [rows, *item],
            "data_type": layout.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [layout.shard, *item]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "" if layout.dtype == STRING else 0,
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [layout.chunk, *item],
                        "codecs": _chunk_codecs(layout),
                        "index_codecs": [_BYTES, _CRC],
                        "index_location": "start",
                    },
                }
            ],
            "dimension_names": list(layout.axes),
            "attributes": {"unit": layout.unit} if layout.unit else {},
            "storage_transformers": [],
        }
    )


_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC = {"name": "crc32c"}


def _chunk_codecs(layout: ArrayLayout) -> list[dict[str, Any]]:
    if layout.dtype == STRING:
        zstd = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
        return [{"name": "vlen-utf8"}, zstd, _CRC]
    size = np.dtype(layout.dtype).itemsize
    blosc = {
        "name": "blosc",
        "configuration": {
            "cname": "zstd",
            "clevel": 1,
            "shuffle": "shuffle",
            "typesize": size,
            "blocksize": layout.chunk * size * math.prod(layout.item),
        },
    }
    order = [*range(1, len(layout.item) + 1), 0]
    transpose = {"name": "transpose", "configuration": {"order": order}}
    return [transpose, _BYTES, blosc, _CRC] if layout.item else [_BYTES, blosc, _CRC]
