"""The outermost layer of the service: each request has an id, and is counted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.credentials import first_header
from app.http.scope_state import UNDER_WAY
from app.observability import endpoints
from app.observability.counters import RequestCounters
from app.observability.request_ids import HEADER, new_ids, sane
from app.observability.request_record import RequestRecord
from app.runtime.shutdown import Shutdown
from stores.errors import StoreError, UnavailableError

_UNANSWERED: Final = 499
"""The status of what nobody waited for, as other servers write it."""
_FAILED: Final = 500
_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_CLOSING: Final = "websocket.close"
_SWITCHED: Final = 101
_REFUSED: Final = 403
_CUT_OFF: Final = "the server stops, and this may have been done or not; send it again"


class RequestTrackingMiddleware:
    """The layer: it sets `request_id` in the state of each connection, and the header X-Request-ID in each answer.

    An id that comes with a request is kept where it is sane, so that it can be followed through several services. What
    the server does not wait for when it stops is answered so that it is sent again.
    """

    def __init__(
        self,
        app: ASGIApp,
        error_response: Callable[[Scope, StoreError], Response],
        tally: RequestCounters | None = None,
        stopping: Shutdown | None = None,
    ) -> None:
        self._app = app
        self._error_response = error_response
        self._tally = tally
        self._stopping = stopping
        self._new_ids = new_ids()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        kind = scope["type"]
        if kind == "lifespan":
            return self._app(scope, receive, send)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = _given(scope) or next(self._new_ids)
        door = endpoints.WEBSOCKET if kind == "websocket" else endpoints.endpoint_of(scope["path"])
        under_way = state[UNDER_WAY] = RequestRecord(request_id, door, state, self._tally)
        under_way.make_current()
        return self._passed_on(under_way, scope, receive, send)

    async def _passed_on(self, under_way: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
        status = _UNANSWERED
        header = (HEADER, under_way.request_id.encode())

        def tell(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", _SWITCHED)
                message["headers"] = [*message.get("headers", ()), header]
            elif status == _UNANSWERED and message["type"] == _CLOSING:
                status = _REFUSED
            return send(message)

        in_flight = self._tally.in_flight if self._tally else None
        door = under_way.door
        if in_flight is not None:
            in_flight[door] += 1
        try:
            await self._app(scope, receive, tell)
        except BaseException as error:
            if status == _UNANSWERED and scope["type"] == "http" and self._cuts_off(error):
                await self._error_response(scope, UnavailableError(_CUT_OFF))(scope, receive, tell)
                return
            status = _FAILED if status == _UNANSWERED else status
            raise
        finally:
            if in_flight is not None:
                in_flight[door] -= 1
            # How long a WebSocket is open tells nothing; its operations are counted one by one.
            if door != endpoints.WEBSOCKET or status != _SWITCHED:
                under_way.ended(str(status))
            # What leads back to itself only the garbage collector ends.
            under_way.state.pop(UNDER_WAY, None)

    def _cuts_off(self, error: BaseException) -> bool:
        """Whether it is the server that ends a request, since it stops and has waited for as long as it does."""
        is_stopping = self._stopping is not None and self._stopping.has_begun
        return is_stopping and isinstance(error, asyncio.CancelledError)


def _given(scope: Scope) -> str | None:
    """The id that a request came with, if it is sane."""
    value = first_header(scope["headers"], HEADER)
    return None if value is None else sane(value)
