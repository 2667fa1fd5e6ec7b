"""No edge of the graph reaches another project or reveals that it exists."""

import asyncio
import json
from collections.abc import Collection
from contextlib import aclosing
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLObjectType, is_required_argument

from app.providers import EnvironmentProviders
from graphql_schema.context import Context, Stores
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.json import codec
from stores.security.access import Caller, Grant, Role
from tests.graphql_schema.permissions.relations import edges, ruled
from tests.graphql_schema.permissions.steps import Steps, objects, reached, selection
from tests.graphql_schema.permissions.twins import RUNS, Builder, Twin
from tests.stand_in_provider import StandIn
from tests.stores.calls.builders import call_id, end, start, trace_id
from tests.stores.images.pictures import answer, encoded
from tests.waiting import TIMEOUT
from tests.watching import contains_time

OURS, THEIRS = "acme/chat", "rival/chat"
US = Caller("us", (Grant(OURS, Role.ADMIN),))
OUR_WORDS, HIDDEN = "our own words", "hidden words of the rival"
LIMITS = Limits(max_aliases=100_000)
NO_VALUE = "give these edges a value in tests/graphql_schema/permissions/twins.py"
UNSTEADY = ("explain", "explainThreads", "explainTraces", "callEventsCursor")
"""Fields of Query whose answers differ each time."""


@pytest.fixture(scope="module")
def schema() -> LimitedSchema:
    """Return the schema with our executor.

    graphql-core completes a document that is new to it, and `test_graph.py` compares both.
    """
    return build_schema(LIMITS)


@pytest.fixture
async def stores(database: Database, providers: EnvironmentProviders) -> Any:
    stores = Stores(database, providers)
    yield stores
    await stores.close()


class RootArguments:
    """The arguments of root fields, all about our project."""

    def __init__(self, twin: Twin) -> None:
        entities = (
            f"call/{call_id(1)}", f"trace/{trace_id(1)}", "thread/thread", f"feedback/{call_id(900)}",
            f"table/{twin.table}", f"table/{twin.table}/index/0", f"file/{twin.file}",
        )  # fmt: skip
        refs = [ref.replace(THEIRS, OURS) for ref in twin.refs.values()]
        self._given: dict[str, object] = {
            "projectId": OURS,
            "ids": [f"weave:///{OURS}", *refs, *(f"weave:///{OURS}/{entity}" for entity in entities)],
            "refs": refs,
            "traceId": trace_id(1),
            "threadId": "thread",
            "callId": call_id(RUNS[0]),
            "evaluationCallId": call_id(RUNS[0]),
            "callIds": [call_id(run) for run in RUNS],
            "objectId": "thing",
            "name": "answer",
            "text": "words",
            "fields": ["status", "latency_ms", "output.score"],
            "keepDays": 1,
        }
        self._of_fields: dict[str, dict[str, object]] = {
            "node": {"id": f"weave:///{OURS}"},
            "call": {"id": call_id(1)},
            "callsAggregate": {"groupPaths": ["status"], "numbers": ["latencyMs"]},
            "file": {"digest": twin.file},
            "tableRows": {"digest": twin.table},
            "tableStats": {"digest": twin.table},
            "retentionPreview": {"keepDays": 1},
        }

    def spelled(self, name: str, field: GraphQLField) -> str:
        """Return the arguments of a field of Query as a document's text."""
        own = self._of_fields.get(name, {})
        given = self._given | own
        names = [each for each, argument in field.args.items() if each in own or is_required_argument(argument)]
        return f"({', '.join(f'{each}: {json.dumps(given[each])}' for each in names)})" if names else ""


async def answered(schema: LimitedSchema, stores: Stores, document: str, **variables: object) -> Any:
    """Return the data of an error-free answer to our caller, as JSON."""
    result = await schema.execute(document, variables, Context(stores, caller=US))
    assert result.errors is None, (result.errors, document)
    return json.loads(codec.dumps(result.data))


async def walked(schema: LimitedSchema, stores: Stores, twin: Twin, known: Collection[str] = ()) -> dict[str, Any]:
    """Follow every edge as our caller and return the answers by document.

    A document that is not known to the schema runs twice, because the second run uses compiled rows.
    """

    async def ask(document: str) -> Any:
        first = await answered(schema, stores, document)
        if document not in known and not is_unsteady(document):
            assert await answered(schema, stores, document) == first, document
        return first

    steps = Steps(schema._schema, ask, RootArguments(twin).spelled)
    await steps.go()
    return steps.answers


def is_unsteady(document: str) -> bool:
    return any(f"Query_{name}:" in document for name in UNSTEADY)


def test_every_relation_has_a_permission(schema: LimitedSchema) -> None:
    differing = edges(schema._schema) ^ ruled()

    assert not differing, f"say in tests/graphql_schema/permissions/relations.py where these lead: {sorted(differing)}"


async def test_relations_behave_as_if_no_other_project_existed(schema: LimitedSchema, stores: Stores) -> None:
    # Their project is created first, so that a lookup without a project would find theirs.
    await Builder(stores, THEIRS, HIDDEN, to=THEIRS).build()
    twin = await Builder(stores, OURS, OUR_WORDS, to=OURS).build()

    together = await walked(schema, stores, twin)
    await forget(stores.calls.database, THEIRS)
    alone = await walked(schema, stores, twin, together)

    text = json.dumps(together)
    assert OUR_WORDS in text
    assert HIDDEN not in text
    assert THEIRS not in text
    assert not contains_time(text)
    changed = [document for document, found in together.items() if found != alone[document]]
    assert [document for document in changed if not is_unsteady(document)] == []
    unreached = ruled(written=False) - reached(list(together.values()))
    assert not unreached, f"{NO_VALUE}: {sorted(unreached)}"


async def forget(database: Database, project_id: str) -> None:
    """Delete all documents of a project at once; a purge would wait for writers in progress."""
    of_project = {"$or": [{"project_id": project_id}, {"_id": project_id}]}
    kept = database.calls.database
    for name in await kept.list_collection_names():
        await kept[name].delete_many(of_project)


async def test_relations_follow_no_ref_into_another_project(schema: LimitedSchema, stores: Stores) -> None:
    await Builder(stores, THEIRS, HIDDEN, to=THEIRS).build()
    twin = await Builder(stores, OURS, OUR_WORDS, to=THEIRS).build()

    answers = await walked(schema, stores, twin)

    text = json.dumps(answers)
    assert f"weave:///{THEIRS}/object/thing" in text
    assert HIDDEN not in text
    named = [(name, value) for each in objects(answers) for name, value in each.items() if is_own(schema, name)]
    assert [(name, value) for name, value in named if THEIRS in str(value)] == []
    assert len(named) > 500


def is_own(schema: LimitedSchema, name: str) -> bool:
    """Return whether a field names the project of its own entity."""
    kind, _, field = name.partition("_")
    of = schema._schema.type_map.get(kind)
    return field == "projectId" or (field == "ref" and isinstance(of, GraphQLObjectType) and bool(of.interfaces))


WRITES = """
  action: actionsExecuteBatch(projectId: $p, actionRef: $check, callIds: [$id, $none]) { ...ActionsExecuteBatchRes }
  batch: callCreateBatch(batch: $batch) { ...CallCreateBatchRes }
  cost: costCreate(projectId: $p, costs: [{llmId: "m", promptTokenCost: 1, completionTokenCost: 1}])
    { ...CostCreateRes }
  said: feedbackCreate(projectId: $p, weaveRef: $call, feedbackType: "said", payload: {a: 1}, id: $none)
    { ...FeedbackCreateRes }
  again: feedbackReplace(projectId: $p, weaveRef: $call, feedbackType: "said", payload: {a: 1}, feedbackId: $none)
    { ...FeedbackReplaceRes }
  all: feedbackCreateBatch(batch: [{projectId: $p, weaveRef: $call, feedbackType: "said", payload: {}}])
    { ...FeedbackCreateBatchRes }
  told: completionsCreate(projectId: $p, inputs: {model: "gpt-4o", messages: [{role: "user", content: "?"}]})
    { ...CompletionsCreateRes }
  drawn: imageCreate(projectId: $p, inputs: {model: "gpt-image-1", prompt: "?"}) { ...ImageGenerationCreateRes }
  spans: otelExport(projectId: $p, traces: {resourceSpans: [{scopeSpans: [{spans: [{name: "x"}]}]}]})
    { ...OtelExportRes }
"""
"""Mutations whose results lead to other entities."""


def fragments(schema: LimitedSchema, document: str) -> str:
    """Return a document with its fragments, each a selection of all fields of a type and of two edges beyond it."""
    core = schema._schema
    spread = [name for name in core.type_map if f"...{name} " in document]
    return document + " ".join(
        f"fragment {name} on {name} {{ {selection(core, core.type_map[name], 2)} }}" for name in spread
    )


async def test_mutation_results_lead_only_to_own_entities(
    schema: LimitedSchema, stores: Stores, stand_in: StandIn
) -> None:
    await Builder(stores, THEIRS, HIDDEN, to=THEIRS).build()
    twin = await Builder(stores, OURS, OUR_WORDS, to=OURS).build()
    document = fragments(
        schema,
        "mutation ($p: ID!, $check: String!, $call: String!, $id: ID!, $none: ID!, $batch: [CallBatchMode!]!) "
        f"{{ {WRITES} }} ",
    )
    call = {"projectId": OURS, "id": call_id(99)}
    ended = call | {"endedAt": "2026-01-31T12:00:01Z", "summary": {}}
    started = call | {"opName": "op", "startedAt": "2026-01-31T12:00:00Z", "attributes": {}, "inputs": {}}
    stand_in.reply = lambda body: answer(encoded()) if "prompt" in body else None

    written = await answered(
        schema,
        stores,
        document,
        p=OURS,
        check=twin.refs["check"],
        call=f"weave:///{OURS}/call/{call_id(1)}",
        id=call_id(1),
        none=call_id(98),
        batch=[{"start": started}, {"end": ended}],
    )
    watched = await followed(schema, stores)

    text = json.dumps([written, watched])
    assert HIDDEN not in text
    assert THEIRS not in text
    assert not contains_time(text)
    unreached = ruled(written=True) - reached([written, watched])
    assert not unreached, f"select these in WRITES of this file, or in `followed`: {sorted(unreached)}"


async def followed(schema: LimitedSchema, stores: Stores) -> list[Any]:
    """Return an event of a call and all events of a completion."""
    since = (await answered(schema, stores, "query ($p: ID!) { callEventsCursor(projectId: $p) }", p=OURS))[
        "callEventsCursor"
    ]
    for project_id in (THEIRS, OURS):
        await stores.calls.write([start(1, project_id=project_id), end(1, project_id=project_id)])
    events = fragments(
        schema, "subscription ($p: ID!, $a: String) { callEvents(projectId: $p, after: $a) { ...CallEvent } } "
    )
    completion = fragments(
        schema,
        'subscription ($p: ID!) { completionsCreateStream(projectId: $p, inputs: {model: "gpt-4o", '
        'messages: [{role: "user", content: "?"}]}) { ...CompletionsCreateEvent } } ',
    )
    [event] = await streamed(schema, stores, events, 1, p=OURS, a=since)
    return [event, *await streamed(schema, stores, completion, 100, p=OURS)]


async def streamed(schema: LimitedSchema, stores: Stores, document: str, most: int, **variables: object) -> list[Any]:
    """Return the data of the first results of our caller's subscription."""
    results: Any = await schema.stream(document, variables, Context(stores, caller=US))
    found: list[Any] = []
    async with aclosing(results), asyncio.timeout(TIMEOUT):
        async for result in results:
            assert result.errors is None, result.errors
            found.append(json.loads(codec.dumps(result.data)))
            if len(found) == most:
                break
    return found
