"""Tests of how a span becomes a call: the conventions for attributes, and the rules for calls."""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from stores.calls import CallEnd, CallStart
from stores.calls.documents import Document, stored_part
from stores.errors import BadInputError, PayloadTooLargeError
from stores.otel import protobuf
from stores.otel.mapping import call_of
from stores.otel.spans import Origin
from tests.chance import cases
from tests.stores.otel.messages import NOON, SECOND, TRACE, failed, pairs, span, span_id

ORIGIN = Origin("acme/spans", {"attributes": {"service": {"name": "é"}}}, {"name": "scope"})
NO_COUNTS = dict.fromkeys(("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"))


class Stored(NamedTuple):
    """The stored fields of a span's start and end."""

    start: Document
    end: Document | None = None


def call(message: Message, origin: Origin = ORIGIN) -> Stored:
    writes = call_of(protobuf.span_of(message.SerializeToString()), origin)
    return Stored(*(stored_part(write).fields for write in writes if write))


def payloads(whole: Stored) -> dict[str, Any]:
    texts = whole.start["json"] | (whole.end["json"] if whole.end else {})
    return {name: json.loads(text) for name, text in texts.items()}


def of(attributes: dict[str, object], **changes: Any) -> dict[str, Any]:
    """Return the JSON payloads of a span's call."""
    return payloads(call(span(1, attributes, **changes)))


def test_span_becomes_a_complete_call() -> None:
    message = span(2, {"a.b": 1, "a.c": [1, {"d": None}]}, parent=1, trace_state="k=v", status=failed("went wrong"))
    message.events.add(name="tick", time_unix_nano=NOON + 1, attributes=pairs({"x.y": 2}), dropped_attributes_count=3)
    message.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, trace_state="l=w", attributes=pairs({"x": 3}))
    message.dropped_events_count = 4

    whole = call(message)

    span_fields = {
        "name": "step 2",
        "context": {"trace_id": TRACE, "span_id": span_id(2), "trace_state": "k=v"},
        "kind": "INTERNAL",
        "parent_id": span_id(1),
        "start_time": "2026-01-31T12:00:02.000000000Z",
        "end_time": "2026-01-31T12:00:03.000000000Z",
        "status": {"code": "ERROR", "message": "went wrong"},
        "attributes": {"a": {"b": 1, "c": [1, {"d": None}]}},
        "events": [
            {
                "name": "tick",
                "timestamp": "2026-01-31T12:00:00.000000001Z",
                "attributes": {"x": {"y": 2}},
                "dropped_attributes_count": 3,
            }
        ],
        "links": [
            {
                "context": {"trace_id": "01" * 16, "span_id": "02" * 8, "trace_state": "l=w"},
                "attributes": {"x": 3},
            }
        ],
        "resource": {"attributes": {"service": {"name": "é"}}},
        "scope": {"name": "scope"},
        "dropped_events_count": 4,
    }
    found = payloads(whole)
    assert found == {"attributes": found["attributes"], "inputs": {}, "output": {}, "summary": {}}
    assert found["attributes"] == {"a": {"b": 1, "c": [1, {"d": None}]}, "otel_span": span_fields}
    assert whole.end
    assert (whole.start["id"], whole.start["trace_id"], whole.start["parent_id"]) == (span_id(2), TRACE, span_id(1))
    assert (whole.start["started_at"], whole.end["ended_at"]) == (
        (NOON + 2 * SECOND) // 1000,
        (NOON + 3 * SECOND) // 1000,
    )
    assert (whole.end["status"], whole.end["exception"]) == ("error", "went wrong")


@pytest.mark.parametrize(
    ("attributes", "inputs"),
    [
        ({"ai.prompt": '{"prompt": "hi"}'}, {"ai.prompt": {"prompt": "hi"}}),
        ({"ai.prompt.messages": "[1]", "ai.prompt.format": "p"}, {"ai.prompt": {"messages": [1], "format": "p"}}),
        (
            {"gen_ai.prompt.1.content": "b", "gen_ai.prompt.0.content": "a", "gen_ai.prompt.0.role": "user"},
            {"gen_ai.prompt": [{"content": "a", "role": "user"}, {"content": "b"}]},
        ),
        (
            {"gen_ai.prompt.0.content": "a", "gen_ai.prompt.2.content": "c"},
            {"gen_ai.prompt": {"0": {"content": "a"}, "2": {"content": "c"}}},
        ),
        ({"input.value": "hi", "input.mime_type": "text/plain", "input": ""}, {"input.value": "hi"}),
        ({"input.value": "hi", "input.mime_type": "text/plain"}, {"input.value": "hi"}),
        ({"input.value": '{"a": 1}', "input.mime_type": "application/json"}, {"input.value": {"a": 1}}),
        ({"input.value": "", "input.mime_type": "text/plain"}, {"value": "", "mime_type": "text/plain"}),
        ({"input.value": "[not json"}, {"input.value": "[not json"}),
        ({"mlflow.spanInputs": '{"q": 1}', "mlflow.spanType": '"LLM"'}, {"mlflow.spanInputs": {"q": 1}}),
        ({"mlflow.spanInputs": '"hi"'}, {"mlflow.spanInputs": "hi"}),
        ({"traceloop.entity.input": '{"args": [1]}'}, {"traceloop.entity.input": {"args": [1]}}),
        (
            {"gcp.vertex.agent.tool_call_args": "{}", "gcp.vertex.agent.llm_request": '{"a": 1}'},
            {"gcp.vertex.agent.llm_request": {"a": 1}},
        ),
        ({"langfuse.observation.input": "hi", "langfuse.trace.input": "ho"}, {"langfuse.observation.input": "hi"}),
        (
            {"gen_ai.input.messages": "[1]", "gen_ai.system_instructions": "[2]", "gen_ai.tool.definitions": "[3]"},
            {"gen_ai.input.messages": [1], "gen_ai.system_instructions": [2], "gen_ai.tool.definitions": [3]},
        ),
        ({"gen_ai.tool.call.arguments": '{"city": "Lund"}'}, {"gen_ai.tool.call.arguments": {"city": "Lund"}}),
        (
            {"gen_ai.memory.query.text": "diet", "gen_ai.memory.records": "[1]"},
            {"gen_ai.memory.query.text": "diet"},
        ),
        ({"ai.toolCall.args": '{"city": "Lund"}'}, {"ai.toolCall.args": {"city": "Lund"}}),
        (
            {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hi"},
            {"llm.input_messages": [{"message": {"role": "user", "content": "hi"}}]},
        ),
        ({"input": '{"a": 1}'}, {"a": 1}),
        ({"inputs": "hi"}, {"inputs": "hi"}),
        ({"inputs.a": 1, "inputs.b": 2}, {"a": 1, "b": 2}),
        ({"other": "hi"}, {}),
    ],
)
def test_inputs_are_found_in_every_convention(attributes: dict[str, object], inputs: object) -> None:
    assert of(attributes)["inputs"] == inputs


@pytest.mark.parametrize(
    ("attributes", "output"),
    [
        (
            {"ai.response.text": "ho", "ai.response.finishReason": "stop"},
            {"ai.response": {"text": "ho", "finishReason": "stop"}},
        ),
        ({"gen_ai.completion.0.content": "ho"}, {"gen_ai.completion": [{"content": "ho"}]}),
        ({"output.value": "ho", "gen_ai.output.messages": "[1]"}, {"output.value": "ho"}),
        ({"mlflow.spanOutputs": "[1]"}, {"mlflow.spanOutputs": [1]}),
        ({"traceloop.entity.output": "{}", "gen_ai.output.messages": "[1]"}, {"gen_ai.output.messages": [1]}),
        ({"langfuse.observation.output": "ho"}, {"langfuse.observation.output": "ho"}),
        ({"gen_ai.tool.call.result": "22 °C"}, {"gen_ai.tool.call.result": "22 °C"}),
        ({"gen_ai.memory.records": '[{"content": "vegan"}]'}, {"gen_ai.memory.records": [{"content": "vegan"}]}),
        ({"retrieval.documents.0.document.content": "d"}, {"retrieval.documents": [{"document": {"content": "d"}}]}),
        ({"ai.value": "hi", "ai.embedding": "[0.5]"}, {"ai.embedding": [0.5]}),
        ({"output": "ho"}, "ho"),
        ({"outputs": "[1, 2]"}, [1, 2]),
        ({"output.a": 1}, {"a": 1}),
        ({}, {}),
    ],
)
def test_output_is_found_in_every_convention(attributes: dict[str, object], output: object) -> None:
    assert of(attributes)["output"] == output


@pytest.mark.parametrize(
    ("attributes", "usage"),
    [
        (
            {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4, "gen_ai.response.model": "m-1"},
            {"m-1": NO_COUNTS | {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}},
        ),
        (
            {"gen_ai.usage.prompt_tokens": "3", "gen_ai.usage.completion_tokens": 4, "gen_ai.request.model": "m"},
            {"m": NO_COUNTS | {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
        ),
        (
            {
                "llm.token_count.prompt": 3,
                "llm.token_count.completion": 4,
                "llm.token_count.total": 9,
                "llm.model_name": "m",
            },
            {"m": NO_COUNTS | {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}},
        ),
        (
            {"ai.usage.promptTokens": 3, "ai.usage.completionTokens": 4.0, "ai.model.id": "m"},
            {"m": NO_COUNTS | {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
        ),
        (
            {
                "langfuse.observation.usage_details": '{"input": 3, "output": 4, "total": 7}',
                "langfuse.observation.model.name": "m",
            },
            {"m": NO_COUNTS | {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}},
        ),
        (
            {"mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 4, "total_tokens": 8}'},
            {"usage": NO_COUNTS | {"input_tokens": 3, "output_tokens": 4, "total_tokens": 8}},
        ),
        (
            {"llm.usage.total_tokens": 5, "llm.invocation_parameters": '{"model": "m"}'},
            {"m": NO_COUNTS | {"total_tokens": 5}},
        ),
        ({"ai.usage.tokens": 5, "ai.model.id": "m"}, {"m": NO_COUNTS | {"total_tokens": 5}}),
        (
            {"langfuse.observation.usage_details": '{"prompt_tokens": 3, "completion_tokens": 4}'},
            {"usage": NO_COUNTS | {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
        ),
        ({"gen_ai.usage.input_tokens": "many", "gen_ai.response.model": "m"}, None),
        ({"gen_ai.usage.input_tokens": 1e308}, None),
        ({"langfuse.observation.usage_details": f'{{"input": {2**63}}}'}, None),
        ({"gen_ai.response.model": "m"}, None),
    ],
)
def test_usage_is_found_in_every_convention(attributes: dict[str, object], usage: object) -> None:
    assert of(attributes)["summary"] == ({"usage": usage} if usage else {})


@pytest.mark.parametrize(
    ("attributes", "noted"),
    [
        (
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "m",
                "gen_ai.request.top_p": 1,
            },
            {"kind": "chat", "provider": "openai", "model": "m", "model_parameters": {"model": "m", "top_p": 1}},
        ),
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner", "gen_ai.system": "s"},
            {"system": "s", "kind": "invoke_agent", "agent": "planner"},
        ),
        (
            {
                "gen_ai.agent.id": "a-1",
                "gen_ai.agent.version": "2",
                "gen_ai.agent.description": "Plans trips",
                "gen_ai.workflow.name": "travel",
            },
            {"agent_id": "a-1", "agent_version": "2", "agent_description": "Plans trips", "workflow": "travel"},
        ),
        (
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"},
            {"kind": "execute_tool", "tool": "weather"},
        ),
        ({"openinference.span.kind": "TOOL", "tool.name": "weather"}, {"kind": "TOOL", "tool": "weather"}),
        ({"traceloop.span.kind": "workflow", "weave.span.kind": "op"}, {"kind": "op"}),
        ({"langfuse.observation.type": "generation"}, {"kind": "generation"}),
        ({"mlflow.spanType": '"CHAIN"'}, {"kind": "CHAIN"}),
        (
            {"ai.model.id": "m", "ai.model.provider": "p", "gen_ai.response.model": "m-1"},
            {"model": "m-1", "provider": "p"},
        ),
    ],
)
def test_model_details_are_stored_with_the_span(attributes: dict[str, object], noted: object) -> None:
    found = of(attributes)["attributes"]

    assert {name: value for name, value in found.items() if name != "otel_span"} == noted


@pytest.mark.parametrize(
    ("attributes", "parent", "thread", "turn"),
    [
        ({"wandb.thread_id": "t", "wandb.is_turn": True}, 9, "t", True),
        ({"wandb.thread_id": "t"}, 0, "t", False),
        ({"wandb.is_turn": True}, 0, None, False),
        ({"gcp.vertex.agent.session_id": "t"}, 9, "t", True),
        ({"session.id": "t"}, 0, "t", True),
        ({"wandb.thread_id": "t" * 1025}, 0, None, False),
        ({"wandb.thread_id": "t" * 1025, "session.id": "s"}, 0, "s", True),
        ({"session.id": "t"}, 9, "t", False),
        ({"gen_ai.conversation.id": 7}, 0, "7", True),
        ({"traceloop.association.properties.session_id": "t"}, 0, "t", True),
    ],
)
def test_conversations_are_threads(
    attributes: dict[str, object], parent: int, thread: str | None, *, turn: bool
) -> None:
    start = call(span(1, attributes, parent)).start

    assert start.get("thread_id") == thread
    assert start.get("turn_id") == (span_id(1) if turn else None)


def test_wandb_and_langfuse_attributes_name_and_time_calls() -> None:
    message = span(
        1,
        {
            "wandb.display_name": "Answer",
            "langfuse.startTime": "2026-01-31T13:00:00.000001Z",
            "langfuse.endTime": "soon",
            "langfuse.observation.level": "ERROR",
            "langfuse.observation.status_message": "no luck",
        },
    )

    whole = call(message)

    assert whole.end
    assert whole.start["display_name"] == "Answer"
    assert whole.start["started_at"] == NOON // 1000 + 3_600_000_001
    assert whole.end["ended_at"] == (NOON + 2 * SECOND) // 1000
    assert whole.end["exception"] == "no luck"


@pytest.mark.parametrize(
    ("events", "inputs", "output"),
    [
        (
            {
                "gen_ai.content.prompt": {"gen_ai.prompt": "[1]"},
                "gen_ai.content.completion": {"gen_ai.completion": "ho"},
            },
            {"gen_ai.prompt": [1]},
            {"gen_ai.completion": "ho"},
        ),
        (
            {
                "gen_ai.client.inference.operation.details": {
                    "gen_ai.input.messages": "[1]",
                    "gen_ai.output.messages": "[2]",
                }
            },
            {"gen_ai.input.messages": [1]},
            {"gen_ai.output.messages": [2]},
        ),
        (
            {
                "gen_ai.system.message": {"content": "Be brief."},
                "gen_ai.user.message": {"content": "hi"},
                "gen_ai.choice": {"message": '{"content": "ho"}', "index": 0},
            },
            {"gen_ai.input.messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
            {"gen_ai.output.messages": [{"role": "assistant", "message": {"content": "ho"}, "index": 0}]},
        ),
        ({"tick": {}}, {}, {}),
    ],
)
def test_span_events_supply_missing_attributes(events: dict[str, Any], inputs: object, output: object) -> None:
    message = span()
    for name, attributes in events.items():
        message.events.add(name=name, attributes=pairs(attributes))
    with_attributes = span(1, {"input.value": "mine", "output.value": "mine"})
    with_attributes.events.extend(message.events)

    found = payloads(call(message))

    assert (found["inputs"], found["output"]) == (inputs, output)
    assert payloads(call(with_attributes))["inputs"] == {"input.value": "mine"}


def test_failed_span_without_a_message_is_an_error() -> None:
    silent, noted = span(status=failed()), span(status=failed())
    noted.events.add(name="exception", attributes=pairs({"exception.type": "KeyError", "exception.message": "'a'"}))

    ends = [call(message).end for message in (silent, noted)]

    assert [end and end["status"] for end in ends] == ["error", "error"]
    assert [end and end["exception"] for end in ends] == [
        "the span ended with status ERROR and without a message",
        "KeyError: 'a'",
    ]


def test_unusual_values_become_json() -> None:
    values: dict[str, object] = {
        "bytes": b"\x00\xff",
        "nested": [[1, [2.5, True]], {"k": {"b": b"x"}, "n": None}],
        "nan": [float("nan"), float("inf"), -float("inf")],
        "wide": [2**63 - 1, -(2**63)],
        "nothing": None,
        "empty": "",
        "a$b": {"$where": 1, "with.dot": 2},
        "odd%key.\0": "\0",
    }

    found = of(values)["attributes"]["otel_span"]["attributes"]

    assert found == {
        "bytes": "AP8=",
        "nested": [[1, [2.5, True]], {"k": {"b": "eA=="}, "n": None}],
        "nan": ["NaN", "Infinity", "-Infinity"],
        "wide": [2**63 - 1, -(2**63)],
        "nothing": None,
        "empty": "",
        "a$b": {"$where": 1, "with.dot": 2},
        "odd%key": {"\0": "\0"},
    }


def test_span_without_an_end_is_a_running_call() -> None:
    whole = call(span(end_time_unix_nano=0))

    assert whole.end is None
    assert payloads(whole)["attributes"]["otel_span"]["end_time"] is None


def test_end_before_the_start_is_kept() -> None:
    whole = call(span(1, end_time_unix_nano=NOON))

    assert whole.end
    assert whole.end["ended_at"] - whole.start["started_at"] == -1_000_000


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"." * 64: 1}, "has 64 dots; the limit is 63"),
        ({"a": [True] * 200_001}, "has 200,001 values; the limit is 200,000"),
        ({"wandb.display_name": "n" * 1025}, "1,025 characters; the limit is 1,024"),
        ({"input.value": "weave-trace-internal:///x"}, "weave-trace-internal"),
    ],
)
def test_invalid_span_is_rejected(attributes: dict[str, object], reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        of(attributes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"span_id": b"\0" * 8}, "span_id is all zeros"),
        ({"trace_id": b"\0" * 16}, "trace_id is all zeros"),
        ({"span_id": b""}, "span_id has 0 bytes; it must have 8"),
        ({"trace_id": b"\1" * 8}, "trace_id has 8 bytes; it must have 16"),
        ({"parent_span_id": b"\1" * 3}, "parent_span_id has 3 bytes; it must have 8"),
        ({"name": "weave:///acme/chat/object/x:1"}, "must be the ref of an op"),
        ({"status": failed("x" * 262_145)}, "262,145 characters; the limit is 262,144"),
    ],
)
def test_span_invalid_as_a_call_is_rejected(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInputError, match=reason):
        call(span(1, **changes))


def test_span_too_large_for_a_document_is_rejected() -> None:
    with pytest.raises(PayloadTooLargeError, match="the limit is 7,700,000"):
        of({"input.value": "x" * 4_000_000})


def test_all_zero_parent_id_is_no_parent() -> None:
    assert call(span(1, parent_span_id=b"\0" * 8)).start["parent_id"] is None


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
MEMBERS = st.sampled_from(["a", "$b", "c.d", "%", "é"])
FLAT = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(MEMBERS, LEAVES)
JSON = FLAT | st.lists(FLAT, max_size=3) | st.dictionaries(MEMBERS, FLAT)
KEYS = st.sampled_from(
    [
        *("gen_ai.prompt", "input.value", "input", "output.value", "outputs", "gen_ai.response.model", "metadata"),
        *("llm.model_name", "llm.invocation_parameters", "gen_ai.usage.input_tokens", "session.id", "odd%$x", "a.b.c"),
        *(
            "inputs",
            "otel_span",
            "$odd",
            "gen_ai.completion.0.content",
            "gen_ai.completion.1.content",
            "a.d",
            "mlflow.spanType",
        ),
    ]
)


@settings(max_examples=cases(150))
@given(st.dictionaries(KEYS, JSON | JSON.map(json.dumps), max_size=8), st.booleans())
def test_span_call_is_stored_like_any_other(attributes: dict[str, object], with_events: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    """Check that the fields that are built from parts equal those from a walk through the whole values."""
    message = span(
        1, {key: value for key, value in attributes.items() if not (key == "input" and "input.value" in attributes)}
    )
    if with_events:
        message.events.add(name="é", attributes=pairs({"x.y": 1e22, "z": [1, 2]}))
    whole = call(message)
    found = payloads(whole)

    start = CallStart("acme/spans", "step 1", whole.start["started_at"], found["attributes"], found["inputs"])
    end = CallEnd("acme/spans", span_id(1), (NOON + 2 * SECOND) // 1000, found["summary"], output=found["output"])
    start.id, start.trace_id = span_id(1), TRACE
    start.thread_id, start.turn_id = whole.start.get("thread_id"), whole.start.get("turn_id")
    assert whole.start == stored_part(start.checked()).fields
    assert whole.end == stored_part(end.checked()).fields


@pytest.mark.parametrize(
    ("attributes", "kind", "scope"),
    [
        ({"ai.operationId": "ai.generateText", "ai.model.id": "m"}, Message.SPAN_KIND_INTERNAL, "sum"),
        ({"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m"}, Message.SPAN_KIND_INTERNAL, "unclear"),
        ({"gen_ai.operation.name": "invoke_agent"}, Message.SPAN_KIND_INTERNAL, "sum"),
        ({"gen_ai.operation.name": "invoke_agent"}, Message.SPAN_KIND_CLIENT, "unclear"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"}, Message.SPAN_KIND_INTERNAL, "unclear"),
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, Message.SPAN_KIND_CLIENT, "unclear"),
        ({"ai.operationId": 1}, Message.SPAN_KIND_INTERNAL, "unclear"),
    ],
)
def test_usage_scope_of_a_span(attributes: dict[str, object], kind: Message.SpanKind, scope: str) -> None:
    made = call(span(1, attributes | {"gen_ai.usage.input_tokens": 3}, kind=kind))

    assert made.end
    assert made.end["usage_scope"] == scope
    assert [entry.get("sums_up", False) for entry in made.end["usage"]] == [scope == "sum"]
