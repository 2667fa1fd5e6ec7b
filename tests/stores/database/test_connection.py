"""Tests that the driver's failures become the stores' own errors, and that the stores work again after an outage."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CursorNotFound,
    DocumentTooLarge,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from app.embedded_mongod import DataFolder, find_mongod
from app.embedded_mongod.supervisor import LogFile, Supervisor, _make_primary, command
from stores.calls import CallsStore
from stores.database import Database, database_query
from stores.database.error_translation import translate_driver_errors
from stores.errors import BadInputError, NewModelError, PayloadTooLargeError, StoreTimeoutError, UnavailableError
from stores.paging import PageRequest
from stores.query import Query
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT

LIMIT_SECONDS = 5.0
SLACK_SECONDS = 10.0
"""Additional seconds for a machine with other work.

The measured operations take 3 seconds. Without their limit they take the driver's 30 seconds, or do not end.
"""


@dataclass
class Mongod:
    """A mongod that tests start, stop and kill."""

    folder: DataFolder
    process: Supervisor | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        assert self.process._process is not None
        return self.process._process.pid

    def begin(self) -> None:
        self.process = Supervisor(command(find_mongod(), self.folder, 0.25), LogFile(self.folder.log))
        self.process.start()
        _make_primary(self.folder, self.process)

    def halt(self) -> None:
        """Suspend the process and wait until it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def kill(self) -> None:
        """Kill the process; its supervisor was not confirmed and therefore does not restart it."""
        assert self.process is not None
        os.kill(self.pid, signal.SIGKILL)
        self.process.ended.wait()
        self.process.stop()
        self.process = None


@pytest.fixture
def mongod() -> Iterator[Mongod]:
    with tempfile.TemporaryDirectory(prefix="loomql-") as path, DataFolder(Path(path)).held() as folder:
        mongod = Mongod(folder)
        mongod.begin()
        try:
            yield mongod
        finally:
            if mongod.process is not None:
                os.kill(mongod.pid, signal.SIGCONT)
                mongod.process.stop()


@pytest.fixture
async def own_calls(mongod: Mongod) -> AsyncIterator[CallsStore]:
    database = Database.open(mongod.folder.uri, "loomql")
    calls = CallsStore(database)
    await calls.write([start(1)])
    yield calls
    database.close()


async def seconds_to_unavailable(work: Awaitable[object]) -> float:
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="is unreachable"):
        await work
    return time.monotonic() - began


async def assert_unavailable(calls: CallsStore, at_once: int = 1) -> None:
    """Check that reads and writes all fail in time, even if they are more than the driver's threads."""
    works = [
        work
        for _ in range(at_once)
        for work in (calls.one(PROJECT, call_id(1), {"id"}), calls.write([start(1)]), calls.database.ping())
    ]
    taken = await asyncio.gather(*map(seconds_to_unavailable, works))
    assert max(taken) < LIMIT_SECONDS + SLACK_SECONDS


async def assert_works_again(calls: CallsStore) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            await calls.write([start(2)])
            break
        except UnavailableError:
            assert time.monotonic() < deadline
    assert await calls.one(PROJECT, call_id(1), {"id"}) == {"id": call_id(1)}
    assert await calls.count(PROJECT) == 2


async def test_killed_database_is_unavailable_in_time_and_works_again(mongod: Mongod, own_calls: CallsStore) -> None:
    await asyncio.to_thread(mongod.kill)

    await assert_unavailable(own_calls)

    await asyncio.to_thread(mongod.begin)
    await assert_works_again(own_calls)


async def test_hanging_database_is_unavailable_in_time_and_works_again(mongod: Mongod, own_calls: CallsStore) -> None:
    mongod.halt()
    await asyncio.sleep(0.2)  # the process's threads stop one by one

    await assert_unavailable(own_calls, at_once=20)
    await assert_unavailable(own_calls)

    os.kill(mongod.pid, signal.SIGCONT)
    await assert_works_again(own_calls)


async def test_slow_query_on_a_reachable_database_is_not_cancelled(database: Database, calls: CallsStore) -> None:
    await calls.write([start(1)])
    slow = {"$where": "sleep(2000) || true"}
    # With its usual heartbeats, the driver does not report a short pause of MongoDB as a lost server.
    client, name = database._client, database.calls.database.name
    impatient = Database(client, name, timeout_seconds=0.6, control_client=database.control_client)

    found = await impatient.run(partial(impatient.calls.find_one, slow, {"_id": 0, "id": 1}))

    assert found == {"id": call_id(1)}


async def test_cancelled_operation_ends_before_its_caller_goes_on(database: Database) -> None:
    patient = Database(database._client, "unused", DATABASE_TIMEOUT, control_client=database.control_client)
    has_started, ended = asyncio.Event(), list[str]()

    async def write() -> None:
        try:
            has_started.set()
            await asyncio.sleep(TIMEOUT)
        finally:
            await asyncio.sleep(0.05)
            ended.append("the transaction")

    writing = asyncio.create_task(patient.run(write))
    await has_started.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert ended


async def test_operation_that_has_started_is_refused(database: Database) -> None:
    with pytest.raises(TypeError, match="pass a function that starts it"):
        await database.run(database.calls.find_one({}))


async def test_timed_out_query_error_says_what_to_change(
    mongodb_uri: str, database_name: str, calls: CallsStore
) -> None:
    # given
    haystack = ["hay " * 5000] * 20
    await calls.write([start(number, inputs={"stack": haystack}) for number in range(100)])
    contains = {"input": {"$getField": "inputs"}, "substr": {"$literal": "Needle"}, "case_insensitive": True}
    needle = Query({"$expr": {"$contains": contains}})
    assert await calls.count(PROJECT, None, needle) == 0
    hasty = CallsStore(Database.open(mongodb_uri, database_name, query_timeout_seconds=0.02))
    # Server discovery may take longer than this limit on a busy machine.
    await hasty.database.run(partial(hasty.database.calls.database.client.admin.command, "ping"))
    # when
    works = (hasty.count(PROJECT, None, needle), hasty.page(PROJECT, PageRequest(), {"id"}, query=needle))
    failures = await asyncio.gather(*works, return_exceptions=True)
    hasty.database.close()
    # then
    assert [type(failure) for failure in failures] == [StoreTimeoutError, StoreTimeoutError]
    assert all("narrow the filter" in str(failure) for failure in failures)
    assert all("LOOMQL_QUERY_TIMEOUT_SECONDS" in str(failure) for failure in failures)


async def test_server_that_ignores_the_time_limit_gives_the_same_error(mongod: Mongod, own_calls: CallsStore) -> None:
    database = Database.open(mongod.folder.uri, "loomql", timeout_seconds=30)
    hasty = CallsStore(database)
    assert await hasty.count(PROJECT) == await own_calls.count(PROJECT)
    database._query_timeout_seconds = 1
    mongod.halt()

    [failure] = await asyncio.gather(hasty.count(PROJECT), return_exceptions=True)
    database.close()

    assert isinstance(failure, StoreTimeoutError)


async def test_every_query_command_has_a_time_limit_and_writes_have_none(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(1), start(2)])
    await calls.rename(PROJECT, call_id(1), "named")
    await calls.delete(PROJECT, [call_id(2)])
    written = commands.sent.copy()
    commands.sent.clear()

    await calls.one(PROJECT, call_id(1), {"total_storage_size_bytes"})
    await calls.page(PROJECT, PageRequest(), {"total_storage_size_bytes"})
    await calls.count(PROJECT)
    await calls.stats(PROJECT, {"count", "total_storage_size_bytes"}, limit=5)
    await calls.explain(PROJECT)

    assert [name for name, body in written if "maxTimeMS" in body] == []
    assert set(commands.names) == {"find", "aggregate", "explain"}
    assert [name for name, body in commands.sent if not 0 < body.get("maxTimeMS", 0) <= 60_000] == []


@pytest.mark.parametrize("uri", ["", "http://localhost", "mongodb://", "mongodb://a:b:c@d", "mongodb://h/?x"])
async def test_invalid_mongodb_uri_is_refused(uri: str) -> None:
    with pytest.raises(BadInputError, match="not a MongoDB URI") as refused:
        Database.open(uri, "loomql")

    assert refused.value.argument == "mongodb_uri"


async def test_no_command_is_sent_before_the_first_query() -> None:
    database = Database.open("mongodb://127.0.0.1:1/", "loomql", timeout_seconds=0.5)

    with pytest.raises(UnavailableError):
        await database.ping()
    database.close()


FULL = "WiredTigerIdIndex::_insert: index: _id_; uri: table:index-92--2 28: No space left on device"
"""Message of mongod 6.0.5 if the disk is full."""


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (AutoReconnect("secret"), UnavailableError),
        (NetworkTimeout("secret"), UnavailableError),
        (ServerSelectionTimeoutError("secret"), UnavailableError),
        (WTimeoutError("secret"), UnavailableError),
        (OperationFailure("secret", details={"errorLabels": ["RetryableWriteError"]}), UnavailableError),
        (OperationFailure("secret", 14031), UnavailableError),
        (CursorNotFound("secret", 43), UnavailableError),
        (OperationFailure("secret", 246), UnavailableError),
        # The driver does not retry updates of many documents, so such a failure has no retry label.
        (WriteConcernError("secret", 189), UnavailableError),
        (BulkWriteError({"writeErrors": [{"code": 189, "errmsg": "secret"}]}), UnavailableError),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 91}]}), UnavailableError),
        (BulkWriteError({"writeErrors": [{"code": 11000}], "writeConcernErrors": [{"code": 91}]}), BulkWriteError),
        (ExecutionTimeout("secret"), StoreTimeoutError),
        (DocumentTooLarge("secret"), PayloadTooLargeError),
        (OperationFailure("secret", 388), PayloadTooLargeError),
        (BulkWriteError({"writeErrors": [{"code": 388, "errmsg": "secret"}]}), PayloadTooLargeError),
        (BulkWriteError({"writeErrors": [{"code": 11000}]}), BulkWriteError),
        (OperationFailure("secret", 8, {"errmsg": f"secret {FULL}"}), UnavailableError),
        (BulkWriteError({"writeErrors": [{"code": 8, "errmsg": f"secret {FULL}"}]}), UnavailableError),
        # MongoDB's message may quote a client's text.
        (BulkWriteError({"writeErrors": [{"code": 11000, "errmsg": f"dup key: {FULL}"}]}), BulkWriteError),
        (BulkWriteError({"writeErrors": [{"code": 8, "errmsg": "a bug"}]}), BulkWriteError),
        (OperationFailure("a bug"), OperationFailure),
        (ZeroDivisionError("a bug"), ZeroDivisionError),
    ],
)
def test_driver_failures_are_reported_without_driver_messages(raised: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as failure, translate_driver_errors():
        raise raised

    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("labels", "says"),
    [([], "the database is building an index; retry shortly"), (["TransientTransactionError"], "is unreachable")],
    ids=["read", "transaction"],
)
def test_snapshot_read_during_an_index_build_is_named(labels: list[str], says: str) -> None:
    with pytest.raises(UnavailableError, match=says), translate_driver_errors():
        raise OperationFailure("secret", 246, {"errorLabels": labels})


async def test_retries_of_a_query_share_one_time_limit(
    database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        def __init__(self) -> None:
            self.database = database

        @database_query
        async def ask(self) -> None:
            await database.calls.find_one({})
            await asyncio.sleep(0.4)
            raise NewModelError("new")

    with pytest.raises(NewModelError):
        await Store().ask()
    first, second, third = [body["maxTimeMS"] for _, body in commands.sent]
    assert first <= 60_000
    assert second <= 60_000 - 400
    assert third <= 60_000 - 800

    commands.sent.clear()
    monkeypatch.setattr(database, "_query_timeout_seconds", 0.3)
    with pytest.raises(StoreTimeoutError):
        await Store().ask()
    assert len(commands.sent) <= 1


async def test_query_of_an_expired_snapshot_is_retried_twice_at_most(database: Database) -> None:
    class Store:
        def __init__(self, failures: list[int]) -> None:
            self.database = database
            self.failures = failures

        @database_query
        async def ask(self) -> str:
            if self.failures:
                raise OperationFailure("of the server", self.failures.pop())
            return "answer"

    too_old, other = 239, 40324

    assert await Store([too_old] * 2).ask() == "answer"
    for failures in ([too_old] * 3, [other]):
        with pytest.raises(OperationFailure, match="of the server"):
            await Store(failures).ask()
        assert failures == []
