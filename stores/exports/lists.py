"""The lists that can be exported, the columns of their rows, and the reading of whole lists with bounded memory.

An exported row is one JSON object per line, with Weave's names and all keys in each row. Stored JSON is spliced in as
text; times are ISO 8601 in UTC with microseconds; missing values are null. Selections can be pickled for another
process.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from stores import times
from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS, SUMMARY, total_cost
from stores.database import Database
from stores.database.driver import json_characters
from stores.feedback import FeedbackStore
from stores.feedback.inputs import FEEDBACK_FIELDS
from stores.json.bson_copy import INT64
from stores.objects import ObjectsStore
from stores.objects.store import OBJECT_FIELDS
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy
from stores.threads import P50, P99, THREAD_FIELDS, ThreadsStore

CURSOR: Final = "_cursor"
"""Key of a row's cursor, if cursors are requested."""

_FIRST_ROWS: Final = 50
_MAX_ROWS: Final = 5_000
_GROWTH: Final = 4
_TARGET_CHARACTERS: Final = 700_000
"""Target size of a page in characters of JSON text."""

_MAX_CHARACTERS: Final = 4_000_000
_SLOW_SECONDS: Final = 0.25
"""Duration above which pages grow: for example, each page of an unindexed sort sorts all matches again."""

ReadPage = Callable[[PageRequest], Awaitable[Page]]
"""Reads one page of a list."""

_ENCODERS: Final[dict[Kind, Callable[[Any], object]]] = {Kind.TIME: times.to_text, Kind.JSON: orjson.Fragment}


def _tokens(name: str) -> Callable[[Row], int | None]:
    """Return a function that sums a count over the models of a row; the sum is at most 2^63 - 1."""

    def tokens(row: Row) -> int | None:
        usage = row.get("usage")
        return min(sum(entry[name] for entry in usage), INT64 - 1) if usage else None

    return tokens


_OTHER_FIELDS: Final = {
    "prompt_tokens": Field("prompt_tokens", "usage", Kind.NUMBER),
    "completion_tokens": Field("completion_tokens", "usage", Kind.NUMBER),
    "first_turn_id": Field("first_turn_id", "first_turn_id"),
    "last_turn_id": Field("last_turn_id", "last_turn_id"),
    "project_id": Field("project_id", "project_id", optional=False),
}
"""Fields of exports that queries do not have."""

_COMPUTED: Final[dict[str, Callable[[Row], object]]] = {
    "summary": SUMMARY.text,
    "prompt_tokens": _tokens("prompt_tokens"),
    "completion_tokens": _tokens("completion_tokens"),
    "total_cost": total_cost,
}
FLOATS: Final = ("total_cost", P50, P99)
"""Columns with numbers that are not integers."""

_NEVER_NULL: Final = ("attributes", "inputs", "summary", "payload")
_MAY_BE_NULL: Final = ("wb_user_id", P50, P99)
"""Columns of imported or old rows may be null, even though queries treat the fields as present."""


class Columns:
    """The columns of one kind of rows, in order; the table has the types that queries know.

    `kinds` has the types by name, and `nullable` the columns whose values may be null.
    """

    def __init__(self, table: FieldTable, names: str) -> None:
        fields = [_OTHER_FIELDS.get(name) or table[name].field for name in names.split()]
        self.kinds = {field.name: field.kind for field in fields}
        self.names = tuple(self.kinds)
        self.nullable = {field.name for field in fields if field.optional}.difference(_NEVER_NULL).union(_MAY_BE_NULL)
        self._texts = [name for name, kind in self.kinds.items() if kind is Kind.JSON]
        self._computed = [(name, _COMPUTED[name]) for name in self.names if name in _COMPUTED]
        self._encoded = [(name, _ENCODERS[kind]) for name, kind in self.kinds.items() if kind in _ENCODERS]

    def values(self, row: Row) -> dict[str, Any]:
        """Return a row's values by column as stored, None if missing."""
        get, texts = row.get, row.get("json") or {}
        values = {name: get(name) for name in self.names}
        for name in self._texts:
            values[name] = texts.get(name)
        for name, compute in self._computed:
            values[name] = compute(row)
        return values

    def line(self, row: Row, cursor: str | None = None) -> bytes:
        """Encode a row as a JSON object with a newline."""
        members = self.values(row)
        for name, encode in self._encoded:
            value = members[name]
            if value is not None:
                members[name] = encode(value)
        if cursor is not None:
            members[CURSOR] = cursor
        return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Rows of a project's list: filter, query and sort. The filter has the list's own type."""

    project_id: str
    filter: object = None
    query: Query | None = None
    sort_by: Sequence[SortBy] = ()


@dataclass(frozen=True, slots=True)
class ExportedList:
    """An exportable list: the columns of its rows, and the store that finds its pages."""

    columns: Columns
    store: Callable[[Database], Any]

    def page_reader(self, database: Database, selection: RowSelection) -> ReadPage:
        """Return a function that reads pages of the selected rows."""
        store = self.store(database)
        narrowing = selection.filter, selection.sort_by, *([selection.query] if selection.query else ())

        async def read(request: PageRequest) -> Page:
            page: Page = await store.page(selection.project_id, request, self.columns.names, *narrowing)
            return page

        return read


# The columns from status on are derived, so that tables need no JSON parsing; an import computes them again.
CALL_COLUMNS: Final = Columns(
    CALL_FIELDS,
    "project_id id op_name display_name trace_id parent_id thread_id turn_id started_at ended_at exception attributes "
    "inputs output summary wb_user_id wb_run_id wb_run_step wb_run_step_end status latency_ms trace_name prompt_tokens "
    "completion_tokens total_tokens total_cost",
)
OBJECT_COLUMNS: Final = Columns(
    OBJECT_FIELDS,
    "project_id object_id kind digest version_index is_latest created_at base_object_class leaf_object_class val "
    "wb_user_id",
)
FEEDBACK_COLUMNS: Final = Columns(
    FEEDBACK_FIELDS,
    "project_id id weave_ref feedback_type payload creator annotation_ref runnable_ref call_ref trigger_ref wb_user_id "
    "created_at",
)
THREAD_COLUMNS: Final = Columns(
    THREAD_FIELDS, f"project_id thread_id turn_count start_time last_updated first_turn_id last_turn_id {P50} {P99}"
)
"""Imports skip threads, which are derived from calls."""

LISTS: Final = {
    "calls": ExportedList(CALL_COLUMNS, CallsStore),
    "objects": ExportedList(OBJECT_COLUMNS, ObjectsStore),
    "feedback": ExportedList(FEEDBACK_COLUMNS, FeedbackStore),
    "threads": ExportedList(THREAD_COLUMNS, ThreadsStore),
}


async def pages(read_page: ReadPage, after: str | None = None) -> AsyncGenerator[Page, None]:
    """Yield the pages of a list from a cursor on, the first even if empty; the next page is read ahead.

    The page size adapts to the size of rows and to the duration of reads.

    Raises:
        StoreError: as `read_page` raises it.
    """
    request = PageRequest(_FIRST_ROWS, after, max_characters=_TARGET_CHARACTERS)
    next_read = asyncio.ensure_future(_timed(read_page, request))
    try:
        while True:
            page, seconds = await next_read
            if page.has_next:
                request = _next_request(request, page, seconds)
                next_read = asyncio.ensure_future(_timed(read_page, request))
            yield page
            if not page.has_next:
                return
    finally:
        next_read.cancel()
        await asyncio.wait({next_read})
        _ = next_read.cancelled() or next_read.exception()  # a failed read-ahead no longer matters


async def _timed(read_page: ReadPage, request: PageRequest) -> tuple[Page, float]:
    started_at = time.monotonic()
    page = await read_page(request)
    return page, time.monotonic() - started_at


def _next_request(request: PageRequest, page: Page, seconds: float) -> PageRequest:
    if not page.rows:
        return request
    characters = request.max_characters or _TARGET_CHARACTERS
    if seconds > _SLOW_SECONDS:
        characters = min(2 * characters, _MAX_CHARACTERS)
    else:
        characters = max(characters // 2, _TARGET_CHARACTERS)
    mean = 1 + sum(map(json_characters, page.rows)) / len(page.rows)
    size = max(1, min(int(characters / mean), _GROWTH * request.size, _MAX_ROWS))
    return PageRequest(size, page.cursor(page.rows[-1]), max_characters=characters)
