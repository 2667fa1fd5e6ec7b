"""Results of subscriptions, made once for all who ask the same of one event, and encoded once.

Who may see the same, and subscribes with the same document, operation and variables, gets the same bytes; a cursor to
resume from may differ, since it says where a subscription begins and nothing of its results. Nothing else in a context
may tell one subscriber from another.
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
"""The argument of a subscription's field that says where it begins."""

_COPIES: Final = 3
"""A result as objects, as bytes and as text, each about as large as the others."""


class SharedEvent(Protocol):
    """An event that many are told of; it keeps what is made of it, and counts how much that is."""

    made: dict[Hashable, Any]

    def grow(self, size: int) -> None:
        """Count so many bytes in."""


class SharedResult(ExecutionResult):
    """A result without errors that may go out to many."""

    def __init__(self, data: dict[str, Any] | None) -> None:
        super().__init__(data, None)
        self.forms: dict[str, bytes] = {}
        """What it is made into for those who send it."""

    @cached_property
    def encoded(self) -> bytes:
        """The JSON of the response."""
        return codec.dumps({"data": self.data})

    @cached_property
    def text(self) -> str:
        """The same as text."""
        return self.encoded.decode()


Execute = Callable[[object], "AwaitableOrValue[ExecutionResult]"]
"""Gives the result at once where nothing must be awaited for it: to wait for a task takes longer than most results."""


class SharedResults:
    """What makes the results of a schema's subscriptions."""

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
        """The key of what is the same for all who ask this and to whom the same is visible."""
        resumed = _resuming_variable(document, name)
        others = sorted((key, value) for key, value in (variables or {}).items() if key != resumed)
        told = repr((query, name, others, visible)).encode(errors="surrogatepass")
        return hashlib.blake2b(told, digest_size=32).digest()

    @contextmanager
    def subscribed(self, key: bytes) -> Iterator[None]:
        """A block in which one more asks what has the key."""
        self._subscribed[key] += 1
        try:
            yield
        finally:
            self._subscribed[key] -= 1
            if not self._subscribed[key]:
                del self._subscribed[key]

    async def result(self, key: bytes, event: object, execute: Execute) -> ExecutionResult:
        """The result of an event: one that is there already, or is being made for another, or a new one."""
        kept: dict[Hashable, Any] | None = getattr(event, "made", None)
        made = None if kept is None else kept.get(key)
        if made is None:
            result = execute(event)
            if kept is None or self._subscribed[key] == 1:
                return result if isinstance(result, ExecutionResult) else await result
            shared = cast("SharedEvent", event)
            if isinstance(result, ExecutionResult):
                return _kept(key, shared, result)
            made = kept[key] = asyncio.create_task(_kept_then(key, shared, result))
        return made if isinstance(made, SharedResult) else await asyncio.shield(made)


def _kept(key: bytes, event: SharedEvent, result: ExecutionResult) -> ExecutionResult:
    """Keep a result if nothing is wrong with it: who resumes here should not find a failure."""
    if result.errors:
        return result
    shared = event.made[key] = SharedResult(result.data)
    event.grow(_COPIES * len(shared.encoded))
    return shared


async def _kept_then(key: bytes, event: SharedEvent, result: Awaitable[ExecutionResult]) -> ExecutionResult:
    try:
        found = await result
    except BaseException:
        del event.made[key]
        raise
    if found.errors:
        del event.made[key]
    return _kept(key, event, found)


class _Uses(Visitor):
    """Counts how often each variable is named."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def enter_variable(self, node: VariableNode, *_rest: object) -> None:
        """Count one more."""
        self.counts[node.name.value] += 1


def _resuming_variable(document: DocumentNode, name: str | None) -> str | None:
    """The variable that says where a subscription begins, if it is named for nothing else; None if there is none."""
    operation = get_operation_ast(document, name)
    first = operation.selection_set.selections[0] if operation else None
    if not isinstance(first, FieldNode):
        return None
    for argument in first.arguments or ():
        if argument.name.value == RESUMES and isinstance(argument.value, VariableNode):
            uses = _Uses()
            graphql.visit(document, uses)
            variable = argument.value.name.value
            # It is declared once, and given once.
            return variable if uses.counts[variable] == 2 else None  # noqa: PLR2004 -- as the comment says
    return None
