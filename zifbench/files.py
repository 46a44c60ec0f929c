"""Writing files so that a reader never sees half of one; where a user's own files lie."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_VARIABLE = "ZIFBENCH_CONFIG_DIR"
CACHE_VARIABLE = "ZIFBENCH_CACHE"


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
