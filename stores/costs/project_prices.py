"""Cache of the prices of each project. A thread builds the price tables, so that the event loop stays free.

Pipelines cannot resolve names of models, so that they hold the price of each name that calls have. To find these names
takes a scan of the calls. A process keeps them, and a pipeline fails on any other name.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import bson
from pymongo.errors import OperationFailure

from stores.costs.defaults import all_models
from stores.costs.price_timeline import Price
from stores.costs.pricing import UNKNOWN_MODEL, Prices
from stores.database import Database, Document
from stores.database.error_translation import CONVERSION_FAILURE
from stores.database.transactions import Session
from stores.errors import BadInputError, NewModelError

MAX_PRICES: Final = 20_000
"""Prices of a project by which all of its calls are sorted, filtered or summed."""

MAX_MODELS: Final = 20_000
"""Model names of the calls that one query prices."""

MAX_BYTES: Final = 3_000_000
"""Of prices in a pipeline, which may hold them twice beside what else it holds; MongoDB takes one of 16 MiB."""

_AT_ONCE: Final = 2_000
"""Prices that are decoded at once, without a turn for others."""

_KEPT: Final = 16
"""Projects whose prices a process keeps."""

_MOST_KEPT: Final = 100_000
"""Characters of the names of a project's models that a process keeps; names that are longer are read each time."""

_READING_SECONDS: Final = 5.0
"""How long each query reads names itself after a pipeline met a new one: the writer may go on with further names."""

_NEW: Final = "calls with models that are new were written meanwhile; try again"

_UNREAD: Final = {"provider_id": "", "created_by": None}
"""Fields that are not read: sums do not need them, and they may be long."""

_COUNTED: Final = 1 << 40
"""Sums of less than this many microseconds, over all prices of a project, fit into 64 bits."""

_Mark = tuple[int, int, str]
"""What tells one set of prices from another: their number, the sum of when they were made, the last of their ids."""

_NONE: Final[_Mark] = (0, 0, "")
_MARK: Final[Document] = {
    "$group": {
        "_id": None,
        "number": {"$sum": 1},
        "made": {"$sum": {"$mod": ["$created_at", _COUNTED]}},
        "last": {"$max": "$id"},
    }
}


@dataclass(slots=True)
class _Project:
    """Prices and model names of a project."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    mark: _Mark | None = None
    prices: Prices | None = None
    models: frozenset[str] | None = None
    """Names that its calls have; None if they are not kept."""
    reading_until: float = 0.0
    """By the monotonic clock; until then each query reads the names of its calls."""
    _encoded: tuple[Prices, frozenset[str], Prices] | None = None
    """Prices and names, and the prices of these names for pipelines."""

    def keep(self, models: frozenset[str]) -> None:
        """Keep further names, or none if all of them are too long."""
        models |= self.models or frozenset()
        self.models = models if sum(map(len, models)) <= _MOST_KEPT else None

    async def encoded(
        self, prices: Prices, models: frozenset[str], encode: Callable[[Prices], object]
    ) -> Prices | None:
        """The prices of some names, encoded for a pipeline; None if they take more than `MAX_BYTES`."""
        async with self.turn:  # one of several queries encodes
            if self._encoded is None or self._encoded[:2] != (prices, models):
                found = await asyncio.to_thread(prices.of, models, fails_on_others=True)
                self._encoded = prices, models, found
            found = self._encoded[2]
            return found if await asyncio.to_thread(_fits, encode, found) else None


class _Kept:
    """Prices and model names of the last 16 projects that this process priced."""

    def __init__(self) -> None:
        self._by_project: OrderedDict[str, _Project] = OrderedDict()

    def of(self, project_id: str) -> _Project:
        """What it keeps of a project, from now on at least."""
        found = self._by_project.setdefault(project_id, _Project())
        self._by_project.move_to_end(project_id)
        if len(self._by_project) > _KEPT:
            self._by_project.popitem(last=False)
        return found


_KEPT_OF: Final[WeakKeyDictionary[Database, _Kept]] = WeakKeyDictionary()


async def prices_of(database: Database, project_id: str) -> Prices:
    """The prices of all models, shipped ones included; who set the project's, and of which provider, is left out.

    Raises:
        BadInputError: the project has more than `MAX_PRICES`, or their models' names take more than `MAX_BYTES`.
    """
    project = _KEPT_OF.setdefault(database, _Kept()).of(project_id)
    async with project.turn:  # one of several queries reads
        mark = await _mark(database, project_id)
        if project.prices is None or project.mark != mark:
            rows = await _rows(database, project_id) if mark != _NONE else []
            project.prices = await asyncio.to_thread(_prices, rows)
            project.mark = _mark_of(rows)
        return project.prices


@asynccontextmanager
async def pricing_of_found(
    database: Database,
    project_id: str,
    found: Sequence[Document],
    session: Session,
    encode: Callable[[Prices], object],
) -> AsyncIterator[Prices]:
    """The prices of the models of the calls that some stages find, for a pipeline that the block runs in the session.

    A process keeps the names of models. A pipeline that meets another name fails; the next try reads the names in its
    own session.

    Args:
        database: the database.
        project_id: the project.
        found: the stages.
        session: a snapshot, so that the pipeline finds no other names than those that are read.
        encode: makes the expressions of the pipeline from the prices. A thread calls it first, which encodes them.

    Raises:
        BadInputError: as `prices_of`, or the calls have more than `MAX_MODELS` models or models whose prices take more
            than `MAX_BYTES`.
        NewModelError: the pipeline met a model that was not known.
    """
    prices = await prices_of(database, project_id)
    project = _KEPT_OF[database].of(project_id)
    models = None
    if project.models is None or monotonic() < project.reading_until:
        models = await _models_of(database, found, session)
        project.keep(models)
    pricing = await project.encoded(prices, project.models, encode) if project.models is not None else None
    if pricing is None:
        project.models = None
        models = await _models_of(database, found, session) if models is None else models
        pricing = await project.encoded(prices, models, encode)
    if pricing is None:
        raise _too_many_models(f"models whose names and prices take more than {MAX_BYTES:,} bytes")
    try:
        yield pricing
    except OperationFailure as error:
        if error.code != CONVERSION_FAILURE or UNKNOWN_MODEL not in str(error):
            raise
        project.reading_until = monotonic() + _READING_SECONDS
        raise NewModelError(_NEW) from error


async def prices_of_found(database: Database, project_id: str, found: Sequence[Document]) -> Prices:
    """The prices of the models of few calls that some stages find; a pipeline cannot resolve names itself.

    Raises:
        BadInputError: as `prices_of`.
    """
    prices = await prices_of(database, project_id)
    return prices.of(await _models_of(database, found))


async def _models_of(database: Database, found: Sequence[Document], session: Session | None = None) -> frozenset[str]:
    """The names of the models of the calls that some stages find.

    Raises:
        BadInputError: there are more than `MAX_MODELS`, or they take more than `MAX_BYTES`.
    """
    # Most calls have one model, so that there are few groups before the lists are taken apart.
    stages = [*found, {"$group": {"_id": "$usage.model"}}, {"$unwind": "$_id"}, {"$group": {"_id": "$_id"}}]
    cursor = database.calls.aggregate([*stages, {"$limit": MAX_MODELS + 1}], session=session, allowDiskUse=True)
    models: set[str] = set()
    size = 0
    async for row in cursor:
        models.add(row["_id"])
        size += len(row["_id"])
        if size > MAX_BYTES:
            raise _too_many_models(f"models whose names take more than {MAX_BYTES:,} bytes")
    if len(models) > MAX_MODELS:
        raise _too_many_models(f"more than {MAX_MODELS:,} models")
    return frozenset(models)


async def _mark(database: Database, project_id: str) -> _Mark:
    """The mark of what there is, from an index alone."""
    stages = [{"$match": {"project_id": project_id}}, _MARK]
    marks = await database.costs.aggregate(stages, hint="created_at_id").to_list(None)
    return (marks[0]["number"], marks[0]["made"], marks[0]["last"]) if marks else _NONE


def _mark_of(rows: Sequence[Document]) -> _Mark:
    """The mark of what was read, which may be more by then."""
    return len(rows), sum(row["created_at"] % _COUNTED for row in rows), max((row["id"] for row in rows), default="")


async def _rows(database: Database, project_id: str) -> list[Document]:
    rows: list[Document] = []
    models: set[str] = set()
    unread = dict.fromkeys((*_UNREAD, "_id"), 0)
    cursor = database.costs.find({"project_id": project_id}, unread, limit=MAX_PRICES + 1, batch_size=_AT_ONCE)
    while part := await cursor.to_list(_AT_ONCE):
        rows += part
        models.update(row["llm_id"] for row in part)
        if len(rows) > MAX_PRICES:
            raise _too_many(f"more than {MAX_PRICES:,} costs")
        if sum(map(len, models)) > MAX_BYTES:
            costs = f"costs of so many models, with names so long, that they take more than {MAX_BYTES:,} bytes"
            raise _too_many(costs)
    return rows


def _prices(rows: Sequence[Document]) -> Prices:
    return Prices([*(Price.of_project(_UNREAD | row) for row in rows), *all_models()])


def _fits(encode: Callable[[Prices], object], prices: Prices) -> bool:
    return len(bson.encode({"": encode(prices)})) <= MAX_BYTES


def _too_many_models(models: str) -> BadInputError:
    return BadInputError(
        f"finds calls of {models}, too many to price in one query; narrow it, for example to a time range or to some "
        "op names or models",
        "filter",
    )


def _too_many(costs: str) -> BadInputError:
    return BadInputError(
        f"has {costs}, too many to price all of its calls by; purge those that no call needs any more", "project_id"
    )
