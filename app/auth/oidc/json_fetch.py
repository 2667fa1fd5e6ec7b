"""Documents of an issuer, over HTTP: bounded in size, and in time from the connection to the last byte.

The timeout of sockets is for each of their reads, so that who sends a byte now and then would hold on to a thread.
"""

import http.client
import io
import json
import socket
import time
import urllib.request
from functools import partial
from typing import Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

from app.http.loopback import is_for_this_machine

_MAX_BYTES: Final = 1024 * 1024


class IssuerError(Exception):
    """The issuer's documents cannot be had, or are not what they should be."""


def check_url(url: str) -> str:
    """Hold a URL to https, or http on this machine.

    Raises:
        ValueError: it is another.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_for_this_machine(parts.hostname or ""))
    if not is_safe or not parts.hostname:
        raise ValueError("must be an https:// address")
    return url


def fetch_json(url: str, deadline: float) -> dict[str, Any]:
    """The JSON object at an address, if it is there by a time of the monotonic clock.

    Raises:
        IssuerError: it is not.
    """
    try:
        with _opener(deadline).open(check_url(url)) as answer:
            text = answer.read(_MAX_BYTES)
            if answer.length:
                raise IssuerError(f"{url[:200]} is cut off, or larger than {_MAX_BYTES:,} bytes")
            found = json.loads(text)
    except HTTPError as error:
        error.close()
        raise IssuerError(f"{url[:200]}: the answer is {error.code}") from None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise IssuerError(f"{url[:200]}: {error}") from error
    if not isinstance(found, dict):
        raise IssuerError(f"{url[:200]} is no object")
    return found


def _opener(deadline: float) -> urllib.request.OpenerDirector:
    handlers = (_Http(), _Https())
    for handler in handlers:
        handler.deadline = deadline
    return urllib.request.build_opener(*handlers)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("it took too long")
    return seconds


class _Timed(urllib.request.AbstractHTTPHandler):
    """What urllib opens connections by, those of redirects, too."""

    deadline = 0.0

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:  # noqa: ANN401 -- as urllib declares them
        """Send a request, to a safe address as every redirect has to lead to, with what is left of the time."""
        check_url(req.full_url)
        req.timeout = _left(self.deadline)
        return super().do_open(partial(_connection, http_class, self.deadline), req, **options)


class _Http(_Timed, urllib.request.HTTPHandler):
    """The same for http."""


class _Https(_Timed, urllib.request.HTTPSHandler):
    """The same for https."""


def _connection(http_class: Any, deadline: float, host: str, **options: Any) -> http.client.HTTPConnection:  # noqa: ANN401 -- as urllib declares them
    made: http.client.HTTPConnection = http_class(host, **options)
    made.response_class = cast("type[http.client.HTTPResponse]", partial(_Response, deadline))
    return made


class _Response(http.client.HTTPResponse):
    """An answer whose head and body are read by a deadline."""

    def __init__(self, deadline: float, sock: socket.socket, **options: Any) -> None:  # noqa: ANN401 -- as http.client has them
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, deadline))


class _Reader(io.RawIOBase):
    """What reads from a socket, each time with what is left of the time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw = raw
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 -- as io declares it
        """Read what is there, waiting for no longer."""
        self._socket.settimeout(_left(self._deadline))
        found: int | None = self._raw.readinto(buffer)
        return found

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()
