"""From what the user typed to a loaded potential and its card."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.potentials.models import TinyModel, save_torchscript
from tests.published import published_file
from zifbench.errors import ModelError
from zifbench.frames import Frames
from zifbench.potentials.core import compute
from zifbench.potentials.formats import ModelFormat, sha256_of
from zifbench.potentials.loading import LOADERS, describe, load_potential


def test_a_loader_for_every_format() -> None:
    assert set(LOADERS) == set(ModelFormat) - {ModelFormat.PYTHON}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("water.nequip.zip", "water"),
        ("water.pth", "water"),
        ("a.b.pth", "a.b"),
        ("water.bin", "water"),
    ],
)
def test_card_before_loading(tmp_path: Path, file: str, name: str) -> None:
    path = save_torchscript(tmp_path / file)
    found, card = describe(str(path))
    assert found == path
    assert (card.name, card.file, card.format) == (name, file, "TorchScript")
    assert card.sha256 == sha256_of(path)
    assert card.size_bytes == path.stat().st_size
    assert card.species is None and card.software == {}


def test_bundled_name() -> None:
    path, card = describe("nequip-small")
    assert path.name == "nequip-small.nequip.zip"
    assert (card.name, card.format) == ("nequip-small", "nequip package")


def test_bundled_model_loads_without_trust(zif4: Frames) -> None:
    """Trained on this frame, so a rough agreement of its energy is no accident."""
    potential = load_potential("nequip-small", device="cpu")
    card = potential.card
    assert (card.architecture, card.cutoff_A, card.dtype) == ("NequIP", 4.5, "float32")
    assert card.species == ("H", "C", "N", "Zn")
    assert compute(potential, zif4[0]).energy[0] == pytest.approx(-60079.0, abs=3.0)


def test_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path) -> None:
    path = save_torchscript(tmp_path / "zif4:v2.pth")
    assert describe(str(path))[1].name == "zif4:v2"


def test_python_factory(tmp_path: Path) -> None:
    module = tmp_path / "f.py"
    module.write_text("def make(): pass\n")
    path, card = describe(f"{module}:make")
    assert path == module
    assert (card.format, card.sha256) == ("Python factory", sha256_of(module))


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.pth", "give a file, a bundled"), ("nequip-smal", "mean the bundled nequip-small")],
)
def test_nothing_there(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"no such model file: {name}; .*{words}"):
        load_potential(name)


@pytest.mark.parametrize(
    ("device", "gpus", "words"),
    [
        ("gpu", 0, "auto, cpu, cuda or cuda:N"),
        ("cuda:99", 0, "auto or cpu"),
        ("cuda:99", 1, "cpu or cuda"),
    ],
)
def test_device_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, words: str
) -> None:
    path = save_torchscript(tmp_path / "m.pth")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    with pytest.raises(ModelError, match=f"no device '{device}'.*; use {words}$"):
        load_potential(str(path), device=device)


def test_content_decides_and_not_the_name(tiny: TinyModel, tmp_path: Path, zif4: Frames) -> None:
    package, checkpoint = tmp_path / "really-a-package.ckpt", tmp_path / "a-checkpoint.nequip.zip"
    shutil.copy(tiny.package, package)
    shutil.copy(tiny.checkpoint, checkpoint)
    potentials = [load_potential(str(p), device="cpu", trust=True) for p in (package, checkpoint)]
    assert [p.card.format for p in potentials] == ["nequip package", "nequip checkpoint"]
    one, other = (compute(potential, zif4[0]) for potential in potentials)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-9)


@pytest.mark.published
def test_card_of_the_published_model() -> None:
    """Castel et al. 2024: nequip 0.5.6, 2 layers, l = 2, 6 Å; size as in the paper's archive."""
    card = load_potential(
        str(published_file("castel2024/nequip_l2r6stress0.pth")), device="cpu"
    ).card
    assert card.format == "TorchScript"
    assert card.architecture == "NequIP"
    assert card.species == ("H", "C", "N", "Zn")
    assert (card.cutoff_A, card.dtype, card.n_parameters) == (6.0, "float32", 351384)
    assert card.software["nequip"] == "0.5.6"
