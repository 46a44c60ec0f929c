"""Fetching published files: from a mirror if there is one, else from where they are published.

A mirror is a directory or a base URL that holds files under their asset names; any cache of another
user is one. `ZIFBENCH_MIRROR` names directories, separated as in PATH, or one URL.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from zifbench.dataset.assets.checksums import (
    checksum_of,
    first_seen,
    first_seen_file,
    matches,
    record_first_seen,
)
from zifbench.dataset.assets.download import Manner, Wanted, copy, download
from zifbench.dataset.assets.registry import ArchiveRecord, Asset, Registry, load_registry
from zifbench.dataset.assets.unpack import unpack as unpack_zip
from zifbench.dataset.assets.web import read_json
from zifbench.dataset.assets.zenodo import (
    MANIFEST_NAME,
    RecordManifest,
    load_manifest,
    parse_manifest,
    parse_record,
    write_manifest,
)
from zifbench.errors import DataError, DownloadError, NotPublishedError
from zifbench.files import cache_directory

MIRROR_VARIABLE = "ZIFBENCH_MIRROR"


def default_mirrors() -> tuple[str, ...]:
    """The mirrors that `ZIFBENCH_MIRROR` names: one URL, or directories separated as in PATH."""
    stated = os.environ.get(MIRROR_VARIABLE, "")
    if _is_url(stated):
        return (stated,)
    return tuple(directory for directory in stated.split(os.pathsep) if directory)


def checked_mirrors(mirrors: Sequence[str]) -> tuple[str, ...]:
    """Mirrors that somebody asked for by name.

    Raises:
        DataError: one is neither a directory nor a URL.
    """
    for mirror in mirrors:
        if not _is_url(mirror) and not Path(mirror).is_dir():
            raise DataError(f"the mirror {mirror} is neither a directory nor an http(s) address")
    return tuple(mirrors)


@dataclass(frozen=True)
class Fetched:
    """A file, or all files of a record, where they lie now.

    Attributes:
        name: Of the asset or record.
        path: The file, or the directory of the record.
        checksum: What was verified; of a record, of its list of files.
        new: Whether it was brought now, and not there already.
        first_seen: Whether the checksum could not be compared with anything and was recorded.
        licence: Of the file or record.
        citation: What to cite.
    """

    name: str
    path: Path
    checksum: str
    new: bool
    first_seen: bool
    licence: str
    citation: str


@dataclass(frozen=True)
class Fetcher:
    """Where to fetch from and to, and in which manner.

    Attributes:
        directory: Where files go, under their asset names.
        mirrors: Directories and base URLs that are asked first.
        registry: What can be fetched.
        manner: Of downloads.
        unpack: Also unpack zip files, each beside itself.
    """

    directory: Path = field(default_factory=cache_directory)
    mirrors: tuple[str, ...] = field(default_factory=default_mirrors)
    registry: Registry = field(default_factory=load_registry)
    manner: Manner = field(default_factory=Manner)
    unpack: bool = False

    def fetch_all(self, names: Sequence[str]) -> list[Fetched]:
        """Assets, groups and records by name; what is there and verified is not fetched again.

        Raises:
            UnknownNameError: a name is not known; nothing is fetched then.
            DownloadError: a file cannot be had, or is not the published one.
            DataError: a record that has changed, or that cannot be read.
        """
        return list(self.fetch_each(names))

    def fetch_each(self, names: Sequence[str]) -> Iterator[Fetched]:
        """As `fetch_all`, one by one as they arrive; one that fails does not stop the others.

        Raises:
            DownloadError: after the others, what failed and why.
        """
        failed: list[DownloadError] = []
        for item in self.registry.resolve(names):
            try:
                yield self._fetch(item)
            except DownloadError as error:
                failed.append(error)
                self._remove_empty(self.directory / item.name)
        if len(failed) > 1:
            raise DownloadError(f"{failed[0]} ({len(failed) - 1} more failed)") from failed[0]
        if failed:
            raise failed[0]

    def _remove_empty(self, target: Path) -> None:
        """Folders that were made for a file that did not come."""
        for folder in target.parents:
            if folder == self.directory or not folder.is_relative_to(self.directory):
                return
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def _fetch(self, item: Asset | ArchiveRecord) -> Fetched:
        if isinstance(item, ArchiveRecord):
            return self._fetch_record(item)
        fetched = self._fetch_asset(item)
        self._unpack(fetched.path)
        return fetched

    def _fetch_asset(self, asset: Asset) -> Fetched:
        recorded = None if asset.checksum else first_seen(asset.name)
        known = asset.checksum or recorded
        wanted = Wanted(asset.name, self.directory / asset.name, asset.n_bytes, known)
        new = not wanted.target.exists()
        if new:
            try:
                origin = self._bring(wanted, asset.url)
            except DownloadError as error:
                raise _with_hint(error, recorded) from error
        else:
            _check_present(wanted, self.manner)
            origin = str(wanted.target)
        if known is None:
            record_first_seen(asset.name, checksum_of(wanted.target), origin)
        checksum = known or checksum_of(wanted.target)
        return Fetched(
            asset.name,
            wanted.target,
            checksum,
            new,
            known is None,
            asset.licence,
            asset.citation,
        )

    def _fetch_record(self, record: ArchiveRecord) -> Fetched:
        folder = self.directory / record.name
        manifest = self._manifest(record)
        known = first_seen(record.name)
        self._refuse_change(record, folder, manifest, known)
        folder.mkdir(parents=True, exist_ok=True)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        write_manifest(folder, manifest, today)
        if known is None:
            record_first_seen(record.name, manifest.checksum, manifest.asked)
        news = [self._fetch_member(record, folder, manifest, i) for i in range(len(manifest.files))]
        return Fetched(
            record.name,
            folder,
            manifest.checksum,
            any(news),
            known is None,
            manifest.licence,
            record.citation,
        )

    def _fetch_member(
        self, record: ArchiveRecord, folder: Path, manifest: RecordManifest, index: int
    ) -> bool:
        file = manifest.files[index]
        wanted = Wanted(
            f"{record.name}/{file.name}", folder / file.name, file.n_bytes, file.checksum
        )
        new = not wanted.target.exists()
        if new:
            self._bring(wanted, file.url)
        else:
            _check_present(wanted, self.manner)
        self._unpack(wanted.target)
        return new

    def _bring(self, wanted: Wanted, url: str) -> str:
        """Bring a file from the first place that has it; which one that was."""
        for mirror in self.mirrors:
            if not _is_url(mirror):
                source = Path(mirror) / wanted.name
                if source.is_file():
                    copy(wanted, source)
                    return str(source)
                continue
            mirrored = _below(mirror, wanted.name)
            try:
                download(wanted, mirrored, self.manner)
            except NotPublishedError:
                continue
            return mirrored
        download(wanted, url, self.manner)
        return url

    def _manifest(self, record: ArchiveRecord) -> RecordManifest:
        """What the record holds, from a mirror that has it or from the archive itself."""
        for mirror in self.mirrors:
            path = f"{record.name}/{MANIFEST_NAME}"
            if not _is_url(mirror):
                file = Path(mirror) / path
                if file.is_file():
                    return load_manifest(file)
                continue
            try:
                answer = self._ask(_below(mirror, path), record)
            except NotPublishedError:
                continue
            return parse_manifest(answer, _below(mirror, path))
        here = self.directory / record.name / MANIFEST_NAME
        try:
            answer = self._ask(record.api, record)
        except DownloadError as error:
            if not here.is_file():
                raise
            self.manner.note(f"{error}; going by {here}")
            return load_manifest(here)
        manifest = parse_record(answer, record)
        asked = record.api.rstrip("/").rpartition("/")[2]
        if manifest.given != asked:
            self.manner.note(f"{record.name}: {asked} leads to version {manifest.given}")
        return manifest

    def _ask(self, url: str, record: ArchiveRecord) -> object:
        manner = self.manner
        answer: object = read_json(url, record.name, patience=manner.patience, note=manner.note)
        return answer

    def _refuse_change(
        self, record: ArchiveRecord, folder: Path, manifest: RecordManifest, known: str | None
    ) -> None:
        """Refuse a record that says something else than it said before, here or anywhere."""
        here = folder / MANIFEST_NAME
        if here.is_file():
            change = load_manifest(here).change_to(manifest)
            if change:
                raise DataError(
                    f"{record.name}: the record has changed since it was fetched to {folder}: "
                    f"{change}; nothing was fetched"
                )
        if known is not None and known != manifest.checksum:
            raise DataError(
                f"{record.name}: the record has changed since it was first seen on this computer; "
                f"nothing was fetched; if you want it as it is now, remove its entry from "
                f"{first_seen_file()}"
            )

    def _unpack(self, path: Path) -> None:
        if self.unpack and path.suffix.lower() == ".zip":
            unpack_zip(path, self.manner.progress)


def fetch(name: str, fetcher: Fetcher | None = None) -> Path:
    """Path of a published file, or of the directory of a record; fetched if it is not there yet.

    >>> fetch("castel2024/crystal.lmp")  # doctest: +SKIP

    Raises:
        UnknownNameError: no asset or record of that name; a group is several (see `fetch_all`).
        DownloadError: it cannot be had, or is not the published one.
    """
    fetcher = fetcher or Fetcher()
    items = fetcher.registry.resolve([name])
    if len(items) > 1 or name in fetcher.registry.groups:
        raise DataError(f"{name} is a group of {len(items)} files; fetch_all gives them all")
    return fetcher.fetch_all([name])[0].path


def _is_url(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _below(mirror: str, name: str) -> str:
    return f"{mirror.rstrip('/')}/{quote(name)}"


def _check_present(wanted: Wanted, manner: Manner) -> None:
    """Refuse a file that lies under the name and is another: it may be somebody's own."""
    if wanted.checksum is None:
        return
    if matches(wanted.target, wanted.checksum, progress=manner.progress):
        return
    raise DownloadError(
        f"{wanted.target} is there, but is not the published {wanted.name} (its checksum is not "
        f"{wanted.checksum}); move or delete it, then fetch again"
    )


def _with_hint(error: DownloadError, recorded: str | None) -> DownloadError:
    if recorded is None or "checksum" not in str(error):
        return error
    return type(error)(
        f"{error}; no checksum is published for it, {first_seen_file()} holds the first one seen"
    )
