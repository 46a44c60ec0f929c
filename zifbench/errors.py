"""Every error a user can cause: one base class, few named children, one clear sentence each.

A message says what was wrong, what was found, what was wanted, where, and what to do. The command
line prints it alone and exits with `exit_code`; library users catch the class.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ZifbenchError(Exception):
    """Base of all errors that are about the input or the machine, not about our code."""

    exit_code = 2


class DataError(ZifbenchError, ValueError):
    """A frame file, label or array that cannot be used."""


class NotDefinedError(DataError):
    """An observable that these frames do not define, with the reason: reported, never guessed."""


class ModelError(ZifbenchError, ValueError):
    """A model file that cannot be recognised, loaded or applied to the frames."""


class UntrustedModelError(ModelError):
    """A model that runs code while loading, and that nobody has trusted yet."""


class SpeciesError(ModelError):
    """Frames hold an element that the potential does not know."""


class ResultError(ZifbenchError, ValueError):
    """A result, entry or output directory that cannot be read, resumed or written."""


class BusyError(ResultError):
    """Another process works in this directory."""


class TrainingError(ZifbenchError, ArithmeticError):
    """A training whose input was good and that failed: it diverged, or its process ended."""

    exit_code = 3


class UnknownNameError(ZifbenchError, KeyError):
    """A name that is in no table; the message lists the nearest ones."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0])


class MissingDependencyError(ZifbenchError, ImportError):
    """An optional package is needed and not installed."""


class DownloadError(ZifbenchError, OSError):
    """A published file that cannot be fetched, or that is not what was published."""


class NotPublishedError(DownloadError):
    """Nothing lies at this address."""


class OutOfMemoryError(ZifbenchError, MemoryError):
    """One frame at a time is still too much for the device."""

    exit_code = 4


# What torch, Python and the processes that read frames for it say when memory does not suffice.
_MEMORY_WORDS = (
    "can't allocate memory",
    "out of memory",
    "cannot allocate memory",
    "bad_alloc",
    "status_alloc_failed",
    "out-of-memory",  # what SLURM says for the kernel
    "oom_kill",
    "oom-kill",
    "is killed by signal: killed",
)


def lacks_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, on the device, here, or in a process that worked for us.

    Told by the words, too: on the CPU and out of TorchScript torch raises a plain RuntimeError, and
    hydra wraps what happened while it built a model in an exception of its own.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == OutOfMemoryError.__name__:
        return True  # by its name, torch's own: torch is not imported here
    text = str(error).lower()
    return any(words in text for words in _MEMORY_WORDS)


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names of a table that somebody may have meant."""
    return get_close_matches(name, sorted(known), n=3, cutoff=0.5)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in a table, with the nearest names."""
    names = sorted(known)
    near = near_names(name, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")
