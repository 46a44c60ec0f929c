"""From what the user typed to a potential: recognise, ask for trust, load."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from zifbench.bundled import BUNDLED_MODELS
from zifbench.errors import MissingDependencyError, ModelError
from zifbench.files import printable
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import Potential
from zifbench.potentials.formats import (
    ModelFormat,
    identify,
    model_name,
    runs_code,
    sha256_of,
)
from zifbench.potentials.trust import ensure_trusted


def _torchscript(path: Path, card: ModelCard, device: str) -> Potential:
    from zifbench.potentials.nequip_loaders import load_torchscript

    return load_torchscript(path, card, _torch_device(device))


def _aotinductor(path: Path, card: ModelCard, device: str) -> Potential:
    from zifbench.potentials.nequip_loaders import load_aotinductor

    return load_aotinductor(path, card, _torch_device(device))


def _saved_model(path: Path, card: ModelCard, device: str) -> Potential:
    from zifbench.potentials.nequip_loaders import load_saved_model

    return load_saved_model(path, card, _torch_device(device))


def _pickle(path: Path, card: ModelCard, device: str) -> Potential:
    from zifbench.potentials.ase_potential import load_pickled

    return load_pickled(path, card)


def _torch_device(device: str) -> str:
    from zifbench.potentials.torch_potential import choose_device

    return choose_device(device)


# One line for a new file format; a new architecture needs none if ASE or nequip knows it.
LOADERS: dict[ModelFormat, Callable[[Path, ModelCard, str], Potential]] = {
    ModelFormat.TORCHSCRIPT: _torchscript,
    ModelFormat.AOTINDUCTOR: _aotinductor,
    ModelFormat.NEQUIP_PACKAGE: _saved_model,
    ModelFormat.NEQUIP_CHECKPOINT: _saved_model,
    ModelFormat.PICKLE: _pickle,
}


_NEQUIP_SUFFIXES = {
    ModelFormat.AOTINDUCTOR: ".nequip.pt2",
    ModelFormat.NEQUIP_PACKAGE: ".nequip.zip",
    ModelFormat.NEQUIP_CHECKPOINT: ".ckpt",
}


def describe(model: str) -> tuple[Path, ModelCard]:
    """The file behind a model argument and what can be said of it without loading it.

    Args:
        model: Path of a model file, a bundled name, `module:factory` or `file.py:factory`.

    Raises:
        ModelError: nothing there, or not a model.
    """
    if model in BUNDLED_MODELS:
        path = BUNDLED_MODELS[model].path
        return path, _card(path, identify(path), name=model)
    if ":" in model and not Path(model).exists():
        from zifbench.potentials.ase_potential import find_factory

        return (path := find_factory(model)), _card(path, ModelFormat.PYTHON, name=model)
    path = Path(model)
    near = get_close_matches(model, BUNDLED_MODELS, n=1)
    if near and not path.exists():
        raise ModelError(f"no such model file: {model}; did you mean the bundled {near[0]}?")
    model_format = identify(path)
    return path, _card(path, model_format, name=model_name(path))


def load_potential(
    model: str, *, device: str = "auto", trust: bool = False, name: str | None = None
) -> Potential:
    """Load any potential; the file's content decides how, not its name.

    Args:
        model: Path of a model file, a bundled name, `module:factory` or `file.py:factory`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        trust: Let a file that runs code while loading do so, and remember its sha256.
        name: What to call it on its card; None for what its file is called.

    Raises:
        ModelError: not a model, damaged, or not loadable here.
        UntrustedModelError: it runs code while loading and is not trusted.
        MissingDependencyError: torch or nequip is needed and not installed.
    """
    path, card = describe(model)
    if name is not None:
        card = card.model_copy(update={"name": printable(name)})
    model_format = ModelFormat(card.format)
    if runs_code(path, model_format):
        ensure_trusted(model, card.sha256, model_format, trust=trust)
    if model_format is ModelFormat.PYTHON:
        from zifbench.potentials.ase_potential import load_factory

        return load_factory(model, card, _factory_device(device))
    with _private_copy(path, card) as copy:
        return LOADERS[model_format](copy, card, device)


def load_eager_float64(
    model: str, *, device: str = "auto", trust: bool = False
) -> Potential | None:
    """The same model run eagerly in float64, as exact as it can be, to hold other forms against.

    None for what has no such form: a compiled model, a calculator of ASE.

    Raises:
        ModelError: see `load_potential`.
        UntrustedModelError: see there.
    """
    from zifbench.potentials import nequip_loaders

    path, card = describe(model)
    model_format = ModelFormat(card.format)
    loaders = {
        ModelFormat.TORCHSCRIPT: nequip_loaders.load_torchscript,
        ModelFormat.NEQUIP_PACKAGE: nequip_loaders.load_saved_model,
        ModelFormat.NEQUIP_CHECKPOINT: nequip_loaders.load_saved_model,
    }
    if model_format not in loaders:
        return None
    if runs_code(path, model_format):
        ensure_trusted(model, card.sha256, model_format, trust=trust)
    with _private_copy(path, card) as copy:
        return loaders[model_format](copy, card, _torch_device(device), float64=True)


@contextlib.contextmanager
def _private_copy(path: Path, card: ModelCard) -> Iterator[Path]:
    """A copy that nobody else can change between the check of its digest and its loading.

    It bears the suffix by which nequip tells its files apart.
    """
    suffix = _NEQUIP_SUFFIXES.get(ModelFormat(card.format), path.suffix)
    with tempfile.TemporaryDirectory(prefix="zifbench-") as directory:
        copy = Path(directory) / f"model{suffix}"
        shutil.copyfile(path, copy)
        if sha256_of(copy) != card.sha256:
            raise ModelError(f"{path} changed while it was read; try again when it is complete")
        yield copy


def _factory_device(device: str) -> str:
    """Calculators need not know torch: without it they run on the CPU."""
    try:
        return _torch_device(device)
    except MissingDependencyError:
        if device in ("auto", "cpu"):
            return "cpu"
        raise


def _card(path: Path, model_format: ModelFormat, *, name: str) -> ModelCard:
    return ModelCard(
        name=printable(name),
        file=printable(path.name),
        format=model_format.value,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )
