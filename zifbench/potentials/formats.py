"""Recognise a model file by what is in it, without running anything it holds."""

from __future__ import annotations

import hashlib
import pickletools
import re
import zipfile
import zlib
from enum import StrEnum
from pathlib import Path

from zifbench.errors import ModelError


class ModelFormat(StrEnum):
    """Kinds of model the loaders know."""

    TORCHSCRIPT = "TorchScript"
    AOTINDUCTOR = "AOTInductor package"
    NEQUIP_PACKAGE = "nequip package"
    NEQUIP_CHECKPOINT = "nequip checkpoint"
    PICKLE = "pickle"
    PYTHON = "Python factory"


MODEL_SUFFIXES = (
    ".nequip.zip",
    ".nequip.pt2",
    ".nequip.pth",
    ".ckpt",
    ".pth",
    ".pt2",
    ".pkl",
)
# TorchScript holds no Python; these are the operators by which it can still reach files or
# libraries outside the model.
_REACHES_OUT = re.compile(
    rb"from_file|torch\.save|torch\.load|\bops\.(?!prim\b|aten\b)|torch\.classes"
)

_ZIP_MAGIC = b"PK\x03\x04"
_OTHER_KINDS = {
    b"\x7fELF": "a compiled library",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUM": "a NumPy array",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
}


def identify(path: Path) -> ModelFormat:
    """The format of a model file, from its bytes alone.

    Raises:
        ModelError: no such file, empty, truncated, damaged, or not a model.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "no such model file"
        raise ModelError(f"{what}: {path}; give a file, a bundled name or module:factory")
    if path.suffix == ".py":
        raise ModelError(
            f"{path} is a Python file; add the function that makes the calculator, {path}:factory"
        )
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(_ZIP_MAGIC):
        return _identify_zip(path)
    if magic[:1] == b"\x80":
        return ModelFormat.PICKLE
    kind = next((text for head, text in _OTHER_KINDS.items() if magic.startswith(head)), None)
    if kind is None:
        kind = "empty" if not magic else "neither a zip archive nor a pickle"
    raise ModelError(
        f"{path} is not a model file: it is {kind}; wanted TorchScript (.pth), .nequip.pt2, "
        ".nequip.zip, .ckpt or module:factory"
    )


# What zipfile raises on archives that are cut, changed, encrypted or of an unknown kind.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)


def runs_code(path: Path, model_format: ModelFormat) -> bool:
    """Whether loading or calling a model can do more than compute.

    Everything but TorchScript runs code of the file while it is loaded. TorchScript is interpreted
    and cannot, unless it calls one of the few operators that touch files or other libraries.
    """
    if model_format is not ModelFormat.TORCHSCRIPT:
        return True
    with zipfile.ZipFile(path) as archive:
        code = (name for name in archive.namelist() if "/code/" in name and name.endswith(".py"))
        return any(_REACHES_OUT.search(archive.read(name)) for name in code)


def model_name(path: Path) -> str:
    """Short name of a model file, without the suffixes that models have."""
    for suffix in MODEL_SUFFIXES:
        if path.name.endswith(suffix) and len(path.name) > len(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def _identify_zip(path: Path) -> ModelFormat:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
    except _ZIP_ERRORS as error:
        raise ModelError(
            f"{path} is a truncated or damaged archive ({error}); fetch it again"
        ) from error
    if damaged is not None:
        raise ModelError(
            f"{path} is damaged: wrong checksum of its member {damaged}; fetch it again"
        )
    # Every archive of torch keeps its members below one folder with the model's name.
    members = {name.partition("/")[2] for name in names}
    if any(member.startswith("data/aotinductor/") for member in members):
        return ModelFormat.AOTINDUCTOR
    if "model/package_metadata.txt" in members and ".data/extern_modules" in members:
        return ModelFormat.NEQUIP_PACKAGE
    if "constants.pkl" in members and any(member.startswith("code/") for member in members):
        return ModelFormat.TORCHSCRIPT
    if "data.pkl" in members:
        pickle = archive_bytes(path, "data.pkl")
        return ModelFormat.NEQUIP_CHECKPOINT if _is_checkpoint(pickle) else ModelFormat.PICKLE
    raise ModelError(
        f"{path} is a zip archive but not a model: it holds {', '.join(sorted(names)[:3])}; wanted "
        "TorchScript (.pth), .nequip.pt2, .nequip.zip or .ckpt"
    )


def archive_bytes(path: Path, name: str) -> bytes:
    """A member of a model archive (`name` below the archive's folder), which must be there."""
    with zipfile.ZipFile(path) as archive:
        full = next(full for full in archive.namelist() if full.partition("/")[2] == name)
        return archive.read(full)


def _is_checkpoint(pickle: bytes) -> bool:
    """A Lightning checkpoint of the nequip framework; opcodes are read, nothing is unpickled."""
    texts: set[str] = set()
    try:
        texts.update(arg for _, arg, _ in pickletools.genops(pickle) if isinstance(arg, str))
    except ValueError:
        return False
    return "pytorch-lightning_version" in texts and "training_module" in texts


def archive_text(path: Path, name: str) -> str | None:
    """A text member of a model archive (`name` below the archive's folder), None if not there."""
    with zipfile.ZipFile(path) as archive:
        for full in archive.namelist():
            if full.partition("/")[2] == name:
                return archive.read(full).decode("utf-8", errors="replace")
    return None


def archive_members(path: Path) -> list[str]:
    """Names of all members of a model archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
