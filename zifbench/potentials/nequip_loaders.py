"""Loaders for the model files of the nequip framework (NequIP, Allegro, HDNNP), 0.5 to today."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zifbench.errors import MissingDependencyError, ModelError
from zifbench.potentials.card import ModelCard
from zifbench.potentials.formats import archive_members, archive_text
from zifbench.potentials.torch_potential import (
    CURRENT,
    CURRENT_BATCHED,
    LEGACY,
    TorchPotential,
    import_torch,
)

_SOFTWARE = ("nequip", "e3nn", "torch", "allegro")


def load_torchscript(
    path: Path, card: ModelCard, device: str, *, float64: bool = False
) -> TorchPotential:
    """A deployed TorchScript model: nequip 0.5 and 0.6, and `.nequip.pth` of later versions.

    Args:
        path: The file.
        card: What is known of it.
        device: "cpu" or "cuda".
        float64: Compute in float64 and fuse nothing: slow, and as exact as the model can be.

    Raises:
        ModelError: TorchScript of something else, or damaged code.
    """
    torch = import_torch()
    extra: dict[str, Any] = dict.fromkeys(
        (
            "r_max",
            "type_names",
            "n_species",
            "allow_tf32",
            "per_edge_type_cutoff",
            "_jit_fusion_strategy",
        )
    ) | {f"{name}_version": None for name in _SOFTWARE}
    with _loading(card):
        module = torch.jit.load(str(path), map_location=device, _extra_files=extra)
        module.eval()
    metadata = {k: v.decode() if isinstance(v, bytes) else v for k, v in extra.items()}
    if not metadata["r_max"] or not metadata["type_names"]:
        raise ModelError(
            f"{card.file} is TorchScript, but not a deployed nequip model (no r_max and type_names "
            "inside); wrap it as an ASE calculator and give module:factory"
        )
    _set_tf32(torch, metadata["allow_tf32"])
    n_parameters, dtype = _count_parameters(module), _module_dtype(module)
    if float64:
        module, dtype = module.double(), "float64"
    else:
        with _loading(card):  # as nequip's own loader does
            module = torch.jit.freeze(module)
            torch.jit.set_fusion_strategy(_fusion_strategy(metadata["_jit_fusion_strategy"]))
    names = tuple(metadata["type_names"].split())
    card = card.model_copy(
        update={
            "architecture": _architecture_from_members(archive_members(path)),
            "species": names,
            "cutoff_A": float(metadata["r_max"]),
            "dtype": dtype,
            "n_parameters": n_parameters,
            "software": {
                name: metadata[f"{name}_version"]
                for name in _SOFTWARE
                if metadata[f"{name}_version"]
            },
        }
    )
    # Written by nequip < 0.7 only; torch gives an empty text for a member that is not there.
    legacy = bool(metadata["n_species"])
    return TorchPotential(
        card,
        module,
        device=device,
        signature=LEGACY if legacy else CURRENT,
        pair_cutoffs_A=_pair_cutoffs(metadata["per_edge_type_cutoff"], names),
    )


def load_aotinductor(path: Path, card: ModelCard, device: str) -> TorchPotential:
    """A `.nequip.pt2` of `nequip-compile --mode aotinductor`, any target.

    Raises:
        ModelError: compiled for another device, by something else, or for another machine.
    """
    torch = import_torch()
    _require_nequip()
    from nequip.model.inference_models import load_aotinductor_model

    with _loading(card):
        module, metadata = load_aotinductor_model(str(path), device)
    _set_tf32(torch, metadata.get("allow_tf32"))
    inputs = metadata.get("nequip_aoti_inputs", "").split()
    batched = "batch" in inputs
    card = card.model_copy(
        update={
            "species": tuple(metadata["type_names"]),
            "cutoff_A": metadata["r_max"],
            "dtype": metadata.get("model_dtype", "float64"),
            "n_parameters": _count_compiled_parameters(path),
            "software": _versions(metadata),
            "compiled_for": metadata.get("AOTI_DEVICE_KEY"),
        }
    )
    cutoffs = metadata.get("per_edge_type_cutoff")
    return TorchPotential(
        card,
        module,
        device=device,
        signature=CURRENT_BATCHED if batched else CURRENT,
        batched=batched,
        pair_cutoffs_A=_flat_cutoffs(cutoffs) if cutoffs else None,
    )


def load_saved_model(
    path: Path, card: ModelCard, device: str, *, float64: bool = False
) -> TorchPotential:
    """A `.nequip.zip` package or a `.ckpt` checkpoint, run eagerly.

    Args:
        path: The file.
        card: What is known of it.
        device: "cpu" or "cuda".
        float64: Compute in float64, whatever the model was trained in.

    Raises:
        ModelError: the nequip installed here cannot rebuild it.
    """
    torch = import_torch()
    _require_nequip()
    from nequip.model.saved_models.load_utils import load_saved_model as nequip_load
    from nequip.utils.global_state import set_global_state

    with _loading(card):
        set_global_state(allow_tf32=False)  # nequip refuses to build a model without it
        module = nequip_load(str(path))
        module = module.to(device).eval()
        metadata = dict(module.metadata)
        names = tuple(metadata["type_names"].split())
    if float64:
        module = _in_float64(torch, module)
    _set_tf32(torch, metadata.get("allow_tf32"))
    card = card.model_copy(
        update={
            "architecture": _architecture_from_modules(module),
            "species": names,
            "cutoff_A": float(metadata["r_max"]),
            "dtype": "float64" if float64 else metadata["model_dtype"],
            "n_parameters": _count_parameters(module),
            "software": _versions(metadata) or _recorded_versions(path, card),
        }
    )
    return TorchPotential(
        card,
        module,
        device=device,
        signature=CURRENT,
        pair_cutoffs_A=_pair_cutoffs(metadata.get("per_edge_type_cutoff"), names),
    )


def _in_float64(torch: Any, module: Any) -> Any:
    """Weights in float64, and so whatever modules note as the precision to convert to."""
    module = module.double()
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if value is torch.float32:
                setattr(part, name, torch.float64)
    return module


# What unpickling and rebuilding a model of another version raises.
_LOAD_ERRORS = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    AssertionError,
    OSError,
    EOFError,
    pickle.UnpicklingError,
)


@contextlib.contextmanager
def _loading(card: ModelCard) -> Iterator[None]:
    """Quietly, and with whatever goes wrong as one sentence."""
    try:
        with _quiet():
            yield
    except _LOAD_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(f"{card.file} ({card.format}) cannot be loaded here: {reason}") from error


def _fusion_strategy(text: str | None) -> list[tuple[str, int]]:
    """The strategy a model was deployed with, "DYNAMIC,3" or several joined by semicolons.

    Without one: the number of pairs changes with every frame, so fuse for dynamic shapes at once
    instead of specialising for twenty static ones first.
    """
    parts = [part.split(",") for part in (text or "DYNAMIC,3").split(";") if part]
    return [(kind, int(depth)) for kind, depth in parts]


def _require_nequip() -> None:
    try:
        import nequip  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "nequip is not installed, which this model needs; pip install 'zifbench[nequip]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading warns about versions and species maps; the model card says what matters."""
    logger = logging.getLogger("nequip")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _set_tf32(torch: Any, recorded: Any) -> None:
    """TF32 exactly as the model was made; the default is full float32."""
    allow = bool(int(recorded)) if recorded not in (None, "") else False
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow


def _module_dtype(module: Any) -> str:
    """Precision of the weights; a model without weights computes in float64."""
    dtypes = {str(p.dtype).removeprefix("torch.") for p in module.parameters()}
    return "float32" if "float32" in dtypes else "float64"


def _count_parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _count_compiled_parameters(path: Path) -> int | None:
    """Parameters of an AOTInductor package, from the C++ source that it carries; None without."""
    pattern = re.compile(
        r"constants_info_\[(\d+)\]\.(?:name = \"_param|dtype = cached_torch_dtype_(\w+)|"
        r"data_size = (\d+))"
    )
    sizes: dict[str, dict[str, Any]] = {}
    for name in archive_members(path):
        if name.endswith(".wrapper.cpp"):
            source = archive_text(path, name.partition("/")[2]) or ""
            for index, dtype, size in pattern.findall(source):
                entry = sizes.setdefault(index, {})
                entry |= {"dtype": dtype} if dtype else {"bytes": size} if size else {"param": True}
    counted = [
        int(entry["bytes"]) // (8 if entry["dtype"] == "float64" else 4)
        for entry in sizes.values()
        if {"dtype", "bytes", "param"} <= entry.keys()
    ]
    return sum(counted) or None


def _architecture_from_members(members: list[str]) -> str | None:
    """TorchScript keeps the source file of each class, so the folders name the architecture."""
    if any("/allegro/" in name for name in members):
        return "Allegro"
    if any("convnet" in name for name in members):
        return "NequIP"
    return None


def _architecture_from_modules(module: Any) -> str | None:
    classes = [f"{type(part).__module__}.{type(part).__name__}" for part in module.modules()]
    if any("allegro." in name for name in classes):
        return "Allegro"
    if any(name.endswith("ConvNetLayer") for name in classes):
        return "NequIP"
    if any(name.endswith("hdnnp.network.ElementNetworks") for name in classes):
        return "HDNNP"
    return None


def _versions(metadata: dict[str, Any]) -> dict[str, str]:
    keys = {key: f"{key}_version" for key in _SOFTWARE}
    return {name: str(metadata[key]) for name, key in keys.items() if metadata.get(key)}


def _recorded_versions(path: Path, card: ModelCard) -> dict[str, str]:
    """Versions that a package notes in its metadata text, a checkpoint in its hyper-parameters."""
    import yaml

    if card.format == "nequip package":
        text = archive_text(path, "model/package_metadata.txt") or "{}"
        versions = (yaml.safe_load(text) or {}).get("versions", {})
    else:
        torch = import_torch()
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        versions = checkpoint["hyper_parameters"]["info_dict"].get("versions", {})
    return {str(name): str(version) for name, version in versions.items() if version}


def _pair_cutoffs(text: str | None, names: tuple[str, ...]) -> dict[tuple[str, str], float] | None:
    """Cutoffs per pair of elements from nequip's own notation."""
    if not text:
        return None
    _require_nequip()
    from nequip.nn.embedding.utils import cutoff_str_to_fulldict

    return _flat_cutoffs(cutoff_str_to_fulldict(text, list(names)))


def _flat_cutoffs(nested: dict[str, dict[str, float]]) -> dict[tuple[str, str], float]:
    return {(a, b): float(cut) for a, row in nested.items() for b, cut in row.items()}
