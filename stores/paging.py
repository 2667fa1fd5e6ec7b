"""Pages by keyset: forward and backward over any sort, each row once however much is written meanwhile."""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType
from typing import Any, Final, Self

import bson
import bson.errors

from stores.concurrency.time_slices import cooperative_async, cooperative_batches
from stores.database import Collection
from stores.database.bounded_reads import read_rows_up_to
from stores.database.error_translation import translate_index_build_error
from stores.database.snapshot_reads import SNAPSHOT, all_rows
from stores.database.transactions import Session
from stores.errors import BadInputError

DEFAULT_SIZE: Final = 100

_CHECKSUM_BYTES: Final = 8
_ALL_AT_ONCE: Final = 1_000_000
"""What fits into one answer of MongoDB comes in it; by itself it would come in two, the first of 101."""

_FEW: Final = 500
"""Rows of which the pages of several values are made without a look-up for each."""

_SCALARS: Final = (str, int, float, bool, NoneType)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key as MongoDB orders it; where a `nullable` one ascends, a key before it keeps its nulls apart."""

    path: str
    descending: bool = False
    nullable: bool = False

    def order(self, *, backward: bool) -> int:
        """1 for ascending and -1 for descending, as the driver writes it."""
        return -1 if self.descending != backward else 1

    def beyond(self, value: object, *, backward: bool) -> dict[str, Any] | None:
        """The match of what comes after a value of this key; None if nothing can."""
        if value is None:
            return {self.path: {"$ne": None}} if backward else None
        if self.descending == backward:
            return {self.path: {"$gt": value}}
        if self.nullable:
            return {"$or": [{self.path: {"$lt": value}}, {self.path: None}]}
        return {self.path: {"$lt": value}}


@dataclass(frozen=True, slots=True)
class Order:
    """A whole sort: the fields to compute before it, and its keys, the last of which is unique.

    `coarse` tells that an index may lead through the keys, but that the first alone leads to too much.
    """

    computed: dict[str, Any]
    keys: tuple[Key, ...]
    coarse: bool = False

    def stages(
        self, match: dict[str, Any], position: Sequence[object] | None, *, backward: bool
    ) -> list[dict[str, Any]]:
        """The stages that sort what matches, from beyond a position (the value of each key) on if there is one."""
        found: list[dict[str, Any]] = [{"$match": match}]
        if self.computed:
            found.append({"$set": self.computed})
        if position is not None:
            branches = self._beyond(position, backward=backward)
            if self.coarse:
                # At the root of the match each branch is planned for itself: an index scan from the very position.
                found = [{"$match": {"$or": [{"$and": [match, branch]} for branch in branches]}}]
            else:
                found.append({"$match": {"$or": branches} | self._bound(position[0], backward=backward)})
        return [*found, {"$sort": {key.path: key.order(backward=backward) for key in self.keys}}]

    def _beyond(self, position: Sequence[object], *, backward: bool) -> list[dict[str, Any]]:
        """The matches of what comes after a position, of which one must hold."""
        branches: list[dict[str, Any]] = []
        equal: list[dict[str, Any]] = []
        for key, value in zip(self.keys, position, strict=True):
            further = key.beyond(value, backward=backward)
            if further is not None:
                branches.append({"$and": [*equal, further]})
            equal.append({key.path: {"$eq": value}})
        return branches

    def _bound(self, value: object, *, backward: bool) -> dict[str, Any]:
        """What the first key implies by itself, so that an index is entered at the position and not at its start."""
        first = self.keys[0]
        if value is None or (first.nullable and not backward):
            return {}
        return {first.path: {"$gte" if first.descending == backward else "$lte": value}}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: `size` rows after (or, backward, before) a cursor, `offset` rows left out first.

    With `max_characters` a page ends early, but not before its first row, where its rows have so many of JSON text.
    """

    size: int = DEFAULT_SIZE
    cursor: str | None = None
    backward: bool = False
    offset: int = 0
    max_characters: int | None = None

    @classmethod
    def of(
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
        """The page that a list's arguments ask for.

        Raises:
            BadInputError: a number is out of its range, or forward and backward arguments are mixed.
        """
        backward = last is not None or before is not None
        if backward and (first is not None or after is not None):
            mixed = "first" if first is not None else "after"
            raise BadInputError("goes forward; page with first and after, or with last and before", mixed)
        if backward and offset:
            raise BadInputError("counts from the front; leave it out with last and before", "offset")
        size, name = (last, "last") if backward else (first, "first")
        _check_range(size, max_size, name)
        _check_range(offset, None, "offset")
        return cls(default_size if size is None else size, before if backward else after, backward, offset or 0)


def _check_range(number: int | None, maximum: int | None, argument: str) -> None:
    if number is not None and number < 0:
        raise BadInputError(f"{number} is negative; it counts from 0", argument)
    if number is not None and maximum is not None and number > maximum:
        raise BadInputError(
            f"{number:,} is above the limit of {maximum:,} a page; ask for less and go on by cursor "
            "(the setting LOOMQL_MAX_PAGE_SIZE raises the limit)",
            argument,
        )


@dataclass(slots=True)
class Page:
    """Rows in the order asked for, and whether there are more on either side.

    It is not frozen: each row of a list may have one, and to make one would take three times as long.
    """

    rows: list[Row]
    has_next: bool
    has_previous: bool
    order: Order
    scope: bytes | Callable[[], bytes]

    @property
    def start_cursor(self) -> str | None:
        """Where to go on before this page; None where it has no rows."""
        return self.cursor(self.rows[0]) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """Where to go on behind this page; None where it has no rows."""
        return self.cursor(self.rows[-1]) if self.rows else None

    def cursor(self, row: Row) -> str:
        """The opaque text that marks a row's place in this query, and in no other."""
        position = bson.encode({"at": [_value(row, key.path) for key in self.order.keys]})
        scope = self.scope if isinstance(self.scope, bytes) else self.scope()
        return base64.urlsafe_b64encode(_checksum(position, scope) + position).decode()


async def find_page(
    collection: Collection,
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
    source: Sequence[dict[str, Any]] = (),
    narrowing: Sequence[dict[str, Any]] = (),
    question: Sequence[object] = (),
    session: Session | None = None,
    finishing: Sequence[dict[str, Any]] = (),
) -> Page:
    """One page of what matches, read in one command.

    Stages of a `source` make the documents where a collection has others, and those of a `narrowing` look closer at
    what matches, one document after the other in their order. Where they hold what was found out before, and may be
    other stages for the next page, a `question` tells which cursors are this list's. Stages that are `finishing` add to
    the rows of the page, of which they see the projection and the keys.

    Raises:
        BadInputError: the cursor is none of this query's.
        UnavailableError: an index was made at this very moment.
    """
    scope = scope_of(collection.name, *(question or (*source, match, *narrowing)), order)
    position = position_of(request, scope, len(order.keys))
    pipeline = [*source, *page_pipeline(match, order, request, projection, position, narrowing), *finishing]
    found, is_cut = await _rows(collection, pipeline, request, session)
    return page_of(found, replace(request, size=len(found) - 1) if is_cut else request, order, scope)


def page_of(found: list[Row], request: PageRequest, order: Order, scope: bytes | Callable[[], bytes]) -> Page:
    """The page of what its pipeline found, one row more than it has where there are more."""
    rows, more = found[: request.size], len(found) > request.size
    before = request.cursor is not None or request.offset > 0
    if request.backward:
        return Page(rows[::-1], before, more, order, scope)
    return Page(rows, more, before, order, scope)


async def find_pages(
    collection: Collection,
    field: str,
    values: Sequence[str],
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
    made: Sequence[dict[str, Any]] = (),
) -> dict[str, Page]:
    """For each of some values of a field (or of a member of it, where it is a list) the page of what matches.

    Stages may have `made` other documents of what matches, which are put in order then. It is one command for all. A
    cursor is of one value's page: the others' raise.

    Raises:
        BadInputError: the cursor is none of a value's page.
        UnavailableError: an index was made at this very moment.
    """
    if request.cursor is not None or len(values) == 1:
        return {
            value: await find_page(collection, last, order, request, projection, source)
            for value in values
            for source, last in [_parted({**match, field: value}, made)]
        }

    def scope(of_value: dict[str, Any]) -> bytes:
        source, last = _parted(of_value, made)
        return scope_of(collection.name, *source, last, order)

    found = None if made else await _few(collection, field, values, match, order, request, projection)
    if found is None:
        source, last = _parted(match, made)
        pipeline = [*source, *page_pipeline(last, order, request, projection)]
        found = {value: [] for value in values}
        with translate_index_build_error():
            async for row in cooperative_async(_of_each(collection, field, values, pipeline)):
                found[row["value"]].append(row["rows"])
    nothing = page_of([], request, order, b"")  # the one page of all that lead nowhere: it has no cursors
    pages = dict.fromkeys(found, nothing)
    async for stretch in cooperative_batches([value for value, rows in found.items() if rows]):
        for value in stretch:
            pages[value] = page_of(found[value], request, order, partial(scope, {**match, field: value}))
    return pages


async def _few(
    collection: Collection,
    field: str,
    values: Sequence[str],
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
) -> dict[str, list[Row]] | None:
    """The rows of each value's page, and one more where there is one; None where all values have very many together.

    One look for all of them takes a fraction of one for each. The order must be of plain keys that all rows have.
    """
    shown = {"_id": 0} | dict.fromkeys([*projection, *(key.path for key in order.keys), field], 1)
    # No more than a look-up for each would look at.
    most = min(_FEW, len(values) * (request.offset + request.size + 1))
    stages: list[dict[str, Any]] = [
        {"$match": {**match, field: {"$in": list(values)}}},
        {"$limit": most + 1},
        {"$project": shown},
    ]
    with translate_index_build_error():
        rows = await all_rows(collection, stages, most + 2)
    if len(rows) > most:
        return None
    found: dict[str, list[Row]] = {value: [] for value in values}
    for row in sorted(rows, key=lambda row: [row[key.path] for key in order.keys], reverse=request.backward):
        there = row[field]
        if not isinstance(there, list):
            found[there].append(row)
            continue
        for value in found.keys() & there:
            # A row of several values' pages is a row of its own in each: who takes it may add to it.
            found[value].append(dict(row))
    first, end = request.offset, request.offset + request.size + 1
    return {value: some[first:end] for value, some in found.items()}


def _parted(match: dict[str, Any], made: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    """The stages that come before an order's, and the match of what they leave."""
    return ([{"$match": match}, *made], {}) if made else ([], match)


async def count(
    collection: Collection,
    stages: Sequence[dict[str, Any]],
    limit: int | None = None,
    session: Session | None = None,
) -> int:
    """How many documents some stages find; they stop at a limit."""
    at_most: list[dict[str, Any]] = [{"$limit": limit}] if limit else []
    counted = collection.aggregate([*stages, *at_most, {"$count": "number"}], session=session)
    return sum([found["number"] async for found in counted])


async def count_each(
    collection: Collection,
    field: str,
    values: Sequence[str],
    match: dict[str, Any],
    made: Sequence[dict[str, Any]] = (),
) -> dict[str, int]:
    """For each of some values of a field (or of a member of it) how many documents match; one command for all.

    Stages may have `made` others of them.
    """
    counted = _of_each(collection, field, values, [{"$match": match}, *made, {"$count": "number"}])
    with translate_index_build_error():
        found = {row["value"]: row["rows"]["number"] async for row in cooperative_async(counted)}
    return dict.fromkeys(values, 0) | found


def _of_each(
    collection: Collection, field: str, values: Sequence[str], pipeline: list[dict[str, Any]]
) -> AsyncIterator[Row]:
    """What a pipeline makes of the documents of each value, one by one: under `rows`, beside the `value`."""
    joined = {
        "from": collection.name,
        "localField": "value",
        "foreignField": field,
        "pipeline": pipeline,
        "as": "rows",
    }
    stages: list[dict[str, Any]] = [
        {"$documents": [{"value": {"$literal": value}} for value in values]},
        {"$lookup": joined},
        {"$unwind": "$rows"},
    ]
    steady = collection.database.with_options(read_concern=SNAPSHOT)
    return aiter(steady.aggregate(stages, allowDiskUse=True, batchSize=_ALL_AT_ONCE))


def page_pipeline(
    match: dict[str, Any],
    order: Order,
    request: PageRequest,
    projection: Sequence[str],
    position: Sequence[object] | None = None,
    narrowing: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """What finds a page: the rows asked for and one more, each with the keys of its order."""
    pipeline = [*order.stages(match, position, backward=request.backward), *narrowing]
    if request.offset:
        pipeline.append({"$skip": request.offset})
    paths = [*projection, *(key.path for key in order.keys)]
    return [*pipeline, {"$limit": request.size + 1}, {"$project": {"_id": 0} | dict.fromkeys(paths, 1)}]


async def _rows(
    collection: Collection, pipeline: list[dict[str, Any]], request: PageRequest, session: Session | None
) -> tuple[list[Row], bool]:
    """The rows that a pipeline finds, and whether they end early, with one row more than their page has."""
    with translate_index_build_error():
        if request.max_characters is None:
            return await all_rows(collection, pipeline, request.size + 2, session), False
        return await read_rows_up_to(collection, pipeline, request.size + 2, request.max_characters, session)


def scope_of(*question: object) -> bytes:
    """What tells the cursors of one question from those of any other."""
    return hashlib.blake2b(repr(question).encode(), digest_size=32).digest()


def _checksum(position: bytes, scope: bytes) -> bytes:
    return hashlib.blake2b(position, key=scope, digest_size=_CHECKSUM_BYTES).digest()


def position_of(request: PageRequest, scope: bytes, keys: int) -> list[object] | None:
    """The values that a page's cursor stands for, one for each key of the order; None where there is no cursor.

    Raises:
        BadInputError: the cursor is none of this scope's.
    """
    if request.cursor is None:
        return None
    try:
        content = base64.b64decode(request.cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    checksum, position = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    values = _decoded(position) if checksum == _checksum(position, scope) else []
    # Whoever computes a checksum of their own gets no further than to another place in the same list.
    if len(values) != keys or not all(isinstance(value, _SCALARS) for value in values):
        raise BadInputError(
            "not a cursor of this query; use one that the same query gave, with the same filter and sort",
            "before" if request.backward else "after",
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
