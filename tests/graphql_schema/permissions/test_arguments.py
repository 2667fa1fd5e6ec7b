"""No argument reaches another project: the name of a foreign entity reveals nothing and changes nothing."""

import json
from typing import Any

import pytest
from graphql import GraphQLArgument, GraphQLInputField, GraphQLInputObjectType, GraphQLObjectType, GraphQLString

from graphql_schema.context import Context, Stores
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects import ObjectVersion
from tests.commands import Commands
from tests.graphql_schema.permissions.arguments import NAMES, arguments, ruled
from tests.graphql_schema.permissions.probes import Probe, Prober
from tests.graphql_schema.permissions.questions import Subject
from tests.graphql_schema.permissions.test_relations import HIDDEN, LIMITS, OURS, THEIRS, US, forget, is_unsteady
from tests.graphql_schema.permissions.test_walk import first_errors, is_refused
from tests.graphql_schema.permissions.twins import Builder, Twin
from tests.stores.calls.builders import call_id, end, start, trace_id

OUR_CALL = 99
"""Number of the only call in our project; the other project has no call with this number."""


@pytest.fixture(scope="module")
def schema() -> LimitedSchema:
    return build_schema(LIMITS)


async def ours(stores: Stores) -> None:
    """Create a small project of ours that refers to theirs."""
    refs = {"theirs": f"weave:///{THEIRS}/call/{call_id(1)}"}
    await stores.objects.create(ObjectVersion(OURS, "thing", {"x": 1}))
    await stores.calls.write([start(OUR_CALL, project_id=OURS, inputs=refs), end(OUR_CALL, project_id=OURS)])
    await stores.feedback.create([NewFeedback(OURS, f"weave:///{OURS}/call/{call_id(OUR_CALL)}", "said", {})])


def names(twin: Twin) -> list[str]:
    """Return the names of their entities: project, ids, names, digests and refs."""
    return [THEIRS, call_id(1), trace_id(1), "thread", "words", twin.file, twin.table, twin.row, twin.refs["words"]]


def test_every_argument_has_a_permission(schema: LimitedSchema) -> None:
    differing = arguments(schema._schema) ^ ruled()

    assert not differing, f"say in tests/graphql_schema/permissions/arguments.py where these lead: {sorted(differing)}"


def test_argument_without_permission_is_detected() -> None:
    core = build_schema(LIMITS)._schema
    field, given = core.type_map["Query"], core.type_map["CallsFilter"]
    assert isinstance(field, GraphQLObjectType)
    assert isinstance(given, GraphQLInputObjectType)

    field.fields["trace"].args["like"] = GraphQLArgument(GraphQLString)
    given.fields["likeRefs"] = GraphQLInputField(GraphQLString)

    assert arguments(core) - ruled() == {"Query.trace.like", "CallsFilter.likeRefs"}


def test_every_identifying_argument_is_probed(schema: LimitedSchema) -> None:
    probed = {probe.argument for probe in Prober(Subject(OURS, OUR_CALL), ["x"]).probes(schema)}

    # A filter is probed through its fields; `test_isolation` tests the lists of a project.
    filters = {argument for argument in ruled(reason=NAMES) if argument.endswith((".filter", ".anyCall"))}
    unprobed = ruled(reason=NAMES) - filters - probed - {"Project.calls.expandColumns"}
    assert not unprobed, f"give these a value in tests/graphql_schema/permissions/questions.py: {sorted(unprobed)}"


async def test_arguments_reveal_nothing_of_another_project(schema: LimitedSchema, database: Database) -> None:
    async def result_of(probe: Probe) -> Any:
        question = probe.question
        result = await schema.execute(question.document, question.variables, Context(stores, caller=US))
        return json.loads(
            codec.dumps({"data": result.data, "errors": [each.formatted for each in result.errors or ()]})
        )

    stores = Stores(database)
    twin = await Builder(stores, THEIRS, HIDDEN, to=THEIRS).build()
    await ours(stores)
    probes = [each for each in Prober(Subject(OURS, OUR_CALL), names(twin)).probes(schema) if is_steady_query(each)]

    together = [await result_of(probe) for probe in probes]
    await forget(database, THEIRS)
    alone = [await result_of(probe) for probe in probes]
    await stores.close()

    assert HIDDEN not in json.dumps(together)
    assert [probe for probe, one, other in zip(probes, together, alone, strict=True) if one != other] == []
    assert sum(each["errors"] == [] for each in together) > 250


def is_steady_query(probe: Probe) -> bool:
    return probe.question.root == "Query" and not is_unsteady(f"Query_{probe.question.field}:")


async def test_arguments_change_nothing_in_another_project(
    schema: LimitedSchema, database: Database, commands: Commands
) -> None:
    async def errors_of(stores: Stores, probes: list[Probe]) -> list[Any]:
        found = []
        for _, question in probes:
            errors = await first_errors(schema, Context(stores, caller=US), question, commands)
            is_refused(errors, question)
            found.append([(each.message, each.path, each.extensions) for each in errors])
        return found

    stores = Stores(database)
    twin = await Builder(stores, THEIRS, HIDDEN, to=THEIRS).build()
    await ours(stores)
    probes = [
        each for each in Prober(Subject(OURS, OUR_CALL), names(twin)).probes(schema) if each.question.root != "Query"
    ]
    before = await kept(database, THEIRS)

    together = await errors_of(stores, probes)
    after, written = await kept(database, THEIRS), await kept(database, OURS)
    await stores.close()
    for project_id in (OURS, THEIRS):
        await forget(database, project_id)
    again = Stores(database)
    await ours(again)
    alone = await errors_of(again, probes)
    await again.close()

    assert after == before
    assert HIDDEN not in repr(written)
    assert [
        (probe, one, other) for probe, one, other in zip(probes, together, alone, strict=True) if one != other
    ] == []


async def kept(database: Database, project_id: str) -> dict[str, list[Any]]:
    """Return all stored documents of a project by collection."""
    of_project, all_of_it = {"$or": [{"project_id": project_id}, {"_id": project_id}]}, database.calls.database
    return {
        name: sorted([row async for row in all_of_it[name].find(of_project)], key=repr)
        for name in await all_of_it.list_collection_names()
        if await all_of_it[name].count_documents(of_project)
    }
