"""A store reads the same from a directory, a zip, and URLs; what is no store is said so."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import zipfile
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from zifbench.dataset.store import open_store
from zifbench.dataset.store.verify import verify
from zifbench.errors import DataError, MissingDependencyError


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Python's server, which knows no ranges."""

    def log_message(self, *_):
        pass


class Ranges(Quiet):
    """Answers a range of bytes, as real servers do."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            piece = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            piece = data
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)


@pytest.fixture(params=[Quiet, Ranges], ids=["no ranges", "ranges"])
def server(request, store_path):
    """URL of the folder that holds the store."""
    handler = partial(request.param, directory=str(store_path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def zipped(directory, target, *, folder="", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(target, "w", compression) as file:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                file.write(path, folder + path.relative_to(directory).as_posix())
    return target


def same(store_path, location):
    with open_store(store_path) as here, open_store(location) as there:
        assert here.version == there.version
        for name, trajectory in here.trajectories.items():
            for rows in (slice(None), [30 % len(trajectory), 2]):
                a, b = trajectory.read(rows), there.trajectories[name].read(rows)
                assert a.digest() == b.digest()
        assert verify(there).damage == ()


@pytest.mark.parametrize("folder", ["", "store/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(store_path, tmp_path, folder, compression):
    same(store_path, zipped(store_path, tmp_path / "s.zip", folder=folder, compression=compression))


def test_http(store_path, server):
    same(store_path, f"{server}/store")
    same(store_path, f"{server}/store/")


def test_a_zip_over_http(store_path, server, request):
    """Only where the server knows ranges; the others are said to know none."""
    zipped(store_path, store_path.parent / "s.zip")
    try:
        same(store_path, f"{server}/s.zip")
    except DataError as error:
        assert "s.zip cannot be read: The HTTP server doesn't appear to support range" in str(error)
        assert request.node.callspec.id == "no ranges"


def test_memory(store_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(store_path), "/here/store", recursive=True)
    same(store_path, "memory://here/store")
    memory.rm("/here", recursive=True)


def test_one_frame_is_few_small_reads(store_path, server, monkeypatch):
    """The number of requests for a frame is two an array: index and chunk."""
    with open_store(f"{server}/store") as store:
        calls = []
        spans = type(store.files).spans
        monkeypatch.setattr(
            type(store.files), "spans", lambda *args: calls.append(args) or spans(*args)
        )
        store.trajectories["nvt 300K"].read(20, fields=["energy"])
        assert len(calls) == 6
        store.trajectories["nvt 300K"].read(21, fields=["energy"])
        assert len(calls) == 9


# -- what is no store -----------------------------------------------------------------------------


def test_nothing_there(tmp_path, server):
    with pytest.raises(DataError, match=r"nix does not exist; give the directory"):
        open_store(tmp_path / "nix")
    with pytest.raises(DataError, match=r"/nix is no store of zifbench .* or it does not exist"):
        open_store(f"{server}/nix")
    with pytest.raises(DataError, match=r"nix\.zip does not exist"):
        open_store(f"{server}/nix.zip")
    with pytest.raises(DataError, match="cannot be read"):
        open_store("http://127.0.0.1:9/store")
    with pytest.raises(DataError, match="is no store of zifbench"):
        open_store("memory://nothing")


def test_an_unknown_protocol():
    with pytest.raises((DataError, MissingDependencyError), match="gopher"):
        open_store("gopher://there/store")


def test_no_store(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="is a file but no zip"):
        open_store(tmp_path / "thesis.txt")
    with pytest.raises(DataError, match="is no store of zifbench"):
        open_store(tmp_path)
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(DataError, match="is a Zarr store, but no store of zifbench"):
        open_store(tmp_path)
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as file:
        file.writestr("a.txt", "mine")
    with pytest.raises(DataError, match="is no store of zifbench"):
        open_store(tmp_path / "s.zip")


def test_a_damaged_zip(store_path, tmp_path):
    path = zipped(store_path, tmp_path / "s.zip")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="is no complete zip; copy it again"):
        open_store(path)
    with zipfile.ZipFile(zipped(store_path, path)) as file:
        place = file.getinfo("nvt=20300K/forces/c.0.0.0").header_offset + 600
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    with open_store(path) as store:
        damage = verify(store).damage
    assert {d.file for d in damage} == {"nvt=20300K/forces/c.0.0.0"}


RECORDS = {
    "empty": (lambda text: "", "is damaged"),
    "cut": (lambda text: text[:500], "is damaged"),
    "list": (lambda text: "[1]", "is no record of a zifbench store"),
    "kind": (lambda text: text.replace("zifbench store", "other"), "is no record"),
    "newer": (
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        "is a store of schema 2, this zifbench reads 1; update zifbench",
    ),
    "older": (lambda text: text.replace('"schema": 1', '"schema": 0'), "unknown schema 0"),
    "word": (lambda text: text.replace('"schema": 1', '"schema": "x"'), "unknown schema 'x'"),
    "number": (lambda text: text.replace('"n_frames": 37', '"n_frames": 36'), "is damaged"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_cannot_be_used(store_path, case):
    change, message = RECORDS[case]
    path = store_path / "commit.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        open_store(store_path)
    assert "\n" not in str(caught.value)


def test_damaged_zarr_metadata_does_not_stop_reading(store_path):
    """Readers trust the record alone; `verify` and other programs complain."""
    for path in store_path.rglob("zarr.json"):
        path.write_text("{")
    with open_store(store_path) as store:
        assert len(store.trajectories["nvt 300K"].read(slice(None))) == 37
        assert {d.file.split("/")[-1] for d in verify(store).damage} == {"zarr.json"}


def test_a_moved_store_is_the_same(store_path, tmp_path):
    version = open_store(store_path).version
    moved = shutil.copytree(store_path, tmp_path / "elsewhere")
    assert open_store(moved).version == version
    assert np.isfinite(open_store(moved).trajectories["nvt 300K"].array("energy")).all()
    assert json.loads((moved / "zarr.json").read_text())["attributes"]["licence"] == "CC-BY 4.0"
