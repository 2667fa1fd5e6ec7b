"""Lookups of missing, malformed and deleted entities in every field of Query, and errors of single root fields."""

from typing import Any

import pytest
from graphql import is_non_null_type

from graphql_schema.context import Context, Stores
from graphql_schema.engine.operations import PartialFailure
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.calls import CallsStore
from stores.database import Database
from stores.objects import ObjectsStore
from tests.graphql_schema.conftest import Run, running
from tests.graphql_schema.permissions.questions import Question, questions
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.objects.builders import version

MISSING: dict[str, Any] = {
    **dict.fromkeys(
        (
            "call",
            "evaluationCompare",
            "evaluationResults",
            "evaluationRun",
            "file",
            "lastPurge",
            "node",
            "obj",
            "op",
            "project",
            "retention",
            "retentionPreview",
            "searchIndex",
            "tableStats",
            "thread",
            "trace",
        )
    ),
    "nodes": [None],
    "refs": [None],
    # The reference API has a status for a missing evaluation.
    "evaluationStatus": {"__typename": "EvaluationStatusNotFound"},
}
"""Results of lookups that find nothing; all other fields of Query are lists, counts and aggregates."""

OF_A_PROJECT = {"lastPurge", "project", "retention", "retentionPreview", "searchIndex"}
"""Lookups that name only a project."""

TWO_STARTS = """
mutation ($bad: StartedCallSchemaForInsert!, $good: StartedCallSchemaForInsert!) {
  bad: callStart(start: $bad) { id } good: callStart(start: $good) { id }
}
"""


@pytest.fixture(params=[True, False], ids=["compiled", "stock"])
def run(request: pytest.FixtureRequest, database: Database) -> Run:
    """Return a function that runs a document, with each of the two executors."""
    return running(build_schema(Limits(), compiled=request.param), Context(Stores(database)))


def fitting(question: Question) -> dict[str, Any]:
    """Return variables in place of a question's: two runs to compare, and a field that calls have."""
    compared = {"evaluationCompare": {"callIds": [call_id(98), call_id(99)]}, "callsFacets": {"fields": ["status"]}}
    return compared.get(question.field, {})


async def test_missing_entity_is_null_without_an_error(run: Run, schema: LoomSchema) -> None:
    found: dict[str, Any] = {}
    for question in questions(schema, "acme/none", number=99):
        if question.root == "Query":
            answer = await run(question.document, **question.variables | fitting(question))
            assert answer.errors == [], question
            found[question.field] = answer.data[question.field]

    assert {name: value for name, value in found.items() if name in MISSING} == MISSING
    assert {name for name, value in found.items() if value is None} <= MISSING.keys()
    assert found.keys() == schema._schema.query_type.fields.keys()  # type: ignore[union-attr]


async def test_missing_entity_in_a_project_is_null(run: Run, schema: LoomSchema, calls: CallsStore) -> None:
    await calls.write([start(1)])

    for question in questions(schema, PROJECT, number=99):
        if question.field in MISSING.keys() - OF_A_PROJECT:
            answer = await run(question.document, **question.variables | fitting(question))
            assert answer == ({question.field: MISSING[question.field]}, [])


async def test_malformed_project_id_is_an_error_of_every_field(run: Run, schema: LoomSchema) -> None:
    count = 0
    for question in questions(schema, PROJECT, number=99):
        if question.root == "Query" and "projectId" in question.variables:
            answer = await run(question.document, **question.variables | fitting(question) | {"projectId": "acme"})
            [error] = answer.errors
            extensions = error["extensions"]
            assert (extensions["code"], extensions["argument"]) == ("BAD_USER_INPUT", "projectId"), question
            assert answer.data == {question.field: None}
            count += 1
    assert count > 30


@pytest.mark.parametrize(
    ("field", "argument"),
    [
        ('call(%s, id: "nope") { id }', "id"),
        ('trace(%s, traceId: "nope") { ref }', "traceId"),
        ('obj(%s, objectId: "a/b") { ref }', "objectId"),
        ('op(%s, name: "a/b") { ref }', "name"),
        ('node(id: "nope") { ref }', "id"),
        ('nodes(ids: ["nope"]) { ref }', "ids.0"),
        ('refs(refs: ["nope"])', "refs.0"),
        ('evaluationStatus(%s, callId: "nope") { __typename }', "callId"),
        ('evaluationRun(%s, callId: "nope") { id }', "callId"),
        ('evaluationResults(%s, evaluationCallId: "nope") { totalCount }', "evaluationCallId"),
        ('evaluationCompare(%s, callIds: ["0123456789abcdef", "nope"]) { numInCommon }', "callIds.1"),
        ('usageTree(%s, traceId: "nope") { id }', "traceId"),
    ],
)
async def test_malformed_id_is_an_error(run: Run, field: str, argument: str) -> None:
    answer = await run(f"{{ {field} }}".replace("%s", f'projectId: "{PROJECT}"'))

    [error] = answer.errors
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("BAD_USER_INPUT", argument)
    assert list(answer.data.values()) == [None]


async def test_deleted_entity_is_null(run: Run, calls: CallsStore, objects: ObjectsStore) -> None:
    await calls.write([start(1)])
    await calls.delete(PROJECT, [call_id(1)])
    digest = await objects.create(version(1))
    await objects.delete(PROJECT, "prompt")
    document = """query ($p: ID!, $c: ID!, $d: String!, $n: ID!) {
      call(projectId: $p, id: $c) { id } obj(projectId: $p, objectId: "prompt", digest: $d) { ref }
      latest: obj(projectId: $p, objectId: "prompt") { ref } op(projectId: $p, name: "prompt") { ref }
      node(id: $n) { ref }
    }"""

    answer = await run(document, p=PROJECT, c=call_id(1), d=digest, n=f"weave:///{PROJECT}/object/prompt:{digest}")

    assert answer == ({"call": None, "obj": None, "latest": None, "op": None, "node": None}, [])


def test_every_root_field_is_nullable(schema: LoomSchema) -> None:
    core = schema._schema
    assert core.query_type
    assert core.mutation_type
    fields = {**core.query_type.fields, **core.mutation_type.fields}

    assert len(fields) > 60
    assert [name for name, field in fields.items() if is_non_null_type(field.type)] == []


async def test_error_in_one_field_keeps_the_others(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])
    document = """{
      before: callsStats(projectId: "acme/chat") { count }
      tooMany: calls(projectId: "acme/chat", first: 20000) { nodes { id } }
      deep: calls(projectId: "acme/chat") { nodes { id children(first: -1) { nodes { id } } } }
      after: call(projectId: "acme/chat", id: "%s") { id }
    }"""

    answer = await run(document.replace("%s", call_id(1)))

    assert answer.data == {"before": {"count": 1}, "tooMany": None, "deep": None, "after": {"id": call_id(1)}}
    assert sorted(error["path"][0] for error in answer.errors) == ["deep", "tooMany"]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "stock"])
async def test_failed_mutation_keeps_the_others(database: Database, *, compiled: bool) -> None:
    schema, context = build_schema(Limits(), compiled=compiled), Context(Stores(database))
    made = {"opName": "f", "startedAt": "2026-01-31T12:00:00Z", "attributes": {}, "inputs": {}}
    good = {**made, "projectId": PROJECT, "id": call_id(1)}

    result = await schema.execute(TWO_STARTS, {"bad": {**made, "projectId": "acme"}, "good": good}, context)

    assert type(result) is PartialFailure
    assert result.data == {"bad": None, "good": {"id": call_id(1)}}
    assert [error.path for error in result.errors or ()] == [["bad"]]
