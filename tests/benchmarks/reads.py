"""The cases of reads: requests as clients send them, each with the floor's way to the same answer."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from stores import times
from stores.database import Collection, Document
from tests.benchmarks import floor
from tests.benchmarks.loading import TRACE, TRACE_CALLS, TRACE_PROJECT
from tests.benchmarks.report import Must
from tests.benchmarks.sides import request
from tests.benchmarks.stock import BEGIN, PROJECT, SECOND, id_of, op_name

Work = Callable[[Collection], Awaitable[bytes]]

SLIM: Final = ("id", "op_name", "started_at", "ended_at", "status", "latency_ms")
PAYLOADS: Final = ("attributes", "inputs", "output", "summary")
FULL: Final = (
    *("id", "project_id", "op_name", "display_name", "trace_id", "parent_id", "thread_id", "turn_id", "started_at"),
    *("ended_at", "exception", "wb_user_id", "wb_run_id", "wb_run_step", "wb_run_step_end", "status", "latency_ms"),
    *("storage_size_bytes", *PAYLOADS),
)
"""22 fields: all stored fields of a call except its trace name."""
NEWEST: Final = [("started_at", -1), ("id", -1)]
OLDEST: Final = [("started_at", 1), ("id", 1)]

_TIMES: Final = ("started_at", "ended_at")
_BEYOND_THE_DATABASE: Final = "CPU ms beyond the floor"
_ONE: Final = "query ($project: ID!, $id: ID!) {{ call(projectId: $project, id: $id) {{ {} }} }}"
_COUNT: Final = """query ($project: ID!, $filter: CallsFilter) {
  callsStats(projectId: $project, filter: $filter) { count } }"""
_LIST: Final = """query ($project: ID!, $filter: CallsFilter, $query: QueryInput, $sort: [SortBy!], $first: Int,
    $after: String, $offset: Int) {{
  calls(projectId: $project, filter: $filter, query: $query, sortBy: $sort, first: $first, after: $after,
        offset: $offset) {{
    nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}"""


@dataclass(frozen=True, slots=True)
class Read:
    """A request, the floor's work for the same answer, and the bounds that LoomQL must keep.

    `must` bounds the ratio of wall times to the floor; `beyond` bounds the CPU beyond the floor's, in milliseconds.
    """

    name: str
    body: bytes
    floor: Work
    rows: int
    must: Must | None = None
    beyond: Must | None = None


def reads(count: int, deep_cursor: str, depth: int) -> list[Read]:
    """Return all cases for a stock of `count` calls; `deep_cursor` points behind the first `depth` calls."""
    one, middle = id_of(count // 2), BEGIN + count // 2 * SECOND
    hour = 3600 * SECOND
    key: Document = {"_id": f"{PROJECT}:{one}", "project_id": PROJECT, "id": one, "visible": True}
    in_time = {"$and": [_compare("$gte", middle - hour), _compare("$lt", middle + hour)]}
    large = 1000 * (1 - 50 / count)  # about fifty calls have such an amount
    amount = {"$gt": [{"$getField": "inputs.order.amount"}, {"$literal": large}]}
    found_in_time = _of_stock(op_name=op_name(7), started_at={"$gte": middle - hour, "$lt": middle + hour})
    return [
        newest("list 50, slim", 50, SLIM),
        newest("list 50, 22 fields", 50, FULL, Must("ratio", 2.5)),
        newest("list 50, one nested path", 50, ("id", "inputs.order.amount")),
        newest("list 1,000, slim", 1000, SLIM),
        newest("list 1,000, 22 fields", 1000, FULL, Must("ratio", 1.2)),
        newest("list 1,000, one nested path", 1000, ("id", "inputs.order.amount")),
        _one("one call, 3 fields", one, key, ("id", "op_name", "status"), Must(_BEYOND_THE_DATABASE, 0.3)),
        _one("one call, 22 fields", one, key, FULL),
        _list(
            "filter by op and time, 100",
            *(SLIM, found_in_time, OLDEST, 100),
            filter={"opNames": [op_name(7)]},
            query={"json": {"$expr": in_time}},
        ),
        _list(
            "DSL on a nested path",
            SLIM,
            _of_stock(**{"inputs.order.amount": {"$gt": large}}),
            OLDEST,
            100,
            query={"json": {"$expr": amount}},
        ),
        Read(
            "count of an op",
            request(_COUNT, project=PROJECT, filter={"opNames": [op_name(7)]}),
            partial(floor.count, match=_of_stock(op_name=op_name(7))),
            count // 20,
        ),
        _list(
            "trace of 200 calls, slim",
            *(SLIM, {"project_id": TRACE_PROJECT, "visible": True, "trace_id": TRACE}, OLDEST, TRACE_CALLS),
            project=TRACE_PROJECT,
            filter={"traceIds": [TRACE]},
        ),
        first_page(),
        deep_page(deep_cursor, depth),
        _list(f"page of 100 at {depth:,} by offset", SLIM, _of_stock(), OLDEST, 100, skip=depth),
    ]


def newest(name: str, size: int, names: tuple[str, ...], must: Must | None = None) -> Read:
    """Return the case that lists the newest calls."""
    return _list(name, names, _of_stock(), NEWEST, size, must=must, sort=[{"field": "started_at", "direction": "DESC"}])


def first_page() -> Read:
    """Return the case that lists the oldest hundred calls."""
    return _list("first page of 100", SLIM, _of_stock(), OLDEST, 100)


def deep_page(cursor: str, depth: int) -> Read:
    """Return the case that lists a hundred calls after a cursor."""
    after = _of_stock(started_at={"$gt": BEGIN + (depth - 1) * SECOND})
    return _list(f"page of 100 at {depth:,} by cursor", SLIM, after, OLDEST, 100, after=cursor)


def cursor_request(depth: int) -> bytes:
    """Return the request for the cursor of the call at position `depth`, counted from 1."""
    return request(_LIST.format(fields="id"), project=PROJECT, first=1, offset=depth - 1)


def stream_request(after: str | None) -> bytes:
    """Return the request for a page of a thousand calls with all fields, after a cursor."""
    return request(_LIST.format(fields=_selection(FULL)), project=PROJECT, first=1000, after=after)


def rows_of(data: dict[str, Any]) -> Any:
    """Convert a server's answer into the form that the floor returns."""
    [found] = data.values()
    if "count" in found:
        return found["count"]
    if "nodes" in found:
        return [_row(node) for node in found["nodes"]]
    return _row(found)


def _row(node: dict[str, Any]) -> Document:
    row = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key): value for key, value in node.items()}
    row |= {name: times.parse(row[name]) for name in _TIMES if row.get(name)}
    if "status" in row:
        row["status"] = row["status"].lower()
    for name in [name for name in row if "__" in name]:
        _put(row, name.split("__"), row.pop(name))
    return {name: value for name, value in row.items() if value is not None}


def _put(row: Document, steps: list[str], value: object) -> None:
    for step in steps[:-1]:
        row = row.setdefault(step, {})
    row[steps[-1]] = value


def _selection(names: tuple[str, ...]) -> str:
    return " ".join(map(_selected, names))


def _selected(name: str) -> str:
    if "." in name:
        field, _, path = name.partition(".")
        return f'{name.replace(".", "__")}: {field}(path: "{path}")'
    return re.sub("_(.)", lambda letter: letter[1].upper(), name)


def _one(name: str, call_id: str, key: Document, names: tuple[str, ...], beyond: Must | None = None) -> Read:
    body = request(_ONE.format(_selection(names)), project=PROJECT, id=call_id)
    return Read(name, body, partial(floor.find_one, match=key, shown=floor.projection(names)), 1, beyond=beyond)


def _list(
    name: str,
    names: tuple[str, ...],
    match: Document,
    order: list[tuple[str, int]],
    size: int,
    *,
    skip: int = 0,
    must: Must | None = None,
    project: str = PROJECT,
    **variables: Any,
) -> Read:
    query = _LIST.format(fields=_selection(names))
    body = request(query, project=project, first=size, offset=skip, **variables)
    shown = floor.projection(names)
    work = partial(floor.find, match=match, shown=shown, order=order, limit=size, skip=skip)
    return Read(name, body, work, size, must)


def _of_stock(**conditions: object) -> Document:
    return {"project_id": PROJECT, "visible": True, **conditions}


def _compare(operator: str, micros: int) -> Document:
    return {operator: [{"$getField": "started_at"}, {"$literal": micros // SECOND}]}


def decoded(answer: bytes) -> Any:
    """Decode the floor's JSON."""
    return orjson.loads(answer)
