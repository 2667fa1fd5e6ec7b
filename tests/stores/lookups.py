"""The cost of lookups: one query for each value of a page."""

from stores.database import Database
from stores.query.explain import nodes_of
from tests.commands import Commands


async def documents_examined(database: Database, commands: Commands) -> int:
    """Return how many documents the lookup of the last aggregation examines, on a cluster on all shards."""
    sent = commands.last("aggregate")
    command = {"aggregate": sent["aggregate"], "pipeline": sent["pipeline"], "cursor": {}}
    explained = await database.calls.database.command("explain", command, verbosity="executionStats")
    lookups = [node for node in nodes_of(explained) if "$lookup" in node and "totalDocsExamined" in node]
    assert lookups
    assert not any(lookup["collectionScans"] for lookup in lookups)
    return sum(int(lookup["totalDocsExamined"]) for lookup in lookups)
