"""A local web server that fails as real ones do, one failure for each request as told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """Files, what goes wrong, and what was asked.

    Attributes:
        files: Path -> content.
        failures: Path -> what goes wrong with the next requests, in this order; see `FAILURES`.
        requests: (path, Range or "") of every request.
        ranges: Whether Range is understood.
        etag: Sent with every file, unless empty.
        delay_s: Before every 64 kB.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: bool = True
    etag: str = ""
    delay_s: float = 0.0
    content_type: str = "application/octet-stream"

    def fail(self, path: str, *failures: str) -> None:
        self.failures.setdefault(path, []).extend(failures)


class Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        state, path = self.server_state, self.path
        asked = self.headers.get("Range", "")
        state.requests.append((path, asked))
        waiting = state.failures.get(path, [])
        failure = waiting.pop(0) if waiting else ""
        name, _, value = failure.partition(" ")
        if name in FAILURES:
            FAILURES[name](self, value)
            return
        if path not in state.files:
            self.plain(404)
            return
        self.serve(state.files[path], asked, cut=int(value) if name == "drop" else None)

    def serve(self, body: bytes, asked: str, cut: int | None = None) -> None:
        state, start = self.server_state, 0
        match = re.fullmatch(r"bytes=(\d+)-", asked) if state.ranges else None
        if_range = self.headers.get("If-Range")
        if match and (if_range is None or if_range == state.etag):
            start = int(match[1])
        if start >= len(body) and match:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if state.etag:
            self.send_header("ETag", state.etag)
        self.send_header("Content-Type", state.content_type)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:] if cut is None else body[start : start + cut]
        for i in range(0, len(part), 1 << 16):
            time.sleep(state.delay_s)
            self.wfile.write(part[i : i + (1 << 16)])
            self.wfile.flush()
        if cut is not None:
            self.close_connection = True

    def plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def wrong(self, value: str) -> None:
        body = self.server_state.files[self.path]
        self.serve(bytes(len(body)), "")

    def hang(self, value: str) -> None:
        time.sleep(float(value))
        self.close_connection = True

    def without_length(self, value: str) -> None:
        body = self.server_state.files[self.path] + b"x" * int(value or 0)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


FAILURES: dict[str, Callable[[Handler, str], None]] = {
    "status": lambda h, v: h.plain(int(v)),
    "busy": lambda h, v: h.plain(429, {"Retry-After": v}),
    "redirect": lambda h, v: h.plain(302, {"Location": v}),
    "wrong": Handler.wrong,
    "hang": Handler.hang,
    "without-length": Handler.without_length,
}


@contextmanager
def running() -> Iterator[Server]:
    """A server on a free port of this machine."""
    state = Server()
    handler = type("Bound", (Handler,), {"server_state": state})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
