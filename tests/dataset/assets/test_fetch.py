"""Fetching by name: mirrors, the cache, first-seen checksums, the command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.dataset.server import Server
from tests.published import published_file
from tests.test_cli import ROOT, run
from zifbench.dataset.assets.checksums import first_seen, first_seen_file
from zifbench.dataset.assets.download import Manner
from zifbench.dataset.assets.fetch import Fetcher, checked_mirrors, default_mirrors, fetch
from zifbench.dataset.assets.registry import Asset, Group, Registry, load_registry
from zifbench.dataset.assets.web import Patience
from zifbench.errors import DataError, DownloadError, NotPublishedError, UnknownNameError

QUICK = Manner(patience=Patience(attempts=2, first_wait_s=0.01))
KNOWN, UNKNOWN = b"published\n" * 50, b"nobody knows\n"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def fetcher(tmp_path: Path, server: Server) -> Fetcher:
    """Two assets on a local server, one of them without known checksum."""
    server.files |= {"/known.dat": KNOWN, "/unknown.dat": UNKNOWN}
    known = Asset("a/known.dat", f"{server.url}/known.dat", len(KNOWN), sha256(KNOWN), "L", "K")
    unknown = Asset("a/unknown.dat", f"{server.url}/unknown.dat", None, None, "L", "U")
    members = {asset.name: asset for asset in (known, unknown)}
    registry = Registry(members, {"a": Group("a", "both", tuple(members))}, {})
    return Fetcher(tmp_path / "cache", (), registry, QUICK)


def test_fetches_once(fetcher: Fetcher, server: Server) -> None:
    path = fetch("a/known.dat", fetcher)
    assert path == fetcher.directory / "a" / "known.dat"
    assert path.read_bytes() == KNOWN
    assert fetch("a/known.dat", fetcher) == path
    assert len(server.requests) == 1


def test_group(fetcher: Fetcher) -> None:
    first = fetcher.fetch_all(["a"])
    assert [(f.name, f.new, f.first_seen) for f in first] == [
        ("a/known.dat", True, False),
        ("a/unknown.dat", True, True),
    ]
    assert [(f.new, f.first_seen) for f in fetcher.fetch_all(["a"])] == [(False, False)] * 2
    with pytest.raises(DataError, match="is a group of 2 files"):
        fetch("a", fetcher)


def test_unknown_name_fetches_nothing(fetcher: Fetcher, server: Server) -> None:
    with pytest.raises(UnknownNameError, match=r"a/known.dat"):
        fetcher.fetch_all(["a/unknown.dat", "a/knwn.dat"])
    assert server.requests == []


def test_first_checksum_is_required_from_then_on(
    fetcher: Fetcher, server: Server, tmp_path: Path
) -> None:
    fetch("a/unknown.dat", fetcher)
    entry = json.loads(first_seen_file().read_text())["seen"]["a/unknown.dat"]
    assert entry["checksum"] == sha256(UNKNOWN) == first_seen("a/unknown.dat")
    assert entry["from"] == f"{server.url}/unknown.dat"
    server.files["/unknown.dat"] = b"another\n"
    elsewhere = replace(fetcher, directory=tmp_path / "elsewhere")
    with pytest.raises(DownloadError, match=r"first-seen.json holds the first one seen"):
        fetch("a/unknown.dat", elsewhere)
    assert not (tmp_path / "elsewhere" / "a" / "unknown.dat").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2, "seen": {}}', '{"schema": 1}'])
def test_damaged_list_of_checksums(fetcher: Fetcher, text: str) -> None:
    first_seen_file().parent.mkdir(parents=True, exist_ok=True)
    first_seen_file().write_text(text)
    with pytest.raises(DataError, match="is damaged"):
        fetch("a/unknown.dat", fetcher)
    assert first_seen_file().read_text() == text


def test_other_file_under_the_name_is_left_alone(fetcher: Fetcher) -> None:
    path = fetcher.directory / "a" / "known.dat"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(DownloadError, match="is there, but is not the published"):
        fetch("a/known.dat", fetcher)
    assert path.read_text() == "mine"


def test_mirror_directory_first(fetcher: Fetcher, server: Server, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (mirror / "a").mkdir(parents=True)
    (mirror / "a" / "known.dat").write_bytes(KNOWN)
    mirrored = replace(fetcher, mirrors=(str(tmp_path / "none"), str(mirror)))
    assert [f.new for f in mirrored.fetch_all(["a"])] == [True, True]
    assert [path for path, _ in server.requests] == ["/unknown.dat"]


def test_mirror_url_first(fetcher: Fetcher, server: Server) -> None:
    server.files["/mirror/a/known.dat"] = KNOWN
    mirrored = replace(fetcher, mirrors=(f"{server.url}/mirror/",))
    mirrored.fetch_all(["a"])
    assert [path for path, _ in server.requests] == [
        "/mirror/a/known.dat",
        "/mirror/a/unknown.dat",
        "/unknown.dat",
    ]


def test_a_cache_is_a_mirror(fetcher: Fetcher, tmp_path: Path, server: Server) -> None:
    fetcher.fetch_all(["a"])
    server.requests.clear()
    second = replace(fetcher, directory=tmp_path / "b", mirrors=(str(fetcher.directory),))
    second.fetch_all(["a"])
    assert server.requests == []


def test_damaged_mirror_is_said(fetcher: Fetcher, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (mirror / "a").mkdir(parents=True)
    (mirror / "a" / "known.dat").write_bytes(bytes(len(KNOWN)))
    with pytest.raises(DownloadError, match=r"mirror/a/known.dat .*nothing was kept"):
        fetch("a/known.dat", replace(fetcher, mirrors=(str(mirror),)))


def test_missing_everywhere(fetcher: Fetcher, server: Server) -> None:
    del server.files["/known.dat"]
    with pytest.raises(NotPublishedError, match=r"known.dat is not there"):
        fetch("a/known.dat", fetcher)
    assert not list(fetcher.directory.rglob("*.dat*"))


def test_mirrors_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIFBENCH_MIRROR", "/a::/b")
    assert default_mirrors() == ("/a", "/b")
    monkeypatch.setenv("ZIFBENCH_MIRROR", "http://host:80/x")
    assert default_mirrors() == ("http://host:80/x",)
    monkeypatch.delenv("ZIFBENCH_MIRROR")
    assert default_mirrors() == ()


def test_mirror_that_is_none(tmp_path: Path) -> None:
    assert checked_mirrors([str(tmp_path), "https://x"]) == (str(tmp_path), "https://x")
    with pytest.raises(DataError, match="neither a directory nor"):
        checked_mirrors([str(tmp_path / "no")])


def test_default_directory_is_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZIFBENCH_CACHE", str(tmp_path))
    assert Fetcher().directory == tmp_path


# -- the command ----------------------------------------------------------------------------------


def test_command_fetches_from_a_mirror(tmp_path: Path) -> None:
    """A real asset of 8 kB cannot be invented: its mirror copy is refused, and says so."""
    mirror = tmp_path / "mirror" / "castel2024"
    mirror.mkdir(parents=True)
    (mirror / "crystal.lmp").write_bytes(bytes(22233))
    command = ["data", "fetch", "castel2024/crystal.lmp", "--mirror", tmp_path / "mirror"]
    outcome = run(*command, "--to", tmp_path / "to")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert "castel2024/crystal.lmp" in outcome.stderr
    assert "nothing was kept" in outcome.stderr
    assert not list((tmp_path / "to").rglob("*.lmp*"))


@pytest.mark.published
def test_command_prints_the_citation_once(tmp_path: Path) -> None:
    published_file("gaillac2020/ZIF4_15glass10.cif")
    outcome = run("data", "fetch", "zif4-glasses", "castel2024/crystal.lmp", "--to", tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert len(list((tmp_path / "gaillac2020").iterdir())) == 10
    assert outcome.stdout.count("please cite") == 2
    assert outcome.stdout.count("Chem. Mater. 2020, 32, 8004") == 1
    assert outcome.stdout.count("CC-BY-4.0") == 2
    again = run("data", "fetch", "zif4-glasses", "--to", tmp_path)
    assert again.stdout.count("already there") == 10


@pytest.mark.published
def test_interrupted_command_continues(tmp_path: Path, server: Server) -> None:
    """Ctrl-C while the published model comes from a slow mirror; the same command completes it."""
    name = "castel2024/nequip_l2r6stress0.pth"
    server.files[f"/{name}"] = published_file(name).read_bytes()
    server.delay_s = 0.05
    command = ["data", "fetch", name, "--mirror", server.url, "--to", tmp_path]
    child = start(*command)
    part = tmp_path / "castel2024" / ".nequip_l2r6stress0.pth.partial" / "part"
    while not part.is_file() or part.stat().st_size < 500_000:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    assert not (tmp_path / name).exists()
    server.delay_s = 0.0
    outcome = run(*command)
    assert outcome.returncode == 0, outcome.stderr
    assert server.requests[-1][1].startswith("bytes=")
    assert (tmp_path / name).stat().st_size == 2_058_674


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """The program, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "zifbench.cli", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )


def test_command_needs_a_name(tmp_path: Path) -> None:
    assert run("data", "fetch").returncode == 2
    outcome = run("data", "fetch", "castel2042", "--to", tmp_path)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: unknown asset 'castel2042'; did you mean castel202")
    assert outcome.stderr.count("\n") == 1


def test_command_lists() -> None:
    outcome = run("data", "assets", "--json")
    assert {row["name"] for row in json.loads(outcome.stdout)} >= set(load_registry().assets)
    table = run("data", "assets")
    assert "zif4-aimd" in table.stdout
    assert "castel2024/allegro_l2r6stress0a2.pth" in table.stdout
