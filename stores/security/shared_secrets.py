"""Secrets that all servers over one database share, and keep in it: each is made by whoever first needs it."""

import secrets
from typing import Final

from pymongo import ReturnDocument
from pymongo.read_concern import ReadConcern

from stores.database import Collection, Database

CURSORS: Final = "cursors of events"
"""The name of what seals those."""

_BYTES: Final = 32
_KEPT: Final = ReadConcern("majority")
"""One that a new primary might not have is none: others would be made in its place."""


async def shared_secret(database: Database, name: str) -> bytes:
    """The random 32 bytes of a name.

    Raises:
        UnavailableError: the database is away.
    """
    return await database.run(_found_or_made(database.secrets, name))


async def _found_or_made(kept: Collection, name: str) -> bytes:
    found = await kept.with_options(read_concern=_KEPT).find_one({"_id": name})
    if found is None:
        new = {"$setOnInsert": {"secret": secrets.token_bytes(_BYTES)}}
        after = ReturnDocument.AFTER
        found = await kept.find_one_and_update({"_id": name}, new, upsert=True, return_document=after)
    secret: bytes = found["secret"]
    return secret
