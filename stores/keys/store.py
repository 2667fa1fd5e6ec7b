"""The store of keys. What it answers is so in every process: see `TRUSTED_SECONDS`."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stores import audit, times
from stores.access import Grant
from stores.database import Database, Document, database_query, database_write
from stores.errors import BadInputError, ConflictError, NotFoundError
from stores.keys.key import Key, MadeKey
from stores.keys.secrets import digest, new_id, new_key
from stores.transactions import Session

TRUSTED_SECONDS: Final = 1.0
"""How long a process may go by what it read of the keys, from before it read it.

Who changes keys waits for as long before it answers: by then nobody goes by what was before.
"""

MAX_KEYS: Final = 10_000
"""Keys that let anybody in, in one database: each process has all of them in memory."""

MAX_GRANTS: Final = 100
_MAX_NAME: Final = 200
_SECOND: Final = 1_000_000
_MARK: Final = "keys"


@dataclass(frozen=True, slots=True)
class Known:
    """The keys that let anybody in, by id, as they were at a mark; `ever` says whether there ever was a key."""

    mark: int = 0
    by_id: dict[str, Key] = field(default_factory=dict)

    @property
    def ever(self) -> bool:
        """Whether there ever was a key; from the first on they are required."""
        return self.mark > 0


class KeysStore:
    """Keys in MongoDB."""

    def __init__(self, database: Database, settle_seconds: float = TRUSTED_SECONDS) -> None:
        self.database = database
        self._settle_seconds = settle_seconds

    async def create(self, grants: Iterable[Grant], name: str | None = None, expires_at: int | None = None) -> MadeKey:
        """Make a key.

        Raises:
            BadInputError: there are no grants or too many, the name is too long, or it is over before it begins.
            ConflictError: there are as many keys as there may be.
        """
        now = times.now()
        key = Key(new_id(), name, _checked(grants), now, audit.CALLER.get(), expires_at)
        _check_name(name)
        _check_end(expires_at, now)
        made = await self._keep(key)
        audit.did("key.create", None, id=key.id, name=name, grants=_written(key.grants), expires_at=_moment(expires_at))
        await self._settle()
        return made

    async def rotate(self, key_id: str, grace_seconds: float = 0, expires_at: int | None = None) -> MadeKey:
        """Make a key in the place of another, with the same name and grants, and end the other after a while.

        Without an end of its own it lasts as long as the other was made for.

        Raises:
            NotFoundError: there is no such key.
            BadInputError: the other has ended, or the new one would be over before it begins.
        """
        old = await self._one(key_id)
        now = times.now()
        if not old.is_live(now):
            raise _over()
        if expires_at is None and old.expires_at is not None:
            expires_at = now + old.expires_at - old.created_at
        _check_end(expires_at, now)
        end = now + int(grace_seconds * _SECOND)
        ended = {"expires_at": min(end, old.expires_at or end)} if grace_seconds else {"revoked_at": now}
        new = Key(new_id(), old.name, old.grants, now, audit.CALLER.get(), expires_at, replaces=old.id)
        made = await self._keep(new, {old.id: ended})
        audit.did("key.rotate", None, id=old.id, by_id=new.id, grants=_written(new.grants), grace_seconds=grace_seconds)
        await self._settle()
        return made

    async def revoke(self, key_id: str) -> Key:
        """End a key; nobody comes in with it any more when this answers. One that is revoked stays as it is.

        Raises:
            NotFoundError: there is no such key.
        """
        key = await self._one(key_id)
        if key.revoked_at is None:
            key = replace(key, revoked_at=times.now())
            await self._write({key.id: {"revoked_at": key.revoked_at}})
            audit.did("key.revoke", None, id=key.id, name=key.name)
            await self._settle()
        return key

    @database_query
    async def all(self) -> list[Key]:
        """All keys, those that have ended among them, the oldest first."""
        found = self.database.api_keys.find(sort=[("created_at", 1), ("_id", 1)])
        return [Key.of(document) async for document in found]

    @database_query
    async def mark(self) -> int:
        """A number that is another after every change."""
        found = await self.database.aside.find(self.database.api_key_changes.name, {"_id": _MARK}, 1)
        return found[0]["number"] if found else 0

    @database_query
    async def known(self, mark: int) -> Known:
        """All keys that let anybody in now, as they are at a mark or later."""
        found = await self.database.aside.find(self.database.api_keys.name, _live(times.now()), MAX_KEYS)
        return Known(mark, {document["_id"]: Key.of(document) for document in found})

    @database_query
    async def _one(self, key_id: str) -> Key:
        document = await self.database.api_keys.find_one({"_id": key_id})
        if document is None:
            raise NotFoundError(f"there is no key {key_id[:64]!r}", "id")
        return Key.of(document)

    async def _keep(self, key: Key, others: dict[str, dict[str, Any]] | None = None) -> MadeKey:
        text = new_key(key.id)
        await self._write(others or {}, replace(key, hash=digest(text)))
        return MadeKey(key, text)

    async def _settle(self) -> None:
        """Wait until all processes go by what was changed; that it was is told before."""
        await asyncio.sleep(self._settle_seconds)

    @database_write
    async def _write(self, changed: dict[str, dict[str, Any]], made: Key | None = None) -> None:
        """Change keys and make one, all at once with the mark."""
        keys, changes = self.database.api_keys, self.database.api_key_changes

        async def work(session: Session) -> None:
            await changes.update_one({"_id": _MARK}, {"$inc": {"number": 1}}, upsert=True, session=session)
            for key_id, values in changed.items():
                found = await keys.update_one({"_id": key_id, "revoked_at": None}, {"$set": values}, session=session)
                if made and not found.matched_count:
                    raise _over()  # by somebody else, since it was read
            if made:
                if await keys.count_documents(_live(times.now()), session=session) >= MAX_KEYS:
                    raise ConflictError(f"there are {MAX_KEYS:,} keys already; revoke those that nobody needs")
                await keys.insert_one(made.document(), session=session)

        await self.database.transaction(work)


def _over() -> BadInputError:
    return BadInputError("the key has ended; make a new one instead", "id")


def _written(grants: Iterable[Grant]) -> list[str]:
    return [f"{grant.role} in {grant.projects}" for grant in grants]


def _moment(micros: int | None) -> str | None:
    return None if micros is None else times.to_text(micros)


def _live(now: int) -> Document:
    return {"revoked_at": None, "$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]}


def _checked(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    found: Sequence[Grant] = sorted(set(grants))
    if not found or len(found) > MAX_GRANTS:
        raise BadInputError(f"a key takes 1 to {MAX_GRANTS} grants, not {len(found)}", "grants")
    return tuple(found)


def _check_name(name: str | None) -> None:
    if name is not None and not (0 < len(name) <= _MAX_NAME and name.isprintable()):
        raise BadInputError(f"the name of a key must be 1 to {_MAX_NAME} printable characters", "name")


def _check_end(expires_at: int | None, now: int) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadInputError("a key must end at a time to come", "expires_at")
