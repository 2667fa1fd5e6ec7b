"""The time limit that the server sends to MongoDB with each command of a query."""

from typing import Final

import pytest

from graphql_schema.context import Stores
from stores.database import Database
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.graph_of_everything import build
from tests.stores.calls.builders import PROJECT, call_id, trace_id

READS: Final = frozenset({"find", "aggregate", "count", "distinct"})
CALL: Final = f'projectId: "{PROJECT}", id: "{call_id(0)}"'
FIELDS: Final = {
    "calls": """calls(%s, first: 3, sortBy: [{field: "summary.usage.priced.prompt_tokens", direction: DESC}]) {
        totalCount nodes { id inputs parent { id } children { nodes { id } } thread { threadId turnCount }
        feedback { nodes { id } } costs { model } op { digest }
        trace { tree { nodes { call { id } } } totals { numCalls } } } }""",
    "call": f"call({CALL}) {{ id output }}",
    "callsStats": "callsStats(%s) { count totalStorageSizeBytes }",
    "trace": f'trace(%s, traceId: "{trace_id(0)}") {{ root {{ id }} }}',
    "threads": "threads(%s) { nodes { threadId p99TurnDurationMs } }",
    "objs": "objs(%s) { totalCount nodes { digest versions { nodes { digest } } } }",
    "ops": "ops(%s) { nodes { digest } }",
    "obj": 'obj(%s, objectId: "data") { digest val }',
    "filesStats": "filesStats(%s) { totalSizeBytes }",
    "feedback": "feedback(%s) { totalCount nodes { id } }",
    "costs": "costs(%s) { totalCount nodes { id } }",
    "projects": "projects { nodes { id } }",
    "projectStats": "projectStats(%s) { traceStorageSizeBytes }",
    "retention": "retention(%s) { keepDays }",
    "retentionPreview": "retentionPreview(%s, keepDays: 1) { traces calls files }",
    "lastPurge": "lastPurge(%s) { isDone }",
    "search": 'search(%s, text: "plain") { nodes { id: __typename } }',
}


@pytest.mark.parametrize("field", FIELDS)
async def test_every_command_of_a_query_has_a_time_limit(
    run: Run, database: Database, commands: Commands, field: str
) -> None:
    await build(Stores(database))
    commands.sent.clear()

    answer = await run("{ " + FIELDS[field].replace("%s", f'projectId: "{PROJECT}"') + " }")

    assert answer.errors == []
    reads = [(name, body) for name, body in commands.sent if name in READS]
    assert reads
    # A getMore command has no limit of its own; it counts toward that of the command that created the cursor.
    assert [body for _name, body in reads if not 0 < body.get("maxTimeMS", 0) <= 60_000] == []
