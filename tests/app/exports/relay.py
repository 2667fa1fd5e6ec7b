"""A TCP relay to MongoDB that a test can cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pymongo.uri_parser import parse_uri

_READ_BYTES = 256 * 1024


class Relay:
    """A loopback port that forwards connections to a MongoDB until a test cuts it."""

    def __init__(self, uri: str) -> None:
        self._host, self._port = parse_uri(uri)["nodelist"][0]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listening]
        self.uri = f"mongodb://127.0.0.1:{self._listening.getsockname()[1]}/?directConnection=true"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # `cut` closed the listener
            while True:
                near, far = self._listening.accept()[0], self._connected()
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()

    def _connected(self) -> socket.socket:
        if self._port is not None:
            return socket.create_connection((self._host, self._port))
        found = socket.socket(socket.AF_UNIX)
        found.connect(self._host)
        return found

    def cut(self) -> None:
        """Close the listener and all connections."""
        for one in self._open:
            with suppress(OSError):  # the peer closed it first
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(_READ_BYTES):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(uri: str) -> Iterator[Relay]:
    """Run a relay and cut it at the end of the block at the latest."""
    made = Relay(uri)
    try:
        yield made
    finally:
        made.cut()
