"""Secrets shared by all servers on one database and stored in it; the first server that needs one creates it."""

import secrets
from typing import Final

from pymongo import ReturnDocument
from pymongo.read_concern import ReadConcern

from stores.database import Collection, Database

CURSORS: Final = "cursors of events"
"""Name of the secret that signs event cursors."""

_MAJORITY: Final = ReadConcern("majority")
"""Read concern for secrets: one that a failover could roll back must not be used, as another would replace it."""


async def shared_secret(database: Database, name: str) -> bytes:
    """Return the secret of a name, 32 random bytes; create it if missing.

    Raises:
        UnavailableError: if the database is unreachable.
    """
    return await database.run(_find_or_create(database.secrets, name))


async def _find_or_create(collection: Collection, name: str) -> bytes:
    document = await collection.with_options(read_concern=_MAJORITY).find_one({"_id": name})
    if document is None:
        new = {"$setOnInsert": {"secret": secrets.token_bytes(32)}}
        after = ReturnDocument.AFTER
        document = await collection.find_one_and_update({"_id": name}, new, upsert=True, return_document=after)
    secret: bytes = document["secret"]
    return secret
