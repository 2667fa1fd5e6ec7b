"""Processes that are killed while they write, settle or migrate, and ten at once: answers always equal the calls."""

import asyncio
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from stores.calls import CallsStore
from stores.calls.documents import DERIVED_FIELDS
from stores.database import Database, Document, transactions
from stores.hours import DAY, HOUR, day_of, hour_of
from stores.migrations import calls_backfill, schema_version
from tests.chance import SEED, cases
from tests.faults.mortal import MARK_SECONDS, mortal, settle, until_quiet
from tests.faults.serving import Serving, serving
from tests.faults.test_clocks import DELETE, WRITE, ask, end_of, start_of
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.database.test_indexes import EXPECTED, as_earlier_version, built
from tests.stores.rollups.model import assert_exact
from tests.stores.rollups.test_settling import insert, uses_rollups
from tests.waiting import TIMEOUT, until_found

OLD_INDEXES = {"calls": ["status_id", "latency_ms_desc_id"], "projects": ["last_activity_at_desc_id"]}
PROCESSES = 10
BETWEEN_SECONDS = 0.02
WRITES = 9
"""Changes by which a process writes, before it settles."""
USAGE = {"usage": {"loom": {"prompt_tokens": 1_000}}}

pytestmark = pytest.mark.timings(mark_seconds=MARK_SECONDS, registry_lag_seconds=0, write_margin_seconds=0)


async def test_process_killed_before_any_command_leaves_exact_answers(
    mongodb_uri: str, database: Database, calls: CallsStore
) -> None:
    rng, most = Random(SEED), 60
    await calls.write([start(0), end(0, summary=USAGE)])
    late = {"parent_id": call_id(0), "trace_id": trace_id(0), "started_at": NOON + HOUR}
    await calls.write([start(first + each, **late) for first in (3_000, 4_000) for each in range(most)])
    await calls.write([end(4_000 + each, summary=USAGE) for each in range(most)])
    await settle(database)

    for changes in [*range(WRITES), *range(WRITES, most, 4 - cases(3))]:
        with mortal(mongodb_uri, database, "change", changes, changes=changes) as process:
            is_killed = await process.end_at()
        await assert_exact(database, rng, 0)
        if not is_killed:
            break
        await settle(database)
        assert await uses_rollups(calls)
        await assert_exact(database, rng, 1)

    assert WRITES + 15 < changes < most
    assert await is_settled(database)
    await assert_exact(database, rng, 3)


async def old_calls(database: Database, hours: list[int], each: int) -> dict[str, Document]:
    """Store calls of some hours as an older version did, with its indexes; return what the migration makes of them."""
    parts: list[Any] = []
    for number in range(len(hours) * each):
        at = hours[number // each] + number
        usage = {"usage": {"loom": {"prompt_tokens": number}}} if number % 3 else {}
        parts += [
            start(number, started_at=at, op_name=f"op{number % 4}", thread_id="talk", turn_id=call_id(number)),
            end(number, ended_at=at + number * 1_000, summary=usage, exception="no" if number % 5 == 1 else None),
        ]
    await CallsStore(database).write(parts)
    whole = await all_calls(database)
    await database.calls.update_many({}, {"$unset": dict.fromkeys(DERIVED_FIELDS, "")})
    for collection in (database.hour_marks, database.projects, database.upgrades):
        await collection.delete_many({})
    await as_earlier_version(database, OLD_INDEXES)
    await database.calls.drop_index("latency_ms_id")
    return whole


async def all_calls(database: Database) -> dict[str, Document]:
    return {call["_id"]: call async for call in database.calls.find()}


async def is_migrated(database: Database) -> bool:
    return await schema_version.is_done(database, schema_version.LATEST)


async def is_settled(database: Database) -> bool:
    marks = await database.hour_marks.find().to_list(None)
    return [mark.get("ready") for mark in marks] == [True]


async def is_done(database: Database) -> bool:
    return await is_migrated(database) and await is_settled(database)


async def test_migration_killed_before_any_command_is_completed(
    mongodb_uri: str, database: Database, calls: CallsStore
) -> None:
    rng, kills, changes, others = Random(SEED), 0, 0, 2
    hours = [NOON, NOON + HOUR, NOON + 2 * DAY]
    whole = await old_calls(database, hours, 15)
    # Another process migrates slowly; meanwhile no hour may settle, since servers of the older version mark none.
    state = {"position": "", "looked_at": 0, "changed": 0, "total": len(whole), "is_done": False, "holder": "another"}
    until = datetime.now(UTC) + timedelta(hours=1)
    await database.upgrades.insert_one({"_id": calls_backfill._ID, **state, "held_until": until})
    await calls.write_one(start(999, started_at=NOON))
    with mortal(mongodb_uri, database, "maintain", 3):
        await until_found(lambda: database.upgrades.find_one({"number": schema_version.PROJECTS_LISTED}))
        await asyncio.sleep(0.5)
    await insert(database, 1_000, NOON)
    await assert_exact(database, rng, 1)
    await database.upgrades.update_many({}, {"$unset": {"held_until": ""}})

    while not await is_done(database):
        kills += 1
        changes += rng.randrange(1, 5)
        with mortal(mongodb_uri, database, "maintain", 3, changes=changes) as process:
            await process.end_at(partial(is_done, database))
        await assert_exact(database, rng, 1)
        if not await is_migrated(database):
            # A server of the older version marks no hours.
            others += 1
            await insert(database, 1_000 + others, rng.choice(hours) + others)
        for leases in (database.upgrades, database.leases):
            await leases.update_many({"held_until": {"$exists": True}}, {"$unset": {"held_until": ""}})

    assert kills > 10
    assert await built(database) == EXPECTED
    assert await uses_rollups(calls)
    assert await calls.count(PROJECT) == len(whole) + others
    found = await all_calls(database)
    assert {key: found[key] for key in whole} == whole
    await assert_exact(database, rng, 10)


async def test_process_killed_while_it_marks_all_hours_leaves_exact_answers(
    mongodb_uri: str, database: Database, calls: CallsStore
) -> None:
    await calls.write([start(0)])
    await database.hour_marks.delete_many({})
    for number in range(1, 4):
        await insert(database, number, NOON + number * HOUR)
    deaths = 0
    while True:
        with mortal(mongodb_uri, database, "work", changes=deaths, of="hour_marks") as process:
            is_killed = await process.end_at(partial(uses_rollups, calls))
        assert await calls.count(PROJECT) == 4
        if not is_killed:
            break
        deaths += 1
        await database.hour_marks.delete_many({})

    assert deaths >= 3  # at the end of the first transaction, at the marks, and at `ready`


async def test_ten_processes_migrate_and_settle_each_hour_once(
    mongodb_uri: str, database: Database, calls: CallsStore
) -> None:
    hours = [NOON + day * DAY + hour * HOUR for day in range(2) for hour in range(6)]
    whole = await old_calls(database, hours, 5)
    events: list[Document] = []
    with MongoClient[Document](mongodb_uri) as client, ExitStack() as stack:
        stream = stack.enter_context(client[database.calls.database.name].watch())
        processes = [stack.enter_context(mortal(mongodb_uri, database, "maintain", 10)) for _ in range(PROCESSES)]
        await until_found(partial(is_done, database))
        await asyncio.sleep(0.3)  # another process might begin again
        while event := stream.try_next():
            events.append(event)
        logged = "".join(process.printed() for process in processes)

    def ids(operation: str, collection: str) -> list[str]:
        return [
            str(event["documentKey"]["_id"])
            for event in events
            if event["operationType"] == operation and event["ns"]["coll"] == collection
        ]

    assert await all_calls(database) == whole
    state = await database.upgrades.find_one({"looked_at": {"$exists": True}})
    assert state
    assert state["looked_at"] == len(whole)
    assert logged.count("the backfill of older calls is done") == 1
    settled = {f"{PROJECT}:hour:{hour_of(hour)}" for hour in hours} | {
        f"{PROJECT}:day:{day_of(hour)}" for hour in hours
    }
    assert Counter(ids("delete", "hour_marks")) == Counter(settled)
    assert max(Counter(ids("insert", "rollups")).values()) == 1
    # One for each hour, and then one for each day.
    assert len(ids("insert", "term_segments")) == len(settled)
    assert await built(database) == EXPECTED
    assert await uses_rollups(calls)
    assert await assert_exact(database, Random(SEED), 10) > 3


async def write_until_killed(server: Serving, rng: Random, numbers: range, acknowledged: set[int]) -> None:
    """Write calls of two days, and delete each fifth; return at the first request without an answer."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        at = [NOON + rng.randrange(48) * HOUR + number for number in numbers]
        try:
            for number, begun, earlier in zip(numbers, at, [at[0], *at], strict=False):
                await ask(
                    client, server, WRITE, batch=[start_of(number, begun), end_of(max(number - 1, numbers[0]), earlier)]
                )
                if number % 5:
                    acknowledged.add(number)
                else:
                    await ask(client, server, DELETE, p=PROJECT, ids=[call_id(number)])
                await asyncio.sleep(BETWEEN_SECONDS)
        except httpx.TransportError:
            return
    raise AssertionError("the server was not killed in time")


async def test_server_killed_under_load_leaves_exact_answers(
    mongodb_uri: str, database: Database, calls: CallsStore, tmp_path: Path
) -> None:
    rng, acknowledged, rolled_up = Random(SEED), set[int](), 0
    settings = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database.calls.database.name}

    # A roll-up may miss a write that a kill ends when its mark has expired, so marks outlast pauses of a busy machine.
    with serving(tmp_path, module="tests.faults.hasty_server", MARKS="1.5", **settings) as server:
        for life in range(cases(9)):
            await asyncio.to_thread(server.wait_until_up)
            numbers = (range(first, first + 1_000) for first in range(10_000 * life, 10_000 * life + 4_000, 1_000))
            writing = [write_until_killed(server, Random(each[0]), each, acknowledged) for each in numbers]
            async with asyncio.TaskGroup() as tasks:
                for each in writing:
                    tasks.create_task(each)
                await asyncio.sleep(0.5 + rng.random() / 2)
                await asyncio.to_thread(server.end, SIGKILL)
            await until_quiet(database)
            rolled_up += await assert_exact(database, rng, 3)
            server.start()
            # Its lease and its transaction, which would end after a quarter of a minute.
            await database.leases.update_many({}, {"$unset": {"held_until": ""}})
            await asyncio.sleep(transactions._ABANDONED_MICROSECONDS / 1_000_000)
            await transactions._end_abandoned(database._client)
        await until_found(partial(is_settled, database))

    stored = set(await database.calls.distinct("id", {"visible": True}))
    assert {call_id(number) for number in acknowledged} <= stored
    assert await uses_rollups(calls)
    assert rolled_up + await assert_exact(database, rng, 10) > 3
