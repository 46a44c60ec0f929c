"""How the training of one seed ended, in a file between the training process and the command."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from zifbench.errors import ResultError
from zifbench.files import write_text_atomically

ENDING_FILE = "ending.json"


@dataclass(frozen=True)
class Ending:
    """How it ended.

    Attributes:
        kind: "completed", "diverged", "out of memory", "stopped" or "failed".
        reason: In words.
        epochs: Epochs that were completed.
    """

    kind: str
    reason: str
    epochs: int


# What torch, Python and the loader's processes say when memory does not suffice.
_MEMORY_WORDS = (
    "can't allocate memory",
    "out of memory",
    "cannot allocate memory",
    "bad_alloc",
    "is killed by signal: killed",
)


def lacks_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, in this process or in one that read frames for it.

    Told by the words: hydra wraps what happened while it built a model in an exception of its own.
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _MEMORY_WORDS)


def write_ending(directory: Path, ending: Ending) -> None:
    """Keep it."""
    write_text_atomically(directory / ENDING_FILE, json.dumps(asdict(ending)) + "\n")


def read_ending(directory: Path) -> Ending | None:
    """How it ended, or None while it has not.

    Raises:
        ResultError: a damaged file.
    """
    path = directory / ENDING_FILE
    if not path.is_file():
        return None
    try:
        return Ending(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ResultError(f"{path} is damaged ({error}); delete it to go on training") from error
