"""Whose usage is counted: each call's own, so that nothing counts twice, or what each call reports.

A call's own usage is what it reports, if it reports for itself alone; nothing, if it sums up what the calls below it
report; and where that is unclear, what it reports beyond what its children report, of each model and each count. See
`stores.calls.usage_scopes`.

What the children of unclear calls report is looked up one by one. Where there are many such calls, those that have
children who report are found first, all at once: mostly there are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from stores.calls.documents import key
from stores.calls.usage_scopes import SUM, UNCLEAR
from stores.database import Collection
from stores.query.values import Expression
from stores.transactions import Session

Pipeline = list[dict[str, Any]]

COUNTS: Final = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")

FEW: Final = 1_000
"""Unclear calls of which each is looked up."""
MANY_MORE: Final = 10
"""How many times as many calls in their time make it the slower way to go through all of these."""
MAX_PARENTS: Final = 50_000
"""Ids that a pipeline names; each takes some 60 bytes of the 16 MiB that it may have, twice."""

_SKEW: Final = 60_000_000
"""Microseconds by which the clocks of a trace's machines may differ."""
_THEIRS: Final = "_theirs"


class UsageOf(StrEnum):
    """Whose usage is counted."""

    OWN = "own"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Unclear:
    """The calls of which it is unclear whose usage they report, and the keys of those to look into, None for all."""

    parents: list[str] | None = None

    @property
    def match(self) -> dict[str, Any]:
        """Those to look into."""
        return {"usage_scope": UNCLEAR} if self.parents is None else self._with("$in")

    @property
    def others(self) -> dict[str, Any]:
        """All other calls, whoever reports what."""
        clear = {"usage_scope": {"$ne": UNCLEAR}}
        return clear if self.parents is None else {"$or": [clear, self._with("$nin")]}

    def _with(self, operator: str) -> dict[str, Any]:
        return {"usage_scope": UNCLEAR, "_id": {operator: self.parents}}


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
    most = number * MANY_MORE
    if number <= FEW or await calls.count_documents(match, session=session, limit=most) == most:
        return Unclear()
    return Unclear(await _parents(calls, project_id, match, session))


async def _parents(calls: Collection, project_id: str, match: dict[str, Any], session: Session) -> list[str] | None:
    """The keys of calls of which some that match report to be children; None if there are more than `MAX_PARENTS`."""
    stages: Pipeline = [
        {"$match": match | {"parent_id": {"$gt": ""}, "usage": {"$exists": True}}},
        {"$group": {"_id": "$parent_id"}},
        {"$limit": MAX_PARENTS + 1},
    ]
    groups = await calls.aggregate(stages, session=session, allowDiskUse=True).to_list(None)
    if len(groups) > MAX_PARENTS:
        return None
    return sorted(key(project_id, group["_id"])["_id"] for group in groups)


def with_own_usage(
    calls: str, project_id: str, found: Sequence[dict[str, Any]], paths: Sequence[str], unclear: Unclear | None
) -> Pipeline:
    """The stages that find calls, cut to some paths, with their own usage in place of what they report."""
    kept: Pipeline = [{"$project": {"_id": 0} | dict.fromkeys(paths, 1)}]
    told = {"$set": {"usage": {"$cond": [{"$eq": ["$usage_scope", SUM]}, [], "$usage"]}}}
    if unclear is None:
        return [*found, told, *kept]
    settled: Pipeline = [*found, {"$match": unclear.match}, {"$project": dict.fromkeys([*paths, "id"], 1)}]
    union = {"$unionWith": {"coll": calls, "pipeline": [*settled, _children(calls, project_id), _compared(), *kept]}}
    return [*found, {"$match": unclear.others}, told, *kept, union]


def _children(calls: str, project_id: str) -> dict[str, Any]:
    """The stage that looks up what a call's children report of each model."""
    summed: Pipeline = [
        {"$match": {"project_id": project_id, "visible": True, "usage": {"$exists": True}}},
        {"$unwind": "$usage"},
        {"$group": {"_id": "$usage.model"} | {count: {"$sum": f"$usage.{count}"} for count in COUNTS}},
        {"$set": {"model": "$_id"}},
    ]
    joined = {"from": calls, "localField": "id", "foreignField": "parent_id", "pipeline": summed, "as": _THEIRS}
    return {"$lookup": joined}


def _compared() -> dict[str, Any]:
    """The stage that leaves of the usage what is beyond the children's; nothing of a model that is all theirs."""
    theirs = {"$filter": {"input": f"${_THEIRS}", "as": "theirs", "cond": {"$eq": ["$$theirs.model", "$$entry.model"]}}}
    beyond = {"model": "$$entry.model"} | {name: _beyond(name) for name in COUNTS}
    own = {"$let": {"vars": {"same": theirs}, "in": {"$cond": [{"$eq": ["$$same", []]}, "$$entry", beyond]}}}
    each = {"$map": {"input": "$usage", "as": "entry", "in": own}}
    return {"$set": {"usage": {"$filter": {"input": each, "as": "own", "cond": _is_any("$$own")}}}}


def _beyond(count: str) -> Expression:
    return {"$max": [0, {"$subtract": [f"$$entry.{count}", {"$sum": f"$$same.{count}"}]}]}


def _is_any(entry: str) -> Expression:
    return {"$or": [{"$gt": [f"{entry}.{count}", 0]} for count in COUNTS]}
