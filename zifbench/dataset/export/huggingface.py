"""Hugging Face `datasets`: a folder of parquet with its card, or a saved `DatasetDict`.

Both hold one split a subset, named as in the manifest. Lengths Å, energies eV, times fs, masses
amu.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zifbench.dataset.export.card import write_card
from zifbench.dataset.export.selection import Selection
from zifbench.errors import MissingDependencyError
from zifbench.frames import Frames

_SHARD_BYTES = 500 * 2**20  # what Hugging Face advises for one parquet file
_VECTORS = ("positions", "forces", "velocities")  # (T, N, 3)
_TENSORS = ("cell", "stress")  # (T, 3, 3)
_SCALARS: Mapping[str, str] = {"energy": "float64", "step": "int64", "time_fs": "float64"}


def write_parquet(selection: Selection, directory: Path) -> None:
    """Write `data/SUBSET-*.parquet` and the card: what `load_dataset` and the Hub read.

    Raises:
        MissingDependencyError: the package datasets is not there.
    """
    _datasets()
    (directory / "data").mkdir()
    for subset in selection.subsets:
        _write_subset(selection, subset, directory / "data")
    write_card(selection, directory, "data/{subset}-*.parquet")


def write_dataset_dict(selection: Selection, directory: Path) -> None:
    """Write what `DatasetDict.save_to_disk` writes, for `load_from_disk`, and the card.

    Raises:
        MissingDependencyError: the package datasets is not there.
    """
    datasets = _datasets()
    scratch = directory / "scratch"
    (scratch / "data").mkdir(parents=True)
    for subset in selection.subsets:
        _write_subset(selection, subset, scratch / "data")
    with _quiet(datasets):
        parts = {
            subset: datasets.Dataset.from_parquet(
                sorted(map(str, (scratch / "data").glob(f"{subset}-*.parquet"))),
                cache_dir=str(scratch / "cache"),
            )
            for subset in selection.subsets
        }
        datasets.DatasetDict(parts).save_to_disk(str(directory))
    del parts  # it maps files of the scratch folder
    shutil.rmtree(scratch)
    write_card(selection, directory, None)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            'the package datasets is not installed; run: pip install "zifbench[hub]"'
        ) from error
    return datasets


class _quiet:  # noqa: N801 (used as a function)
    """No progress bars of another program between ours."""

    def __init__(self, datasets: Any) -> None:
        self._shown = not datasets.are_progress_bars_disabled()
        self._datasets = datasets

    def __enter__(self) -> None:
        self._datasets.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._datasets.enable_progress_bars()


# -- columns --------------------------------------------------------------------------------------


def features_of(selection: Selection) -> Any:
    """Columns with their types; a column that some trajectories lack is null there."""
    from datasets import Features, Sequence, Value

    def vectors(dtype: str) -> Any:
        return Sequence(Sequence(Value(dtype), length=3))

    fields = selection.fields()
    columns: dict[str, Any] = {
        "trajectory": Value("string"),
        "frame": Value("int64"),
        "numbers": Sequence(Value("uint8")),
        "masses": Sequence(Value("float64")),
        "pbc": Sequence(Value("bool"), length=3),
    }
    columns |= {name: vectors(selection.dtype(name)) for name in _VECTORS if name in fields}
    tensor = Sequence(Sequence(Value("float64"), length=3), length=3)
    columns |= {name: tensor for name in _TENSORS if name in fields}
    columns |= {name: Value(dtype) for name, dtype in _SCALARS.items() if name in fields}
    return Features(columns | {key: Value("string") for key in label_columns(selection)})


def label_columns(selection: Selection) -> dict[str, str]:
    """Column -> label of the frames; a label named like another column gets a prefix."""
    taken = {"trajectory", "frame", "numbers", "masses", "pbc", *_VECTORS, *_TENSORS, *_SCALARS}
    labels = dict.fromkeys(key for t in selection.trajectories() for key in t.labels)
    return {f"label_{key}" if key in taken else key: key for key in labels}


def _write_subset(selection: Selection, subset: str, directory: Path) -> None:
    """Parquet files of about half a gigabyte, one row group a chunk of frames."""
    import pyarrow.parquet

    schema = features_of(selection).arrow_schema
    n_shards = max(1, math.ceil(_raw_bytes(selection, subset) / _SHARD_BYTES))
    tables = _tables(selection, subset, schema)
    table, left = None, selection.count(subset)
    for shard in range(n_shards):
        path = directory / f"{subset}-{shard:05d}-of-{n_shards:05d}.parquet"
        n_rows = left // (n_shards - shard)
        left -= n_rows
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            while n_rows:
                table = next(tables) if table is None or not len(table) else table
                writer.write_table(table.slice(0, n_rows))
                taken = min(n_rows, len(table))
                table, n_rows = table.slice(taken), n_rows - taken


def _raw_bytes(selection: Selection, subset: str) -> int:
    rows = selection.subsets[subset]
    atoms = sum(len(rows[t.name]) * t.n_atoms for t in selection.trajectories(subset))
    return atoms * 3 * 4 * sum(name in selection.fields() for name in _VECTORS)


def _tables(selection: Selection, subset: str, schema: Any) -> Iterator[Any]:
    import pyarrow

    labels = label_columns(selection)
    for trajectory, frames in selection.chunks(subset):
        columns = []
        for field in schema:
            values = _column(field.name, labels.get(field.name), trajectory.name, frames)
            columns.append(
                pyarrow.nulls(len(frames), field.type)
                if values is None
                else _arrow(values, field.type)
            )
        selection.advance(len(frames))
        yield pyarrow.Table.from_arrays(columns, schema=schema)


def _column(name: str, label: str | None, trajectory: str, frames: Frames) -> Any:
    """Values of a column with frames first, or None where these frames have none."""
    n = len(frames)
    if label is not None:
        return list(frames.labels[label]) if label in frames.labels else None
    if name == "trajectory":
        return [trajectory] * n
    if name == "frame":
        return np.arange(n) if frames.source_index is None else frames.source_index
    if name in ("numbers", "masses", "pbc"):
        return np.tile(getattr(frames, name), (n, 1))
    return getattr(frames, name)


def _arrow(values: Any, kind: Any) -> Any:
    """An Arrow array of nested lists from an array of any depth, without a Python loop."""
    import pyarrow

    if isinstance(values, list):
        return pyarrow.array(values, type=kind)
    array: npt.NDArray[Any] = np.asarray(values)
    kinds = [kind]
    for _ in array.shape[1:]:
        kinds.append(kinds[-1].value_type)
    arrow = pyarrow.array(array.ravel().astype(kinds[-1].to_pandas_dtype()), type=kinds[-1])
    for depth in range(array.ndim - 1, 0, -1):
        length = array.shape[depth]
        outer = kinds[depth - 1]
        if pyarrow.types.is_fixed_size_list(outer):
            arrow = pyarrow.FixedSizeListArray.from_arrays(arrow, type=outer)
        else:
            n_lists = int(np.prod(array.shape[:depth]))
            offsets = np.arange(n_lists + 1, dtype=np.int32) * length
            arrow = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), arrow, type=outer)
    return arrow
