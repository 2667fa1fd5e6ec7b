"""The number of WebSockets that are open in one process: it is bounded, and one caller may have half."""

from typing import Final, Self

from stores.concurrency.quotas import check_caller_quota

MOST_WEBSOCKETS: Final = 5_000
"""An idle one takes some 35 KiB."""


class WebSockets:
    """The open WebSockets of one process.

    Args:
        most: how many may be open at once.
    """

    def __init__(self, most: int = MOST_WEBSOCKETS) -> None:
        self.most = most
        self._callers: list[str] = []

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._callers)

    def open(self, caller: str) -> "OpenWebSocket":
        """Count one more, until the end of its `with` block.

        Raises:
            RateLimitedError: the caller has half of them.
            UnavailableError: as many are open as may be.
        """
        self.add(caller)
        return OpenWebSocket(self, caller)

    def add(self, caller: str) -> None:
        """Count one more for a caller; raises what `open` does."""
        check_caller_quota("WebSockets", "LOOMQL_MAX_WEBSOCKETS", self.most, self._callers, caller)
        self._callers.append(caller)

    def remove(self, caller: str) -> None:
        """Count one less for a caller."""
        self._callers.remove(caller)


class OpenWebSocket:
    """One open WebSocket, on the account of a caller."""

    def __init__(self, websockets: WebSockets, caller: str) -> None:
        self._websockets = websockets
        self._caller: str | None = caller

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._leave()

    def charge_to(self, caller: str) -> None:
        """Count it for the caller that its first message names, and no longer for the address it came from.

        Raises:
            RateLimitedError: that caller has half of them.
        """
        if caller != self._caller:
            self._leave()
            self._websockets.add(caller)
            self._caller = caller

    def _leave(self) -> None:
        if self._caller is not None:
            self._websockets.remove(self._caller)
            self._caller = None
