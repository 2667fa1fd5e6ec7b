"""JSON documents of an issuer over HTTP, bounded in size and in total time.

A socket timeout applies to each read only: without a deadline, a server that sends single bytes could block the thread.
"""

import http.client
import io
import json
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

from app.http.connections import is_for_this_machine

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_Connect = Callable[..., http.client.HTTPConnection]

_MAX_BYTES: Final = 1024 * 1024


class IssuerError(Exception):
    """A document of the issuer cannot be fetched or is not valid."""


def check_url(url: str) -> str:
    """Check that a URL uses https, or http on this machine, and return it.

    Raises:
        ValueError: it does not.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_for_this_machine(parts.hostname or ""))
    if not is_safe or not parts.hostname:
        raise ValueError("must be an https:// URL")
    return url


def fetch_json(url: str, deadline: float) -> dict[str, Any]:
    """Fetch the JSON object at a URL; `deadline` is a time of `time.monotonic`.

    Raises:
        IssuerError: the fetch failed or timed out, or the document is no JSON object or too large.
    """
    try:
        with _opener(deadline).open(check_url(url)) as response:
            text = response.read(_MAX_BYTES)
            if response.length:
                raise IssuerError(f"{url[:200]} is truncated or larger than {_MAX_BYTES:,} bytes")
            document = json.loads(text)
    except HTTPError as error:
        error.close()
        raise IssuerError(f"{url[:200]}: HTTP status {error.code}") from None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise IssuerError(f"{url[:200]}: {error}") from error
    if not isinstance(document, dict):
        raise IssuerError(f"{url[:200]}: the document is not a JSON object")
    return document


def _opener(deadline: float) -> urllib.request.OpenerDirector:
    handlers = (_Http(), _Https())
    for handler in handlers:
        handler.deadline = deadline
    return urllib.request.build_opener(*handlers)


def _seconds_left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


class _DeadlineHandler(urllib.request.AbstractHTTPHandler):
    """Opens connections with the time left until the deadline, also after redirects."""

    deadline = 0.0

    def do_open(self, http_class: _Connect, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        """Send a request; every redirect must lead to a safe URL, too."""
        check_url(req.full_url)
        req.timeout = _seconds_left(self.deadline)
        return super().do_open(partial(_connection, http_class, self.deadline), req, **options)


class _Http(_DeadlineHandler, urllib.request.HTTPHandler):
    pass


class _Https(_DeadlineHandler, urllib.request.HTTPSHandler):
    pass


def _connection(http_class: _Connect, deadline: float, host: str, **options: Any) -> http.client.HTTPConnection:
    connection = http_class(host, **options)
    connection.response_class = cast("type[http.client.HTTPResponse]", partial(_Response, deadline))
    return connection


class _Response(http.client.HTTPResponse):
    """A response whose head and body are read before the deadline."""

    def __init__(self, deadline: float, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, deadline))


class _DeadlineReader(io.RawIOBase):
    """A socket reader that waits no longer than until the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw = raw
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        """Read available bytes; wait for them until the deadline."""
        self._socket.settimeout(_seconds_left(self._deadline))
        count: int | None = self._raw.readinto(buffer)  # its type is unknown to typeshed
        return count

    def close(self) -> None:
        """Close the wrapped reader, too."""
        self._raw.close()
        super().close()
