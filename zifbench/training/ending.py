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
