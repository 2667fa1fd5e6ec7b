"""MongoDB's execution plan of a pipeline: the indexes it uses and how much it reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import json_util

from stores.database import Collection
from stores.database.driver import Hint, as_find

Pipeline = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The winning plan and the cost of one run.

    `stages` are MongoDB's names for the plan's stages and for the aggregation stages after it. `counts_by_rollups` is
    True if a count of the list reads roll-ups, `narrows_by_terms` if the list reads only calls with its terms, and
    `reads_totals` if a list of traces or threads reads stored totals.
    """

    pipeline: Pipeline
    indexes: frozenset[str]
    stages: frozenset[str]
    keys_examined: int
    documents_examined: int
    returned: int
    milliseconds: int
    counts_by_rollups: bool = False
    narrows_by_terms: bool = False
    reads_totals: bool = False

    @property
    def pipeline_text(self) -> str:
        """The pipeline in MongoDB's extended JSON, relaxed."""
        return json_util.dumps(self.pipeline, json_options=json_util.RELAXED_JSON_OPTIONS)

    @property
    def sorts_in_memory(self) -> bool:
        """True if no index provided the order, so that MongoDB sorted all matching documents in memory."""
        return any(stage in self.stages for stage in ("SORT", "$sort"))


async def explain(collection: Collection, pipeline: Pipeline, hint: Hint | None = None) -> Plan:
    """Run a pipeline the way a page is read, and return its plan and cost; `hint` is as from `scan_hint`."""
    plain = as_find(pipeline)
    command: dict[str, Any] = {"aggregate": collection.name, "pipeline": pipeline, "cursor": {}}
    if plain is not None:
        command = {"find": collection.name, **plain}
    command |= {"allowDiskUse": True} | ({"hint": hint} if hint else {})
    response = await collection.database.command("explain", command, verbosity="executionStats")
    nodes = list(nodes_of(response))
    winning_parts = [part for node in nodes if "winningPlan" in node for part in nodes_of(node["winningPlan"])]
    executions = [node["executionStats"] for node in nodes if "executionStats" in node]
    # MongoDB lists stages that it could not push down into the plan as separate aggregation stages: of each shard, too,
    # and of the router that merges.
    merging = (response.get("splitPipeline") or {}).get("mergerPart", ())
    later = [*merging, *(stage for node in nodes for stage in node.get("stages", ()))]
    later_stages = {name for stage in later if isinstance(stage, dict) for name in stage if name.startswith("$")}
    return Plan(
        pipeline=pipeline,
        indexes=frozenset(part["indexName"] for part in winning_parts if "indexName" in part),
        stages=frozenset(
            {part["stage"] for part in winning_parts if "stage" in part} | (later_stages - {"$cursor", "$mergeCursors"})
        ),
        keys_examined=sum(stats["totalKeysExamined"] for stats in executions),
        documents_examined=sum(stats["totalDocsExamined"] for stats in executions),
        returned=sum(stats["nReturned"] for stats in executions),
        milliseconds=max((stats["executionTimeMillis"] for stats in executions), default=0),
    )


def nodes_of(tree: object) -> Iterator[dict[str, Any]]:
    """Yield each object of a plan; the plan of a router contains that of each shard, with the plans it rejected."""
    if isinstance(tree, dict):
        yield tree
        tree = [value for name, value in tree.items() if name != "rejectedPlans"]
    for member in tree if isinstance(tree, list) else ():
        yield from nodes_of(member)
