"""Parents whose own usage depends on calls of other hours.

The own usage of a call whose usage scope is unclear is what it reports beyond its visible children
(`stores.usage.own`). So a child changes a roll-up of its parent's hour. Therefore

- a query of own usage reads the calls of an hour in which a parent of a visible call of a live hour started,
- the settling of an hour marks the hours of its calls' parents, in the same transaction,
- the settling of a parent's hour waits for those of its children, so it never counts what an open write may take back,
- a write that takes usage from a parent, because it hides, moves or ends a call with usage again, marks the parent's
  hour like that of the call.

Calls and their parents are joined in batches of ids. With `$lookup`, a shard of a cluster would send a command to each
shard for each call.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.indexes import index_by
from stores.database.scan_order import index_hint
from stores.database.transactions import Session
from stores.hours import hour_expression
from stores.rollups.documents import PARENTS
from stores.usage.entries import UNCLEAR
from stores.usage.own import BY_PARENT, MAX_PARENTS

Hour = tuple[str, int]
"""A project and the start of an hour."""

Call = tuple[str, str]
"""A project and the id of a call."""

_HAS_USAGE: Final[Document] = {"usage": {"$exists": True}}
BY_START: Final = index_by("calls", "project_id", "visible", "started_at")
"""Name of the index of calls by start."""

_BY_SCOPE: Final = index_by("calls", "project_id", "visible", "usage_scope")
_BATCH: Final = 1_000
_HOUR: Final = {"project_id": "$project_id", "hour": hour_expression("$started_at")}
_IS_PARENT: Final[Document] = {"visible": True, "usage_scope": UNCLEAR, "started_at": {"$type": "number"}}
"""Match for calls whose own usage depends on their children."""


async def hours_of(database: Database, calls: Iterable[Call], session: Session | None = None) -> set[Hour]:
    """Return the hours of those calls whose own usage depends on their children."""
    hours: set[Hour] = set()
    for batch in batches(sorted(set(calls)), _BATCH):
        keys = {"_id": {"$in": [":".join(call) for call in batch]}, "project_id": {"$in": list(dict(batch))}}
        rows = database.calls.aggregate(
            [{"$match": {**keys, **_IS_PARENT}}, {"$group": {"_id": _HOUR}}], session=session
        )
        hours |= {(row["_id"]["project_id"], row["_id"]["hour"]) async for row in rows}
    return hours


async def hours_of_parents(
    database: Database, project_id: str, children: Sequence[Document], session: Session | None = None
) -> set[int]:
    """Return the hours in which the parents started of visible calls that match one of some conditions."""
    stages: list[Document] = [
        {"$match": {"$or": [{**each, "parent_id": {"$gt": ""}, **_HAS_USAGE} for each in children]}},
        {"$group": {"_id": "$parent_id"}},
    ]
    by_start = index_hint(database.calls, BY_START)
    hours = set[int]()
    options = {"allowDiskUse": True, "batchSize": _BATCH, **by_start}
    async with database.calls.aggregate(stages, session=session, **options) as parents:
        while rows := await parents.to_list(_BATCH):
            found = await hours_of(database, [(project_id, row["_id"]) for row in rows], session)
            hours |= {hour for _, hour in found}
    return hours


async def find_parents(
    database: Database, project_id: str, matches: Sequence[Document], session: Session | None = None
) -> Mapping[str, set[int]]:
    """Find calls with children of which both report usage; return their ids with the hours of their children.

    If there are more than `MAX_PARENTS`, some are missing.

    Args:
        database: the database.
        project_id: the project.
        matches: the alternatives of a match of visible calls of the project.
        session: the session of the reads.
    """
    unclear = {"$match": {"$or": [{**each, "usage_scope": UNCLEAR} for each in matches]}}
    ids: list[Document] = [unclear, {"$project": {"_id": 0, "id": 1}}]
    by_scope, by_parent = (index_hint(database.calls, name) for name in (_BY_SCOPE, BY_PARENT))
    pairs = {"_id": {"parent": "$parent_id", "hour": _HOUR["hour"]}}
    parents = defaultdict[str, set[int]](set)
    async with database.calls.aggregate(ids, session=session, batchSize=_BATCH, **by_scope) as calls:
        while len(parents) <= MAX_PARENTS and (rows := await calls.to_list(_BATCH)):
            of_calls = {"project_id": project_id, "visible": True, "parent_id": {"$in": [row["id"] for row in rows]}}
            stages: list[Document] = [{"$match": of_calls | _HAS_USAGE}, {"$group": pairs}]
            async for row in database.calls.aggregate(stages, session=session, batchSize=2 * _BATCH, **by_parent):
                parents[row["_id"]["parent"]].add(row["_id"]["hour"])
    return dict(parents)


async def settled_parents(
    database: Database, project_id: str, first: int, end: int, live_hours: Collection[int], session: Session
) -> set[str]:
    """Return the ids of the calls that `find_parents` found in the settled hours of a time range.

    If there are more than `MAX_PARENTS`, some are missing.
    """
    match = {"project_id": project_id, "unit": PARENTS, "started_at": {"$gte": first, "$lt": end}}
    parents: set[str] = set()
    async with database.rollups.find(match, session=session) as stored:
        async for row in stored:
            if row["started_at"] not in live_hours:
                parents.update(row[PARENTS])
            if len(parents) > MAX_PARENTS:
                break
    return parents
