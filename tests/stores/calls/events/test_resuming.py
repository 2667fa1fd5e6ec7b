"""Tests that a subscriber resumes after a cursor in any process, from the buffer or the database, each event once."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.errors import BadInputError, UnavailableError
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT
from tests.watching import cursors_over, until_event_of, until_subscribed, until_unsubscribed

OTHER = "acme/other"


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[CallsStore]:
    """Yield a store over the same database, as another process has it."""
    store = CallsStore(database)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
async def closed(calls: CallsStore) -> AsyncIterator[None]:
    yield
    await calls.close()


async def next_events(store: CallsStore, count: int, after: str | None, **options: Any) -> list[tuple[str, str, str]]:
    """Return the next `count` events of a new subscriber: type, call id and cursor."""
    async with aclosing(store.events(PROJECT, {"id"}, after=after, **options)) as events, asyncio.timeout(TIMEOUT):
        found = [await anext(events) for _ in range(count)]
    return [(event.type, event.call["id"], event.cursor) for event in found]


async def write_in_order(calls: CallsStore, numbers: Iterable[int]) -> None:
    """Start calls one after the other, since two shards do not write one batch in its order."""
    for number in numbers:
        await calls.write([start(number)])


def ids(events: Sequence[tuple[str, str, str]]) -> list[str]:
    return [id_ for _, id_, _ in events]


def numbered(*numbers: int) -> list[str]:
    return [call_id(number) for number in numbers]


async def test_cursor_returns_all_later_events_in_any_process(calls: CallsStore, elsewhere: CallsStore) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1), start(9, project_id=OTHER)])
    await calls.write([end(1)])
    await calls.write([start(2)])

    here = await next_events(calls, 3, cursor)
    there = await next_events(elsewhere, 2, here[0][2])

    assert [event[:2] for event in here] == [
        ("started", call_id(1)),
        ("ended", call_id(1)),
        ("started", call_id(2)),
    ]
    assert [event[:2] for event in there] == [event[:2] for event in here[1:]]


async def test_list_and_events_after_an_earlier_cursor_miss_nothing(calls: CallsStore, elsewhere: CallsStore) -> None:
    await calls.write([start(1)])
    cursor = await elsewhere.events_cursor(PROJECT)
    await calls.write([start(2)])

    assert await elsewhere.count(PROJECT) == 2
    await calls.write([start(3)])
    assert ids(await next_events(elsewhere, 2, cursor)) == numbered(2, 3)


async def test_quick_reconnect_is_served_from_the_buffer(calls: CallsStore, commands: Commands) -> None:
    async with aclosing(calls.events(PROJECT, {"id"})) as events:
        reading = asyncio.create_task(anext(events))
        await until_subscribed(calls)
        await write_in_order(calls, range(4))
        first = await asyncio.wait_for(reading, TIMEOUT)
        await until_event_of(calls, call_id(3))
        commands.sent.clear()

        assert ids(await next_events(calls, 3, first.cursor)) == numbered(1, 2, 3)
        only = CallsFilter(call_ids=[call_id(2)])
        assert ids(await next_events(calls, 1, first.cursor, calls_filter=only)) == numbered(2)
        assert set(commands.names) <= {"getMore"}


async def test_each_event_is_delivered_once_with_a_small_buffer(database: Database, calls: CallsStore) -> None:
    small = CallsStore(database, max_event_bytes=40_000)
    cursor = await calls.events_cursor(PROJECT)
    for number in range(0, 600, 50):
        await calls.write([start(each) for each in range(number, number + 50)])

    async def write_on() -> None:
        for number in range(600, 900, 5):
            await calls.write([start(each) for each in range(number, number + 5)])

    writing = asyncio.create_task(write_on())
    found: list[str] = []
    async with asyncio.timeout(TIMEOUT):
        while len(found) < 900:
            # A subscriber that falls behind the buffer resumes at the cursor of the error.
            async with aclosing(small.events(PROJECT, {"id"}, after=cursor)) as events:
                try:
                    async for event in events:
                        found.append(event.call["id"])
                        cursor = event.cursor
                        if len(found) == 900:
                            break
                except UnavailableError as lag:
                    cursor = lag.details["after"]
    await writing
    await small.close()

    assert sorted(found) == numbered(*range(900))
    assert found == list(dict.fromkeys(found))


async def test_second_filter_reads_the_buffer_from_its_own_position(calls: CallsStore) -> None:
    cursor = await calls.events_cursor(PROJECT)
    only = CallsFilter(call_ids=numbered(1, 3))
    async with aclosing(calls.events(PROJECT, {"id"}, only, after=cursor)) as events:
        reading = asyncio.create_task(anext(events))
        await until_subscribed(calls)
        await write_in_order(calls, range(4))
        await until_event_of(calls, call_id(3))
        first = await asyncio.wait_for(reading, TIMEOUT)

        assert first.call["id"] == call_id(1)
        assert ids(await next_events(calls, 2, cursor, calls_filter=only)) == numbered(1, 3)
        assert ids(await next_events(calls, 4, cursor)) == numbered(0, 1, 2, 3)
        assert (await asyncio.wait_for(anext(events), TIMEOUT)).call["id"] == call_id(3)


# The last one is a cursor from before cursors were encrypted.
@pytest.mark.parametrize(
    "cursor", ["", "x", "AQ", "A" * 30, "é", "null", "82" * 500, "AcwWp77X9NqEgmsH6esAAAADKwIpKW4E"]
)
async def test_invalid_cursor_is_refused_by_argument_name(calls: CallsStore, cursor: str) -> None:
    with pytest.raises(BadInputError, match="not a cursor of this project's events") as refused:
        await next_events(calls, 1, cursor)

    assert refused.value.argument == "after"
    await until_unsubscribed(calls)


@pytest.mark.parametrize("place", ["00", "8265", "826B07E9EA00000056", "FF" * 40])
@pytest.mark.not_on("cluster", reason="the stand-in router resumes by the time in a token")
async def test_invalid_resume_token_is_refused_by_argument_name(
    database: Database, calls: CallsStore, place: str
) -> None:
    cursors = await cursors_over(database)
    await calls.write([start(1)])
    place = "8200000001" + place[2:] if place.startswith("82") else place
    if place.startswith("FF"):
        place = "82" + "00000001" * 2 + place

    with pytest.raises(BadInputError, match="use callEventsCursor") as refused:
        await next_events(calls, 1, cursors.encode(PROJECT, place))

    assert refused.value.argument == "after"


@pytest.mark.not_on("cluster", reason="the stand-in router resumes by the time in a token")
async def test_resume_token_missing_from_the_oplog_says_what_to_do(database: Database, calls: CallsStore) -> None:
    cursors = await cursors_over(database)
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])
    [(_, _, found)] = await next_events(calls, 1, cursor)
    then = cursors.decode(PROJECT, found)
    # No event has this time, and the first one after it is that of the call. An earlier token might precede the drop of
    # a collection that another test filled, where MongoDB resumes.
    missing = f"{then[:10]}{int(then[10:18], 16) - 1:08X}{then[18:]}"

    with pytest.raises(BadInputError, match=r"older than the database.s oplog.*Cursor, query calls") as refused:
        await next_events(calls, 1, cursors.encode(PROJECT, missing))

    assert refused.value.argument == "after"


async def test_resume_tokens_in_cursors_name_no_other_project(database: Database, calls: CallsStore) -> None:
    cursors = await cursors_over(database)
    async with aclosing(calls.events(PROJECT, {"id"})) as ours, aclosing(calls.events(OTHER, {"id"})) as theirs:
        reading = asyncio.create_task(anext(ours)), asyncio.create_task(anext(theirs))
        await until_subscribed(calls, 2)
        await calls.write([start(1, project_id=OTHER)])
        await asyncio.wait_for(reading[1], TIMEOUT)
        await calls.close()
        with pytest.raises(UnavailableError, match="server is stopping") as stopped:
            await reading[0]
    place = bytes.fromhex(cursors.decode(PROJECT, stopped.value.details["after"]))

    assert b"acme" not in place
    assert b"other" not in bytes.fromhex(cursors.decode(PROJECT, await calls.events_cursor(PROJECT)))
