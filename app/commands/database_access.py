"""The database as a subcommand works on it, beside a server or not: only one of this program's version."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.mongodb import shared_mongodb
from app.observability.audit_log import check_audit_log, log_as_command_line
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.migrations import schema_version

_R = TypeVar("_R")

_NO_TIME_LIMIT: Final = 86_400.0
"""A person who waits can end it."""


@asynccontextmanager
async def opened(settings: Settings, uri: str, query_timeout_seconds: float | None = None) -> AsyncIterator[Database]:
    """A database until the block ends; its queries take as long as the settings let them, or as is given.

    Raises:
        WrongDatabaseError: it is not for this program.
        UnavailableError: it is away.
    """
    most_seconds = query_timeout_seconds or settings.query_timeout_seconds
    database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds, most_seconds)
    try:
        await schema_version.require(database)
        yield database
    finally:
        database.close()


def on_database(
    settings: Settings, work: Callable[[Database], Awaitable[_R]], query_timeout_seconds: float | None = None
) -> _R:
    """What comes of some work on the database that the settings name.

    Raises:
        AuditLogError: what the work does is to be told to the audit log, and that cannot be written.
    """

    async def run(uri: str) -> _R:
        async with opened(settings, uri, query_timeout_seconds) as database:
            check_audit_log()
            return await work(database)

    with shared_mongodb(settings) as uri:
        return asyncio.run(run(uri))


def on_stores(settings: Settings, work: Callable[[Stores], Awaitable[_R]]) -> _R:
    """What comes of some work with its stores, however long it takes; the audit log hears of what it removes."""

    async def with_indexes(database: Database) -> _R:
        await database.ensure_indexes()
        return await work(Stores.for_database(database))

    log_as_command_line(settings.audit_log)
    return on_database(settings, with_indexes, _NO_TIME_LIMIT)
