"""Transactions with retries on conflicts; abandoned transactions of crashed processes are ended."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, Final, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession
from pymongo.errors import DuplicateKeyError, NetworkTimeout, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from stores import times
from stores.database.driver import is_cluster, short_commands, stop_sending_on_failure
from stores.errors import ConflictError

Session = AsyncIOMotorClientSession
Client = AsyncIOMotorClient[dict[str, Any]]

APP_NAME: Final = "loomql"
"""App name of our connections, by which MongoDB lists them."""

_ATTEMPTS: Final = 40
_ATTEMPTS_BEFORE_CLEANUP: Final = 12
"""Attempts (about a second) between two searches for abandoned transactions that block this one."""
_MAX_PAUSE_SECONDS: Final = 0.25
_ABANDONED_MICROSECONDS: Final = times.SECOND
"""Idle time of an abandoned transaction; a live one waits only milliseconds. MongoDB's own limit is 60 seconds."""

_END_SECONDS: Final = 5.0
"""Time limit for aborting the transaction of a cancelled task. MongoDB aborts it later by itself."""

_CONFLICT_CODES: Final = (24, 112, 251)
"""MongoDB's codes for a held lock, a write conflict and an aborted transaction."""

_Result = TypeVar("_Result")

logger = logging.getLogger("loomql")


async def run_transaction(
    client: Client, operation: Callable[[Session], Coroutine[Any, Any, _Result]], concern: WriteConcern
) -> _Result:
    """Run `operation` in a transaction and return its result; retry while other writers conflict.

    Raises:
        ConflictError: if every attempt conflicts.
        PyMongoError: if it fails otherwise, with a transient error of the database in the last attempt, or if a router
            does not answer in two attempts.
    """
    timeouts = 0
    async with _session(client) as session:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with short_commands():
                    async with session.start_transaction(write_concern=concern):
                        with stop_sending_on_failure():
                            return await operation(session)
            except PyMongoError as error:
                is_transient = error.has_error_label("TransientTransactionError") or isinstance(
                    error, DuplicateKeyError
                )
                # Each takes `ROUTER_SECONDS`, after which a router had the time to find another primary.
                timeouts += isinstance(error, NetworkTimeout) and is_cluster(client.delegate)
                if not is_transient or timeouts > 1 or (attempt == _ATTEMPTS and not _is_conflict(error)):
                    raise
            # Random pause, so that conflicting writers do not meet again.
            max_pause = min(0.005 * 2**attempt, _MAX_PAUSE_SECONDS)
            await asyncio.sleep(random.uniform(0, max_pause))  # noqa: S311 -- no secret
            if not attempt % _ATTEMPTS_BEFORE_CLEANUP:
                await _end_abandoned(client)
    raise ConflictError("too many concurrent writers changed the same data; retry")


@asynccontextmanager
async def _session(client: Client) -> AsyncIterator[Session]:
    """Open a session. If the task is cancelled during a transaction, a thread aborts it.

    The session's own context manager would abort it in the thread of the event loop, which then waits for MongoDB.
    """
    session = await client.start_session()
    try:
        yield session
    finally:
        if session.delegate.in_transaction:
            Context().run(_end, session)
        else:
            session.delegate.end_session()


def _end(session: Session) -> None:
    """Start to end a session in a thread."""
    with pymongo.timeout(_END_SECONDS):
        ending = asyncio.ensure_future(session.end_session())
    ending.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def _is_conflict(error: PyMongoError) -> bool:
    """True if another writer caused the failure."""
    return isinstance(error, DuplicateKeyError) or (
        isinstance(error, OperationFailure) and error.code in _CONFLICT_CODES
    )


async def _end_abandoned(client: Client) -> None:
    """End transactions whose process died; a process that is only slow retries its own."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": False, "idleSessions": True}},
        {"$match": {"appName": APP_NAME, "transaction.timeInactiveMicros": {"$gt": _ABANDONED_MICROSECONDS}}},
    ]
    try:
        abandoned = await client.admin.aggregate(stages).to_list(None)
        if abandoned:
            await client.admin.command("killSessions", [{"id": operation["lsid"]["id"]} for operation in abandoned])
    except OperationFailure as error:
        # Some hosted servers do not allow `$currentOp`; there MongoDB's own time limit applies.
        logger.warning("could not end abandoned transactions: %s", error)
