"""The schema version of a database: the number of its last migration, stored in the database.

Migrations are numbered and run once, in order. An interrupted one continues or restarts, which does no harm. A database
with a larger number belongs to a newer LoomQL and is not touched.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pymongo.collection import Collection as DriversCollection

from stores.database import Collection, Database
from stores.errors import StoreError

PROJECTS_LISTED: Final = 1
CALLS_BACKFILLED: Final = 2
HOURS_MARKED: Final = 3

UPGRADES: Final[Mapping[int, str]] = {
    PROJECTS_LISTED: "projects with stored documents are listed",
    CALLS_BACKFILLED: "calls have the fields that find threads, tokens, costs and evaluation examples",
    HOURS_MARKED: "all writers of calls mark the hours that they change, so counts may read roll-ups",
}
"""Effect of each migration by number. A new one takes the next number and needs a test from the first release on."""
LATEST: Final = max(UPGRADES)

VERSION: Final = "version"
RESTORE: Final = "restore"
_VERSION_AND_RESTORE: Final = {"_id": {"$in": [VERSION, RESTORE]}}
"""Match for the version number and for the mark of a running restore."""


class WrongDatabaseError(StoreError):
    """This program must not work on the database; the message says why and what to do."""

    code = "UNAVAILABLE"


def check(documents: Iterable[Mapping[str, Any]]) -> int:
    """Return the version number in the documents of `VERSION` and `RESTORE`, as far as they exist; 0 without any.

    Raises:
        WrongDatabaseError: if the database is newer than this program, or a restore is incomplete.
    """
    found = {document["_id"]: document for document in documents}
    if RESTORE in found:
        raise WrongDatabaseError(
            "a backup restore into this database is running or was interrupted: wait for it, or run `loomql restore` "
            "again"
        )
    number = int(found.get(VERSION, {}).get("number", 0))
    if number > LATEST:
        raise WrongDatabaseError(
            f"the database has version {number}, but this LoomQL supports versions up to {LATEST}: run the newer "
            "LoomQL that migrated it, or restore an older backup into an empty database"
        )
    return number


def check_upgrades(upgrades: DriversCollection[Any]) -> int:
    """Run `check` on a collection of the synchronous driver.

    Raises:
        WrongDatabaseError: if the database is newer than this program, or a restore is incomplete.
    """
    return check(upgrades.find(_VERSION_AND_RESTORE))


async def number_of(database: Database) -> int:
    """Return the number of the last completed migration. An empty database gets the latest number.

    Raises:
        WrongDatabaseError: if the database is not for this program.
        UnavailableError: if the database is unreachable.
    """
    return await database.run_unchecked(_number_of(database))


async def _number_of(database: Database) -> int:
    found = database.upgrades.find(_VERSION_AND_RESTORE)
    documents = [document async for document in found]
    number = check(documents)
    own = database.calls, database.objects, database.table_rows, database.files, database.feedback
    if documents or await _has_any(*own, database.costs, database.projects, database.upgrades):
        return number
    await _raise_to(database, LATEST)
    return LATEST


async def is_done(database: Database, number: int) -> bool:
    """Return True if a migration is completed."""
    return await database.query(_is_done(database, number))


async def _is_done(database: Database, number: int) -> bool:
    return await database.upgrades.find_one({"_id": VERSION, "number": {"$gte": number}}) is not None


async def mark_done(database: Database, number: int) -> None:
    """Store that a migration, and all before it, are completed."""
    await database.run(_raise_to(database, number))


async def _raise_to(database: Database, number: int) -> None:
    # Among several servers, none lowers the number that another stored.
    await database.upgrades.update_one({"_id": VERSION}, {"$max": {"number": number}}, upsert=True)


async def _has_any(*collections: Collection) -> bool:
    for collection in collections:
        if await collection.find_one({}, {"_id": 1}) is not None:
            return True
    return False
