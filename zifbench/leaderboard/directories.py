"""What a directory is that holds no result, and which one to give in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from zifbench.benchmark.result import RESULT_FILE
from zifbench.errors import ResultError
from zifbench.files import is_leftover
from zifbench.training.paths import EVALUATION_FOLDER, RECORD_FILE

# Where results lie in directories of ours that are none: of several, of a seed, of a training, of a
# sweep.
_BELOW = (
    "*",
    f"seed-*/{EVALUATION_FOLDER}",
    f"cells/*/*/*/{EVALUATION_FOLDER}",
    f"cells/*/*/*/seed-*/{EVALUATION_FOLDER}",
)


def without_result(directory: Path) -> ResultError:
    """The error for a directory that holds no `result.json`: what it is, and what to give."""
    if _is_evaluation(directory):
        # A training evaluates its models itself; the dummy's lies one folder less deep.
        around = directory.resolve().parents[:2]
        ours = any((folder / RECORD_FILE).is_file() for folder in around)
        how = "the same `zifbench train` command" if ours else "--resume"
        return ResultError(
            f"no {RESULT_FILE} at {directory}; the evaluation is not finished, continue it with "
            f"{how}"
        )
    found = sorted(
        file.parent for pattern in _BELOW for file in directory.glob(f"{pattern}/{RESULT_FILE}")
    )
    kind = _kind(directory)
    if len(found) == 1:
        advice = f"give {found[0]}"
    elif found:
        advice = f"give one of the {len(found)} results in it, or several seeds of one recipe; "
        advice += f"the first is {found[0]}"
    elif (directory / RECORD_FILE).is_file():
        advice = "none of its models has been tested yet, the same `zifbench train` command goes on"
    else:
        advice = "give the directory that `zifbench evaluate` wrote"
    return ResultError(f"{directory} is {kind}, and no result of an evaluation; {advice}")


def _is_evaluation(directory: Path) -> bool:
    return "model_sha256" in _run_of(directory)


def _run_of(directory: Path) -> Mapping[str, object]:
    """What `run.json` says, which evaluations have and molecular dynamics; empty without one."""
    try:
        content = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _kind(directory: Path) -> str:
    from zifbench.dynamics.lammps.record import DECK_FILE
    from zifbench.reports.record import ANALYSIS_FILE
    from zifbench.training.sweep.plan import CELLS_FOLDER

    kinds = {
        RECORD_FILE: "a training",
        CELLS_FOLDER: "a sweep",
        ANALYSIS_FILE: "an analysis of frames",
        DECK_FILE: "a LAMMPS deck",
    }
    names = {path.name for path in directory.iterdir() if not is_leftover(path.name)}
    known = next((kind for name, kind in kinds.items() if name in names), None)
    if known is not None:
        return known
    if "run" in _run_of(directory):
        return "a run of molecular dynamics"
    if (directory.parent / RECORD_FILE).is_file():
        return "a part of a training"
    return "a directory of other files" if names else "an empty directory"
