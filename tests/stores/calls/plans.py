"""What MongoDB did for a command that was sent: its indexes, its stages, and how much it looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase

from stores.database import Document

_SENT_ONCE = ("lsid", "txnNumber", "writeConcern", "readConcern")


@dataclass(frozen=True)
class Plan:
    """The plan that won and what running it took."""

    indexes: set[str]
    stages: set[str]
    keys_examined: int
    documents_examined: int
    returned: int


async def explain(database: AsyncIOMotorDatabase[Document], command: dict[str, Any]) -> Plan:
    """The plan of a command as it was sent."""
    plain = {name: value for name, value in command.items() if name not in _SENT_ONCE and not name.startswith("$")}
    told = await database.command("explain", plain, verbosity="executionStats")
    nodes = list(_nodes(told))
    plans = [plan for node in nodes if (plan := node.get("winningPlan"))]
    won = [node for plan in plans for node in _nodes(plan)]
    ran = next(node["executionStats"] for node in nodes if "executionStats" in node)
    # What could not be pushed down into the plan stands beside it as an aggregation stage of its own.
    outside = {name for stage in told.get("stages", []) for name in stage if name.startswith("$")}
    return Plan(
        indexes={node["indexName"] for node in won if "indexName" in node},
        stages={node["stage"] for node in won if "stage" in node} | outside - {"$cursor"},
        keys_examined=ran["totalKeysExamined"],
        documents_examined=ran["totalDocsExamined"],
        returned=ran["nReturned"],
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 -- any part of what explain tells
    if isinstance(tree, dict):
        yield tree
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for member in members:
        yield from _nodes(member)
