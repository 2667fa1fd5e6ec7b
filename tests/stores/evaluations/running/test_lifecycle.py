"""Tests of runs that are cancelled, interrupted and resumed, or deleted before their end; no run hangs."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from app.providers import EnvironmentProviders
from graphql_schema.context import Stores
from stores import ids, times
from stores.calls import CallEnd, CallsStore
from stores.calls.inputs import CallWrite
from stores.calls.store import Rejected
from stores.database import Database
from stores.errors import BadInputError, NotFoundError, UnavailableError
from stores.evaluations.logged_runs import Complete, Failed, NotFound, Status
from stores.evaluations.logged_runs import Running as StillRunning
from stores.evaluations.running import EvaluationRunsStore
from stores.evaluations.running.store import cancel_ordered_by
from stores.evaluations.running.worker import MAX_TAKES_WITHOUT_PROGRESS, RowWorker, id_in_run
from stores.evaluations.store import EvaluationsStore
from stores.retention import RetentionStore, Rule
from stores.retention.rules import GracePeriods
from stores.security import audit
from tests.stand_in_provider import Body, StandIn
from tests.stores.calls.builders import end, start
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT, Grader
from tests.waiting import TIMEOUT, until, until_found

pytestmark = pytest.mark.timings(run_renew_seconds=0.1)

MANY = [{"question": f"Number {number}?", "expected": "A number."} for number in range(12)]


@pytest.fixture
def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return all stores, with a stand-in instead of OpenAI and a limit of two rows at once."""
    return Stores(database, providers, evaluation_rows=2)


class Gate:
    """Lets `passing` requests through and blocks all others until it is opened."""

    def __init__(self, stand_in: StandIn, passing: int = 0) -> None:
        self.open = threading.Event()
        self.left = passing
        self.waiting = 0
        stand_in.reply = Grader(before=self.hold)
        self._lock = threading.Lock()

    def hold(self, _body: Body) -> None:
        # The stand-in has one event loop, so a request that waits here blocks all others too.
        with self._lock:
            self.left -= 1
            holds = self.left < 0
            self.waiting += holds
        if holds:
            self.open.wait(15)


@asynccontextmanager
async def under_way(stores: Stores, call_id: str) -> AsyncIterator["asyncio.Task[None]"]:
    """Execute a run in a task, and cancel the task when the block ends."""
    task = asyncio.create_task(stores.evaluation_runs.execute(PROJECT, call_id))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def order(stores: Stores, rows: list[Body] = MANY, *, judged: bool = True) -> str:
    scorers = [await orders.judge(stores)] if judged else []
    evaluation = await orders.evaluation(stores, scorers, rows)
    return await stores.evaluation_runs.start(PROJECT, evaluation, await orders.model(stores))


async def rows_done(database: Database) -> int:
    return await database.calls.count_documents(
        {"op_trace_name": "Evaluation.predict_and_score", "status": {"$ne": "running"}}
    )


async def test_run_is_canceled_with_its_callers_key(stores: Stores, stand_in: StandIn, database: Database) -> None:
    gate = Gate(stand_in, passing=7)
    acting = audit.CALLER.set("a key")
    call_id = await order(stores)
    audit.CALLER.set("another key")
    await order(stores)
    audit.CALLER.reset(acting)

    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        canceled = await cancel_ordered_by(database.evaluation_runs, "a key", "its key's end")
        await asyncio.wait_for(work, TIMEOUT)
    gate.open.set()

    assert canceled == 1
    assert await stores.evaluations.status(PROJECT, call_id) == Failed("The run was canceled by its key's end")
    assert await database.evaluation_runs.count_documents({"ordered_by": "another key"}) == 1


async def has_ended(stores: Stores, call_id: str) -> bool:
    return await stores.calls.database.evaluation_runs.find_one({"call_id": call_id}) is None


async def test_canceled_run_ends_with_its_open_calls(stores: Stores, stand_in: StandIn, database: Database) -> None:
    gate = Gate(stand_in, passing=7)
    call_id = await order(stores)

    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        canceled = await stores.evaluation_runs.cancel(PROJECT, call_id, "ada")
        await asyncio.wait_for(work, TIMEOUT)
    gate.open.set()

    assert canceled
    tree = await orders.tree(stores, call_id)
    assert tree.root["exception"] == "The run was canceled by ada"
    assert all("ended_at" in call for call in tree.every())
    ended = Counter(call.get("exception") for call in tree.every())
    assert ended["The run was canceled by ada"] >= 3
    assert 0 < len(tree.rows()) < len(MANY)
    assert await stores.evaluations.status(PROJECT, call_id) == Failed("The run was canceled by ada")
    assert await has_ended(stores, call_id)
    before = await database.calls.count_documents({})
    await asyncio.sleep(0.3)
    assert await database.calls.count_documents({}) == before
    assert not await stores.evaluation_runs.cancel(PROJECT, call_id)


async def test_queued_run_is_canceled_at_once(stores: Stores, stand_in: StandIn) -> None:
    call_id = await order(stores)

    assert await stores.evaluation_runs.cancel(PROJECT, call_id)

    assert await stores.evaluations.status(PROJECT, call_id) == Failed("The run was canceled by local")
    assert stand_in.requests == []


async def test_run_of_another_process_can_be_canceled(
    stores: Stores, database: Database, providers: EnvironmentProviders, stand_in: StandIn
) -> None:
    gate = Gate(stand_in, passing=3)
    call_id = await order(stores)
    elsewhere = Stores(database, providers)

    async with under_way(elsewhere, call_id):
        await until(lambda: gate.waiting > 0)
        assert await stores.evaluation_runs.cancel(PROJECT, call_id, "grace")
    gate.open.set()

    assert await stores.evaluations.status(PROJECT, call_id) == Failed("The run was canceled by grace")


async def test_refused_cancellation_has_a_reason(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    with pytest.raises(NotFoundError, match="there is no call") as unknown:
        await stores.evaluation_runs.cancel(PROJECT, ids.new_id())
    over = await order(stores, MANY[:1])
    await stores.evaluation_runs.execute(PROJECT, over)
    logged = start(1, project_id=PROJECT, op_name="Evaluation.evaluate")
    other = start(2, project_id=PROJECT)
    await stores.calls.write([logged, other])

    assert unknown.value.argument == "call_id"
    assert not await stores.evaluation_runs.cancel(PROJECT, over)
    assert isinstance(await stores.evaluations.status(PROJECT, over), Complete)
    with pytest.raises(BadInputError, match="not a run of the server; the program that logs it can end it"):
        await stores.evaluation_runs.cancel(PROJECT, str(logged.id))
    with pytest.raises(BadInputError, match="the call is not an evaluation"):
        await stores.evaluation_runs.cancel(PROJECT, str(other.id))


async def cut_off(stores: Stores, call_id: str, stand_in: StandIn, passing: int) -> None:
    """Execute a run until some requests are answered; then stop as a killed process does, without any cleanup."""
    gate = Gate(stand_in, passing)
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        with pytest.MonkeyPatch.context() as patch:

            async def die(*_: object, **__: object) -> bool:
                return True

            patch.setattr("stores.evaluations.running.store.RunLease.hand_over", die)
            work.cancel()
            await asyncio.wait({work})
    gate.open.set()
    await stores.calls.database.evaluation_runs.update_one({}, {"$unset": {"held_until": ""}})  # the lease expires


async def test_interrupted_run_resumes_without_repaying(
    stores: Stores, stand_in: StandIn, database: Database, providers: EnvironmentProviders
) -> None:
    call_id = await order(stores)
    await cut_off(stores, call_id, stand_in, passing=9)
    done = {call["id"] async for call in database.calls.find({"ended_at": {"$exists": True}})}
    assert 0 < await rows_done(database) < len(MANY)
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), StillRunning)
    before = {call["id"]: call async for call in database.calls.find({"id": {"$in": list(done)}})}

    stand_in.reply = Grader()
    await Stores(database, providers).evaluation_runs.execute(PROJECT, call_id)

    tree = await orders.tree(stores, call_id)
    assert (tree.root["status"], len(tree.rows())) == ("success", len(MANY))
    assert {call["status"] for call in tree.every()} == {"success"}
    # The new worker repeats the requests of the at most two rows that were under way at the interruption.
    assert 2 * len(MANY) < len(stand_in.requests) <= 2 * len(MANY) + 2
    assert await database.feedback.count_documents({}) == len(MANY)
    after = {call["id"]: call async for call in database.calls.find({"id": {"$in": list(done)}})}
    assert after == before
    usage = tree.root["summary"]["usage"]
    assert (usage["small"]["requests"], usage["judge"]["requests"]) == (len(MANY), len(MANY))
    assert tree.root["summary"]["status_counts"] == {"success": len(tree.every()), "error": 0}
    assert tree.root["output"]["helpfulness"]["passed"] == {"true_count": len(MANY), "true_fraction": 1.0}


@pytest.mark.parametrize(
    "summary",
    [
        {"status_counts": None, "usage": None},
        {"status_counts": {"success": "x", "error": {}}, "usage": {"small": 1}},
        {"status_counts": {"success": -1}, "usage": {"small": {"requests": 10**300}}},
    ],
)
async def test_external_writes_to_a_runs_calls_do_not_end_it(
    stores: Stores, stand_in: StandIn, database: Database, summary: Body
) -> None:
    stand_in.reply = Grader()
    call_id = await order(stores, MANY[:2])
    root = await stores.calls.one(PROJECT, call_id, ["trace_id"])
    assert root
    known = id_in_run(call_id, "0/0/predict")
    started = start(1, project_id=PROJECT, id=known, trace_id=root["trace_id"], parent_id=call_id)
    await stores.calls.write([started, CallEnd(PROJECT, known, times.now(), summary, output="A thread.")])
    await database.evaluation_runs.update_one({}, {"$set": {"takes": 1}})  # the interruption came at this moment

    await stores.evaluation_runs.execute(PROJECT, call_id)

    tree = await orders.tree(stores, call_id)
    assert (tree.root["status"], len(tree.rows())) == ("success", 2)
    assert tree.root["summary"]["usage"]["judge"]["requests"] == 2
    assert tree.root["summary"]["status_counts"]["error"] == 0


async def test_run_interrupted_at_its_end_is_finished(stores: Stores, stand_in: StandIn) -> None:
    call_id = await order(stores, MANY[:1])
    ended = {"status_counts": {"success": 1, "error": 0}}
    await stores.calls.write([CallEnd(PROJECT, call_id, times.now(), ended, output={"done": True})])

    await stores.evaluation_runs.execute(PROJECT, call_id)

    assert await has_ended(stores, call_id)
    assert await stores.evaluations.status(PROJECT, call_id) == Complete('{"done":true}')
    assert stand_in.requests == []


async def test_order_interrupted_before_its_call_exists_is_deleted(
    stores: Stores, stand_in: StandIn, database: Database
) -> None:
    call_id = await order(stores, MANY[:1])
    await database.calls.delete_many({})

    await stores.evaluation_runs.execute(PROJECT, call_id)

    assert await has_ended(stores, call_id)
    assert await database.calls.count_documents({}) == 0
    assert stand_in.requests == []


async def test_timed_out_order_creates_no_run(
    stores: Stores, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, model = await orders.evaluation(stores, []), await orders.model(stores)
    write = stores.calls.write

    async def dawdle(batch: Any) -> None:
        await database.evaluation_runs.delete_many({})  # as a worker does that found the run without a call
        await write(batch)

    monkeypatch.setattr(stores.calls, "write", dawdle)
    with pytest.raises(UnavailableError, match="the database was too slow to start the run; retry"):
        await stores.evaluation_runs.start(PROJECT, evaluation, model)

    [root] = await database.calls.find({}).to_list(None)
    assert (root["status"], root["exception"]) == ("error", "The run could not start")


async def test_stopped_worker_releases_its_run_at_once(
    stores: Stores, stand_in: StandIn, database: Database, providers: EnvironmentProviders
) -> None:
    gate = Gate(stand_in, passing=5)
    call_id = await order(stores)
    async with under_way(stores, call_id):
        await until(lambda: gate.waiting > 0)
        assert await stores.evaluation_runs.available_runs(10) == []
    gate.open.set()

    assert await stores.evaluation_runs.available_runs(10) == [(PROJECT, call_id)]
    stand_in.reply = Grader()
    await Stores(database, providers).evaluation_runs.execute(PROJECT, call_id)
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_one_of_two_workers_gets_the_run(
    stores: Stores, stand_in: StandIn, database: Database, providers: EnvironmentProviders
) -> None:
    stand_in.reply = Grader()
    call_id = await order(stores)

    both = (stores, Stores(database, providers))
    await asyncio.gather(*(each.evaluation_runs.execute(PROJECT, call_id) for each in both))

    assert len(stand_in.requests) == 2 * len(MANY)
    assert (await orders.tree(stores, call_id)).root["status"] == "success"


async def test_worker_that_lost_its_lease_stops_writing(stores: Stores, stand_in: StandIn, database: Database) -> None:
    gate = Gate(stand_in, passing=3)
    call_id = await order(stores)
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        await database.evaluation_runs.update_one({}, {"$set": {"holder": "another"}})
        await asyncio.wait_for(work, TIMEOUT)
    before: list[dict[str, Any]] | None = None
    while before != (found := [call async for call in database.calls.find({})]):
        before = found
        await asyncio.sleep(0.3)  # MongoDB completes the write that was under way
    gate.open.set()
    await asyncio.sleep(0.3)

    assert [call async for call in database.calls.find({})] == before
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), StillRunning)


class LateWrites:
    """Delays the writes of a run, or that of the end of one call, by the time in which a canceled run ends.

    The writes go on if their caller is cancelled, as a command does that the driver has sent.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, end_of: str | None = None) -> None:
        self.began = asyncio.Event()
        self.work: asyncio.Task[None] | None = None
        self._end_of = end_of
        self._arriving: list[asyncio.Task[Rejected]] = []
        write_partly = CallsStore.write_partly

        async def write(calls: CallsStore, batch: Sequence[CallWrite]) -> Rejected:
            ended = {each.id for each in batch if isinstance(each, CallEnd)}
            if self._end_of is not None and self._end_of not in ended:
                return await write_partly(calls, batch)
            self._arriving.append(asyncio.create_task(self._arrive(partial(write_partly, calls, batch))))
            return await asyncio.shield(self._arriving[-1])

        monkeypatch.setattr(CallsStore, "write_partly", write)

    async def _arrive(self, write: Callable[[], Awaitable[Rejected]]) -> Rejected:
        self.began.set()
        assert self.work
        await asyncio.wait({self.work}, timeout=2)
        return await write()

    async def finish(self) -> None:
        """Wait for the writes."""
        await asyncio.wait(self._arriving)


async def canceled_meanwhile(stores: Stores, call_id: str, writes: LateWrites) -> None:
    """Execute a run, and cancel it while such a write is under way."""
    async with under_way(stores, call_id) as writes.work:
        await asyncio.wait_for(writes.began.wait(), TIMEOUT)
        await stores.evaluation_runs.cancel(PROJECT, call_id, "ada")
        await asyncio.wait_for(writes.work, TIMEOUT)
    await writes.finish()


async def test_canceled_run_ends_a_call_whose_start_arrives_late(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = await order(stores)
    await canceled_meanwhile(stores, call_id, LateWrites(monkeypatch))

    tree = await orders.tree(stores, call_id)
    assert len(tree.rows()) > 0
    assert all("ended_at" in call for call in tree.every())
    assert await stores.evaluations.status(PROJECT, call_id) == Failed("The run was canceled by ada")


async def test_run_that_completes_while_it_is_canceled_keeps_its_result(
    stores: Stores, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.reply = Grader()
    call_id = await order(stores, MANY[:2])
    await canceled_meanwhile(stores, call_id, LateWrites(monkeypatch, end_of=call_id))

    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)
    assert await has_ended(stores, call_id)


async def test_run_lost_within_a_process_is_left_to_the_new_worker(
    stores: Stores, stand_in: StandIn, database: Database
) -> None:
    gate = Gate(stand_in, passing=3)
    call_id = await order(stores)
    async with under_way(stores, call_id) as loser:
        await until(lambda: gate.waiting > 0)
        # The lease has expired, and this worker cannot renew it before the next worker takes the run.
        await database.evaluation_runs.update_one({}, {"$set": {"holder": "nobody"}, "$unset": {"held_until": ""}})
        async with under_way(stores, call_id) as next_one:
            await asyncio.wait_for(loser, TIMEOUT)
            gate.open.set()
            await asyncio.wait_for(next_one, TIMEOUT)

    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_run_interrupted_too_often_fails(stores: Stores, stand_in: StandIn) -> None:
    call_id = await order(stores)
    runs = stores.calls.database.evaluation_runs
    await runs.update_one({}, {"$set": {"takes": MAX_TAKES_WITHOUT_PROGRESS, "vain_takes": MAX_TAKES_WITHOUT_PROGRESS}})

    await stores.evaluation_runs.execute(PROJECT, call_id)

    status = await stores.evaluations.status(PROJECT, call_id)
    assert status == Failed("The run was interrupted repeatedly without completing another row")
    assert stand_in.requests == []
    assert await has_ended(stores, call_id)


async def test_unexpected_error_ends_the_run_and_is_logged(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fall_over(_self: RowWorker) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(RowWorker, "run", fall_over)
    call_id = await order(stores)

    await stores.evaluation_runs.execute(PROJECT, call_id)

    status = await stores.evaluations.status(PROJECT, call_id)
    assert isinstance(status, Failed)
    assert status.error.startswith("Internal error; the server log has the details under ")
    assert status.error[-37:-1] in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_run_waits_for_an_unavailable_database(
    stores: Stores, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    stand_in.reply = Grader()
    call_id = await order(stores)

    async def fail(_self: RowWorker) -> Any:
        raise UnavailableError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(RowWorker, "run", fail)
        await stores.evaluation_runs.execute(PROJECT, call_id)

    assert isinstance(await stores.evaluations.status(PROJECT, call_id), StillRunning)
    assert await stores.evaluation_runs.available_runs(10) == []
    await database.evaluation_runs.update_one({}, {"$unset": {"held_until": ""}})  # the pause ends
    assert await stores.evaluation_runs.available_runs(10) == [(PROJECT, call_id)]
    await stores.evaluation_runs.execute(PROJECT, call_id)
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_dataset_deleted_after_the_order_ends_the_run_with_a_reason(stores: Stores, stand_in: StandIn) -> None:
    call_id = await order(stores)
    await stores.objects.delete(PROJECT, "questions")

    await stores.evaluation_runs.execute(PROJECT, call_id)

    status = await stores.evaluations.status(PROJECT, call_id)
    assert isinstance(status, Failed)
    assert status.error.startswith("its dataset: questions:v0 was deleted at")
    assert stand_in.requests == []


async def test_run_whose_call_is_deleted_stops_and_leaves_nothing(stores: Stores, stand_in: StandIn) -> None:
    gate = Gate(stand_in, passing=5)
    call_id = await order(stores)
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        await stores.calls.delete(PROJECT, [call_id])
        await asyncio.wait_for(work, TIMEOUT)
    gate.open.set()

    assert await has_ended(stores, call_id)
    assert await stores.evaluations.status(PROJECT, call_id) == NotFound()
    assert await stores.calls.count(PROJECT) == 0
    assert len(stand_in.requests) <= 8


@pytest.mark.timings(run_renew_seconds=60)
async def test_run_that_ends_after_its_call_is_deleted_leaves_nothing(stores: Stores, stand_in: StandIn) -> None:
    gate = Gate(stand_in, passing=5)
    call_id = await order(stores)
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        await stores.calls.delete(PROJECT, [call_id])
        gate.open.set()
        await asyncio.wait_for(work, TIMEOUT)

    assert len(stand_in.requests) == 2 * len(MANY)
    assert await has_ended(stores, call_id)
    assert await stores.calls.count(PROJECT) == 0


async def test_run_deleted_by_retention_stops_and_leaves_nothing(stores: Stores, stand_in: StandIn) -> None:
    gate = Gate(stand_in, passing=5)
    call_id = await order(stores)
    retention = RetentionStore(stores.calls.database, GracePeriods(unfinished=-5_000_000))
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        newer = start(1, project_id=PROJECT, started_at=times.now() + 9_000_000)
        await stores.calls.write([newer, end(1, project_id=PROJECT, ended_at=times.now() + 9_000_000)])
        await retention.set_rule(PROJECT, Rule(keep_calls=1))
        report = await retention.sweep(PROJECT, pause=0)
        await asyncio.wait_for(work, TIMEOUT)
    gate.open.set()

    assert report.counts.calls > 5
    assert await has_ended(stores, call_id)
    assert await stores.calls.count(PROJECT) == 1


@pytest.mark.timings(registry_lag_seconds=1, write_margin_seconds=1, run_retry_seconds=0.05)
async def test_purged_project_deletes_its_runs(stores: Stores, stand_in: StandIn, database: Database) -> None:
    gate = Gate(stand_in, passing=5)
    call_id = await order(stores)
    async with under_way(stores, call_id) as work:
        await until(lambda: gate.waiting > 0)
        report = await stores.purges.purge(PROJECT, PROJECT, seconds=60)
        await asyncio.wait_for(work, TIMEOUT)
    gate.open.set()
    await asyncio.sleep(0.2)

    assert report.is_done
    for collection in (database.evaluation_runs, database.calls, database.projects, database.objects):
        assert await collection.count_documents({}) == 0


async def follow(runs: EvaluationRunsStore, call_id: str, seen: list[Status]) -> None:
    """Add each status of a run to a list as it arrives."""
    async for status in runs.progress(PROJECT, call_id):
        seen.append(status)  # noqa: PERF401 -- an extended list has no status before the last


async def progress_of(runs: EvaluationRunsStore, call_id: str) -> list[Status]:
    return [status async for status in runs.progress(PROJECT, call_id)]


async def test_progress_is_sent_on_change_until_the_end(
    stores: Stores, stand_in: StandIn, database: Database, providers: EnvironmentProviders
) -> None:
    few, seen, permits = MANY[:3], list[Status](), threading.Semaphore(0)

    def permitted(_body: Body) -> None:
        permits.acquire(timeout=TIMEOUT)

    stand_in.reply = Grader(before=permitted)
    call_id = await order(stores, few, judged=False)
    watcher = asyncio.create_task(follow(Stores(database, providers).evaluation_runs, call_id, seen))

    async with under_way(stores, call_id) as work:
        for number in range(len(few)):
            await until(lambda: seen[-1:] == [StillRunning(number, len(few))])  # noqa: B023 -- awaited at once
            permits.release()
        await work
    await watcher

    completed = [status.completed_rows for status in seen if isinstance(status, StillRunning)]
    assert completed == sorted(set(completed))
    assert isinstance(seen[-1], Complete)
    assert await progress_of(stores.evaluation_runs, call_id) == seen[-1:]


async def test_progress_of_a_client_logged_run_is_sent(stores: Stores) -> None:
    root = start(1, project_id=PROJECT, op_name="Evaluation.evaluate")
    await stores.calls.write([root])
    seen = list[Status]()
    reading = asyncio.create_task(follow(stores.evaluation_runs, str(root.id), seen))
    await until(lambda: len(seen) == 1)
    row = start(
        2,
        project_id=PROJECT,
        op_name="Evaluation.predict_and_score",
        parent_id=root.id,
        trace_id=root.trace_id,
        inputs={"example": {"question": "Why?"}},
    )
    await stores.calls.write([row, end(2, project_id=PROJECT)])
    await until(lambda: isinstance(seen[-1], StillRunning) and seen[-1].completed_rows == 1)
    await stores.calls.write([end(1, project_id=PROJECT, output={"score": 1})])

    await reading
    first, *_, before, last = seen

    assert first == StillRunning(0, 0)
    assert isinstance(before, StillRunning)
    assert before.completed_rows == 1
    assert last == Complete('{"score":1}')


async def test_slow_progress_queries_run_less_often(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    root = start(1, project_id=PROJECT, op_name="Evaluation.evaluate")
    await stores.calls.write([root])
    looks: list[float] = []
    look = EvaluationsStore.status

    async def look_slowly(*question: Any) -> Status:
        looks.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.3)
        return await look(*question)

    monkeypatch.setattr(EvaluationsStore, "status", look_slowly)
    watcher = asyncio.create_task(progress_of(stores.evaluation_runs, str(root.id)))
    await until(lambda: len(looks) == 3)
    watcher.cancel()

    assert looks[2] - looks[1] >= 5 * 0.3


async def test_progress_of_a_missing_run_is_an_error(stores: Stores) -> None:
    other = start(2, project_id=PROJECT)
    await stores.calls.write([other])

    assert await progress_of(stores.evaluation_runs, ids.new_id()) == [NotFound()]
    with pytest.raises(BadInputError, match="the call is not an evaluation"):
        await progress_of(stores.evaluation_runs, str(other.id))


async def test_progress_subscriber_is_notified_of_shutdown(stores: Stores) -> None:
    call_id = await order(stores)
    watcher = asyncio.create_task(progress_of(stores.evaluation_runs, call_id))
    await asyncio.sleep(0.2)

    await stores.close()

    with pytest.raises(UnavailableError, match="the server is shutting down"):
        await asyncio.wait_for(watcher, TIMEOUT)
    await until_found(lambda: stores.evaluation_runs.available_runs(1))
