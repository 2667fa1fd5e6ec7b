"""Data that exists before the first request: the fuzzer's own projects, and the names in the demo project."""

import json
from typing import Any, Final

from tests.fuzz.callers import Caller
from tests.fuzz.endpoints.graphql import NAME
from tests.fuzz.pool import Pool
from tests.fuzz.second_caller import SECOND_PROJECT
from tests.fuzz.values import DEMO, OWN_PROJECTS
from tests.fuzz.wire import Request, Wire

MARK: Final = "only {} holds this. "
"""Text that only the data of one of the fuzzer's own projects contains."""

_CALLS: Final = """
query ($p: ID!) {
  calls(projectId: $p, first: 60) { edges { cursor node { ref id traceId threadId turnId parentId opName } } }
  objs(projectId: $p, first: 60) { edges { cursor node { ref objectId digest } } }
  ops(projectId: $p, first: 10) { nodes { ref objectId digest } }
  feedback(projectId: $p, first: 20) { edges { cursor node { ref id weaveRef } } }
  threads(projectId: $p, first: 20) { edges { cursor node { ref threadId } } }
  callEventsCursor(projectId: $p)
}
"""
_EVALUATIONS: Final = """
query ($p: ID!) {
  calls(projectId: $p, filter: { opNames: ["Evaluation.evaluate"] }, first: 10) { nodes { ref id } }
}
"""
_TABLES: Final = "mutation ($t: TableSchemaForInsert!) { tableCreate(table: $t) { digest rowDigests } }"
BATCH: Final = """
mutation ($b: [CallBatchMode!]!) {
  callCreateBatch(batch: $b) { res { ... on CallStartRes { id traceId } ... on CallEndRes { id } } }
}
"""


async def seed(wire: Wire, pool: Pool, caller: Caller) -> None:
    """Write data into the fuzzer's projects and learn existing names, as a caller who may read and write."""
    for project in OWN_PROJECTS:
        await write_calls(wire, pool, caller, project)
        rows = [{"a": n, "b": {"c": MARK.format(project)}} for n in range(20)]
        await _ask(wire, pool, caller, _TABLES, t={"projectId": project, "rows": rows})
        answer = await wire.ask(
            Request("files", "PUT", f"/files/{project}?name=a.txt", caller.headers, MARK.format(project).encode() * 50)
        )
        pool.add("file", json.loads(answer.body)["digest"])
    await write_calls(wire, Pool(), caller, SECOND_PROJECT)
    for project in (*OWN_PROJECTS, DEMO):
        await _ask(wire, pool, caller, _CALLS, p=project)
        await _ask(wire, pool, caller, _EVALUATIONS, p=project)


async def write_calls(wire: Wire, pool: Pool, caller: Caller, project: str) -> None:
    """Write 40 calls into a project."""
    batch = [part for number in range(40) for part in call(project, number)]
    await _ask(wire, pool, caller, BATCH, b=batch)


def call(project: str, number: int) -> list[dict[str, Any]]:
    """Return the start and the end of a call."""
    name = f"{number:016x}"
    start = {
        "projectId": project,
        "id": name,
        "traceId": f"{number // 4:032x}",
        "parentId": None if number % 4 == 0 else f"{number // 4 * 4:016x}",
        "threadId": f"thread-{number // 8}",
        "turnId": name if number % 4 == 0 else None,
        "opName": f"step_{number % 5}",
        "startedAt": f"2026-03-01T08:00:{number:02d}Z",
        "attributes": {},
        "inputs": {"question": f"What is {number}?", "context": MARK.format(project)},
    }
    usage = {"gpt-4o": {"prompt_tokens": number, "completion_tokens": 1, "requests": 1}}
    end = {"endedAt": "2026-03-01T08:01:00Z", "output": {"answer": number}, "summary": {"usage": usage}}
    return [{"start": start}, {"end": {"projectId": project, "id": name, **end}}]


async def _ask(wire: Wire, pool: Pool, caller: Caller, document: str, **variables: object) -> None:
    body = json.dumps({"query": document, "variables": variables}).encode()
    answer = await wire.ask(
        Request(NAME, "POST", "/graphql", (("Content-Type", "application/json"), *caller.headers), body)
    )
    result = json.loads(answer.body)
    assert "errors" not in result, result
    pool.learn(result["data"])
