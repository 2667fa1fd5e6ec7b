"""Access of subcommands to the database, also while a server runs; the data version must fit this program."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.mongodb import shared_mongodb
from app.observability.audit_log import check_audit_log, command_line_audit
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.migrations import schema_version

_R = TypeVar("_R")

_NO_TIME_LIMIT: Final = 86_400.0
"""Timeout of commands without a time limit, in seconds: the user can interrupt a command at any time."""


@asynccontextmanager
async def opened(settings: Settings, uri: str, query_timeout_seconds: float | None = None) -> AsyncIterator[Database]:
    """Open the database for the block; queries have the time limit of the settings, or the given one.

    Raises:
        WrongDatabaseError: its data version does not fit this program.
        UnavailableError: MongoDB is unreachable.
    """
    limit_seconds = query_timeout_seconds or settings.query_timeout_seconds
    database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds, limit_seconds)
    try:
        await schema_version.number_of(database)  # checks that the database is for this program
        yield database
    finally:
        database.close()


def on_database(
    settings: Settings, operation: Callable[[Database], Awaitable[_R]], query_timeout_seconds: float | None = None
) -> _R:
    """Run an operation on the configured database and return its result.

    Raises:
        AuditLogError: the audit log, to which the operation must be recorded, cannot be written.
    """

    async def run(uri: str) -> _R:
        async with opened(settings, uri, query_timeout_seconds) as database:
            check_audit_log()
            return await operation(database)

    with shared_mongodb(settings) as uri:
        return asyncio.run(run(uri))


def on_stores(settings: Settings, operation: Callable[[Stores], Awaitable[_R]]) -> _R:
    """Run an operation on the stores without a query time limit and return its result; removals are audited."""

    async def with_indexes(database: Database) -> _R:
        await database.ensure_indexes()
        return await operation(Stores(database))

    with command_line_audit(settings.audit_log):
        return on_database(settings, with_indexes, _NO_TIME_LIMIT)
