"""The op names that a project's calls have behind some prefixes: the versions of ops.

An index leads to the calls of each op name in the order of their start, and MongoDB merges several such scans, but it
sorts the calls of a prefix in memory. So a page by the names of ops takes the op names that there are. MongoDB reads
them while it finds the page with those of last time; a page that lacked a new version is found once more.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from stores.calls.fields import OP_NAME
from stores.database import Database
from stores.paging import making_no_index
from stores.query.texts import starting_with
from stores.whole_reads import all_rows

MAX_VERSIONS: Final = 100
"""Op names of one page. MongoDB takes 50 us to plan the scan of each, and merges at most 200."""

MAX_PREFIXES: Final = 20
_KEPT: Final = 1_000
"""Lists of op names that a process keeps for each database."""

Names = tuple[str, ...]
_Key = tuple[str, tuple[str, ...]]

_KEPT_OF: Final[WeakKeyDictionary[Database, OrderedDict[_Key, Names | None]]] = WeakKeyDictionary()
"""The op names found last, by project and prefixes; None if there were more than `MAX_VERSIONS`."""


class OpVersions:
    """The op names of a project's calls that start with one of some prefixes; a thread reads them from now on."""

    def __init__(self, database: Database, project_id: str, prefixes: Sequence[str]) -> None:
        self._kept = _KEPT_OF.setdefault(database, OrderedDict())
        self._key = project_id, tuple(prefixes)
        self._rows = all_rows(database.calls, _distinct(database.calls.name, *self._key), MAX_VERSIONS + 2)

    async def known(self) -> Names | None:
        """The names of last time, or else those of now; None if there are too many."""
        return self._kept[self._key] if self._key in self._kept else await self.found()

    async def found(self) -> Names | None:
        """The names of now; None if there are too many."""
        with making_no_index():
            rows = await self._rows
        names = tuple([row["_id"] for row in rows]) if len(rows) <= MAX_VERSIONS else None
        self._kept[self._key] = names
        self._kept.move_to_end(self._key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return names

    def cancel(self) -> None:
        """Drop the names, if they are not read yet."""
        self._rows.cancel()


@contextmanager
def op_versions(database: Database, project_id: str, prefixes: Sequence[str]) -> Iterator[OpVersions | None]:
    """The op names with some prefixes, read during the block; None without prefixes, or if there are too many.

    An op never loses versions on the whole, so too many of last time are too many now, and are not read again.
    """
    kept = _KEPT_OF.get(database)
    too_many = kept is not None and kept.get((project_id, tuple(prefixes)), ()) is None
    if too_many or not 0 < len(prefixes) <= MAX_PREFIXES:
        yield None
        return
    found = OpVersions(database, project_id, prefixes)
    try:
        yield found
    finally:
        found.cancel()


def _distinct(calls: str, project_id: str, prefixes: Sequence[str]) -> list[dict[str, Any]]:
    """The stages that find each op name once, from an index alone."""
    scope = {"project_id": project_id, "visible": True}
    each_once: dict[str, Any] = {"$group": {"_id": f"${OP_NAME.path}"}}
    first, *others = [[{"$match": scope | {OP_NAME.path: starting_with(prefix)}}, each_once] for prefix in prefixes]
    unions = [{"$unionWith": {"coll": calls, "pipeline": other}} for other in others]
    return [*first, *unions, {"$limit": MAX_VERSIONS + 1}]
