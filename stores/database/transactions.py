"""Transactions that hold against others: done again where they meet, and not held up by the dead."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from stores import times
from stores.database.cancellation import stop_sending_on_failure
from stores.errors import ConflictError

Session = AsyncIOMotorClientSession
Client = AsyncIOMotorClient[dict[str, Any]]

APP_NAME: Final = "loomql"
"""How the server knows our connections from others."""

_ATTEMPTS: Final = 40
_ATTEMPTS_TO_FREE: Final = 12
"""After every so many attempts, a second or so, it is time to see who holds us up."""
_LONGEST_PAUSE_SECONDS: Final = 0.25
_ABANDONED_MICROSECONDS: Final = times.SECOND
"""A transaction of ours waits for its next command for some milliseconds; the server would wait for 60 seconds."""

_OF_OTHERS: Final = (24, 112, 251)
"""MongoDB's codes for locks that others hold, for what they wrote first, for transactions that they ended."""

_Result = TypeVar("_Result")

logger = logging.getLogger("loomql")


async def run_transaction(
    client: Client, work: Callable[[Session], Coroutine[Any, Any, _Result]], concern: WriteConcern
) -> _Result:
    """What comes of some writing, all of which is stored or none; it is done again where others stood in its way.

    Raises:
        ConflictError: others stood in its way each time.
        PyMongoError: it failed otherwise, or the database itself stood in its way at last.
    """
    async with await client.start_session() as session:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with session.start_transaction(write_concern=concern):
                    with stop_sending_on_failure():
                        return await work(session)
            except PyMongoError as error:
                passes = error.has_error_label("TransientTransactionError") or isinstance(error, DuplicateKeyError)
                if not passes or (attempt == _ATTEMPTS and not _is_of_others(error)):
                    raise
            # Those who met must not meet again at the next attempt.
            longest = min(0.005 * 2**attempt, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 -- no secret
            if not attempt % _ATTEMPTS_TO_FREE:
                await _end_abandoned(client)
    raise ConflictError("too many writers changed the same thing at once; send it again")


def _is_of_others(error: PyMongoError) -> bool:
    """Whether it was others who stood in the way."""
    return isinstance(error, DuplicateKeyError) or (isinstance(error, OperationFailure) and error.code in _OF_OTHERS)


async def _end_abandoned(client: Client) -> None:
    """End the transactions of those who died in the middle; one who is only slow begins anew."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": False, "idleSessions": True}},
        {"$match": {"appName": APP_NAME, "transaction.timeInactiveMicros": {"$gt": _ABANDONED_MICROSECONDS}}},
    ]
    try:
        held = await client.admin.aggregate(stages).to_list(None)
        if held:
            await client.admin.command("killSessions", [{"id": operation["lsid"]["id"]} for operation in held])
    except OperationFailure as error:
        # Some hosted servers tell nobody what goes on; there the server's own time limit frees us.
        logger.warning("abandoned transactions cannot be ended: %s", error)
