"""Leases: one holder at a time, who notices the loss before it writes again."""

import asyncio

import pytest

from stores.database import Database, leases
from stores.database.leases import EXPIRED, Lease, LeaseLostError
from stores.database.transactions import Session
from stores.errors import UnavailableError

KEY = {"_id": "work"}


@pytest.fixture
async def work(database: Database) -> Database:
    """A database with one piece of work that nobody has taken."""
    await database.leases.insert_one({**KEY, "done": 1, "note": "old"})
    return database


async def test_one_of_two_acquires_and_the_other_follows_its_release(work: Database) -> None:
    one, other = Lease(work, work.leases, KEY), Lease(work, work.leases, KEY)

    assert [await one.acquire(), await other.acquire(), await one.acquire()] == [True, False, True]
    assert await work.leases.find_one(EXPIRED) is None
    assert await one.release({"note": "released"})
    assert await work.leases.find_one({}) == {**KEY, "done": 1, "note": "released"}
    assert await other.acquire()
    assert not await one.release()


async def test_changes_are_literal_counted_and_renew_the_lease(work: Database) -> None:
    lease = Lease(work, work.leases, KEY, seconds=30)
    await lease.acquire({"takes": {"$add": [{"$ifNull": ["$takes", 0]}, 1]}})
    held_until = lease.state["held_until"]
    await asyncio.sleep(0.01)
    await lease.advance({"note": None, "position": "$done"}, {"done": 2, "new": 3})

    assert lease.state.pop("held_until") > held_until
    assert lease.state.pop("holder")
    assert lease.state == {**KEY, "takes": 1, "position": "$done", "done": 3, "new": 3}


async def test_loser_writes_nothing_more_not_even_in_a_transaction(work: Database) -> None:
    loser, winner = Lease(work, work.leases, KEY, seconds=0), Lease(work, work.leases, KEY)
    assert await loser.acquire()
    assert await winner.acquire()

    async def write(session: Session) -> None:
        await work.leases.insert_one({"_id": "other"}, session=session)
        await loser.advance(session=session)

    with pytest.raises(LeaseLostError):
        await work.transaction(write)
    with pytest.raises(LeaseLostError):
        await loser.advance({"note": "lost"})
    await loser.remove()
    assert not await loser.release({"note": "lost"})
    assert [found["_id"] async for found in work.leases.find({"note": "old"})] == ["work"]
    assert await work.leases.count_documents({}) == 1


async def test_no_lease_is_written_while_access_is_blocked(work: Database) -> None:
    lease = Lease(work, work.leases, KEY)
    await lease.acquire()
    before = await work.leases.find_one({})

    work.block_access("a newer version migrated it")
    for write in (lease.acquire, lambda: lease.insert({}), lease.advance, lease.release, lease.remove):
        with pytest.raises(UnavailableError, match="newer version"):
            await write()
    await asyncio.sleep(0.05)  # a command that had started would be done
    work.block_access("")

    assert await work.leases.find({}).to_list(None) == [before]


async def test_state_is_that_of_committed_changes(work: Database) -> None:
    lease = Lease(work, work.leases, KEY)
    await lease.acquire()

    async def abort(session: Session) -> None:
        await lease.advance({"note": "new"}, session=session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work.transaction(abort)
    assert lease.state["note"] == "old"


async def test_work_that_does_not_match_is_not_acquired(work: Database) -> None:
    lease = Lease(work, work.leases, {**KEY, "is_done": False})
    assert not await lease.acquire()
    await work.leases.update_one(KEY, {"$set": {"is_done": False}})
    assert await lease.acquire()
    await lease.advance({"is_done": True})
    with pytest.raises(LeaseLostError):
        await lease.advance()


async def test_state_is_inserted_once_and_removed_by_its_holder(database: Database) -> None:
    one, other = Lease(database, database.leases, KEY), Lease(database, database.leases, KEY)
    assert [await one.insert({"note": "$mine"}), await other.insert({"note": "its"})] == [True, False]
    assert one.state["note"] == "$mine"
    await other.remove()
    assert await database.leases.count_documents({"note": "$mine"}) == 1
    await one.remove()
    assert await database.leases.count_documents({}) == 0


async def test_released_work_can_rest_first(work: Database) -> None:
    lease = Lease(work, work.leases, KEY)
    await lease.acquire()
    await lease.release(pause_seconds=60)

    assert not await lease.acquire()
    await work.leases.update_one(KEY, [{"$set": {"held_until": "$$NOW"}}])
    assert await lease.acquire()


async def test_run_renews_until_the_work_is_done(work: Database) -> None:
    lease = Lease(work, work.leases, KEY)
    await lease.acquire()
    ends = {lease.state["held_until"]}

    async def wait_for_renewals() -> str:
        while len(ends) < 3:
            await asyncio.sleep(0.01)
            ends.add(lease.state["held_until"])
        return "done"

    assert await lease.run(wait_for_renewals(), lease.advance, pause_seconds=0.02) == "done"


async def test_run_cancels_the_work_when_the_lease_is_lost(work: Database) -> None:
    lease = Lease(work, work.leases, KEY)
    await lease.acquire()
    await work.leases.update_one(KEY, {"$set": {"holder": "another"}})
    writing = asyncio.Event()
    writing.set()

    async def write() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            writing.clear()

    with pytest.raises(LeaseLostError):
        await lease.run(write(), lease.advance, pause_seconds=0.01)
    assert not writing.is_set()


async def test_run_tries_renewals_again_for_as_long_as_the_lease(
    work: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(work, work.leases, KEY, seconds=60)
    await lease.acquire()
    attempts = 0
    monkeypatch.setattr(leases, "monotonic", lambda: 10 * attempts)

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise UnavailableError("away")

    with pytest.raises(LeaseLostError):
        await lease.run(asyncio.Event().wait(), fail, pause_seconds=0.01)
    assert attempts == 6
