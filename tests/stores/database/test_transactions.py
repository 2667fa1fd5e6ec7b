"""Tests of transactions that never commit: the caller gets the reason, and no write remains."""

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.pool import Connection, Pool

from stores.database import Database, transactions
from stores.database.transactions import Session
from stores.errors import ConflictError, StoreError, UnavailableError
from tests.waiting import TIMEOUT, until

WRITE_CONFLICT, STEPPING_DOWN = 112, 11602


@pytest.mark.parametrize(
    ("code", "expected"),
    [(WRITE_CONFLICT, ConflictError), (STEPPING_DOWN, UnavailableError)],
    ids=["others", "database"],
)
async def test_repeated_write_conflict_is_reported(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[StoreError]
) -> None:
    attempts: list[int] = []
    monkeypatch.setattr(transactions, "_ATTEMPTS", 3)

    async def work(session: Session) -> None:
        attempts.append(code)
        await database.leases.insert_one({"_id": "begun"}, session=session)
        raise OperationFailure("again", code, {"errorLabels": ["TransientTransactionError"]})

    with pytest.raises(expected):
        await database.run(database.transaction(work))

    assert len(attempts) == 3
    assert await database.leases.count_documents({}) == 0


async def test_thread_sends_nothing_after_its_transaction_was_cancelled(
    mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check an outage that outlasts the request's timeout and ends just before the session does."""
    database = Database.open(mongodb_uri, database_name)
    await database.feedback.insert_one({"_id": "kept"})
    waits, goes_on = threading.Event(), threading.Event()
    connect, unpin = Pool._get_conn, ClientSession._unpin
    is_armed = ContextVar("is_armed", default=False)  # only for the thread that deletes
    ours: list[object] = []

    def connect_late(pool: Pool, *args: Any, **kwargs: Any) -> Connection:
        if is_armed.get() and not waits.is_set():
            waits.set()
            goes_on.wait(TIMEOUT)
        return connect(pool, *args, **kwargs)

    def end_slowly(session: ClientSession) -> None:
        unpin(session)
        if session in ours and waits.is_set() and not session.in_transaction:
            goes_on.set()
            time.sleep(0.5)

    async def replace(session: Session) -> None:
        ours.append(session.delegate)
        assert await database.feedback.find_one({"_id": "kept"}, session=session)
        is_armed.set(True)
        await database.feedback.delete_one({"_id": "kept"}, session=session)
        await database.feedback.insert_one({"_id": "new"}, session=session)

    monkeypatch.setattr(Pool, "_get_conn", connect_late)
    monkeypatch.setattr(ClientSession, "_unpin", end_slowly)
    replacing = asyncio.create_task(database.transaction(replace))
    await until(waits.is_set)
    replacing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replacing

    assert [kept["_id"] async for kept in database.feedback.find()] == ["kept"]
    database.close()
