"""One change stream for all who watch calls: what they are told, when it opens and closes, and what breaks it."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from app.embedded_mongod import embedded_mongod
from stores.calls import CallEvent, CallsStore, fan_out
from stores.calls.fan_out import FanOut, Subscriber
from stores.database import Database, Document
from stores.errors import UnavailableError
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import until

TIMEOUT = 60
OTHER = "acme/other"


@pytest.fixture
async def stream(database: Database) -> AsyncIterator[FanOut]:
    fan_out = FanOut(database.calls)
    yield fan_out
    await fan_out.close()


async def told(subscriber: Subscriber, count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(TIMEOUT):
        events = [await subscriber.next() for _ in range(count)]
    return [(event.type, event.call["id"]) for event in events]


async def drain(subscriber: Subscriber) -> NoReturn:
    """Read on until there is an error."""
    while True:
        await subscriber.next()


def opened(commands: Commands) -> list[dict[str, Any]]:
    """The stage of each change stream that was opened."""
    pipelines = [body["pipeline"] for name, body in commands.sent if name == "aggregate"]
    return [pipeline[0]["$changeStream"] for pipeline in pipelines if "$changeStream" in pipeline[0]]


async def test_who_is_let_begin_misses_nothing_and_learns_nothing_of_another_project(
    stream: FanOut, calls: CallsStore
) -> None:
    async with stream.subscribed(PROJECT) as ours, stream.subscribed(OTHER) as theirs:
        await ours.opened()
        await calls.write([start(1)])
        await theirs.opened()
        await calls.write([start(2, project_id=OTHER), end(2, project_id=OTHER)])
        await calls.write([end(1)])

        assert await told(ours, 2) == [("started", call_id(1)), ("ended", call_id(1))]
        assert await told(theirs, 1) == [("ended", call_id(2))]


async def test_an_event_has_all_of_the_call_but_what_is_there_for_queries_alone(
    stream: FanOut, calls: CallsStore
) -> None:
    async with stream.subscribed(PROJECT) as subscriber:
        await subscriber.opened()
        await calls.write([start(1, inputs={"q": 2**70}), end(1, output="x")])
        event = await subscriber.next()
    kept = await calls.database.calls.find_one({"id": call_id(1)})

    assert kept is not None
    assert event.call == {k: v for k, v in kept.items() if k not in {"inputs", "output", "attributes", "summary"}}
    assert event.call["json"]["inputs"] == '{"q":1180591620717411303424}'


async def test_many_share_one_stream_that_closes_after_the_last_and_opens_again(
    stream: FanOut, calls: CallsStore, commands: Commands
) -> None:
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(stream.subscribed(PROJECT)) for _ in range(100)]
        for subscriber in subscribers:
            await subscriber.opened()
        await calls.write([start(1)])
        assert [await told(subscriber, 1) for subscriber in subscribers] == [[("started", call_id(1))]] * 100
        assert len(opened(commands)) == 1
        assert "killCursors" not in commands.names

    await until(lambda: "killCursors" in commands.names)

    async with stream.subscribed(PROJECT) as subscriber:
        await subscriber.opened()
        await calls.write([start(2)])
        assert await told(subscriber, 1) == [("started", call_id(2))]
    assert len({body["getMore"] for name, body in commands.sent if name == "getMore"}) == len(opened(commands))


async def test_who_comes_right_after_the_last_left_is_told_all_the_same(stream: FanOut, calls: CallsStore) -> None:
    for number in range(1, 4):
        async with stream.subscribed(PROJECT) as subscriber:
            await subscriber.opened()
            await calls.write([start(number)])
            assert await told(subscriber, 1) == [("started", call_id(number))]


async def test_who_lags_is_dropped_with_an_error_and_the_others_go_on(
    stream: FanOut, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "MAX_WAITING", 3)

    async with stream.subscribed(PROJECT) as slow, stream.subscribed(PROJECT) as fast:
        await fast.opened()
        for number in range(4):
            await calls.write([start(number)])
            assert await told(fast, 1) == [("started", call_id(number))]

        with pytest.raises(UnavailableError, match=r"lagged .* subscribe again"):
            await slow.next()
        await calls.write([start(4)])
        assert await told(fast, 1) == [("started", call_id(4))]
        with pytest.raises(UnavailableError, match="lagged"):
            await slow.next()


async def test_a_stream_of_which_every_subscriber_was_dropped_is_closed(
    stream: FanOut, calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "MAX_WAITING", 0)

    async with stream.subscribed(PROJECT) as slow:
        await slow.opened()
        await calls.write([start(1)])

        await until(lambda: "killCursors" in commands.names)


async def test_large_events_that_wait_are_bounded_by_their_size() -> None:
    subscriber = Subscriber()
    half = CallEvent("started", {"id": "half", "storage_size_bytes": fan_out.MAX_WAITING_BYTES // 2})
    small = CallEvent("started", {"id": "small", "storage_size_bytes": 1})

    assert [subscriber.put(half), subscriber.put(half)] == [True, True]
    assert await told(subscriber, 1) == [("started", "half")]
    assert [subscriber.put(half), subscriber.put(small)] == [True, False]
    with pytest.raises(UnavailableError, match="lagged"):
        await subscriber.next()


async def test_closing_ends_every_subscription_after_the_events_that_wait_and_lets_nobody_in(
    stream: FanOut, calls: CallsStore, commands: Commands
) -> None:
    async with stream.subscribed(PROJECT) as early, stream.subscribed(OTHER) as late:
        await early.opened()
        waiting = asyncio.create_task(late.next())
        await calls.write([start(1)])
        await until(lambda: bool(early._events))

        await stream.close()

        assert await told(early, 1) == [("started", call_id(1))]
        for ended in (early.next(), waiting, late.opened()):
            with pytest.raises(UnavailableError, match="server stops"):
                await ended
        with pytest.raises(UnavailableError, match="server stops"):
            async with stream.subscribed(PROJECT):
                pass
    assert "killCursors" in commands.names


async def test_a_stream_that_cannot_be_resumed_ends_with_an_error_and_another_may_begin(
    stream: FanOut, calls: CallsStore, caplog: pytest.LogCaptureFixture
) -> None:
    await calls.write([start(1)])

    async with stream.subscribed(PROJECT) as subscriber:
        await subscriber.opened()
        await calls.database.calls.drop()
        with pytest.raises(UnavailableError, match="subscribe again"):
            await asyncio.wait_for(subscriber.next(), TIMEOUT)
    async with stream.subscribed(PROJECT) as subscriber:
        await subscriber.opened()
        await calls.write([start(2)])

        assert await told(subscriber, 1) == [("started", call_id(2))]
    assert "its change stream ended" in caplog.text


async def test_who_comes_while_a_dead_stream_is_being_closed_begins_with_a_new_one(
    stream: FanOut, calls: CallsStore
) -> None:
    for number in range(10):
        await calls.write([start(1)])
        async with stream.subscribed(PROJECT) as subscriber:
            await subscriber.opened()
            await calls.database.calls.drop()
            # Without a task of its own, so that the next subscriber is there before the stream is closed.
            with pytest.raises(UnavailableError, match="subscribe again"):
                await drain(subscriber)
        async with stream.subscribed(PROJECT) as subscriber:
            await subscriber.opened()
            await calls.write([start(100 + number)])

            assert await told(subscriber, 1) == [("started", call_id(100 + number))]


async def test_a_subscription_to_a_database_that_is_away_is_unavailable() -> None:
    away = Database.open("mongodb://127.0.0.1:1/?directConnection=true", "loomql", timeout_seconds=0.2)
    calls = CallsStore(away)

    with pytest.raises(UnavailableError, match="cannot be reached"):
        await anext(calls.events(PROJECT, {"id"}))
    await calls.close()
    away.close()


@pytest.fixture
async def own_database(commands: Commands) -> AsyncIterator[Database]:
    """A database on a mongod of its own, which is begun again when it dies."""
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=0.25) as uri,
    ):
        client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            uri, serverSelectionTimeoutMS=1000, heartbeatFrequencyMS=500, event_listeners=[commands]
        )
        database = Database(client, "loomql", timeout_seconds=1)
        yield database
        database.close()


async def kill(database: Database) -> None:
    """End the mongod at once."""
    status = await database.calls.database.command("serverStatus")
    os.kill(status["pid"], signal.SIGKILL)


async def write_surely(calls: CallsStore, number: int) -> None:
    """Write until it is stored; what was stored already changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write([start(number)])
            except UnavailableError:
                await asyncio.sleep(0.1)


async def test_every_event_is_told_once_though_mongod_is_killed_in_the_middle(
    own_database: Database, commands: Commands
) -> None:
    calls, stream = CallsStore(own_database), FanOut(own_database.calls)
    async with stream.subscribed(PROJECT) as subscriber:
        await subscriber.opened()
        for number in range(60):
            await write_surely(calls, number)
            if number % 20 == 10:
                await kill(own_database)

        assert await told(subscriber, 60) == [("started", call_id(number)) for number in range(60)]
        assert not subscriber._events
    await stream.close()

    first, *resumed = opened(commands)
    assert "resumeAfter" not in first
    assert resumed
    assert all("resumeAfter" in stage for stage in resumed)
