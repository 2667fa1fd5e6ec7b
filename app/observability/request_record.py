"""What is under way: a request, or an operation over a WebSocket, as much of it as is told of it."""

from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final

from graphql import GraphQLError
from strawberry.types import ExecutionResult

from app.http.scope_state import CALLER
from app.observability.counters import RequestCounters
from app.observability.endpoints import EVENTS
from graphql_schema import request_ids

INTERNAL: Final = "INTERNAL"


class RequestRecord:
    """A request or an operation; with no tally nothing is counted.

    Args:
        request_id: its id.
        door: the part of the service that it is for.
        state: what the middlewares and the service keep of its connection; the caller is in it once that is known.
        tally: where it counts.
    """

    __slots__ = (
        "_children",
        "_codes",
        "_is_counted",
        "began",
        "door",
        "name",
        "operation",
        "request_id",
        "state",
        "tally",
    )

    def __init__(
        self, request_id: str, door: str, state: MutableMapping[str, Any], tally: RequestCounters | None
    ) -> None:
        self.request_id = request_id
        self.door = door
        self.state = state
        self.tally = tally
        self.operation = ""
        """What it does, by the schema's own names."""
        self.name: str | None = None
        """How the client calls its operation."""
        self.began = perf_counter()
        self._codes: set[str] | None = None
        self._is_counted = False
        self._children = 0

    @property
    def caller_id(self) -> str | None:
        """Who asks, where that is known."""
        return getattr(self.state.get(CALLER), "id", None)

    def begin_operation(self) -> "RequestRecord":
        """One of the operations of a connection, whose id is the connection's with a number; it is current from now on.

        It is to be begun in a task of its own.
        """
        child = self._child()
        child.make_current()
        return child

    def refuse_operation(self, error: GraphQLError) -> None:
        """Count one of the operations of a connection that may not begin."""
        self._child().refused(error)

    def _child(self) -> "RequestRecord":
        self._children += 1
        return RequestRecord(f"{self.request_id}.{self._children}", self.door, self.state, self.tally)

    def make_current(self) -> None:
        """Let this be what is under way in this context."""
        CURRENT.set(self)
        request_ids.CURRENT.set(self.request_id)

    def failed(self, code: str) -> None:
        """Count an error of its answer, once however often the answer has it."""
        if self.tally is None:
            return
        if self._codes is None:
            self._codes = set()
        if code not in self._codes:
            self._codes.add(code)
            self.tally.errors[self.door, code] += 1

    def refused(self, error: GraphQLError) -> None:
        """Count it as answered by an error alone."""
        self.failed(error_code(error.extensions))
        self.ended("200")

    def resulted(self, result: ExecutionResult, status: str = "200") -> None:
        """Count one of its results, with the status that it gives to it if it is the first."""
        for error in result.errors or ():
            self.failed(error_code(error.extensions))
        self.ended(status)

    def ended(self, status: str) -> None:
        """Count it as answered, at the end or, of a stream, at its first result; what comes after that is not timed."""
        if self.tally is not None and not self._is_counted:
            self._is_counted = True
            self.tally.add(self.door, self.operation, status, perf_counter() - self.began)


CURRENT: Final[ContextVar[RequestRecord | None]] = ContextVar("under_way", default=None)
"""What is under way in this context; None where that is nothing that anybody asked for."""


def set_operation_name(name: str | None) -> None:
    """Tell how a client calls the operation that is under way."""
    if (current := CURRENT.get()) is not None:
        current.name = name


def mark_stream(operation: str) -> None:
    """Tell that what is under way is answered by a stream of events, and what it does."""
    if (current := CURRENT.get()) is not None:
        current.door, current.operation = EVENTS, operation


def record_operation(operation: str, errors: Iterable[GraphQLError] | None = None) -> None:
    """Tell what was done, and what went wrong with it."""
    if (current := CURRENT.get()) is not None:
        current.operation = operation
        for error in errors or ():
            current.failed(error_code(error.extensions))


def record_result(result: ExecutionResult) -> None:
    """Tell of one of the results of what is under way."""
    if (current := CURRENT.get()) is not None:
        current.resulted(result)


def record_rejection(error: GraphQLError) -> None:
    """Tell that what is under way is answered by an error alone."""
    if (current := CURRENT.get()) is not None:
        current.refused(error)


def record_error(code: str) -> None:
    """Tell that what is under way failed."""
    if (current := CURRENT.get()) is not None:
        current.failed(code)


def error_code(extensions: Mapping[str, Any] | None) -> str:
    """The code of an error as clients see it."""
    return str((extensions or {}).get("code", INTERNAL))
