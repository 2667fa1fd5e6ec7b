"""The prices of all models of a project, by which any of its calls are priced: read once, and kept while they stand.

They are read in parts and put together in a thread, so that the most that a project may have keep nobody waiting.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from pymongo.errors import OperationFailure

from stores.costs.defaults import all_models
from stores.costs.prices import Price
from stores.costs.pricing import Prices
from stores.database import Database, Document
from stores.driver_errors import CONVERSION_FAILURE
from stores.errors import BadInputError, NewModelError
from stores.transactions import Session

MAX_PRICES: Final = 20_000
"""Prices of a project by which all of its calls are sorted, filtered or summed."""

MAX_BYTES: Final = 3_000_000
"""Of prices in a pipeline, which may hold them twice beside what else it holds; MongoDB takes one of 16 MiB."""

_AT_ONCE: Final = 2_000
"""Prices that are decoded at once, without a turn for others."""

_KEPT: Final = 16
"""Projects whose prices a process keeps."""

_MOST_KEPT: Final = 100_000
"""Characters of the names of a project's models that a process keeps; names that are longer are read each time."""

_NEW: Final = "calls with models that are new were written meanwhile; try again"

_UNREAD: Final = {"provider_id": "", "created_by": None}
"""What no sum of costs needs, and what may be long."""

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
    """What a process keeps of a project: its prices beside the mark of what they were made of, and names of models."""

    mark: _Mark | None = None
    prices: Prices | None = None
    models: frozenset[str] | None = None
    """Those that its calls are known to have; None if they are not kept."""
    priced: tuple[Prices, frozenset[str], Prices] | None = None
    """Of some prices and models what pipelines take."""

    def keep_models(self, models: frozenset[str]) -> frozenset[str]:
        """Keep names unless they are too many; the names themselves."""
        self.models = models if _can_be_kept(models) else None
        return models

    async def pricing(self, prices: Prices, models: frozenset[str]) -> Prices:
        """What pipelines take: made in a thread if it was not so far."""
        if self.priced is None or self.priced[0] is not prices or self.priced[1] is not models:
            self.priced = prices, models, await asyncio.to_thread(_of_models, prices, models)
        return self.priced[2]


class _Kept:
    """What a process keeps of the projects of late."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
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
    kept = _KEPT_OF.setdefault(database, _Kept())
    async with kept.turn:  # of many who ask at once, one reads
        mark = await _mark(database, project_id)
        project = kept.of(project_id)
        if project.prices is None or project.mark != mark:
            rows = await _rows(database, project_id) if mark != _NONE else []
            project.prices = await asyncio.to_thread(_prices, rows)
            project.mark = _mark_of(rows)
        return project.prices


@asynccontextmanager
async def pricing_of_found(
    database: Database, project_id: str, found: Sequence[Document], session: Session | None = None
) -> AsyncIterator[Prices]:
    """The prices of the models of the calls that some stages find, for a pipeline that prices these in the block.

    A process keeps the names of models that it found, so that it need not look for them each time. A pipeline that
    meets another one fails, and the process looks for the names once more.

    Raises:
        BadInputError: as `prices_of`, also if the prices of these models take more than `MAX_BYTES`.
        NewModelError: the pipeline met a model that was not known, and is by now.
    """
    prices = await prices_of(database, project_id)
    project = _KEPT_OF[database].of(project_id)
    models = project.models
    if models is None:
        models = project.keep_models(await _models_of(database, found, session))
    try:
        yield await project.pricing(prices, models)
    except OperationFailure as error:
        if error.code != CONVERSION_FAILURE:
            raise
        project.keep_models(models | await _models_of(database, found, session))
        raise NewModelError(_NEW) from error


async def prices_of_found(database: Database, project_id: str, found: Sequence[Document]) -> Prices:
    """The prices of the models of few calls that some stages find; a pipeline cannot resolve names itself.

    Raises:
        BadInputError: as `prices_of`.
    """
    prices = await prices_of(database, project_id)
    return prices.of(await _models_of(database, found))


async def _models_of(database: Database, found: Sequence[Document], session: Session | None = None) -> frozenset[str]:
    """The names of the models of the calls that some stages find, `MAX_PRICES` at most."""
    # Most calls have one model, so that there are few groups before the lists are taken apart.
    stages = [*found, {"$group": {"_id": "$usage.model"}}, {"$unwind": "$_id"}, {"$group": {"_id": "$_id"}}]
    cursor = database.calls.aggregate([*stages, {"$limit": MAX_PRICES}], session=session, allowDiskUse=True)
    return frozenset([row["_id"] async for row in cursor])


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
            raise _too_long()
    return rows


def _prices(rows: Sequence[Document]) -> Prices:
    return Prices([*(Price.of_project(_UNREAD | row) for row in rows), *all_models()])


def _can_be_kept(models: frozenset[str]) -> bool:
    return sum(map(len, models)) <= _MOST_KEPT


def _of_models(prices: Prices, models: frozenset[str]) -> Prices:
    found = prices.of(models, fails_on_others=_can_be_kept(models))
    if found.size > MAX_BYTES:
        raise _too_long()
    return found


def _too_long() -> BadInputError:
    return _too_many(f"costs of so many models, with names so long, that they take more than {MAX_BYTES:,} bytes")


def _too_many(costs: str) -> BadInputError:
    return BadInputError(
        f"has {costs}, too many to price all of its calls by; purge those that no call needs any more", "project_id"
    )
