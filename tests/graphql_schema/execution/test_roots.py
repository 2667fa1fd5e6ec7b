"""Root fields: both executors run only a few fields of an operation at once, even if fields fail or are cancelled."""

import asyncio
import gc
import warnings

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_schema.execution import CompilingExecutor, LimitedRootsExecutor
from graphql_schema.execution.executor import MAX_CONCURRENT_ROOT_FIELDS
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.errors import BadInputError

FIELDS = 20


class Reads:
    """Counts concurrent reads; some of the reads fail."""

    def __init__(self) -> None:
        self.running = self.most = self.ended = 0
        self.began = asyncio.Event()

    async def read(self, number: int) -> int:
        self.running += 1
        self.began.set()
        self.most = max(self.most, self.running)
        try:
            for _ in range(1 + number % 3):
                await asyncio.sleep(0)
            if number % 7 == 6:
                raise BadInputError(f"no {number}")
            return number
        finally:
            self.running -= 1
            self.ended += 1


@strawberry.type
class Item:
    number: int

    @strawberry.field
    async def again(self, info: strawberry.Info) -> int:
        reads: Reads = info.context
        return await reads.read(self.number)


@strawberry.type
class Query:
    @strawberry.field
    async def item(self, info: strawberry.Info, number: int) -> Item | None:
        reads: Reads = info.context
        return Item(number=await reads.read(number))

    @strawberry.field
    async def needed(self, info: strawberry.Info, number: int) -> int:
        reads: Reads = info.context
        return await reads.read(number)


@strawberry.type
class Mutation(Query):
    """A mutation runs these fields one after the other."""


def schema(executor: type[StrawberryGraphQLCoreExecutionContext]) -> LoomSchema:
    return LoomSchema(query=Query, mutation=Mutation, limits=Limits(), execution_context_class=executor)


@pytest.fixture(params=[CompilingExecutor, LimitedRootsExecutor])
def few(request: pytest.FixtureRequest) -> LoomSchema:
    return schema(request.param)


def document(field: str, selected: str = "", kind: str = "query") -> str:
    return f"{kind} {{ " + " ".join(f"a{each}: {field}(number: {each}) {selected}" for each in range(FIELDS)) + " }"


# The first run of a document is graphql-core's; later runs use compiled rows.
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_few_root_fields_run_concurrently(few: LoomSchema, times: int) -> None:
    for _ in range(times):
        reads = Reads()
        result = await few.execute(document("item", "{ number again }"), context_value=reads)

    assert (reads.most, reads.running) == (MAX_CONCURRENT_ROOT_FIELDS, 0)
    assert list(result.data or ()) == [f"a{number}" for number in range(FIELDS)]
    assert result.data["a5"] == {"number": 5, "again": 5}  # type: ignore[index] # it is a dict
    assert sorted(error.message for error in result.errors or ()) == ["no 13", "no 6"]


async def test_mutation_runs_one_root_field_at_a_time(few: LoomSchema) -> None:
    reads = Reads()
    await few.execute(document("item", "{ number }", "mutation"), context_value=reads)

    assert (reads.most, reads.ended) == (1, FIELDS)


@pytest.mark.parametrize("times", [1, 2])
async def test_failed_operation_starts_no_more_fields(few: LoomSchema, times: int) -> None:
    for _ in range(times):
        reads = Reads()
        result = await few.execute(document("needed"), context_value=reads)

    assert (result.data, [error.path for error in result.errors or ()]) == (None, [["a6"]])
    assert reads.running == 0
    assert reads.ended <= 6 + MAX_CONCURRENT_ROOT_FIELDS


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_operation_starts_no_more_fields(few: LoomSchema, times: int) -> None:
    for _ in range(times):
        reads = Reads()
        running = asyncio.ensure_future(few.execute(document("item", "{ number again }"), context_value=reads))
        await reads.began.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert (reads.running, reads.ended) == (0, MAX_CONCURRENT_ROOT_FIELDS)


# The operation is cancelled before the first step of a field's task, while it waits for a slot, and while it runs.
@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_operation_leaves_no_resolver_unawaited(few: LoomSchema, steps: int) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(2):
            running = asyncio.ensure_future(few.execute(document("needed"), context_value=Reads()))
            for _step in range(steps):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            del running
            gc.collect()

    assert [str(warning.message) for warning in warned] == []


async def test_results_equal_those_of_graphql_core(few: LoomSchema) -> None:
    stock = schema(StrawberryGraphQLCoreExecutionContext)
    for _ in range(2):
        ours = await few.execute(document("item", "{ number again }"), context_value=Reads())
        theirs = await stock.execute(document("item", "{ number again }"), context_value=Reads())

    assert list(ours.data.items()) == list(theirs.data.items())  # type: ignore[union-attr] # dicts
    assert [error.formatted for error in ours.errors or ()] == [error.formatted for error in theirs.errors or ()]
