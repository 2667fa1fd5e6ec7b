"""Edges between entities, loaded for all rows of a page together: `await info.context.loaders.load(find, key)`."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, cast

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Given = TypeVarTuple("Given")


class _Batch:
    """The keys that were asked for in one turn of the event loop, and what is found for them."""

    def __init__(self) -> None:
        self.keys: dict[Hashable, None] = {}
        self.found: asyncio.Task[Mapping[Any, Any]] | None = None
        self.waiting = 0


class Loaders:
    """Gathers what is asked one by one, and asks for it at once. Nothing is kept beyond one answer.

    What may be asked together is one method of a store with the same arguments, hashable ones, besides the keys.
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}

    async def load(
        self,
        find: Callable[[Sequence[Key], *Given], Awaitable[Mapping[Key, Value]]],
        key: Key,
        *given: *Given,
    ) -> Value:
        """What `find` finds for a key, which it does for all those that are asked for meanwhile."""
        question = (find, given)
        batch = self._open.get(question)
        if batch is None:
            batch = self._open[question] = _Batch()
            batch.found = asyncio.ensure_future(self._find(question, batch))
        batch.keys[key] = None
        found = cast("asyncio.Task[Mapping[Key, Value]]", batch.found)
        batch.waiting += 1
        try:
            return (await asyncio.shield(found))[key]
        finally:
            batch.waiting -= 1
            if not batch.waiting:
                found.cancel()
                self._close(question, batch)

    async def _find(self, question: tuple[Callable[..., Awaitable[Mapping[Any, Any]]], Any], batch: _Batch) -> Any:  # noqa: ANN401 -- whatever is found
        # All tasks that are ready by now come first, so that the rows of a page ask before the answer is sought.
        await asyncio.sleep(0)
        self._close(question, batch)
        find, given = question
        return await find(list(batch.keys), *given)

    def _close(self, question: Hashable, batch: _Batch) -> None:
        """Let those who come later ask anew."""
        if self._open.get(question) is batch:
            del self._open[question]
