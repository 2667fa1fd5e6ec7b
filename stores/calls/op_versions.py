"""The op names of a project's calls that start with some prefixes: the versions of ops.

An index leads to the calls of each op name in the order of their start, and MongoDB merges several such scans, but it
sorts all calls of a prefix in memory. So a page by the names of ops is found by the exact names that were read last,
and then MongoDB looks for a call under another name: a page that may lack one is found once more.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from stores.calls.fields import OP_NAME
from stores.database import Database
from stores.database.error_translation import translate_index_build_error
from stores.database.snapshot_reads import all_rows
from stores.database.transactions import Session
from stores.input_checks import MAX_NAME
from stores.query.text_expressions import starting_with

MAX_VERSIONS: Final = 100
"""Op names of one page. MongoDB takes 50 us to plan the scan of each, and merges at most 200."""

MAX_PREFIXES: Final = 20
_KEPT: Final = 1_000
"""Lists of op names that a process keeps for each database."""

Names = tuple[str, ...]
_Key = tuple[str, tuple[str, ...]]

_KEPT_OF: Final[WeakKeyDictionary[Database, OrderedDict[_Key, Names | None]]] = WeakKeyDictionary()
"""The op names read last, by project and prefixes; None if there were more than `MAX_VERSIONS`."""


class OpVersions:
    """The op names of a project's calls that start with one of some prefixes.

    An op never loses versions on the whole, so names that were too many once are too many now.
    """

    def __init__(self, database: Database, project_id: str, prefixes: Sequence[str]) -> None:
        self._calls = database.calls
        self._kept = _KEPT_OF.setdefault(database, OrderedDict())
        self._scope = {"project_id": project_id, "visible": True}
        # No op name starts with a longer one, which would be kept, however long it is.
        self._prefixes = tuple([prefix for prefix in prefixes if len(prefix) <= MAX_NAME])
        self._key = project_id, self._prefixes
        self._is_readable = bool(prefixes) and len(self._prefixes) <= MAX_PREFIXES

    async def known(self) -> Names | None:
        """The names read last, or else those of now; None without prefixes, or if there are too many."""
        if self._key not in self._kept:
            return await self.read()
        self._kept.move_to_end(self._key)
        return self._kept[self._key]

    async def read(self, session: Session | None = None) -> Names | None:
        """The names of now, or of the moment of a session; None without prefixes, or if there are too many.

        Raises:
            UnavailableError: an index was made at this very moment.
        """
        if not self._is_readable or self._kept.get(self._key, ()) is None:
            return None
        if not self._prefixes:
            return ()
        with translate_index_build_error():
            rows = await all_rows(self._calls, self._distinct, MAX_VERSIONS + 2, session)
        names = tuple([row["_id"] for row in rows]) if len(rows) <= MAX_VERSIONS else None
        self._kept[self._key] = names
        self._kept.move_to_end(self._key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return names

    async def has_others(self, names: Names) -> bool:
        """Whether a call has an op name with one of the prefixes, but none of these names.

        Raises:
            UnavailableError: an index was made at this very moment.
        """
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
        # As pages are read, which do not show what a majority of the members has yet to store.
        with translate_index_build_error():
            return bool(await all_rows(self._calls, stages, 2))

    @property
    def _distinct(self) -> list[dict[str, Any]]:
        """The stages that find each op name once, from an index alone."""
        each_once: dict[str, Any] = {"$group": {"_id": f"${OP_NAME.path}"}}
        first, *others = [
            [{"$match": self._scope | {OP_NAME.path: starting_with(prefix)}}, each_once] for prefix in self._prefixes
        ]
        unions = [{"$unionWith": {"coll": self._calls.name, "pipeline": other}} for other in others]
        return [*first, *unions, {"$limit": MAX_VERSIONS + 1}]
