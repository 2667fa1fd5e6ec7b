"""The version of what a database holds: the number of the last upgrade that was done, kept in it.

Each upgrade has a number and is done once, in their order; one that was cut off goes on or is done again, which does
no harm. A database whose number is larger was brought up by a newer LoomQL, and is left alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pymongo.collection import Collection as DriversCollection

from stores.database import Collection, Database
from stores.errors import StoreError

PROJECTS_LISTED: Final = 1
CALLS_FILLED_IN: Final = 2

UPGRADES: Final[Mapping[int, str]] = {
    PROJECTS_LISTED: "projects of which something is stored are listed",
    CALLS_FILLED_IN: "calls keep what threads, tokens, costs and examples of evaluations are found by",
}
"""What each upgrade did, by its number. A new one has the next number, and a test from the first release on."""
LATEST: Final = max(UPGRADES)

VERSION: Final = "version"
RESTORE: Final = "restore"
_MARKS: Final = {"_id": {"$in": [VERSION, RESTORE]}}
"""The match of documents among the upgrades: the number, and the sign that a backup is being restored."""


class WrongDatabaseError(StoreError):
    """The database is not one that this program may work on; the message says why and what to do."""

    code = "UNAVAILABLE"


def check(documents: Iterable[Mapping[str, Any]]) -> int:
    """The number that the documents of `VERSION` and `RESTORE` tell, as many of both as there are; 0 of none.

    Raises:
        WrongDatabaseError: the database is newer than this program, or half restored.
    """
    found = {document["_id"]: document for document in documents}
    if RESTORE in found:
        raise WrongDatabaseError(
            "a backup is being restored into this database, or that was cut off: wait for it, or run `loomql restore` "
            "again"
        )
    number = int(found.get(VERSION, {}).get("number", 0))
    if number > LATEST:
        raise WrongDatabaseError(
            f"the database is of version {number}, and this LoomQL knows versions up to {LATEST} only: run the newer "
            "LoomQL that brought it up, or restore a backup from before into an empty database"
        )
    return number


def check_upgrades(upgrades: DriversCollection[Any]) -> int:
    """`check` of a database's upgrades, for those who have it by the driver alone.

    Raises:
        WrongDatabaseError: the database is newer than this program, or half restored.
    """
    return check(upgrades.find(_MARKS))


async def number_of(database: Database) -> int:
    """The number of the last upgrade that was done; of one with nothing in it, the latest, which it has from then on.

    Raises:
        WrongDatabaseError: it is not for this program.
        UnavailableError: the database is away.
    """
    return await database.run_unchecked(_number_of(database))


async def _number_of(database: Database) -> int:
    found = database.upgrades.find(_MARKS)
    documents = [document async for document in found]
    number = check(documents)
    if documents or await _has_any(database.calls, database.objects, database.table_rows, database.files):
        return number
    if await _has_any(database.feedback, database.costs, database.projects, database.upgrades):
        return number
    await _raise_to(database, LATEST)
    return LATEST


async def require(database: Database) -> None:
    """See that a database is for this program, before a command touches anything of it.

    Raises:
        WrongDatabaseError: it is not.
        UnavailableError: the database is away.
    """
    await number_of(database)


async def done(database: Database, number: int) -> None:
    """Keep that an upgrade, and all before it, were done."""
    await database.run(_raise_to(database, number))


async def _raise_to(database: Database, number: int) -> None:
    # Of several servers none takes back what another has done.
    await database.upgrades.update_one({"_id": VERSION}, {"$max": {"number": number}}, upsert=True)


async def _has_any(*collections: Collection) -> bool:
    for collection in collections:
        if await collection.find_one({}, {"_id": 1}) is not None:
            return True
    return False
