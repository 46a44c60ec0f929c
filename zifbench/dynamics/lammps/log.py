"""What the log of a stage tells: how LAMMPS ended, and how long it took."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zifbench.dynamics.lammps.script import MARK

_LOOP = re.compile(r"^Loop time of ([0-9.eE+-]+) on ", re.MULTILINE)
_ERROR = re.compile(r"^(?:\[.*\] )?ERROR(?: on proc \d+)?: (.+)$", re.MULTILINE)
_STOPPED = re.compile(r"^ *Stopping criterion = (.+)$", re.MULTILINE)
_LEFT = re.compile(r"^ *Force max component initial, final = \S+ (\S+)$", re.MULTILINE)
_REACHED = "force tolerance"
# Errors of LAMMPS that mean that the simulation blew up, and our rule for it.
_BLOWN_UP = (
    ("Lost atoms", "lost atom"),
    ("Non-numeric", "not a number"),
    ("Out of range atoms", "lost atom"),
)


@dataclass(frozen=True)
class StageLog:
    """A stage's log.

    Attributes:
        error: Why LAMMPS gave up, the last time it was started; empty if it did not.
        rule: The rule that this breaks; empty if the machine may be to blame.
        wall_s: Seconds of all runs that came to their end.
        not_minimised: How a minimisation ended, if not by its limit; empty otherwise.
        left_eV_per_A: Largest component of a force that it left.
    """

    error: str = ""
    rule: str = ""
    wall_s: float = 0.0
    not_minimised: str = ""
    left_eV_per_A: float = 0.0


def read_log(path: Path) -> StageLog:
    """The log of a stage; of one that has not begun, nothing."""
    if not path.is_file():
        return StageLog()
    text = path.read_text(encoding="utf-8", errors="replace")
    last = text.rpartition(MARK)[2]
    errors = _ERROR.findall(last)
    error = errors[-1].strip() if errors else ""
    rule = next((rule for words, rule in _BLOWN_UP if error.startswith(words)), "")
    stopped, left = _STOPPED.findall(last), _LEFT.findall(last)
    return StageLog(
        error,
        rule,
        sum(map(float, _LOOP.findall(text))),
        stopped[-1] if stopped and stopped[-1] != _REACHED else "",
        float(left[-1]) if left else 0.0,
    )
