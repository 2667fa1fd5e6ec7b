"""Lists with an async field start the tasks of their rows in batches, with other work in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from graphql_schema.context import Loaders
from graphql_schema.execution import CompilingExecutor, field_of
from graphql_schema.fields import resolved_field
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.concurrency.time_slices import BATCH_SIZE

MANY = 7 * BATCH_SIZE + 3
WORK: ContextVar[Callable[[int], Awaitable[int]]] = ContextVar("WORK")
"""Returns the value of a row, by its number."""


@strawberry.type
class Row:
    number: int

    @strawberry.field
    async def work(self, parent: strawberry.Parent[dict[str, int]]) -> int:
        return await WORK.get()(parent["number"])


@strawberry.type
class Query:
    @resolved_field("Rows.", returns=list[Row] | None)
    def rows(self, count: int) -> list[dict[str, int]]:
        return [{"number": number} for number in range(count)]


SCHEMA = LoomSchema(
    query=Query,
    config=StrawberryConfig(default_resolver=field_of),
    limits=Limits(),
    execution_context_class=CompilingExecutor,
)


async def execute(work: Callable[[int], Awaitable[int]], count: int = MANY) -> tuple[list[int] | None, list[str]]:
    """Return the values of a list's rows, or None, and the messages of errors."""
    WORK.set(work)
    result = await SCHEMA.execute(f"{{ rows(count: {count}) {{ work }} }}")
    rows = (result.data or {})["rows"]
    errors = [str(error.original_error) for error in result.errors or ()]
    return None if rows is None else [row["work"] for row in rows], errors


@asynccontextmanager
async def turns_of_others() -> AsyncIterator[Callable[[], int]]:
    """Count the turns of other work until the block ends; yield a function that returns the count."""
    turn = 0

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(others())
    await asyncio.sleep(0)
    yield lambda: turn
    working.cancel()


@pytest.mark.parametrize("count", [1, BATCH_SIZE, BATCH_SIZE + 1, MANY])
async def test_rows_start_in_batches_and_stay_in_order(count: int) -> None:
    started: Counter[int] = Counter()

    async with turns_of_others() as turn:

        async def work(number: int) -> int:
            started[turn()] += 1
            for _ in range(number % 3):
                await asyncio.sleep(0)
            return number

        values, errors = await execute(work, count)

    assert (values, errors) == ([*range(count)], [])
    assert started.total() == count
    assert max(started.values()) <= BATCH_SIZE


async def test_lookups_of_all_rows_are_one_batch() -> None:
    loaders, batches = Loaders(), list[list[int]]()

    async def find(keys: Sequence[int]) -> dict[int, int]:
        batches.append(list(keys))
        return {key: -key for key in keys}

    async def work(number: int) -> int:
        return (await loaders.load_all(find, (number,)))[number]

    assert await execute(work) == ([-number for number in range(MANY)], [])
    assert batches == [[*range(MANY)]]


async def test_failed_row_cancels_the_others() -> None:
    started: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> int:
        if number == 5:
            raise ValueError("5")
        started.append(number)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)
        return number

    assert await execute(work) == (None, ["5"])
    assert sorted(ended) == sorted(started)


async def test_cancellation_leaves_no_tasks() -> None:
    before, running = asyncio.all_tasks(), asyncio.Event()
    started: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> int:
        started.append(number)
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)
        return number

    working = asyncio.create_task(execute(work))
    await running.wait()
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
    await asyncio.sleep(0)
    assert ended == started
    assert len(started) < MANY
    assert asyncio.all_tasks() == before
