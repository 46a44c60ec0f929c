"""Which model files may run their code here: asked once, remembered by sha256."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from zifbench.bundled import BUNDLED_MODELS
from zifbench.errors import ResultError, UntrustedModelError
from zifbench.files import config_directory, write_text_atomically
from zifbench.potentials.formats import ModelFormat


def trust_file() -> Path:
    """Where trusted digests are kept; `ZIFBENCH_CONFIG_DIR` moves it."""
    return config_directory() / "trusted.json"


def trusted_models() -> dict[str, dict[str, str]]:
    """sha256 -> file name and date of every model trusted so far."""
    path = trust_file()
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise ResultError(
            f"{path} is damaged ({error}); delete it, and trust models anew"
        ) from error
    if not isinstance(entries, dict) or not all(_is_entry(e) for e in entries.values()):
        raise ResultError(
            f"{path} is damaged (not a list of models); delete it, and trust models anew"
        )
    return entries


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and {"name", "date"} <= entry.keys()


def ensure_trusted(name: str, sha256: str, model_format: ModelFormat, *, trust: bool) -> None:
    """Let a model pass that runs code while loading only if someone has said so.

    Args:
        name: The model as the user gave it.
        sha256: Digest of the file that would run. What a Python file imports is not covered.
        model_format: Its format.
        trust: The user says yes now; remembered for this digest.

    Raises:
        UntrustedModelError: it would run code, and nobody has trusted this digest.
    """
    if sha256 in {model.sha256 for model in BUNDLED_MODELS.values()}:
        return
    known = trusted_models()
    if sha256 in known:
        return
    if not trust:
        raise UntrustedModelError(
            f"{name} is a {model_format}, which can run any code while it is loaded; if you know "
            f"where it comes from, add --trust (remembered for sha256 {sha256[:12]}…)"
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    known[sha256] = {"name": Path(name).name, "date": today}
    write_text_atomically(trust_file(), json.dumps(known, indent=1) + "\n")
