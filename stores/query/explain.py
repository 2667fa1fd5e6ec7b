"""How MongoDB answers a pipeline: which indexes serve it, and how much it looks at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import json_util

from stores.database import Collection
from stores.database.snapshot_reads import as_find

Pipeline = list[dict[str, Any]]

_SORT_STAGES = ("SORT", "$sort")


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan that won, and what running it took.

    `stages` are MongoDB's own names, of the plan and of what runs behind it.
    """

    pipeline: Pipeline
    indexes: frozenset[str]
    stages: frozenset[str]
    keys_examined: int
    documents_examined: int
    returned: int
    milliseconds: int

    @property
    def pipeline_text(self) -> str:
        """The pipeline in MongoDB's extended JSON, relaxed."""
        return json_util.dumps(self.pipeline, json_options=json_util.RELAXED_JSON_OPTIONS)

    @property
    def sorts_in_memory(self) -> bool:
        """Whether no index gave the order, so that all that matched was sorted."""
        return any(stage in self.stages for stage in _SORT_STAGES)


async def explain(collection: Collection, pipeline: Pipeline) -> Plan:
    """Run a pipeline as a page is read, and tell how it went."""
    told = await collection.database.command("explain", _command(collection.name, pipeline), verbosity="executionStats")
    nodes = list(_nodes(told))
    won = [part for node in nodes if "winningPlan" in node for part in _nodes(node["winningPlan"])]
    ran = [node["executionStats"] for node in nodes if "executionStats" in node]
    # What could not be pushed down into the plan stands beside it as an aggregation stage of its own.
    behind = {name for stage in told.get("stages", ()) for name in stage if name.startswith("$")} - {"$cursor"}
    return Plan(
        pipeline=pipeline,
        indexes=frozenset(part["indexName"] for part in won if "indexName" in part),
        stages=frozenset({part["stage"] for part in won if "stage" in part} | behind),
        keys_examined=sum(stats["totalKeysExamined"] for stats in ran),
        documents_examined=sum(stats["totalDocsExamined"] for stats in ran),
        returned=sum(stats["nReturned"] for stats in ran),
        milliseconds=max((stats["executionTimeMillis"] for stats in ran), default=0),
    )


def _command(name: str, pipeline: Pipeline) -> dict[str, Any]:
    plain = as_find(pipeline)
    if plain is None:
        return {"aggregate": name, "pipeline": pipeline, "cursor": {}, "allowDiskUse": True}
    return {"find": name, **plain, "allowDiskUse": True}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 -- any part of what MongoDB tells
    if isinstance(tree, dict):
        yield tree
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for member in members:
        yield from _nodes(member)
