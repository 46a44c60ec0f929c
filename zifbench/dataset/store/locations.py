"""Where a store can lie for reading: a directory, a zip of one, or a URL that fsspec knows."""

from __future__ import annotations

import os
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from zifbench.dataset.store.layout import COMMIT_FILE, ZARR_FILE
from zifbench.errors import DataError, MissingDependencyError

Span = tuple[int, int]  # first byte, and the one after the last
_ZIP_HEADER = 30  # bytes before the names
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(::|://)")


class Files(Protocol):
    """Read-only files of a store, by their names inside it."""

    @property
    def location(self) -> str:
        """Where the store is, for messages."""

    def read(self, name: str) -> bytes:
        """A whole file; FileNotFoundError if there is none."""

    def spans(self, name: str, spans: Sequence[Span]) -> list[bytes]:
        """Pieces of one file; a piece beyond its end comes back shorter."""

    def names(self) -> list[str] | None:
        """All files, or None where nobody can list them."""

    def close(self) -> None:
        """Release what is open."""


class LocalFiles:
    """A directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.location = str(root)

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return (self._root / name).read_bytes()

    def spans(self, name: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Files`."""
        with (self._root / name).open("rb", buffering=0) as file:
            number = file.fileno()
            return [_pread(number, start, stop) for start, stop in spans]

    def names(self) -> list[str]:
        """See `Files`."""
        return sorted(
            path.relative_to(self._root).as_posix()
            for path in self._root.rglob("*")
            if path.is_file()
        )

    def close(self) -> None:
        """Nothing is kept open."""


def _pread(number: int, start: int, stop: int) -> bytes:
    """All bytes of a span that are there; one call of the system gives at most 2 GiB."""
    data = os.pread(number, stop - start, start)
    while len(data) < stop - start:
        more = os.pread(number, stop - start - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


class ZipFiles:
    """A zip file of a store, from a path or an open file. Best stored without compression.

    Files that are stored so are read by their place in the zip; `zipfile` would read up to it.
    """

    def __init__(self, file: Any, location: str) -> None:
        self.location = location
        self._path = file if isinstance(file, Path) else None
        self._file = file
        self._lock = threading.Lock()  # an open file has one position
        try:
            self._zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise DataError(f"{location} is no zip file, or a truncated one") from error
        self._prefix = self._find_prefix()
        self._starts: dict[str, int] = {}

    def _find_prefix(self) -> str:
        """The folder inside the zip that holds the record: zips are made with and without one."""
        records = [n for n in self._zip.namelist() if Path(n).name == COMMIT_FILE]
        return min(records, key=len)[: -len(COMMIT_FILE)] if records else ""

    def read(self, name: str) -> bytes:
        """See `Files`."""
        info = self._info(name)
        try:
            with self._lock:
                return self._zip.read(info)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise OSError(f"{name} in {self.location} is damaged ({error})") from error

    def spans(self, name: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Files`."""
        info = self._info(name)
        if info.compress_type != zipfile.ZIP_STORED:
            data = self.read(name)
            return [data[start:stop] for start, stop in spans]
        first = self._start(info)
        size = info.file_size
        return self._raw([(first + min(a, size), first + min(b, size)) for a, b in spans])

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._zip.getinfo(self._prefix + name)
        except KeyError as error:
            raise FileNotFoundError(name) from error

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a stored file begin: after its own header and two names in that."""
        if info.filename not in self._starts:
            header = self._raw([(info.header_offset, info.header_offset + _ZIP_HEADER)])[0]
            if len(header) != _ZIP_HEADER or header[:4] != b"PK\x03\x04":
                raise OSError(f"the header of {info.filename} in {self.location} is damaged")
            lengths = struct.unpack("<2H", header[26:30])
            self._starts[info.filename] = info.header_offset + _ZIP_HEADER + sum(lengths)
        return self._starts[info.filename]

    def _raw(self, spans: Sequence[Span]) -> list[bytes]:
        """Bytes of the zip itself."""
        if self._path is not None:
            return LocalFiles(self._path.parent).spans(self._path.name, spans)
        with self._lock:
            return [self._piece(start, stop) for start, stop in spans]

    def _piece(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        data: bytes = self._file.read(stop - start)
        return data

    def names(self) -> list[str]:
        """See `Files`."""
        size = len(self._prefix)
        names = self._zip.namelist()
        return sorted(n[size:] for n in names if n.startswith(self._prefix) and not n.endswith("/"))

    def close(self) -> None:
        """Close the zip, and the file below it if it is one."""
        self._zip.close()
        if self._path is None:
            self._file.close()


class UrlFiles:
    """Any file system of fsspec; its options come from fsspec's own configuration."""

    def __init__(self, system: Any, root: str, location: str) -> None:
        self._system, self._root = system, root.rstrip("/")
        self.location = location
        self._errors = _network_errors(location)
        self._whole: tuple[str, bytes] = ("", b"")

    def read(self, name: str) -> bytes:
        """See `Files`."""
        try:
            return bytes(self._system.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            raise
        except self._errors as error:
            raise self._unreadable(name, error) from error

    def spans(self, name: str, spans: Sequence[Span]) -> list[bytes]:
        """See `Files`. Servers that know no ranges send the whole file: it is kept, and cut."""
        if self._whole[0] == name:
            return [self._whole[1][start:stop] for start, stop in spans]
        path = f"{self._root}/{name}"
        starts, stops = [s for s, _ in spans], [s for _, s in spans]
        try:
            # The first alone: from a server without ranges, one copy of the file is enough.
            pieces = [self._system.cat_file(path, start=starts[0], end=stops[0])]
            if len(pieces[0]) > stops[0] - starts[0]:
                self._whole = (name, bytes(pieces[0]))
                return [self._whole[1][start:stop] for start, stop in spans]
            rest = [path] * (len(spans) - 1)
            if rest:
                pieces += self._system.cat_ranges(rest, starts[1:], stops[1:], on_error="raise")
        except FileNotFoundError:
            raise
        except self._errors as error:
            raise self._unreadable(name, error) from error
        return [bytes(piece) for piece in pieces]

    def names(self) -> list[str] | None:
        """See `Files`; web servers list nothing."""
        if self.location.startswith("http"):
            return None
        root = self._system._strip_protocol(self._root).rstrip("/") + "/"
        return sorted(path[len(root) :] for path in self._system.find(root.rstrip("/")))

    def close(self) -> None:
        """Forget the file that is kept."""
        self._whole = ("", b"")

    def _unreadable(self, name: str, error: Exception) -> OSError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return OSError(f"{name} in {self.location} cannot be read ({reason[:160]})")


def _network_errors(location: str) -> tuple[type[Exception], ...]:
    """What fsspec's systems raise: OSError, and what their libraries have beside it."""
    errors: list[type[Exception]] = [OSError, ValueError]
    if location.startswith("http"):
        from aiohttp import ClientError

        errors.append(ClientError)
    if location.startswith("s3"):
        from botocore.exceptions import BotoCoreError

        errors.append(BotoCoreError)
    return tuple(errors)


def is_url(location: str) -> bool:
    """Whether this is a URL and not a path."""
    return bool(_URL.match(location))


def resolve(location: str | Path) -> Files:
    """The files of a store.

    Args:
        location: A directory, a zip file, or a URL (http, https, s3, memory, …) of either.

    Raises:
        DataError: nothing is there, or it is neither.
        MissingDependencyError: a URL whose protocol needs a package that is not installed.
    """
    if isinstance(location, str) and is_url(location):
        return _resolve_url(location)
    path = Path(location)
    if path.is_dir():
        return LocalFiles(path)
    if path.is_file():
        if not zipfile.is_zipfile(path):
            cut = path.suffix == ".zip" and path.stat().st_size > 0
            what = "is no complete zip; copy it again" if cut else "is a file but no zip"
            raise DataError(f"{path} {what}; a store is a directory or a zip of one")
        return ZipFiles(path, str(path))
    raise DataError(f"{path} does not exist; give the directory, zip file or URL of a store")


def _resolve_url(location: str) -> Files:
    import fsspec

    errors = _network_errors(location)
    try:
        system, root = fsspec.core.url_to_fs(location)
        if location.rstrip("/").endswith(".zip"):
            return ZipFiles(system.open(root, "rb"), location)
    except ImportError as error:
        raise MissingDependencyError(f"{location}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{location} does not exist") from error
    except errors as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = ""
        if location.startswith("http") and location.rstrip("/").endswith(".zip"):
            hint = (
                "; a zip is read in place, for which the server must answer range requests: "
                "download the zip, or serve the directory"
            )
        raise DataError(f"{location} cannot be read: {reason[:80]}{hint}") from error
    return UrlFiles(system, root, location)


def read_record(files: Files) -> bytes:
    """The commit record, or a sentence about what lies there instead.

    Raises:
        DataError: there is no store.
    """
    try:
        return files.read(COMMIT_FILE)
    except FileNotFoundError:
        what = "no store of zifbench (it has no commit.json)"
    except OSError as error:
        raise DataError(str(error)) from error
    try:
        files.read(ZARR_FILE)
    except OSError:
        raise DataError(f"{files.location} is {what}, or it does not exist") from None
    raise DataError(f"{files.location} is a Zarr store, but {what}")
