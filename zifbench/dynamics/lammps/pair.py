"""What gives the forces in LAMMPS: a model through the nequip plugin, or a classical pair style.

Facts about the plugin: README and source of mir-group/pair_nequip_allegro, and the guide of nequip.
"""

from __future__ import annotations

import json
import pickletools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zifbench.errors import ModelError, unknown_name
from zifbench.potentials.card import ModelCard
from zifbench.potentials.formats import ModelFormat, archive_bytes, archive_members, archive_text
from zifbench.potentials.loading import describe


@dataclass(frozen=True)
class Plugin:
    """A pair style of the plugin.

    Attributes:
        newton: Whether it wants `newton on`; it refuses the other.
        several_ranks: Whether it runs on several MPI ranks, so on several GPUs.
    """

    newton: bool
    several_ranks: bool


PLUGINS = {
    "nequip": Plugin(newton=False, several_ranks=False),
    "allegro": Plugin(newton=True, several_ranks=True),
}


@dataclass(frozen=True)
class Pair:
    """What gives the forces.

    Attributes:
        style: Argument of `pair_style`.
        coeffs: Arguments of `pair_coeff`, for a classical style.
        newton: Whether pairs across processes are computed once.
        several_ranks: Whether it runs on several MPI ranks.
        card: What is known of the model; None for a classical style.
        source: File of the model.
        stored_as: Its name in the deck.
        used_as: Name of the file that `pair_coeff` names, compiled from the other where they
            differ.
        legacy: Whether it is a model of nequip before 0.7, for which there is another plugin.
    """

    style: str
    coeffs: tuple[str, ...] = ()
    newton: bool = True
    several_ranks: bool = True
    card: ModelCard | None = None
    source: Path | None = None
    stored_as: str = ""
    used_as: str = ""
    legacy: bool = False

    def lines(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Lines of the input script, for types of these elements."""
        coeffs = self.coeffs or (f"* * ../{self.used_as} {' '.join(symbols)}",)
        return (f"pair_style {self.style}", *(f"pair_coeff {text}" for text in coeffs))

    @property
    def kokkos(self) -> bool:
        """Whether its GPU version is the one of LAMMPS's KOKKOS package."""
        return self.style == "allegro"


def classical_pair(style: str, coeffs: Sequence[str]) -> Pair:
    """A style that LAMMPS has itself.

    Raises:
        ModelError: no coefficients, or more than one line in one of the texts.
    """
    if not coeffs or not style.strip():
        raise ModelError(
            "--pair wants the arguments of pair_style and a --pair-coeff for each pair_coeff, for "
            'example --pair "lj/cut 8.5" --pair-coeff "* * 0.01 3.4"'
        )
    for text in (style, *coeffs):
        if "\n" in text or not text.isprintable():
            raise ModelError(f"{text!r} is more than one line; give --pair-coeff for each line")
    return Pair(style, tuple(coeffs))


def model_pair(model: str, style: str | None) -> Pair:
    """A model of the nequip framework; it is looked at, not loaded.

    Args:
        model: As for `zifbench evaluate`.
        style: "nequip" or "allegro", where the model does not say which it is.

    Raises:
        ModelError: no model of the framework, of unknown kind, compiled for another program, or of
            another kind than `style` says.
        UnknownNameError: a style that the plugin does not have.
    """
    if style is not None and style not in PLUGINS:
        raise unknown_name("--pair-style", style, PLUGINS)
    path, card = describe(model)
    looked = _LOOKS.get(ModelFormat(card.format))
    if looked is None:
        raise ModelError(
            f"{card.file} is a {card.format}, which LAMMPS cannot use; give a nequip package, "
            "checkpoint or compiled model, or --pair for a classical style"
        )
    look = looked(path, card)
    kind = look.kind or style
    if kind is None:
        raise ModelError(
            f"{card.file} does not say whether it is NequIP or Allegro; add --pair-style nequip or "
            "--pair-style allegro"
        )
    if style is not None and kind != style:
        raise ModelError(f"{card.file} is for pair style {kind}, not {style}; leave --pair-style")
    stored = f"model{look.suffix}"
    compiled = look.suffix in _COMPILED or look.legacy
    plugin = PLUGINS[kind]
    return Pair(
        kind,
        newton=plugin.newton,
        several_ranks=plugin.several_ranks,
        card=card.model_copy(update={"species": look.species, "cutoff_A": look.cutoff_A}),
        source=path,
        stored_as=stored,
        used_as=stored if compiled else "model.nequip.pt2",
        legacy=look.legacy,
    )


# Suffixes by which the plugin tells the two kinds of compiled model apart.
_COMPILED = (".nequip.pth", ".nequip.pt2")


@dataclass(frozen=True)
class _Look:
    """What a file says without being loaded."""

    kind: str | None
    suffix: str
    species: tuple[str, ...] | None = None
    cutoff_A: float | None = None
    legacy: bool = False


def _torchscript(path: Path, card: ModelCard) -> _Look:
    names = archive_text(path, "extra/type_names")
    cutoff = archive_text(path, "extra/r_max")
    if not names or not cutoff:
        raise ModelError(
            f"{card.file} is TorchScript, but not a deployed nequip model (no r_max and type_names "
            "inside); the plugin cannot use it"
        )
    legacy = bool(archive_text(path, "extra/n_species"))
    return _Look(
        _kind_from_members(archive_members(path)),
        ".pth" if legacy else ".nequip.pth",
        tuple(names.split()),
        float(cutoff),
        legacy,
    )


def _aotinductor(path: Path, card: ModelCard) -> _Look:
    found: dict[str, str] = {}
    for name in archive_members(path):
        if name.endswith("_metadata.json"):
            found |= json.loads(archive_text(path, name.partition("/")[2]) or "{}")
    outputs = found.get("nequip_aoti_outputs", "").split()
    if "virial" not in outputs:
        raise ModelError(
            f"{card.file} was compiled for another program than LAMMPS (it gives "
            f"{', '.join(outputs) or 'nothing known'}); compile it with --target pair_nequip or "
            "pair_allegro, or give the package and let the deck do so"
        )
    whole_cell = "cell" in found.get("nequip_aoti_inputs", "").split()
    return _Look(
        "nequip" if whole_cell else "allegro",
        ".nequip.pt2",
        tuple(found["type_names"].split()) if "type_names" in found else None,
        float(found["r_max"]) if "r_max" in found else None,
    )


def _package(path: Path, card: ModelCard) -> _Look:
    text = archive_text(path, "model/package_metadata.txt") or ""
    types = re.search(r"^atom_types:\n((?:\s+\d+: \w+\n)+)", text, re.MULTILINE)
    species = tuple(re.findall(r": (\w+)", types[1])) if types else None
    return _Look(_kind_from_members(archive_members(path)), ".nequip.zip", species)


def _checkpoint(path: Path, card: ModelCard) -> _Look:
    """The names of classes in its configuration; opcodes are read, nothing is unpickled."""
    texts = [
        text
        for _, text, _ in pickletools.genops(archive_bytes(path, "data.pkl"))
        if isinstance(text, str)
    ]
    if any("allegro.model." in text for text in texts):
        return _Look("allegro", ".ckpt")
    found = any("nequip.model.NequIP" in text for text in texts)
    return _Look("nequip" if found else None, ".ckpt")


def _kind_from_members(members: list[str]) -> str | None:
    """An archive that carries its source names its architecture by the files."""
    if any("/allegro/" in name for name in members):
        return "allegro"
    return "nequip" if any("convnet" in name for name in members) else None


_LOOKS = {
    ModelFormat.TORCHSCRIPT: _torchscript,
    ModelFormat.AOTINDUCTOR: _aotinductor,
    ModelFormat.NEQUIP_PACKAGE: _package,
    ModelFormat.NEQUIP_CHECKPOINT: _checkpoint,
}
