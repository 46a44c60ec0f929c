"""Exporting: one table of formats, one way to write a folder whole or not at all.

An export is a folder with the files of its format, one for each subset, and `export.json`, which
says what it is: store, version, split, units, licence, citation. It is written under a temporary
name and renamed when all is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zifbench import __version__
from zifbench.dataset.export.ase_files import write_ase_database, write_traj
from zifbench.dataset.export.card import COLUMNS
from zifbench.dataset.export.extxyz import write_extxyz
from zifbench.dataset.export.huggingface import write_dataset_dict, write_parquet
from zifbench.dataset.export.lmdb import write_lmdb
from zifbench.dataset.export.npz import write_npz
from zifbench.dataset.export.selection import Selection
from zifbench.errors import ResultError, unknown_name
from zifbench.files import write_text_atomically, written_whole
from zifbench.progress import Progress, no_progress

if TYPE_CHECKING:
    from zifbench.dataset.splits.manifest import Split

EXPORT_SCHEMA = 1
EXPORT_FILE = "export.json"
KIND = "zifbench export"
_PACKAGES = ("ase", "datasets", "lmdb", "numpy", "pyarrow")


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        about: What it is, in a line.
        write: From a selection and an empty folder to files in it.
    """

    about: str
    write: Callable[[Selection, Path], None]


FORMATS: dict[str, Format] = {
    "extxyz": Format("extended XYZ, all digits kept", write_extxyz),
    "npz": Format("numpy arrays as the published models were trained from (nequip 0.5)", write_npz),
    "lmdb": Format("LMDB that nequip >= 0.7 trains from", write_lmdb),
    "traj": Format("ASE trajectory", write_traj),
    "ase-db": Format("ASE database (SQLite)", write_ase_database),
    "parquet": Format("Hugging Face: parquet and a card, for load_dataset or the Hub",
                      write_parquet),
    "huggingface": Format("Hugging Face: a DatasetDict for load_from_disk", write_dataset_dict),
}  # fmt: skip


def export(
    selection: Selection,
    out: Path,
    file_format: str,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Write an export.

    Args:
        selection: The frames.
        out: The folder to make.
        file_format: A name in `FORMATS`.
        overwrite: Replace an earlier export.
        progress: Shows a person how far it is; see `zifbench.progress`.

    Raises:
        UnknownNameError: no such format.
        ResultError: `out` exists, or may not be replaced.
        DataError: frames that the format cannot hold.
    """
    if file_format not in FORMATS:
        raise unknown_name("format", file_format, FORMATS)
    _check_out(out, overwrite=overwrite)
    with (
        written_whole(out) as directory,
        progress(file_format, selection.n_frames) as advance,
    ):
        counted = dataclasses.replace(selection, advance=advance)
        FORMATS[file_format].write(counted, directory)
        record = json.dumps(
            _record(selection, file_format, directory), indent=1, ensure_ascii=False
        )
        write_text_atomically(directory / EXPORT_FILE, record + "\n")
    return out


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_export(out):
        raise ResultError(f"{out} exists and is not an export of zifbench; give another --out")
    if not overwrite:
        raise ResultError(f"{out} holds an export; give --overwrite, or another --out")


def is_export(path: Path) -> bool:
    """Whether a folder is a whole export: its `export.json` is written last."""
    try:
        content = json.loads((path / EXPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def _record(selection: Selection, file_format: str, directory: Path) -> dict[str, Any]:
    split = selection.split
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    fields = selection.fields()
    return {
        "schema": EXPORT_SCHEMA,
        "kind": KIND,
        "format": file_format,
        "store": {"name": selection.store_name, "version": selection.store.version},
        "split": None if split is None else _split_record(split),
        "subsets": {subset: selection.count(subset) for subset in selection.subsets},
        "units": {name: unit for name, (unit, _) in COLUMNS.items() if unit and name in fields},
        "licence": selection.collected("licence"),
        "citation": selection.collected("citation"),
        "level_of_theory": selection.collected("level_of_theory"),
        "stress_components": selection.collected("stress_components"),
        "files": {str(p.relative_to(directory)): p.stat().st_size for p in files},
        "provenance": {
            "zifbench": __version__,
            "python": platform.python_version(),
            **_versions(_PACKAGES),
        },
    }


def _split_record(split: Split) -> dict[str, Any]:
    return {
        "name": split.name,
        "generator": split.generator,
        "seed": split.seed,
        "parameters": dict(split.parameters),
        "notes": list(split.notes),
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
