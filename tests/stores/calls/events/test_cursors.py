"""Tests that event cursors work at every server over one database and reveal nothing to clients."""

import asyncio
import base64
from contextlib import aclosing

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError
from tests.database_pool import DatabasePool
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import TIMEOUT
from tests.watching import contains_time, cursors_over

OTHER = "acme/other"
MOMENT = "826B07E9EB000000032B0229296E04"
_KEY = f"{PROJECT}:{call_id(1)}".encode().hex().upper()
CHANGE = f"826B07E9EB000000072B042C0100296E5A1004{'A7' * 16}463C5F6964003C{_KEY}000004"


async def test_cursor_resumes_at_each_server_and_after_a_restart(database: Database, calls: CallsStore) -> None:
    here, there = await cursors_over(database), await cursors_over(database)

    for place in (MOMENT, CHANGE):
        assert there.decode(PROJECT, here.encode(PROJECT, place)) == place
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])
    await calls.close()
    restarted = CallsStore(database)
    async with aclosing(restarted.events(PROJECT, {"id"}, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        assert (await anext(events)).call["id"] == call_id(1)
    await restarted.close()


async def test_servers_started_concurrently_create_one_secret(database: Database) -> None:
    several = await asyncio.gather(*(cursors_over(database) for _ in range(20)))

    cursor = several[0].encode(PROJECT, MOMENT)
    assert {each.decode(PROJECT, cursor) for each in several} == {MOMENT}
    [kept] = await database.secrets.find({}).to_list(None)
    assert len(kept["secret"]) == 32


async def test_cursors_do_not_reveal_writes_to_other_projects(calls: CallsStore) -> None:
    found = [await calls.events_cursor(PROJECT)]
    for count in (0, 1, 5, 20):
        await calls.write([start(count * 100 + number, project_id=OTHER) for number in range(count)])
        found.append(await calls.events_cursor(PROJECT))

    assert len(set(found)) == len(found)
    assert len({len(cursor) for cursor in found}) == 1
    assert not any(contains_time(cursor) for cursor in found)


async def test_cursor_length_and_equality_reveal_nothing(database: Database) -> None:
    cursors = await cursors_over(database)
    later = MOMENT.replace("00000003", "7FFFFFFF")

    found = [cursors.encode(PROJECT, place) for place in (MOMENT, MOMENT, later, CHANGE)]

    assert len(set(found)) == 4
    assert len({len(cursor) for cursor in found}) == 1


async def test_event_has_the_same_cursor_for_all_subscribers(calls: CallsStore) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])

    async with aclosing(calls.events(PROJECT, {"id"}, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        event = await anext(events)

    assert event.cursor is event.cursor
    await calls.close()


async def test_resume_tokens_of_all_lengths_round_trip(database: Database) -> None:
    cursors = await cursors_over(database)

    for size in range(1, 400):
        for end in ("00", "80", "04"):
            place = "82" * size + end
            assert cursors.decode(PROJECT, cursors.encode(PROJECT, place)) == place


async def test_forged_cursor_or_one_of_another_project_is_refused(database: Database, databases: DatabasePool) -> None:
    cursors = await cursors_over(database)
    cursor = cursors.encode(PROJECT, CHANGE)
    content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    other = cursors.encode(PROJECT, MOMENT)

    changed = [bytes(byte ^ (at == index) for at, byte in enumerate(content)) for index in range(len(content))]
    wrong = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in changed]
    wrong += [cursor[:16] + other[16:], cursor[:-4], cursor + "AAAA", cursors.encode(OTHER, CHANGE)]
    name = databases.take()
    wrong.append((await cursors_over(Database(database._client, name))).encode(PROJECT, CHANGE))
    databases.release(name)

    for each in wrong:
        with pytest.raises(BadInputError, match="not a cursor of this project's events") as refused:
            cursors.decode(PROJECT, each)
        assert refused.value.argument == "after"
    assert cursors.decode(PROJECT, cursor) == CHANGE
