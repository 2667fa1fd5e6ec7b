"""Tests of the change stream that all subscribers share: delivered events, opening, closing and failures."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import ConnectionFailure

from app.embedded_mongod import embedded_mongod
from stores.calls import CallsFilter, CallsStore
from stores.calls.events import EventFilter, FanOut, fan_out
from stores.calls.events.fan_out import Subscriber, SubscriptionEndedError
from stores.database import Database, Document
from stores.errors import RateLimitedError, UnavailableError
from tests.commands import Commands
from tests.folders import short_folder
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT, Turns, another_task, until
from tests.watching import cursors_over

OTHER = "acme/other"

_R = TypeVar("_R")


@pytest.fixture
async def stream(database: Database) -> AsyncIterator[FanOut]:
    stream = FanOut(database, await cursors_over(database))
    yield stream
    await stream.close()


@asynccontextmanager
async def reading(stream: FanOut, project_id: str = PROJECT, place: str | None = None) -> AsyncIterator[Subscriber]:
    """Yield a subscriber to all events of a project, from now on or after a buffered place."""
    async with stream.watch_project(project_id), asyncio.timeout(TIMEOUT):
        await stream.wait_until_covered(project_id)
        async with stream.subscribe(EventFilter(project_id), place) as subscriber:
            assert subscriber
            yield subscriber


async def next_events(subscriber: Subscriber, count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(TIMEOUT):
        events = [await subscriber.next() for _ in range(count)]
    return [(event.type, event.call["id"]) for event in events]


async def drain(subscriber: Subscriber) -> NoReturn:
    """Read events until an error ends the subscription."""
    while True:
        await subscriber.next()


def stages(commands: Commands) -> list[list[dict[str, Any]]]:
    """Return the pipeline of each change stream that the server opened."""
    pipelines = [body["pipeline"] for name, body in commands.sent if name == "aggregate"]
    return [pipeline for pipeline in pipelines if "$changeStream" in pipeline[0]]


def named(pipeline: list[dict[str, Any]]) -> list[str] | None:
    """Return the projects that the pipeline of a change stream names; None if it covers all."""
    match = pipeline[1]["$match"]
    return match["$expr"]["$in"][1]["$literal"] if "$expr" in match else None


def opened(commands: Commands) -> list[dict[str, Any]]:
    """Return the `$changeStream` stage of each change stream that the server opened."""
    return [pipeline[0]["$changeStream"] for pipeline in stages(commands)]


async def test_new_subscriber_misses_no_event_and_sees_only_its_project(stream: FanOut, calls: CallsStore) -> None:
    async with reading(stream) as ours:
        await calls.write([start(1)])
        async with reading(stream, OTHER) as theirs:
            await calls.write([start(2, project_id=OTHER), end(2, project_id=OTHER)])
            await calls.write([end(1)])

            assert await next_events(ours, 2) == [("started", call_id(1)), ("ended", call_id(1))]
            assert await next_events(theirs, 1) == [("ended", call_id(2))]


async def test_event_has_all_stored_call_fields(stream: FanOut, calls: CallsStore) -> None:
    async with reading(stream) as subscriber:
        await calls.write([start(1, inputs={"q": 2**70}), end(1, output="x")])
        event = await subscriber.next()
    kept = await calls.database.calls.find_one({"id": call_id(1)})

    assert kept is not None
    assert event.call == {k: v for k, v in kept.items() if k not in {"inputs", "output", "attributes", "summary"}}
    assert event.call["json"]["inputs"] == '{"q":1180591620717411303424}'


@pytest.mark.not_on("cluster", reason="behind a router one more stream reads the current token")
async def test_subscribers_share_one_stream_that_closes_and_reopens(
    stream: FanOut, calls: CallsStore, commands: Commands
) -> None:
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(reading(stream)) for _ in range(100)]
        await calls.write([start(1)])
        assert [await next_events(subscriber, 1) for subscriber in subscribers] == [[("started", call_id(1))]] * 100
        assert len(opened(commands)) == 1
        assert "killCursors" not in commands.names

    await until(lambda: "killCursors" in commands.names)

    async with reading(stream) as subscriber:
        await calls.write([start(2)])
        assert await next_events(subscriber, 1) == [("started", call_id(2))]
    assert len(opened(commands)) == 2


@pytest.mark.not_on("cluster", reason="behind a router one more stream reads the current token")
async def test_stream_filters_by_project_up_to_a_limit(
    stream: FanOut, calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "_MAX_NAMED_PROJECTS", 2)
    projects = [f"acme/{name}" for name in ("one", "two", "three", "four")]
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(stream, project)) for project in projects]
        for number, project in enumerate(projects):
            await calls.write([start(number, project_id=project)])

        assert [await next_events(reader, 1) for reader in readers] == [[("started", call_id(n))] for n in range(4)]
    assert [named(each) for each in stages(commands)] == [["acme/one"], ["acme/one", "acme/two"], None]


async def test_projects_of_any_name_are_covered(stream: FanOut, calls: CallsStore) -> None:
    projects = ["$a/b", "$$a/b", "$project_id/b", PROJECT, '"/ä']
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(stream, project)) for project in projects]
        for number, project in enumerate(projects):
            await calls.write([start(number, project_id=project)])

        assert [await next_events(reader, 1) for reader in readers] == [[("started", call_id(n))] for n in range(5)]


async def test_calls_of_other_programs_with_any_key_do_not_end_a_named_stream(
    stream: FanOut, calls: CallsStore, database: Database
) -> None:
    async with reading(stream) as ours:
        for key in (7, None, {"a": 1}, "", f"{PROJECT}x:1"):
            await database.calls.insert_one({"_id": key, "project_id": PROJECT, "id": f"{key}", "visible": True})
        await calls.write([start(1)])

        assert await next_events(ours, 1) == [("started", call_id(1))]


@pytest.mark.not_on("cluster", reason="behind a router one more stream reads the current token")
async def test_unwatched_projects_are_soon_removed_from_the_stream_filter(
    stream: FanOut, calls: CallsStore, commands: Commands, database: Database
) -> None:
    async with reading(stream) as ours:
        async with reading(stream, OTHER):
            pass
        await calls.write([start(1)])
        assert await next_events(ours, 1) == [("started", call_id(1))]
        assert len(opened(commands)) == 2

        database.timings = replace(database.timings, unwatched_seconds=0)
        await until(lambda: len(opened(commands)) == 3)
        await calls.write([start(2)])
        assert await next_events(ours, 1) == [("started", call_id(2))]

    assert named(stages(commands)[-1]) == [PROJECT]


async def test_subscriber_that_follows_the_last_one_gets_all_events(stream: FanOut, calls: CallsStore) -> None:
    for number in range(1, 4):
        async with reading(stream) as subscriber:
            await calls.write([start(number)])
            assert await next_events(subscriber, 1) == [("started", call_id(number))]


async def test_slow_subscriber_gets_a_resume_cursor_and_others_continue(database: Database, calls: CallsStore) -> None:
    stream = FanOut(database, await cursors_over(database), max_events=3)

    async with reading(stream) as slow, reading(stream) as fast:
        for number in range(4):
            await calls.write([start(number)])
            assert await next_events(fast, 1) == [("started", call_id(number))]

        with pytest.raises(SubscriptionEndedError, match=r"lagged .* subscribe again") as lag:
            await slow.next()
        await calls.write([start(4)])
        assert await next_events(fast, 1) == [("started", call_id(4))]
        with pytest.raises(SubscriptionEndedError, match="lagged"):
            await slow.next()
    await stream.close()

    assert lag.value.after is not None
    events = CallsStore(database).events(PROJECT, {"id"}, after=lag.value.after)
    assert [(await anext(events)).call["id"] for _ in range(5)] == [call_id(number) for number in range(5)]
    await events.aclose()


async def test_event_buffer_is_bounded_in_total_size(database: Database, calls: CallsStore) -> None:
    stream = FanOut(database, await cursors_over(database), max_bytes=1_000_000)

    async with reading(stream) as ours, reading(stream, OTHER) as theirs:
        await calls.write([start(1, project_id=OTHER)])
        for number in range(12):
            await calls.write([start(number, inputs={"q": "x" * 100_000})])
            assert await next_events(ours, 1) == [("started", call_id(number))]
        assert 800_000 < stream.log.size < 1_000_000
        with pytest.raises(SubscriptionEndedError, match="lagged"):
            await theirs.next()
    await stream.close()


async def test_subscriptions_over_the_process_limit_name_the_setting(database: Database) -> None:
    stream = FanOut(database, await cursors_over(database), max_subscribers=2)

    async with reading(stream), reading(stream, OTHER):
        with pytest.raises(RateLimitedError, match=r"2 subscriptions .* LOOMQL_MAX_SUBSCRIPTIONS"):
            async with stream.watch_project(PROJECT):
                pass
    async with reading(stream):
        assert stream.limiter.in_use == 1
    await stream.close()


async def test_subscriptions_over_the_callers_limit_are_refused(database: Database) -> None:
    stream = FanOut(database, await cursors_over(database), max_subscribers=3, max_per_caller=2)

    async with stream.watch_project(PROJECT, "a"), stream.watch_project(OTHER, "a"):
        with pytest.raises(RateLimitedError, match=r"you have 2 subscriptions .* LOOMQL_MAX_CALLER_SUBSCRIPTIONS"):
            async with stream.watch_project(PROJECT, "a"):
                pass
        async with stream.watch_project(PROJECT, "b"):
            assert stream.limiter.in_use == 3
    async with stream.watch_project(PROJECT, "a"):
        assert (stream.limiter.in_use, dict(stream.limiter._by_caller)) == (1, {"a": 1})
    await stream.close()


async def test_evaluating_many_filters_yields_to_other_requests(
    stream: FanOut, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_others = Turns()
    answered_in = list[int]()

    def holds(_question: EventFilter, _call: object, _values: object) -> bool:
        time.sleep(0.001)
        answered_in.append(of_others.count)
        return True

    monkeypatch.setattr(EventFilter, "matches", holds)
    questions = [EventFilter(PROJECT, CallsFilter(call_ids=[call_id(1), str(number)])) for number in range(100)]
    async with stream.watch_project(PROJECT), AsyncExitStack() as stack:
        await stream.wait_until_covered(PROJECT)
        joined = [await stack.enter_async_context(stream.subscribe(each, None)) for each in questions]
        async with another_task(of_others):
            await calls.write([start(1)])
            await until(lambda: len(answered_in) == 100)
        events = [await next_events(subscriber, 1) for subscriber in joined if subscriber]

    assert max(Counter(answered_in).values()) <= 10
    assert events == [[("started", call_id(1))]] * 100


async def test_close_delivers_pending_events_then_ends_all_subscriptions(
    stream: FanOut, calls: CallsStore, commands: Commands
) -> None:
    async with reading(stream) as early, reading(stream, OTHER) as late:
        waiting = asyncio.create_task(late.next())
        await calls.write([start(1)])
        await until(lambda: early._channel.end == 1)

        await stream.close()

        assert await next_events(early, 1) == [("started", call_id(1))]
        for ended in (early.next(), waiting):
            with pytest.raises(SubscriptionEndedError, match="server is stopping") as stopped:
                await ended
            assert stopped.value.after
        with pytest.raises(SubscriptionEndedError, match="server is stopping"):
            async with stream.watch_project(PROJECT):
                pass
    assert "killCursors" in commands.names


@pytest.mark.not_on("cluster", reason="the stand-in router resumes by the time in a token")
async def test_unresumable_stream_ends_with_an_error_and_a_new_one_may_start(
    stream: FanOut, calls: CallsStore, caplog: pytest.LogCaptureFixture
) -> None:
    await calls.write([start(1)])

    async with reading(stream) as subscriber:
        await calls.database.calls.drop()
        with pytest.raises(SubscriptionEndedError, match="subscribe again"):
            await asyncio.wait_for(subscriber.next(), TIMEOUT)
    async with reading(stream) as subscriber:
        await calls.write([start(2)])

        assert await next_events(subscriber, 1) == [("started", call_id(2))]
    assert "which ended its change stream" in caplog.text


@pytest.mark.not_on("cluster", reason="the stand-in router resumes by the time in a token")
async def test_subscriber_during_a_stream_failure_gets_a_new_stream(stream: FanOut, calls: CallsStore) -> None:
    for number in range(5):
        await calls.write([start(1)])
        await until(lambda: stream._follow_task is None)
        async with reading(stream) as subscriber:
            await calls.database.calls.drop()
            # This task reads directly, so that the next subscriber arrives before the stream is closed.
            with pytest.raises(SubscriptionEndedError, match="subscribe again"):
                await drain(subscriber)
        async with reading(stream) as subscriber:
            await calls.write([start(100 + number)])

            assert await next_events(subscriber, 1) == [("started", call_id(100 + number))]


async def test_subscription_without_a_database_is_unavailable() -> None:
    away = Database.open("mongodb://127.0.0.1:1/?directConnection=true", "loomql", timeout_seconds=0.2)
    calls = CallsStore(away)

    with pytest.raises(UnavailableError, match="is unreachable"):
        await anext(calls.events(PROJECT, {"id"}))
    await calls.close()
    away.close()


@pytest.fixture
async def own_database(commands: Commands) -> AsyncIterator[Database]:
    """Start a mongod that restarts when it dies, and yield a database on it."""
    with short_folder() as folder, embedded_mongod(folder, cache_gb=0.25) as uri:
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            uri, serverSelectionTimeoutMS=1000, heartbeatFrequencyMS=500, event_listeners=[commands]
        )
        database = Database(client, "loomql", timeout_seconds=1)
        yield database
        database.close()


async def surely(work: Callable[[], Awaitable[_R]]) -> _R:
    """Repeat some work until the database is available; a repeated write of a call changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await work()
            except (UnavailableError, ConnectionFailure):
                await asyncio.sleep(0.1)


async def kill(database: Database) -> None:
    """Kill the mongod without a clean shutdown."""
    status = await surely(partial(database.calls.database.command, "serverStatus"))
    os.kill(status["pid"], signal.SIGKILL)


async def test_each_event_is_delivered_once_though_mongod_is_killed(own_database: Database, commands: Commands) -> None:
    calls, stream = CallsStore(own_database), FanOut(own_database, await surely(partial(cursors_over, own_database)))
    async with reading(stream) as subscriber:
        for number in range(60):
            await surely(partial(calls.write, [start(number)]))
            if number % 30 == 10:
                await kill(own_database)

        assert await next_events(subscriber, 60) == [("started", call_id(number)) for number in range(60)]
        assert subscriber._number == subscriber._channel.end
    await stream.close()

    first, *resumed = opened(commands)
    assert resumed
    assert all(first != stage for stage in resumed)
