"""Nothing that a model file holds runs before someone has said so."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.potentials.models import save_torchscript
from zifbench.bundled import BUNDLED_MODELS
from zifbench.errors import ModelError, ResultError, UntrustedModelError
from zifbench.potentials.ase_potential import find_factory
from zifbench.potentials.formats import ModelFormat, runs_code
from zifbench.potentials.loading import describe, load_potential
from zifbench.potentials.trust import ensure_trusted, trust_file, trusted_models

DIGEST = "1" * 64


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Made by whatever runs code from a model file."""
    return tmp_path / "it-ran"


@pytest.mark.parametrize("kind", sorted(ModelFormat))
def test_refused_until_trusted(kind: ModelFormat) -> None:
    with pytest.raises(
        UntrustedModelError, match=f"m is a {kind}, which can run any code.*--trust"
    ):
        ensure_trusted("m", DIGEST, kind, trust=False)
    assert not trust_file().exists()
    ensure_trusted("dir/m", DIGEST, kind, trust=True)
    ensure_trusted("m", DIGEST, kind, trust=False)
    assert trusted_models()[DIGEST]["name"] == "m"


def test_torchscript_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    save_torchscript(path)
    assert not runs_code(path, ModelFormat.TORCHSCRIPT)
    assert all(runs_code(path, kind) for kind in set(ModelFormat) - {ModelFormat.TORCHSCRIPT})


class WritesFiles(torch.nn.Module):
    """TorchScript can reach files: this would write one when it is called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("it-ran", True, 5, dtype=torch.uint8).copy_(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_that_touches_files_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.jit.save(torch.jit.script(WritesFiles()), str(path))
    assert runs_code(path, ModelFormat.TORCHSCRIPT)
    with pytest.raises(UntrustedModelError, match="add --trust"):
        load_potential(str(path), device="cpu")


def test_bundled_model_needs_no_trust() -> None:
    digest = BUNDLED_MODELS["nequip-small"].sha256
    ensure_trusted("nequip-small", digest, ModelFormat.NEQUIP_PACKAGE, trust=False)
    assert describe("nequip-small")[1].sha256 == digest


def test_trust_lies_in_the_config_dir_and_adds_up(config_dir: Path) -> None:
    for digest in (DIGEST, "2" * 64):
        ensure_trusted("m", digest, ModelFormat.PICKLE, trust=True)
    assert trust_file() == config_dir / "trusted.json"
    assert set(json.loads(trust_file().read_text())) == {DIGEST, "2" * 64}
    assert list(config_dir.iterdir()) == [trust_file()]  # no temporary file is left


@pytest.mark.parametrize("text", ["{", "[]", '"yes"', ""])
def test_damaged_trust_file_trusts_nothing(config_dir: Path, text: str) -> None:
    config_dir.mkdir()
    trust_file().write_text(text)
    with pytest.raises(ResultError, match=r"trusted\.json is damaged .*; delete it"):
        ensure_trusted("m", DIGEST, ModelFormat.PICKLE, trust=False)
    assert trust_file().read_text() == text


def test_changed_file_is_refused_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "factory_of_lj.py"
    module.write_text("from ase.calculators.lj import LennardJones as make\n")
    monkeypatch.delitem(sys.modules, "factory_of_lj", raising=False)
    spec = f"{module}:make"
    load_potential(spec, device="cpu", trust=True)
    load_potential(spec, device="cpu")
    module.write_text(module.read_text() + "# changed\n")
    with pytest.raises(UntrustedModelError, match="Python factory"):
        load_potential(spec, device="cpu")


# -- nothing runs before ------------------------------------------------------------------------


def refused(model: str, marker: Path) -> None:
    with pytest.raises(UntrustedModelError, match="--trust"):
        load_potential(model, device="cpu")
    assert not marker.exists()


def test_pickle_does_not_run(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(pickle.dumps(Bomb(marker)))
    refused(str(path), marker)
    with pytest.raises(ModelError, match="gives a NoneType, wanted an ASE calculator"):
        load_potential(str(path), device="cpu", trust=True)
    assert marker.exists()  # so the bomb was live


@pytest.mark.parametrize("new_zip", [True, False])
def test_torch_pickle_does_not_run(tmp_path: Path, marker: Path, new_zip: bool) -> None:
    path = tmp_path / "m.pth"
    torch.save({"model": Bomb(marker)}, path, _use_new_zipfile_serialization=new_zip)
    refused(str(path), marker)


def test_checkpoint_does_not_run(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "m.ckpt"
    keys = {"pytorch-lightning_version": "2.5", "training_module": "x"}
    torch.save({"hyper_parameters": keys, "state": Bomb(marker)}, path)
    assert describe(str(path))[1].format == ModelFormat.NEQUIP_CHECKPOINT
    refused(str(path), marker)
    with pytest.raises(ModelError, match=r"m\.ckpt \(nequip checkpoint\) cannot be loaded here"):
        load_potential(str(path), device="cpu", trust=True)
    assert marker.exists()


@pytest.mark.parametrize(
    "members",
    [
        ("model/package_metadata.txt", ".data/extern_modules", "model/model.pkl"),
        ("data/aotinductor/model/model.so", "data/weights/x.pkl"),
    ],
    ids=["nequip package", "AOTInductor package"],
)
def test_archives_do_not_run(tmp_path: Path, marker: Path, members: tuple[str, ...]) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(f"m/{name}", pickle.dumps(Bomb(marker)))
    refused(str(path), marker)


def test_python_file_does_not_run(tmp_path: Path, marker: Path) -> None:
    module = tmp_path / "noisy.py"
    module.write_text(f"open({str(marker)!r}, 'w').close()\ndef make(): pass\n")
    refused(f"{module}:make", marker)
    with pytest.raises(ModelError, match="gives a NoneType"):
        load_potential(f"{module}:make", device="cpu", trust=True)
    assert marker.exists()


@pytest.mark.parametrize("noisy", ["noisypkg/__init__.py", "noisypkg/deep/models.py"])
def test_no_package_on_the_way_runs(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, noisy: str
) -> None:
    root = tmp_path / "site"
    for name in ("noisypkg/__init__.py", "noisypkg/deep/__init__.py", "noisypkg/deep/models.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / noisy).write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(root)
    assert find_factory("noisypkg.deep.models:make") == root / "noisypkg/deep/models.py"
    refused("noisypkg.deep.models:make", marker)
    assert not any(name.startswith("noisypkg") for name in sys.modules)


def test_torchscript_is_loaded_without_trust(tmp_path: Path) -> None:
    load_potential(str(save_torchscript(tmp_path / "m.pth")), device="cpu")
    assert not trust_file().exists()
