"""Which training a model or a result comes from: the record that lies around it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zifbench.errors import ResultError
from zifbench.training.paths import COMPILED_FILE, MODEL_FILE, RECORD_FILE


def training_of(path: Path) -> dict[str, Any]:
    """What the training was asked for in whose folder of a seed something lies.

    Args:
        path: A model, or the directory of a result: `training.json` lies two folders above.

    Returns:
        The request of its record, empty if none of ours left this.

    Raises:
        ResultError: a damaged record.
    """
    file = path.parent.parent / RECORD_FILE
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["request"])
    except (ValueError, TypeError, KeyError) as error:
        raise ResultError(f"{file} is damaged ({error!r}); restore it, or train again") from error


def recipe_of(model: str) -> str | None:
    """Name of the recipe that a model was trained with here, None for all other models.

    Every model of `zifbench train` has the same file name, which says nothing of it.
    """
    path = Path(model).absolute()
    if path.name not in (MODEL_FILE, COMPILED_FILE):
        return None
    try:
        recipe = training_of(path).get("recipe")
    except ResultError:
        return None  # perhaps a file of somebody else; the model can be used under its own name
    return recipe if isinstance(recipe, str) and recipe else None
