"""Predictions on disk: a Zarr store that fills up batch by batch and survives being killed.

One group for each `Frames` of the data, named 0, 1, …, with the arrays of `Prediction`, frame axis
first. How many frames are done stands in a file beside the store, which is replaced only after the
arrays are written, so whatever a kill leaves beyond it is simply computed again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from zifbench.errors import ResultError
from zifbench.files import write_text_atomically
from zifbench.frames import Frames
from zifbench.potentials.core import Prediction, join

PREDICTIONS_FOLDER = "predictions.zarr"
DONE_FILE = "predictions.done.json"
PREDICTIONS_SCHEMA = 1
_CHUNK_VALUES = 200_000  # values in a chunk: about a megabyte, and few files for many frames
_FLUSH_S = 2.0  # at most this much work is lost to a kill
# What zarr writes under until it renames it to the file itself.
_PARTIAL = re.compile(r".+\.[0-9a-f]{32}\.partial")
_UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³", "atomic_energy": "eV"}


class PredictionStore:
    """Predictions for several `Frames`, written in order, readable at any time.

    Use it as a context manager: leaving it, also by an interrupt, writes what is still in memory.

    Args:
        directory: The result directory that it lies or will lie in.
        data: The frames that are predicted.
    """

    def __init__(self, directory: Path, data: Sequence[Frames]) -> None:
        self._directory = directory / PREDICTIONS_FOLDER
        self._done_file = directory / DONE_FILE
        self._data = data
        self._pending: list[Prediction] = []
        self._part = 0
        self._flushed = time.monotonic()
        self._done = self._read_done()
        self._clean_up()
        self._root = zarr.open_group(str(self._directory), mode="a")
        self._root.attrs["schema"] = PREDICTIONS_SCHEMA
        self._root.attrs["units"] = _UNITS

    def __enter__(self) -> PredictionStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whatever ended the work, an interrupt or a full disk: keep what was computed. A second
        # failure on a full disk must not hide the first.
        try:
            self._flush()
        except OSError:
            if error is None:
                raise

    @property
    def n_done(self) -> int:
        """Number of frames predicted so far, over all parts."""
        return sum(self._done)

    def done(self, part: int) -> int:
        """Number of frames of one part that are predicted."""
        pending = sum(len(p.energy) for p in self._pending) if part == self._part else 0
        return self._done[part] + pending

    def append(self, part: int, prediction: Prediction) -> None:
        """Add the next frames of a part; written to disk at the latest two seconds later."""
        if part != self._part:
            self._flush()
            self._part = part
        self._pending.append(prediction)
        if time.monotonic() - self._flushed > _FLUSH_S:
            self._flush()

    def read(self, part: int, start: int, stop: int) -> Prediction:
        """Predictions of some frames of a part, all of which must be done."""
        self._flush()
        if stop > self._done[part]:
            raise ResultError(
                f"{self._directory}: frames {start} to {stop} of part {part} asked for, "
                f"{self._done[part]} are done; continue with --resume"
            )
        values: dict[str, Any] = {}
        try:
            group = self._root[str(part)]
            for name in _UNITS:
                there = name in group
                values[name] = np.asarray(group[name][start:stop], dtype=float) if there else None
            dtype = str(group.attrs["dtype"])
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise ResultError(
                f"{self._directory} is damaged at part {part} ({' '.join(str(error).split())}); "
                "evaluate again with --overwrite"
            ) from error
        return Prediction(**values, dtype=dtype)

    def _clean_up(self) -> None:
        """Remove what a killed process left; zarr takes such a file for a member of its group."""
        for path in self._directory.rglob("*.partial"):
            if _PARTIAL.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if not self._pending:
            return
        prediction = join(self._pending)
        group = self._group(prediction)
        start = self._done[self._part]
        for name in _UNITS:
            values = getattr(prediction, name)
            if values is not None:
                group[name][start : start + len(values)] = values
        # In this order: stopped between the two lines, the frames are computed again, not twice.
        self._pending = []
        self._done[self._part] = start + len(prediction.energy)
        text = json.dumps({"schema": PREDICTIONS_SCHEMA, "frames_done": self._done})
        write_text_atomically(self._done_file, text)

    def _group(self, prediction: Prediction) -> Any:
        """The group of the current part, its arrays made on first use."""
        name = str(self._part)
        if self._done[self._part]:
            if name not in self._root:
                raise ResultError(f"{self._directory} has lost part {name}; use --overwrite")
            return self._root[name]
        frames = self._data[self._part]
        group = self._root.create_group(name, overwrite=True)
        group.attrs["dtype"] = prediction.dtype
        group.attrs["source"] = frames.source
        group.attrs["numbers"] = frames.numbers.tolist()
        for key in _UNITS:
            values = getattr(prediction, key)
            if values is None:
                continue
            shape = (len(frames), *values.shape[1:])
            per_frame = max(1, int(np.prod(values.shape[1:])))
            group.create_array(
                key,
                shape=shape,
                chunks=(min(len(frames), max(1, _CHUNK_VALUES // per_frame)), *shape[1:]),
                dtype="float64" if key == "energy" else prediction.dtype,
                compressors=[ZstdCodec(), Crc32cCodec()],
                fill_value=np.nan,
            )
        return group

    def _read_done(self) -> list[int]:
        if not self._done_file.is_file():
            return [0] * len(self._data)
        try:
            content = json.loads(self._done_file.read_text())
            done = content["frames_done"]
        except (ValueError, KeyError, TypeError) as error:
            raise ResultError(
                f"{self._done_file} is damaged; start again with --overwrite"
            ) from error
        if content.get("schema") != PREDICTIONS_SCHEMA:
            raise ResultError(f"{self._done_file} is of another version; use another --out")
        if len(done) != len(self._data):
            raise ResultError(f"{self._done_file} belongs to other data; use another --out")
        return [int(n) for n in done]
