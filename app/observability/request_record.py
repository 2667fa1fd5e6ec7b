"""The record of a request, or of an operation over a WebSocket, for metrics and logs."""

from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final

from graphql import GraphQLError
from strawberry.types import ExecutionResult

from app.http.scope_state import CALLER
from app.observability.counters import RequestCounters
from app.observability.endpoints import EVENTS
from graphql_schema.errors import REQUEST_ID

INTERNAL: Final = "INTERNAL"


class RequestRecord:
    """A request or an operation; without counters nothing is counted.

    Args:
        request_id: its id.
        endpoint: the name of its endpoint.
        state: the ASGI state of its connection, with the caller once that is authenticated.
        counters: the process's counters, or None.
    """

    __slots__ = (
        "_children",
        "_codes",
        "_is_counted",
        "counters",
        "endpoint",
        "name",
        "operation",
        "request_id",
        "started_at",
        "state",
    )

    def __init__(
        self, request_id: str, endpoint: str, state: MutableMapping[str, Any], counters: RequestCounters | None
    ) -> None:
        self.request_id = request_id
        self.endpoint = endpoint
        self.state = state
        self.counters = counters
        self.operation = ""
        """Root field of the operation, by the schema's name; empty if unknown."""
        self.name: str | None = None
        """The client's name of the operation."""
        self.started_at = perf_counter()
        self._codes: set[str] | None = None
        self._is_counted = False
        self._children = 0

    @property
    def caller_id(self) -> str | None:
        """Id of the caller; None if anonymous or unknown."""
        return getattr(self.state.get(CALLER), "id", None)

    def begin_operation(self) -> "RequestRecord":
        """Create the record of a connection's next operation and make it current; number its id.

        To be called in the operation's own task.
        """
        child = self._child()
        child.make_current()
        return child

    def refuse_operation(self, error: GraphQLError) -> None:
        """Count an operation of the connection that was refused."""
        self._child().finish_with_error(error)

    def _child(self) -> "RequestRecord":
        self._children += 1
        return RequestRecord(f"{self.request_id}.{self._children}", self.endpoint, self.state, self.counters)

    def make_current(self) -> None:
        """Make this the record of the current context."""
        CURRENT.set(self)
        REQUEST_ID.set(self.request_id)

    def count_error(self, code: str) -> None:
        """Count an error code of the response, once per request."""
        if self.counters is None:
            return
        if self._codes is None:
            self._codes = set()
        if code not in self._codes:
            self._codes.add(code)
            self.counters.errors[self.endpoint, code] += 1

    def finish_with_error(self, error: GraphQLError) -> None:
        """Count the request as answered by an error alone."""
        self.count_error(error_code(error.extensions))
        self.finish("200")

    def finish_with_result(self, result: ExecutionResult, status: str = "200") -> None:
        """Count a result's errors, and the request as answered if this is the first result."""
        for error in result.errors or ():
            self.count_error(error_code(error.extensions))
        self.finish(status)

    def finish(self, status: str) -> None:
        """Count the request as answered; of a stream, at its first result, and what follows is not timed."""
        if self.counters is not None and not self._is_counted:
            self._is_counted = True
            self.counters.add(self.endpoint, self.operation, status, perf_counter() - self.started_at)


CURRENT: Final[ContextVar[RequestRecord | None]] = ContextVar("request_record", default=None)
"""Record of the request in this context; None outside of requests."""


def set_operation_name(name: str | None) -> None:
    """Set the client's name of the current operation."""
    if (current := CURRENT.get()) is not None:
        current.name = name


def mark_stream(operation: str) -> None:
    """Mark the current request as an event stream, and set its root field."""
    if (current := CURRENT.get()) is not None:
        current.endpoint, current.operation = EVENTS, operation


def record_operation(operation: str, errors: Iterable[GraphQLError] | None = None) -> None:
    """Set the root field of the current request, and count its errors."""
    if (current := CURRENT.get()) is not None:
        current.operation = operation
        for error in errors or ():
            current.count_error(error_code(error.extensions))


def record_result(result: ExecutionResult) -> None:
    """Count a result of the current request."""
    if (current := CURRENT.get()) is not None:
        current.finish_with_result(result)


def record_error(code: str) -> None:
    """Count an error code of the current request."""
    if (current := CURRENT.get()) is not None:
        current.count_error(code)


def error_code(extensions: Mapping[str, Any] | None) -> str:
    """Return the error code as clients see it."""
    return str((extensions or {}).get("code", INTERNAL))
