"""Tests of the keys that a process uses while it reads them again."""

import asyncio

import pytest
from pymongo.errors import OperationFailure

from app.auth.sessions import KeyCache
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.waiting import TIMEOUT, until


class SlowAnswers(KeysStore):
    """A keys store whose answers a test can delay."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, settle_seconds=0)
        self.coming = asyncio.Event()
        self.coming.set()
        self.held = 0

    async def change_number(self) -> int:
        """Return the number that was current at the time of the request."""
        found = await super().change_number()
        self.held += 1
        await self.coming.wait()
        return found


@pytest.mark.timings(key_trusted_seconds=0.05, key_fresh_seconds=0.01)
async def test_read_in_flight_at_revocation_is_not_cached(database: Database) -> None:
    keys = SlowAnswers(database)
    made = await keys.create([Grant("*", Role.READER)])
    known = KeyCache(keys)
    before = await known.find(made.text)
    await asyncio.sleep(0.06)
    keys.coming.clear()
    first = asyncio.create_task(known.find(made.text))
    await until(lambda: keys.held == 2)

    await keys.revoke(made.key.id)
    await asyncio.sleep(0.06)  # normally `revoke` itself waits before it returns
    second = asyncio.create_task(known.find(made.text))
    await asyncio.sleep(0)
    keys.coming.set()

    assert before
    assert before.id == made.key.id
    assert await second is None
    await first
    await known.close()


class Unreadable(KeysStore):
    """A keys store that MongoDB refuses to read while `is_refused` is set."""

    is_refused = False
    refused = 0

    async def change_number(self) -> int:
        """Return the number, or raise MongoDB's error while `is_refused` is set."""
        if self.is_refused:
            self.refused += 1
            raise OperationFailure("not authorized", 13)
        return await super().change_number()


@pytest.mark.timings(key_trusted_seconds=0.05, key_fresh_seconds=0.01)
async def test_key_that_expires_after_a_failed_read_is_refused(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Unreadable(database, settle_seconds=0)
    made = await keys.create([Grant("*", Role.READER)])
    known = KeyCache(keys)
    found = await known.find(made.text)
    keys.is_refused = True

    with known.on_end(found) as ended:
        await until(lambda: keys.refused > 1)
        keys.is_refused = False
        await keys.revoke(made.key.id)
        async with asyncio.timeout(TIMEOUT):
            await ended

    assert caplog.text.count("API keys cannot be read") == 1
    await known.close()


@pytest.mark.timings(key_fresh_seconds=0.01)
async def test_key_cache_closes_while_keys_cannot_be_read(database: Database) -> None:
    keys = Unreadable(database, settle_seconds=0)
    keys.is_refused = True
    known = KeyCache(keys)

    with known.on_end(None):
        await until(lambda: keys.refused > 1)
        await known.close()

        refused = keys.refused
        await asyncio.sleep(0.1)
    assert keys.refused == refused
