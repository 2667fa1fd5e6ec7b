"""Tests of hints on the whole service over HTTP: each cause of an empty answer, and answers without a hint."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import count
from typing import Any, cast

import httpx
import pytest
from strawberry.types import ExecutionResult
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.context import Context, Stores
from graphql_schema.engine.hints import StreamHints
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.database import Database
from stores.hints import CallsCondition, HintsStore, sample
from stores.hints import store as hints_store
from stores.keys import KeysStore
from stores.query import Query
from stores.security.access import Grant, Role
from stores.timings import DEFAULT_TIMINGS, Timings
from tests.commands import Commands
from tests.graphql_schema.query_trees import Tree, eq, field, lit
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, end, start
from tests.waiting import TIMEOUT, until
from tests.watching import readers

# A sample with the usual time limits has fewer calls on a slow machine.
pytestmark = pytest.mark.timings(sample_read_seconds=30, hints_seconds=60)

ANSWER = f"weave:///{PROJECT}/op/assistant.answer"
CALLS = """
    query ($project: ID!, $query: QueryInput, $filter: CallsFilter) {
        calls(projectId: $project, query: $query, filter: $filter) { __typename nodes { id } }
    }
"""


@pytest.fixture
async def client(mongodb_uri: str, database_name: str, timings: Timings) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings, timings), lifespan="on", ws=WebSocketProtocol) as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


@pytest.fixture(scope="module")
def schema() -> LoomSchema:
    return build_schema(Limits())


@pytest.fixture
async def stocked(calls: CallsStore) -> None:
    """Write eight calls with messages and a model.

    The last four have an odd key, and the eighth has a rare key in its second message.
    """
    for number in range(1, 9):
        late = number > 4
        inputs = {
            "messages": [{"role": "system"}, {"role": "user", **({"rare": True} if number == 8 else {})}],
            "topK": 5 + number,
            "zip": "10115",
            **({"config": {"max.tokens": 9}} if late else {}),
        }
        await calls.write(
            [
                start(number, op_name=f"{ANSWER}:v{number}" if late else "retrieve", inputs=inputs),
                end(number, output={"ok": True}, summary={"usage": {"gpt-4o-mini": {"total_tokens": 7}}}),
            ]
        )


async def ask(
    client: httpx.AsyncClient,
    query: Tree | None = None,
    project: str = PROJECT,
    document: str = CALLS,
    headers: dict[str, str] | None = None,
    **calls_filter: Any,
) -> dict[str, Any]:
    """Return the whole response body, which must have no errors."""
    variables = {"project": project, "query": {"json": {"$expr": query}} if query else None, "filter": calls_filter}
    response = await client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
    body: dict[str, Any] = response.json()
    assert "errors" not in body
    return body


async def hints_of(client: httpx.AsyncClient, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(client, *args, **kwargs))["extensions"].get("hints", [])
    return found


def condition(query: Tree) -> CallsCondition:
    return CallsCondition(None, Query({"$expr": query}))


def hint(code: str, message: str, suggestion: str | None, path: str = "calls") -> dict[str, Any]:
    return {"path": [path], "code": code, "message": message, "suggestion": suggestion}


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("path", "similar", "number"),
    [
        ("inputs.mesages", "inputs.messages", 8),
        ("inputs.mesages.0.rol", "inputs.messages.0.role", 8),
        ("inputs.messages.7.role", "inputs.messages.0.role", 8),
        ("inputs.top_k", "inputs.topK", 8),
        ("inputs.TOPK", "inputs.topK", 8),
        ("inputs.maxTokens", None, 0),
        (r"inputs.max\.tokens", r"inputs.config.max\.tokens", 4),
        ("output.zip", "inputs.zip", 8),
        ("inputs.entirely_else", None, 0),
    ],
)
async def test_unknown_path_gets_a_similar_one(
    client: httpx.AsyncClient, path: str, similar: str | None, number: int
) -> None:
    message = f"No call among the newest 8 has {path}."
    more = f" {similar} occurs in {number} of them." if similar else ""

    assert await hints_of(client, eq(path, "x")) == [hint("PATH_NOT_FOUND", message + more, similar)]


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("traces", "query: $query"),
        ("traces", "anyCall: { query: $query }"),
        ("threads", 'query: $query, filter: { threadIds: ["t"] }'),
    ],
)
async def test_lists_of_traces_and_threads_get_hints(client: httpx.AsyncClient, name: str, arguments: str) -> None:
    document = (
        f"query ($project: ID!, $query: QueryInput) {{ {name}(projectId: $project, {arguments}) {{ totalCount }} }}"
    )

    [found] = await hints_of(client, eq("inputs.top_k", 1), document=document)

    assert (found["path"], found["code"], found["suggestion"]) == ([name], "PATH_NOT_FOUND", "inputs.topK")


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("query", "kind", "literal", "fitting"),
    [
        (eq("inputs.topK", "9"), "inputs.topK holds numbers", '"9"', "9"),
        (eq("inputs.topK", "nine"), "inputs.topK holds numbers", '"nine"', None),
        (eq("inputs.topK", "NaN"), "inputs.topK holds numbers", '"NaN"', None),
        ({"$gt": [field("inputs.topK"), lit("9")]}, "inputs.topK holds numbers", '"9"', "9"),
        ({"$in": [field("inputs.topK"), [lit("9"), lit("10")]]}, "inputs.topK holds numbers", '"9"', "9"),
        (eq("inputs.zip", 10115), "inputs.zip holds strings", "10115", '"10115"'),
        (eq("output.ok", "true"), "output.ok holds booleans", '"true"', "true"),
        (eq("inputs.messages", "hi"), "inputs.messages holds lists", '"hi"', None),
    ],
)
async def test_literal_of_another_type_than_the_values_gets_a_hint(
    client: httpx.AsyncClient, query: Tree, kind: str, literal: str, fitting: str | None
) -> None:
    message = f"{kind} in all 8 of the newest 8 calls that have it, and {literal} is of another type."
    more = f" Write {fitting}, or convert the field." if fitting else ""

    assert await hints_of(client, query) == [hint("TYPE_MISMATCH", message + more, fitting)]


@pytest.mark.usefixtures("stocked")
async def test_contains_and_prefix_literals_get_no_type_hint(
    client: httpx.AsyncClient,
) -> None:
    def contains(name: str, text: str) -> Tree:
        return {"$and": [{"$contains": {"input": field(name), "substr": lit(text)}}, eq("status", "error")]}

    for name in ("op_name", "inputs.topK", "inputs.messages"):
        assert await hints_of(client, contains(name, "9")) == []
    message = (
        "inputs.topK holds numbers in all 8 of the newest 8 calls that have it, "
        'and "9" is of another type. Convert the field to a string.'
    )
    starts = {"$startsWith": [field("inputs.topK"), lit("9")]}
    [of_start, of_equality] = await hints_of(client, {"$or": [starts, eq("inputs.topK", "99")]})
    assert of_start == hint("TYPE_MISMATCH", message, None)
    assert of_equality["suggestion"] == "99"


@pytest.mark.usefixtures("stocked")
async def test_unknown_op_gets_a_similar_name(client: httpx.AsyncClient) -> None:
    message = "No call has the op assistant.anwser. assistant.answer occurs in 4 of the newest 8."
    expected = [hint("OP_NOT_FOUND", message, "assistant.answer")]

    assert await hints_of(client, opNames=["assistant.anwser"]) == expected
    assert await hints_of(client, opNames=["assistant.anwser:*", "assistant.anwser"]) == expected
    assert await hints_of(client, opNames=[f"weave:///{PROJECT}/op/assistant.anwser:v1"]) == expected
    assert await hints_of(client, eq("op_name", "assistant.anwser")) == expected
    # One of the names is known, so the op is not the reason for the empty result.
    assert await hints_of(client, opNames=["assistant.anwser", "retrieve"], callIds=["0" * 16]) == []


@pytest.mark.usefixtures("stocked")
async def test_unknown_version_gets_existing_versions(client: httpx.AsyncClient) -> None:
    found = await hints_of(client, opNames=[f"{ANSWER}:v99"])

    versions = f"{ANSWER}:v5, {ANSWER}:v6, {ANSWER}:v7, ..."
    message = f"No call has the op {ANSWER}:v99. assistant.answer occurs in 4 of the newest 8, as {versions}"
    assert found == [hint("OP_NOT_FOUND", message, f"{ANSWER}:v5")]


@pytest.mark.usefixtures("stocked")
async def test_each_unknown_name_gets_a_hint(client: httpx.AsyncClient) -> None:
    ops = await hints_of(client, opNames=["zzz", "assistant.anwser"])
    models = await hints_of(client, models=["zzz", "gpt4o-mini"])

    assert [(each["message"].split(".")[0], each["suggestion"]) for each in ops] == [
        ("No call has the op zzz", None),
        ("No call has the op assistant", "assistant.answer"),
    ]
    assert [each["suggestion"] for each in models] == [None, "gpt-4o-mini"]


@pytest.mark.usefixtures("stocked")
async def test_unknown_model_gets_a_similar_name(client: httpx.AsyncClient) -> None:
    message = "No call among the newest 8 reports usage of gpt4o-mini. gpt-4o-mini occurs in 8 of the newest 8."

    assert await hints_of(client, models=["gpt4o-mini"]) == [hint("MODEL_NOT_FOUND", message, "gpt-4o-mini")]


@pytest.mark.usefixtures("stocked")
async def test_missing_project_gets_a_hint_in_every_field_that_names_it(client: httpx.AsyncClient) -> None:
    document = """
        query ($project: ID!) {
            calls(projectId: $project) { totalCount pageInfo { hasNextPage } }
            many: callsStats(projectId: $project) { count totalStorageSizeBytes }
            callsAggregate(projectId: $project) { rows { count errorCount } }
            threads(projectId: $project) { edges { cursor } }
            objs(projectId: $project) { nodes { digest } }
            feedback(projectId: $project) { nodes { id } }
            tableRows(projectId: $project, digest: "0") { nodes { digest } }
            search(projectId: $project, text: "hello") { edges { cursor } }
            project(projectId: $project) { calls { nodes { id } } }
        }
    """
    fields = ("calls", "many", "callsAggregate", "threads", "objs", "feedback", "tableRows", "search", "project")
    message = "The project acme/Chats does not exist. A similar one is acme/chat."

    found = await hints_of(client, project="acme/Chats", document=document)

    assert found == [hint("PROJECT_NOT_FOUND", message, PROJECT, path) for path in fields]
    # No project has a similar name: a project without data yet is no mistake.
    assert await hints_of(client, project="new/project") == []


@pytest.mark.usefixtures("stocked")
async def test_query_with_results_or_without_explanation_has_no_hint(client: httpx.AsyncClient) -> None:
    one_found = "query ($project: ID!, $query: QueryInput) { calls(projectId: $project, query: $query) { totalCount } }"
    later = CALLS.replace("filter: $filter", "filter: $filter, offset: 5")
    none_asked = CALLS.replace("filter: $filter", "filter: $filter, first: 0")
    missing = field("inputs.mesages")

    assert (await ask(client, eq("inputs.topK", 6), document=one_found))["data"] == {"calls": {"totalCount": 1}}
    assert await hints_of(client, {"$or": [eq("inputs.topK", 6), eq("inputs.mesages", 1)]}) == []
    assert await hints_of(client, eq("inputs.topK", 999)) == []
    assert await hints_of(client, eq("inputs.messages.1.rare", value=False)) == []
    assert await hints_of(client, statuses=["ERROR"]) == []
    assert await hints_of(client, {"$and": [eq("status", "error"), {"$not": [eq("inputs.mesages", 1)]}]}) == []
    assert await hints_of(client, {"$and": [eq("status", "error"), {"$eq": [missing, lit(None)]}]}) == []
    exists = {"$convert": {"input": missing, "to": "exists"}}
    for absent in (
        {"$eq": [exists, lit(value=False)]},
        {"$eq": [lit(value=False), {"$gt": [missing, lit(1)]}]},
        {"$not": [{"$eq": [exists, lit(value=True)]}]},
        {"$eq": [{"$convert": {"input": exists, "to": "string"}}, lit("false")]},
    ):
        assert await hints_of(client, {"$and": [eq("status", "error"), absent]}) == []
    assert await hints_of(client, eq("inputs.mesages", "x"), document=later) == []
    assert await hints_of(client, eq("inputs.mesages", "x"), document=none_asked) == []


@pytest.mark.usefixtures("stocked")
async def test_missing_path_gets_a_hint_behind_a_negation_and_any_operation(
    client: httpx.AsyncClient,
) -> None:
    missing = field("inputs.mesages")
    queries: list[Tree] = [
        {"$not": [{"$eq": [missing, lit(None)]}]},
        {"$convert": {"input": missing, "to": "exists"}},
        {"$eq": [{"$convert": {"input": missing, "to": "exists"}}, lit(value=True)]},
        {"$not": [{"$eq": [lit(value=False), {"$convert": {"input": missing, "to": "exists"}}]}]},
        {"$contains": {"input": missing, "substr": lit("hi")}},
        {"$gt": [{"$convert": {"input": missing, "to": "double"}}, lit(1)]},
        {"$and": [eq("status", "success"), {"$or": [eq("inputs.mesages", 1), eq("inputs.mesages", "x")]}]},
        {"$and": [{"$gte": [missing, lit(1)]}, {"$lt": [missing, lit(9)]}]},
    ]

    for query in queries:
        assert [each["suggestion"] for each in await hints_of(client, query)] == ["inputs.messages"]


@pytest.mark.usefixtures("stocked")
async def test_one_sample_checks_twenty_paths(database: Database, commands: Commands) -> None:
    store = HintsStore(database)
    conditions = [condition(eq(f"inputs.mesages.x{number}", 1)) for number in range(30)]
    before = len(commands.sent)

    found = await store.hints_for(PROJECT, conditions, None)

    assert sum(map(len, found)) == 20  # the paths that the sample counts
    assert commands.names[before:] == ["find", *["aggregate"] * 4]


@pytest.mark.usefixtures("stocked")
async def test_hints_check_ten_paths_and_five_ops_of_a_condition(database: Database, commands: Commands) -> None:
    store = HintsStore(database)
    paths = {"$or": [eq(f"inputs.mesages{number}", 1) for number in range(1_000)]}
    ops = {"$or": [eq("op_name", f"assistant.anwser{number % 450}") for number in range(900)]}
    before = len(commands.sent)

    [of_paths, of_ops] = await store.hints_for(PROJECT, [condition(paths), condition(ops)], None)

    assert [each.suggestion for each in of_paths] == ["inputs.messages"] * 10
    assert [each.suggestion for each in of_ops] == ["assistant.answer"] * 5
    searched = [body["find"] for name, body in commands.sent[before:] if name == "find"]
    assert searched == ["projects", *["calls"] * 5]


@pytest.mark.usefixtures("stocked")
async def test_names_are_compared_in_a_worker_thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store, compared, running = HintsStore(database), list[str](), list[str]()
    similar = hints_store.similar_names

    def recorded(name: str, *args: Any, **kwargs: Any) -> list[str]:
        assert threading.current_thread() is not threading.main_thread()
        assert not running
        running.append(name)
        compared.append(name)
        time.sleep(0.02)
        running.clear()
        return similar(name, *args, **kwargs)

    queries = [
        (PROJECT, condition(eq("inputs.mesages", 1))),
        (PROJECT, CallsCondition(CallsFilter(op_names=["assistant.anwser"]))),
        (PROJECT, CallsCondition(CallsFilter(models=["gpt4o-mini"]))),
        ("acme/chats", None),
    ]

    await store.hints_for(PROJECT, [queries[1][1]], None)  # few samples are read at once, and this one is cached
    monkeypatch.setattr(hints_store, "similar_names", recorded)
    found = await asyncio.gather(*[store.hints_for(project, [each], None) for project, each in queries])

    suggestions = [each.suggestion for [[each]] in found]
    assert suggestions == ["inputs.messages", "assistant.answer", "gpt-4o-mini", PROJECT]
    assert sorted(compared) == sorted(["mesages", "assistant.anwser", "gpt4o-mini", "acme", "chats"])


async def test_name_cache_is_shared_per_project_and_bounded(database: Database, calls: CallsStore) -> None:
    usage = [{model: {"total_tokens": 7} for model in ("gpt-4o", "x" * 400, f"model-{each}")} for each in range(300)]
    starts = [start(number, op_name=f"op-{number}") for number in range(300)]
    await calls.write([*starts, *(end(number, summary={"usage": each}) for number, each in enumerate(usage))])
    store = HintsStore(database)
    for path in range(5):
        await store.hints_for(PROJECT, [condition(eq(f"inputs.mesages{path}", 1))], None)
    unknown = CallsCondition(CallsFilter(models=["model-77"]))

    [names] = [value for _, value in store._samples._cache.values() if isinstance(value, sample.Names)]
    assert (names.calls, len(names.ops), len(names.models), names.models["gpt-4o"]) == (300, 200, 200, 300)
    assert max(map(len, names.models)) < 300
    # The model may be one of those that the sample does not keep.
    assert await store.hints_for(PROJECT, [unknown], None) == [[]]
    database.timings = replace(database.timings, sample_cache_seconds=0)
    await store.hints_for(PROJECT, [condition(eq("inputs.other", 1))], None)
    assert len(store._samples._cache) == 1  # expired parts of samples are removed as new ones are kept


async def test_names_are_compared_up_to_a_deadline(
    database: Database, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(number, op_name="ab" * 40 + f"{number:02}" * 10) for number in range(10, 60)])
    ratio, compared, clock = SequenceMatcher.ratio, list[object](), count(0.0, hints_store.COMPARE_SECONDS / 10)

    def counted(self: "SequenceMatcher[str]") -> float:
        compared.append(self)
        return ratio(self)

    monkeypatch.setattr(hints_store, "thread_time", lambda: next(clock))
    monkeypatch.setattr(SequenceMatcher, "ratio", counted)

    [found] = await HintsStore(database).hints_for(
        PROJECT, [CallsCondition(CallsFilter(op_names=[f"{number}" + "ba" * 60 for number in range(10)]))], None
    )

    assert len(found) == 5
    assert 0 < len(compared) <= 10


@pytest.mark.timings(hints_seconds=DEFAULT_TIMINGS.hints_seconds)
async def test_result_waits_a_second_for_all_its_hints(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    async def slow(_store: HintsStore, project_id: str, *_more: object) -> list[object]:
        started.append(project_id)
        await asyncio.sleep(DEFAULT_TIMINGS.hints_seconds * 0.6)
        return []

    monkeypatch.setattr(HintsStore, "_missing_project_hints", slow)
    fields = " ".join(f'a{n}: callsStats(projectId: "acme/chat{n}") {{ count }}' for n in range(3))

    await hints_of(client, document=f"{{ {fields} }}")

    assert 0 < len(started) < 3


async def test_response_has_at_most_ten_hints(client: httpx.AsyncClient, stocked: None) -> None:  # noqa: ARG001 -- calls to look at
    fields = " ".join(f'a{n}: callsStats(projectId: "acme/chats") {{ count }}' for n in range(12))

    found = await hints_of(client, document=f"{{ {fields} }}")

    assert [each["path"] for each in found] == [[f"a{n}"] for n in range(10)]


WATCH = """
    subscription ($query: QueryInput, $after: String) {
        seen: callEvents(projectId: "acme/chat", query: $query, after: $after) { call { inputs } }
    }
"""


@asynccontextmanager
async def writing(calls: CallsStore, inputs: dict[str, object]) -> AsyncIterator[None]:
    """Write calls until the block ends, because a subscription only starts after its hints."""

    async def write() -> None:
        for number in count(20):
            await calls.write([start(number, inputs=inputs)])
            await asyncio.sleep(0.1)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("stocked")
async def test_websocket_subscription_gets_hints_by_ping_before_its_events(
    client: httpx.AsyncClient, calls: CallsStore
) -> None:
    url = str(client.base_url.join("/graphql")).replace("http", "ws", 1)
    payload = {"query": WATCH, "variables": {"query": {"json": {"$expr": eq("inputs.mesages", "x")}}}}
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket, asyncio.timeout(TIMEOUT):
        await socket.send('{"type": "connection_init"}')
        await socket.recv()
        await socket.send(json.dumps({"id": "one", "type": "subscribe", "payload": payload}))
        ping = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "pong", "payload": ping["payload"]}))
        async with writing(calls, {"mesages": "x"}):
            event = json.loads(await socket.recv())

    text = "No call among the newest 8 has inputs.mesages. inputs.messages occurs in 8 of them."
    expected = hint("PATH_NOT_FOUND", text, "inputs.messages", "seen")
    assert ping == {"type": "ping", "payload": {"id": "one", "hints": [expected]}}
    assert (event["type"], event["payload"]["data"]) == ("next", {"seen": {"call": {"inputs": {"mesages": "x"}}}})
    assert "hints" not in event["payload"]["extensions"]


@pytest.mark.usefixtures("stocked")
async def test_sse_subscription_gets_hints_by_comment_before_its_events(
    client: httpx.AsyncClient, calls: CallsStore
) -> None:
    payload = {"query": WATCH, "variables": {"query": {"json": {"$expr": eq("inputs.topK", "9")}}}}
    headers = {"accept": "text/event-stream"}
    async with asyncio.timeout(TIMEOUT), client.stream("POST", "/graphql", json=payload, headers=headers) as stream:
        lines = (line async for line in stream.aiter_lines() if line not in {"", ":"})
        comment = await anext(lines)
        async with writing(calls, {"topK": "9"}):
            event = [await anext(lines), await anext(lines)]

    [found] = json.loads(comment.removeprefix(": "))["hints"]
    assert (found["code"], found["path"], found["suggestion"]) == ("TYPE_MISMATCH", ["seen"], "9")
    assert event[0] == "event: next"
    assert json.loads(event[1].removeprefix("data: "))["data"] == {"seen": {"call": {"inputs": {"topK": "9"}}}}


@pytest.mark.usefixtures("stocked")
async def test_subscription_with_a_first_event_or_a_resume_gets_no_hints(
    database: Database, calls: CallsStore, schema: LoomSchema
) -> None:
    context = Context(Stores(database))
    missing = {"json": {"$expr": {"$not": [eq("inputs.mesages", "x")]}}}
    before = await calls.events_cursor(PROJECT)
    await calls.write([start(20, inputs={})])

    numbers = count(21)

    async def first(query: Tree | None, after: str | None) -> ExecutionResult:
        found = await schema.stream(WATCH, {"query": query, "after": after}, context)
        async with aclosing(found) as results, asyncio.timeout(TIMEOUT):
            waiting = asyncio.ensure_future(anext(results))
            await until(lambda: waiting.done() or readers(context.stores.calls) > 0)
            await calls.write([start(next(numbers), inputs={"other": "x"})])
            return cast("ExecutionResult", await waiting)

    for query, after in ((missing, None), (None, None), (missing, before)):
        result = await first(query, after)
        assert not isinstance(result, StreamHints)
        assert result.data is not None
    assert isinstance(await first({"json": {"$expr": eq("inputs.mesags", "x")}}, None), StreamHints)
    # A client that cancels while the hints and the events are pending leaves nothing behind.
    await first_cancelled(schema, context)
    await context.stores.close()


@pytest.mark.usefixtures("stocked")
async def test_subscription_whose_field_is_in_a_fragment_gets_hints(database: Database, schema: LoomSchema) -> None:
    field_of_watch = WATCH[WATCH.index("seen") : WATCH.rindex("}")]
    document = f"""
        subscription ($query: QueryInput, $after: String) {{ ...Watch }}
        fragment Watch on Subscription {{ {field_of_watch} }}
    """
    context = Context(Stores(database))
    found = await schema.stream(document, {"query": {"json": {"$expr": eq("inputs.mesages", "x")}}}, context)
    async with aclosing(found) as results, asyncio.timeout(TIMEOUT):
        result = await anext(results)
    await context.stores.close()

    assert isinstance(result, StreamHints)
    assert [each["suggestion"] for each in result.hints] == ["inputs.messages"]


async def first_cancelled(schema: LoomSchema, context: Context) -> None:
    """Subscribe with a condition, and cancel before there is a hint."""
    query = {"json": {"$expr": eq("inputs.elsewhere", "x")}}
    results = await schema.stream(WATCH, {"query": query}, context)
    waiting = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await results.aclose()
    assert waiting.cancelled()


async def test_hints_name_no_project_that_the_key_cannot_read(
    mongodb_uri: str, database: Database, database_name: str, calls: CallsStore, timings: Timings
) -> None:
    keys = KeysStore(database, settle_seconds=0)
    reader = await keys.create([Grant("acme/*", Role.READER)])
    operator = await keys.create([Grant("*", Role.READER)])
    await calls.write([start(1, project_id="acme/chat"), start(2, project_id="acmee/chats")])
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings, timings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:

            async def similar(key: str, project: str) -> list[str]:
                found = await hints_of(client, project=project, headers={"authorization": f"Bearer {key}"})
                return [each["suggestion"] for each in found]

            assert await similar(operator.text, "acmee/chatz") == ["acmee/chats"]
            assert await similar(reader.text, "acme/chatz") == ["acme/chat"]
            await calls.write([start(3, project_id="acme/other"), start(4, project_id="acmee/special")])
            assert await similar(operator.text, "acme/speciall") == ["acmee/special"]
            assert await similar(reader.text, "acme/speciall") == []
            refused = await client.post(
                "/graphql",
                json={"query": CALLS, "variables": {"project": "acmee/chatz"}},
                headers={"authorization": f"Bearer {reader.text}"},
            )
            assert refused.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
            assert "hints" not in refused.json().get("extensions", {})


async def test_large_calls_are_sampled_in_twos_within_a_time_limit(
    client: httpx.AsyncClient,
    calls: CallsStore,
    database: Database,
    commands: Commands,
) -> None:
    """The calls are near the size limit of a stored call."""
    text = "x" * 3_500_000
    for number in range(1, 7):
        await calls.write([start(number, inputs={"messages": [text]})])
    before = len(commands.sent)

    usual = HintsStore(Database(database._client, database.calls.database.name))
    await asyncio.wait([asyncio.ensure_future(usual.hints_for(PROJECT, [condition(eq("inputs.mesages", "x"))], None))])
    sent = [body for name, body in commands.sent[before:] if name == "aggregate"]
    patient = await hints_of(client, eq("inputs.mesages", "x"))
    database.timings = replace(database.timings, sample_read_seconds=0.0001)
    [none_in_time] = await HintsStore(database).hints_for(PROJECT, [condition(eq("inputs.mesages.more", "x"))], None)

    assert sent[0]["pipeline"][3] == {"$limit": 2}
    assert all(0 < body["maxTimeMS"] <= 250 for body in sent)
    message = "No call among the newest 6 has inputs.mesages. inputs.messages occurs in 6 of them."
    assert patient == [hint("PATH_NOT_FOUND", message, "inputs.messages")]
    assert none_in_time == []


@pytest.mark.parametrize("kinds", [(sample.Types, sample.Names), (sample.Paths,)], ids=["types and names", "paths"])
async def test_part_of_a_sample_without_time_for_its_first_batch_is_read_again_soon(
    database: Database, calls: CallsStore, kinds: tuple[type, ...]
) -> None:
    await calls.write([start(1, inputs={"messages": []})])
    store, usual = HintsStore(database), database.timings

    async def suggestions() -> list[str | None]:
        [found] = await store.hints_for(PROJECT, [condition(eq("inputs.mesages", "x"))], None)
        return [each.suggestion for each in found]

    assert await suggestions() == ["inputs.messages"]
    cache = store._samples._cache
    store._samples._cache = {key: entry for key, entry in cache.items() if not isinstance(entry[1], kinds)}
    database.timings = replace(usual, sample_cache_seconds=TIMEOUT, empty_sample_seconds=TIMEOUT)
    database.timings = replace(database.timings, sample_read_seconds=0.0001)
    in_no_time = await suggestions()
    database.timings = replace(database.timings, sample_read_seconds=usual.sample_read_seconds)
    within_a_second = await suggestions()
    database.timings = replace(database.timings, empty_sample_seconds=0)
    later = await suggestions()

    assert "inputs.messages" not in [*in_no_time, *within_a_second]
    assert later == ["inputs.messages"]


async def test_failed_hint_keeps_the_response_and_is_logged(
    client: httpx.AsyncClient, calls: CallsStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await calls.write([start(1, inputs={"a": 1})])
    monkeypatch.setattr(sample, "_COUNT_STAGE", {"$noSuchStage": {}})

    with caplog.at_level(logging.DEBUG, "loomql"):
        body = await ask(client, eq("inputs.b", 1))

    assert body["data"]["calls"]["nodes"] == []
    assert "hints" not in body["extensions"]
    assert "no hints for an empty result" in caplog.text
    monkeypatch.undo()
    assert [each["code"] for each in await hints_of(client, eq("inputs.b", 1))] == ["PATH_NOT_FOUND"]
