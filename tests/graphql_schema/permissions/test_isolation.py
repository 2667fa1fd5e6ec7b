"""A caller with all rights on one project cannot read, write or count another's data, or see that it exists."""

import asyncio
from collections import defaultdict
from contextlib import aclosing
from typing import Any

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects import ObjectVersion
from stores.security.access import ANONYMOUS_ADMIN, Caller, Grant, Role
from tests.commands import Commands
from tests.graphql_schema.permissions.questions import DIGEST, questions
from tests.graphql_schema.permissions.test_walk import first_errors, is_refused, own
from tests.stores.calls.builders import call_id, end, start, trace_id
from tests.waiting import TIMEOUT

OURS, THEIRS = "acme/chat", "rival/chat"
US = Caller("us", (Grant(OURS, Role.ADMIN),))
HIDDEN = "the rival's own words"
THEIR_OBJECT = f"weave:///{THEIRS}/object/thing:{DIGEST}"
OUR_OBJECT = f"weave:///{OURS}/object/thing:{DIGEST}"
THEIR_CALL = f"weave:///{THEIRS}/call/{call_id(1)}"


@pytest.fixture(scope="module", params=[True, False], ids=["compiled", "stock"])
def schema(request: pytest.FixtureRequest) -> LimitedSchema:
    """Return the schema with each of the two executors."""
    return build_schema(Limits(), compiled=request.param)


@pytest.fixture
async def stores(database: Database, commands: Commands) -> Any:
    """Create the same entities in both projects; theirs have secret values, and ours refer to theirs."""
    stores = Stores(database)
    for project_id, words in ((OURS, "ours"), (THEIRS, HIDDEN)):
        await stores.objects.create(ObjectVersion(project_id, "thing", {"x": 1}))
        await stores.objects.create(ObjectVersion(project_id, "words", {"words": words}))
        await stores.files.create(project_id, _content(b"hello"), "hello.txt")
        await stores.tables.create(project_id, [{"words": words}])
        refs = {"theirs": THEIR_OBJECT, "call": THEIR_CALL, "words": words}
        await stores.calls.write([start(1, project_id=project_id, inputs=refs, thread_id="thread", turn_id=call_id(1))])
        await stores.calls.write([end(1, project_id=project_id, output=refs)])
        await stores.feedback.create([NewFeedback(project_id, f"weave:///{project_id}/call/{call_id(1)}", words, {})])
    commands.sent.clear()
    yield stores
    await stores.close()


async def _content(content: bytes) -> Any:
    yield content


async def ask(schema: LimitedSchema, stores: Stores, query: str, **variables: object) -> Any:
    """Return the data of an error-free answer to our caller."""
    result = await schema.execute(query, variables, Context(stores, caller=US))
    assert result.errors is None, result.errors
    return result.data


async def refusals(schema: LimitedSchema, stores: Stores, query: str, **variables: object) -> list[str]:
    """Return the error codes of an answer to our caller."""
    result = await schema.execute(query, variables, Context(stores, caller=US))
    assert HIDDEN not in repr(result)
    return [(error.extensions or {})["code"] for error in result.errors or ()]


def normalized(errors: list[Any], project_id: str) -> list[Any]:
    """Return errors with the project's name replaced."""
    return [(error.message.replace(project_id, "*"), error.path, error.extensions) for error in errors]


async def test_fields_do_not_reveal_if_another_projects_entity_exists(
    schema: LimitedSchema, stores: Stores, commands: Commands
) -> None:
    """The answer is the same for an existing entity, a missing entity, and an unknown project."""
    there = questions(schema, THEIRS, 1)
    not_there = questions(schema, THEIRS, 99)
    no_project = questions(schema, "nobody/there", 1)
    context = Context(stores, caller=US)
    fields = 0

    for alike in zip(there, not_there, no_project, strict=True):
        if alike[0].field in {"projects", "role"}:  # every caller may ask
            continue
        answers = []
        for question, project_id in zip(alike, (THEIRS, THEIRS, "nobody/there"), strict=True):
            errors = await first_errors(schema, context, question, commands)
            assert [error.extensions["code"] for error in errors] == ["FORBIDDEN"], question
            answers.append(normalized(errors, project_id))
        assert answers[0] == answers[1] == answers[2], alike[0]
        fields += 1

    # Without a command there is no difference in time.
    assert own(commands) == []
    assert fields > 60


async def test_every_field_returns_data_of_the_own_project(
    schema: LimitedSchema, stores: Stores, commands: Commands
) -> None:
    context = Context(stores, caller=US)
    for question in questions(schema, OURS):
        commands.sent.clear()
        errors = await first_errors(schema, context, question, commands)
        assert not is_refused(errors, question), question
        assert HIDDEN not in repr(errors)


async def test_list_over_own_and_other_projects_is_refused_whole(
    schema: LimitedSchema, stores: Stores, commands: Commands
) -> None:
    ours = f"weave:///{OURS}/call/{call_id(1)}"

    codes = [
        await refusals(schema, stores, "query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=[ours, other])
        for other in (THEIR_CALL, f"weave:///{THEIRS}", "weave:///nobody/there", f"weave:///{THEIRS}/file/{DIGEST}")
    ]
    codes.append(
        await refusals(
            schema, stores, "query ($refs: [String!]!) { refs(refs: $refs) }", refs=[OUR_OBJECT, THEIR_OBJECT]
        )
    )
    codes += [
        await refusals(
            schema,
            stores,
            "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res { __typename } } }",
            batch=[ours, theirs],
        )
        for ours in (_start(OURS, 7), _end(OURS, 7))
        for theirs in (_start(THEIRS, 7), _end(THEIRS, 1))
    ]

    assert codes == [["FORBIDDEN"]] * 9
    assert commands.sent == []


def _end(project_id: str, number: int) -> dict[str, Any]:
    return {"end": {"projectId": project_id, "id": call_id(number), "endedAt": "2026-01-31T12:00:01Z", "summary": {}}}


def _start(project_id: str, number: int) -> dict[str, Any]:
    given = {"id": call_id(number), "traceId": trace_id(number), "opName": "op", "attributes": {}, "inputs": {}}
    return {"start": {"projectId": project_id, "startedAt": "2026-01-31T12:00:00Z", **given}}


async def test_operation_over_both_projects_gets_only_its_own_data(schema: LimitedSchema, stores: Stores) -> None:
    query = """query ($id: ID!) {
      ours: call(projectId: "acme/chat", id: $id) { id } theirs: call(projectId: "rival/chat", id: $id) { id } }"""

    result = await schema.execute(query, {"id": call_id(1)}, Context(stores, caller=US))

    assert result.data == {"ours": {"id": call_id(1)}, "theirs": None}
    assert [(error.path, error.extensions) for error in result.errors or ()] == [
        (["theirs"], {"code": "FORBIDDEN", "argument": "projectId"})
    ]


async def test_relations_and_refs_return_nothing_of_another_project(schema: LimitedSchema, stores: Stores) -> None:
    query = """query ($p: ID!, $id: ID!, $mine: CallsFilter) {
      call(projectId: $p, id: $id) {
        inputRefs { ref kind value obj { digest } } outputRefs { ref value obj { digest } }
        inputs parent { id } trace { ref } thread { threadId } feedback { nodes { payload } } }
      calls(projectId: $p, filter: $mine, expandColumns: ["inputs.theirs"]) { nodes { inputs } totalCount }
    }"""

    found = await ask(schema, stores, query, p=OURS, id=call_id(1), mine={})

    [ref] = [ref for ref in found["call"]["inputRefs"] if ref["ref"] == THEIR_OBJECT]
    assert (ref["value"], ref["obj"]) == (None, None)
    assert found["calls"]["totalCount"] == 1
    assert codec.loads(codec.dumps(found["calls"]["nodes"][0]["inputs"]))["theirs"] == THEIR_OBJECT  # type: ignore[index] # it is an object
    assert HIDDEN.encode() not in codec.dumps(found)


async def test_conditions_through_refs_reveal_nothing_of_another_project(schema: LimitedSchema, stores: Stores) -> None:
    query = """query ($p: ID!, $q: QueryInput, $sort: [SortBy!]) {
      calls(projectId: $p, query: $q, sortBy: $sort, expandColumns: ["inputs.theirs"]) { nodes { id } totalCount }
      callsStats(projectId: $p, query: $q, expandColumns: ["inputs.theirs"]) { count } }"""
    is_one = {"$expr": {"$eq": [{"$getField": "inputs.theirs.x"}, {"$literal": 1}]}}

    found = await ask(
        schema, stores, query, p=OURS, q={"json": is_one}, sort=[{"field": "inputs.theirs.x", "direction": "ASC"}]
    )

    assert found["calls"] == {"nodes": [], "totalCount": 0}
    assert found["callsStats"]["count"] == 0


async def test_feedback_on_another_projects_entity_returns_no_entity(schema: LimitedSchema, stores: Stores) -> None:
    create = """mutation ($p: ID!, $ref: String!, $payload: JSON!) {
      feedbackCreate(projectId: $p, weaveRef: $ref, feedbackType: "note", payload: $payload) { id } }"""
    await ask(schema, stores, create, p=OURS, ref=THEIR_CALL, payload={})

    found = await ask(
        schema, stores, "query ($p: ID!) { feedback(projectId: $p) { nodes { weaveRef call { id } } } }", p=OURS
    )
    seen = await stores.feedback.count(THEIRS)

    assert {"weaveRef": THEIR_CALL, "call": None} in found["feedback"]["nodes"]
    assert seen == 1


async def test_ref_arguments_refuse_refs_into_another_project(schema: LimitedSchema, stores: Stores) -> None:
    fields = {
        "evaluateModel(projectId: $p, evaluationRef: $ref, modelRef: $ref) { callId }": "evaluate",
        "actionsExecuteBatch(projectId: $p, actionRef: $ref, callIds: []) { numFailed }": "act",
        'feedbackCreate(projectId: $p, weaveRef: $ref, feedbackType: "wandb.annotation.x", annotationRef: $ref, '
        "payload: {value: 1}) { id }": "annotate",
    }
    alike = []
    for field in fields:
        document = f"mutation ($p: ID!, $ref: String!) {{ {field} }}"
        results = [
            await schema.execute(document, {"p": OURS, "ref": ref}, Context(stores, caller=US))
            for ref in (THEIR_OBJECT, THEIR_OBJECT.replace(DIGEST, "x" * 43))
        ]
        messages = [[error.message.replace("x" * 43, DIGEST) for error in result.errors or ()] for result in results]
        assert messages[0], field
        assert HIDDEN not in repr(messages)
        alike.append(messages[0] == messages[1])

    assert alike == [True] * len(fields)


LISTS = {
    "calls": "nodes { id inputs output }",
    "traces": "nodes { traceId name numCalls feedback { nodes { payload } } }",
    "threads": "nodes { threadId turnCount }",
    "objs": "nodes { objectId val }",
    "ops": "nodes { objectId val }",
    "feedback": "nodes { payload feedbackType }",
    "costs": "nodes { id llmId }",
}
"""Lists of a project, each with its selection."""


def test_every_list_of_a_project_is_tested(schema: LimitedSchema) -> None:
    fields = schema._schema.type_map["Project"].fields  # type: ignore[attr-defined] # it is an object type

    assert {name for name, field in fields.items() if str(field.type).endswith("Connection!")} == LISTS.keys()


async def test_project_returns_only_its_own_entities(schema: LimitedSchema, stores: Stores) -> None:
    lists = " ".join(f"{name} {{ totalCount {selected} }}" for name, selected in LISTS.items())
    query = f"""query ($p: ID!, $ref: ID!) {{
      project(projectId: $p) {{ ...P }} node(id: $ref) {{ ...P }} projects {{ nodes {{ ...P }} }} }}
      fragment P on Project {{ id callCount objectCount feedbackCount stats {{ filesStorageSizeBytes }} {lists} }}"""

    found = await ask(schema, stores, query, p=OURS, ref=f"weave:///{OURS}")

    [listed] = found["projects"]["nodes"]
    encoded = {codec.dumps(each) for each in (found["project"], found["node"], listed)}
    assert len(encoded) == 1
    assert HIDDEN.encode() not in encoded.pop()
    assert {name: listed[name]["totalCount"] for name in LISTS} == {
        "calls": 1,
        "traces": 1,
        "threads": 1,
        "objs": 2,
        "ops": 0,
        "feedback": 1,
        "costs": 0,
    }
    assert (listed["id"], listed["callCount"], listed["objectCount"], listed["feedbackCount"]) == (OURS, 1, 2, 1)


async def test_project_lists_refuse_cursors_and_columns_of_another(schema: LimitedSchema, stores: Stores) -> None:
    listing = """query ($p: ID!, $a: String) { project(projectId: $p) { calls(first: 1, after: $a) {
      pageInfo { endCursor } } } }"""
    theirs = await schema.execute(listing, {"p": THEIRS}, Context(stores, caller=ANONYMOUS_ADMIN))
    assert theirs.data
    through = """query ($p: ID!, $q: QueryInput) { project(projectId: $p) {
      calls(query: $q, expandColumns: ["inputs.theirs"]) { nodes { id } totalCount } } }"""
    is_one = {"$expr": {"$eq": [{"$getField": "inputs.theirs.x"}, {"$literal": 1}]}}

    after = theirs.data["project"]["calls"]["pageInfo"]["endCursor"]
    codes = await refusals(schema, stores, listing, p=OURS, a=after)
    found = await ask(schema, stores, through, p=OURS, q={"json": is_one})

    assert codes == ["BAD_USER_INPUT"]
    assert found["project"]["calls"] == {"nodes": [], "totalCount": 0}


async def test_evaluation_run_returns_nothing_of_another_project(schema: LimitedSchema, stores: Stores) -> None:
    [words] = [
        row["digest"] async for row in stores.files.database.table_rows.find({"project_id": THEIRS}, {"digest": 1})
    ]
    row = f"{THEIR_OBJECT}/attr/rows/id/{words}"
    await stores.calls.write(
        [
            start(
                2, project_id=OURS, op_name="Evaluation.evaluate", inputs={"self": THEIR_OBJECT, "model": THEIR_OBJECT}
            ),
            start(
                3,
                project_id=OURS,
                op_name="Evaluation.predict_and_score",
                trace_id=trace_id(2),
                parent_id=call_id(2),
                inputs={"example": row, "model": THEIR_OBJECT},
            ),
            end(3, project_id=OURS, output={"output": 1, "scores": {"s": 1}}),
        ]
    )
    query = """query ($p: ID!, $id: ID!) { evaluationRun(projectId: $p, callId: $id) {
      evaluation { ref value } model { ref value } dataset { ref value } scorers { ref }
      results { nodes { exampleDigest exampleRef { ref value } example predictions { id } } } call { id } } }"""

    found = (await ask(schema, stores, query, p=OURS, id=call_id(2)))["evaluationRun"]

    assert found["call"] == {"id": call_id(2)}
    assert found["evaluation"] == found["model"] == {"ref": THEIR_OBJECT, "value": None}
    assert (found["dataset"], found["scorers"]) == (None, [])
    [result] = found["results"]["nodes"]
    assert (result["exampleRef"], result["example"]) == ({"ref": row, "value": None}, None)
    assert result["predictions"] == [{"id": call_id(3)}]
    assert HIDDEN not in repr(found)


async def test_cursors_of_another_project_are_refused(schema: LimitedSchema, stores: Stores) -> None:
    listing = "query ($p: ID!, $a: String) { calls(projectId: $p, first: 1, after: $a) { pageInfo { endCursor } } }"
    theirs = await schema.execute(listing, {"p": THEIRS}, Context(stores, caller=ANONYMOUS_ADMIN))
    events = await schema.execute(
        f'{{ callEventsCursor(projectId: "{THEIRS}") }}', context_value=Context(stores, caller=ANONYMOUS_ADMIN)
    )
    assert theirs.data
    assert events.data
    watch = "subscription ($p: ID!, $a: String) { callEvents(projectId: $p, after: $a) { type } }"
    variables = {"p": OURS, "a": events.data["callEventsCursor"]}

    codes = await refusals(schema, stores, listing, p=OURS, a=theirs.data["calls"]["pageInfo"]["endCursor"])
    results: Any = await schema.stream(watch, variables, Context(stores, caller=US))
    async with aclosing(results):
        first = await asyncio.wait_for(anext(results), TIMEOUT)

    assert codes == ["BAD_USER_INPUT"]
    assert first.errors
    assert first.errors[0].extensions["code"] == "BAD_USER_INPUT"


async def test_equal_digest_in_another_project_is_another_file(schema: LimitedSchema, stores: Stores) -> None:
    [digest] = [row["digest"] async for row in stores.files.database.files.find({"project_id": THEIRS}, {"digest": 1})]
    await stores.files.create(THEIRS, _content(HIDDEN.encode()), "secret.txt")
    [secret] = [
        row["digest"]
        async for row in stores.files.database.files.find({"project_id": THEIRS, "digest": {"$ne": digest}})
    ]
    read = "query ($p: ID!, $d: String!) { file(projectId: $p, digest: $d) { name } }"

    ours = await ask(schema, stores, read, p=OURS, d=digest)
    theirs = await ask(schema, stores, read, p=OURS, d=secret)

    assert ours["file"]["name"] == "hello.txt"
    assert theirs == {"file": None}


async def test_projects_field_lists_and_counts_own_projects_only(schema: LimitedSchema, stores: Stores) -> None:
    for name in ("one", "two"):
        await stores.projects.ensure("team", name)
        await stores.projects.ensure("teams", name)
    query = "query ($f: ProjectsFilter) { projects(filter: $f) { nodes { id callCount } totalCount } }"
    both = Caller("both", (Grant(OURS, Role.READER), Grant("team/*", Role.READER)))

    async def listed(caller: Caller, **given: Any) -> tuple[list[str], int]:
        result = await schema.execute(query, {"f": given}, Context(stores, caller=caller))
        assert result.data
        found = result.data["projects"]
        return [node["id"] for node in found["nodes"]], found["totalCount"]

    assert await listed(US) == ([OURS], 1)
    assert await listed(both) == ([OURS, "team/one", "team/two"], 3)
    assert await listed(both, entity="team") == (["team/one", "team/two"], 2)
    assert await listed(both, entity="teams") == ([], 0)
    assert await listed(both, namePrefix="on") == (["team/one"], 1)
    assert await listed(US, entity="rival") == ([], 0)
    assert await listed(Caller("nothing", ())) == ([], 0)
    assert (await listed(ANONYMOUS_ADMIN))[1] == 6


async def test_permission_is_checked_on_the_normalised_project_name(
    schema: LimitedSchema, stores: Stores, commands: Commands
) -> None:
    caller = Caller("odd", (Grant("rival/ chat", Role.ADMIN),))
    document = 'mutation { ensureProjectExists(entity: "rival", project: " chat") { projectId } }'

    result: Any = await schema.execute(document, context_value=Context(stores, caller=caller))

    assert result.errors
    assert result.errors[0].extensions["code"] == "FORBIDDEN"
    assert commands.sent == []


async def test_events_are_shared_only_by_callers_with_equal_visibility(schema: LimitedSchema, stores: Stores) -> None:
    watch = "subscription ($p: ID!) { callEvents(projectId: $p) { type call { id } } }"
    refused: Any = await schema.stream(
        watch, {"p": OURS}, Context(stores, caller=Caller("x", (Grant(THEIRS, Role.ADMIN),)))
    )
    ours: Any = await schema.stream(watch, {"p": OURS}, Context(stores, caller=US))
    async with aclosing(ours), aclosing(refused), asyncio.timeout(TIMEOUT):
        waiting = asyncio.ensure_future(anext(ours))
        [error] = (await anext(refused)).errors or []
        number = 10
        while not waiting.done():
            await stores.calls.write([start(number := number + 1, project_id=OURS)])
            await asyncio.wait([waiting], timeout=0.2)
    assert error.extensions["code"] == "FORBIDDEN"
    assert waiting.result().data["callEvents"]["type"] == "STARTED"


def test_isolation_queries_cover_every_field(schema: LimitedSchema) -> None:
    core = schema._schema
    roots = [core.query_type, core.mutation_type, core.subscription_type]
    covered = {str(question) for question in questions(schema, OURS)}

    assert covered == {f"{kind.name}.{field}" for kind in roots if kind for field in kind.fields}


def test_every_one_of_field_is_tested_alone_and_combined(schema: LimitedSchema) -> None:
    variables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for question in questions(schema, OURS):
        variables[question.field].append(question.variables)

    batches = [[next(iter(item)) for item in given["batch"]] for given in variables["callCreateBatch"]]
    assert batches == [["start"], ["end"], ["start", "end"], ["end", "start"]]
    updates = [[next(iter(item)) for item in given["updates"]] for given in variables["tableUpdate"]]
    assert updates[:3] == [["append"], ["pop"], ["insert"]]
    assert [next(iter(given["query"])) for given in variables["feedbackPurge"]] == ["json", "expr"]
