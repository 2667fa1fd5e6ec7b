"""Deletion of calls: soft but permanent, and with all descendants in the same trace."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from stores.calls import documents
from stores.calls.writes import upsert, write_upserts
from stores.database import Collection

_CHUNK = 10_000
_Member = TypeVar("_Member")

_Node = tuple[str, str]
"""A call's trace id and call id."""


async def delete_calls(calls: Collection, project_id: str, call_ids: Sequence[str], wb_user_id: str) -> int:
    """Hide calls, their descendants, and any later part of the given ids.

    Returns the number of visible calls that are now hidden.
    """
    deleted_ids = list(dict.fromkeys([*call_ids, *await _descendants(calls, project_id, call_ids)]))
    update = documents.delete_update(wb_user_id)
    hidden = 0
    for chunk in _chunks(deleted_ids):
        match = _key_match(project_id, chunk) | {"visible": True}
        hidden += (await calls.update_many(match, update)).modified_count
    await write_upserts(calls, [upsert(documents.key_fields(project_id, call_id), update) for call_id in set(call_ids)])
    return hidden


def _key_match(project_id: str, call_ids: Sequence[str]) -> dict[str, Any]:
    keys = [documents.key_fields(project_id, call_id)["_id"] for call_id in call_ids]
    return {"_id": {"$in": keys}, "project_id": project_id}


async def _descendants(calls: Collection, project_id: str, call_ids: Sequence[str]) -> list[str]:
    roots = _key_match(project_id, call_ids) | {"trace_id": {"$exists": True}}
    level: list[_Node] = [(root["trace_id"], root["id"]) async for root in calls.find(roots, {"trace_id": 1, "id": 1})]
    known = set(level)
    while level:
        level = [child for child in await _children(calls, project_id, level) if child not in known]
        known.update(level)
    return [call_id for _, call_id in known]


async def _children(calls: Collection, project_id: str, parents: list[_Node]) -> list[_Node]:
    parent_nodes = set(parents)
    children: list[_Node] = []
    for chunk in _chunks(parents):
        parent_ids = [call_id for _, call_id in chunk]
        # Deleted calls may have got new children; naming both values lets MongoDB use the index.
        match = {"project_id": project_id, "visible": {"$in": [True, False]}, "parent_id": {"$in": parent_ids}}
        cursor = calls.find(match, {"trace_id": 1, "id": 1, "parent_id": 1})
        children += [
            (call["trace_id"], call["id"])
            async for call in cursor
            if (call["trace_id"], call["parent_id"]) in parent_nodes
        ]
    return children


def _chunks(members: Sequence[_Member]) -> Iterator[Sequence[_Member]]:
    return (members[start : start + _CHUNK] for start in range(0, len(members), _CHUNK))
