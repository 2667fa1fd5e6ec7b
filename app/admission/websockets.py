"""A bounded number of open WebSockets in one process, of which one caller may have half."""

from typing import Final, Self

from stores.concurrency.quotas import check_caller_quota

MAX_WEBSOCKETS: Final = 5_000
"""Default limit of open WebSockets; an idle one takes about 35 KiB."""


class WebSockets:
    """The open WebSockets of one process.

    Args:
        limit: the maximum number of open WebSockets.
    """

    def __init__(self, limit: int = MAX_WEBSOCKETS) -> None:
        self.limit = limit
        self._callers: list[str] = []

    @property
    def count(self) -> int:
        """Number of open WebSockets."""
        return len(self._callers)

    def open(self, caller: str) -> "OpenWebSocket":
        """Count one more WebSocket of a caller until the end of the `with` block.

        Raises:
            RateLimitedError: the caller already has half of the limit.
            UnavailableError: the limit is reached.
        """
        self.add(caller)
        return OpenWebSocket(self, caller)

    def add(self, caller: str) -> None:
        """Count one more WebSocket of a caller; raises what `open` does."""
        check_caller_quota("WebSockets", "LOOMQL_MAX_WEBSOCKETS", self.limit, self._callers, caller)
        self._callers.append(caller)

    def remove(self, caller: str) -> None:
        """Count one WebSocket less of a caller."""
        self._callers.remove(caller)


class OpenWebSocket:
    """An open WebSocket, counted for a caller."""

    def __init__(self, websockets: WebSockets, caller: str) -> None:
        self._websockets = websockets
        self._caller: str | None = caller

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._release()

    def charge_to(self, caller: str) -> None:
        """Count the WebSocket for the caller that its first message names, instead of its network address.

        Raises:
            RateLimitedError: that caller already has half of the limit.
        """
        if caller != self._caller:
            self._release()
            self._websockets.add(caller)
            self._caller = caller

    def _release(self) -> None:
        if self._caller is not None:
            self._websockets.remove(self._caller)
            self._caller = None
