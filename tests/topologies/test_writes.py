"""Writes to both shards: transactions create no collections, and a shard that hangs does not hold up the client."""

import asyncio
import time
from contextlib import ExitStack, closing
from functools import partial
from signal import SIGCONT, SIGSTOP
from threading import Event, Timer

import pytest

from stores.calls import CallsStore
from stores.database import Database, driver
from stores.database.transactions import Session
from stores.errors import ConflictError, UnavailableError
from stores.purges import PurgesStore, Removed
from tests.faults.watching import Watched, surely
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.purges.test_purging import counted, fill
from tests.topologies.cluster import Client, Cluster, move_some
from tests.waiting import DATABASE_TIMEOUT, until

_MANY = 20
"""Number of events: the starts and ends of ten calls, some of which are on each shard."""

_ROUTER_SECONDS = 15
"""Less than the time for which the stand-in for a router waits for a shard."""


# A purge then does not wait for earlier writers.
@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_project_on_both_shards_is_purged(running: Cluster, sharded: Database, name: str) -> None:
    await fill(sharded, PROJECT, calls=30)
    with Client(running.uri_of(0)) as client:
        move_some(client, name)

    report = await PurgesStore(sharded).purge(PROJECT, PROJECT)

    assert report.is_done
    assert report.removed == Removed(calls=30, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert await counted(sharded, PROJECT) == {}


async def test_operations_that_need_a_hung_shard_are_unavailable(
    running: Cluster, sharded: Database, name: str
) -> None:
    """The driver reaches the router, which waits for the shard without end."""
    with closing(Database.open(running.uri_of(1), name, timeout_seconds=2)) as database:
        calls = CallsStore(database)
        await surely(calls, start(0), end(0))
        [shard] = running.shards[0].members

        shard.signal(SIGSTOP)
        try:
            for operation in (calls.write([*map(start, range(9))]), calls.count(PROJECT)):
                with pytest.raises(UnavailableError):
                    async with asyncio.timeout(_ROUTER_SECONDS):
                        await operation
        finally:
            shard.signal(SIGCONT)

        await surely(calls, *map(start, range(9)))
        assert await CallsStore(sharded).count(PROJECT) == 9
        await database.run(asyncio.sleep(5))  # an operation may be slow while all shards answer


async def test_writes_and_events_continue_while_a_primary_hangs(
    running: Cluster, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ROUTER_SECONDS", 3)
    members = running.shards[1]
    with closing(Database.open(running.uri_of(1), name)) as database:
        calls = CallsStore(database)
        lives = Watched(calls)
        watching = asyncio.create_task(lives.watch(await calls.events_cursor(PROJECT)))
        writing = asyncio.create_task(lives.write())
        await until(lambda: len(lives.events) > 1)
        primary = members.primary()

        primary.signal(SIGSTOP)
        try:
            seen = len(lives.events)
            await until(lambda: len(lives.events) > seen + _MANY)
            primary.signal(SIGCONT)
            members.wait_until_whole()
            lives.is_stopped = True
            number = await writing
            await until(lambda: lives.events[-1] == ("started", call_id(number)))
        finally:
            primary.signal(SIGCONT)
            for task in (watching, writing):
                task.cancel()
            await asyncio.wait({watching, writing})
            await calls.close()


@pytest.mark.parametrize("is_long", [False, True])
async def test_short_write_without_an_answer_is_repeated_and_done_once(
    running: Cluster, name: str, monkeypatch: pytest.MonkeyPatch, *, is_long: bool
) -> None:
    monkeypatch.setattr(driver, "ROUTER_SECONDS", 3)
    with closing(Database.open(running.uri_of(0), name, timeout_seconds=DATABASE_TIMEOUT)) as database:
        count = partial(database.leases.update_one, {"_id": "counter"}, {"$inc": {"number": 1}}, upsert=True)
        await database.run(count)
        repeated_before = repeated(running)
        with ExitStack() as hanging:
            for shard in running.shards:
                blocked = shard.primary().failing(["update"], times=1, blockConnection=True, blockTimeMS=9_000)
                hanging.enter_context(blocked)
            began = time.monotonic()

            await database.run(count, is_long=is_long)

            assert (time.monotonic() - began > 9) is is_long
        # The shard goes on with the first one, and finds that it is done.
        await until(lambda: repeated(running) - repeated_before == (not is_long))
        assert await database.leases.find_one() == {"_id": "counter", "number": 2}


async def test_transaction_without_an_answer_is_repeated_once(
    running: Cluster, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ROUTER_SECONDS", 1)
    attempts = 0
    with closing(Database.open(running.uri_of(0), name)) as database, ExitStack() as hanging:
        for shard in running.shards:
            blocked = shard.primary().failing(["insert"], blockConnection=True, blockTimeMS=3_000)
            hanging.enter_context(blocked)

        async def insert(session: Session) -> None:
            nonlocal attempts
            attempts += 1
            await database.leases.insert_one({"_id": "one"}, session=session)

        with pytest.raises(UnavailableError):
            await database.run(database.transaction(insert), is_long=True)

    assert attempts == 2


def repeated(running: Cluster) -> int:
    """Count the writes that clients have repeated and the shards had done before."""
    number = 0
    for shard in running.shards:
        with shard.primary().client() as client:
            number += client.admin.command("serverStatus")["transactions"]["retriedCommandsCount"]
    return number


async def test_hanging_end_of_a_transaction_does_not_stop_the_event_loop(running: Cluster, name: str) -> None:
    [shard] = running.shards[0].members
    late, ended = Event(), asyncio.Event()

    def go_on() -> None:
        late.set()
        shard.signal(SIGCONT)

    timer = Timer(_ROUTER_SECONDS, go_on)

    with closing(Database.open(running.uri_of(1), name, timeout_seconds=0.5)) as database:

        async def operation(session: Session) -> None:
            documents = [
                {"_id": f"{PROJECT}:{number}", "project_id": PROJECT, "id": str(number)} for number in range(9)
            ]
            await database.calls.insert_many(documents, session=session)
            shard.signal(SIGSTOP)
            timer.start()
            raise ConflictError("so that the transaction is aborted")

        async def transaction() -> None:
            try:
                await database.transaction(operation)
            finally:
                ended.set()

        try:
            with pytest.raises(UnavailableError):
                await database.run(transaction)
            await ended.wait()
            assert not late.is_set()
        finally:
            timer.cancel()
            shard.signal(SIGCONT)
        await surely(CallsStore(database), start(0))
