"""Lookups by ref: every kind of entity, several at once, and missing ones."""

import base64
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest

from graphql_schema.refs import MAX_NODES, NODE_LOOKUPS
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from stores.refs import parse_entity
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.feedback.builders import note
from tests.stores.objects.builders import version

THREAD = "a/b: ü?"
MADE = """
mutation ($project: ID!, $content: Base64!) {
  tableCreate(table: {projectId: $project, rows: [{q: "a"}, {q: "b"}, {q: "a"}]}) { digest }
  fileCreate(projectId: $project, name: "a.txt", content: $content) { digest }
  costCreate(projectId: $project, costs: [{llmId: "m", promptTokenCost: 1, completionTokenCost: 2}]) { ids { id } }
}
"""
REFS = """
query ($project: ID!, $call: ID!, $table: String!, $file: String!, $period: ThreadsQueryFilter!) {
  call(projectId: $project, id: $call) { ref trace { ref } op { ref } feedback { nodes { ref } } }
  obj(projectId: $project, objectId: "prompt") { ref }
  threads(projectId: $project) { nodes { ref } }
  ofPeriod: threads(projectId: $project, filter: $period) { nodes { ref } }
  tableRows(projectId: $project, digest: $table) { nodes { ref } }
  sorted: tableRows(projectId: $project, digest: $table, sortBy: [{field: "q", direction: DESC}]) { nodes { ref } }
  file(projectId: $project, digest: $file) { ref }
  costs(projectId: $project) { nodes { ref } }
  project(projectId: $project) { ref }
}
"""
NODES = """
query ($ids: [ID!]!) {
  nodes(ids: $ids) {
    __typename ref
    ... on CallSchema { id displayName inputs }
    ... on Trace { traceId calls { totalCount } }
    ... on ThreadSchema { threadId turnCount }
    ... on ObjSchema { objectId val }
    ... on Feedback { payload(path: "note") }
    ... on CostQueryOutput { llmId promptTokenCost }
    ... on Table { digest count }
    ... on TableRowSchema { q: val(path: "q") originalIndex }
    ... on FileContentReadRes { file: name content }
    ... on Project { id name }
  }
}
"""


def refs_in(value: Any) -> list[str]:
    """Return all refs in an answer, in order."""
    match value:
        case dict():
            return [
                ref
                for name, member in value.items()
                for ref in ([member] if name == "ref" and isinstance(member, str) else refs_in(member))
            ]
        case list():
            return [ref for member in value for ref in refs_in(member)]
        case _:
            return []


@pytest.fixture
async def refs(run: Run, calls: CallsStore, objects: ObjectsStore, database: Database) -> list[str]:
    """Create at least one entity of each kind and return the refs."""
    op = await objects.create(version({"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}, object_id="answer"))
    prompt = await objects.create(version("Be kind.", object_id="prompt"))
    assert prompt
    took = {"inputs": {"q": "why"}, "op_name": f"weave:///{PROJECT}/op/answer:{op}"}
    await calls.write([start(1, thread_id=THREAD, turn_id=call_id(1), **took), end(1)])
    await calls.write([start(2, thread_id=THREAD, turn_id=call_id(2), trace_id=trace_id(1)), end(2)])
    await FeedbackStore(database).create_one(note("good"))
    made = (await run(MADE, project=PROJECT, content=base64.b64encode(b"hello").decode())).data

    answer = await run(
        REFS,
        project=PROJECT,
        call=call_id(1),
        table=made["tableCreate"]["digest"],
        file=made["fileCreate"]["digest"],
        period={"afterDatetime": "2026-01-31T12:00:01.500Z"},
    )

    assert answer.errors == []
    return refs_in(answer.data)


async def test_every_entity_is_found_by_its_ref_with_its_selection(run: Run, refs: list[str]) -> None:
    nodes = (await run(NODES, ids=refs)).data["nodes"]

    assert [node["ref"] for node in nodes] == refs
    found = [{name: value for name, value in node.items() if name != "ref"} for node in nodes]
    assert found[:6] == [
        {"__typename": "CallSchema", "id": call_id(1), "displayName": None, "inputs": {"q": "why"}},
        {"__typename": "Trace", "traceId": trace_id(1), "calls": {"totalCount": 2}},
        {
            "__typename": "ObjSchema",
            "objectId": "answer",
            "val": {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}},
        },
        {"__typename": "Feedback", "payload": "good"},
        {"__typename": "ObjSchema", "objectId": "prompt", "val": "Be kind."},
        {"__typename": "ThreadSchema", "threadId": THREAD, "turnCount": 2},
    ]
    assert found[6] == {"__typename": "ThreadSchema", "threadId": THREAD, "turnCount": 1}
    rows = [{"__typename": "TableRowSchema", "q": "aba"[n], "originalIndex": n} for n in range(3)]
    assert found[7:13] == [*rows, rows[1], rows[2], rows[0]]
    assert found[13:] == [
        {"__typename": "FileContentReadRes", "file": "a.txt", "content": base64.b64encode(b"hello").decode()},
        {"__typename": "CostQueryOutput", "llmId": "m", "promptTokenCost": 1.0},
        {"__typename": "Project", "id": PROJECT, "name": "chat"},
    ]
    assert {parse_entity(ref).kind for ref in refs} | {"table", "op"} == NODE_LOOKUPS.keys()


async def test_table_is_found_by_the_ref_in_values(run: Run, refs: list[str]) -> None:
    [table] = {ref.partition("/index/")[0] for ref in refs if "/table/" in ref}

    [node] = (await run(NODES, ids=[table])).data["nodes"]

    assert node == {"__typename": "Table", "ref": table, "digest": table.rpartition("/")[2], "count": 3}


async def test_node_and_nodes_return_the_same(run: Run, refs: list[str]) -> None:
    alone = [
        (await run(NODES.replace("[ID!]!", "ID!").replace("nodes(ids: $ids)", "node(id: $ids)"), ids=ref)).data["node"]
        for ref in refs
    ]

    assert alone == (await run(NODES, ids=refs)).data["nodes"]


async def test_nodes_keep_order_and_repeats(run: Run, refs: list[str]) -> None:
    ids = [refs[5], refs[0], refs[5], f"weave:///{PROJECT}/call/{call_id(9)}", refs[0]]

    nodes = (await run("query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=ids)).data["nodes"]

    assert nodes == [{"ref": refs[5]}, {"ref": refs[0]}, {"ref": refs[5]}, None, {"ref": refs[0]}]


async def test_many_nodes_take_one_command_per_kind_and_project(
    run: Run, calls: CallsStore, commands: Commands
) -> None:
    other = "acme/other"
    await calls.write([start(number) for number in range(60)] + [start(n, project_id=other) for n in range(60)])
    ids = [f"weave:///{project}/call/{call_id(n)}" for project in (PROJECT, other) for n in range(60)]
    ids += [f"weave:///{project}/trace/{trace_id(n)}" for project in (PROJECT, other) for n in range(60)]
    commands.sent.clear()

    nodes = (await run("query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=ids)).data["nodes"]

    assert [node["ref"] for node in nodes] == ids
    assert Counter(commands.names) == {"find": 1, "distinct": 2}


async def test_missing_or_deleted_node_is_null(
    run: Run, refs: list[str], calls: CallsStore, objects: ObjectsStore
) -> None:
    await calls.delete(PROJECT, [call_id(1), call_id(2)])
    await objects.delete(PROJECT, "prompt")
    gone = [refs[0], refs[1], refs[4], refs[5], refs[6]]
    never = [
        f"weave:///{PROJECT}/{rest}"
        for rest in (
            f"call/{call_id(9)}",
            f"trace/{trace_id(9)}",
            "thread/none",
            "object/prompt:none",
            "op/none:x",
            "feedback/none",
            "cost/none",
            "file/none",
            "table/none",
            "table/none/index/0",
        )
    ]
    beyond = [ref.replace("/index/2", "/index/3") for ref in refs if ref.endswith("/index/2")]

    answer = await run(NODES, ids=[*gone, *never, *beyond, "weave:///acme/none"])

    assert answer.errors == []
    assert answer.data["nodes"] == [None] * (len(gone) + len(never) + len(beyond) + 1)


async def test_refs_into_another_project_return_null(run: Run, refs: list[str]) -> None:
    foreign = [ref.replace(PROJECT, "acme/other") for ref in refs]

    assert (await run(NODES, ids=foreign)).data["nodes"] == [None] * len(refs)


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "x",
        call_id(1),
        "weave:///",
        "weave:///acme",
        "weave:///acme/",
        "weave:///acme/chat/",
        "weave:///acme/chat/call",
        "weave:///acme/chat/call/",
        "weave:///acme/chat/call/x",
        f"weave:///acme/chat/call/{call_id(1)}/attr/x",
        f"weave:///acme/chat/call/{call_id(10).upper()}",
        "weave:///acme/chat/trace/x",
        "weave:///acme/chat/thing/x",
        "weave:///acme/chat/object/x",
        "weave:///acme/chat/object/x:latest",
        "weave:///acme/chat/object/x:*",
        "weave:///acme/chat/object/x:y/key/z",
        "weave:///acme/chat/object/x:y:z",
        "weave:///acme/chat/table/x/id/y",
        "weave:///acme/chat/table/x/index/01",
        "weave:///acme/chat/table/x/index/-1",
        f"weave:///acme/chat/table/x/index/{10**18}",
        "weave:///acme/chat/thread/a/b",
        "weave:///acme/chat/thread/a b",
        "weave:///acme/chat/thread/a/before/1/after/2",
        f"weave:///acme/chat/thread/a/after/{10**18}",
        "weave:///acme/chat/thread/%ff",
        "weave:///acme/chat/feedback/a%2f",
        "weave:///acme/ch#at/call/x",
        "wandb-artifact:///acme/chat/x",
        f"weave-trace-internal:///{PROJECT}/call/{call_id(1)}",
        "weave:///acme/chat/thread/\ud800",
        "weave:///acme/chat/thread/" + "x" * 100_000 + "/",
    ],
)
async def test_invalid_ref_is_reported_with_its_position(run: Run, ref: str) -> None:
    one = await run("query ($id: ID!) { node(id: $id) { ref } }", id=ref)
    several = await run("query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=[f"weave:///{PROJECT}", ref, "worse"])

    assert (one.code, several.code) == ("BAD_USER_INPUT", "BAD_USER_INPUT")
    assert [found.errors[0]["extensions"]["argument"] for found in (one, several)] == ["id", "ids.1"]
    assert len(one.errors[0]["message"]) < 600


async def test_too_many_nodes_error_has_the_limit(run: Run) -> None:
    answer = await run(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=[f"weave:///{PROJECT}"] * (MAX_NODES + 1)
    )

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["message"] == "ids: has 1,001 refs; the limit is 1,000 per request"


async def test_only_fragments_of_the_actual_type_are_read(run: Run, refs: list[str], commands: Commands) -> None:
    commands.sent.clear()

    await run(
        """
        query ($id: ID!) {
          node(id: $id) { ...Named ... on Node { ref } ... on ObjSchema { val } ... on CallSchema { ...Whole } }
        }
        fragment Named on Node { __typename ... on Feedback { payload } }
        fragment Whole on CallSchema { output }
        """,
        id=refs[0],
    )

    [(_, body)] = commands.sent
    assert set(body["projection"]) - {"__typename"} == {"_id", "id", "project_id", "json.output"}


def test_every_type_with_its_own_ref_is_found(schema: LoomSchema) -> None:
    implementing = schema._schema.get_possible_types(schema._schema.type_map["Node"])  # type: ignore[arg-type]

    assert {kind.name for kind in implementing} == {finding.type for finding in NODE_LOOKUPS.values()}


def test_ids_of_any_text_are_quoted() -> None:
    text = f"weave:///{PROJECT}/thread/{quote(THREAD, safe='')}"

    assert parse_entity(text).name == THREAD
    assert str(parse_entity(text)) == text
