"""Rows of lists: keyset pages, forward and backward over any sort, and JSON fields, parsed at most once per row.

Concurrent writes neither repeat nor skip a row.
"""

import base64
import binascii
import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from types import NoneType
from typing import Any, Final, Self

import bson
import bson.errors

from stores.database import Collection
from stores.database.driver import Hint, all_rows, json_characters, read_rows_up_to
from stores.database.scan_order import scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.json import codec, paths

DEFAULT_SIZE: Final = 100

_CHECKSUM_BYTES: Final = 8
_SCALARS: Final = (str, int, float, bool, NoneType)

_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, 0xE000

_MIN_KEPT: Final = 1_000
"""Rows that `FirstRows` collects beyond a page before it sorts them."""

_PARSED: Final = "parsed"
"""Row key that caches parsed values between reads."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sort key as MongoDB applies it; an ascending `nullable` key follows a computed key for its nulls."""

    path: str
    descending: bool = False
    nullable: bool = False

    def direction(self, *, backward: bool) -> int:
        """Return the driver's direction: 1 for ascending, -1 for descending."""
        return -1 if self.descending != backward else 1

    def after(self, value: object, *, backward: bool) -> dict[str, Any] | None:
        """Build the match of values after `value` in this key; None if there can be none."""
        if value is None:
            return {self.path: {"$ne": None}} if backward else None
        if self.descending == backward:
            return {self.path: {"$gt": value}}
        if self.nullable:
            return {"$or": [{self.path: {"$lt": value}}, {self.path: None}]}
        return {self.path: {"$lt": value}}


@dataclass(frozen=True, slots=True)
class Order:
    """A compiled sort: fields to compute before it, and its keys, the last of which is unique.

    `low_cardinality` means that an index may serve the keys, but many documents share each value of the first one.
    `values` are all values of the first key, if the second one has the other direction: MongoDB then merges one scan of
    an index per value, and the index serves either direction. `is_sparse` means that most documents lack the first of
    two keys, a number, so that its index leaves these out; they come last, by id. Neither is part of the identity of a
    list for cursors.
    """

    computed: dict[str, Any]
    keys: tuple[SortKey, ...]
    low_cardinality: bool = False
    values: tuple[str, ...] = field(default=(), repr=False)
    is_sparse: bool = field(default=False, repr=False)

    @property
    def max_matches(self) -> int:
        """Maximum number of times that the stages repeat the filter."""
        return len(self.values) + len(self.keys) if self.low_cardinality else 1

    def stages(
        self, match: dict[str, Any], position: Sequence[object] | None, *, backward: bool
    ) -> list[dict[str, Any]]:
        """Build the stages that sort the matching documents, after `position` (one value per key) unless it is None."""
        stages: list[dict[str, Any]] = [{"$match": match}]
        if self.computed:
            stages.append({"$set": self.computed})
        branches = self._branches_after(position, backward=backward) if position is not None else []
        if self.values:
            branches = [*self._values_after(position, backward=backward), *branches[1:]]
        if branches and self.low_cardinality:
            # At the root of the match MongoDB plans each branch separately: an index scan that starts at the position.
            stages = [{"$match": {"$or": [{"$and": [match, branch]} for branch in branches]}}]
        elif position is not None:
            stages.append({"$match": {"$or": branches} | self._first_key_range(position[0], backward=backward)})
        return [*stages, {"$sort": {key.path: key.direction(backward=backward) for key in self.keys}}]

    def parts(self, match: dict[str, Any], position: Sequence[object] | None, *, backward: bool) -> list["Part"]:
        """Return the parts of a list in reading order, from a position on; without `is_sparse` there is one."""
        if not self.is_sparse:
            return [Part(match, self, position)]
        first, last = self.keys
        in_others = position is not None and position[0] is None
        parts: list[Part] = []
        if backward or not in_others:
            order = Order({}, (replace(first, nullable=False), last))
            present = match | {"$and": [*match.get("$and", ()), {first.path: {"$gte": -math.inf}}]}
            parts.append(Part(present, order, None if in_others else position))
        if position is None or in_others or not backward:
            # The index of `_id`, a project and an id, returns them in order.
            prefix = f"{match['project_id']}:"
            others = match | {"$and": [*match.get("$and", ()), {first.path: None, "_id": starting_with(prefix)}]}
            after = [f"{prefix}{position[1]}"] if position is not None and in_others else None
            parts.append(Part(others, Order({}, (SortKey("_id", last.descending),)), after))
        return parts[::-1] if backward else parts

    def _branches_after(self, position: Sequence[object], *, backward: bool) -> list[dict[str, Any]]:
        """Build the matches of documents after a position, one per key; exactly one of them is true for each."""
        branches: list[dict[str, Any]] = []
        equal: list[dict[str, Any]] = []
        for key, value in zip(self.keys, position, strict=True):
            after = key.after(value, backward=backward)
            if after is not None:
                branches.append({"$and": [*equal, after]})
            equal.append({key.path: {"$eq": value}})
        return branches

    def _values_after(self, position: Sequence[object] | None, *, backward: bool) -> Iterator[dict[str, Any]]:
        """Yield the match of each value of the first key after a position."""
        first = self.keys[0]
        descending = first.descending != backward
        start = _comparable(position[0], descending, backward) if position else ()
        for value in self.values:
            if not start or _comparable(value, descending, backward) > start:
                yield {first.path: value}

    def _first_key_range(self, value: object, *, backward: bool) -> dict[str, Any]:
        """Derive the first key's range, so that an index scan starts at the position instead of at the first entry."""
        first = self.keys[0]
        if value is None or (first.nullable and not backward):
            return {}
        return {first.path: {"$gte" if first.descending == backward else "$lte": value}}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list, read by itself: the documents that it has, their order, and a position in it to continue at."""

    match: dict[str, Any]
    order: Order
    position: Sequence[object] | None


def starting_with(prefix: str) -> dict[str, str]:
    """Build the match of texts with a prefix as a range: from the prefix up to the next text without it."""
    shorter = prefix.rstrip(chr(sys.maxunicode))
    if not shorter:
        return {"$gte": prefix}
    last = ord(shorter[-1])
    following = _AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1
    return {"$gte": prefix, "$lt": shorter[:-1] + chr(following)}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of a list: `size` rows after `cursor`, or before it if `backward`; `offset` rows are skipped first.

    If `max_characters` is set, the page ends once its rows exceed so many characters of JSON text. It has at least one
    row.
    """

    size: int = DEFAULT_SIZE
    cursor: str | None = None
    backward: bool = False
    offset: int = 0
    max_characters: int | None = None

    @classmethod
    def from_arguments(
        cls,
        *,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
        default_size: int = DEFAULT_SIZE,
        max_size: int = 10_000,
    ) -> Self:
        """Create the request from a list's arguments.

        Raises:
            BadInputError: if a number is out of range, or forward and backward arguments are mixed.
        """
        backward = last is not None or before is not None
        if backward and (first is not None or after is not None):
            mixed = "first" if first is not None else "after"
            raise BadInputError("pages forward; combine first with after, or last with before", mixed)
        if backward and offset:
            raise BadInputError("counts from the start; do not combine it with last or before", "offset")
        size, name = (last, "last") if backward else (first, "first")
        _check_range(size, max_size, name)
        _check_range(offset, None, "offset")
        return cls(default_size if size is None else size, before if backward else after, backward, offset or 0)


def _check_range(number: int | None, maximum: int | None, argument: str) -> None:
    if number is not None and number < 0:
        raise BadInputError(f"{number} is negative; send 0 or more", argument)
    if number is not None and maximum is not None and number > maximum:
        raise BadInputError(
            f"{number:,} exceeds the limit of {maximum:,} rows per page; request fewer and continue by cursor "
            "(the setting LOOMQL_MAX_PAGE_SIZE raises the limit)",
            argument,
        )


@dataclass(slots=True)
class Page:
    """Rows in the requested order, and flags for more rows on either side.

    Not frozen: lists create one page per row, and a frozen dataclass takes three times as long to create.
    """

    rows: list[Row]
    has_next: bool
    has_previous: bool
    order: Order
    scope: bytes | Callable[[], bytes]

    @property
    def start_cursor(self) -> str | None:
        """Cursor of the first row; None if the page is empty."""
        return self.cursor(self.rows[0]) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """Cursor of the last row; None if the page is empty."""
        return self.cursor(self.rows[-1]) if self.rows else None

    def cursor(self, row: Row) -> str:
        """Return the opaque cursor of a row, valid for this query only."""
        position = bson.encode({"at": [_value(row, key.path) for key in self.order.keys]})
        scope = self.scope if isinstance(self.scope, bytes) else self.scope()
        return base64.urlsafe_b64encode(_checksum(position, scope) + position).decode()


class FirstRows:
    """The rows of a page among rows that Python computes, in any order; it keeps no more than the page needs.

    It sorts nulls last by itself, without the computed keys of the order.

    Raises:
        BadInputError: if the cursor belongs to another list.
    """

    def __init__(self, order: Order, request: PageRequest, scope: bytes) -> None:
        keys = tuple([key for key in order.keys if key.path not in order.computed])
        self._order, self._request, self._scope = Order({}, keys), request, scope
        self._needed = request.offset + request.size + 1
        self._rows: list[tuple[_Position, Row]] = []
        position = decode_cursor(request, scope, len(keys))
        self._start = None if position is None else self._position(position)

    def add(self, row: Row) -> None:
        """Add a row with the values of the sort keys."""
        position = self._position([_value(row, key.path) for key in self._order.keys])
        if self._start is not None and not self._start < position:
            return
        self._rows.append((position, row))
        if len(self._rows) > 2 * self._needed + _MIN_KEPT:
            self._rows = self._first()

    def page(self) -> Page:
        """Return the page."""
        rows = [row for _, row in self._first()]
        return build_page(rows[self._request.offset :], self._request, self._order, self._scope)

    def _first(self) -> list[tuple["_Position", Row]]:
        return sorted(self._rows, key=itemgetter(0))[: self._needed]

    def _position(self, values: Sequence[object]) -> "_Position":
        backward = self._request.backward
        keys = zip(self._order.keys, values, strict=True)
        return [_comparable(value, key.descending != backward, backward) for key, value in keys]


_Position = list[tuple[Any, ...]]


def _comparable(value: Any, descending: bool, backward: bool) -> tuple[Any, ...]:  # noqa: ANN401, FBT001 -- a sort value
    """Return a key that sorts as MongoDB does; nulls are last, or first if the page is read backward."""
    if value is None:
        return (not backward,)
    is_text = isinstance(value, str)
    # A forged cursor may have a text in place of a number.
    return backward, is_text != descending, (_Descending(value) if is_text else -value) if descending else value


@dataclass(frozen=True, slots=True)
class _Descending:
    """A text that sorts in the opposite direction."""

    text: str

    def __lt__(self, other: Self) -> bool:
        return other.text < self.text


async def find_page(
    collection: Collection,
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
    source: Sequence[dict[str, Any]] = (),
    narrowing: Sequence[dict[str, Any]] = (),
    cursor_scope: Sequence[object] = (),
    session: Session | None = None,
    finishing: Sequence[dict[str, Any]] = (),
) -> Page:
    """Read one page of the matching documents in one command.

    Args:
        collection: the collection that the pipeline reads.
        match: the filter on the documents.
        order: the sort keys.
        request: the page.
        projection: the paths to return, besides the sort keys.
        source: stages before the filter, if the documents are not stored in this form.
        narrowing: stages that filter further after the sort, one document at a time.
        cursor_scope: identifies the list for its cursors. Needed if stages contain results of earlier queries, which
            may change between pages; by default the stages identify it.
        session: a snapshot session, if the read belongs to one.
        finishing: stages that add fields to the page's rows; they see the projection and the sort keys.

    Raises:
        BadInputError: if the cursor belongs to another query.
    """
    scope = scope_of(collection.name, *(cursor_scope or (*source, match, *narrowing)), order)
    position = decode_cursor(request, scope, len(order.keys))
    paths = [*projection, *(key.path for key in order.keys)]

    async def read(part: Part, request: PageRequest) -> tuple[list[Row], bool]:
        stages = page_pipeline(part.match, part.order, request, paths, part.position, narrowing)
        hint = await page_hint(collection, part.match, part.order, source)
        return await read_rows(collection, [*source, *stages, *finishing], request, session, **hint)

    first, *later = order.parts(match, position, backward=request.backward)
    found, is_cut = await read(first, request)
    for part in later if not is_cut and len(found) <= request.size else ():
        skipped = 0
        if request.offset and not found:
            stages = first.order.stages(first.match, first.position, backward=request.backward)
            skipped = await count(collection, [*source, *stages, *narrowing], session=session)
        rows, is_cut = await read(part, remaining_request(request, found, 0 if found else request.offset - skipped))
        found += rows
    return build_page(found, replace(request, size=len(found) - 1) if is_cut else request, order, scope)


def remaining_request(request: PageRequest, rows: Sequence[Row], offset: int) -> PageRequest:
    """Return the request for the rest of a page: fewer rows, fewer characters, and the remaining offset."""
    max_characters = request.max_characters
    remaining = None if max_characters is None else max_characters - sum(map(json_characters, rows))
    return replace(request, size=request.size - len(rows), cursor=None, offset=offset, max_characters=remaining)


def build_page(found: list[Row], request: PageRequest, order: Order, scope: bytes | Callable[[], bytes]) -> Page:
    """Build the page from pipeline rows; one row more than `request.size` means that another page follows."""
    rows, more = found[: request.size], len(found) > request.size
    before = request.cursor is not None or request.offset > 0
    if request.backward:
        return Page(rows[::-1], before, more, order, scope)
    return Page(rows, more, before, order, scope)


async def count(
    collection: Collection, stages: Sequence[dict[str, Any]], limit: int | None = None, session: Session | None = None
) -> int:
    """Count the documents that the stages produce, up to `limit`, which is positive."""
    pipeline = [*stages, *count_stages(limit)]
    counted = collection.aggregate(pipeline, session=session, **await scan_hint(collection, pipeline))
    return sum([found["number"] async for found in counted])


def count_stages(limit: int | None) -> list[dict[str, Any]]:
    """Build the stages that count documents as a `number`, up to `limit`; no document counts as none."""
    at_most: list[dict[str, Any]] = [] if limit is None else [{"$limit": limit}]
    return [*at_most, {"$count": "number"}]


async def page_hint(
    collection: Collection, match: dict[str, Any], order: Order, source: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the `scan_hint` of a page; a position and a direction need no other one."""
    keys = order.keys
    if order.values:
        # Scans by value have only the order of the other keys.
        match, keys = {"$and": [match, {keys[0].path: {"$in": order.values}}]}, keys[1:]
    sort = {key.path: key.direction(backward=False) for key in keys}
    computed = [{"$set": order.computed}] if order.computed else []
    return await scan_hint(collection, [*source, {"$match": match}, *computed, {"$sort": sort}])


def page_pipeline(
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
    position: Sequence[object] | None = None,
    narrowing: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Build the pipeline of a page: one row more than requested, each with its sort keys."""
    pipeline = [*order.stages(match, position, backward=request.backward), *narrowing]
    if request.offset:
        pipeline.append({"$skip": request.offset})
    paths = [*projection, *(key.path for key in order.keys)]
    return [*pipeline, {"$limit": request.size + 1}, {"$project": {"_id": 0} | dict.fromkeys(paths, 1)}]


async def read_rows(
    collection: Collection,
    pipeline: list[dict[str, Any]],
    request: PageRequest,
    session: Session | None,
    hint: Hint | None = None,
) -> tuple[list[Row], bool]:
    """Run a page's pipeline; return its rows, and True if they stop early at `max_characters`."""
    if request.max_characters is None:
        return await all_rows(collection, pipeline, request.size + 2, session, hint), False
    return await read_rows_up_to(collection, pipeline, request.size + 2, request.max_characters, session, hint)


def scope_of(*parts: object) -> bytes:
    """Return a digest of the parts that identify a list, which its cursors are signed with."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def _checksum(position: bytes, scope: bytes) -> bytes:
    return hashlib.blake2b(position, key=scope, digest_size=_CHECKSUM_BYTES).digest()


def decode_cursor(request: PageRequest, scope: bytes, keys: int) -> list[object] | None:
    """Return the sort key values in the page's cursor; None without a cursor.

    Raises:
        BadInputError: if the cursor belongs to another scope.
    """
    if request.cursor is None:
        return None
    try:
        content = base64.b64decode(request.cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    checksum, position = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    values = _decoded(position) if checksum == _checksum(position, scope) else []
    argument = "before" if request.backward else "after"
    # The checksum is no secret: a forged cursor only reaches another position of the list.
    if len(values) != keys or not all(isinstance(value, _SCALARS) for value in values):
        raise BadInputError(
            f"not a cursor of this query with this filter and sort; start again without {argument} if the cursor is "
            "from an earlier LoomQL, which ordered ties differently",
            argument,
        )
    return values


def _decoded(position: bytes) -> list[object]:
    try:
        values = bson.decode(position).get("at")
    except bson.errors.InvalidBSON:
        return []
    return values if isinstance(values, list) else []


def _value(row: Row, path: str) -> object:
    if "." not in path:
        return row.get(path)
    value: object = row
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


@dataclass(frozen=True)
class JsonField:
    """A field whose JSON text lies in the row under `json`."""

    name: str

    def text(self, row: Row) -> str | None:
        """Return the stored JSON text; None if the row has none."""
        texts: dict[str, str] | None = row.get("json")
        return texts.get(self.name) if texts else None

    def value(self, row: Row) -> object:
        """Return the parsed value, cached until `drop_parsed`. Callers must not change it."""
        parsed = row.setdefault(_PARSED, {})
        if self.name not in parsed:
            text = self.text(row)
            parsed[self.name] = None if text is None else codec.loads(text.encode())
        return parsed[self.name]

    def text_at(self, row: Row, path: str | None) -> str | None:
        """Return the JSON text at a dotted path, all of it without a path; None if the value is null.

        Raises:
            BadInputError: if the path has an empty key.
        """
        if not path:
            return self.text(row)
        value = paths.follow(self.value(row), paths.split(path))
        return None if value is None else codec.encode(value)


@dataclass(frozen=True)
class ValueField(JsonField):
    """A field whose JSON value is an attribute of its source."""

    def text(self, source: object) -> str | None:
        """Return the JSON text of the value; None if the value is None."""
        value = self.value(source)
        return None if value is None else codec.encode(value)

    def value(self, source: object) -> object:
        """Return the value."""
        return getattr(source, self.name)


def drop_parsed(row: Row) -> None:
    """Drop a row's parsed values, which take several times the memory of their texts."""
    row.pop(_PARSED, None)
