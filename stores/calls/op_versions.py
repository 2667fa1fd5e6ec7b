"""The op names of a project's calls that start with given prefixes: the versions of ops.

An index returns the calls of each exact op name by start, and MongoDB merges several such scans. For a prefix, MongoDB
sorts all its calls in memory. A page is therefore read by the cached exact names, followed by a check for calls with
other names; if there are any, the page is read again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from stores.calls.fields import OP_NAME
from stores.database import Database
from stores.database.reads import all_rows
from stores.database.transactions import Session
from stores.input_checks import MAX_NAME
from stores.query.text_expressions import starting_with

MAX_VERSIONS: Final = 100
"""Op names of one page: MongoDB plans each scan in 50 us, and merges at most 200."""

MAX_PREFIXES: Final = 20
_MAX_CACHED: Final = 1_000
"""Cached lists of op names per database and process."""

Names = tuple[str, ...]
_Key = tuple[str, tuple[str, ...]]

_CACHES: Final[WeakKeyDictionary[Database, OrderedDict[_Key, Names | None]]] = WeakKeyDictionary()
"""Cached op names by project and prefixes; None if there were more than `MAX_VERSIONS`."""


class OpVersions:
    """The op names of a project's calls that start with one of the prefixes.

    Ops rarely lose versions, so a list that was too long is not read again.
    """

    def __init__(self, database: Database, project_id: str, prefixes: Sequence[str]) -> None:
        self._calls = database.calls
        self._cache = _CACHES.setdefault(database, OrderedDict())
        self._scope = {"project_id": project_id, "visible": True}
        # No op name starts with a longer prefix, and a long one would fill the cache.
        self._prefixes = tuple([prefix for prefix in prefixes if len(prefix) <= MAX_NAME])
        self._key = project_id, self._prefixes
        self._is_readable = bool(prefixes) and len(self._prefixes) <= MAX_PREFIXES

    async def cached_or_read(self) -> Names | None:
        """Return the cached names, else read them; None without prefixes, or if there are too many names."""
        if self._key not in self._cache:
            return await self.read()
        self._cache.move_to_end(self._key)
        return self._cache[self._key]

    async def read(self, session: Session | None = None) -> Names | None:
        """Read the current names, or those of a session's snapshot; None without prefixes, or if there are too many."""
        if not self._is_readable or self._cache.get(self._key, ()) is None:
            return None
        if not self._prefixes:
            return ()
        rows = await all_rows(self._calls, self._distinct_stages, MAX_VERSIONS + 2, session)
        names = tuple([row["_id"] for row in rows]) if len(rows) <= MAX_VERSIONS else None
        self._cache[self._key] = names
        self._cache.move_to_end(self._key)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return names

    async def has_others(self, names: Names) -> bool:
        """Return True if a call has a name with one of the prefixes that is not among `names`."""
        if not self._prefixes:
            return False
        others = [
            {OP_NAME.path: starting_with(prefix) | {"$nin": [name for name in names if name.startswith(prefix)]}}
            for prefix in self._prefixes
        ]
        stages: list[dict[str, Any]] = [
            {"$match": self._scope | {"$or": others}},
            {"$limit": 1},
            {"$project": {"_id": 0, OP_NAME.path: 1}},
        ]
        # Read like pages, which exclude writes that a majority has not stored yet.
        return bool(await all_rows(self._calls, stages, 2))

    @property
    def _distinct_stages(self) -> list[dict[str, Any]]:
        """The stages that find each op name once, from an index alone."""
        each_once: dict[str, Any] = {"$group": {"_id": f"${OP_NAME.path}"}}
        first, *others = [
            [{"$match": self._scope | {OP_NAME.path: starting_with(prefix)}}, each_once] for prefix in self._prefixes
        ]
        unions = [{"$unionWith": {"coll": self._calls.name, "pipeline": other}} for other in others]
        return [*first, *unions, {"$limit": MAX_VERSIONS + 1}]
