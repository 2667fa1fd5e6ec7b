"""MongoDB's execution plan of a pipeline: the indexes it uses and how much it reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import json_util

from stores.database import Collection
from stores.database.reads import as_find

Pipeline = list[dict[str, Any]]

_SORT_STAGES = ("SORT", "$sort")


@dataclass(frozen=True, slots=True)
class Plan:
    """The winning plan and the cost of one run.

    `stages` are MongoDB's names for the plan's stages and for the aggregation stages after it.
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
        """True if no index provided the order, so that MongoDB sorted all matching documents in memory."""
        return any(stage in self.stages for stage in _SORT_STAGES)


async def explain(collection: Collection, pipeline: Pipeline) -> Plan:
    """Run a pipeline the way a page is read, and return its plan and cost."""
    response = await collection.database.command(
        "explain", _command(collection.name, pipeline), verbosity="executionStats"
    )
    nodes = list(_nodes(response))
    winning_parts = [part for node in nodes if "winningPlan" in node for part in _nodes(node["winningPlan"])]
    executions = [node["executionStats"] for node in nodes if "executionStats" in node]
    # MongoDB lists stages that it could not push down into the plan as separate aggregation stages.
    later_stages = {name for stage in response.get("stages", ()) for name in stage if name.startswith("$")} - {
        "$cursor"
    }
    return Plan(
        pipeline=pipeline,
        indexes=frozenset(part["indexName"] for part in winning_parts if "indexName" in part),
        stages=frozenset({part["stage"] for part in winning_parts if "stage" in part} | later_stages),
        keys_examined=sum(stats["totalKeysExamined"] for stats in executions),
        documents_examined=sum(stats["totalDocsExamined"] for stats in executions),
        returned=sum(stats["nReturned"] for stats in executions),
        milliseconds=max((stats["executionTimeMillis"] for stats in executions), default=0),
    )


def _command(name: str, pipeline: Pipeline) -> dict[str, Any]:
    plain = as_find(pipeline)
    if plain is None:
        return {"aggregate": name, "pipeline": pipeline, "cursor": {}, "allowDiskUse": True}
    return {"find": name, **plain, "allowDiskUse": True}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 -- any part of MongoDB's explain output
    if isinstance(tree, dict):
        yield tree
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for member in members:
        yield from _nodes(member)
