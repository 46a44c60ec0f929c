"""Downloads that continue where they stopped, and that appear under their name only when verified.

Everything unfinished lies in a hidden folder beside the target: the part that is here, what is
known of it, a lock. Killing the program at any instant leaves that folder, and the next call
continues from it.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from zifbench.dataset.assets.checksums import checksum_of
from zifbench.dataset.assets.courier import Courier, Manner, Wanted, need_room, no_room
from zifbench.errors import DownloadError

__all__ = ["Manner", "Wanted", "copy", "download"]


def download(wanted: Wanted, url: str, manner: Manner) -> None:
    """Bring a file from the web, continuing an earlier attempt.

    Raises:
        DownloadError: it cannot be brought, or is not what was published; nothing lies under its
            name then.
    """
    with _workplace(wanted) as folder:
        courier = Courier(wanted, folder, manner)
        try:
            _place(wanted, folder, url, courier)
        except _WrongChecksumError:
            if not courier.continued:
                raise
            # The earlier part may be of another state of the file: once more, from its beginning.
            manner.note(f"{wanted.name}: continued, and the checksum is wrong; from the beginning")
            _place(wanted, folder, url, Courier(wanted, folder, manner))


def copy(wanted: Wanted, source: Path) -> None:
    """Bring a file from a directory, verified as a download is.

    Raises:
        DownloadError: it is not what was published; nothing lies under its name then.
    """

    def bring(url: str, output_file: str, pooch: object) -> None:
        Path(output_file).unlink()  # pooch's is readable by its owner alone
        shutil.copyfile(source, output_file)

    with _workplace(wanted) as folder:
        n_bytes = source.stat().st_size
        if wanted.n_bytes not in (None, n_bytes):
            raise DownloadError(
                f"{wanted.name}: {source} has {n_bytes} bytes, wanted {wanted.n_bytes}: it is not "
                "the published file; repair the mirror, or fetch without it"
            )
        need_room(wanted, n_bytes)
        _place(wanted, folder, source.absolute().as_uri(), bring)


class _WrongChecksumError(DownloadError):
    pass


@contextlib.contextmanager
def _workplace(wanted: Wanted) -> Iterator[Path]:
    """The hidden folder beside the target, for one process at a time.

    It stays only where a part was brought that the next call can continue.
    """
    folder = wanted.target.with_name(f".{wanted.target.name}.partial")
    with _full_disk_said(wanted):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise DownloadError(
                f"{wanted.name}: another process is fetching it to {wanted.target}; wait for that"
            ) from error
        try:
            yield folder
        finally:
            if wanted.target.is_file() or not (folder / "part").is_file():
                shutil.rmtree(folder)
            lock.release()


def _place(
    wanted: Wanted, folder: Path, url: str, bring: Callable[[str, str, object], None]
) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # what it says, we say in one sentence
    try:
        done = pooch.retrieve(
            url,
            known_hash=wanted.checksum,
            fname="verified",
            path=folder,
            downloader=bring,
        )
    except ValueError as error:  # pooch's word for a wrong checksum; it keeps nothing
        arrived = folder / "part"
        got = ""
        if arrived.is_file() and wanted.checksum:
            got = f"{checksum_of(arrived, wanted.checksum.partition(':')[0])}, "
        arrived.unlink(missing_ok=True)
        raise _WrongChecksumError(
            f"{wanted.name}: {url} has the checksum {got or 'of another file, '}wanted "
            f"{wanted.checksum}: it is not the published file; nothing was kept"
        ) from error
    Path(done).replace(wanted.target)


@contextlib.contextmanager
def _full_disk_said(wanted: Wanted) -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise no_room(wanted, "") from error
