"""Tests that concurrent changes of keys are all applied, and each only once."""

import asyncio
from functools import partial

import pytest

from stores import times
from stores.database import Database
from stores.errors import BadInputError, NotFoundError
from stores.keys import KeysStore, MadeKey, key_id_of
from stores.security.access import Grant, Role
from tests.waiting import until


@pytest.fixture
def keys(database: Database) -> KeysStore:
    """Return a store of keys that does not wait after changes, because no other process uses the keys."""
    return KeysStore(database, settle_seconds=0)


async def test_key_rotated_concurrently_has_one_successor(keys: KeysStore) -> None:
    old = await keys.create([Grant("acme/chat", Role.WRITER)])

    outcomes = await asyncio.gather(*(keys.rotate(old.key.id) for _ in range(4)), return_exceptions=True)

    made = [outcome for outcome in outcomes if isinstance(outcome, MadeKey)]
    assert len(made) == 1
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, MadeKey)] == [BadInputError] * 3
    live = [key.id for key in await keys.all() if key.is_live(times.now())]
    assert live == [made[0].key.id]


async def test_key_is_rotated_once_and_keeps_its_expiry(keys: KeysStore) -> None:
    old = await keys.create([Grant("acme/chat", Role.WRITER)])

    new = await keys.rotate(old.key.id, grace_seconds=3_600)
    with pytest.raises(BadInputError, match=f"already replaced by {new.key.id}"):
        await keys.rotate(old.key.id, grace_seconds=3_600)

    left, made = await keys.all()
    now = times.now()
    assert (left.is_live(now), left.is_live(now + 3_600_000_000)) == (True, False)
    assert (left.expires_at, made.expires_at, made.replaces) == (None, None, left.id)
    assert (await keys.revoke(left.id)).ends_at == pytest.approx(now, abs=60_000_000)
    assert [key.id for key in await keys.all() if key.is_live(times.now())] == [made.id]


async def test_key_expiring_at_the_maximum_time_can_be_rotated(keys: KeysStore) -> None:
    with pytest.raises(BadInputError, match="before the year 10000"):
        await keys.create([Grant("acme/chat", Role.WRITER)], expires_at=times.LAST + 1)
    old = await keys.create([Grant("acme/chat", Role.WRITER)], expires_at=times.LAST)

    new = await keys.rotate(old.key.id, grace_seconds=10.0**12)

    assert [(key.id, key.ends_at) for key in await keys.all()] == [(key.id, times.LAST) for key in (old.key, new.key)]


def _is_audited(caplog: pytest.LogCaptureFixture, action: str) -> bool:
    return f'"{action}"' in caplog.text


async def test_key_change_is_audited_before_processes_apply_it(
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
        await until(partial(_is_audited, caplog, action))
        assert not waiting.done()
        waiting.cancel()


async def test_first_keys_created_concurrently_all_exist(keys: KeysStore) -> None:
    made = await asyncio.gather(*(keys.create([Grant("*", Role.ADMIN)]) for _ in range(8)))

    known = await keys.live_keys(await keys.change_number())

    assert await keys.change_number() == 8
    assert known.by_id.keys() == {each.key.id for each in made} == {key_id_of(each.text) for each in made}


async def test_missing_key_cannot_be_revoked_or_rotated(keys: KeysStore) -> None:
    for change in (keys.revoke("0" * 16), keys.rotate("0" * 16)):
        with pytest.raises(NotFoundError):
            await change
