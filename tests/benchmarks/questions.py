"""Daily questions about calls as OpenTelemetry sends them, each in GraphQL and in ClickHouse's SQL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores import times
from stores.database import Document
from stores.rollups import sketches
from tests.benchmarks.report import Must
from tests.benchmarks.sides import request
from tests.benchmarks.spans import COMMON_PLAN, COMMON_WORD, PROJECT, Traces

_PAGE: Final = 50
_OWN: Final[dict[str, Any]] = {"project": PROJECT}
_CUSTOMER: Final = "attributes.otel_span.attributes.app.customer.id"
_PLAN: Final = "attributes.otel_span.attributes.app.customer.plan"
_QUESTION: Final = "attributes.otel_span.attributes.input.value.question"
_OF_LISTS: Final = ("id", "opName", "startedAt", "latencyMs")
_OF_THREADS: Final = ("threadId", "turnCount", "startTime", "lastUpdated", "p50TurnDurationMs", "p99TurnDurationMs")
_TIMES: Final = ("bucketStart", "startedAt", "startTime", "lastUpdated")

_COUNT: Final = "SELECT count() FROM {calls:Identifier} WHERE project_id = {project:String}"
_LIST: Final = """
    SELECT id, op_name, toUnixTimestamp64Micro(started_at), latency_ms
    FROM {calls:Identifier} WHERE project_id = {project:String}"""
_NEWEST: Final = "ORDER BY started_at DESC LIMIT 50"
_OF_CUSTOMER: Final = f"AND {_CUSTOMER}.:String = {{customer:String}}"
_OF_PLAN: Final = f"AND {_PLAN}.:String = {{plan:String}}"
_ERROR_RATE: Final = """
    SELECT toUnixTimestamp(toStartOfHour(started_at)) * 1000000 AS hour, avg(status = 'error')
    FROM {calls:Identifier} WHERE project_id = {project:String} GROUP BY hour ORDER BY hour"""
_PERCENTILES: Final = """
    SELECT op_name, took[1], took[2]
    FROM (SELECT op_name, quantilesExactInclusive(0.5, 0.99)(latency_ms) AS took
          FROM {calls:Identifier} WHERE project_id = {project:String} GROUP BY op_name)
    ORDER BY op_name"""
_COST_BY_DAY: Final = """
    SELECT nullIf(model, '') AS name, toUnixTimestamp(day) * 1000000,
           if(prompt > 0, prompt_tokens * prompt + completion_tokens * completion, NULL)
    FROM (SELECT model, toStartOfDay(started_at) AS day,
                 sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens
          FROM {calls:Identifier} WHERE project_id = {project:String} GROUP BY model, day) AS used
    LEFT JOIN prices USING (model)
    ORDER BY day, name NULLS LAST"""
_THREADS: Final = """
    SELECT thread_id, turns, since, until, took[1] / 1000, took[2] / 1000
    FROM (SELECT turn_of AS thread_id, count() AS turns, toUnixTimestamp64Micro(min(started_at)) AS since,
                 toUnixTimestamp64Micro(max(ended_at)) AS until,
                 quantilesExactInclusive(0.5, 0.99)(dateDiff('microsecond', started_at, ended_at)) AS took
          FROM {calls:Identifier} WHERE project_id = {project:String} AND turn_of != ''
          GROUP BY turn_of ORDER BY until DESC LIMIT 50)
    ORDER BY until DESC"""
_SIZE: Final = "SELECT sum(storage_size_bytes) FROM {calls:Identifier} WHERE project_id = {project:String}"
_NEWEST_TRACES: Final = """
    WITH newest AS (SELECT trace_id, started_at FROM {calls:Identifier}
                    WHERE project_id = {project:String} AND parent_id = '' ORDER BY started_at DESC LIMIT 50)
    SELECT trace_id, toUnixTimestamp64Micro(min(started_at)) AS since, count(), countIf(status = 'error'),
           sum(prompt_tokens + completion_tokens), sum(prompt_tokens * prompt + completion_tokens * completion)
    FROM {calls:Identifier} AS calls LEFT JOIN prices USING (model)
    WHERE project_id = {project:String} AND started_at >= (SELECT min(started_at) FROM newest)
          AND trace_id IN (SELECT trace_id FROM newest)
    GROUP BY trace_id ORDER BY since DESC"""
_DEAREST_TRACES: Final = """
    SELECT number, cost
    FROM (SELECT count() AS number, sum(prompt_tokens * prompt + completion_tokens * completion) AS cost
          FROM {calls:Identifier} AS calls LEFT JOIN prices USING (model)
          WHERE project_id = {project:String} GROUP BY trace_id ORDER BY cost DESC LIMIT 50)
    ORDER BY cost DESC"""
_DEAREST_THREADS: Final = """
    SELECT turns, cost
    FROM (SELECT sum(turns_of_trace) AS turns, sum(cost_of_trace) AS cost
          FROM (SELECT max(turn_of) AS thread, countIf(turn_of != '') AS turns_of_trace,
                       sum(prompt_tokens * prompt + completion_tokens * completion) AS cost_of_trace
                FROM {calls:Identifier} AS calls LEFT JOIN prices USING (model)
                WHERE project_id = {project:String} GROUP BY trace_id)
          WHERE thread != '' GROUP BY thread ORDER BY cost DESC LIMIT 50)
    ORDER BY cost DESC"""

_CALLS: Final = """query ($project: ID!, $first: Int, $filter: CallsFilter, $query: QueryInput, $sort: [SortBy!]) {{
  calls(projectId: $project, first: $first, filter: $filter, query: $query, sortBy: $sort) {{
    nodes {{ {fields} }} {more} }} }}"""

_RATIO: Final = Must("ratio", 1)
_RATIO_OF_CONTAINS: Final = Must("ratio", 2)
_GROWTH: Final = Must("growth", 1.5)
_EXACT: Final = 1e-9
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question in GraphQL and in SQL, and the bounds of LoomQL's time.

    Args:
        rows: returns the rows in the data of an answer. They equal those of all statements in order.
        sql: statements with the parameters `calls`, for the table, and those of `parameters`.
        growth: the bound for ten times as many calls; None if the answer grows as much.
        error: relative error of numbers in equal answers.
    """

    name: str
    body: bytes
    rows: Callable[[Any], Rows]
    sql: Sequence[str]
    must: Must | None = _RATIO
    growth: Must | None = _GROWTH
    error: float = _EXACT


def parameters(traces: Traces) -> dict[str, str]:
    """Return the parameters of all statements about the calls of some traces."""
    rare = traces.customer(traces.count // 2)
    return {"project": PROJECT, "customer": rare, "plan": COMMON_PLAN, "word": COMMON_WORD}


def questions(traces: Traces) -> list[Question]:
    """Return all questions about the calls of some traces."""
    rare = traces.customer(traces.count // 2)
    of_customer, of_plan = _equal(_CUSTOMER, rare), _equal(_PLAN, COMMON_PLAN)
    contains = f"AND position({_QUESTION}.:String, {{customer:String}}) > 0"
    return [
        _counted("count of the project", None, ""),
        _listed("newest 50 roots, with totalCount", "AND parent_id = ''", must=None, filter={"traceRootsOnly": True}),
        _chart(
            "error rate by hour",
            "groupBy: [TIME_BUCKET], bucket: HOUR",
            ("bucketStart", "errorRate"),
            _ERROR_RATE,
        ),
        _chart(
            "p50 and p99 by op",
            "groupBy: [OP_NAME]",
            ("opName", "p50LatencyMs", "p99LatencyMs"),
            _PERCENTILES,
            error=sketches.ERROR,
        ),
        _chart(
            "cost by model by day",
            "groupBy: [MODEL, TIME_BUCKET], bucket: DAY",
            ("model", "bucketStart", "cost"),
            _COST_BY_DAY,
        ),
        _page("first page of threads", "threads", "", _OF_THREADS, _THREADS),
        Question(
            "projectStats",
            request("query ($project: ID!) { projectStats(projectId: $project) { traceStorageSizeBytes } }", **_OWN),
            lambda data: [(data["projectStats"]["traceStorageSizeBytes"],)],
            [_SIZE],
        ),
        _page(
            "newest 50 traces",
            "traces",
            "",
            ("traceId", "startedAt", "numCalls", "numErrors", "totalTokens", "totalCost"),
            _NEWEST_TRACES,
            must=None,
        ),
        _page(
            "50 traces that cost most",
            "traces",
            ', sortBy: [{field: "total_cost", direction: DESC}]',
            ("numCalls", "totalCost"),  # traces that cost as much as the last one are no difference
            _DEAREST_TRACES,
            must=None,
        ),
        _page(
            "50 threads that cost most",
            "threads",
            ', sortBy: [{field: "total_cost", direction: DESC}]',
            ("turnCount", "totalCost"),
            _DEAREST_THREADS,
            must=None,
        ),
        _counted("equal at a nested path, rare: count", of_customer, _OF_CUSTOMER),
        _listed("equal at a nested path, rare: newest 50", _OF_CUSTOMER, query={"json": of_customer}),
        _counted("equal at a nested path, common: count", of_plan, _OF_PLAN, growth=None),
        _listed("equal at a nested path, common: newest 50", _OF_PLAN, query={"json": of_plan}),
        _counted("$contains at a nested path, rare: count", _contains(rare), contains, must=_RATIO_OF_CONTAINS),
        _counted(
            "$contains at a nested path, common: count",
            _contains(COMMON_WORD),
            contains.replace("customer", "word"),
            must=_RATIO_OF_CONTAINS,
            growth=None,
        ),
    ]


def _equal(path: str, value: str) -> Document:
    return {"$expr": {"$eq": [{"$getField": path}, {"$literal": value}]}}


def _contains(text: str) -> Document:
    return {"$expr": {"$contains": {"input": {"$getField": _QUESTION}, "substr": {"$literal": text}}}}


def _counted(
    name: str,
    query: Document | None,
    condition: str,
    *,
    must: Must = _RATIO,
    growth: Must | None = _GROWTH,
) -> Question:
    body = request(
        "query ($project: ID!, $query: QueryInput) { callsStats(projectId: $project, query: $query) { count } }",
        query=query and {"json": query},
        **_OWN,
    )
    sql = [f"{_COUNT} {condition}"]
    return Question(name, body, lambda data: [(data["callsStats"]["count"],)], sql, must, growth)


def _listed(name: str, condition: str, *, must: Must | None = _RATIO, **arguments: object) -> Question:
    """Return the question for the newest calls that meet a condition, and for their number if it is a filter."""
    total = "totalCount" if "filter" in arguments else ""
    body = request(
        _CALLS.format(fields=" ".join(_OF_LISTS), more=total),
        first=_PAGE,
        sort=[{"field": "started_at", "direction": "DESC"}],
        **_OWN,
        **arguments,
    )
    listed = _rows("calls", "nodes", _OF_LISTS)

    def rows(data: Any) -> Rows:
        return listed(data) + ([(data["calls"]["totalCount"],)] if total else [])

    counted = [f"{_COUNT} {condition}"] if total else []
    return Question(name, body, rows, [f"{_LIST} {condition} {_NEWEST}", *counted], must)


def _chart(name: str, arguments: str, fields: Sequence[str], sql: str, error: float = _EXACT) -> Question:
    document = f"""query ($project: ID!) {{
      callsAggregate(projectId: $project, {arguments}) {{ rows {{ {" ".join(fields)} }} }} }}"""
    return Question(name, request(document, **_OWN), _rows("callsAggregate", "rows", fields), [sql], error=error)


def _page(name: str, of: str, arguments: str, fields: Sequence[str], sql: str, must: Must | None = _RATIO) -> Question:
    document = f"""query ($project: ID!) {{
      {of}(projectId: $project, first: {_PAGE}{arguments}) {{ nodes {{ {" ".join(fields)} }} }} }}"""
    return Question(name, request(document, **_OWN), _rows(of, "nodes", fields), [sql], must)


def _rows(name: str, of: str, fields: Sequence[str]) -> Callable[[Any], Rows]:
    def value(row: Document, field: str) -> Any:
        return times.parse(row[field]) if field in _TIMES else row[field]

    return lambda data: [tuple(value(row, field) for field in fields) for row in data[name][of]]
