"""The prices of all models of a project, by which any of its calls are priced: read once, and kept while they stand.

They are read in parts and put together in a thread, so that the most that a project may have keep nobody waiting.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from stores.costs.defaults import all_models
from stores.costs.prices import Price
from stores.costs.pricing import Prices
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.transactions import Session

MAX_PRICES: Final = 20_000
"""Prices of a project by which all of its calls are sorted, filtered or summed."""

MAX_BYTES: Final = 3_000_000
"""Of prices in a pipeline, which may hold them twice beside what else it holds; MongoDB takes one of 16 MiB."""

_AT_ONCE: Final = 2_000
"""Prices that are decoded at once, without a turn for others."""

_KEPT: Final = 16
"""Projects whose prices a process keeps."""

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


class _Kept:
    """The prices of the projects of late, each beside the mark of what they were made of."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._by_project: OrderedDict[str, tuple[_Mark, Prices]] = OrderedDict()

    def find(self, project_id: str, mark: _Mark) -> Prices | None:
        """The prices of a project, if they are still those."""
        found = self._by_project.get(project_id)
        if not found or found[0] != mark:
            return None
        self._by_project.move_to_end(project_id)
        return found[1]

    def keep(self, project_id: str, mark: _Mark, prices: Prices) -> None:
        """Keep prices in place of others."""
        self._by_project[project_id] = mark, prices
        self._by_project.move_to_end(project_id)
        if len(self._by_project) > _KEPT:
            self._by_project.popitem(last=False)


_KEPT_OF: Final[WeakKeyDictionary[Database, _Kept]] = WeakKeyDictionary()


async def prices_of(database: Database, project_id: str) -> Prices:
    """The prices of all models, shipped ones included; who set the project's, and of which provider, is left out.

    Raises:
        BadInputError: the project has more than `MAX_PRICES`, or they take more than `MAX_BYTES`.
    """
    kept = _KEPT_OF.setdefault(database, _Kept())
    async with kept.turn:  # of many who ask at once, one reads
        mark = await _mark(database, project_id)
        found = kept.find(project_id, mark)
        if found is None:
            rows = await _rows(database, project_id) if mark != _NONE else []
            found = await asyncio.to_thread(_prices, rows)
            kept.keep(project_id, _mark_of(rows), found)
        return found


async def prices_of_found(
    database: Database, project_id: str, found: Sequence[Document], session: Session | None = None
) -> Prices:
    """The prices of the models of the calls that some stages find, under the names that these have there.

    They are for a pipeline over these calls, which is small by that, and cannot resolve names itself.

    Raises:
        BadInputError: as `prices_of`, also if the prices of these models take more than `MAX_BYTES`.
    """
    prices = await prices_of(database, project_id)
    # Most calls have one model, so that there are few groups before the lists are taken apart.
    stages = [*found, {"$group": {"_id": "$usage.model"}}, {"$unwind": "$_id"}, {"$group": {"_id": "$_id"}}]
    cursor = database.calls.aggregate([*stages, {"$limit": MAX_PRICES}], session=session, allowDiskUse=True)
    return await asyncio.to_thread(_found, prices, [row["_id"] async for row in cursor])


def _found(prices: Prices, models: Sequence[str]) -> Prices:
    found = prices.of(models)
    if found.size > MAX_BYTES:
        raise _too_long()
    return found


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
    prices = Prices([*(Price.of_project(_UNREAD | row) for row in rows), *all_models()])
    if prices.size > MAX_BYTES:
        raise _too_long()
    return prices


def _too_long() -> BadInputError:
    return _too_many(f"costs of so many models, with names so long, that they take more than {MAX_BYTES:,} bytes")


def _too_many(costs: str) -> BadInputError:
    return BadInputError(
        f"has {costs}, too many to price all of its calls by; purge those that no call needs any more", "project_id"
    )
