"""HTTP with patience: what may pass is tried again, what will not is one clear sentence."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from zifbench import __version__
from zifbench.errors import DownloadError, NotPublishedError

Note = Callable[[str], None]
T = TypeVar("T")

_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_LARGE_JSON = 64 << 20  # bytes; a record of thousands of files takes a few MB


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    Attributes:
        attempts: Failures in a row after which to give up; a failure after which more of the file
            is there does not count.
        first_wait_s: Before the second attempt; doubled before each further one.
        longest_wait_s: No wait is longer, whatever the server asks for.
        connect_s: Until a connection stands.
        silence_s: Without a byte.
    """

    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    silence_s: float = 60.0


class PassingError(Exception):
    """A failure that may pass: no answer, a broken connection, an overloaded server.

    Attributes:
        reason: Part of a sentence: "example.org refuses the connection".
        wait_s: What the server asked for, if it did.
        progressed: Whether more is there than before.
    """

    def __init__(self, reason: str, wait_s: float = 0.0, *, progressed: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait_s, self.progressed = reason, wait_s, progressed


def ignore(sentence: str) -> None:
    """A `Note` that nobody reads."""


def patiently(attempt: Callable[[], T], what: str, *, patience: Patience, note: Note = ignore) -> T:
    """Call until it returns, with longer and longer waits between failures that may pass.

    Args:
        attempt: Raises `PassingError` where another attempt may help.
        what: For the messages, a file or a record.
        patience: How often, how long.
        note: Is told of every wait.

    Raises:
        DownloadError: it failed `patience.attempts` times without getting further.
    """
    failures = 0
    while True:
        try:
            return attempt()
        except PassingError as failure:
            failures = 1 if failure.progressed else failures + 1
            if failures >= patience.attempts:
                raise DownloadError(
                    f"{what}: {failure.reason} ({failures} attempts); the same command tries "
                    "again, and continues where it stopped"
                ) from failure
            wait_s = patience.first_wait_s * 2 ** (failures - 1)
            wait_s = min(max(wait_s, failure.wait_s), patience.longest_wait_s)
            note(f"{what}: {failure.reason}; next attempt in {wait_s:.0f} s")
        time.sleep(wait_s)


def open_url(url: str, headers: Mapping[str, str], patience: Patience) -> requests.Response:
    """One GET, its body not read yet; statuses 200, 206 and 416 are answers.

    Raises:
        PassingError: another attempt may help.
        NotPublishedError: nothing lies there.
        DownloadError: it will never work.
    """
    # Compressed on the way, lengths and ranges would not be those of the file.
    own = {"Accept-Encoding": "identity", "User-Agent": f"zifbench/{__version__}"}
    try:
        response = requests.get(
            url,
            headers=own | dict(headers),
            stream=True,
            timeout=(patience.connect_s, patience.silence_s),
        )
    except requests.RequestException as error:
        raise as_passing(error, url) from error
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return response
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
        return response
    response.close()
    raise _refusal(response)


def read_json(url: str, what: str, *, patience: Patience, note: Note = ignore) -> Any:
    """A JSON document.

    Raises:
        DownloadError: no answer, or no JSON.
    """

    def attempt() -> Any:
        with open_url(url, {"Accept": "application/json"}, patience) as response:
            body = b"".join(_limited(blocks(response, 1 << 16), what))
            try:
                return json.loads(body)
            except ValueError as error:
                raise DownloadError(
                    f"{what}: {url} answers with something that is not JSON; a proxy or a login "
                    "page may stand between"
                ) from error

    return patiently(attempt, what, patience=patience, note=note)


def blocks(response: requests.Response, size: int) -> Iterator[bytes]:
    """The body in blocks.

    Raises:
        PassingError: the connection breaks.
    """
    try:
        yield from response.iter_content(size)
    except requests.RequestException as error:
        raise as_passing(error, response.url) from error


def _limited(parts: Iterator[bytes], what: str) -> Iterator[bytes]:
    n = 0
    for part in parts:
        n += len(part)
        if n > _LARGE_JSON:
            raise DownloadError(f"{what}: the description alone is over {_LARGE_JSON >> 20} MB")
        yield part


def _refusal(response: requests.Response) -> Exception:
    status, host = response.status_code, urlsplit(response.url).hostname
    if status in _GONE:
        return NotPublishedError(f"{response.url} is not there (HTTP {status})")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        return PassingError(f"{host} answers HTTP {status}", _asked_wait(response))
    return DownloadError(f"{host} refuses {response.url} (HTTP {status} {response.reason})")


def _asked_wait(response: requests.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def as_passing(error: requests.RequestException, url: str) -> Exception:
    """What a failure of requests means, in words; a `DownloadError` if no attempt can help."""
    host = urlsplit(url).hostname or url
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return DownloadError(f"{host} shows no valid certificate: {causes[-1]}")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        # Not worth waiting for: without a network every further name fails in the same way.
        return DownloadError(
            f"the host {host} is not found; is there a network? (--mirror, or ZIFBENCH_MIRROR, "
            "names a directory that holds the files)"
        )
    for kind, reason in _REASONS.items():
        if any(isinstance(cause, kind) for cause in causes):
            return PassingError(reason.format(host=host))
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidURL):
        return DownloadError(f"{url} is no address of http or https")
    if isinstance(error, requests.TooManyRedirects):
        return DownloadError(f"{url} redirects in a circle")
    return PassingError(f"the connection to {host} broke")


_REASONS: dict[type[BaseException], str] = {
    requests.exceptions.ProxyError: "the proxy on the way to {host} does not work",
    ConnectionRefusedError: "{host} refuses the connection",
    TimeoutError: "{host} does not answer in time",
    requests.Timeout: "{host} does not answer in time",
}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that it wraps; urllib3 keeps its causes in `reason` and `args`."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        waiting += [arg for arg in current.args if isinstance(arg, BaseException)]
