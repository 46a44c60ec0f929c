"""Unpacking a zip file that came from elsewhere: nothing is written outside its folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from zifbench.errors import DataError
from zifbench.formatting import format_bytes
from zifbench.progress import Progress, no_progress

_BLOCK = 1 << 20
_ENCRYPTED = 1  # bit 0 of a member's flags
_DAMAGE = (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, lzma.LZMAError)


def unpack(archive: Path, progress: Progress = no_progress) -> Path:
    """Unpack into a folder of the archive's name beside it, all or nothing.

    Returns:
        The folder; one that is there already is left as it is.

    Raises:
        DataError: damaged, encrypted, larger than the disk, or a member that is a link or would
            lie elsewhere.
    """
    folder = archive.with_suffix("")
    if folder.exists():
        return folder
    unfinished = archive.with_name(f".{folder.name}.unpacking")
    if unfinished.exists():  # left by a run that was killed
        shutil.rmtree(unfinished)
    try:
        with zipfile.ZipFile(archive) as source:
            _extract(source, _checked(source, archive), unfinished, progress)
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged ({error}); delete it and fetch it again") from error
    else:
        unfinished.replace(folder)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)
    return folder


def _checked(source: zipfile.ZipFile, archive: Path) -> Sequence[zipfile.ZipInfo]:
    members = source.infolist()
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
            raise DataError(f"{archive} would write outside its folder: {member.filename!r}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{archive} holds a link, {member.filename!r}; unpack it by hand")
        if member.flag_bits & _ENCRYPTED:
            raise DataError(f"{archive} is encrypted; unpack it by hand")
    needed, free = sum(m.file_size for m in members), shutil.disk_usage(archive.parent).free
    if needed > free:
        raise DataError(
            f"{archive} needs {format_bytes(needed)} unpacked, {format_bytes(free)} are free in "
            f"{archive.parent}; make room"
        )
    return members


def _extract(
    source: zipfile.ZipFile,
    members: Sequence[zipfile.ZipInfo],
    folder: Path,
    progress: Progress,
) -> None:
    folder.mkdir()
    total = sum(member.file_size for member in members)
    with progress(f"unpacking {folder.name[1:].removesuffix('.unpacking')}", total) as advance:
        for member in members:
            target = folder / member.filename
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open(member) as packed, target.open("xb") as file:
                # zipfile compares the CRC at the end, and reads no more than the stated size.
                while block := packed.read(_BLOCK):
                    file.write(block)
                    advance(len(block))
