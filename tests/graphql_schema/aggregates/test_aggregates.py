"""Aggregates of calls in the API."""

from typing import Any

import pytest

from stores.aggregates import store
from stores.calls import CallsStore
from stores.database import Database
from stores.rollups.settling import Settling
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.rollups.test_settling import settle

OP = f"weave:///{PROJECT}/op/answer"
AGGREGATE = """query ($groupBy: [CallsGroupBy!], $bucket: TimeBucket, $timezone: String, $sortBy: [SortBy!],
    $limit: Int, $query: QueryInput, $filter: CallsFilter, $expand: [String!]) {
  callsAggregate(projectId: "acme/chat", groupBy: $groupBy, bucket: $bucket, timezone: $timezone, sortBy: $sortBy,
      limit: $limit, query: $query, filter: $filter, expandColumns: $expand) { numGroups rows { count } } }"""


def usage(prompt: int, model: str = "loom") -> dict[str, Any]:
    """Return the summary of one request to a model."""
    counts = {"prompt_tokens": prompt, "completion_tokens": 10, "requests": 1}
    return {"usage": {model: counts}, "status_counts": {"success": 1, "error": 0}}


async def write(calls: CallsStore) -> None:
    """Write a root with summed-up usage and three calls below it, of two op versions, two models and two days."""
    root = start(1, trace_id=trace_id(1), op_name="root", thread_id="t")
    below: dict[str, Any] = {"trace_id": trace_id(1), "parent_id": call_id(1)}
    summed = {
        "usage": {**usage(150)["usage"], **usage(7, "weft")["usage"]},
        "status_counts": {"success": 3, "error": 1},
    }
    tomorrow = NOON + 86_400 * SECOND
    await calls.write(
        [
            *(root, end(1, summary=summed)),
            *(start(2, op_name=f"{OP}:v1", **below), end(2, summary=usage(100))),
            *(start(3, op_name=f"{OP}:v2", **below), end(3, summary=usage(50), exception="it broke")),
            start(4, op_name="search", started_at=tomorrow, **below),
            end(4, summary=usage(7, "weft"), ended_at=tomorrow + 2 * SECOND),
        ]
    )


async def test_charts_of_a_page_take_one_request(calls: CallsStore, run: Run) -> None:
    await write(calls)
    costs = '[{llmId: "loom", promptTokenCost: 0.5, completionTokenCost: 0.25, effectiveDate: "2026-01-01"}]'
    made = await run(f'mutation {{ costCreate(projectId: "acme/chat", costs: {costs}) {{ ids {{ id }} }} }}')
    assert not made.errors

    answer = await run(
        """{
          cost: callsAggregate(projectId: "acme/chat", groupBy: [MODEL, TIME_BUCKET], bucket: DAY) {
            rows { model bucketStart bucketEnd cost totalTokens unpricedTokens } }
          latency: callsAggregate(projectId: "acme/chat", groupBy: [OP_NAME],
              sortBy: [{field: "p99LatencyMs", direction: DESC}], limit: 2) {
            numGroups rows { opName p50LatencyMs p95LatencyMs p99LatencyMs meanLatencyMs minLatencyMs maxLatencyMs } }
          errors: callsAggregate(projectId: "acme/chat", groupBy: [OP_VERSION, STATUS]) {
            rows { opVersion status errorRate errorCount count } }
          total: callsAggregate(projectId: "acme/chat") { numGroups rows { count totalTokens requests opName status } }
          roots: callsAggregate(projectId: "acme/chat", filter: {traceRootsOnly: true}, usage: REPORTED,
              groupBy: [THREAD, USER]) { rows { threadId wbUserId promptTokens completionTokens } }
        }"""
    )

    assert answer.errors == []
    first, second = "2026-01-31T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z"
    assert answer.data["cost"]["rows"] == [
        _day("loom", first, second, cost=80.0, totalTokens=170, unpricedTokens=0),
        _day(None, first, second, cost=None, totalTokens=0, unpricedTokens=0),
        _day("weft", second, "2026-02-02T00:00:00.000000Z", cost=None, totalTokens=17, unpricedTokens=17),
    ]
    same = dict.fromkeys(("p50LatencyMs", "p95LatencyMs", "p99LatencyMs", "meanLatencyMs"))
    assert answer.data["latency"] == {
        "numGroups": 3,
        "rows": [
            {"opName": "search", **dict.fromkeys(same, 2000.0), "minLatencyMs": 2000, "maxLatencyMs": 2000},
            {"opName": "answer", **dict.fromkeys(same, 500.0), "minLatencyMs": 500, "maxLatencyMs": 500},
        ],
    }
    assert answer.data["errors"]["rows"] == [
        _version("root", "DESCENDANT_ERROR", 0),
        _version("search", "SUCCESS", 0),
        _version(f"{OP}:v1", "SUCCESS", 0),
        _version(f"{OP}:v2", "ERROR", 1),
    ]
    total = {"count": 4, "totalTokens": 187, "requests": 3, "opName": None, "status": None}
    assert answer.data["total"] == {"numGroups": 1, "rows": [total]}
    reported = {"threadId": "t", "wbUserId": "local", "promptTokens": 157, "completionTokens": 20}
    assert answer.data["roots"]["rows"] == [reported]


def _day(model: str | None, first: str, following: str, **numbers: object) -> dict[str, object]:
    return {"model": model, "bucketStart": first, "bucketEnd": following, **numbers}


def _version(op: str, status: str, errors: int) -> dict[str, object]:
    return {"opVersion": op, "status": status, "errorRate": float(errors), "errorCount": errors, "count": 1}


async def test_unselected_numbers_are_not_computed(calls: CallsStore, run: Run, commands: Commands) -> None:
    await write(calls)
    commands.sent.clear()

    await run('{ callsAggregate(projectId: "acme/chat", groupBy: [STATUS]) { rows { status count } } }')

    assert commands.names == ["find", "aggregate"]  # the first looks for roll-ups
    sent = commands.last("aggregate")
    assert not any(word in str(sent["pipeline"]) for word in ("usage", "latency", "cost"))


async def test_day_with_a_clock_change_has_its_real_length(run: Run) -> None:
    times = ("2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z")
    mutation = """mutation ($at: DateTime!) { callStart(start: {projectId: "acme/chat", opName: "f", startedAt: $at,
        attributes: {}, inputs: {}}) { id } }"""
    for at in times:
        assert not (await run(mutation, at=at)).errors

    answer = await run(
        """{ callsAggregate(projectId: "acme/chat", groupBy: [TIME_BUCKET], bucket: DAY, timezone: "Europe/Berlin") {
          rows { bucketStart bucketEnd count } } }"""
    )

    day, following, last = "2026-10-24T22:00:00.000000Z", "2026-10-25T23:00:00.000000Z", "2026-10-26T23:00:00.000000Z"
    assert answer.data["callsAggregate"]["rows"] == [
        {"bucketStart": day, "bucketEnd": following, "count": 2},
        {"bucketStart": following, "bucketEnd": last, "count": 1},
    ]


@pytest.mark.parametrize(
    ("variables", "argument"),
    [
        ({"groupBy": ["MODEL", "MODEL"]}, "groupBy.1"),
        ({"groupBy": ["TIME_BUCKET"]}, "bucket"),
        ({"bucket": "DAY"}, "bucket"),
        ({"timezone": "UTC"}, "timezone"),
        ({"groupBy": ["TIME_BUCKET"], "bucket": "DAY", "timezone": "Mars/Olympus"}, "timezone"),
        ({"sortBy": [{"field": "speed", "direction": "ASC"}]}, "sortBy.0.field"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"expand": ["id"]}, "expandColumns.0"),
        ({"filter": {"opNames": ["a"] * 1001}}, "filter.opNames"),
        ({"query": {"expr": {"eq": [{"getField": "nope"}, {"literal": 1}]}}}, "query.expr.eq.0.getField"),
    ],
)
async def test_invalid_arguments_are_named(run: Run, variables: dict[str, Any], argument: str) -> None:
    answer = await run(AGGREGATE, **variables)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == argument


async def test_arguments_may_be_null(calls: CallsStore, run: Run) -> None:
    await write(calls)
    names = ("groupBy", "bucket", "timezone", "sortBy", "limit", "query", "filter", "expand")

    answer = await run(AGGREGATE, **dict.fromkeys(names))

    assert answer.data == {"callsAggregate": {"numGroups": 1, "rows": [{"count": 4}]}}


async def test_trace_tree_is_returned_as_a_list(calls: CallsStore, run: Run) -> None:
    await write(calls)

    answer = await run(
        """query ($trace: ID!) {
          usageTree(projectId: "acme/chat", traceId: $trace) {
            id parentId depth opName traceName displayName status startedAt endedAt latencyMs numCalls numErrors
            ownUsage { totalTokens cost models { model requests } }
            totalUsage {
              promptTokens completionTokens totalTokens requests unpricedTokens models { model totalTokens } }
          }
          roots: usageTree(projectId: "acme/chat", traceId: $trace, maxDepth: 0) { id }
        }""",
        trace=trace_id(1),
    )

    assert answer.errors == []
    root, *others = answer.data["usageTree"]
    assert answer.data["roots"] == [{"id": call_id(1)}]
    assert root == {
        "id": call_id(1),
        "parentId": None,
        "depth": 0,
        "opName": "root",
        "traceName": "root",
        "displayName": None,
        "status": "DESCENDANT_ERROR",
        "startedAt": "2026-01-31T12:00:01.000000Z",
        "latencyMs": 500,
        "endedAt": "2026-01-31T12:00:01.500000Z",
        "numCalls": 4,
        "numErrors": 1,
        "ownUsage": {"totalTokens": 0, "cost": None, "models": []},
        "totalUsage": {
            "promptTokens": 157,
            "completionTokens": 30,
            "totalTokens": 187,
            "requests": 3,
            "unpricedTokens": 187,
            "models": [{"model": "loom", "totalTokens": 170}, {"model": "weft", "totalTokens": 17}],
        },
    }
    assert [(node["id"], node["parentId"], node["depth"]) for node in others] == [
        (call_id(number), call_id(1), 1) for number in (2, 3, 4)
    ]
    assert [node["ownUsage"]["models"] for node in others] == [
        [{"model": "loom", "requests": 1}],
        [{"model": "loom", "requests": 1}],
        [{"model": "weft", "requests": 1}],
    ]


@pytest.mark.parametrize(("trace", "depth", "argument"), [("no trace", 0, "traceId"), (trace_id(1), -1, "maxDepth")])
async def test_tree_names_the_invalid_argument(run: Run, trace: str, depth: int, argument: str) -> None:
    document = """query ($trace: ID!, $depth: Int) {
      usageTree(projectId: "acme/chat", traceId: $trace, maxDepth: $depth) { id } }"""

    answer = await run(document, trace=trace, depth=depth)

    assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", argument)


async def test_rows_by_path_have_typed_values_and_numbers(calls: CallsStore, run: Run) -> None:
    for number, (topic, score) in enumerate([("a", 1), ("a", 0.5), (2, None), (True, "1"), ({"x": 1}, 0)]):
        await calls.write([start(number, inputs={"topic": topic}), end(number, output={"score": score})])

    answer = await run(
        """{ callsAggregate(projectId: "acme/chat", groupPaths: ["inputs.topic"],
            numbers: ["output.score", "latencyMs"], sortBy: [{field: "output.score.sum", direction: DESC}]) {
          numGroups rows { pathValues count opName numbers { field count sum average minimum maximum p50 p99 } } } }"""
    )

    assert answer.errors == []
    rows = answer.data["callsAggregate"]["rows"]
    assert [(row["pathValues"], row["count"], row["opName"]) for row in rows] == [
        (["a"], 2, None),
        ([None], 1, None),
        ([2], 1, None),
        ([True], 1, None),
    ]
    of_a = {"count": 2, "sum": 1.5, "average": 0.75, "minimum": 0.5, "maximum": 1.0, "p50": 0.75, "p99": 0.995}
    assert rows[0]["numbers"][0] == {"field": "output.score"} | of_a
    assert rows[0]["numbers"][1]["field"] == "latencyMs"
    assert rows[3]["numbers"][0] == {"field": "output.score", "count": 0} | dict.fromkeys(list(of_a)[1:])
    plain = await run('{ callsAggregate(projectId: "acme/chat") { rows { pathValues numbers { sum } } } }')
    assert plain.data["callsAggregate"]["rows"] == [{"pathValues": None, "numbers": None}]


async def test_normalised_columns_are_keys(calls: CallsStore, run: Run) -> None:
    for number, kind in enumerate(["llm", "llm", "tool"]):
        await calls.write([start(number, attributes={"kind": kind}), end(number)])

    answer = await run(
        """{ callsAggregate(projectId: "acme/chat", groupBy: [KIND, TAG, FINISH_REASON, PROVIDER, USER_ID, ENVIRONMENT,
            RELEASE, ERROR_TYPE, TIME_TO_FIRST_TOKEN_MS]) {
          rows { kind tag finishReason provider userId environment release errorType timeToFirstTokenMs count } } }"""
    )

    assert answer.errors == []
    rows = answer.data["callsAggregate"]["rows"]
    assert [(row["kind"], row["tag"], row["userId"], row["count"]) for row in rows] == [
        ("LLM", None, None, 2),
        ("TOOL", None, None, 1),
    ]


@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_percentiles_are_exact_on_request(
    calls: CallsStore, database: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_EXACT", 3)
    ended = [NOON + number * SECOND + (1_000 + number) * 1_000 for number in range(4)]
    await calls.write([part for n, at in enumerate(ended) for part in (start(n), end(n, ended_at=at))])
    await settle(Settling(database))

    answer = await run(
        """query ($ids: [ID!]) {
          near: callsAggregate(projectId: "acme/chat") { hasExactPercentiles usesRollups rows { p50LatencyMs } }
          exact: callsAggregate(projectId: "acme/chat", exactPercentiles: true) {
            hasExactPercentiles rows { p50LatencyMs } }
          few: callsAggregate(projectId: "acme/chat", filter: {callIds: $ids}, exactPercentiles: false) {
            hasExactPercentiles rows { p50LatencyMs } }
          none: callsAggregate(projectId: "acme/chat") { hasExactPercentiles usesRollups rows { count } }
          user: callsAggregate(projectId: "acme/chat", groupBy: [USER]) { usesRollups rows { count } }
        }""",
        ids=[call_id(1)],
    )

    near, exact, few, none = (answer.data[name] for name in ("near", "exact", "few", "none"))
    assert exact == {"hasExactPercentiles": True, "rows": [{"p50LatencyMs": 1001.5}]}
    assert near.pop("rows") == [{"p50LatencyMs": pytest.approx(1001.5, rel=0.01)}]
    assert near == {"hasExactPercentiles": False, "usesRollups": True}
    assert few == {"hasExactPercentiles": True, "rows": [{"p50LatencyMs": 1001}]}
    assert none == {"hasExactPercentiles": True, "usesRollups": True, "rows": [{"count": 4}]}
    assert answer.data["user"] == {"usesRollups": False, "rows": [{"count": 4}]}
