"""Own usage of calls, so that usage reported by a call and again by its parent counts once.

A call's own usage depends on its scope (`stores.usage.entries`). It is the reported usage if the call reports only for
itself, and nothing if it sums up its descendants. If the scope is unclear, it is the excess over the children's usage
per model, or all of it if the call reports less than they do.

Only direct children are considered; `usage_tree` also looks through children without usage. Classes of tokens are
subtracted like counts. If a class would be negative, the excess has no classes, because the others would exceed the
total.

Unclear calls with reporting children are found first, and joined with these: a lookup for each unclear call would take
as long as reading twenty calls. The children of a few calls are found by the ids of these. Roll-ups know the parents
among many calls; otherwise one query finds them.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from stores.database import Collection
from stores.database.indexes import index_by
from stores.database.scan_order import index_hint, scan_hint
from stores.database.transactions import Session
from stores.query.text_expressions import Expression
from stores.usage.classes import PARTS, REQUESTS, STORED, Side
from stores.usage.entries import SUM, UNCLEAR

Pipeline = list[dict[str, Any]]

COUNTS: Final = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")
TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

FEW: Final = 1_000
"""Maximum number of unclear calls whose children are found by their ids."""
MANY_MORE: Final = 10
"""Ratio of the calls in the time range to the unclear ones from which scanning the range is slower than lookups."""
MAX_PARENTS: Final = 50_000
"""Limit on the ids in a pipeline. Each takes about 60 bytes, twice, of the 16 MiB that MongoDB accepts."""

BY_PARENT: Final = index_by("calls", "project_id", "visible", "parent_id")
"""Name of the index of calls by parent."""
_SKEW: Final = 60_000_000
"""Largest clock difference between the machines of a trace, in microseconds."""
_CALL: Final = "_call"
_PARENT_INDEX: Final = "_place"
_CHILD_USAGE: Final = "_theirs"
OF_CHILDREN: Final = f"{_CHILD_USAGE}.values"
"""Path of values of the children of a call."""


class UsageOf(StrEnum):
    """Usage that an aggregate counts for each call."""

    OWN = "own"
    """Own usage of each call, so that usage summed up by parents counts once. If summary.status_counts counts one call,
    all reported usage is the call's own. If it counts more, none is: the call reports a sum, as parents written by
    Weave's client do. Without status_counts, the own usage of a model is the reported usage minus that of the children,
    or all of it if the children report more. usageTree also looks below children that report nothing.
    """
    REPORTED = "reported"
    """Usage as each call reports it. Use it if no call is below another, such as with traceRootsOnly, and the client
    that wrote the calls reports sums.
    """


@dataclass(frozen=True, slots=True)
class Unclear:
    """Plan for the calls whose usage scope is unclear.

    If `parents` is None, the children of every unclear call are looked up. Otherwise `parents` are the `_id`s of
    unclear calls whose children match `reporting`. With `are_found` the calls are found by one match, which all
    parents meet.
    """

    parents: list[str] | None = None
    reporting: dict[str, Any] = field(default_factory=dict)
    are_found: bool = False

    @classmethod
    def of_parents(cls, project_id: str, ids: Iterable[str], *, are_found: bool = False) -> Self | None:
        """Return the plan for calls with these ids, whose children are joined; None if there are none."""
        parents = sorted(ids)
        reporting = _visible(project_id) | {"parent_id": {"$in": parents}, "usage": {"$exists": True}}
        return cls([f"{project_id}:{each}" for each in parents], reporting, are_found) if parents else None

    @property
    def match(self) -> dict[str, Any]:
        """MongoDB filter of the calls to compare with their children."""
        return {"usage_scope": UNCLEAR} if self.parents is None else {"_id": {"$in": self.parents}}

    @property
    def others(self) -> Pipeline:
        """Stages that exclude the calls of `match`."""
        if self.parents is None:
            return [{"$match": {"usage_scope": {"$ne": UNCLEAR}}}]
        # MongoDB hashes a literal list for `$indexOfArray`; `$nin` would take as long as a lookup.
        position = {"$indexOfArray": [{"$literal": self.parents}, "$_id"]}
        return [{"$set": {_PARENT_INDEX: position}}, {"$match": {_PARENT_INDEX: {"$lt": 0}}}]


async def find_unclear(
    calls: Collection,
    project_id: str,
    found: Sequence[dict[str, Any]],
    session: Session,
    known_parents: Callable[[int, int], Awaitable[Iterable[str] | None]],
) -> Unclear | None:
    """Plan the unclear calls among those that `found` returns; None if there are none.

    `known_parents` returns the ids of all unclear calls of the project that start between two times and of which
    children report usage, too; None if they are not known.
    """
    fields = {
        "calls": {"$sum": 1},
        "ids": {"$firstN": {"n": FEW + 1, "input": "$id"}},
        "first": {"$min": "$started_at"},
        "last_start": {"$max": "$started_at"},
        "last": {"$max": "$ended_at"},
    }
    surveyed: Pipeline = [*found, {"$match": {"usage_scope": UNCLEAR}}, {"$group": {"_id": None, **fields}}]
    hint = await scan_hint(calls, surveyed)
    surveyed_rows = await calls.aggregate(surveyed, session=session, allowDiskUse=True, **hint).to_list(None)
    if not surveyed_rows:
        return None
    number = surveyed_rows[0]["calls"]
    if number <= FEW:
        return Unclear.of_parents(project_id, await _with_children(calls, project_id, surveyed_rows[0]["ids"], session))
    # A call that sums up its children ends after they have reported.
    time_range = {"$gte": surveyed_rows[0]["first"] - _SKEW, "$lte": surveyed_rows[0]["last"] + _SKEW}
    match = _visible(project_id) | {"started_at": time_range}
    reporting = match | {"parent_id": {"$gt": ""}, "usage": {"$exists": True}}
    limit = number * MANY_MORE
    if (known := await known_parents(surveyed_rows[0]["first"], surveyed_rows[0]["last_start"])) is not None:
        return Unclear.of_parents(project_id, known)
    if await calls.count_documents(match, session=session, limit=limit) == limit:
        return Unclear()
    parents = await _parents(calls, project_id, match | {"usage": {"$exists": True}}, session)
    if parents is None:
        return Unclear()
    # Often only the calls of models report usage, and none of these has children.
    return Unclear(parents, reporting) if parents else None


async def _with_children(calls: Collection, project_id: str, ids: Sequence[str], session: Session) -> list[str]:
    """Return those of some ids whose calls have children that report usage."""
    children = _visible(project_id) | {"parent_id": {"$in": ids}, "usage": {"$exists": True}}
    stages: Pipeline = [{"$match": children}, {"$group": {"_id": "$parent_id"}}]
    rows = await calls.aggregate(stages, session=session, **index_hint(calls, BY_PARENT)).to_list(None)
    return [row["_id"] for row in rows]


async def _parents(calls: Collection, project_id: str, reporting: dict[str, Any], session: Session) -> list[str] | None:
    """Return the `_id`s of unclear calls that have children, both among the calls that report usage.

    None if there are more than `MAX_PARENTS`.
    """
    is_unclear = {"$eq": ["$usage_scope", UNCLEAR]}
    roles: list[Expression] = [{"id": "$id", "is_unclear": is_unclear}, {"id": "$parent_id", "has_children": True}]
    found: Pipeline = [
        {"$match": reporting},
        {"$project": {"_id": 0, "call": roles}},
        {"$unwind": "$call"},
        {"$group": {"_id": "$call.id"} | {name: {"$max": f"$call.{name}"} for name in ("is_unclear", "has_children")}},
        {"$match": {"is_unclear": True, "has_children": True}},
        {"$limit": MAX_PARENTS + 1},
    ]
    parents = await calls.aggregate(found, session=session, allowDiskUse=True).to_list(None)
    if len(parents) > MAX_PARENTS:
        return None
    return sorted([f"{project_id}:{parent['_id']}" for parent in parents])


def _visible(project_id: str) -> dict[str, Any]:
    return {"project_id": project_id, "visible": True}


def with_own_usage(
    calls: str,
    project_id: str,
    found: Sequence[dict[str, Any]],
    paths: Sequence[str],
    unclear: Unclear | None,
    *,
    has_classes: bool,
    of_children: Expression = None,
) -> Pipeline:
    """Build the stages that return calls, projected to `paths`, with their own usage instead of the reported one.

    Without `has_classes` the usage of unclear calls may lack its classes, which is faster. The values of `of_children`,
    an expression over the starts of the children that were subtracted, are under `OF_CHILDREN` of each parent that
    `unclear` names.
    """
    counts = (*COUNTS, *STORED) if has_classes else COUNTS
    project: Pipeline = [{"$project": {"_id": 0} | dict.fromkeys(paths, 1)}]
    own_or_none = {"$set": {"usage": {"$cond": [{"$eq": ["$usage_scope", SUM]}, [], "$usage"]}}}
    if unclear is None:
        return [*found, own_or_none, *project]
    summed = [{"$match": {"project_id": project_id, **unclear.match}}]
    # MongoDB would take long to plan the match of many alternatives that finds the calls.
    summed = [*summed, *found[1:]] if unclear.are_found else [*found, *summed]
    settled: Pipeline = [*summed, {"$project": dict.fromkeys([*paths, "id"], 1)}]
    settled += (
        [_lookup_children(calls, project_id, counts)]
        if unclear.parents is None
        else _join_children(calls, unclear.reporting, counts, of_children)
    )
    project = [{"$project": {"_id": 0} | dict.fromkeys(paths, 1) | ({OF_CHILDREN: 1} if of_children else {})}]
    union = {
        "$unionWith": {"coll": calls, "pipeline": [*settled, _subtract_children(has_classes=has_classes), *project]}
    }
    return [*found, *unclear.others, own_or_none, *project, union]


def _lookup_children(calls: str, project_id: str, counts: Sequence[str]) -> dict[str, Any]:
    """Build the stage that looks up the usage of a call's children by model."""
    match = {"$match": _visible(project_id) | {"usage": {"$exists": True}}}
    summed = [match, {"$unwind": "$usage"}, _summed("$usage.model", counts), {"$set": {"model": "$_id"}}]
    joined = {"from": calls, "localField": "id", "foreignField": "parent_id", "pipeline": summed, "as": _CHILD_USAGE}
    return {"$lookup": joined}


def _join_children(calls: str, reporting: dict[str, Any], counts: Sequence[str], of_children: Expression) -> Pipeline:
    """Build the stages that join calls with the usage of their children by model."""
    theirs: dict[str, Any] = {"model": "$_id.model"} | {count: f"${count}" for count in counts}
    summed = _summed({"parent": "$parent_id", "model": "$usage.model"}, counts)
    if of_children:
        theirs["values"] = "$values"
        summed["$group"]["values"] = {"$addToSet": of_children}
    summed_stages: Pipeline = [
        {"$match": reporting},
        {"$project": {"_id": 0, "parent_id": 1, "started_at": 1, "usage": 1}},
        {"$unwind": "$usage"},
        summed,
        {"$project": {"_id": 0, "id": "$_id.parent", _CHILD_USAGE: theirs}},
    ]
    return [
        {"$project": {"_id": 0, "id": 1, _CALL: "$$ROOT"}},
        {"$unionWith": {"coll": calls, "pipeline": summed_stages}},
        # Documents of sums have no call, so `$max` keeps the call.
        {"$group": {"_id": "$id", _CALL: {"$max": f"${_CALL}"}, _CHILD_USAGE: {"$push": f"${_CHILD_USAGE}"}}},
        {"$match": {_CALL: {"$ne": None}}},
        {"$replaceRoot": {"newRoot": {"$mergeObjects": [f"${_CALL}", {_CHILD_USAGE: f"${_CHILD_USAGE}"}]}}},
    ]


def _summed(by: Expression, counts: Sequence[str]) -> dict[str, Any]:
    return {"$group": {"_id": by} | {count: {"$sum": f"$usage.{_path(count)}"} for count in counts}}


def _path(count: str) -> str:
    """Return the path of a count in a usage entry."""
    return count if count in COUNTS else f"classes.{count}"


def _subtract_children(*, has_classes: bool) -> dict[str, Any]:
    """Build the stage that subtracts the children's usage, and drops models that have no excess.

    A call that reports fewer tokens than its children keeps its usage: it cannot be their sum.
    """
    theirs = {
        "$filter": {"input": f"${_CHILD_USAGE}", "as": "theirs", "cond": {"$eq": ["$$theirs.model", "$$entry.model"]}}
    }
    beyond = {"model": "$$entry.model"} | {name: {"$max": [0, _excess(name)]} for name in COUNTS}
    cannot_be_sum = {"$or": [{"$lt": [_excess(name), 0]} for name in TOKENS]}
    is_all_theirs = {"$and": [{"$eq": [_excess(name), 0]} for name in TOKENS]}
    if has_classes:
        beyond["classes"] = {"$cond": ["$$entry.classes", _classes_excess(), "$$REMOVE"]}
        # Requests may be the call's own even if all tokens are its children's; null sorts below all numbers.
        is_all_theirs["$and"] += [{"$lte": [_excess(name), 0]} for name in REQUESTS]
    cases = [
        {"case": {"$or": [{"$eq": ["$$same", []]}, cannot_be_sum]}, "then": "$$entry"},
        {"case": is_all_theirs, "then": None},
    ]
    own = {"$let": {"vars": {"same": theirs}, "in": {"$switch": {"branches": cases, "default": beyond}}}}
    each = {"$map": {"input": "$usage", "as": "entry", "in": own}}
    return {"$set": {"usage": {"$filter": {"input": each, "as": "own", "cond": {"$ne": ["$$own", None]}}}}}


def _classes_excess() -> Expression:
    """Build the expression of an entry's classes minus those of the children."""
    tokens = [*PARTS[Side.INPUT], *PARTS[Side.OUTPUT]]
    requests = {name: {"$max": [0, _class_excess(name)]} for name in REQUESTS}
    rests = [
        {"$subtract": [_excess(total), {"$sum": [_class_excess(name) for name in PARTS[side]]}]}
        for total, side in (("prompt_tokens", Side.INPUT), ("completion_tokens", Side.OUTPUT))
    ]
    least = {"$min": [*rests, *(_class_excess(name) for name in tokens)]}
    return {"$cond": [{"$lt": [least, 0]}, requests, requests | {name: _class_excess(name) for name in tokens}]}


def _class_excess(name: str) -> Expression:
    return {"$subtract": [{"$ifNull": [f"$$entry.classes.{name}", 0]}, {"$sum": f"$$same.{name}"}]}


def _excess(count: str) -> Expression:
    return {"$subtract": [f"$$entry.{_path(count)}", {"$sum": f"$$same.{count}"}]}
