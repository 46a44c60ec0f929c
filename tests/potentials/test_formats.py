"""Model files are told apart by their content, whatever they are called."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.potentials.models import TinyModel, save_torchscript
from zifbench.errors import ModelError
from zifbench.potentials.formats import (
    ModelFormat,
    archive_members,
    archive_text,
    identify,
    sha256_of,
)


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    """A stored (not compressed) archive, as torch writes them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_torchscript_under_any_name(tmp_path: Path) -> None:
    for name in ("model.pth", "model.ckpt", "model.nequip.zip", "model"):
        assert identify(save_torchscript(tmp_path / name)) is ModelFormat.TORCHSCRIPT


def test_package_and_checkpoint_with_names_swapped(tiny: TinyModel, tmp_path: Path) -> None:
    package, checkpoint = tmp_path / "a.ckpt", tmp_path / "b.nequip.zip"
    package.write_bytes(tiny.package.read_bytes())
    checkpoint.write_bytes(tiny.checkpoint.read_bytes())
    assert identify(package) is ModelFormat.NEQUIP_PACKAGE
    assert identify(checkpoint) is ModelFormat.NEQUIP_CHECKPOINT


def test_aotinductor_archive(tmp_path: Path) -> None:
    members = {"m/data/aotinductor/model/x.so": b"\x7fELF", "m/version": b"3"}
    assert identify(write_zip(tmp_path / "m.pth", members)) is ModelFormat.AOTINDUCTOR


@pytest.mark.slow
def test_compiled_model(compiled: tuple[TinyModel, Path]) -> None:
    assert identify(compiled[1]) is ModelFormat.AOTINDUCTOR


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"weights": [1.0]}, protocol=protocol))
    assert identify(path) is ModelFormat.PICKLE


@pytest.mark.parametrize("new_zip", [True, False])
def test_torch_save_of_plain_values_is_a_pickle(tmp_path: Path, new_zip: bool) -> None:
    path = tmp_path / "weights.ckpt"
    weights = {"layer": torch.ones(2), "epoch": 3}
    torch.save(weights, path, _use_new_zipfile_serialization=new_zip)
    assert identify(path) is ModelFormat.PICKLE


def test_checkpoint_of_another_lightning_program_is_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({"pytorch-lightning_version": "2.5", "state_dict": {}}, path)
    assert identify(path) is ModelFormat.PICKLE


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"these are not weights\n", "neither a zip archive nor a pickle"),
        (b"\x7fELF\x02\x01\x01\x00", "a compiled library"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\x1f\x8b\x08\x00", "a gzip archive; unpack it first"),
        (b"BZh91AY", "a bzip2 archive; unpack it first"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.pth is not a model file: it is {kind}; wanted"):
        identify(path)


def test_arrays_in_a_zip_are_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, weights=np.ones(3))
    with pytest.raises(ModelError, match=r"zip archive but not a model: it holds weights\.npy"):
        identify(path)


@pytest.mark.parametrize(
    ("path", "words"), [("missing.pth", "no such model file"), (".", "is not a file")]
)
def test_no_such_file(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        identify(tmp_path / path)


def test_a_python_file_wants_a_factory(tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("x = 1\n")
    with pytest.raises(ModelError, match=r"add the function .*calc\.py:factory"):
        identify(tmp_path / "calc.py")


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_truncated(tmp_path: Path, kept: float) -> None:
    content = save_torchscript(tmp_path / "whole.pth").read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match=r"cut\.pth is a truncated or damaged archive"):
        identify(path)


def test_flipped_byte_in_a_weight(tmp_path: Path) -> None:
    path = save_torchscript(tmp_path / "model.pth")
    with zipfile.ZipFile(path) as archive:
        member = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
    content = bytearray(path.read_bytes())
    content[_payload(path, member)] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged: wrong checksum of its member .*; fetch it"):
        identify(path)


def _payload(path: Path, member: zipfile.ZipInfo) -> int:
    """Offset of the first byte of a stored member: past its local header, name and extra field."""
    header = path.read_bytes()[member.header_offset :][:30]
    return (
        member.header_offset
        + 30
        + int.from_bytes(header[26:28], "little")
        + int.from_bytes(header[28:30], "little")
    )


def test_members_and_texts(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"x/model/notes.txt": "Zn–N".encode(), "x/a": b""})
    assert archive_members(path) == ["x/model/notes.txt", "x/a"]
    assert archive_text(path, "model/notes.txt") == "Zn–N"
    assert archive_text(path, "notes.txt") is None


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    """The digest of "abc" from FIPS 180-2, appendix B.1."""
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
