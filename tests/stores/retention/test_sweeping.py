"""Tests of sweeps with concurrent writers, sweepers and changes of rules, without a database, and after crashes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.database.leases import LeaseLostError
from stores.database.transactions import Session
from stores.errors import BadInputError, NotFoundError, UnavailableError
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.projects import ProjectsStore
from stores.retention import Counts, GracePeriods, Outcome, RetentionStore, Rule
from stores.retention.rules import DAY
from stores.retention.sweep import BATCH_SIZE, Sweep
from stores.threads import ThreadsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.feedback.builders import call_ref, feedback
from tests.stores.retention.model import contents

ALL: dict[str, Any] = {"trace_id": trace_id(0)}
MANY = 2 * BATCH_SIZE + 30


@pytest.fixture
def retention(database: Database) -> RetentionStore:
    """Return a store of retention over `database`."""
    return RetentionStore(database)


async def log(calls: CallsStore, numbers: range, days_ago: float, **place: Any) -> None:
    """Write calls of one second that began `days_ago`, each in its own trace unless `place` says otherwise."""
    began = times.now() - int(days_ago * DAY)
    await calls.write([start(number, started_at=began + number, **place) for number in numbers])
    await calls.write([end(number, ended_at=began + number + SECOND) for number in numbers])


def doing_meanwhile(monkeypatch: pytest.MonkeyPatch, deed: Callable[[int], Awaitable[object]]) -> None:
    """Run `deed` with the step's number after each step has removed calls of traces and before it commits."""
    remove = Sweep.remove_calls
    steps: list[None] = []

    async def then_do(sweep: Sweep, session: Session, call_ids: Sequence[str], counts: dict[str, int]) -> None:
        await remove(sweep, session, call_ids, counts)
        if "hidden_calls" not in counts:
            steps.append(None)
            await deed(len(steps))

    monkeypatch.setattr(Sweep, "remove_calls", then_do)


async def test_trace_with_a_new_call_during_deletion_is_kept(
    retention: RetentionStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(calls, range(3), 9, **ALL)
    await log(calls, range(10, 13), 8)

    async def add_a_child(step: int) -> None:
        if step == 1:
            await log(calls, range(3, 4), 0, **ALL, parent_id=call_id(0))

    doing_meanwhile(monkeypatch, add_a_child)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    report = await retention.sweep(PROJECT, pause=0)

    assert (report.counts.traces, report.counts.calls) == (3, 3)
    rows = [await calls.one(PROJECT, call_id(number), ["id"]) for number in range(4)]
    assert rows == [{"id": call_id(number)} for number in range(4)]


async def test_end_written_during_deletion_creates_no_call(
    retention: RetentionStore, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(1, started_at=times.now() - 9 * DAY)])
    ends: list[asyncio.Future[None]] = []

    async def end_it(_step: int) -> None:
        ends.append(asyncio.ensure_future(calls.write([end(1, ended_at=times.now())])))
        await asyncio.sleep(0.1)

    doing_meanwhile(monkeypatch, end_it)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    assert (await retention.sweep(PROJECT, pause=0)).counts.calls == 1
    await asyncio.gather(*ends)

    # The remaining document is an end without a start, which a sweep deletes once it has waited long enough
    # for a start.
    assert await calls.count(PROJECT) == 0
    assert len((await contents(database, PROJECT)).calls) == 1
    await retention.sweep(PROJECT, pause=0)
    impatient = RetentionStore(database, GracePeriods(deleted=-1))
    assert (await impatient.sweep(PROJECT, pause=0)).counts.hidden_calls == 1
    assert (await contents(database, PROJECT)).calls == {}


async def test_feedback_written_during_deletion_is_deleted(
    retention: RetentionStore, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(calls, range(1, 2), 9)

    async def speak(step: int) -> None:
        if step == 1:
            await FeedbackStore(database).create([feedback(), feedback()])

    doing_meanwhile(monkeypatch, speak)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    report = await retention.sweep(PROJECT, pause=0)

    assert report.counts.feedback == 2
    assert (await contents(database, PROJECT)).feedback == {}


async def test_call_rewritten_during_deletion_is_kept(
    retention: RetentionStore, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(calls, range(1, 2), 9)
    remove_late_feedback = Sweep._remove_late_feedback

    async def write_anew(sweep: Sweep, call_ids: list[str]) -> None:
        await log(calls, range(1, 2), 4)
        await FeedbackStore(database).create([feedback()])
        await remove_late_feedback(sweep, call_ids)

    monkeypatch.setattr(Sweep, "_remove_late_feedback", write_anew)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    report = await retention.sweep(PROJECT, pause=0)

    assert (report.counts.calls, report.counts.feedback) == (1, 0)
    found = await contents(database, PROJECT)
    assert (len(found.calls), len(found.feedback)) == (1, 1)


async def test_large_trace_with_a_new_call_during_the_check_is_kept(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(calls, range(6), 9, **ALL)
    advance = Sweep.advance

    async def add_a_child_first(hold: Sweep, changes: Any = None, *others: Any, **named: Any) -> None:
        if changes and changes.get("doomed") and await calls.count(PROJECT) == 6:
            await log(calls, range(6, 7), 0, **ALL, parent_id=call_id(0))
        await advance(hold, changes, *others, **named)

    monkeypatch.setattr(Sweep, "advance", add_a_child_first)
    retention = RetentionStore(database, large=3)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    report = await retention.sweep(PROJECT, pause=0)

    assert (report.counts.traces, report.counts.calls) == (0, 0)
    assert await calls.count(PROJECT) == 7


@pytest.mark.parametrize("rule", [Rule(), Rule(keep_days=30)])
async def test_changed_rule_stops_the_sweep_at_once(
    retention: RetentionStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch, rule: Rule
) -> None:
    await log(calls, range(MANY), 9)

    changes: list[asyncio.Future[object]] = []

    async def change(step: int) -> None:
        if step == 2:  # the change waits until this step ends
            changes.append(asyncio.ensure_future(retention.set_rule(PROJECT, rule)))
            await asyncio.sleep(0.05)

    doing_meanwhile(monkeypatch, change)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    # The pauses are several times as long as a step, so that the waiting change gets to retry within one.
    await retention.sweep(PROJECT, pause=4)
    await asyncio.gather(*changes)

    found = await retention.one(PROJECT)
    assert found
    assert found.report
    report = found.report
    assert await calls.count(PROJECT) == MANY - 2 * BATCH_SIZE
    assert report.counts.calls == 2 * BATCH_SIZE
    assert (report.outcome, report.error) == (Outcome.STOPPED, "the rule was changed")
    assert report.ended_at is not None
    assert await retention.due() == ([PROJECT] if rule else [])


async def test_rule_removed_within_a_step_undoes_the_step(
    retention: RetentionStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(calls, range(9), 9)
    advance = Sweep.advance
    taken: list[None] = []

    async def take_back_first(hold: Sweep, *arguments: Any, **changes: Any) -> None:
        if not taken:
            taken.append(None)
            await retention.set_rule(PROJECT, Rule())
        await advance(hold, *arguments, **changes)

    monkeypatch.setattr(Sweep, "advance", take_back_first)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    report = await retention.sweep(PROJECT, pause=0)

    assert (await calls.count(PROJECT), report.counts.calls, report.outcome) == (9, 0, Outcome.STOPPED)
    found = await retention.one(PROJECT)
    assert found
    assert (found.rule, found.due_at) == (Rule(), None)


async def test_concurrent_sweeps_are_one(retention: RetentionStore, calls: CallsStore, database: Database) -> None:
    await log(calls, range(MANY), 9)
    await FeedbackStore(database).create([feedback(weave_ref=call_ref(number)) for number in range(100)])
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    reports = await asyncio.gather(*(RetentionStore(database).sweep(PROJECT, pause=0) for _ in range(4)))

    outcomes = [report.outcome for report in reports]
    assert Outcome.DONE in outcomes
    assert set(outcomes) <= {Outcome.DONE, Outcome.RUNNING}
    last = await retention.one(PROJECT)
    assert last
    assert last.report
    removed = [report.counts for report in reports if report.outcome is Outcome.DONE]
    assert Counts(traces=MANY, calls=MANY, feedback=100, trace_bytes=MANY * 10) in removed
    assert (await contents(database, PROJECT)).keys["feedback"] == set()


async def test_abandoned_sweep_resumes_with_its_counts(
    retention: RetentionStore, calls: CallsStore, database: Database
) -> None:
    await log(calls, range(MANY), 9)
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    first = await retention.sweep(PROJECT, seconds=0.001, pause=0)
    assert first.outcome is Outcome.RUNNING
    assert await retention.due() == [PROJECT]
    # A sweeper that died has left its name and its lease.
    dead = {"holder": "dead", "held_until": None}
    await database.retention.update_one({"_id": PROJECT}, {"$set": dead})
    done = await retention.sweep(PROJECT, pause=0)

    assert (done.outcome, done.counts.calls, done.started_at) == (Outcome.DONE, MANY, first.started_at)
    assert await calls.count(PROJECT) == 0
    assert await retention.due() == []


async def test_sweeper_that_lost_its_lease_deletes_nothing_more(calls: CallsStore, database: Database) -> None:
    await log(calls, range(9), 9)
    await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=5))
    slow = Sweep(database, PROJECT, lease_seconds=0)
    assert await slow.start()
    assert await Sweep(database, PROJECT).start()

    with pytest.raises(LeaseLostError):
        await slow.advance(counts={"sweep.calls": 1})
    await slow.finish()
    found = await RetentionStore(database).one(PROJECT)
    assert found
    assert found.report
    assert (found.report.outcome, found.report.counts) == (Outcome.RUNNING, Counts())


async def test_partly_deleted_large_trace_keeps_only_later_calls(calls: CallsStore, database: Database) -> None:
    await log(calls, range(1), 9, **ALL)
    await log(calls, range(1, MANY), 9, **ALL, parent_id=call_id(0))
    retention = RetentionStore(database, large=100)
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    first = await retention.sweep(PROJECT, seconds=0.001, pause=0)
    while first.counts.calls == 0:
        first = await retention.sweep(PROJECT, seconds=0.001, pause=0)
    root = await calls.one(PROJECT, call_id(0), ["id"])
    await log(calls, range(MANY, MANY + 1), 0, **ALL, parent_id=call_id(0))
    done = await retention.sweep(PROJECT, pause=0)

    assert first.counts.calls < MANY
    assert root == {"id": call_id(0)}  # the sweep deletes the latest calls first
    assert (done.counts.traces, done.counts.calls) == (1, MANY)
    assert {call["id"] for call in (await contents(database, PROJECT)).calls.values()} == {call_id(MANY)}


async def test_sweep_waits_for_running_calls_and_rootless_traces(retention: RetentionStore, calls: CallsStore) -> None:
    await log(calls, range(5), 0.5)  # finished, and over the limit
    await calls.write([start(10, started_at=times.now() - DAY // 2)])
    await log(calls, range(11, 12), 0.5, parent_id=call_id(99))
    await calls.write([start(12, started_at=times.now() - 2 * DAY)])  # this call will never end
    await log(calls, range(13, 14), 2, parent_id=call_id(99))
    await log(calls, range(20, 21), 0)

    await retention.set_rule(PROJECT, Rule(keep_calls=1))
    await retention.sweep(PROJECT, pause=0)

    left = [number for number in range(30) if await calls.one(PROJECT, call_id(number), ["id"])]
    assert left == [10, 11, 20]


async def test_age_of_a_call_is_counted_from_its_end(retention: RetentionStore, calls: CallsStore) -> None:
    began = times.now() - 9 * DAY
    await calls.write([start(1, started_at=began), end(1, ended_at=began + 6 * DAY)])

    await retention.set_rule(PROJECT, Rule(keep_days=5))
    assert (await retention.sweep(PROJECT, pause=0)).counts.calls == 0
    await retention.set_rule(PROJECT, Rule(keep_days=2))
    assert (await retention.sweep(PROJECT, pause=0)).counts.calls == 1


async def test_sweep_updates_threads_and_sizes_and_spares_other_projects(
    retention: RetentionStore, calls: CallsStore, database: Database
) -> None:

    for number in range(4):
        began = times.now() - (9 - number * 2) * DAY
        turn = start(number, started_at=began, thread_id="talk", turn_id=call_id(number), inputs={"n": number})
        await calls.write([turn, end(number, ended_at=began + SECOND)])
        await calls.write([start(number, project_id="acme/other", started_at=began)])

    await retention.set_rule(PROJECT, Rule(keep_days=4))
    await retention.sweep(PROJECT, pause=0)

    page = await ThreadsStore(database).page(PROJECT, PageRequest(), ["thread_id", "turn_count"])
    assert [(row["thread_id"], row["turn_count"]) for row in page.rows] == [("talk", 1)]
    sizes = await ProjectsStore(database).sizes([PROJECT], frozenset({"trace_storage_size_bytes"}))
    assert sizes == {PROJECT: {"trace_storage_size_bytes": len('{}{"n": 3}null{}')}}
    assert await calls.count("acme/other") == 4


async def test_missing_database_is_unavailable() -> None:
    away = Database.open("mongodb://127.0.0.1:9", "none", timeout_seconds=0.1)
    retention = RetentionStore(away)

    for operation in (
        retention.one(PROJECT),
        retention.all(),
        retention.due(),
        retention.preview(PROJECT, Rule(1), {"calls"}),
        retention.set_rule(PROJECT, Rule(1)),
        retention.sweep(PROJECT),
    ):
        with pytest.raises(UnavailableError):
            await operation
    away.close()


async def test_invalid_rules_are_refused(retention: RetentionStore, calls: CallsStore) -> None:
    await log(calls, range(1), 9)
    for rule, argument in ((Rule(-1), "keep_days"), (Rule(0), "keep_days"), (Rule(1, -5), "keep_calls")):
        for operation in (retention.set_rule(PROJECT, rule), retention.preview(PROJECT, rule, {"calls"})):
            with pytest.raises(BadInputError, match="is out of range; send 1 to") as caught:
                await operation
            assert caught.value.argument == argument
    with pytest.raises(BadInputError, match="no rule; state how many days"):
        await retention.preview(PROJECT, Rule(), {"calls"})
    with pytest.raises(BadInputError, match="has no rule; set one with retentionSet"):
        await retention.sweep(PROJECT)
    for unknown in (
        retention.set_rule("acme/typo", Rule(1)),
        retention.preview("acme/typo", Rule(1), {"calls"}),
        retention.sweep("acme/typo"),
    ):
        with pytest.raises(NotFoundError, match="project acme/typo does not exist"):
            await unknown
    assert await retention.one("acme/typo") is None
    assert await calls.count(PROJECT) == 1


async def test_calls_within_retention_are_not_read(
    retention: RetentionStore, calls: CallsStore, database: Database, commands: Commands
) -> None:
    await log(calls, range(20), 9)
    await log(calls, range(20, 800), 1)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    commands.sent.clear()

    await retention.sweep(PROJECT, pause=0)

    by_id = [each for _, body in commands.sent if body.get("delete") == "calls" for each in body["deletes"]]
    assert {each.get("hint") for each in by_id} == {"_id_"}
    sent = [body for name, body in commands.sent if name == "aggregate" and body.get("hint") not in (None, "_id_")]
    assert len(sent) == 2
    for body in sent:
        command = {name: body[name] for name in ("aggregate", "pipeline", "hint")} | {"cursor": {}}
        plan = await database.calls.database.command("explain", command, verbosity="executionStats")
        examined = re.findall(r"'totalKeysExamined': (\d+)", str(plan))
        assert int(examined[0]) <= 60
