"""Whose usage is counted: each call's own, so that nothing counts twice, or what each call reports.

A call's own usage is what it reports, if it reports for itself alone; nothing, if it sums up what the calls below it
report; and where that is unclear, what it reports beyond what its children report, of each model and each count. See
`stores.calls.usage_scopes`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from stores.calls.usage_scopes import SUM, UNCLEAR
from stores.query.values import Expression

Pipeline = list[dict[str, Any]]

COUNTS: Final = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")

_BELOW: Final = "_below"


class UsageOf(StrEnum):
    """Whose usage is counted."""

    OWN = "own"
    REPORTED = "reported"


def with_own_usage(calls: str, project_id: str, found: Sequence[dict[str, Any]], kept: Pipeline) -> Pipeline:
    """The stages that find calls, with their own usage in place of what they report; `kept` cut what is not needed.

    Only what is unclear is looked into, by an index that has nothing else in it.
    """
    told = {"$set": {"usage": {"$cond": [{"$eq": ["$usage_scope", SUM]}, [], "$usage"]}}}
    settled: Pipeline = [*found, {"$match": {"usage_scope": UNCLEAR}}, _children(calls, project_id), _compared(), *kept]
    union = {"$unionWith": {"coll": calls, "pipeline": settled}}
    return [*found, {"$match": {"usage_scope": {"$ne": UNCLEAR}}}, told, *kept, union]


def _children(calls: str, project_id: str) -> dict[str, Any]:
    """The stage that looks up what the children report, as one list."""
    reporting = {"project_id": project_id, "visible": True, "usage": {"$exists": True}}
    entries: Pipeline = [
        {"$match": reporting},
        {"$unwind": "$usage"},
        {"$replaceRoot": {"newRoot": "$usage"}},
    ]
    joined = {"from": calls, "localField": "id", "foreignField": "parent_id", "pipeline": entries, "as": _BELOW}
    return {"$lookup": joined}


def _compared() -> dict[str, Any]:
    """The stage that leaves of the usage what is beyond the children's; nothing of a model that is all theirs."""
    theirs = {"$filter": {"input": f"${_BELOW}", "as": "below", "cond": {"$eq": ["$$below.model", "$$entry.model"]}}}
    beyond = {"model": "$$entry.model"} | {name: _beyond(name) for name in COUNTS}
    own = {"$let": {"vars": {"theirs": theirs}, "in": {"$cond": [{"$eq": ["$$theirs", []]}, "$$entry", beyond]}}}
    each = {"$map": {"input": "$usage", "as": "entry", "in": own}}
    return {"$set": {"usage": {"$filter": {"input": each, "as": "own", "cond": _is_any("$$own")}}}}


def _beyond(count: str) -> Expression:
    return {"$max": [0, {"$subtract": [f"$$entry.{count}", {"$sum": f"$$theirs.{count}"}]}]}


def _is_any(entry: str) -> Expression:
    return {"$or": [{"$gt": [f"{entry}.{count}", 0]} for count in COUNTS]}
