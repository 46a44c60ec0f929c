"""The registry of published files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.published import published_file
from zifbench.dataset.assets.checksums import checksum_of
from zifbench.dataset.assets.listing import list_assets
from zifbench.dataset.assets.registry import load_registry
from zifbench.errors import DataError, UnknownNameError

REGISTRY = load_registry()


def test_urls_are_encoded() -> None:
    hessian = REGISTRY.assets["duerholt2019/ZIF4.out.bz2"].url
    assert hessian == (
        "https://raw.githubusercontent.com/fxcoudert/citable-data/"
        "86fa8c27af2d60e4e79b572fe6da62b2ae51b125/"
        "107-D%C3%BCrholt_JCTC_2019/cp2k/hessians/ZIF4.out.bz2"
    )
    spaces = REGISTRY.assets["castel2023/ZIF4_300.inp"].url
    assert "/AIMD/finite%20strain%20difference/001_volume_change0/ZIF4_300.inp" in spaces
    for asset in REGISTRY.assets.values():
        assert re.fullmatch(r"[!-~]+", asset.url)
        # The umlaut is one character; nothing is found under u and a combining mark.
        assert "\u0308" not in unquote(urlsplit(asset.url).path)


@pytest.mark.parametrize(
    ("group", "n_files"),
    [
        ("castel2024", 5),
        ("models", 4),
        ("zif4-glasses", 10),
        ("zif8-glasses", 10),
        ("salem2-glasses", 10),
        ("gaillac2020", 30),
        ("hessians", 18),
        ("duerholt2019", 19),
        ("xray", 40),
    ],
)
def test_groups(group: str, n_files: int) -> None:
    assert len(REGISTRY.groups[group].members) == n_files
    assert set(REGISTRY.groups[group].members) <= REGISTRY.assets.keys()


def test_names_resolve_once_and_in_order() -> None:
    names = ["castel2024/crystal.lmp", "castel2024", "zif4-aimd", "castel2024/crystal.lmp"]
    found = [item.name for item in REGISTRY.resolve(names)]
    assert found[0] == "castel2024/crystal.lmp"
    assert len(found) == 6
    assert found[-1] == "zif4-aimd"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("zif4-glases", "zif4-glasses"),
        ("castel2024/cristal.lmp", "castel2024/crystal.lmp"),
        ("crystal.lmp", "castel2024/crystal.lmp"),
        ("ZIF4.cif", "duerholt2019/ZIF4.cif"),
        ("zif4-aimdd", "zif4-aimd"),
    ],
)
def test_unknown_names_list_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown asset '{re.escape(name)}'.*{nearest}"):
        REGISTRY.resolve([name])


def test_every_asset_says_whom_to_cite() -> None:
    for asset in REGISTRY.assets.values():
        assert asset.licence == "CC-BY-4.0"
        assert "doi:10." in asset.citation


def test_checksums_are_whole() -> None:
    checksums = [a.checksum for a in REGISTRY.assets.values() if a.checksum]
    assert len(checksums) == len(set(checksums)) == 24
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", c) for c in checksums)


@pytest.mark.published
@pytest.mark.parametrize("name", [a.name for a in REGISTRY.assets.values() if a.checksum])
def test_published_files_are_these(name: str) -> None:
    path, asset = published_file(name), REGISTRY.assets[name]
    assert path.stat().st_size == asset.n_bytes
    assert checksum_of(path) == asset.checksum


def test_listing_has_every_name(tmp_path: Path) -> None:
    (tmp_path / "castel2024").mkdir()
    (tmp_path / "castel2024" / "crystal.lmp").write_text("x")
    rows = {row["name"]: row for row in list_assets(REGISTRY, tmp_path)}
    assert rows.keys() == {*REGISTRY.assets, *REGISTRY.groups, *REGISTRY.records}
    assert rows["castel2024"]["cached"] == "1 of 5"
    assert rows["castel2024/crystal.lmp"]["cached"] == "yes"
    assert rows["zif4-aimd"]["kind"] == "record"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 2", "schema 2, wanted 1"),
        ("schema = ", "no list of assets"),
        ('schema = 1\n[collections.a]\norigin = "b"', "'origins' is missing"),
    ],
)
def test_bad_registry(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "assets.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_registry(path)
