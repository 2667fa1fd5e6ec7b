"""Offers to go on with another protocol: none but that of a GET for a WebSocket is taken, the others are ignored."""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_INVALID: Final = "Invalid HTTP request received."


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol for HTTP, which reads a request to its end though it offers HTTP/2, say (RFC 9110, 7.8).

    Java's HttpClient and `curl --http2` do. The parser takes all behind such a head for the other protocol, and uvicorn
    would answer as if there were no body; so the head is parsed again, without the offer.
    """

    _head = b""
    """One whose offer is declined, without it."""

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        self._unset_keepalive_if_required()
        rest: bytes | memoryview = data
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                    break
                except HttpParserUpgrade as upgrade:
                    rest = self._offered(memoryview(rest)[upgrade.args[0] :])
        except HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)

    def on_headers_complete(self) -> None:
        """End a head."""
        if not self.parser.should_upgrade() or self._should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise HttpParserError
        else:
            self._head = self._without_offer()

    def on_message_complete(self) -> None:
        """End a request."""
        if not self._head:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """True if the head opens a WebSocket, which takes GET; uvicorn drops the body of any other request."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _offered(self, rest: memoryview) -> bytes | memoryview:
        """Take the offer of a WebSocket, or decline; returns what is still to be parsed."""
        if not self._head:
            self.handle_websocket_upgrade()
            return b""
        head, self._head = self._head, b""
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)
        return rest

    def _without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))
