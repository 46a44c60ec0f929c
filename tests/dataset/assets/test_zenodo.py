"""Records of Zenodo, from a local server that answers as its API does."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.server import Server
from zifbench.dataset.assets import unpack as unpacking
from zifbench.dataset.assets.checksums import first_seen_file
from zifbench.dataset.assets.download import Manner
from zifbench.dataset.assets.fetch import Fetcher, fetch
from zifbench.dataset.assets.registry import ArchiveRecord, Registry
from zifbench.dataset.assets.unpack import unpack
from zifbench.dataset.assets.web import Patience
from zifbench.dataset.assets.zenodo import MANIFEST_NAME, load_manifest, parse_record
from zifbench.errors import DataError, DownloadError

NOTES: list[str] = []
QUICK = Manner(patience=Patience(attempts=2, first_wait_s=0.01), note=NOTES.append)
API = "/api/records/10015594"


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {
    "1500K_V0.zip": zipped({"1500K_V0/ZIF4-pos-1.xyz": b"272\n" * 1000, "1500K_V0/a.ener": b"#"}),
    "read me.txt": b"seven runs\n",
}


def answer(server: Server, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """The form of Zenodo's API, fields that do not matter left out."""
    return {
        "id": 10015594,
        "conceptrecid": "10015593",
        "doi": "10.5281/zenodo.10015594",
        "conceptdoi": "10.5281/zenodo.10015593",
        "metadata": {
            "title": "AIMD of ZIF-4",
            "publication_date": "2023-10-17",
            "access_right": "open",
            "creators": [{"name": "Castel, Nicolas"}, {"name": "Coudert, François-Xavier"}],
            "license": {"id": "cc-by-4.0"},
        },
        "files": [
            {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{server.url}/content/{i}"},
            }
            for i, (name, content) in enumerate(files.items())
        ],
    } | changes


@pytest.fixture
def publish(server: Server) -> Callable[..., None]:
    """Put a record on the server."""

    def publish(files: dict[str, bytes] = FILES, **changes: Any) -> None:
        server.files |= {f"/content/{i}": content for i, content in enumerate(files.values())}
        server.files[API] = json.dumps(answer(server, files, **changes)).encode()

    return publish


@pytest.fixture
def fetcher(tmp_path: Path, server: Server, publish: Callable[..., None]) -> Fetcher:
    publish()
    NOTES.clear()
    record = ArchiveRecord("aimd", f"{server.url}{API}", "cite it", "trajectories")
    return Fetcher(tmp_path / "cache", (), Registry({}, {}, {"aimd": record}), QUICK)


def test_record_with_its_manifest(fetcher: Fetcher) -> None:
    [fetched] = fetcher.fetch_all(["aimd"])
    folder = fetcher.directory / "aimd"
    assert (fetched.path, fetched.new, fetched.licence) == (folder, True, "cc-by-4.0")
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST_NAME} == FILES
    manifest = load_manifest(folder / MANIFEST_NAME)
    assert manifest.doi == "10.5281/zenodo.10015594"
    assert manifest.concept_doi == "10.5281/zenodo.10015593"
    assert manifest.creators == ("Castel, Nicolas", "Coudert, François-Xavier")
    assert manifest.n_bytes == sum(map(len, FILES.values()))
    assert manifest.files[0].checksum == f"md5:{hashlib.md5(FILES['1500K_V0.zip']).hexdigest()}"
    written = json.loads((folder / MANIFEST_NAME).read_text())
    assert written["schema"] == 1
    assert fetcher.fetch_all(["aimd"])[0].new is False
    assert fetch("aimd", fetcher) == folder


def test_interrupted_record_continues(fetcher: Fetcher, server: Server) -> None:
    server.fail("/content/1", "status 403")
    with pytest.raises(DownloadError, match="403"):
        fetcher.fetch_all(["aimd"])
    server.requests.clear()
    assert fetcher.fetch_all(["aimd"])[0].new
    assert [path for path, _ in server.requests] == [API, "/content/1"]


def test_wrong_md5_keeps_nothing(fetcher: Fetcher, server: Server) -> None:
    server.fail("/content/1", "wrong")
    with pytest.raises(DownloadError, match=r"checksum md5:.*wanted md5:.*nothing was kept"):
        fetcher.fetch_all(["aimd"])
    assert not (fetcher.directory / "aimd" / "read me.txt").exists()


@pytest.mark.parametrize(
    ("files", "changes", "said"),
    [
        (FILES | {"read me.txt": b"eight runs"}, {}, "read me.txt had 11 bytes"),
        ({"read me.txt": FILES["read me.txt"]}, {}, "1500K_V0.zip was removed"),
        (FILES | {"new.zip": b"x"}, {}, "new.zip was added"),
        (FILES, {"id": 10015600}, "version 10015594 became 10015600"),
    ],
)
def test_changed_record_is_refused(
    fetcher: Fetcher,
    publish: Callable[..., None],
    tmp_path: Path,
    files: dict[str, bytes],
    changes: dict[str, Any],
    said: str,
) -> None:
    fetcher.fetch_all(["aimd"])
    before = {p: p.read_bytes() for p in (fetcher.directory / "aimd").iterdir()}
    publish(files, **changes)
    with pytest.raises(DataError, match=f"changed since it was fetched to .*: {said}"):
        fetcher.fetch_all(["aimd"])
    assert {p: p.read_bytes() for p in (fetcher.directory / "aimd").iterdir()} == before
    # In another directory it is refused too: this computer has seen it otherwise.
    with pytest.raises(DataError, match=r"first seen on this computer.*first-seen.json"):
        replace(fetcher, directory=tmp_path / "new").fetch_all(["aimd"])
    assert not (tmp_path / "new" / "aimd").exists()
    first_seen_file().unlink()
    replace(fetcher, directory=tmp_path / "new").fetch_all(["aimd"])


def test_concept_that_leads_to_a_version_is_said(
    fetcher: Fetcher, publish: Callable[..., None]
) -> None:
    publish(id=10099999)
    fetcher.fetch_all(["aimd"])
    assert "aimd: 10015594 leads to version 10099999" in NOTES
    assert load_manifest(fetcher.directory / "aimd" / MANIFEST_NAME).given == "10099999"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "a\\b", ".hidden", "", MANIFEST_NAME])
def test_file_names_that_are_paths(
    fetcher: Fetcher, publish: Callable[..., None], name: str
) -> None:
    publish({name: b"x"})
    with pytest.raises(DataError, match="no plain name"):
        fetcher.fetch_all(["aimd"])
    assert not fetcher.directory.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "no record of Zenodo"),
        (b'{"id": 1, "metadata": {"access_right": "closed"}, "files": []}', "access: closed"),
        (b'{"id": 1, "metadata": {}, "files": [{"key": "a"}]}', "KeyError: 'checksum'"),
    ],
)
def test_answers_that_are_no_record(
    fetcher: Fetcher, server: Server, body: bytes, said: str
) -> None:
    server.files[API] = body
    with pytest.raises((DataError, DownloadError), match=said):
        fetcher.fetch_all(["aimd"])


def test_overloaded_api_is_asked_again(fetcher: Fetcher, server: Server) -> None:
    server.fail(API, "status 503")
    fetcher.fetch_all(["aimd"])
    assert any("HTTP 503" in note for note in NOTES)


def test_what_is_here_needs_no_network(fetcher: Fetcher, server: Server) -> None:
    fetcher.fetch_all(["aimd"])
    server.fail(API, *["status 500"] * 4)
    assert fetcher.fetch_all(["aimd"])[0].new is False
    assert "going by" in NOTES[-1]
    (fetcher.directory / "aimd" / MANIFEST_NAME).unlink()
    with pytest.raises(DownloadError, match="HTTP 500"):
        fetcher.fetch_all(["aimd"])


def test_a_licence_may_be_missing(fetcher: Fetcher, server: Server) -> None:
    stated = answer(server, FILES)
    del stated["metadata"]["license"]
    assert parse_record(stated, fetcher.registry.records["aimd"]).licence == "not stated"


@pytest.mark.parametrize("by_url", [False, True])
def test_a_cache_mirrors_a_record(
    fetcher: Fetcher, server: Server, tmp_path: Path, by_url: bool
) -> None:
    fetcher.fetch_all(["aimd"])
    mirror = str(fetcher.directory)
    if by_url:
        mirror = f"{server.url}/m"
        for path in (fetcher.directory / "aimd").iterdir():
            name = path.name.replace(" ", "%20")
            server.files[f"/m/aimd/{name}"] = path.read_bytes()
    server.requests.clear()
    copied = replace(fetcher, directory=tmp_path / "copy", mirrors=(mirror,)).fetch_all(["aimd"])
    assert (copied[0].path / "read me.txt").read_bytes() == FILES["read me.txt"]
    assert API not in [path for path, _ in server.requests]


# -- unpacking ------------------------------------------------------------------------------------


def test_unpacked_beside_the_archive(fetcher: Fetcher) -> None:
    replace(fetcher, unpack=True).fetch_all(["aimd"])
    folder = fetcher.directory / "aimd" / "1500K_V0"
    assert (folder / "1500K_V0" / "ZIF4-pos-1.xyz").read_bytes() == b"272\n" * 1000
    assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x"])
def test_members_outside_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "d" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped({"good": b"g", name: b"evil"}))
    with pytest.raises(DataError, match="would write outside its folder"):
        unpack(archive)
    assert [p.name for p in tmp_path.rglob("*")] == ["d", "a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link"):
        unpack(tmp_path / "a.zip")


def test_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    content = bytearray(zipped({"a/b": bytes(range(256)) * 100}))
    content[60] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        unpack(tmp_path / "a.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_killed_unpacking_starts_again(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b": b"whole"}))
    (tmp_path / ".a.unpacking").mkdir()
    (tmp_path / ".a.unpacking" / "b").write_bytes(b"ha")
    assert (unpack(tmp_path / "a.zip") / "b").read_bytes() == b"whole"
    (tmp_path / "a" / "b").write_bytes(b"mine")
    assert (unpack(tmp_path / "a.zip") / "b").read_bytes() == b"mine"


def test_archive_larger_than_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b": bytes(100_000)}))
    usage = unpacking.shutil.disk_usage("/")._replace(free=99_999)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="needs 100 kB unpacked"):
        unpack(tmp_path / "a.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
