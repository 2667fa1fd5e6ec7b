"""Copied calls are those that LoomQL makes of the spans; LoomQL's and ClickHouse's answers must be equal."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from stores.hours import DAYS, HOURS
from stores.rollups.documents import CALLS
from tests.app.command import serving
from tests.benchmarks import clickhouse, scale, servers, spans
from tests.benchmarks.clickhouse import ClickHouse
from tests.benchmarks.questions import questions
from tests.benchmarks.scale import INGEST, Asked, loaded, measure_scale, prepared
from tests.benchmarks.servers import server
from tests.benchmarks.sides import Connection
from tests.benchmarks.spans import SPANS, Copies, Traces, converted, load
from tests.requirements import go_without

SIZES, FEW = (160, 480), (40, 80)
NAMES = [question.name for question in questions(Traces(1))]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write few spans at a time, and let servers settle hours at once."""
    monkeypatch.setattr(spans, "TEMPLATES", 20)
    monkeypatch.setattr(scale, "_TRACES_AT_ONCE", 5)
    monkeypatch.setattr(servers, "serving", partial(serving, module="tests.faults.hasty_server", MARKS="0.2"))


@pytest.fixture(autouse=True)
def no_databases(own_mongodb_uri: str) -> Iterator[None]:
    """Drop the databases of a test."""
    yield
    with MongoClient[dict[str, Any]](own_mongodb_uri) as client:
        for name in client.list_database_names():
            if name.startswith("scale"):
                client.drop_database(name)


def test_copied_calls_are_those_of_their_spans(mongodb_uri: str, database_name: str) -> None:
    traces = Traces(85)  # two customers, and two sessions in the place of each
    rows: list[bytes] = []

    expected = asyncio.run(converted(mongodb_uri, f"{database_name}_spans", traces, range(traces.count)))
    copies = Copies(traces, expected, clickhouse.row_of)
    asyncio.run(load(mongodb_uri, database_name, traces, copies, rows.append))

    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        stored = list(client[database_name]["calls"].find())
        assert f"{database_name}_spans" not in client.list_database_names()
    assert len(expected) == traces.count * SPANS
    assert sorted(stored, key=_id) == sorted(expected, key=_id)
    assert sorted(rows) == sorted(map(clickhouse.row_of, expected))
    assert [call["started_at"] for call in stored] == sorted(call["started_at"] for call in expected)
    for field, number in (("thread_id", 64), ("user_id", 1), ("trace_id", 85), ("model", 4)):
        assert len({call[field] for call in stored if field in call}) == number


def _id(call: dict[str, Any]) -> str:
    return str(call["_id"])


def test_clickhouse_is_installed() -> None:
    if not clickhouse.IS_INSTALLED:
        go_without(clickhouse.WITHOUT, "LOOMQL_REQUIRE_CLICKHOUSE")


def test_questions_bytes_and_ingest_are_measured(own_mongodb_uri: str, tmp_path: Path) -> None:
    section = measure_scale(tmp_path, own_mongodb_uri, SIZES, 1)

    asked, bytes_per_call = [section[name] for name in NAMES], [row for name, row in section.items() if "bytes" in name]
    to_none, to_many = (row for name, row in section.items() if name.startswith(INGEST))
    has_peer = clickhouse.IS_INSTALLED
    assert len(section) == len(asked) + len(bytes_per_call) + 2
    assert all(row.loomql_ms and row.growth for row in asked)
    assert all(bool(row.floor_ms and row.ratio) == has_peer for row in asked)
    assert [bool(row.seen and row.seen > 50) for row in bytes_per_call] == [True] * (4 if has_peer else 3)
    assert to_none.ratio
    assert to_none.a_second
    assert to_many.a_second


@pytest.mark.skipif(not clickhouse.IS_INSTALLED, reason=clickhouse.WITHOUT)
def test_questions_are_measured_without_clickhouse(
    own_mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "IS_INSTALLED", False)

    [row] = measure_scale(tmp_path, own_mongodb_uri, FEW, 1, NAMES[0]).values()

    assert row.growth
    assert row.ratio is None


def test_settled_answers_equal_those_of_calls_and_of_clickhouse(own_mongodb_uri: str, tmp_path: Path) -> None:
    changes = {
        "count of the project": ("count()", "count() + 1"),
        "cost by model by day": ("prompt_tokens * prompt", "1.0001 * prompt_tokens * prompt"),
        "p50 and p99 by op": ("took[2]", "1.02 * took[2]"),
        "newest 50 traces": ("since DESC", "since DESC LIMIT 49"),
        "newest 50 roots, with totalCount": ("started_at DESC", "started_at"),
    }
    with ExitStack() as stack:
        peer = stack.enter_context(ClickHouse(tmp_path)) if clickhouse.IS_INSTALLED else None
        size = loaded(own_mongodb_uri, SIZES[1], peer)
        started = stack.enter_context(server(tmp_path, own_mongodb_uri, size.database))
        connection = stack.enter_context(Connection(prepared(started, own_mongodb_uri, size).url))
        database = stack.enter_context(MongoClient[dict[str, Any]](own_mongodb_uri))[size.database]
        hours = {"$match": {"unit": HOURS, "of": CALLS}}
        counted = database["rollups"].aggregate([hours, {"$group": {"_id": None, "count": {"$sum": "$count"}}}])
        assert counted.next()["count"] == SIZES[1]
        assert database["term_segments"].count_documents({"unit": {"$in": [HOURS, DAYS]}})

        asked, settled = questions(size.traces), []
        for question in asked:
            Asked(question, started, size).check(connection)
            settled.append(question.rows(connection.ask(question.body)))
            if peer and (change := changes.pop(question.name, None)):
                first, *others = question.sql
                other = replace(question, sql=[first.replace(*change), *others])
                with pytest.raises(AssertionError, match=f"{question.name}: LoomQL and ClickHouse differ"):
                    Asked(other, started, size).check(connection)
        assert not (changes and peer)

        # Without the state of the project, queries read its calls.
        database["hour_marks"].delete_many({})
        for question, rows in zip(asked, settled, strict=True):
            assert scale._equal(rows, question.rows(connection.ask(question.body)), question.error), question.name


@pytest.mark.parametrize(
    ("found", "expected", "is_equal"),
    [
        ([(1, "a")], [[1, "a"]], True),
        ([(1, "a")], [[1, "b"]], False),
        ([(1,), (2,)], [[1]], False),
        ([(0.1 + 0.2, None)], [[0.3, None]], True),
        ([(0.30001,)], [[0.3]], False),
        ([(None,)], [[0.3]], False),
        ([(0.3,)], [[None]], False),
    ],
)
def test_answers_are_equal_except_for_the_last_digits(found: Any, expected: Any, *, is_equal: bool) -> None:
    assert scale._equal(found, expected, 1e-9) is is_equal
