"""Tests of the limit of concurrent operations: waiting, refusals and the release of every slot."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from app.admission import MAX_QUERIES, OperationLimiter
from stores.errors import RateLimitedError, UnavailableError
from stores.timings import Timings
from tests.app.endpoints import TYPENAME, Server, answered, serving
from tests.app.graphql_http.test_cancellation import COUNT as SLOW_COUNT
from tests.app.graphql_http.test_cancellation import slowed
from tests.waiting import TIMEOUT, until, until_found

COUNT = '{ callsStats(projectId: "acme/endpoints") { count } }'
HASTY = Timings(slot_wait_seconds=0.05)


async def held(operation_limiter: OperationLimiter, payer: str, released: asyncio.Event) -> str:
    async with operation_limiter.slot(payer):
        await released.wait()
    return payer


async def test_operation_waits_for_a_free_slot() -> None:
    operation_limiter, first, second = OperationLimiter(1), asyncio.Event(), asyncio.Event()
    one = asyncio.create_task(held(operation_limiter, "a", first))
    other = asyncio.create_task(held(operation_limiter, "b", second))
    await until(lambda: operation_limiter.waiting == 1)

    first.set()
    await one
    await until(lambda: operation_limiter.waiting == 0)

    assert operation_limiter.in_use == 1
    second.set()
    assert await other == "b"
    assert (operation_limiter.in_use, operation_limiter.waiting) == (0, 0)


async def test_operation_times_out_with_server_full() -> None:
    operation_limiter, released = OperationLimiter(1, wait_seconds=0.01), asyncio.Event()
    one = asyncio.create_task(held(operation_limiter, "a", released))
    await until(lambda: operation_limiter.in_use == 1)

    with pytest.raises(UnavailableError, match="already runs 1 operations \\(LOOMQL_MAX_OPERATIONS\\)"):
        await operation_limiter.slot("b").__aenter__()

    released.set()
    await one
    assert (operation_limiter.in_use, operation_limiter.waiting) == (0, 0)


async def test_query_that_waits_for_an_operation_slot_keeps_no_query_slot() -> None:
    limiter, released = OperationLimiter(2 * MAX_QUERIES, 1, wait_seconds=30), asyncio.Event()
    holding = [asyncio.create_task(held(limiter, caller, released)) for caller in ("a", "b")]
    await until(lambda: limiter.in_use == 2)

    async def query(caller: str) -> None:
        async with limiter.operation(caller, is_query=True):
            pass

    waiting = [asyncio.create_task(query(caller)) for caller in ("a", "b")]
    await until(lambda: limiter.waiting == 2)
    others = [f"caller {number}" for number in range(MAX_QUERIES)]
    with ExitStack() as held_slots:
        for caller in others:  # the two that wait take none of these slots
            held_slots.enter_context(limiter.operation(caller, is_query=True))
        with pytest.raises(UnavailableError, match=f"already runs {MAX_QUERIES} queries"):
            limiter.operation("c", is_query=True).__enter__()

    released.set()
    await asyncio.gather(*holding, *waiting)
    assert (limiter.in_use, limiter.waiting) == (0, 0)


async def test_one_caller_cannot_use_all_slots() -> None:
    operation_limiter, released = OperationLimiter(3, 2, wait_seconds=30), asyncio.Event()
    greedy = [asyncio.create_task(held(operation_limiter, "greedy", released)) for _ in range(4)]
    await until(lambda: operation_limiter.waiting == 2)

    # As many operations may wait as may run; the limiter refuses any more at once.
    with pytest.raises(RateLimitedError, match="you already run 2 operations") as refused:
        await operation_limiter.slot("greedy").__aenter__()
    async with asyncio.timeout(10), operation_limiter.slot("modest"):
        assert operation_limiter.in_use == 3

    assert refused.value.retry_after_seconds == 1
    released.set()
    assert await asyncio.gather(*greedy) == ["greedy"] * 4
    assert (operation_limiter.in_use, operation_limiter.waiting) == (0, 0)


async def test_full_queue_is_refused_at_once() -> None:
    operation_limiter, released = OperationLimiter(1, wait_seconds=600), asyncio.Event()
    waiting = [asyncio.create_task(held(operation_limiter, str(number), released)) for number in range(5)]
    await until(lambda: operation_limiter.waiting == 4)

    with pytest.raises(UnavailableError):
        await operation_limiter.slot("late").__aenter__()

    released.set()
    await asyncio.gather(*waiting)
    assert operation_limiter.in_use == 0


async def test_cancelled_waiter_takes_no_slot() -> None:
    operation_limiter, released = OperationLimiter(1, wait_seconds=600), asyncio.Event()
    one = asyncio.create_task(held(operation_limiter, "a", released))
    leaving = [asyncio.create_task(held(operation_limiter, "b", released)) for _ in range(3)]
    staying = asyncio.create_task(held(operation_limiter, "c", released))
    await until(lambda: operation_limiter.waiting == 2)  # of b one waits, as many as may run; two were refused

    for task in leaving:
        task.cancel()
    released.set()
    # One of them gets its slot just as it is cancelled.
    outcomes = await asyncio.gather(*leaving, return_exceptions=True)

    assert [await one, await staying] == ["a", "c"]
    assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, RateLimitedError, UnavailableError}
    assert (operation_limiter.in_use, operation_limiter.waiting) == (0, 0)


async def test_queries_cannot_use_all_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.admission.MAX_QUERIES", 1)
    operation_limiter = OperationLimiter(3, wait_seconds=0.01)
    async with operation_limiter.operation("a", is_query=True):
        with pytest.raises(UnavailableError, match="the server already runs 1 queries; this operation did not start"):
            async with operation_limiter.operation("b", is_query=True):
                pass
        async with operation_limiter.slot("b"):
            assert operation_limiter.in_use == 2
    async with operation_limiter.operation("b", is_query=True):
        assert operation_limiter.in_use == 1
    assert operation_limiter.in_use == 0


async def test_one_caller_may_use_half_of_the_query_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.admission.MAX_QUERIES", 4)
    operation_limiter = OperationLimiter(10, wait_seconds=0.01)
    async with (
        operation_limiter.operation("a", is_query=True),
        operation_limiter.operation("a", is_query=True),
        operation_limiter.slot("a"),
    ):
        with pytest.raises(RateLimitedError, match="you already run 2 queries, the limit of one caller"):
            async with operation_limiter.operation("a", is_query=True):
                pass
        async with operation_limiter.operation("b", is_query=True):
            assert operation_limiter.in_use == 4
    assert operation_limiter.in_use == 0


async def test_slots_are_all_free_after_many_operations() -> None:
    operation_limiter = OperationLimiter(5, 3, wait_seconds=0.005)

    async def visit(number: int) -> None:
        try:
            async with operation_limiter.slot(f"caller {number % 7}"):
                assert operation_limiter.in_use <= 5
                await asyncio.sleep(0.001 * (number % 4))
        except (UnavailableError, RateLimitedError):
            return

    tasks = [asyncio.create_task(visit(number)) for number in range(500)]
    await asyncio.sleep(0.002)
    for task in tasks[::9]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (operation_limiter.in_use, operation_limiter.waiting) == (0, 0)


@pytest.fixture
def narrow(mongodb_uri: str, database_name: str) -> Iterator[Server]:
    yield from serving(mongodb_uri, database_name, HASTY, max_operations=1, max_connection_operations=10)


async def test_subscriptions_use_no_slot(narrow: Server) -> None:
    watch = 'subscription { callEvents(projectId: "acme/endpoints") { type } }'
    async with narrow.socket() as socket:
        for number in range(3):
            payload = {"query": watch}
            await socket.send(json.dumps({"id": f"s{number}", "type": "subscribe", "payload": payload}))
        found = await answered(socket, "q", query=COUNT)

    assert found["payload"]["data"] == {"callsStats": {"count": 0}}
    assert narrow.graphql(COUNT).json()["data"] == {"callsStats": {"count": 0}}


@pytest.mark.parametrize("limits", [{"max_caller_subscriptions": 2}, {"max_subscriptions": 4}])
async def test_caller_over_the_subscription_limit_is_refused(
    mongodb_uri: str, database_name: str, limits: dict[str, int]
) -> None:
    subscription = {"query": 'subscription { callEvents(projectId: "acme/endpoints") { type } }'}
    with contextmanager(serving)(mongodb_uri, database_name, **limits) as server:
        async with server.socket() as socket:
            for number in range(3):
                await socket.send(json.dumps({"id": f"s{number}", "type": "subscribe", "payload": subscription}))
            refused = json.loads(await socket.recv())

    [error] = refused["payload"]["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert "LOOMQL_MAX_CALLER_SUBSCRIPTIONS" in error["message"]


@pytest.mark.parametrize(
    ("limits", "status", "code", "setting"),
    [
        ({"max_operations": 1}, 503, "UNAVAILABLE", "LOOMQL_MAX_OPERATIONS"),
        ({"max_operations": 3, "max_caller_operations": 1}, 429, "RATE_LIMITED", "LOOMQL_MAX_CALLER_OPERATIONS"),
        ({"max_operations": 2}, 429, "RATE_LIMITED", "LOOMQL_MAX_CALLER_OPERATIONS"),
    ],
)
async def test_http_response_without_a_slot_has_retry_after(
    mongodb_uri: str,
    database_name: str,
    limits: dict[str, int],
    status: int,
    code: str,
    setting: str,
) -> None:
    with slowed(mongodb_uri, database_name, HASTY, query_timeout_seconds=3000, **limits) as slow:
        async with httpx.AsyncClient(base_url=f"http://{slow.server.host}", timeout=TIMEOUT) as client:

            async def posted(query: str) -> httpx.Response:
                return await client.post("/graphql", json={"query": query})

            async def is_admitted() -> bool:
                return (await posted(TYPENAME)).status_code == 200

            holding = asyncio.ensure_future(posted(SLOW_COUNT))
            await until(lambda: bool(slow.reads()))
            refused = await posted(TYPENAME)
            metrics = await client.get("/metrics")
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            await until_found(is_admitted)

    [error] = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"], refused.headers["retry-after"]) == (status, code, "1")
    assert setting in error["message"]
    assert 'loomql_in_use{resource="operations"} 1.0' in metrics.text
