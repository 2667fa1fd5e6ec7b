"""What a process goes by of the keys while it reads them anew."""

import asyncio

import pytest

from app.access import Keyring, keyring
from stores.access import Grant, Role
from stores.database import Database
from stores.keys import KeysStore
from tests.waiting import until


class SlowAnswers(KeysStore):
    """Keys of a database whose answers take as long as a test likes to come."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, settle_seconds=0)
        self.coming = asyncio.Event()
        self.coming.set()
        self.held = 0

    async def mark(self) -> int:
        """The mark as it was when it was asked for."""
        found = await super().mark()
        self.held += 1
        await self.coming.wait()
        return found


async def test_nobody_goes_by_an_answer_that_was_under_way_when_the_key_was_revoked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "TRUSTED_SECONDS", 0.05)
    monkeypatch.setattr(keyring, "FRESH_SECONDS", 0.01)
    keys = SlowAnswers(database)
    made = await keys.create([Grant("*", Role.READER)])
    known = Keyring(keys)
    before = await known.find(made.text)
    await asyncio.sleep(0.06)
    keys.coming.clear()
    first = asyncio.create_task(known.find(made.text))
    await until(lambda: keys.held == 2)

    await keys.revoke(made.key.id)
    await asyncio.sleep(0.06)  # as whoever revokes waits before they are answered
    second = asyncio.create_task(known.find(made.text))
    await asyncio.sleep(0)
    keys.coming.set()

    assert before
    assert before.id == made.key.id
    assert await second is None
    await first
    await known.close()
