"""Tests that old calls get the fields of new ones, despite crashes, concurrent processes and concurrent writes."""

import asyncio
import json
import logging
import random
import signal
import sys
from contextlib import aclosing
from typing import Any

import pytest
from pymongo import UpdateOne

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.documents import DERIVED_FIELDS
from stores.database import Database, Document
from stores.migrations.calls_backfill import CallsBackfill
from stores.otel import OtelStore, Projects
from stores.paging import PageRequest
from stores.projects import ProjectsStore
from stores.query.sort import SortBy
from stores.tables.documents import RowContent
from stores.threads import ThreadsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.otel.messages import body, span
from tests.waiting import TIMEOUT

ROW = f"weave:///{PROJECT}/object/Questions:{'a' * 43}/attr/rows/id/{'B' * 43}"
SIZES = frozenset({"trace_storage_size_bytes", "objects_storage_size_bytes", "tables_storage_size_bytes"})
COUNTS: tuple[dict[str, Any], ...] = (
    {"prompt_tokens": 120, "completion_tokens": 30, "requests": 1},
    {"input_tokens": 7, "output_tokens": 5.0, "total_tokens": 12},
    {"prompt_tokens": 2**70, "completion_tokens": -3, "total_tokens": None},
    {},
)
SUMMARIES: tuple[dict[str, Any], ...] = (
    *({"usage": {"gpt-4o": counts}} for counts in COUNTS),
    {"usage": {"claude": {"input_tokens": 21, "cache_read_input_tokens": 1000, "output_tokens": 9}}},
    {"usage": {"gpt-4o": COUNTS[0], 'odd."usage":$': COUNTS[1]}, "status_counts": {"success": 3, "error": 0}},
    {"usage": {"gpt-4o-mini": COUNTS[0]}, "status_counts": {"success": 1}},
    {"usage": {}},
    {"usage": [COUNTS[0]]},
    {"of": {"usage": {"gpt-4o": COUNTS[0]}}, "$text": '"usage":'},
    {},
)
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    {},
    {"weave": {"kind": "agent", "source": "python-sdk"}},
    {"weave": {"source": "js-sdk"}, "user_id": "eve", "tags": ["a"], "environment": "test", "release": "1"},
    {"kind": "llm", "provider": "OpenAI", "gen_ai.request.model": "gpt-4o", "time_to_first_token_ms": 2},
    {
        "otel_span": {
            "attributes": {
                "openinference": {"span": {"kind": "LLM"}},
                "llm": {"model_name": "m"},
                "user": {"id": "$u"},
            },
            "resource": {"attributes": {"service": {"version": "2"}}},
            "status": {"code": "ERROR"},
            "events": [{"name": "exception", "attributes": {"exception": {"type": "a.B"}}}],
        }
    },
)


def parts_of(number: int, rng: random.Random) -> list[CallStart | CallEnd]:
    """Return a random call: a turn, a step or neither, perhaps with usage, and perhaps only its start or end.

    Some calls are predictions of an evaluation.
    """
    turns = rng.choice((None, "", call_id(number), call_id(number + 1)))
    started: CallStart | CallEnd = start(
        number,
        thread_id=rng.choice((None, "", "talk", "$talk")),
        turn_id=turns,
        op_name=rng.choice(("answer", "openai.chat.completions.create", "Evaluation.predict_and_score")),
        attributes=rng.choice(ATTRIBUTES),
        inputs=rng.choice(({}, {"example": None}, {"example": {"question": "ü", "n": 2**70}}, {"example": ROW})),
    )
    ended: CallStart | CallEnd = end(
        number,
        summary=rng.choice(SUMMARIES),
        output=rng.choice((None, {"stop_reason": "max_tokens", "model": "claude-1"}, {"$a": [1]})),
        exception=rng.choice((None, None, "ValueError: no")),
    )
    return rng.choice(([started], [ended], [started, ended], [started, ended], [started, ended]))


async def fill(database: Database, count: int = 100, seed: int = 6) -> dict[str, Document]:
    """Write calls as today's version does, and return all their documents."""
    rng = random.Random(seed)
    calls = CallsStore(database)
    await calls.write([part for number in range(count) for part in parts_of(number, rng)])
    await calls.delete(PROJECT, [call_id(number) for number in range(0, count, 9)])
    documents = await all_calls(database)
    assert all(any(name in document for document in documents.values()) for name in DERIVED_FIELDS)
    return documents


async def all_calls(database: Database) -> dict[str, Document]:
    return {document["_id"]: document async for document in database.calls.find(sort=[("_id", 1)])}


async def age(database: Database, *names: str) -> None:
    """Remove the fields that older versions did not store."""
    await database.calls.update_many({}, {"$unset": dict.fromkeys(names or DERIVED_FIELDS, "")})
    await database.upgrades.delete_many({})


async def finish(upgrade: CallsBackfill) -> None:
    async with asyncio.timeout(TIMEOUT):
        while progress := await upgrade.advance():
            if not progress.is_ours:
                await asyncio.sleep(0.01)


async def answers(database: Database) -> list[object]:
    """Return the threads, the calls by most tokens and by highest cost, and the sizes of the project."""
    calls, threads = CallsStore(database), ThreadsStore(database)
    of_threads = ("thread_id", "turn_count", "last_updated", "p99_turn_duration_ms")
    return [
        (await threads.page(PROJECT, PageRequest(size=100), of_threads)).rows,
        *[
            (await calls.page(PROJECT, PageRequest(size=1000), ["id", "total_tokens"], None, [by, SortBy("id")])).rows
            for by in (SortBy("total_tokens", descending=True), SortBy("total_cost", descending=True))
        ],
        await ProjectsStore(database).sizes([PROJECT], SIZES),
    ]


@pytest.mark.parametrize("step", [1, 7, 100, 1000])
async def test_old_calls_get_all_fields_of_new_ones(database: Database, step: int) -> None:
    fresh = await fill(database)
    expected = await answers(database)
    await age(database)
    assert await answers(database) != expected

    await finish(CallsBackfill(database, step))

    assert await all_calls(database) == fresh
    assert await answers(database) == expected


async def test_turn_and_usage_are_backfilled(database: Database) -> None:
    calls = CallsStore(database)
    counts = {"status_counts": {"success": 2}, "usage": {"gpt-4o": COUNTS[0]}}
    predicted = {"op_name": "Evaluation.predict_and_score", "inputs": {"example": {"question": "Why?"}}}
    await calls.write([start(1, thread_id="talk", turn_id=call_id(1), **predicted), end(1, summary=counts)])
    await age(database)

    await finish(CallsBackfill(database))

    [call] = (await all_calls(database)).values()
    derived = {name: call[name] for name in DERIVED_FIELDS if name in call}
    counted = {"prompt_tokens": 120, "completion_tokens": 30, "requests": 1, "total_tokens": 150}
    assert derived == {
        "kind": "evaluator",
        "start_columns": {"kind": "evaluator"},
        "turn_of": "talk",
        "usage": [{"model": "gpt-4o", **counted, "total_is_sum": True}],
        "total_tokens": 150,
        "usage_scope": "sum",
        "example_digest": RowContent.of({"question": "Why?"}, "row").digest,
    }


async def test_old_calls_get_threads_from_their_attributes(database: Database) -> None:
    session: dict[str, Any] = {"attributes": {"session_id": "talk"}}
    calls = CallsStore(database)
    parts = [start(1, **session), start(2, **session, parent_id=call_id(1)), start(3, **session, thread_id="other")]
    await calls.write([*parts, end(1), end(2)])
    fresh = await all_calls(database)
    threads = await answers(database)
    await database.calls.update_many({"thread_id": "talk"}, {"$unset": {"thread_id": "", "turn_id": ""}})
    await age(database)

    await finish(CallsBackfill(database, 1))
    await database.upgrades.delete_many({})
    await finish(CallsBackfill(database, 1))

    assert await all_calls(database) == fresh
    assert await answers(database) == threads
    assert [call.get("thread_id") for call in fresh.values()] == ["talk", "talk", "other"]
    assert [call.get("turn_id") for call in fresh.values()] == [call_id(1), None, None]


async def test_calls_without_token_classes_get_them_from_summaries(database: Database) -> None:
    claude = {"input_tokens": 21, "cache_read_input_tokens": 1000, "output_tokens": 9}
    await CallsStore(database).write([start(1), end(1, summary={"usage": {"claude": claude}})])
    plain = {"model": "claude", "requests": 0, "total_is_sum": True, "completion_tokens": 9}
    older = {**plain, "prompt_tokens": 21, "total_tokens": 30}
    await database.calls.update_many({}, {"$set": {"usage": [older], "total_tokens": 30}})

    await finish(CallsBackfill(database))

    [call] = (await all_calls(database)).values()
    newer = {**plain, "prompt_tokens": 1021, "total_tokens": 1030, "classes": {"cache_read": 1000}}
    assert (call["usage"], call["total_tokens"], call["usage_scope"]) == ([newer], 1030, "unclear")
    assert json.loads(call["json"]["summary"]) == {"usage": {"claude": claude}}


@pytest.mark.parametrize("scope", ["sum", "unclear"])
async def test_span_calls_get_token_classes_and_keep_their_usage_scope(database: Database, scope: str) -> None:
    counts = {"gen_ai.usage.input_tokens": 500, "gen_ai.usage.output_tokens": 9}
    attributes = counts | {"gen_ai.usage.cache_read.input_tokens": 400, "gen_ai.request.model": "gpt-4o"}
    await OtelStore(CallsStore(database)).export_protobuf(body(span(1, attributes)), Projects(PROJECT))
    [fresh] = (await all_calls(database)).values()
    summary = {"usage": {"gpt-4o": {"input_tokens": 500, "output_tokens": 9, "total_tokens": 509}}}
    entry = {"model": "gpt-4o", "prompt_tokens": 500, "completion_tokens": 9, "requests": 0, "total_tokens": 509}
    older = {"usage": [entry], "usage_scope": scope, "json.summary": json.dumps(summary, separators=(",", ":"))}
    await database.calls.update_many({}, {"$set": older})

    await finish(CallsBackfill(database))

    [call] = (await all_calls(database)).values()
    newer = entry | {"classes": {"cache_read": 400}}
    assert fresh["usage"] == [newer]
    assert call["usage"] == [newer | ({"sums_up": True} if scope == "sum" else {})]
    assert (call["usage_scope"], json.loads(call["json"]["summary"])) == (scope, summary)


async def test_span_with_a_rewritten_summary_keeps_its_usage(database: Database) -> None:
    attributes = {"gen_ai.usage.input_tokens": 500, "gen_ai.usage.cache_read.input_tokens": 400}
    calls = CallsStore(database)
    await OtelStore(calls).export_protobuf(body(span(1, attributes)), Projects(PROJECT))
    [exported] = (await all_calls(database)).values()
    anew = {"usage": {"usage": {"input_tokens": 7}}}
    await calls.write([CallEnd(PROJECT, exported["id"], exported["ended_at"], anew)])
    fresh = await all_calls(database)
    await age(database)

    await finish(CallsBackfill(database))

    assert await all_calls(database) == fresh
    assert fresh[exported["_id"]]["usage"][0]["prompt_tokens"] == 7


async def test_partial_and_wrong_fields_are_repaired(database: Database) -> None:
    fresh = await fill(database)
    await age(database, "usage_scope", "turn_of")
    await database.calls.update_many({"total_tokens": 150}, {"$set": {"total_tokens": 1}})
    await database.calls.update_many({"thread_id": {"$exists": False}}, {"$set": {"turn_of": "nowhere"}})

    await finish(CallsBackfill(database))

    assert await all_calls(database) == fresh


async def test_new_database_is_marked_and_later_starts_read_only_the_mark(
    database: Database, commands: Commands
) -> None:
    first = CallsBackfill(database)
    progress = await first.advance()
    assert progress is not None
    assert (progress.looked_at, progress.is_ours, await first.advance()) == (0, True, None)
    await fill(database)
    commands.sent.clear()

    assert await CallsBackfill(database).advance() is None

    assert [(name, body["find"]) for name, body in commands.sent] == [("find", "upgrades")]


async def test_command_count_of_a_step_does_not_depend_on_its_calls(database: Database, commands: Commands) -> None:
    await fill(database)
    counts = []
    for step in (20, 50):
        await age(database)
        upgrade = CallsBackfill(database, step)
        await upgrade.advance()
        commands.sent.clear()
        await upgrade.advance()
        counts.append(commands.names)

    assert counts[0] == counts[1]
    assert len(counts[0]) == 14


async def test_backfill_resumes_after_a_kill(mongodb_uri: str, database: Database) -> None:
    fresh = await fill(database)
    await age(database)
    script = """
import asyncio, os, signal, sys
from stores.database import Database
from stores.migrations.calls_backfill import CallsBackfill
async def run():
    upgrade = CallsBackfill(Database.open(sys.argv[1], sys.argv[2], timeout_seconds=60), step=5, lease_seconds=1)
    while progress := await upgrade.advance():
        print(progress.looked_at, flush=True)
        if progress.looked_at == 20:
            asyncio.get_running_loop().call_later(0.005, os.kill, os.getpid(), signal.SIGKILL)
asyncio.run(run())
"""
    name = database.calls.database.name
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, mongodb_uri, name, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    printed = [int(await child.stdout.readline()) for _ in range(4)]
    assert await child.wait() == -signal.SIGKILL
    killed = await all_calls(database)

    later = CallsBackfill(database, step=50)
    first = await later.advance()
    await finish(later)

    assert printed == [5, 10, 15, 20]
    assert fresh != killed
    assert {key for key in killed if killed[key] == fresh[key]} >= set(sorted(fresh)[:20])
    assert first is not None
    assert 20 <= first.looked_at < len(fresh)
    state = await database.upgrades.find_one()
    assert state is not None
    assert (state["looked_at"], state["is_done"]) == (len(fresh), True)
    assert await all_calls(database) == fresh


class Killed(CallsBackfill):
    """An upgrade that stops after it writes to calls and before it stores its progress."""

    async def _write(self, *arguments: Any) -> int:
        await super()._write(*arguments)
        raise InterruptedError


async def test_interrupted_step_is_repeated(database: Database) -> None:
    fresh = await fill(database)
    await age(database)
    with pytest.raises(InterruptedError):
        await Killed(database, lease_seconds=0).advance()

    later = CallsBackfill(database)
    first = await later.advance()
    await finish(later)

    assert first is not None
    assert first.looked_at == len(fresh)
    assert await all_calls(database) == fresh


async def test_one_of_two_processes_works_and_the_other_sees_progress(database: Database) -> None:
    fresh = await fill(database)
    await age(database)
    one, other = CallsBackfill(database, step=30), CallsBackfill(database, step=30)

    seen = [await upgrade.advance() for upgrade in (one, other, one, other)]
    await asyncio.gather(finish(one), finish(other))

    assert [(progress.is_ours, progress.looked_at) for progress in seen if progress] == [
        (True, 30),
        (False, 30),
        (True, 60),
        (False, 60),
    ]
    assert await all_calls(database) == fresh


async def test_duplicate_work_by_two_processes_is_harmless(database: Database) -> None:
    fresh = await fill(database)
    await age(database)

    await asyncio.gather(*(finish(CallsBackfill(database, step, lease_seconds=0)) for step in (3, 5, 7)))

    assert await all_calls(database) == fresh


class Outrun(CallsBackfill):
    """An upgrade during which a client writes a call, between the upgrade's read and its write."""

    def __init__(self, database: Database, parts: list[CallStart | CallEnd]) -> None:
        super().__init__(database)
        self._between = parts

    async def _write(self, updates: list[UpdateOne], *others: Any) -> int:
        await CallsStore(self._database).write(self._between)
        return await super()._write(updates, *others)


@pytest.mark.parametrize(
    "summary", [{}, {"usage": {"gpt-4o": {"total_tokens": 3}}, "status_counts": {"error": 1}}], ids=["none", "other"]
)
async def test_end_written_during_the_backfill_counts(database: Database, summary: dict[str, Any]) -> None:
    calls = CallsStore(database)
    ended = end(1, summary=summary)
    await calls.write([start(1), ended])
    fresh = await all_calls(database)
    await calls.write([end(1, summary={"usage": {"gpt-4o": COUNTS[0]}})])
    await age(database)

    await Outrun(database, [ended]).advance()

    assert await all_calls(database) == fresh


async def test_calls_written_during_the_backfill_are_complete(database: Database) -> None:
    await fill(database)
    rng = random.Random(7)
    batches = [[part for number in range(at, at + 20) for part in parts_of(number, rng)] for at in range(0, 200, 20)]
    calls = CallsStore(database)
    for batch in batches:
        await calls.write(batch)
    fresh = await all_calls(database)
    await age(database)

    async def write_again() -> None:
        for batch in batches:
            await calls.write(batch)

    await asyncio.gather(finish(CallsBackfill(database, step=9)), write_again())

    assert {key: _kept(call) for key, call in (await all_calls(database)).items()} == {
        key: _kept(call) for key, call in fresh.items()
    }


def _kept(call: Document) -> Document:
    return {name: call[name] for name in DERIVED_FIELDS if name in call}


async def test_backfill_sends_no_events(database: Database) -> None:
    await fill(database)
    await age(database)
    calls = CallsStore(database)
    cursor = await calls.events_cursor(PROJECT)

    await finish(CallsBackfill(database))
    await calls.write([start(1_000)])
    async with aclosing(calls.events(PROJECT, {"id"}, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        event = await anext(events)
    await calls.close()

    assert (event.type, event.call["id"]) == ("started", call_id(1_000))


async def test_call_with_an_unstorable_example_is_kept_and_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {1: ('{"example":1}', 16 * 1024 * 1024 - 270), 2: ('{"example":', 0)}
    for number, (text, filler) in texts.items():
        document: Document = {"_id": f"{PROJECT}:{call_id(number)}", "project_id": PROJECT, "id": call_id(number)}
        document |= {"op_trace_name": "predict_and_score", "json": {"inputs": text}, "filler": "x" * filler}
        await database.calls.insert_one(document)

    with caplog.at_level(logging.WARNING, "loomql"):
        await finish(CallsBackfill(database))

    logged = [record.getMessage() for record in caplog.records if record.name == "loomql"]
    assert [text.partition(": ")[0] for text in sorted(logged)] == [
        f"call {PROJECT}:{call_id(number)} is stored without its example" for number in (1, 2)
    ]


async def test_call_with_unstorable_usage_is_kept_and_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = await fill(database, 20)
    await age(database)
    many: dict[str, Any] = {"usage": {str(number): {} for number in range(90_000)}}
    full = {"usage": {"gpt-4o": COUNTS[0]}}
    texts = [json.dumps(summary, separators=(",", ":")) for summary in (many, full)]
    fillers = {101: (texts[0], 0), 102: ('{"usage":', 0), 103: (texts[1], 16 * 1024 * 1024 - 350)}
    for number, (text, filler) in fillers.items():
        document = {"_id": f"{PROJECT}:{call_id(number)}", "project_id": PROJECT, "id": call_id(number)}
        await database.calls.insert_one(document | {"json": {"summary": text}, "filler": "x" * filler})

    with caplog.at_level(logging.WARNING, "loomql"):
        await finish(CallsBackfill(database))

    assert [record.getMessage() for record in caplog.records if record.name == "loomql"] == [
        f"call {PROJECT}:{call_id(number)} is stored without its usage: {reason}"
        for number, reason in (
            (101, "the document would exceed MongoDB's maximum size"),
            (102, "its summary cannot be read (not JSON: unexpected end of data: line 1 column 10 (char 9))"),
            (103, "the document would exceed MongoDB's maximum size"),
        )
    ]
    found = await all_calls(database)
    assert {key: found[key] for key in fresh} == fresh
    assert not any("usage" in found[f"{PROJECT}:{call_id(number)}"] for number in fillers)
