"""Offers to upgrade the protocol: only a GET for a WebSocket is accepted, others are ignored."""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_INVALID: Final = "Invalid HTTP request received."


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """Protocol that reads a request to its end although it offers, for example, HTTP/2 (RFC 9110, 7.8).

    Java's HttpClient and `curl --http2` send such offers. The parser would treat the rest as the other protocol, and
    uvicorn would ignore the body. So the head is parsed again without the offer.
    """

    _head = b""
    """A head to parse again, without its upgrade offer."""

    def data_received(self, data: bytes) -> None:
        """Parse bytes."""
        self._unset_keepalive_if_required()
        rest: bytes | memoryview = data
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                    break
                except HttpParserUpgrade as upgrade:
                    rest = self._handle_offer(memoryview(rest)[upgrade.args[0] :])
        except HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)

    def on_headers_complete(self) -> None:
        """Pass on a complete head, unless it must be parsed again."""
        if not self.parser.should_upgrade() or self._should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise HttpParserError
        else:
            self._head = self._head_without_offer()

    def on_message_complete(self) -> None:
        """Pass on the end of a request, unless its head must be parsed again."""
        if not self._head:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """True if the head opens a WebSocket, which takes GET; uvicorn drops the body of any other request."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _handle_offer(self, rest: memoryview) -> bytes | memoryview:
        """Accept or decline an upgrade; return the bytes that are still to be parsed."""
        if not self._head:
            self.handle_websocket_upgrade()
            return b""
        head, self._head = self._head, b""
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)
        return rest

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))
