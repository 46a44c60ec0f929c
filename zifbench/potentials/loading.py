"""From what the user typed to a potential: recognise, ask for trust, load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zifbench.bundled import BUNDLED_MODELS
from zifbench.potentials.card import ModelCard
from zifbench.potentials.core import Potential
from zifbench.potentials.formats import ModelFormat, identify, sha256_of
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

    return load_pickled(path, card, device)


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
    model_format = identify(path)
    return path, _card(path, model_format, name=_short_name(path))


def load_potential(model: str, *, device: str = "auto", trust: bool = False) -> Potential:
    """Load any potential; the file's content decides how, not its name.

    Args:
        model: Path of a model file, a bundled name, `module:factory` or `file.py:factory`.
        device: "auto", "cpu" or "cuda".
        trust: Let a file that runs code while loading do so, and remember its sha256.

    Raises:
        ModelError: not a model, damaged, or not loadable here.
        UntrustedModelError: it runs code while loading and is not trusted.
        MissingDependencyError: torch or nequip is needed and not installed.
    """
    path, card = describe(model)
    model_format = ModelFormat(card.format)
    ensure_trusted(model, card.sha256, model_format, trust=trust)
    if model_format is ModelFormat.PYTHON:
        from zifbench.potentials.ase_potential import load_factory

        return load_factory(model, card, _factory_device(device))
    return LOADERS[model_format](path, card, device)


def _factory_device(device: str) -> str:
    """Calculators need not know torch: without it they run on the CPU."""
    try:
        return _torch_device(device)
    except ImportError:
        return "cpu"


def _card(path: Path, model_format: ModelFormat, *, name: str) -> ModelCard:
    return ModelCard(
        name=name,
        file=path.name,
        format=model_format.value,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def _short_name(path: Path) -> str:
    name = path.name
    for suffix in (".nequip.zip", ".nequip.pt2", ".nequip.pth", ".ckpt", ".pth", ".pt2", ".pkl"):
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix)
    return path.stem
