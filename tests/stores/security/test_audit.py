"""Tests that the audit log has every deletion, even if the operation fails midway or its response is lost."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from stores import times
from stores.calls import CallsStore, store
from stores.calls.store import write_updates
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.database.paced_steps import WorkSteps
from stores.errors import StoreError, UnavailableError
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from stores.purges import PurgesStore
from stores.retention import Outcome, RetentionStore, Rule
from stores.retention.rules import DAY
from stores.retention.sweep import Sweep
from tests.stores.calls.builders import PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.feedback.builders import note
from tests.stores.feedback.test_purging import by_id
from tests.stores.objects.builders import version

Entry = tuple[str, dict[str, Any]]
Work = Callable[..., Awaitable[Any]]


def entries(caplog: pytest.LogCaptureFixture) -> list[Entry]:
    """Return the action and the detail of each audit entry, and clear the log."""
    logged = [json.loads(record.getMessage()) for record in caplog.records if record.name == "loomql.audit"]
    caplog.clear()
    return [(entry["action"], entry["detail"]) for entry in logged]


def losing_its_answer(work: Work) -> Work:
    """Return a function that does the work and then raises a connection error."""

    async def do(*arguments: object, **how: object) -> None:
        await work(*arguments, **how)
        raise AutoReconnect("connection closed")

    return do


async def test_delete_that_fails_midway_is_logged(
    calls: CallsStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(1), start(2, parent_id=call_id(1), trace_id=trace_id(1))])
    monkeypatch.setattr(store, "write_updates", losing_its_answer(write_updates))

    with pytest.raises(UnavailableError):
        await calls.delete(PROJECT, [call_id(1)])

    assert await calls.count(PROJECT) == 0
    assert entries(caplog) == [("calls.delete", {"call_ids": [call_id(1)]})]


async def test_purge_with_a_lost_response_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, feedback = CostsStore(database), FeedbackStore(database)
    [cost_id] = await costs.create(PROJECT, [NewCost("m", 1e-6, 2e-6, effective_date=0)])
    await feedback.create([note(id="old")])
    for collection in (costs._documents, feedback._documents):
        monkeypatch.setattr(collection, "delete_many", losing_its_answer(collection.delete_many))

    for purge in (costs.purge(PROJECT, by_id(cost_id)), feedback.purge(PROJECT, by_id("old"))):
        with pytest.raises(UnavailableError):
            await purge

    assert await feedback.count(PROJECT) == 0
    assert entries(caplog) == [("cost.purge", {"ids": [cost_id]}), ("feedback.purge", {"ids": ["old"]})]


async def test_transaction_with_a_lost_response_is_logged(
    database: Database, objects: ObjectsStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback, purges = FeedbackStore(database), PurgesStore(database)
    await objects.create(version(object_id="prompt"))
    await feedback.create([note(id="old")])
    monkeypatch.setattr(database, "transaction", losing_its_answer(database.transaction))

    for change in (
        objects.delete(PROJECT, "prompt"),
        feedback.replace("old", note(id="new")),
        RetentionStore(database).set_rule(PROJECT, Rule(keep_days=3)),
        purges.purge(PROJECT, PROJECT),
    ):
        with pytest.raises(UnavailableError):
            await change

    assert await purges.unfinished() == [PROJECT]
    assert entries(caplog) == [
        ("object.delete", {"object_id": "prompt", "digests": "all"}),
        ("feedback.replace", {"id": "old", "by": "new"}),
        ("retention.set", {"keep_days": 3, "keep_calls": None}),
        ("project.purge", {}),
    ]


async def test_delete_of_an_object_and_an_op_is_logged_for_each(
    objects: ObjectsStore, caplog: pytest.LogCaptureFixture
) -> None:
    await objects.create(version(1, object_id="prompt"))
    op = await objects.create(version({"_type": "Op"}, object_id="prompt"))

    assert await objects.delete(PROJECT, "prompt", ["v0", op]) == 2

    of_object, of_op = ({"object_id": "prompt", "digests": digests} for digests in (["v0"], [op]))
    assert entries(caplog) == [
        ("object.delete", of_object),
        ("op.delete", of_op),
        ("object.deleted", of_object | {"num_deleted": 1}),
        ("op.deleted", of_op | {"num_deleted": 1}),
    ]


@pytest.fixture
async def swept(calls: CallsStore) -> RetentionStore:
    """Write a call older than the project's retention rule, and return the store of retention."""
    began = times.now() - 9 * DAY
    await calls.write([start(1, started_at=began), end(1, ended_at=began + SECOND)])
    retention = RetentionStore(calls.database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    return retention


def sweeps(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """Return the outcome and the number of deleted calls of each logged sweep."""
    return [(detail["outcome"], detail["calls"]) for action, detail in entries(caplog) if action == "retention.sweep"]


async def test_failed_sweep_logs_what_it_deleted(
    swept: RetentionStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "remove_tombstones", failing_steps)
        with pytest.raises(StoreError, match="told by a test"):
            await swept.sweep(PROJECT, pause=0)
    assert sweeps(caplog) == [("failed", 1)]

    await swept.sweep(PROJECT, pause=0)
    await swept.set_rule(PROJECT, Rule())

    assert sweeps(caplog) == []


async def failing_steps(_: Sweep) -> WorkSteps:
    raise StoreError("told by a test")
    yield


async def cut_off(swept: RetentionStore) -> Sweep:
    """Return the lease of a sweep that has deleted seven calls and stops there."""
    hold = Sweep(swept.database, PROJECT)
    assert await hold.start()
    await hold.advance(counts={"sweep.calls": 7})
    return hold


async def test_dead_sweepers_work_is_logged_when_another_rule_stops_it(
    swept: RetentionStore, caplog: pytest.LogCaptureFixture
) -> None:
    await cut_off(swept)

    await swept.set_rule(PROJECT, Rule())

    assert sweeps(caplog) == [("stopped", 7)]


async def test_unlogged_work_of_a_dead_sweeper_is_logged_by_the_next(
    swept: RetentionStore, caplog: pytest.LogCaptureFixture
) -> None:
    hold = await cut_off(swept)
    await hold.finish()

    report = await swept.sweep(PROJECT, pause=0)

    assert (report.outcome, report.counts.calls) == (Outcome.DONE, 1)
    assert sweeps(caplog) == [("done", 7), ("done", 1)]
