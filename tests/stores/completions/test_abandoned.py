"""Tests of completions' calls whose server died or could not store their end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial, partialmethod

import pytest

from app.background import MaintenanceJobs
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.completions import CompletionsStore, store
from stores.completions.store import TrackedCall
from stores.database import Database
from stores.database.leases import Lease
from stores.errors import BadInputError, UnavailableError
from tests.stand_in_provider import StandIn
from tests.stores.completions.test_tracking import HELLO, PROJECT, kept
from tests.waiting import until, until_found

INPUTS = {"model": "held", "messages": HELLO}


@pytest.fixture(autouse=True)
async def asking(completions: CompletionsStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Shorten the leases, so that the test soon sees a dead process."""
    monkeypatch.setattr(store, "TrackedCall", partial(TrackedCall, lease_seconds=1.2))
    yield
    await completions.close()


async def has_no_lease(database: Database) -> bool:
    return await database.leases.count_documents({"_id": {"$regex": "^completions:"}}) == 0


def keepers() -> list["asyncio.Task[None]"]:
    """Return the tasks that renew leases."""
    return [task for task in asyncio.all_tasks() if "_keep_lease" in str(task.get_coro())]


async def test_running_call_is_not_ended_by_others(
    completions: CompletionsStore,
    calls: CallsStore,
    database: Database,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A slow machine renews this lease in time.
    monkeypatch.setattr(store, "TrackedCall", partial(TrackedCall, lease_seconds=60))
    monkeypatch.setattr(Lease, "keep", partialmethod(Lease.keep, pause_seconds=0.2))
    ends = set[datetime]()

    async def is_renewed_thrice() -> bool:
        assert await completions.find_abandoned() == []
        [lease] = [lease async for lease in database.leases.find({"_id": {"$regex": "^completions:"}})]
        ends.add(lease["held_until"])
        return len(ends) > 3

    creating = asyncio.create_task(completions.create(PROJECT, INPUTS))
    await until(lambda: bool(stand_in.requests))
    await until_found(is_renewed_thrice)
    stand_in.is_released = True

    assert (await kept(calls, (await creating).call_id))["status"] == "success"
    await until_found(lambda: has_no_lease(database))
    assert keepers() == []


async def test_lease_is_restored_after_a_long_failure_of_the_database(
    completions: CompletionsStore, database: Database, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise UnavailableError("the database is away")

    async def is_restored() -> bool:
        return await completions.find_abandoned() == []

    creating = asyncio.create_task(completions.create(PROJECT, INPUTS))
    await until(lambda: bool(stand_in.requests))
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "advance", away)
        await until_found(completions.find_abandoned)
        abandoned = await completions.find_abandoned()

    assert len(abandoned) == 1
    await until_found(is_restored)
    [keeping] = keepers()
    await database.leases.delete_many({})  # as another process does when it ends the call
    await until(keeping.done)
    stand_in.is_released = True
    await creating


async def test_call_of_a_dead_process_is_ended_once_and_may_end_again(
    completions: CompletionsStore, calls: CallsStore, database: Database, stand_in: StandIn
) -> None:
    creating = asyncio.create_task(completions.create(PROJECT, INPUTS))
    await until(lambda: bool(stand_in.requests))
    [lease] = [lease async for lease in database.leases.find({})]
    call_id = lease["_id"].rpartition(":")[2]
    [keeping] = keepers()
    keeping.cancel()
    await until_found(completions.find_abandoned)

    await MaintenanceJobs(database, Stores(database)).run_due()
    ended = await kept(calls, call_id)
    stand_in.is_released = True
    completion = await creating

    assert (ended["status"], ended["exception"]) == ("error", store.SERVER_STOPPED)
    assert ended["output"] == {"error": store.SERVER_STOPPED}
    assert ended["inputs"] == INPUTS
    assert await has_no_lease(database)
    late = await kept(calls, call_id)
    assert (late["status"], late["output"]) == ("success", completion.response)
    assert "exception" not in late


async def test_call_whose_end_was_not_stored_is_ended_by_others(
    completions: CompletionsStore,
    calls: CallsStore,
    database: Database,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        raise UnavailableError("the database is away")

    creating = asyncio.create_task(completions.create(PROJECT, INPUTS))
    await until(lambda: bool(stand_in.requests))
    with monkeypatch.context() as patch:
        patch.setattr(TrackedCall, "_write_with_retry", away)
        stand_in.is_released = True
        completion = await creating
    before = await kept(calls, completion.call_id)
    await until_found(completions.find_abandoned)
    await MaintenanceJobs(database, Stores(database)).run_due()

    assert "choices" in completion.response
    assert before["status"] == "running"
    assert (await kept(calls, completion.call_id))["exception"] == store.SERVER_STOPPED


async def test_ended_and_deleted_calls_are_unchanged(completions: CompletionsStore, database: Database) -> None:
    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})
    await until_found(lambda: has_no_lease(database))  # the store removes the call's own lease in the background
    before = [document async for document in database.calls.find({})]
    for call_id in (completion.call_id, "purged-meanwhile"):
        lease_id = f"completions:{PROJECT}:{call_id}"
        assert await Lease(database, database.leases, {"_id": lease_id}, seconds=0).insert({})

    await MaintenanceJobs(database, Stores(database)).run_due()

    assert [document async for document in database.calls.find({})] == before
    assert await has_no_lease(database)


async def test_refused_call_is_untracked(completions: CompletionsStore, database: Database) -> None:
    with pytest.raises(BadInputError, match="is reserved for internal refs"):
        await completions.create(PROJECT, {**INPUTS, "user": "weave-trace-internal:///x"})

    await until_found(lambda: has_no_lease(database))
    assert await database.calls.count_documents({}) == 0
