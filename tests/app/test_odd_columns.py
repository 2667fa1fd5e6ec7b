"""Tests that odd telemetry of every sender is stored unchanged, with columns that are null or bounded.

The page `reference/column-rules.md` states these rules.
"""

import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest
from pymongo import MongoClient

from app.server.application import create_app
from app.settings import Settings
from stores.senders.attributes import COLUMN_RULES, MEMBERS
from stores.senders.columns import MAX_TAGS
from tests.app.weave.asking import MOMENT, end, graphql_data, posted, start
from tests.live_server import live_server
from tests.stores.otel.messages import TRACE, body, failed, pairs, span, span_id
from tests.waiting import TIMEOUT

COLUMNS: Final = (
    *("kind", "model", "provider", "userId", "threadId", "tags", "environment", "release", "errorType"),
    *("timeToFirstTokenMs", "finishReasons"),
)
NOTHING: Final = dict.fromkeys(COLUMNS)
LONG: Final = "x" * 10_000
MANY: Final = [f"tag {number}" for number in range(100_000)]

Send = Callable[[httpx.Client, str, dict[str, Any]], Any]
"""Sends one call with attributes to a project; returns the attributes as a query reads them."""


@pytest.fixture(scope="module")
def client(mongodb_uri: str) -> Iterator[httpx.Client]:
    """Yield a client of a server of its own."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with (
        live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=name)), lifespan="on") as host,
        httpx.Client(base_url=f"http://{host}", auth=("api", "k" * 40), timeout=TIMEOUT) as client,
    ):
        yield client
    with MongoClient[dict[str, object]](mongodb_uri) as mongodb:
        mongodb.drop_database(name)


@pytest.fixture
def project() -> str:
    return f"acme/odd-{uuid.uuid4().hex[:12]}"


def by_graphql(client: httpx.Client, project: str, attributes: dict[str, Any], **fields: Any) -> Any:
    call = {"projectId": project, "opName": "step", "startedAt": MOMENT, "endedAt": MOMENT}
    graphql_data(
        client,
        "mutation ($call: CompletedCallSchemaForInsert!) { callCreate(call: $call) { id } }",
        call=call | {"attributes": attributes, "inputs": {}, "output": None, "summary": {}} | fields,
    )
    return attributes


def by_weave(client: httpx.Client, project: str, attributes: dict[str, Any], **fields: Any) -> Any:
    of_end = {name: fields.pop(name) for name in ("output", "summary", "exception") if name in fields}
    first = start(project, attributes=attributes, **fields)
    last = end(project, first["req"]["start"]["id"], **of_end)
    posted(client, "/weave/call/upsert_batch", batch=[first, last])
    return attributes


def by_otlp(client: httpx.Client, project: str, attributes: dict[str, Any], **fields: Any) -> Any:
    resource = fields.pop("resource", None)
    content = body(span(attributes=attributes, **fields), resource=resource)
    answer = client.post(
        "/v1/traces", content=content, headers={"content-type": "application/x-protobuf", "project_id": project}
    )
    assert (answer.status_code, answer.content) == (200, b""), answer.text
    return attributes


SENDERS: Final[dict[str, Send]] = {"GraphQL": by_graphql, "Weave": by_weave, "OTLP": by_otlp}


def read(client: httpx.Client, project: str, *more: str) -> dict[str, Any]:
    """Return the columns of the project's only call."""
    selection = " ".join((*COLUMNS, *more))
    data = graphql_data(
        client, f"query ($project: ID!) {{ calls(projectId: $project) {{ nodes {{ {selection} }} }} }}", project=project
    )
    [node] = data["calls"]["nodes"]
    found: dict[str, Any] = node
    return found


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the attributes of a span by flat key, from the nested ones that LoomQL stores."""
    found: dict[str, Any] = {}
    for key, member in value.items():
        known = ".".join((*path, key))
        if isinstance(member, dict) and known not in FLAT:
            found |= leaves(member, (*path, key))
        else:
            found[known] = member
    return found


FLAT: Final[set[str]] = {key for rules in COLUMN_RULES.values() for key, *_ in rules["attributes"]}

CASES: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "user id of 10 kB": ({"user.id": LONG}, {}),
    "user id of 10 kB before a usable one": ({"user.id": LONG, "enduser.id": "ada"}, {"userId": "ada"}),
    "user id of 1,025 characters": ({"user.id": "x" * 1_025}, {}),
    "user id of 1,024 characters": ({"user.id": "é" * 1_024}, {"userId": "é" * 1_024}),
    "user id that is a number": ({"user.id": 1_234_567_890_123_456_789}, {"userId": "1234567890123456789"}),
    "user id that is an object": ({"user.id": {"name": "ada"}}, {}),
    "session id of 10 kB": ({"session.id": LONG}, {}),
    "tags that are an object": (
        {"tags": {"team": "warp", "tier": 1, "beta": True, "owner": {"id": 7}}},
        {"tags": ["team:warp", "tier:1", "beta:true"]},
    ),
    "tags that contain objects": ({"tags": [{"name": "a"}, ["b"], None, "c", 7]}, {"tags": ["c", "7"]}),
    "100,000 tags": ({"tags": MANY}, {"tags": MANY[:MAX_TAGS]}),
    "100,000 tags in one text": ({"tags": ",".join(MANY)}, {"tags": MANY[:MAX_TAGS]}),
    "100,000 equal tags": ({"tags": ["same"] * 100_000}, {"tags": ["same"]}),
    "tags of 10 kB": ({"tags": [LONG, "short"]}, {"tags": ["short"]}),
    "kind that is a number": ({"kind": 7}, {}),
    "kind that is a list": ({"kind": ["llm"]}, {}),
    "kind that is no kind": ({"kind": "loom"}, {}),
    "kind that is a number before a usable one": ({"weave.span.kind": 7, "kind": "Tool"}, {"kind": "TOOL"}),
    "first token at a negative time": ({"time_to_first_token_ms": -1}, {}),
    "first token at a text of a negative time": ({"time_to_first_token_ms": "-0.5"}, {}),
    "first token at NaN as a text": ({"time_to_first_token_ms": "NaN"}, {}),
    "first token at 1e999 as a text": ({"time_to_first_token_ms": "1e999"}, {}),
    "first token at 1e300": ({"gen_ai.response.time_to_first_chunk": 1e300}, {}),
    "first token at true": ({"time_to_first_token_ms": True}, {}),
    "first token before the start": ({"langfuse.observation.completion_start_time": "1999-01-01T00:00:00Z"}, {}),
    "first token at no time": ({"langfuse.observation.completion_start_time": "soon"}, {}),
    "finish reasons that are objects": ({"gen_ai.response.finish_reasons": [{"a": 1}, 7, None]}, {}),
}

EVERYWHERE: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "objects": ({"a": [1]}, {}),
    "lists of lists": ([[{"a": 1}]], {}),
    "lists of nothing": ([None], {}),
    "empty texts": ("", {}),
    "blank texts": (" \n", {}),
    "long texts": (LONG, {}),
    "booleans": (True, {"tags": ["true"]}),
    "negative numbers": (
        -1,
        dict.fromkeys(("model", "userId", "threadId", "environment", "release", "errorType"), "-1") | {"tags": ["-1"]},
    ),
}
"""Values of all attributes that a rule names, and the columns besides null ones."""


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
@pytest.mark.parametrize(("attributes", "expected"), CASES.values(), ids=CASES)
def test_odd_attribute_is_kept_and_its_column_bounded(
    client: httpx.Client, project: str, send: Send, attributes: dict[str, Any], expected: dict[str, Any]
) -> None:
    sent = send(client, project, attributes)

    found = read(client, project, "attributes")

    kept = found.pop("attributes")
    assert (leaves(kept["otel_span"]["attributes"]) if send is by_otlp else kept) == sent
    assert found == NOTHING | expected


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
@pytest.mark.parametrize(("value", "expected"), EVERYWHERE.values(), ids=EVERYWHERE)
def test_odd_values_of_all_attributes_store_the_call(
    client: httpx.Client, project: str, send: Send, value: Any, expected: dict[str, Any]
) -> None:
    keys = {key.partition(MEMBERS)[0] for key in FLAT}

    sent = send(client, project, dict.fromkeys(keys, value))

    found = read(client, project, "attributes")
    kept = found.pop("attributes")
    if send is not by_otlp:
        assert kept == sent
    assert found == NOTHING | expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.5, 1e308])
def test_odd_number_of_a_span_is_no_time_to_the_first_token(client: httpx.Client, project: str, value: float) -> None:
    by_otlp(client, project, {"gen_ai.response.time_to_first_chunk": value})

    assert read(client, project) == NOTHING


@pytest.mark.parametrize("send", [by_graphql, by_weave], ids=["GraphQL", "Weave"])
@pytest.mark.parametrize("value", [7, True, [], {}, [[7]], {"a": {"b": []}}, LONG, -1.5, None])
def test_odd_payload_gives_no_columns(client: httpx.Client, project: str, send: Any, value: Any) -> None:
    inputs = dict.fromkeys(("model", "modelId", "user", "safety_identifier", "metadata"), value) | {"a": 1}
    output = dict.fromkeys(("model", "choices", "stop_reason", "candidates", "finish_reason", "generations"), value)
    summary = {"time_to_first_token_ms": value if value != 7 else "soon", "usage": [value]}
    is_number = value in (7, -1.5) and value is not True

    send(client, project, {"kind": "llm"}, inputs=inputs, output=output, summary=summary)

    found = read(client, project, "inputs", "output")
    assert (found.pop("inputs"), found.pop("output")) == (inputs, output)
    names = {"model": str(value), "userId": str(value)} if is_number else {}
    assert found == NOTHING | {"kind": "LLM"} | names


def test_odd_resource_status_and_events_of_a_span_give_no_columns(client: httpx.Client, project: str) -> None:
    events = [
        {"name": "exception", "attributes": pairs({"exception.type": ["a"], "exception.message": {"a": 1}})},
        {"name": "First Token Stream Event", "time_unix_nano": 1},
        {"name": "", "attributes": pairs({"": ""})},
    ]
    resource = {"deployment.environment.name": {"a": 1}, "service.version": [7], "langfuse.release": LONG}

    by_otlp(client, project, {}, status=failed(), events=events, resource=resource)

    found = read(client, project, "attributes")
    assert found.pop("attributes")["otel_span"]["resource"]["attributes"]["service"] == {"version": [7]}
    assert found == NOTHING


SESSIONS: Final = """query ($project: ID!, $thread: String!, $trace: ID!) {
  calls(projectId: $project, sortBy: [{ field: "started_at", direction: ASC }]) {
    nodes { id parentId threadId turnId }
  }
  thread(projectId: $project, threadId: $thread) { turnCount numCalls conversation { callId } }
  traces(projectId: $project) { nodes { traceId threadId numCalls } }
  trace(projectId: $project, traceId: $trace) {
    roots { nodes { id } }
    tree { nodes { depth call { id } } }
    conversation { callId }
  }
}"""


@pytest.mark.parametrize("sessions", [("s", "s"), (span_id(2), span_id(1))], ids=["one session", "each other's id"])
def test_spans_that_are_each_others_parents_are_in_their_session(
    client: httpx.Client, project: str, sessions: tuple[str, str]
) -> None:
    for number, parent, session in ((1, 2, sessions[0]), (2, 1, sessions[1])):
        by_otlp(client, project, {"session.id": session}, number=number, parent=parent)

    data = graphql_data(client, SESSIONS, project=project, thread=sessions[0], trace=TRACE)

    assert data["calls"]["nodes"] == [
        {"id": span_id(1), "parentId": span_id(2), "threadId": sessions[0], "turnId": None},
        {"id": span_id(2), "parentId": span_id(1), "threadId": sessions[1], "turnId": None},
    ]
    assert data["thread"] is None, "a thread consists of turns, and no root starts one"
    assert data["traces"]["nodes"] == [{"traceId": TRACE, "threadId": sessions[0], "numCalls": 2}]
    assert data["trace"]["roots"]["nodes"] == [{"id": span_id(1)}]
    assert [(node["depth"], node["call"]["id"]) for node in data["trace"]["tree"]["nodes"]] == [
        (0, span_id(1)),
        (1, span_id(2)),
    ]


@pytest.mark.parametrize("parent", [0, 1], ids=["root", "its own parent"])
def test_session_may_have_the_id_of_its_span(client: httpx.Client, project: str, parent: int) -> None:
    by_otlp(client, project, {"session.id": span_id(1)}, parent=parent)

    data = graphql_data(client, SESSIONS, project=project, thread=span_id(1), trace=TRACE)

    [call] = data["calls"]["nodes"]
    assert (call["threadId"], call["turnId"]) == (span_id(1), None if parent else span_id(1))
    assert data["thread"] == (None if parent else {"turnCount": 1, "numCalls": 1, "conversation": []})
    assert [node["id"] for node in data["trace"]["roots"]["nodes"]] == [span_id(1)]
    assert [node["call"]["id"] for node in data["trace"]["tree"]["nodes"]] == [span_id(1)]
