"""Cache of the prices of each project. A thread builds the price tables to keep the event loop free.

Pipelines cannot resolve model names, so they contain the price of each name in the calls. Finding these names needs a
scan of the calls, so a process caches them, and a pipeline fails on any other name.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import bson
from pymongo.errors import OperationFailure

from stores.costs.defaults import all_models
from stores.costs.model_names import RULES_VERSION
from stores.costs.price_timeline import Price
from stores.costs.pricing import UNKNOWN_MODEL, Prices
from stores.database import Database, Document
from stores.database.error_translation import CONVERSION_FAILURE
from stores.database.indexes import index_by
from stores.database.scan_order import index_hint, scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError, NewModelError

MAX_PRICES: Final = 20_000
"""Limit on the prices of a project in queries that sort, filter or sum by cost."""

MAX_MODELS: Final = 20_000
"""Limit on the model names of the calls that one query prices."""

MAX_BYTES: Final = 3_000_000
"""Limit on the prices in a pipeline in bytes. It may contain them twice, and MongoDB accepts 16 MiB."""

_DECODE_BATCH: Final = 2_000
"""Prices decoded per batch, without yielding to the event loop."""

_MAX_PROJECTS: Final = 16
"""Limit on the projects in the cache."""

_MAX_CACHED_CHARACTERS: Final = 100_000
"""Limit on the characters of a project's cached model names; longer sets are read for every query."""

_READING_SECONDS: Final = 5.0
"""Seconds after a new model in a pipeline in which queries read the names themselves, as more may follow."""

_UNREAD: Final = {"provider_id": "", "created_by": None}
"""Defaults for fields that are not read, because sums do not need them and they may be long."""

_TIME_MODULUS: Final = 1 << 40
"""Modulus of creation times, so that their sum over all prices of a project fits into 64 bits."""

Read = Callable[[Sequence[Document]], AsyncIterable[Document]]
"""A function that runs stages over the calls to price, and returns the documents that result."""

_Fingerprint = tuple[int, int, str]
"""Fingerprint of a set of prices: their number, the sum of creation times, the largest id."""

_EMPTY: Final[_Fingerprint] = (0, 0, "")
_FINGERPRINT: Final[Document] = {
    "$group": {
        "_id": None,
        "number": {"$sum": 1},
        "made": {"$sum": {"$mod": ["$created_at", _TIME_MODULUS]}},
        "last": {"$max": "$id"},
    }
}


@dataclass(slots=True)
class _Project:
    """Cached prices and model names of a project."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    mark: _Fingerprint | None = None
    prices: Prices | None = None
    models: frozenset[str] | None = None
    """Model names in its calls; None if they are not cached."""
    reading_until: float = 0.0
    """Monotonic time until which each query reads the names of its calls."""
    _encoded: tuple[Prices, frozenset[str], Prices] | None = None
    """Prices and names, and the prices of these names for pipelines."""

    def keep(self, models: frozenset[str]) -> None:
        """Cache further names; cache none if they are too long together."""
        models |= self.models or frozenset()
        self.models = models if sum(map(len, models)) <= _MAX_CACHED_CHARACTERS else None

    async def encoded(
        self, prices: Prices, models: frozenset[str], encode: Callable[[Prices], object]
    ) -> Prices | None:
        """Return the prices of some names for a pipeline; None if they take more than `MAX_BYTES`."""
        async with self.turn:  # concurrent queries encode once
            if self._encoded is None or self._encoded[:2] != (prices, models):
                pricing = await asyncio.to_thread(prices.of, models, fails_on_others=True)
                self._encoded = prices, models, pricing
            pricing = self._encoded[2]
            return pricing if await asyncio.to_thread(_fits, encode, pricing) else None


_CACHES: Final[WeakKeyDictionary[Database, OrderedDict[str, _Project]]] = WeakKeyDictionary()
"""Cached prices and model names of the projects priced last."""


def _cached(database: Database, project_id: str) -> _Project:
    """Return the cache entry of a project, creating it if needed."""
    by_project = _CACHES.setdefault(database, OrderedDict())
    project = by_project.setdefault(project_id, _Project())
    by_project.move_to_end(project_id)
    if len(by_project) > _MAX_PROJECTS:
        by_project.popitem(last=False)
    return project


async def prices_of(database: Database, project_id: str) -> Prices:
    """Return the prices of all models, including shipped ones, without provider and creator.

    Raises:
        BadInputError: the project has more than `MAX_PRICES`, or model names of more than `MAX_BYTES`.
    """
    return (await versioned_prices_of(database, project_id))[1]


async def versioned_prices_of(database: Database, project_id: str) -> tuple[str, Prices]:
    """Return the prices as `prices_of` with a name, which equal prices have in all processes.

    Raises:
        BadInputError: as `prices_of`.
    """
    project = _cached(database, project_id)
    async with project.turn:  # concurrent queries read once
        mark = await _read_fingerprint(database, project_id)
        if project.prices is None or project.mark != mark:
            rows = await _rows(database, project_id) if mark != _EMPTY else []
            project.prices = await asyncio.to_thread(_prices, rows)
            project.mark = _fingerprint_of(rows)
        return f"{RULES_VERSION} {project.mark}", project.prices


@asynccontextmanager
async def pricing_of_found(
    database: Database,
    project_id: str,
    found: Sequence[Document],
    session: Session,
    encode: Callable[[Prices], object],
    read: Read | None = None,
) -> AsyncIterator[Prices]:
    """Provide the prices of the models in the calls that `found` returns, for a pipeline that the block runs.

    Model names are cached. A pipeline that meets another name fails; the retry reads the names in its own session.

    Args:
        database: the database.
        project_id: the project.
        found: stages that find the calls.
        session: a snapshot session, so that the pipeline meets only names that were read.
        encode: builds the pipeline's expressions from the prices. It is called first in a thread, which encodes them.
        read: runs stages over the calls, if `found` does not find them.

    Raises:
        BadInputError: as `prices_of`, or the calls have more than `MAX_MODELS` models or models whose prices take more
            than `MAX_BYTES`.
        NewModelError: the pipeline met an unknown model.
    """
    prices = await prices_of(database, project_id)
    project = _cached(database, project_id)
    models = None
    if project.models is None or monotonic() < project.reading_until:
        models = await _models_of(database, found, session, read)
        project.keep(models)
    pricing = await project.encoded(prices, project.models, encode) if project.models is not None else None
    if pricing is None:
        project.models = None
        models = await _models_of(database, found, session, read) if models is None else models
        pricing = await project.encoded(prices, models, encode)
    if pricing is None:
        raise _too_many_models(f"models whose names and prices have more than {MAX_BYTES:,} bytes")
    try:
        yield pricing
    except OperationFailure as error:
        if error.code != CONVERSION_FAILURE or UNKNOWN_MODEL not in str(error):
            raise
        project.reading_until = monotonic() + _READING_SECONDS
        raise NewModelError("calls with new models were written during the query; retry") from error


async def prices_of_found(database: Database, project_id: str, found: Sequence[Document]) -> Prices:
    """Return the prices of the models in the few calls that `found` returns; pipelines cannot resolve names.

    Raises:
        BadInputError: as `prices_of`.
    """
    prices = await prices_of(database, project_id)
    return prices.of(await _models_of(database, found))


async def _models_of(
    database: Database, found: Sequence[Document], session: Session | None = None, read: Read | None = None
) -> frozenset[str]:
    """Return the model names in the calls that `found` returns.

    Raises:
        BadInputError: there are more than `MAX_MODELS`, or they take more than `MAX_BYTES`.
    """
    # Most calls have one model, so grouping the lists first leaves few to unwind.
    stages = [*found, {"$group": {"_id": "$usage.model"}}, {"$unwind": "$_id"}, {"$group": {"_id": "$_id"}}]
    stages.append({"$limit": MAX_MODELS + 1})
    hint = {} if read else await scan_hint(database.calls, stages)
    rows = read(stages) if read else database.calls.aggregate(stages, session=session, allowDiskUse=True, **hint)
    models: set[str] = set()
    size = 0
    async for row in rows:
        models.add(row["_id"])
        size += len(row["_id"])
        if size > MAX_BYTES:
            raise _too_many_models(f"models whose names have more than {MAX_BYTES:,} bytes")
    if len(models) > MAX_MODELS:
        raise _too_many_models(f"more than {MAX_MODELS:,} models")
    return frozenset(models)


async def _read_fingerprint(database: Database, project_id: str) -> _Fingerprint:
    """Read the fingerprint of the stored prices from an index."""
    stages = [{"$match": {"project_id": project_id}}, _FINGERPRINT]
    by_index = index_hint(database.costs, index_by("costs", "project_id", "created_at"))
    marks = await database.costs.aggregate(stages, **by_index).to_list(None)
    return (marks[0]["number"], marks[0]["made"], marks[0]["last"]) if marks else _EMPTY


def _fingerprint_of(rows: Sequence[Document]) -> _Fingerprint:
    """Compute the fingerprint of the rows read, which may be newer than the last `_read_fingerprint`."""
    return (
        len(rows),
        sum(row["created_at"] % _TIME_MODULUS for row in rows),
        max((row["id"] for row in rows), default=""),
    )


async def _rows(database: Database, project_id: str) -> list[Document]:
    rows: list[Document] = []
    models: set[str] = set()
    unread = dict.fromkeys((*_UNREAD, "_id"), 0)
    cursor = database.costs.find({"project_id": project_id}, unread, limit=MAX_PRICES + 1, batch_size=_DECODE_BATCH)
    while batch := await cursor.to_list(_DECODE_BATCH):
        rows += batch
        models.update(row["llm_id"] for row in batch)
        if len(rows) > MAX_PRICES:
            raise _too_many(f"more than {MAX_PRICES:,} costs")
        if sum(map(len, models)) > MAX_BYTES:
            costs = f"costs with model names of more than {MAX_BYTES:,} bytes"
            raise _too_many(costs)
    return rows


def _prices(rows: Sequence[Document]) -> Prices:
    return Prices([*(Price.of_project(_UNREAD | row) for row in rows), *all_models()])


def _fits(encode: Callable[[Prices], object], prices: Prices) -> bool:
    return len(bson.encode({"": encode(prices)})) <= MAX_BYTES


def _too_many_models(models: str) -> BadInputError:
    return BadInputError(
        f"matches calls of {models}, too many to price in one query; narrow it, for example to a time range, to "
        "op names or to models",
        "filter",
    )


def _too_many(costs: str) -> BadInputError:
    return BadInputError(
        f"has {costs}, too many to price all of its calls; purge costs that no call needs", "project_id"
    )
