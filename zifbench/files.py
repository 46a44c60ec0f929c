"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
from pathlib import Path


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
