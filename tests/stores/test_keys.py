"""Keys: of many changes at once none is lost or done twice."""

import asyncio
from functools import partial

import pytest

from stores import times
from stores.access import Grant, Role
from stores.database import Database
from stores.errors import BadInputError, NotFoundError
from stores.keys import KeysStore, MadeKey, key_id_of
from tests.waiting import until


@pytest.fixture
def keys(database: Database) -> KeysStore:
    """A store of keys that answers at once, since nobody else goes by them."""
    return KeysStore(database, settle_seconds=0)


async def test_a_key_that_is_rotated_by_many_at_once_has_one_in_its_place(keys: KeysStore) -> None:
    old = await keys.create([Grant("acme/chat", Role.WRITER)])

    outcomes = await asyncio.gather(*(keys.rotate(old.key.id) for _ in range(4)), return_exceptions=True)

    made = [outcome for outcome in outcomes if isinstance(outcome, MadeKey)]
    assert len(made) == 1
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, MadeKey)] == [BadInputError] * 3
    live = [key.id for key in await keys.all() if key.is_live(times.now())]
    assert live == [made[0].key.id]


def _is_told(caplog: pytest.LogCaptureFixture, action: str) -> bool:
    return f'"{action}"' in caplog.text


async def test_a_change_is_in_the_audit_log_before_all_processes_go_by_it(
    keys: KeysStore, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    old = await keys.create([Grant("acme/chat", Role.WRITER)])
    slow = KeysStore(database, settle_seconds=3600)
    caplog.clear()
    for action, change in (
        ("key.create", slow.create([Grant("acme/chat", Role.READER)])),
        ("key.rotate", slow.rotate(old.key.id, grace_seconds=60)),
        ("key.revoke", slow.revoke(old.key.id)),
    ):
        waiting = asyncio.ensure_future(change)
        await until(partial(_is_told, caplog, action))
        assert not waiting.done()
        waiting.cancel()


async def test_the_first_keys_are_all_there_when_they_are_made_at_once(keys: KeysStore) -> None:
    made = await asyncio.gather(*(keys.create([Grant("*", Role.ADMIN)]) for _ in range(8)))

    known = await keys.known(await keys.mark())

    assert await keys.mark() == 8
    assert known.by_id.keys() == {each.key.id for each in made} == {key_id_of(each.text) for each in made}


async def test_a_key_that_is_not_there_is_neither_revoked_nor_rotated(keys: KeysStore) -> None:
    for change in (keys.revoke("0" * 16), keys.rotate("0" * 16)):
        with pytest.raises(NotFoundError):
            await change
