"""Downloads from a server that fails: continued, verified, nothing half-written."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import zifbench
from tests.dataset.server import Server
from zifbench.dataset.assets import courier
from zifbench.dataset.assets import download as downloading
from zifbench.dataset.assets.download import Manner, Wanted, copy, download
from zifbench.dataset.assets.web import Patience
from zifbench.errors import DownloadError, NotPublishedError

# Connections break after whole blocks of 64 kB here: less than one may be lost.
BODY = random.Random(1).randbytes(3_000_000)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
QUICK = Patience(attempts=4, first_wait_s=0.01)


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted("set/file.bin", tmp_path / "set" / "file.bin", len(BODY), SHA256)


@pytest.fixture
def url(server: Server) -> str:
    server.files["/file.bin"] = BODY
    return f"{server.url}/file.bin"


def here(wanted: Wanted) -> list[str]:
    """Names in the target's directory."""
    return sorted(path.name for path in wanted.target.parent.iterdir())


def manner(notes: list[str] | None = None, patience: Patience = QUICK) -> Manner:
    return Manner(patience=patience, note=(notes if notes is not None else []).append)


def test_plain(wanted: Wanted, url: str) -> None:
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY
    assert here(wanted) == ["file.bin"]
    assert wanted.target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_dropped_connections_are_continued(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "drop 1179648", "drop 0", "status 503", "drop 1114112")
    notes: list[str] = []
    download(wanted, url, manner(notes))
    assert wanted.target.read_bytes() == BODY
    ranges = [asked for _, asked in server.requests]
    assert ranges == ["", *["bytes=1179648-"] * 3, "bytes=2293760-"]
    assert len(notes) == 4
    assert "the connection to 127.0.0.1 broke; next attempt in" in notes[0]


def test_progress_does_not_count_as_failure(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "drop 1114112", "drop 1114112", "drop 10", "drop 10")
    download(wanted, url, manner(patience=Patience(attempts=4, first_wait_s=0.01)))
    assert wanted.target.read_bytes() == BODY


def test_gives_up_and_continues_next_time(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "drop 524288", *["status 500"] * 3)
    with pytest.raises(DownloadError, match=r"answers HTTP 500 \(4 attempts\).*continues where"):
        download(wanted, url, manner())
    assert here(wanted) == [".file.bin.partial"]
    server.requests.clear()
    download(wanted, url, manner())
    assert [asked for _, asked in server.requests] == ["bytes=524288-"]
    assert wanted.target.read_bytes() == BODY


def test_server_without_ranges_starts_again(wanted: Wanted, url: str, server: Server) -> None:
    server.ranges = False
    server.fail("/file.bin", "drop 524288")
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY


def test_redirect_keeps_the_range(wanted: Wanted, url: str, server: Server) -> None:
    server.files["/moved"] = BODY
    server.fail("/file.bin", "redirect /moved", "redirect /moved")
    server.fail("/moved", "drop 65536")
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY
    assert server.requests[-1] == ("/moved", "bytes=65536-")


def test_wrong_bytes_keep_nothing(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "wrong")
    zeros = hashlib.sha256(bytes(len(BODY))).hexdigest()
    with pytest.raises(DownloadError, match=f"checksum sha256:{zeros}, wanted {SHA256}.*not"):
        download(wanted, url, manner())
    assert here(wanted) == []


def test_part_of_an_earlier_state_is_not_used(wanted: Wanted, url: str, server: Server) -> None:
    """The file has changed between two attempts: once more from its beginning."""
    server.files["/file.bin"] = bytes(len(BODY))
    server.fail("/file.bin", "drop 393216", *["status 500"] * 3)
    with pytest.raises(DownloadError):
        download(wanted, url, manner())
    server.files["/file.bin"] = BODY
    notes: list[str] = []
    download(wanted, url, manner(notes))
    assert wanted.target.read_bytes() == BODY
    assert "from the beginning" in notes[0]


@pytest.mark.parametrize("etag", ["", '"one"', 'W/"one"'])
def test_without_checksum_only_a_tag_allows_to_continue(
    tmp_path: Path, url: str, server: Server, etag: str
) -> None:
    wanted = Wanted("file.bin", tmp_path / "file.bin", None, None)
    server.etag = etag
    server.fail("/file.bin", "drop 393216", *["status 500"] * 3)
    with pytest.raises(DownloadError):
        download(wanted, url, manner())
    server.requests.clear()
    download(wanted, url, manner())
    assert server.requests[0][1] == ("bytes=393216-" if etag == '"one"' else "")
    assert wanted.target.read_bytes() == BODY


def test_another_tag_starts_again(tmp_path: Path, url: str, server: Server) -> None:
    wanted = Wanted("file.bin", tmp_path / "file.bin", None, None)
    server.etag = '"one"'
    server.files["/file.bin"] = bytes(len(BODY))
    server.fail("/file.bin", "drop 393216", *["status 500"] * 3)
    with pytest.raises(DownloadError):
        download(wanted, url, manner())
    server.etag, server.files["/file.bin"] = '"two"', BODY
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY


def test_other_size_is_refused_before_it_is_brought(
    wanted: Wanted, url: str, server: Server
) -> None:
    server.files["/file.bin"] = BODY + b"x"
    with pytest.raises(DownloadError, match="has 3000001 bytes, wanted 3000000"):
        download(wanted, url, manner())
    assert here(wanted) == []


def test_longer_than_published_without_stated_length(
    wanted: Wanted, url: str, server: Server
) -> None:
    server.fail("/file.bin", "without-length 500000")
    with pytest.raises(DownloadError, match="more than the 3000000 bytes"):
        download(wanted, url, manner())
    assert here(wanted) == []


def test_without_stated_length(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "without-length")
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY


def test_web_page_instead_of_a_file(tmp_path: Path, url: str, server: Server) -> None:
    server.content_type = "text/html; charset=utf-8"
    wanted = Wanted("file.bin", tmp_path / "d" / "file.bin", None, None)
    with pytest.raises(DownloadError, match="answers with a web page"):
        download(wanted, url, manner())
    assert here(wanted) == []


def test_missing_file_is_said_at_once(wanted: Wanted, server: Server) -> None:
    with pytest.raises(NotPublishedError, match=r"nowhere is not there \(HTTP 404\)"):
        download(wanted, f"{server.url}/nowhere", manner())
    assert len(server.requests) == 1
    assert here(wanted) == []


def test_forbidden_is_not_tried_again(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "status 403")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 refuses .*HTTP 403"):
        download(wanted, url, manner())
    assert len(server.requests) == 1


def test_waits_as_long_as_the_server_asks(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "busy 1")
    notes: list[str] = []
    download(wanted, url, manner(notes))
    assert notes == ["set/file.bin: 127.0.0.1 answers HTTP 429; next attempt in 1 s"]


def test_silence(wanted: Wanted, url: str, server: Server) -> None:
    server.fail("/file.bin", "hang 1.5")
    impatient = Patience(attempts=1, silence_s=0.2)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 does not answer in time"):
        download(wanted, url, manner(patience=impatient))


def test_slow_is_not_silent(wanted: Wanted, url: str, server: Server) -> None:
    server.delay_s = 0.05  # 46 blocks take longer together than the silence allowed
    download(wanted, url, manner(patience=Patience(attempts=1, silence_s=2.0)))
    assert wanted.target.read_bytes() == BODY


def test_refused_connection(wanted: Wanted) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(DownloadError, match=r"refuses the connection \(4 attempts\)"):
            download(wanted, url, manner())


def test_no_network(wanted: Wanted) -> None:
    with pytest.raises(DownloadError, match=r"host no-such-host\.invalid is not found"):
        download(wanted, "http://no-such-host.invalid/x", manner())


def test_no_address(wanted: Wanted) -> None:
    with pytest.raises(DownloadError, match="is no address of http"):
        download(wanted, "ftp://example.org/x", manner())


def test_full_disk_is_said_before(
    wanted: Wanted, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = courier.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(courier.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"3\.00 MB more are needed, 1\.00 kB are free"):
        download(wanted, url, manner())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_while_it_is_written(
    wanted: Wanted, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = courier._write_all
    n_blocks = 0

    def full_after_three(file: object, block: bytes) -> None:
        nonlocal n_blocks
        n_blocks += 1
        if n_blocks <= 3:
            written(file, block)
            return
        with Path("/dev/full").open("wb", buffering=0) as device:
            written(device, block)

    monkeypatch.setattr(courier, "_write_all", full_after_three)
    with pytest.raises(DownloadError, match=r"no room in .*make room"):
        download(wanted, url, manner())
    monkeypatch.setattr(courier, "_write_all", written)
    notes: list[str] = []
    download(wanted, url, manner(notes))
    assert wanted.target.read_bytes() == BODY
    assert notes == []


def test_second_process_is_told(wanted: Wanted, url: str) -> None:
    with (
        downloading._workplace(wanted),
        pytest.raises(DownloadError, match="another process is fetching it"),
    ):
        download(wanted, url, manner())


def test_copy_of_a_mirror(wanted: Wanted, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY)
    copy(wanted, source)
    assert wanted.target.read_bytes() == BODY
    assert here(wanted) == ["file.bin"]
    assert wanted.target.stat().st_mode & 0o777 == 0o666 & ~_umask()


@pytest.mark.parametrize("content", [bytes(len(BODY)), b"short"])
def test_wrong_copy_keeps_nothing(wanted: Wanted, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    with pytest.raises(DownloadError, match="not the published file"):
        copy(wanted, source)
    assert here(wanted) == []


CHILD = """
import sys
from pathlib import Path
from zifbench.dataset.assets.download import Manner, Wanted, download
url, target, size, checksum = sys.argv[1:]
download(Wanted("file.bin", Path(target), int(size), checksum), url, Manner())
"""


def test_killed_at_random_instants(wanted: Wanted, url: str, server: Server) -> None:
    server.delay_s = 0.02
    command = [sys.executable, "-c", CHILD, url, wanted.target, len(BODY), SHA256]
    root = str(Path(zifbench.__file__).parent.parent)
    part = wanted.target.parent / ".file.bin.partial" / "part"
    had = 0
    for kill_after in (200_000, 700_000, 1_500_000):
        child = subprocess.Popen([str(c) for c in command], env=os.environ | {"PYTHONPATH": root})
        while not part.is_file() or part.stat().st_size < kill_after:
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not wanted.target.exists()
        assert part.stat().st_size >= had
        had = part.stat().st_size
    server.delay_s = 0.0
    server.requests.clear()
    download(wanted, url, manner())
    assert server.requests == [("/file.bin", f"bytes={had}-")]
    assert wanted.target.read_bytes() == BODY
    assert here(wanted) == ["file.bin"]


def test_killed_between_last_byte_and_checksum(wanted: Wanted, url: str, server: Server) -> None:
    """All bytes are here and pooch's own temporary file too: nothing is asked again."""
    folder = wanted.target.parent / ".file.bin.partial"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(BODY)
    (folder / "part.json").write_text(f'{{"schema": 1, "url": "{url}", "etag": ""}}')
    (folder / "tmpabcdef").write_bytes(BODY)
    download(wanted, url, manner())
    assert server.requests == []
    assert here(wanted) == ["file.bin"]


@pytest.mark.parametrize("name", ["lock", "part", "part.json", "verified"])
def test_files_of_any_name(tmp_path: Path, url: str, name: str) -> None:
    wanted = Wanted(name, tmp_path / "set" / name, len(BODY), SHA256)
    download(wanted, url, manner())
    assert wanted.target.read_bytes() == BODY
    assert here(wanted) == [name]
