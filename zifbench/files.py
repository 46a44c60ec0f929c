"""Writing files so that a reader never sees half of one; where a user's own files lie."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

CONFIG_VARIABLE = "ZIFBENCH_CONFIG_DIR"
CACHE_VARIABLE = "ZIFBENCH_CACHE"
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # see `write_bytes_atomically`


def config_directory() -> Path:
    """What the user has decided or seen; `ZIFBENCH_CONFIG_DIR` moves it."""
    import platformdirs

    return Path(os.environ.get(CONFIG_VARIABLE) or platformdirs.user_config_dir("zifbench"))


def cache_directory() -> Path:
    """What can be fetched again; `ZIFBENCH_CACHE` moves it."""
    import platformdirs

    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("zifbench"))


def printable(name: str) -> str:
    """A file name as text that any file can hold; bytes that are no text become a mark."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def write_text_atomically(path: Path, text: str) -> None:
    """Write under a temporary name beside the target, flush to disk, then rename."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """The same for any bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file is what a process that was killed while it wrote one left behind."""
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A new directory beside `out` that takes its place once it is filled, or goes.

    Whatever stops the filling, an earlier `out` stays as it was. What processes that are no more
    left beside it (killed while they wrote) is removed, or put back if it is all there is.
    """
    target = out.resolve()  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    _clean_up(target)
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        if error.filename is None:  # a full disk does not say where
            error.filename = str(out)
        raise
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _clean_up(target: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(new|old)")
    for path in sorted(target.parent.iterdir()):
        found = pattern.fullmatch(path.name)
        if found is None or _is_running(int(found[1])):
            continue
        if found[2] == "old" and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
