"""Which reader a source needs: recognised by content, or named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from zifbench.dataset.ingest.source import Options, Source
from zifbench.dataset.store.layout import COMMIT_FILE
from zifbench.errors import DataError, unknown_name
from zifbench.files import printable


@dataclass(frozen=True)
class Format:
    """One kind of input.

    Attributes:
        about: One line for people.
        recognises: Whether a file or directory is of this kind.
        open: Its reader.
    """

    about: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, Options], Source]


def _is_md(path: Path) -> bool:
    from zifbench.dataset.ingest.cp2k_files import kind_of

    return path.is_dir() and any(kind_of(file) for file in sorted(path.iterdir()))


def _open_md(path: Path, options: Options) -> Source:
    from zifbench.dataset.ingest.cp2k_md import Cp2kMdSource

    return Cp2kMdSource(path, options)


def _is_vibrations(path: Path) -> bool:
    from zifbench.dataset.ingest.cp2k_vibrations import is_vibrations

    return is_vibrations(path)


def _open_vibrations(path: Path, options: Options) -> Source:
    from zifbench.dataset.ingest.cp2k_vibrations import Cp2kVibrationsSource

    return Cp2kVibrationsSource(path, options)


def _is_extxyz(path: Path) -> bool:
    from zifbench.dataset.ingest.extxyz import is_extxyz

    return is_extxyz(path)


def _open_extxyz(path: Path, options: Options) -> Source:
    from zifbench.dataset.ingest.extxyz import ExtxyzSource

    return ExtxyzSource(path, options)


def _is_npz(path: Path) -> bool:
    from zifbench.dataset.ingest.nequip_npz import is_npz

    return is_npz(path)


def _open_npz(path: Path, options: Options) -> Source:
    from zifbench.dataset.ingest.nequip_npz import NpzSource

    return NpzSource(path, options)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "cp2k-md": Format("directory of CP2K MD output", _is_md, _open_md),
        "cp2k-vibrations": Format(
            "output of a CP2K vibrational analysis, its input beside it",
            _is_vibrations,
            _open_vibrations,
        ),
        "extxyz": Format("extended xyz", _is_extxyz, _open_extxyz),
        "nequip-npz": Format("npz of nequip 0.5", _is_npz, _open_npz),
    }
)


def open_source(path: Path, options: Options, file_format: str = "auto") -> Source:
    """The reader of a file or directory.

    Raises:
        UnknownNameError: no such format.
        DataError: nothing there, or nothing that is known.
    """
    if not path.exists():
        raise DataError(f"{printable(str(path))} does not exist; give a file or directory to read")
    if file_format != "auto":
        if file_format not in FORMATS:
            raise unknown_name("format", file_format, [*FORMATS, "auto"])
        return FORMATS[file_format].open(path, options)
    for known in FORMATS.values():
        if known.recognises(path):
            return known.open(path, options)
    raise DataError(f"{printable(str(path))} {_what_it_is(path)}")


def _what_it_is(path: Path) -> str:
    """Why nothing reads it, as far as that can be seen."""
    if path.is_file() and path.stat().st_size == 0:
        return "is empty"
    if path.is_dir():
        if (path / COMMIT_FILE).is_file():
            return "is a store already; ingest reads raw files"
        inside = sorted(path.iterdir())
        known = [p for p in inside if any(line.recognises(p) for line in FORMATS.values())]
        if known:
            names = ", ".join(printable(p.name) for p in known[:5])
            return f"is no single source, but holds some: give {names} in it"
        if not inside:
            return "is an empty directory"
    about = "; ".join(f"{name} ({known.about})" for name, known in FORMATS.items())
    return f"is none of the known formats: {about}"
