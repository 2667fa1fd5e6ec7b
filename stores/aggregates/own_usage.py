"""Whose usage is counted: each call's own, so that nothing counts twice, or what each call reports.

A call's own usage is what it reports, if it reports for itself alone; nothing, if it sums up what the calls below it
report; and where that is unclear, what it reports of each model beyond what its children report: all of it where it
reports less than they do. Only children are looked at; `usage_tree` also looks further down through those that report
nothing. Classes of tokens are subtracted as counts are; if any of them is below the children's, what is left has no
classes, since parts below 0 would make the others exceed the total. See `stores.usage.scopes`.

What the children of unclear calls report is looked up one by one. Where there are many such calls, those that have
children who report are found first, all at once, and joined with what these report: a lookup takes as long as to read
twenty calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stores.calls.documents import key
from stores.database import Collection
from stores.database.transactions import Session
from stores.query.value_expressions import Expression
from stores.usage.classes import Side
from stores.usage.counts import PARTS, REQUESTS, STORED
from stores.usage.scopes import SUM, UNCLEAR

Pipeline = list[dict[str, Any]]

COUNTS: Final = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")
TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

FEW: Final = 1_000
"""Unclear calls of which each is looked up."""
MANY_MORE: Final = 10
"""How many times as many calls in their time make it the slower way to go through all of these."""
MAX_PARENTS: Final = 50_000
"""Ids that a pipeline names; each takes some 60 bytes of the 16 MiB that it may have, twice."""

_SKEW: Final = 60_000_000
"""Microseconds by which the clocks of a trace's machines may differ."""
_CALL: Final = "_call"
_PLACE: Final = "_place"
_THEIRS: Final = "_theirs"


class UsageOf(StrEnum):
    """Whose usage is counted."""

    OWN = "own"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Unclear:
    """The calls of which it is unclear whose usage they report.

    What their children report is looked up of all, or else of `parents`, by their keys, found among `reporting`.
    """

    parents: list[str] | None = None
    reporting: dict[str, Any] = field(default_factory=dict)

    @property
    def match(self) -> dict[str, Any]:
        """Those to look into."""
        return {"usage_scope": UNCLEAR} if self.parents is None else {"_id": {"$in": self.parents}}

    @property
    def others(self) -> Pipeline:
        """The stages that leave all other calls, whoever reports what."""
        if self.parents is None:
            return [{"$match": {"usage_scope": {"$ne": UNCLEAR}}}]
        # MongoDB hashes a literal list for this; by `$nin` it would take as long as a lookup.
        place = {"$indexOfArray": [{"$literal": self.parents}, "$_id"]}
        return [{"$set": {_PLACE: place}}, {"$match": {_PLACE: {"$lt": 0}}}]


async def find_unclear(
    calls: Collection, project_id: str, found: Sequence[dict[str, Any]], session: Session
) -> Unclear | None:
    """What there is of them among the calls that some stages find; None if nothing."""
    told = {"calls": {"$sum": 1}, "first": {"$min": "$started_at"}, "last": {"$max": "$ended_at"}}
    surveyed: Pipeline = [*found, {"$match": {"usage_scope": UNCLEAR}}, {"$group": {"_id": None, **told}}]
    survey = await calls.aggregate(surveyed, session=session, allowDiskUse=True).to_list(None)
    if not survey:
        return None
    number = survey[0]["calls"]
    # Who sums up has heard of all its children's usage before it ended.
    in_time = {"$gte": survey[0]["first"] - _SKEW, "$lte": survey[0]["last"] + _SKEW}
    match: dict[str, Any] = {"project_id": project_id, "visible": True, "started_at": in_time}
    reporting = match | {"parent_id": {"$gt": ""}, "usage": {"$exists": True}}
    most = number * MANY_MORE
    if number <= FEW or await calls.count_documents(match, session=session, limit=most) == most:
        return Unclear()
    parents = await _parents(calls, project_id, reporting, session)
    return Unclear() if parents is None else Unclear(parents, reporting)


async def _parents(calls: Collection, project_id: str, reporting: dict[str, Any], session: Session) -> list[str] | None:
    """The keys of the unclear calls that have children among those that match; None if there are too many to tell."""
    grouped: Pipeline = [{"$match": reporting}, {"$group": {"_id": "$parent_id"}}, {"$limit": MAX_PARENTS + 1}]
    groups = await calls.aggregate(grouped, session=session, allowDiskUse=True).to_list(None)
    if len(groups) > MAX_PARENTS:
        return None
    keys = [key(project_id, group["_id"])["_id"] for group in groups]
    unclear = calls.find({"_id": {"$in": keys}, "usage_scope": UNCLEAR}, {"_id": 1}, session=session)
    return sorted([call["_id"] async for call in unclear])


def with_own_usage(
    calls: str,
    project_id: str,
    found: Sequence[dict[str, Any]],
    paths: Sequence[str],
    unclear: Unclear | None,
    *,
    has_classes: bool,
) -> Pipeline:
    """The stages that find calls, cut to some paths, with their own usage in place of what they report.

    Without `has_classes` the usage of unclear calls may lack its classes, which takes less time.
    """
    counts = (*COUNTS, *STORED) if has_classes else COUNTS
    kept: Pipeline = [{"$project": {"_id": 0} | dict.fromkeys(paths, 1)}]
    told = {"$set": {"usage": {"$cond": [{"$eq": ["$usage_scope", SUM]}, [], "$usage"]}}}
    if unclear is None:
        return [*found, told, *kept]
    settled: Pipeline = [*found, {"$match": unclear.match}, {"$project": dict.fromkeys([*paths, "id"], 1)}]
    settled += (
        [_looked_up(calls, project_id, counts)]
        if unclear.parents is None
        else _joined(calls, unclear.reporting, counts)
    )
    union = {"$unionWith": {"coll": calls, "pipeline": [*settled, _compared(has_classes=has_classes), *kept]}}
    return [*found, *unclear.others, told, *kept, union]


def _looked_up(calls: str, project_id: str, counts: Sequence[str]) -> dict[str, Any]:
    """The stage that looks up what a call's children report of each model."""
    match = {"$match": {"project_id": project_id, "visible": True, "usage": {"$exists": True}}}
    summed = [match, {"$unwind": "$usage"}, _summed("$usage.model", counts), {"$set": {"model": "$_id"}}]
    joined = {"from": calls, "localField": "id", "foreignField": "parent_id", "pipeline": summed, "as": _THEIRS}
    return {"$lookup": joined}


def _joined(calls: str, reporting: dict[str, Any], counts: Sequence[str]) -> Pipeline:
    """The stages that join calls with what their children among those that match report of each model."""
    theirs: dict[str, Any] = {"model": "$_id.model"} | {count: f"${count}" for count in counts}
    summed: Pipeline = [
        {"$match": reporting},
        {"$project": {"_id": 0, "parent_id": 1, "usage": 1}},
        {"$unwind": "$usage"},
        _summed({"parent": "$parent_id", "model": "$usage.model"}, counts),
        {"$project": {"_id": 0, "id": "$_id.parent", _THEIRS: theirs}},
    ]
    return [
        {"$project": {"_id": 0, "id": 1, _CALL: "$$ROOT"}},
        {"$unionWith": {"coll": calls, "pipeline": summed}},
        # Sums have no call, which leaves it the greatest.
        {"$group": {"_id": "$id", _CALL: {"$max": f"${_CALL}"}, _THEIRS: {"$push": f"${_THEIRS}"}}},
        {"$match": {_CALL: {"$ne": None}}},
        {"$replaceRoot": {"newRoot": {"$mergeObjects": [f"${_CALL}", {_THEIRS: f"${_THEIRS}"}]}}},
    ]


def _summed(by: Expression, counts: Sequence[str]) -> dict[str, Any]:
    return {"$group": {"_id": by} | {count: {"$sum": f"$usage.{_path(count)}"} for count in counts}}


def _path(count: str) -> str:
    """The path of a count in an entry of usage."""
    return count if count in COUNTS else f"classes.{count}"


def _compared(*, has_classes: bool) -> dict[str, Any]:
    """The stage that leaves of the usage what is beyond the children's; nothing of a model that is all theirs.

    A call that reports fewer tokens than its children speaks for itself: no sum is below its parts.
    """
    theirs = {"$filter": {"input": f"${_THEIRS}", "as": "theirs", "cond": {"$eq": ["$$theirs.model", "$$entry.model"]}}}
    beyond = {"model": "$$entry.model"} | {name: {"$max": [0, _beyond(name)]} for name in COUNTS}
    is_no_sum = {"$or": [{"$lt": [_beyond(name), 0]} for name in TOKENS]}
    is_all_theirs = {"$and": [{"$eq": [_beyond(name), 0]} for name in TOKENS]}
    if has_classes:
        beyond["classes"] = {"$cond": ["$$entry.classes", _classes_beyond(), "$$REMOVE"]}
        # Requests may be the call's own though all tokens are its children's; null is below all numbers.
        is_all_theirs["$and"] += [{"$lte": [_beyond(name), 0]} for name in REQUESTS]
    cases = [
        {"case": {"$or": [{"$eq": ["$$same", []]}, is_no_sum]}, "then": "$$entry"},
        {"case": is_all_theirs, "then": None},
    ]
    own = {"$let": {"vars": {"same": theirs}, "in": {"$switch": {"branches": cases, "default": beyond}}}}
    each = {"$map": {"input": "$usage", "as": "entry", "in": own}}
    return {"$set": {"usage": {"$filter": {"input": each, "as": "own", "cond": {"$ne": ["$$own", None]}}}}}


def _classes_beyond() -> Expression:
    """The classes of an entry that has some, less those of the children."""
    tokens = [*PARTS[Side.INPUT], *PARTS[Side.OUTPUT]]
    requests = {name: {"$max": [0, _class_beyond(name)]} for name in REQUESTS}
    rests = [
        {"$subtract": [_beyond(total), {"$sum": [_class_beyond(name) for name in PARTS[side]]}]}
        for total, side in (("prompt_tokens", Side.INPUT), ("completion_tokens", Side.OUTPUT))
    ]
    least = {"$min": [*rests, *(_class_beyond(name) for name in tokens)]}
    return {"$cond": [{"$lt": [least, 0]}, requests, requests | {name: _class_beyond(name) for name in tokens}]}


def _class_beyond(name: str) -> Expression:
    return {"$subtract": [{"$ifNull": [f"$$entry.classes.{name}", 0]}, {"$sum": f"$$same.{name}"}]}


def _beyond(count: str) -> Expression:
    return {"$subtract": [f"$$entry.{_path(count)}", {"$sum": f"$$same.{count}"}]}
