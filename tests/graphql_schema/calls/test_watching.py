"""Subscriptions to calls: the events that the server sends while clients write."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
from strawberry.types import ExecutionResult

from graphql_schema.context import Context, FileContentBudget, Stores
from graphql_schema.schema import LoomSchema
from stores import times
from stores.calls import CallsStore
from stores.costs import NewCost
from stores.database import Database
from stores.json import codec
from tests.commands import Commands
from tests.graphql_schema.conftest import Answer, Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.objects.builders import version
from tests.waiting import TIMEOUT
from tests.watching import readers, until_event_of, until_subscribed

LIFE = "type call { id status inputs }"


@pytest.fixture
async def stores(database: Database) -> AsyncIterator[Stores]:
    stores = Stores(database)
    yield stores
    await stores.close()


_LATE = Answer(None, [])
"""The hints that a subscriber gets if the first event is late."""

DOCUMENT = """
subscription ($project: ID!, $filter: CallsFilter, $query: QueryInput, $after: String) {
  callEvents(projectId: $project, filter: $filter, query: $query, after: $after) { %s }
}"""


async def watch(
    schema: LoomSchema, stores: Stores, selection: str, project_id: str = PROJECT, **variables: object
) -> AsyncGenerator[Answer, None]:
    """Yield the results of a subscription."""
    given = {"project": project_id, **variables}
    async with aclosing(await schema.stream(DOCUMENT % selection, given, Context(stores))) as results:
        async for result in results:
            assert isinstance(result, ExecutionResult)
            body = {"data": result.data, "errors": [error.formatted for error in result.errors or ()]}
            yield Answer(**json.loads(codec.dumps(body)))


@asynccontextmanager
async def watchers(
    schema: LoomSchema, stores: Stores, selection: str, count: int = 1
) -> AsyncIterator[list[asyncio.Queue[Any]]]:
    """Start some subscriptions, wait until all watch, and yield a queue of the events for each."""
    queues = [asyncio.Queue[Any]() for _ in range(count)]

    async def collect(queue: asyncio.Queue[Any]) -> None:
        async with aclosing(watch(schema, stores, selection)) as answers:
            async for answer in answers:
                if answer != _LATE:
                    queue.put_nowait(answer.data["callEvents"] if answer.data else answer)

    collecting = [asyncio.create_task(collect(queue)) for queue in queues]
    await until_subscribed(stores.calls, count)
    yield queues
    for task in collecting:
        task.cancel()
    ended = await asyncio.gather(*collecting, return_exceptions=True)
    assert {type(end) for end in ended} == {asyncio.CancelledError}


async def take(queue: asyncio.Queue[Any], count: int) -> list[Any]:
    async with asyncio.timeout(TIMEOUT):
        return [await queue.get() for _ in range(count)]


async def test_call_events_are_sent_as_they_happen(schema: LoomSchema, stores: Stores) -> None:
    calls = stores.calls
    async with watchers(schema, stores, LIFE) as [queue]:
        await calls.write([start(1, inputs={"q": 2**70}), start(2, project_id="acme/other")])
        await calls.write([end(1)])
        await calls.rename(PROJECT, call_id(1), "Nora")
        await calls.write([end(3)])
        await calls.write([start(3)])
        await calls.write([start(4), end(4)])
        await calls.delete(PROJECT, [call_id(1)])

        events = await take(queue, 6)

    assert [(event["type"], *event["call"].values()) for event in events] == [
        ("STARTED", call_id(1), "RUNNING", {"q": 2**70}),
        ("ENDED", call_id(1), "SUCCESS", {"q": 2**70}),
        ("UPDATED", call_id(1), "SUCCESS", {"q": 2**70}),
        ("ENDED", call_id(3), "SUCCESS", {}),
        ("ENDED", call_id(4), "SUCCESS", {}),
        ("DELETED", call_id(1), "SUCCESS", {"q": 2**70}),
    ]


async def test_delete_event_has_the_deletion_time(schema: LoomSchema, stores: Stores) -> None:
    async with watchers(schema, stores, "type call { deletedAt }") as [queue]:
        await stores.calls.write([start(1)])
        await take(queue, 1)
        before = times.now()
        await stores.calls.delete(PROJECT, [call_id(1)])
        [event] = await take(queue, 1)

    assert event["type"] == "DELETED"
    assert before // 1000 * 1000 <= times.parse(event["call"]["deletedAt"]) <= times.now()


async def test_events_have_the_current_cost(schema: LoomSchema, stores: Stores) -> None:
    await stores.costs.create(PROJECT, [NewCost("m", 0.5, 0.0, effective_date=0)])
    async with watchers(schema, stores, "type call { totalCost costs { totalTokens } }") as [queue]:
        await stores.calls.write([start(1)])
        await stores.calls.write([end(1, summary={"usage": {"m": {"prompt_tokens": 3, "total_tokens": 3}}})])

        events = await take(queue, 2)

    assert [tuple(event["call"].values()) for event in events] == [(None, []), (1.5, [{"totalTokens": 3}])]


async def test_hundred_subscriptions_share_one_stream_and_delay_no_request(
    schema: LoomSchema, stores: Stores, run: Run, commands: Commands
) -> None:
    async with watchers(schema, stores, LIFE, count=100) as queues:
        await stores.calls.write([start(1)])
        one = await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ id }} }}')
        page = await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ id }} }} }}')
        received = [await take(queue, 1) for queue in queues]

    assert one.data == {"call": {"id": call_id(1)}}
    assert page.data == {"calls": {"nodes": [{"id": call_id(1)}]}}
    assert received == [[{"type": "STARTED", "call": {"id": call_id(1), "status": "RUNNING", "inputs": {}}}]] * 100
    assert len({body["getMore"] for name, body in commands.sent if name == "getMore"}) == 1
    assert readers(stores.calls) == 0


async def test_event_has_the_current_trace_size(schema: LoomSchema, stores: Stores, run: Run) -> None:
    sizes = "call { id storageSizeBytes totalStorageSizeBytes }"
    await stores.calls.write([start(2, trace_id=trace_id(1), parent_id=call_id(1), inputs={"q": "x" * 100})])

    async with watchers(schema, stores, sizes, count=2) as queues:
        await stores.calls.write([start(1)])
        [first], [second] = [await take(queue, 1) for queue in queues]
    answer = await run(f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ totalStorageSizeBytes }} }}')

    assert first == second
    assert first["call"] == {"id": call_id(1), "storageSizeBytes": 4, **answer.data["call"]}
    assert first["call"]["totalStorageSizeBytes"] > 100


async def test_slow_subscriber_gets_a_resume_cursor(schema: LoomSchema, database: Database) -> None:
    stores = Stores(database, calls=CallsStore(database, max_event_bytes=15_000))
    async with aclosing(watch(schema, stores, LIFE)) as answers:
        reading = asyncio.create_task(anext(answers))
        await until_subscribed(stores.calls)
        await stores.calls.write([start(1)])
        first = await asyncio.wait_for(reading, TIMEOUT)

        await stores.calls.write([start(number) for number in range(2, 9)])
        await stores.calls.write([start(9)])
        await until_event_of(stores.calls, call_id(9))
        rest = [answer async for answer in answers]

    assert first.data["callEvents"]["call"]["id"] == call_id(1)
    [lag] = rest
    assert lag.code == "UNAVAILABLE"
    assert "lagged" in lag.errors[0]["message"]
    after = lag.errors[0]["extensions"]["after"]
    async with aclosing(watch(schema, stores, LIFE, after=after)) as answers:
        resumed = [(await anext(answers)).data["callEvents"]["call"]["id"] for _ in range(8)]
    await stores.close()

    assert sorted(resumed) == [call_id(number) for number in range(2, 10)]


async def test_subscription_to_a_malformed_project_names_the_argument(schema: LoomSchema, stores: Stores) -> None:
    [answer] = [answer async for answer in watch(schema, stores, "type", project_id="acme")]

    [error] = answer.errors
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "projectId"}
    assert error["message"].startswith("projectId: ")


async def test_subscription_without_a_database_is_unavailable(schema: LoomSchema) -> None:
    away = Database.open("mongodb://127.0.0.1:1/?directConnection=true", "loomql", timeout_seconds=0.2)
    stores = Stores(away)

    answers = [answer async for answer in watch(schema, stores, "type")]
    await stores.close()
    away.close()

    assert [answer.code for answer in answers] == ["UNAVAILABLE"]


async def test_each_event_has_the_file_budget_of_a_response(schema: LoomSchema, stores: Stores, run: Run) -> None:
    made = await run(
        'mutation ($project: ID!) { fileCreate(projectId: $project, name: "x", content: "aGk=") { digest } }',
        project=PROJECT,
    )
    files = {"obj.py": made.data["fileCreate"]["digest"]}
    digest = await stores.objects.create(version({"files": files}, object_id="f", kind="op"))
    cursor = await stores.calls.events_cursor(PROJECT)
    await stores.calls.write([start(number, op_name=f"weave:///{PROJECT}/op/f:{digest}") for number in range(3)])

    given = {"project": PROJECT, "after": cursor}
    context = Context(stores, file_contents=FileContentBudget(max_bytes=3))
    document = DOCUMENT % "call { op { files { file { content } } } }"
    async with aclosing(await schema.stream(document, given, context)) as results, asyncio.timeout(TIMEOUT):
        received = [cast("ExecutionResult", await anext(results)) for _ in range(3)]

    event = {"callEvents": {"call": {"op": {"files": [{"file": {"content": "aGk="}}]}}}}
    assert [json.loads(codec.dumps(result.data)) for result in received] == [event] * 3


async def test_results_are_shared_by_equal_subscriptions_at_any_start(schema: LoomSchema, stores: Stores) -> None:
    cursor = await stores.calls.events_cursor(PROJECT)
    await stores.calls.write([start(1)])

    async def first_two(selection: str, **variables: object) -> list[ExecutionResult]:
        document, given = DOCUMENT % selection, {"project": PROJECT, **variables}
        async with aclosing(await schema.stream(document, given, Context(stores))) as results:
            found = [await anext(results), await anext(results)]
        assert all(isinstance(result, ExecutionResult) for result in found)
        return cast("list[ExecutionResult]", found)

    readings = [
        asyncio.create_task(first_two(LIFE, after=cursor)),
        asyncio.create_task(first_two(LIFE, after=cursor)),
        asyncio.create_task(first_two("call { id op { objectId } }", after=cursor)),
    ]
    await until_subscribed(stores.calls, 3)
    later = (await stores.calls.events_cursor(PROJECT)), cursor
    readings += [asyncio.create_task(first_two(LIFE, after=each)) for each in later[1:]]
    await until_subscribed(stores.calls, 4)
    await stores.calls.write([start(2)])
    one, other, different, resumed = await asyncio.gather(*readings)

    assert one[1] is other[1] is resumed[1]
    call = {"id": call_id(2), "status": "RUNNING", "inputs": {}}
    assert json.loads(codec.dumps(one[1].data)) == {"callEvents": {"type": "STARTED", "call": call}}
    assert different[1] is not one[1]
    assert different[1].data == {"callEvents": {"call": {"id": call_id(2), "op": None}}}


async def test_wrong_path_and_too_deep_variables_are_reported_as_results(schema: LoomSchema, stores: Stores) -> None:
    """Errors are results of the stream; `stream` itself never raises them."""
    deep: Any = "x"
    for _ in range(100_000):  # Python 3.13 encodes more than 9,000 levels
        deep = [deep]

    async def first(**given: Any) -> Any:
        variables = {"project": PROJECT, **given}
        async with aclosing(await schema.stream(DOCUMENT % "type", variables, Context(stores))) as results:
            return await anext(results)

    wrong, too_deep = await first(after="nonsense"), await first(unknown=deep)

    assert type(wrong).__name__ == "ExecutionResult"
    assert [(error.path, error.extensions["code"]) for error in wrong.errors] == [(["callEvents"], "BAD_USER_INPUT")]
    assert [error.extensions["code"] for error in too_deep.errors] == ["INTERNAL"]
