"""Tests of transactions that fail or are cancelled: the caller gets the reason, and all writes remain or none."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure
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


@pytest.mark.parametrize("is_prepared", [False, True], ids=["not prepared", "prepared"])
async def test_late_first_command_of_a_cancelled_transaction_has_no_effect(
    database: Database, late: "LateThread", monkeypatch: pytest.MonkeyPatch, *, is_prepared: bool
) -> None:
    """Check a thread that the machine pauses just before it sends the command that starts the transaction."""
    is_first = ContextVar("is_first", default=False)  # only for the thread that starts the transaction
    started = list[asyncio.Future[object]]()
    prepare, unpin = ClientSession._apply_to, ClientSession._unpin

    def prepare_late(session: ClientSession, *args: Any) -> None:
        if is_prepared:
            prepare(session, *args)
        if is_first.get():
            is_first.set(False)
            late.wait(session)
        if not is_prepared:
            prepare(session, *args)

    def end_slowly(session: ClientSession) -> None:
        unpin(session)
        if late.waits.is_set():
            time.sleep(0.2)

    async def acquire_late(session: Session) -> None:
        is_first.set(True)
        started.append(asyncio.ensure_future(acquire(database, "a cancelled task", session)))
        await asyncio.shield(started[0])

    monkeypatch.setattr(ClientSession, "_apply_to", prepare_late)
    monkeypatch.setattr(ClientSession, "_unpin", end_slowly)
    await late.cancel(database, acquire_late)
    await asyncio.wait(started)

    assert await holders(database) == ["nobody"]
    await acquire_in_another_session(database)


async def test_commit_of_a_cancelled_transaction_ends_it(
    database: Database, late: "LateThread", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check a thread that the machine pauses just before it sends the commit."""
    finish = ClientSession._finish_transaction_with_retry

    def finish_late(session: ClientSession, name: str) -> object:
        if name == "commitTransaction":
            late.wait(session)
        return finish(session, name)

    monkeypatch.setattr(ClientSession, "_finish_transaction_with_retry", finish_late)
    await late.cancel(database, lambda session: acquire(database, "a cancelled task", session))

    assert await holders(database) == ["a cancelled task"]
    await acquire_in_another_session(database)


async def test_lost_answer_to_the_commit_of_a_cancelled_transaction_is_not_logged(
    database: Database, late: "LateThread", monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, said = ClientSession._finish_transaction_with_retry, list[str]()

    def finish_and_fail(session: ClientSession, name: str) -> object:
        late.wait(session)
        finish(session, name)
        raise AutoReconnect("lost")

    monkeypatch.setattr(ClientSession, "_finish_transaction_with_retry", finish_and_fail)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    try:
        await late.cancel(database, lambda session: acquire(database, "a cancelled task", session))
        # Read by the thread that committed, which then forgets the error.
        assert await holders(database) == ["a cancelled task"]
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert said == []


async def acquire(database: Database, holder: str, session: Session) -> None:
    await database.leases.update_one({"_id": "kept"}, {"$set": {"by": holder}}, session=session)


async def holders(database: Database) -> list[str]:
    return [row["by"] async for row in database.leases.find()]


async def acquire_in_another_session(database: Database) -> None:
    """Check that no open transaction blocks the lease.

    It uses another session of MongoDB, because a new transaction in the same one would end the open one.
    """
    with database._client.delegate.start_session() as reused:
        database.leases.delegate.find_one(session=reused)
        await database.transaction(lambda session: acquire(database, "the next", session))
    assert await holders(database) == ["the next"]


class LateThread:
    """A thread of the driver that pauses while its task is cancelled."""

    def __init__(self) -> None:
        self.waits, self._is_cancelled = threading.Event(), threading.Event()

    def wait(self, session: ClientSession) -> None:
        """Pause until the transaction ends, for 0.4 s after the cancellation at most, as the abort may wait for this.

        After a second, another worker's search for abandoned transactions would end this one.
        """
        if self.waits.is_set():
            return
        self.waits.set()
        self._is_cancelled.wait(TIMEOUT)
        for _ in range(20):
            time.sleep(0.02 if session.in_transaction else 0)

    async def cancel(self, database: Database, operation: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
        """Run a transaction that acquires a lease, and cancel it when the thread waits."""
        await database.leases.insert_one({"_id": "kept", "by": "nobody"})
        working = asyncio.create_task(database.transaction(operation))
        await until(self.waits.is_set)
        working.cancel()
        self._is_cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await working


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateThread:
    """Return a thread, and let transactions wait for it for a long time, but not for a conflict."""
    monkeypatch.setattr(transactions, "_END_SECONDS", TIMEOUT)
    monkeypatch.setattr(transactions, "_ATTEMPTS", 5)
    return LateThread()
