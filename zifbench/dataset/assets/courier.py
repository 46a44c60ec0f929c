"""The bytes of a file from the web, continued from the part that is here already.

pooch, which verifies and places the file, has no resume of its own; `Courier` has the form of
pooch's downloaders.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import requests

from zifbench.dataset.assets.web import (
    Note,
    PassingError,
    Patience,
    blocks,
    ignore,
    open_url,
    patiently,
)
from zifbench.errors import DownloadError
from zifbench.files import write_text_atomically
from zifbench.formatting import format_bytes
from zifbench.progress import Progress, no_progress

_BLOCK = 1 << 16  # bytes: what a broken connection can lose
_WORTH_A_BAR = 1 << 20
_PART_SCHEMA = 1


@dataclass(frozen=True)
class Wanted:
    """A file to bring.

    Attributes:
        name: For messages.
        target: Where it shall lie.
        n_bytes: Its size, None if unknown.
        checksum: "sha256:…" that it must have, None if unknown.
    """

    name: str
    target: Path
    n_bytes: int | None
    checksum: str | None


@dataclass(frozen=True)
class Manner:
    """How to download: patience, and who is told."""

    patience: Patience = field(default_factory=Patience)
    progress: Progress = no_progress
    note: Note = ignore


def need_room(wanted: Wanted, n_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        DownloadError: fewer bytes than that are free.
    """
    if n_bytes > shutil.disk_usage(wanted.target.parent).free:
        raise no_room(wanted, f"{format_bytes(n_bytes)} more are needed, ")


def no_room(wanted: Wanted, needed: str) -> DownloadError:
    """The error for a full disk; `needed` is a part of its sentence."""
    free = format_bytes(shutil.disk_usage(wanted.target.parent).free)
    return DownloadError(
        f"{wanted.name}: no room in {wanted.target.parent} ({needed}{free} are free); make room or "
        "give another directory; the same command continues"
    )


class Courier:
    """A downloader for pooch that continues the part which is here already."""

    def __init__(self, wanted: Wanted, folder: Path, manner: Manner) -> None:
        self._wanted, self._manner = wanted, manner
        self._part, self._facts = folder / "part", folder / "part.json"
        self.continued = False

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring `url` to `output_file`; pooch calls this."""
        if not self._may_continue(url):
            self._discard()
        if self._n_here() and self._n_here() == self._wanted.n_bytes:
            self.continued = True  # killed between the last byte and the checksum
        else:
            patiently(
                lambda: self._attempt(url),
                self._wanted.name,
                patience=self._manner.patience,
                note=self._manner.note,
            )
        _hand_over(self._part, Path(output_file))

    def _attempt(self, url: str) -> None:
        before = self._n_here()
        try:
            self._continue(url, before)
        except PassingError as failure:
            failure.progressed = self._n_here() - before >= _WORTH_A_BAR
            raise

    def _continue(self, url: str, n_here: int) -> None:
        headers = {"Range": f"bytes={n_here}-"} if n_here else {}
        etag = self._known().get("etag")
        if n_here and etag:
            headers["If-Range"] = etag
        with open_url(url, headers, self._manner.patience) as response:
            start, total = _range_of(response, n_here)
            if start is None or start not in (0, n_here):
                self._discard()
                raise PassingError(f"{url} cannot be continued from byte {n_here}")
            self._check(response, total)
            self.continued |= start > 0
            if start < n_here or not n_here:
                self._begin(url, response)
            if total is None or start < total:
                self._receive(response, start, total)

    def _check(self, response: requests.Response, total: int | None) -> None:
        """Refuse what cannot be the file before its bytes are brought."""
        name, wanted = self._wanted.name, self._wanted.n_bytes
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(
                f"{name}: {response.url} answers with a web page, not with the file; a proxy or a "
                "login page may stand between"
            )
        if wanted is not None and total is not None and total != wanted:
            self._discard()
            raise DownloadError(
                f"{name}: {response.url} has {total} bytes, wanted {wanted}: it is not the "
                "published file; nothing was kept"
            )

    def _begin(self, url: str, response: requests.Response) -> None:
        self._discard()
        etag = response.headers.get("ETag", "")
        facts = {
            "schema": _PART_SCHEMA,
            "url": url,
            "etag": "" if etag.startswith("W/") else etag,  # a weak one does not vouch for bytes
        }
        write_text_atomically(self._facts, json.dumps(facts) + "\n")

    def _receive(self, response: requests.Response, start: int, total: int | None) -> None:
        size = total or self._wanted.n_bytes or start
        need_room(self._wanted, size - start)
        show = self._manner.progress if size >= _WORTH_A_BAR else no_progress
        with (
            self._part.open("ab", buffering=0) as file,
            show(self._wanted.name, size, start) as advance,
        ):
            for block in blocks(response, _BLOCK):
                _write_all(file, block)
                advance(len(block))
                self._refuse_if_longer(response.url)
            os.fsync(file.fileno())
        n = self._n_here()
        if n < size:
            raise PassingError(f"the connection broke after {format_bytes(n)}")

    def _refuse_if_longer(self, url: str) -> None:
        wanted, n = self._wanted, self._n_here()
        if wanted.n_bytes is not None and n > wanted.n_bytes:
            self._discard()
            raise DownloadError(
                f"{wanted.name}: {url} has more than the {wanted.n_bytes} bytes of the published "
                "file; nothing was kept"
            )

    def _may_continue(self, url: str) -> bool:
        """Whether a part is here that a checksum or a tag will show to be of the same file."""
        known = self._known()
        vouched = bool(self._wanted.checksum or known.get("etag"))
        limit = self._wanted.n_bytes
        fits = limit is None or self._n_here() <= limit
        return self._n_here() > 0 and known.get("url") == url and vouched and fits

    def _known(self) -> dict[str, Any]:
        try:
            facts = json.loads(self._facts.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return facts if isinstance(facts, dict) and facts.get("schema") == _PART_SCHEMA else {}

    def _n_here(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)


def _range_of(response: requests.Response, asked: int) -> tuple[int | None, int | None]:
    """First byte that the answer brings (None: it does not fit) and the size of the whole file."""
    if response.status_code == requests.codes.ok:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    stated = response.headers.get("Content-Range", "")
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        whole = re.fullmatch(r"bytes \*/(\d+)", stated)
        complete = whole is not None and int(whole[1]) == asked
        return (asked, asked) if complete else (None, None)
    part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", stated)
    if part is None:
        return None, None
    return int(part[1]), None if part[3] == "*" else int(part[3])


def _write_all(file: BinaryIO | Any, block: bytes) -> None:
    """An unbuffered write may take only a part, as it does when the disk becomes full."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _hand_over(part: Path, output: Path) -> None:
    """Give pooch the bytes; they stay under our name too, so that being killed loses nothing."""
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a file system without hard links
        part.replace(output)
