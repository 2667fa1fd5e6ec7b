"""Results of subscriptions, computed and encoded once per event for all equal subscriptions.

Subscriptions are equal if document, operation, variables and visible data are. The cursor to resume from may differ:
it determines the start of a subscription but not its results. Nothing else in a context may affect results.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import graphql
from graphql import DocumentNode, FieldNode, VariableNode, Visitor, get_operation_ast
from strawberry.types import ExecutionResult

from stores.json import codec

if TYPE_CHECKING:
    from graphql.pyutils import AwaitableOrValue

RESUMES: Final = "after"
"""Argument of a subscription field with the cursor to start after."""

_COPIES: Final = 3
"""Number of copies of a result in memory: objects, bytes and text, each of about the same size."""


class SharedEvent(Protocol):
    """An event for several subscribers; it caches results made from it, and counts their size."""

    cache: dict[Hashable, Any]

    def grow(self, size: int) -> None:
        """Add `size` bytes to the counted size."""


class SharedResult(ExecutionResult):
    """A result without errors that several subscribers receive."""

    def __init__(self, data: dict[str, Any] | None) -> None:
        super().__init__(data, None)
        self.forms: dict[str, bytes] = {}
        """Encoded forms for transports, by name."""

    @cached_property
    def encoded(self) -> bytes:
        """Return the response as JSON bytes."""
        return codec.dumps({"data": self.data})

    @cached_property
    def text(self) -> str:
        """Return the response as JSON text."""
        return self.encoded.decode()


Execute = Callable[[object], "AwaitableOrValue[ExecutionResult]"]
"""Executes an operation for an event. It returns the result itself if nothing must be awaited: a task costs more than
most results.
"""


class SharedResults:
    """Computes results of a schema's subscriptions, shared by equal ones."""

    def __init__(self) -> None:
        self._subscribed: Counter[bytes] = Counter()

    @staticmethod
    def key_of(
        query: str | None,
        document: DocumentNode,
        name: str | None,
        variables: dict[str, Any] | None,
        visible: object = None,
    ) -> bytes:
        """Return the key of a subscription: equal for equal requests whose callers see the same data."""
        resumed = _resuming_variable(document, name)
        others = sorted((key, value) for key, value in (variables or {}).items() if key != resumed)
        request = repr((query, name, others, visible)).encode(errors="surrogatepass")
        return hashlib.blake2b(request, digest_size=32).digest()

    @contextmanager
    def subscribed(self, key: bytes) -> Iterator[None]:
        """Context manager that counts one more subscription with the key."""
        self._subscribed[key] += 1
        try:
            yield
        finally:
            self._subscribed[key] -= 1
            if not self._subscribed[key]:
                del self._subscribed[key]

    async def result(self, key: bytes, event: object, execute: Execute) -> ExecutionResult:
        """Return the result of an event: a cached one, one that is being computed, or a new one."""
        cached: dict[Hashable, Any] | None = getattr(event, "cache", None)
        made = None if cached is None else cached.get(key)
        if made is None:
            result = execute(event)
            if cached is None or self._subscribed[key] == 1:
                return result if isinstance(result, ExecutionResult) else await result
            shared = cast("SharedEvent", event)
            if isinstance(result, ExecutionResult):
                return _share(key, shared, result)
            made = cached[key] = asyncio.create_task(_share_awaited(key, shared, result))
        return made if isinstance(made, SharedResult) else await asyncio.shield(made)


def _share(key: bytes, event: SharedEvent, result: ExecutionResult) -> ExecutionResult:
    """Cache a result without errors: a client that resumes must not receive an old failure."""
    if result.errors:
        return result
    shared = event.cache[key] = SharedResult(result.data)
    event.grow(_COPIES * len(shared.encoded))
    return shared


async def _share_awaited(key: bytes, event: SharedEvent, result: Awaitable[ExecutionResult]) -> ExecutionResult:
    try:
        found = await result
    except BaseException:
        del event.cache[key]
        raise
    if found.errors:
        del event.cache[key]
    return _share(key, event, found)


class _VariableUses(Visitor):
    """Counts the uses of each variable."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def enter_variable(self, node: VariableNode, *_rest: object) -> None:
        """Count one use."""
        self.counts[node.name.value] += 1


def _resuming_variable(document: DocumentNode, name: str | None) -> str | None:
    """Return the variable with the cursor to resume from, if it has no other use; None otherwise."""
    operation = get_operation_ast(document, name)
    first = operation.selection_set.selections[0] if operation else None
    if not isinstance(first, FieldNode):
        return None
    for argument in first.arguments or ():
        if argument.name.value == RESUMES and isinstance(argument.value, VariableNode):
            uses = _VariableUses()
            graphql.visit(document, uses)
            variable = argument.value.name.value
            # One use is the declaration, the other the argument.
            return variable if uses.counts[variable] == 2 else None  # noqa: PLR2004 -- as the comment says
    return None
