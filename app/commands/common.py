"""The common parts of subcommands: flags, the settings that they change, output, and access to the database."""

import asyncio
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from app.mongodb import shared_mongodb
from app.observability.logs import check_audit_log, command_line_audit
from app.settings import Settings, variable
from graphql_schema.context import Stores
from stores.database import Database
from stores.migrations import schema_version

_R = TypeVar("_R")

Command = Callable[[Namespace], int]
"""Runs a subcommand, and returns the exit code."""

Add = Callable[..., ArgumentParser]
"""Adds a subcommand by its name, its `Command` and keyword arguments of `ArgumentParser`; returns its parser."""

_DATA_FOLDER: Final = "folder of the embedded MongoDB (LOOMQL_DATA_DIR)"
_NO_TIME_LIMIT: Final = 86_400.0
"""Timeout of commands without a time limit, in seconds: the user can interrupt a command at any time."""


def listening() -> ArgumentParser:
    """Return a parent parser with the flags of the server's address and data folder."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--host", help="address to listen on (LOOMQL_HOST)")
    flags.add_argument("--port", type=int, help="port to listen on; 0 picks a free port (LOOMQL_PORT)")
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def data_folder() -> ArgumentParser:
    """Return a parent parser with the flag of the data folder."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def project() -> ArgumentParser:
    """Return a parent parser with a project argument."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("project", metavar="PROJECT", help="entity/project")
    return flags


def adder(parser: ArgumentParser, kind: str) -> Add:
    """Return the function that adds subcommands to a parser; `kind` names them in its help."""
    subparsers = parser.add_subparsers(title=f"{kind}s", required=True, metavar=kind.upper())

    def add(name: str, command: Command | None, **options: Any) -> ArgumentParser:
        added: ArgumentParser = subparsers.add_parser(name, **options)
        added.set_defaults(command=command)
        return added

    return add


def actions_of(add: Add, name: str, text: str) -> Add:
    """Add a subcommand that has actions, with its help; return the function that adds them."""
    return adder(add(name, None, help=text), "action")


def flags_of(options: Namespace) -> dict[str, str]:
    """Return the settings that flags set, as text."""
    names = ("host", "port", "data_dir", "workers", "demo")
    return {name: str(value) for name in names if (value := getattr(options, name, None)) is not None}


def settings_of(options: Namespace) -> Settings:
    """Return the settings. Flags are written to the environment, from which worker processes read them, too."""
    os.environ.update({variable(name): value for name, value in flags_of(options).items()})
    return Settings()


def say(*lines: str) -> int:
    """Print lines and return exit code 0."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row of a table, with its cells in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def on_database_at(
    uri: str,
    settings: Settings,
    operation: Callable[[Database], Awaitable[_R]],
    query_timeout_seconds: float | None = None,
) -> _R:
    """Run an operation on the database at a URI and return its result.

    Queries have the time limit of the settings, or the given one.

    Raises:
        WrongDatabaseError: its data version does not fit this program.
        UnavailableError: MongoDB is unreachable.
        AuditLogError: the audit log, to which the operation must be recorded, cannot be written.
    """
    limit_seconds = query_timeout_seconds or settings.query_timeout_seconds

    async def run() -> _R:
        database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds, limit_seconds)
        try:
            await schema_version.number_of(database)  # checks that the database is for this program
            check_audit_log()
            return await operation(database)
        finally:
            database.close()

    return asyncio.run(run())


def on_database(
    settings: Settings, operation: Callable[[Database], Awaitable[_R]], query_timeout_seconds: float | None = None
) -> _R:
    """Run an operation on the configured database and return its result; raises as `on_database_at`."""
    with shared_mongodb(settings) as uri:
        return on_database_at(uri, settings, operation, query_timeout_seconds)


def on_stores(settings: Settings, operation: Callable[[Stores], Awaitable[_R]]) -> _R:
    """Run an operation on the stores without a query time limit and return its result; removals are audited."""

    async def with_indexes(database: Database) -> _R:
        await database.ensure_indexes()
        return await operation(Stores(database))

    with command_line_audit(settings.audit_log):
        return on_database(settings, with_indexes, _NO_TIME_LIMIT)
