"""What comes with the package: a few of our own DFT frames and a small model trained on some.

README.md beside this file says how each was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bundled:
    """A file in this folder."""

    file: str
    sha256: str
    about: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(__file__).parent / self.file


BUNDLED_MODELS = {
    "nequip-small": Bundled(
        file="nequip-small.nequip.zip",
        sha256="7172d47d1ba22799187e767e96cc29cc867f797bb83fbbcadcf68cead91ea31c",
        about="NequIP, 2 layers, l = 1, 4.5 Å, trained on zif4-own-train",
    ),
}

BUNDLED_DATA = {
    "zif4-own-train": Bundled(
        file="zif4-own-train.extxyz",
        sha256="9088100e2fdfc99c2dadda7867497c9573629918e22c079ce77c804cd52ae7aa",
        about="8 PBE-D3 frames of ZIF-4, crystal 300-1000 K and disordered 1500 K",
    ),
    "zif4-own-val": Bundled(
        file="zif4-own-val.extxyz",
        sha256="6fe5e5761c90676a0ebd1e30f0f762ae85e3f3a5d9956ef4f20491fc062d92ff",
        about="1 PBE-D3 frame of ZIF-4, crystal 1000 K",
    ),
    "zif4-own-test": Bundled(
        file="zif4-own-test.extxyz",
        sha256="67683a86fbd777a7ae1ac24935b55a100290ef2992a21236f61c821b9c7f98ef",
        about="3 PBE-D3 frames of ZIF-4 that the bundled model has not seen: "
        "crystal 300 K and 600 K, disordered 1750 K",
    ),
}

DEFAULT_DATA = "zif4-own-test"
