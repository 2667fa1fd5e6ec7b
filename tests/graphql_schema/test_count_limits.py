"""`totalCount(limit:)`: counts up to a limit in every list, and how much MongoDB reads for them."""

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType

from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.costs.store import NewCost
from stores.database import Database
from stores.query import Query
from stores.rollups.settling import Settling
from stores.security.access import ANONYMOUS_ADMIN, Caller, Grant, Role
from stores.text_search.pages import Method
from tests.commands import Commands
from tests.graphql_schema.conftest import Run, running
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.evaluations.builders import graded, run_id, whole_run
from tests.stores.feedback.builders import note
from tests.stores.objects.builders import version
from tests.stores.trace_lists.test_index_use import examined_documents
from tests.waiting import until_found

ON_ONE_SERVER = pytest.mark.not_on("cluster", reason="each shard examines documents up to the limit")

OP = {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}
OTHER = "acme/other"
NESTED = '{expr: {eq: [{getField: "inputs.q.word"}, {literal: "weft"}]}}'
SCORED = '{expr: {gte: [{getField: "scores.helpfulness.grade"}, {literal: 0}]}}'
ROWS = '{expr: {gte: [{getField: "val.q"}, {literal: 1}]}}'

LISTS = {
    "Query.calls": [
        "calls(projectId: $p) { COUNTS }",
        "calls(projectId: $p, filter: {traceRootsOnly: true, statuses: [SUCCESS]}) { COUNTS }",
        f"calls(projectId: $p, query: {NESTED}) {{ COUNTS }}",
        'calls(projectId: $p, filter: {threadIds: ["t"], models: ["loom"]}) { COUNTS }',
        'calls(projectId: $p, sortBy: [{field: "feedback.[*].payload.note", direction: ASC}]) { COUNTS }',
    ],
    "Query.search": [
        'search(projectId: $p, text: "weft") { COUNTS }',
        f'search(projectId: $p, text: "weft", query: {NESTED}, method: SCAN) {{ COUNTS }}',
    ],
    "Query.traces": [
        "traces(projectId: $p) { COUNTS }",
        "traces(projectId: $p, filter: {statuses: [SUCCESS]}) { COUNTS }",
        f"traces(projectId: $p, query: {NESTED}) {{ COUNTS }}",
        "traces(projectId: $p, anyCall: {filter: {statuses: [SUCCESS]}}) { COUNTS }",
        f"traces(projectId: $p, filter: {{statuses: [SUCCESS]}}, anyCall: {{query: {NESTED}}}) {{ COUNTS }}",
    ],
    "Query.threads": [
        "threads(projectId: $p) { COUNTS }",
        'threads(projectId: $p, filter: {threadIds: ["t", "u"]}) { COUNTS }',
        f"threads(projectId: $p, query: {NESTED}) {{ COUNTS }}",
    ],
    "Query.objs": ["objs(projectId: $p) { COUNTS }", "objs(projectId: $p, filter: {latestOnly: true}) { COUNTS }"],
    "Query.ops": ["ops(projectId: $p) { COUNTS }"],
    "Query.feedback": ["feedback(projectId: $p) { COUNTS }"],
    "Query.costs": ["costs(projectId: $p) { COUNTS }"],
    "Query.tableRows": [
        "tableRows(projectId: $p, digest: $table) { COUNTS }",
        f"tableRows(projectId: $p, digest: $table, query: {ROWS}) {{ COUNTS }}",
    ],
    "Query.evaluationRuns": ["evaluationRuns(projectId: $p) { COUNTS }"],
    "Query.evaluationResults": [
        "evaluationResults(projectId: $p, evaluationCallId: $evaluation) { COUNTS }",
        f"evaluationResults(projectId: $p, evaluationCallId: $evaluation, query: {SCORED}) {{ COUNTS }}",
    ],
    "Query.projects": ["projects { COUNTS }"],
    "Project.calls": ["project(projectId: $p) { calls { COUNTS } }"],
    "Project.traces": ["project(projectId: $p) { traces { COUNTS } }"],
    "Project.threads": ["project(projectId: $p) { threads { COUNTS } }"],
    "Project.objs": ["project(projectId: $p) { objs { COUNTS } }"],
    "Project.ops": ["project(projectId: $p) { ops { COUNTS } }"],
    "Project.feedback": ["project(projectId: $p) { feedback { COUNTS } }"],
    "Project.costs": ["project(projectId: $p) { costs { COUNTS } }"],
    "CallSchema.children": ["calls(projectId: $p) { nodes { children { COUNTS } } }"],
    "CallSchema.feedback": ['calls(projectId: $p) { nodes { feedback(types: ["wandb.note.1"]) { COUNTS } } }'],
    "EvaluationComparison.rows": ["evaluationCompare(projectId: $p, callIds: $runs) { rows { COUNTS } }"],
    "EvaluationRun.results": ["evaluationRuns(projectId: $p) { nodes { results { COUNTS } } }"],
    "ObjSchema.versions": ["objs(projectId: $p) { nodes { versions { COUNTS } } }"],
    "ObjSchema.usedBy": ["objs(projectId: $p) { nodes { usedBy { COUNTS } } }"],
    "ObjSchema.evaluationRuns": ["objs(projectId: $p) { nodes { evaluationRuns { COUNTS } } }"],
    "Table.rows": ["objs(projectId: $p) { nodes { table { rows { COUNTS } } } }"],
    "ThreadSchema.turns": ["threads(projectId: $p) { nodes { turns { COUNTS } } }"],
    "ThreadSchema.calls": ["threads(projectId: $p) { nodes { calls { COUNTS } } }"],
    "ThreadSchema.traces": ["threads(projectId: $p) { nodes { traces { COUNTS } } }"],
    "Trace.calls": ["traces(projectId: $p) { nodes { calls { COUNTS } } }"],
    "Trace.roots": ["traces(projectId: $p) { nodes { roots { COUNTS } } }"],
    "Trace.tree": [
        "traces(projectId: $p) { nodes { tree { COUNTS } } }",
        "traces(projectId: $p) { nodes { tree(maxDepth: 1) { COUNTS } } }",
    ],
    "Trace.feedback": ["traces(projectId: $p) { nodes { feedback { COUNTS } } }"],
}
"""Fields with a list, each selected in one or more ways, with two entries or more."""

LIMITS = {"one": 1, "two": 2, "three": 3, "many": 10_000, "most": 2**31 - 1}
KINDS = {"p": "ID!", "table": "String!", "evaluation": "ID!", "runs": "[ID!]!"}
COUNTS = " ".join(["exact: totalCount", *(f"{name}: totalCount(limit: {limit})" for name, limit in LIMITS.items())])


async def _fill(stores: Stores) -> dict[str, Any]:
    """Create two or more entries of each list; return the variables of the queries."""
    table, _ = await stores.tables.create(PROJECT, [{"q": number} for number in range(4)])
    dataset = await stores.objects.create(version({"rows": f"weave:///{PROJECT}/table/{table}"}, object_id="data"))
    await stores.objects.create(version({"rows": [1]}, object_id="data"))
    evaluation = await stores.objects.create(version({"trials": 1}, object_id="quality"))
    for name in ("answer", "search"):
        await stores.objects.create(version(OP | {"name": name}, object_id=name))
    inputs = {"data": f"weave:///{PROJECT}/object/data:{dataset}", "q": {"word": "weft"}}
    await stores.calls.write(
        [
            part
            for number in range(1, 13)
            for first in [number - (number - 1) % 4]
            for part in (
                start(
                    number,
                    trace_id=trace_id(first),
                    parent_id={0: None, 3: call_id(900)}.get(number - first, call_id(first)),
                    thread_id="t" if number < 9 else "u",
                    turn_id=call_id(number),
                    inputs=inputs,
                ),
                end(number, summary={"usage": {"loom": {"prompt_tokens": 1}}}),
            )
        ]
    )
    await stores.feedback.create([note(str(number)) for number in range(3)])
    await stores.costs.create(PROJECT, [NewCost(name, 0.5, 1.0) for name in ("loom", "weft", "warp")])
    given = {"inputs": {"self": f"weave:///{PROJECT}/object/quality:{evaluation}", "model": "m"}}
    for number in (1, 2):
        await stores.calls.write(whole_run([graded(each, each / 2) for each in range(3)], number, **given))
    await stores.calls.write([start(1, project_id=OTHER), end(1, project_id=OTHER)])
    return {"p": PROJECT, "table": table, "evaluation": run_id(1), "runs": [run_id(1), run_id(2)]}


def _counts(value: Any) -> Iterator[dict[str, str]]:
    """Yield the counts of each list in an answer."""
    if isinstance(value, list):
        for each in value:
            yield from _counts(each)
    elif isinstance(value, dict):
        if "exact" in value:
            yield value
        for each in value.values():
            yield from _counts(each)


def test_every_list_is_tested(schema: LoomSchema) -> None:
    lists = {
        f"{kind.name}.{name}"
        for kind in schema._schema.type_map.values()
        if isinstance(kind, GraphQLObjectType)
        for name, field in kind.fields.items()
        if str(field.type).rstrip("!").endswith("Connection")
    }

    assert lists == LISTS.keys()


@pytest.mark.parametrize("is_settled", [False, True], ids=["live", "settled"])
@pytest.mark.timings(mark_seconds=0.05, registry_lag_seconds=0, write_margin_seconds=0)
async def test_limits_hold_in_every_list(schema: LoomSchema, database: Database, *, is_settled: bool) -> None:
    stores = Stores(database)
    run, variables = running(schema, Context(stores)), await _fill(stores)
    if is_settled:
        await _settle(database)
        await _index(stores)
    for name, selections in LISTS.items():
        for selection in selections:
            declared = ", ".join(f"${name}: {kind}" for name, kind in KINDS.items() if f"${name}" in selection)
            heading = f"query ({declared})" if declared else "query"
            answer = await run(f"{heading} {{ {selection.replace('COUNTS', COUNTS)} }}", **variables)

            assert answer.errors == [], selection
            counts = [{alias: int(text) for alias, text in each.items()} for each in _counts(answer.data)]
            assert max(each["exact"] for each in counts) >= 2, (name, selection)
            for each in counts:
                expected = {alias: min(each["exact"], limit) for alias, limit in LIMITS.items()}
                assert each == {"exact": each["exact"], **expected}, selection
    await stores.close()


async def _index(stores: Stores) -> None:
    await stores.text_search.set_index(PROJECT, is_on=True)
    while PROJECT in await stores.text_search.due():
        await stores.text_search.work(PROJECT, pause=0)


async def _settle(database: Database) -> None:
    settling = Settling(database)

    async def is_done() -> bool:
        await settling.work(PROJECT, pause=0)
        waiting = {"project_id": PROJECT, "live_until": {"$exists": True}}
        return not await database.hour_marks.count_documents(waiting)

    await until_found(is_done)


async def test_limits_of_0_and_null(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), start(2)])

    answer = await run(
        "query ($p: ID!, $n: Int) { calls(projectId: $p) {"
        " zero: totalCount(limit: 0) null: totalCount(limit: null) omitted: totalCount(limit: $n) } }",
        p=PROJECT,
    )

    assert answer.data == {"calls": {"zero": 0, "null": 2, "omitted": 2}}


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("-1", "limit: -1 is negative; send 0 or more"),
        ("-2147483648", "limit: -2147483648 is negative; send 0 or more"),
        ("2147483648", "Int cannot represent non 32-bit signed integer value: 2147483648"),
        ("1.5", "Int cannot represent non-integer value: 1.5"),
        ('"7"', 'Int cannot represent non-integer value: "7"'),
        ("[1]", "Int cannot represent non-integer value: [1]"),
        ("{a: 1}", "Int cannot represent non-integer value: { a: 1 }"),
    ],
)
async def test_wrong_limits_are_rejected(run: Run, calls: CallsStore, limit: str, message: str) -> None:
    await calls.write([start(1)])

    answer = await run(f'{{ calls(projectId: "{PROJECT}") {{ totalCount(limit: {limit}) }} }}')

    assert message in answer.errors[0]["message"]
    assert answer.code in {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}


async def test_one_wrong_limit_names_its_alias(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), start(2, parent_id=call_id(1))])

    counts = "good: totalCount bad: totalCount(limit: -3)"
    answer = await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ children {{ {counts} }} }} }} }}')

    assert {error["path"][-1] for error in answer.errors} == {"bad"}
    assert answer.errors[0]["extensions"]["argument"] == "limit"


async def test_aliases_of_a_relation_are_counted_once_per_limit(
    run: Run, calls: CallsStore, commands: Commands
) -> None:
    await calls.write(
        [start(number, parent_id=call_id(number // 2) if number > 1 else None) for number in range(1, 21)]
    )
    counts = "a: totalCount(limit: 1) b: totalCount(limit: 1) c: totalCount(limit: 2) d: totalCount"
    await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ children {{ d: totalCount }} }} }} }}')
    with_one = len(commands.sent)
    commands.sent.clear()

    answer = await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ children {{ {counts} }} }} }} }}')

    assert len(commands.sent) <= with_one + 2
    children = [node["children"] for node in answer.data["calls"]["nodes"]]
    assert children[0] == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert children[-1] == {"a": 0, "b": 0, "c": 0, "d": 0}


async def _examined(database: Database, commands: Commands) -> tuple[int, int]:
    """Return how many keys and documents the last aggregation examines."""
    body = commands.last("aggregate")
    command = {key: body[key] for key in ("aggregate", "pipeline", "cursor", "hint") if key in body}
    plan = await database.calls.database.command("explain", command, verbosity="executionStats")
    while "executionStats" not in plan:
        plan = plan["stages"][0]["$cursor"]
    numbers = plan["executionStats"]
    return numbers["totalKeysExamined"], numbers["totalDocsExamined"]


@ON_ONE_SERVER
@pytest.mark.parametrize(
    ("calls_filter", "query", "most"),
    [
        (None, None, 7),
        (CallsFilter(trace_roots_only=True, statuses=["success"]), None, 14),
        (CallsFilter(op_names=["answer"]), None, 7),
        (None, Query({"$expr": {"$eq": [{"$getField": "inputs.q.word"}, {"$literal": "weft"}]}}), 7),
        (None, Query({"$expr": {"$contains": {"input": {"$getField": "inputs.q"}, "substr": {"$literal": "we"}}}}), 7),
    ],
)
async def test_count_stops_at_the_limit(
    calls: CallsStore,
    database: Database,
    commands: Commands,
    calls_filter: CallsFilter | None,
    query: Query | None,
    most: int,
) -> None:
    await calls.write(
        [part for n in range(300) for part in (start(n, inputs={"q": {"word": "weft"}}), end(n, summary={}))]
    )

    assert await calls.count(PROJECT, calls_filter, query, limit=7) == 7

    assert max(await _examined(database, commands)) <= most
    assert await calls.count(PROJECT, calls_filter, query) == 300


@ON_ONE_SERVER
@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_text_search_stops_at_the_limit(database: Database, calls: CallsStore, commands: Commands) -> None:
    stores = Stores(database)
    await calls.write([start(n, inputs={"q": "the weft"}) for n in range(300)])

    assert await stores.text_search.count(PROJECT, "weft", limit=7) == 7

    assert max(await _examined(database, commands)) == 7
    await _index(stores)
    commands.sent.clear()
    assert await stores.text_search.count(PROJECT, "weft", method=Method.INDEX, limit=7) == 7
    [checked] = [body["filter"]["$and"] for name, body in commands.sent if body.get(name) == "calls" and name == "find"]
    assert len(checked[0]["_id"]["$in"]) == 100
    await stores.close()


@ON_ONE_SERVER
@pytest.mark.parametrize("list_of", ["traces", "threads"])
async def test_groups_are_found_by_skipping_in_an_index(
    database: Database, calls: CallsStore, commands: Commands, list_of: str
) -> None:
    stores = Stores(database)
    parts = [
        part
        for n in range(600)
        for thread in [n // 100]
        for part in (start(n, trace_id=trace_id(thread), thread_id=f"t{thread}", turn_id=call_id(n)), end(n))
    ]
    await calls.write(parts)
    counted = stores.trace_lists if list_of == "traces" else stores.threads

    assert await counted.count(PROJECT, limit=3) == 3

    keys, documents = await _examined(database, commands)
    assert (keys <= 13, documents) == (True, 0)
    assert {"$limit": 3} in commands.last("aggregate")["pipeline"]
    await stores.close()


@ON_ONE_SERVER
async def test_filtered_traces_stop_at_the_limit(database: Database, calls: CallsStore, commands: Commands) -> None:
    stores = Stores(database)
    await calls.write([part for n in range(1_000) for part in (start(n), end(n))])
    commands.sent.clear()

    assert await stores.trace_lists.count(PROJECT, CallsFilter(statuses=["success"]), limit=5) == 5

    reads = [body for name, body in commands.sent if body[name] == "calls"]
    assert reads
    assert max([await examined_documents(database, body) for body in reads]) <= 100
    await stores.close()


@ON_ONE_SERVER
@pytest.mark.timings(mark_seconds=0.05, registry_lag_seconds=0, write_margin_seconds=0)
async def test_settled_hours_are_counted_before_live_ones(
    database: Database, calls: CallsStore, commands: Commands
) -> None:
    await calls.write([start(n, started_at=NOON + n * SECOND) for n in range(50)])
    await _settle(database)
    await calls.write([start(100 + n, started_at=NOON + 7_200 * SECOND + n) for n in range(50)])
    commands.sent.clear()

    assert await calls.count(PROJECT, limit=50) == 50

    assert [body["aggregate"] for name, body in commands.sent if name == "aggregate"] == ["hour_marks", "rollups"]
    assert await calls.count(PROJECT, limit=53) == 53
    assert commands.last("aggregate")["aggregate"] == "calls"
    assert max(await _examined(database, commands)) == 3
    assert [await calls.count(PROJECT, limit=limit) for limit in (99, 100, 101)] == [99, 100, 100]
    stats = [(await calls.stats(PROJECT, {"count"}, limit=limit)).count for limit in (0, 49, 51, 101, None)]
    assert stats == [0, 49, 51, 100, 100]


async def test_limit_reveals_no_other_project(schema: LoomSchema, database: Database, calls: CallsStore) -> None:
    await calls.write([start(n, project_id=project_id) for project_id in (PROJECT, OTHER) for n in range(3)])
    reader = Caller("reader", (Grant(PROJECT, Role.READER),))
    run = running(schema, Context(Stores(database), caller=reader))
    query = "query ($p: ID!) { calls(projectId: $p) { totalCount(limit: 2) } }"

    own, theirs, missing = [await run(query, p=project_id) for project_id in (PROJECT, OTHER, "acme/none")]
    projects = await run("{ projects { one: totalCount(limit: 1) all: totalCount(limit: 100) } }")

    assert own.data == {"calls": {"totalCount": 2}}
    assert theirs.code == missing.code == "FORBIDDEN"
    assert theirs.errors[0]["message"].replace(OTHER, "") == missing.errors[0]["message"].replace("acme/none", "")
    assert projects.data == {"projects": {"one": 1, "all": 1}}
    everything = running(schema, Context(Stores(database), caller=ANONYMOUS_ADMIN))
    assert (await everything("{ projects { totalCount(limit: 100) } }")).data == {"projects": {"totalCount": 2}}
