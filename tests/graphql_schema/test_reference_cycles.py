"""Operations leave no reference cycles, because the garbage collector would make all other requests wait.

The tests cover the most frequent operations; errors and unusual operations may leave cycles.
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.execution.executor import CompilingExecutor, Rows
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.database import Database
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.watching import until_subscribed

LIST = "query ($p: ID!) { calls(projectId: $p) { nodes { id inputs parent { id } children { nodes { id } } } } }"
ONE = "query ($p: ID!, $id: ID!) { call(projectId: $p, id: $id) { id opName children { nodes { id } } } }"
EVENTS = "subscription ($p: ID!) { callEvents(projectId: $p) { type call { id status } } }"


def there() -> int:
    """Return the number of live objects that belong to executions."""
    return sum(issubclass(type(each), CompilingExecutor | Rows | Context) for each in gc.get_objects())


@contextmanager
def without_collector() -> Iterator[None]:
    """Disable the garbage collector, so that only objects without references are freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(("document", "variables"), [(LIST, {}), (ONE, {"id": call_id(1)})])
async def test_query_leaves_no_reference_cycles(
    calls: CallsStore, run: Run, document: str, variables: dict[str, str]
) -> None:
    await calls.write([part for number in range(3) for part in (start(number), end(number))])
    for _ in range(2):  # the first run compiles the selection
        answer = await run(document, p=PROJECT, **variables)
        assert not answer.errors

    with without_collector():
        before = there()
        for _ in range(5):
            await run(document, p=PROJECT, **variables)
        assert there() == before


async def test_events_leave_no_reference_cycles_for_any_number_of_subscribers(
    schema: LoomSchema, database: Database
) -> None:
    stores = Stores(database)
    given = EVENTS, {"p": PROJECT}, Context(stores)
    async with aclosing(await schema.stream(*given)) as first, aclosing(await schema.stream(*given)) as second:
        tasks = [asyncio.create_task(_call_of(results)) for results in (first, second)]
        await until_subscribed(stores.calls, 2)
        await stores.calls.write([start(1)])
        assert await asyncio.gather(*tasks) == [call_id(1), call_id(1)]

        with without_collector():
            before = there()
            for number in range(2, 7):
                await stores.calls.write([start(number)])
                assert [await _call_of(first), await _call_of(second)] == [call_id(number), call_id(number)]
            assert there() == before
    await stores.close()


async def _call_of(results: Any) -> str:
    event: str = (await anext(results)).data["callEvents"]["call"]["id"]
    return event
