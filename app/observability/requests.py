"""Requests for metrics and logs: their ids, records and counters, and the outermost middleware, which keeps these."""

import asyncio
import itertools
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable, Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from graphql import GraphQLError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.connections import CALLER, REQUEST_RECORD, first_header
from app.http.errors import OTLP_PATHS, error_response
from graphql_schema.errors import REQUEST_ID
from stores.errors import UnavailableError
from stores.times import DurationHistogram

if TYPE_CHECKING:
    from app.runtime import Shutdown

INTERNAL: Final = "INTERNAL"
HEADER: Final = b"x-request-id"

_VALID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._~+/=:@-]{0,127}")
"""Allowed ids of clients, which are written to logs and headers unchanged."""

OTHER: Final = "other"
WEBSOCKET: Final = "websocket"
EVENTS: Final = "sse"
GRPC: Final = "otlp-grpc"

_BY_PATH: Final = {
    "/graphql": "graphql",
    **dict.fromkeys(OTLP_PATHS, "otlp"),
    "/healthz": "health",
    "/readyz": "health",
    "/metrics": "metrics",
    "/": "home",
}
_BY_PREFIX: Final = frozenset({"files", "export", "weave", "explorer", "graphiql", "docs"})
"""First steps of paths that are also the names of their endpoints."""


def endpoint_of(path: str) -> str:
    """Return the endpoint name of a path."""
    prefix = path.split("/", 2)[1] if path[:1] == "/" else ""
    return _BY_PATH.get(path) or (prefix if prefix in _BY_PREFIX else OTHER)


def valid_id(value: bytes) -> str | None:
    """Return a client's id, or None if it is not allowed."""
    return value.decode() if _VALID.fullmatch(value) else None


def new_ids() -> Iterator[str]:
    """Return an endless iterator of ids that are unique across processes."""
    own = secrets.token_hex(8)
    return map(f"{own}-{{:x}}".format, itertools.count(1))


class RequestCounters:
    """The counters of one process: plain numbers, because every request updates them.

    Endpoints, operations and codes are fixed names, so clients cannot add counters.
    """

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, str]] = Counter()
        """Answered requests by endpoint, operation and status."""
        self.timings: defaultdict[tuple[str, str], DurationHistogram] = defaultdict(DurationHistogram)
        """Durations of answered requests by endpoint and operation."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """Requests by endpoint and error code."""
        self.in_flight: Counter[str] = Counter()
        """Requests in flight and open WebSockets by endpoint."""


@dataclass(slots=True, eq=False)
class RequestRecord:
    """A request or an operation; without counters nothing is counted.

    Args:
        request_id: its id.
        endpoint: the name of its endpoint.
        state: the ASGI state of its connection, with the caller once that is authenticated.
        counters: the process's counters, or None.
        operation: root field of the operation, by the schema's name; empty if unknown.
        name: the client's name of the operation.
    """

    request_id: str
    endpoint: str
    state: MutableMapping[str, Any]
    counters: RequestCounters | None
    operation: str = ""
    name: str | None = None
    started_at: float = field(default_factory=perf_counter)
    _codes: frozenset[str] = frozenset()
    _is_counted: bool = False
    _children: int = 0

    @property
    def caller_id(self) -> str | None:
        """Id of the caller; None if anonymous or unknown."""
        return getattr(self.state.get(CALLER), "id", None)

    def next_operation(self) -> "RequestRecord":
        """Return the record of a connection's next operation; its id is the connection's with a number."""
        self._children += 1
        return RequestRecord(f"{self.request_id}.{self._children}", self.endpoint, self.state, self.counters)

    def make_current(self) -> None:
        """Make this the record of the current context."""
        CURRENT.set(self)
        REQUEST_ID.set(self.request_id)

    def count_error(self, code: str) -> None:
        """Count an error code of the response, once per request."""
        if self.counters is not None and code not in self._codes:
            self._codes |= {code}
            self.counters.errors[self.endpoint, code] += 1

    def count_errors(self, errors: Iterable[GraphQLError] | None) -> None:
        """Count the codes of errors, as clients see them."""
        for error in errors or ():
            self.count_error(str((error.extensions or {}).get("code", INTERNAL)))

    def finish(self, status: str = "200") -> None:
        """Count the request as answered; of a stream, at its first result, and what follows is not timed."""
        if self.counters is not None and not self._is_counted:
            self._is_counted = True
            self.counters.answered[self.endpoint, self.operation, status] += 1
            self.counters.timings[self.endpoint, self.operation].observe(perf_counter() - self.started_at)

    def finish_with(self, errors: Iterable[GraphQLError] | None) -> None:
        """Count the errors of a result, and the request as answered if this is its first result."""
        self.count_errors(errors)
        self.finish()


CURRENT: Final[ContextVar[RequestRecord | None]] = ContextVar("request_record", default=None)
"""Record of the request in this context; None outside of requests."""


def current_record() -> RequestRecord:
    """Return the record of the request in this context; outside of requests, a new one that counts nothing."""
    return CURRENT.get() or RequestRecord("", OTHER, {}, None)


_CLIENT_CLOSED: Final = 499
"""Status of a request whose client disconnected, as nginx logs it."""
_FAILED: Final = 500
_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SWITCHED: Final = 101
_REFUSED: Final = 403


@dataclass(frozen=True, slots=True)
class RequestTrackingMiddleware:
    """ASGI middleware that sets `request_id` in the state of each connection, and X-Request-ID in each response.

    A valid id in the request is kept, so that it can be followed through several services. A request that the server
    cuts off at a shutdown gets an error that asks for a retry.
    """

    app: ASGIApp
    counters: RequestCounters | None = None
    shutdown: "Shutdown | None" = None
    new_ids: Iterator[str] = field(default_factory=new_ids)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, with its id and record."""
        kind = scope["type"]
        if kind == "lifespan":
            return self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = valid_id(first_header(scope["headers"], HEADER) or b"") or next(self.new_ids)
        endpoint = WEBSOCKET if kind == "websocket" else endpoint_of(scope["path"])
        record = state[REQUEST_RECORD] = RequestRecord(request_id, endpoint, state, self.counters)
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
            elif status == _CLIENT_CLOSED and message["type"] == "websocket.close":
                status = _REFUSED
            return send(message)

        in_flight = self.counters.in_flight if self.counters else Counter()
        endpoint = record.endpoint
        in_flight[endpoint] += 1
        try:
            await self.app(scope, receive, send_with_id)
        except BaseException as error:
            is_stopping = self.shutdown is not None and self.shutdown.has_started
            is_cut_off = is_stopping and isinstance(error, asyncio.CancelledError)
            if status == _CLIENT_CLOSED and scope["type"] == "http" and is_cut_off:
                # The time limit of the shutdown is over.
                refusal = UnavailableError(
                    "the server stops, and the request may or may not have been executed; retry it"
                )
                await error_response(scope, refusal)(scope, receive, send_with_id)
                return
            status = _FAILED if status == _CLIENT_CLOSED else status
            raise
        finally:
            in_flight[endpoint] -= 1
            # The duration of an open WebSocket says nothing; its operations are counted separately.
            if endpoint != WEBSOCKET or status != _SWITCHED:
                record.finish(str(status))
            # Break the reference cycle, which only the garbage collector would free.
            record.state.pop(REQUEST_RECORD, None)
