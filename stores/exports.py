"""Exports and imports of rows: the exported lists, their columns, paging with bounded memory, and `ImportedRow`.

An exported row is one JSON object per line, with Weave's names and all keys in each row. Stored JSON is spliced in as
text; times are ISO 8601 in UTC with microseconds; missing values are null. Selections can be pickled for another
process.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from stores import times
from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS, SUMMARY, total_cost
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.store import RestoredCall
from stores.database import Database
from stores.database.driver import json_characters
from stores.errors import BadInputError, ErrorsAt
from stores.feedback import FeedbackStore, NewFeedback
from stores.feedback.inputs import FEEDBACK_FIELDS
from stores.json import AnyJson
from stores.json.bson_copy import INT64
from stores.objects import ObjectsStore, ObjectVersion
from stores.objects.classes import OBJECT, OP
from stores.objects.store import OBJECT_FIELDS, RestoredVersion
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy
from stores.refs import SCHEME
from stores.rollups.thread_totals import P50, P99
from stores.threads import THREAD_FIELDS, ThreadsStore

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
FLOATS: Final = ("total_cost", "time_to_first_token_ms", P50, P99)
"""Columns with numbers that are not integers."""

TEXT_LISTS: Final = ("tags", "finish_reasons")
"""Columns with lists of texts, which are no JSON text in documents."""

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
        encoded = {name: kind for name, kind in self.kinds.items() if kind in _ENCODERS and name not in TEXT_LISTS}
        self._texts = [name for name, kind in encoded.items() if kind is Kind.JSON]
        self._computed = [(name, _COMPUTED[name]) for name in self.names if name in _COMPUTED]
        self._encoded = [(name, _ENCODERS[kind]) for name, kind in encoded.items()]

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
    "completion_tokens total_tokens total_cost kind model provider user_id tags environment release error_type "
    "time_to_first_token_ms finish_reasons",
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


_DERIVED_KEYS: Final = ("status", "latency_ms", "trace_name", "display_name")
"""Keys under `weave` in a summary that every read computes."""

_JSON, _NUMBER, _TIME = Kind.JSON, Kind.NUMBER, Kind.TIME  # Python 3.11 looks up enum members slowly
_REQUIRED: Final = {
    *("project_id", "id", "op_name", "trace_id", "started_at", "weave_ref", "feedback_type", "created_at"),
    *("kind", "object_id", "digest", "version_index"),
}
_REFS: Final = frozenset({"op_name", "weave_ref", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref"})
_OBJECTS: Final = frozenset({"attributes", "inputs", "summary"})
"""Fields with an empty object for a missing value."""


class ImportedRow:
    """The fields of one imported row, for its original project or for another one.

    JSON stays unchanged in either case, so that digests stay valid, and refs in it keep their targets. A ref in a field
    of its own moves to the new project if it led into the row's own project.
    """

    def __init__(self, row: Mapping[str, Any], columns: Columns, project_id: str | None = None) -> None:
        self.row = row
        self._kinds = columns.kinds
        self._project_id = project_id

    def values(self, names: str) -> dict[str, Any]:
        """Return fields by name, with times in microseconds since the epoch, and None for missing values.

        Raises:
            BadInputError: if a required field is missing, or a value has another type than its column.
        """
        return {name: self.value(name) for name in names.split()}

    def value(self, name: str) -> AnyJson:
        """Return one field; see `values`."""
        value = self.row.get(name)
        if name == "project_id" and self._project_id:
            return self._project_id
        if value is None and name in _REQUIRED:
            raise BadInputError("is required", name)
        if value is None:
            return {} if name in _OBJECTS else None
        kind = self._kinds[name]
        if kind is _JSON:
            return value
        if kind is _NUMBER:
            return _check_integer(value, name)
        if not isinstance(value, str):
            raise BadInputError("must be a string", name)
        if kind is _TIME:
            with ErrorsAt(name):
                return times.parse(value)
        return self._moved(value) if name in _REFS else value

    def _moved(self, ref: str) -> str:
        """Return a ref, moved to the target project if it leads into the row's own project."""
        own = f"{SCHEME}{self.row.get('project_id')}/"
        if self._project_id is None or not ref.startswith(own):
            return ref
        return f"{SCHEME}{self._project_id}/{ref.removeprefix(own)}"


def _check_integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise BadInputError("must be an integer between -2^63 and 2^63 - 1", name)
    if value < 0 and name == "version_index":
        raise BadInputError(f"{value} is negative; send 0 or more", name)
    return value


def to_restored_call(fields: ImportedRow) -> RestoredCall:
    """Convert an exported row to a call to restore.

    Raises:
        BadInputError: if a field has the wrong type, or if a call without `ended_at` has fields of an end.
    """
    start = CallStart(
        **fields.values(
            "project_id id op_name display_name trace_id parent_id thread_id turn_id started_at attributes inputs "
            "wb_user_id wb_run_id wb_run_step"
        )
    )
    summary = _without_derived(fields.value("summary"))
    ended_at = fields.value("ended_at")
    if ended_at is None:
        _check_has_no_end(fields, summary)
        return RestoredCall(start)
    others = fields.values("exception output wb_run_step_end")
    return RestoredCall(start, CallEnd(start.project_id, str(start.id), ended_at, summary, **others))


def _without_derived(summary: object) -> object:
    """Remove the computed keys from a summary; other keys under `weave` stay."""
    if not isinstance(summary, dict) or not isinstance(summary.get("weave"), dict):
        return summary
    weave: dict[str, Any] = {name: value for name, value in summary["weave"].items() if name not in _DERIVED_KEYS}
    return {name: weave if name == "weave" else value for name, value in summary.items() if weave or name != "weave"}


def _check_has_no_end(fields: ImportedRow, summary: object) -> None:
    """Check that a call without an end has no fields of an end, which would be lost.

    Raises:
        BadInputError: if it has one.
    """
    sent = {**fields.row, "summary": summary}
    for name in ("output", "exception", "wb_run_step_end", "summary"):
        if sent.get(name) not in (None, "", {}):
            raise BadInputError("must be null or absent if ended_at is null: a running call has none", name)


def to_restored_version(fields: ImportedRow) -> RestoredVersion:
    """Convert an exported row to a version to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    kind = fields.value("kind")
    if kind not in (OBJECT, OP):
        raise BadInputError(f"{kind[:64]!r} must be {OBJECT} or {OP}", "kind")
    version = ObjectVersion(**fields.values("project_id object_id val wb_user_id"), kind=kind)
    others = fields.values("digest version_index is_latest created_at")
    return RestoredVersion(version, **others | {"is_latest": others["is_latest"] == 1})


def to_new_feedback(fields: ImportedRow) -> NewFeedback:
    """Convert an exported row to feedback to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    return NewFeedback(
        **fields.values(
            "project_id id weave_ref feedback_type payload creator annotation_ref runnable_ref call_ref trigger_ref "
            "wb_user_id created_at"
        )
    )
