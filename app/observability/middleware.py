"""The outermost middleware: request ids and request counts."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.credentials import first_header
from app.http.errors import error_response
from app.http.scope_state import REQUEST_RECORD
from app.observability import endpoints
from app.observability.counters import RequestCounters
from app.observability.request_ids import HEADER, new_ids, valid_id
from app.observability.request_record import RequestRecord
from app.runtime.shutdown import Shutdown
from stores.errors import UnavailableError

_CLIENT_CLOSED: Final = 499
"""Status of a request whose client disconnected, as nginx logs it."""
_FAILED: Final = 500
_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_CLOSING: Final = "websocket.close"
_SWITCHED: Final = 101
_REFUSED: Final = 403
_CUT_OFF: Final = "the server stops, and the request may or may not have been executed; retry it"


class RequestTrackingMiddleware:
    """ASGI middleware that sets `request_id` in the state of each connection, and X-Request-ID in each response.

    A valid id in the request is kept, so that it can be followed through several services. A request that the server
    cuts off at a shutdown gets an error that asks for a retry.
    """

    def __init__(
        self,
        app: ASGIApp,
        counters: RequestCounters | None = None,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._app = app
        self._counters = counters
        self._shutdown = shutdown
        self._new_ids = new_ids()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, with its id and record."""
        kind = scope["type"]
        if kind == "lifespan":
            return self._app(scope, receive, send)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = _request_id(scope) or next(self._new_ids)
        endpoint = endpoints.WEBSOCKET if kind == "websocket" else endpoints.endpoint_of(scope["path"])
        record = state[REQUEST_RECORD] = RequestRecord(request_id, endpoint, state, self._counters)
        record.make_current()
        return self._pass_on(record, scope, receive, send)

    async def _pass_on(self, record: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
        status = _CLIENT_CLOSED
        header = (HEADER, record.request_id.encode())

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", _SWITCHED)
                message["headers"] = [*message.get("headers", ()), header]
            elif status == _CLIENT_CLOSED and message["type"] == _CLOSING:
                status = _REFUSED
            return send(message)

        in_flight = self._counters.in_flight if self._counters else None
        endpoint = record.endpoint
        if in_flight is not None:
            in_flight[endpoint] += 1
        try:
            await self._app(scope, receive, send_with_id)
        except BaseException as error:
            if status == _CLIENT_CLOSED and scope["type"] == "http" and self._is_cut_off(error):
                await error_response(scope, UnavailableError(_CUT_OFF))(scope, receive, send_with_id)
                return
            status = _FAILED if status == _CLIENT_CLOSED else status
            raise
        finally:
            if in_flight is not None:
                in_flight[endpoint] -= 1
            # The duration of an open WebSocket says nothing; its operations are counted separately.
            if endpoint != endpoints.WEBSOCKET or status != _SWITCHED:
                record.finish(str(status))
            # Break the reference cycle, which only the garbage collector would free.
            record.state.pop(REQUEST_RECORD, None)

    def _is_cut_off(self, error: BaseException) -> bool:
        """Return True if the server cancelled the request, because the time limit of the shutdown is over."""
        is_stopping = self._shutdown is not None and self._shutdown.has_started
        return is_stopping and isinstance(error, asyncio.CancelledError)


def _request_id(scope: Scope) -> str | None:
    """Return the id in the request, if it is valid."""
    value = first_header(scope["headers"], HEADER)
    return None if value is None else valid_id(value)
