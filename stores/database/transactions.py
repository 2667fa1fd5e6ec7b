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
from stores.database.driver import BlockCommands, is_cluster, short_commands, stop_sending_on_failure
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
"""Seconds that a caller waits for the end of a failed transaction, and time limit of its abort."""

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
                    return await _attempt(session, operation, concern)
            except PyMongoError as error:
                is_transient = error.has_error_label("TransientTransactionError") or isinstance(
                    error, DuplicateKeyError
                )
                # Each takes `ROUTER_SECONDS`, after which a router had the time to find another primary.
                timeouts += isinstance(error, NetworkTimeout) and is_cluster(client.delegate)
                # While the transaction is open, `_abort` uses the session.
                is_final = not is_transient or timeouts > 1 or session.delegate.in_transaction
                if is_final or (attempt == _ATTEMPTS and not _is_conflict(error)):
                    raise
            # Random pause, so that conflicting writers do not meet again.
            max_pause = min(0.005 * 2**attempt, _MAX_PAUSE_SECONDS)
            await asyncio.sleep(random.uniform(0, max_pause))  # noqa: S311 -- no secret
            if not attempt % _ATTEMPTS_BEFORE_CLEANUP:
                await _end_abandoned(client)
    raise ConflictError("too many concurrent writers changed the same data; retry")


@asynccontextmanager
async def _session(client: Client) -> AsyncIterator[Session]:
    # The driver sends nothing when it starts a session, so Motor's threads are not needed for that.
    session = Session(client.delegate.start_session(), client)
    try:
        yield session
    finally:
        # While a transaction is open, `_abort` uses the session, which then does not return to the driver's pool.
        if not session.delegate.in_transaction:
            session.delegate.end_session()


async def _attempt(
    session: Session, operation: Callable[[Session], Coroutine[Any, Any, _Result]], concern: WriteConcern
) -> _Result:
    """Run `operation` in one transaction; if that fails or is cancelled, abort the transaction."""
    session.start_transaction(write_concern=concern)
    commit: asyncio.Future[None] | None = None
    try:
        with stop_sending_on_failure() as commands:
            result = await operation(session)
        # The driver counts a transaction as committed even if it did not send the commit. So the commit goes on if the
        # task is cancelled.
        commit = asyncio.ensure_future(session.commit_transaction())
        commit.add_done_callback(_retrieve_error)
        await asyncio.shield(commit)
    except BaseException:
        # In a separate task, so that a second cancellation does not stop it.
        aborting = asyncio.create_task(_abort(session, commands, commit), context=Context())
        aborting.add_done_callback(_retrieve_error)
        await asyncio.wait({aborting}, timeout=_END_SECONDS)
        raise
    return result


async def _abort(session: Session, commands: BlockCommands, commit: "asyncio.Future[None] | None") -> None:
    """Abort the transaction of a session unless the commit ends it.

    It first waits for the last command. Otherwise MongoDB could receive the abort before the command that starts the
    transaction, which would stay open. A command that the driver sends after the abort would take effect alone.
    """
    if commit:
        await asyncio.wait({commit})
    # Behind a load balancer, a transaction keeps its connection until the abort, which may therefore come too early.
    elif not session.delegate.client.options.load_balanced:
        await commands.wait()
    if session.delegate.in_transaction:
        with pymongo.timeout(_END_SECONDS):
            await session.abort_transaction()


def _retrieve_error(ended: "asyncio.Future[None]") -> None:
    """Keep asyncio from logging an error of the database that no task awaits: MongoDB ends the transaction later."""
    if not ended.cancelled() and (error := ended.exception()) and not isinstance(error, PyMongoError):
        logger.error("a transaction was not ended", exc_info=error)


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
