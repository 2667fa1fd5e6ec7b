"""Tests of messages in one shape, from the payload forms of each sender."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stores.senders.messages import input_messages, output_messages
from tests.chance import cases
from tests.stores.otel.messages import pairs
from tests.stores.otel.test_mapping import of

ARGUMENTS = {"city": "Berlin"}
ARGUMENTS_TEXT = '{"city": "Berlin"}'

ASKED = [
    ("system", ["text: Be brief."]),
    ("user", ["text: Is it raining in Berlin?"]),
    ("assistant", ['call c1 weather {"city": "Berlin"}']),
    ("tool", ['result c1 {"rain": true}']),
]
"""The conversation that each request below has."""

ANSWERED = [("assistant", ["text: Yes, it is."])]
CALLED = [("assistant", ["text: Let me look.", 'call c1 weather {"city": "Berlin"}'])]


def shown(messages: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(message["role"], [_part(part) for part in message["parts"]]) for message in messages]


def _part(part: dict[str, Any]) -> str:
    match part["type"]:
        case "tool_call":
            return f"call {part['id']} {part['name']} {json.dumps(part['arguments'])}"
        case "tool_result":
            return f"result {part['id']} {json.dumps(part['result'])}"
        case "text" | "reasoning" | "refusal" as kind:
            return f"{kind}: {part['text']}"
        case kind:
            fields = {name: value for name, value in part.items() if value is not None and name != "type"}
            return f"{kind} {json.dumps(fields)}"


def asked(inputs: object, attributes: object = None) -> list[tuple[str, list[str]]]:
    return shown(input_messages(attributes, inputs))


def answered(output: object, attributes: object = None) -> list[tuple[str, list[str]]]:
    return shown(output_messages(attributes, output))


CHAT: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it raining in Berlin?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS_TEXT}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"rain": true}'},
]
LANGCHAIN: list[Any] = [
    {"type": "system", "content": "Be brief.", "additional_kwargs": {}, "response_metadata": {}},
    {"type": "human", "content": "Is it raining in Berlin?", "additional_kwargs": {}, "response_metadata": {}},
    {
        "type": "ai",
        "content": "",
        "additional_kwargs": {"tool_calls": CHAT[2]["tool_calls"]},
        "tool_calls": [{"name": "weather", "args": ARGUMENTS, "id": "c1", "type": "tool_call"}],
    },
    {"type": "tool", "content": '{"rain": true}', "tool_call_id": "c1", "name": None},
]


def _constructor(message: dict[str, Any]) -> dict[str, Any]:
    names = {"system": "SystemMessage", "human": "HumanMessage", "ai": "AIMessage", "tool": "ToolMessage"}
    name = names[message["type"]]
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": message}


REQUESTS: dict[str, object] = {
    "OpenAI chat": {"self": {"_type": "Completions"}, "model": "gpt-5", "messages": CHAT, "tools": [{"type": "x"}]},
    "OpenAI developer message": {"messages": [{**CHAT[0], "role": "system"}, *CHAT[1:]]},
    "OpenAI chat in parts": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Is it raining in Berlin?"}]},
            {**CHAT[2], "content": []},
            {**CHAT[3], "content": [{"type": "text", "text": '{"rain": true}'}]},
        ]
    },
    "OpenAI responses": {
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Is it raining in Berlin?"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS_TEXT},
            {"type": "function_call_output", "call_id": "c1", "output": '{"rain": true}'},
        ],
    },
    "Anthropic": {
        "model": "claude",
        "max_tokens": 10,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Is it raining in Berlin?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": ARGUMENTS}]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": '{"rain": true}'}],
                    }
                ],
            },
        ],
    },
    "Gemini": {
        "model": "gemini",
        "config": {"system_instruction": {"parts": [{"text": "Be brief."}]}, "temperature": 0},
        "contents": [
            {"role": "user", "parts": [{"text": "Is it raining in Berlin?", "inline_data": None}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": ARGUMENTS}}]},
            {
                "role": "user",
                "parts": [{"function_response": {"id": "c1", "name": "weather", "response": {"rain": True}}}],
            },
        ],
    },
    "Bedrock": {
        "modelId": "nova",
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Is it raining in Berlin?"}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": ARGUMENTS}}],
            },
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": {"rain": True}}]}}],
            },
        ],
    },
    "Cohere": {
        "model": "command-a",
        "messages": [
            CHAT[0],
            CHAT[1],
            CHAT[2],
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": '{"rain": true}'}],
            },
        ],
    },
    "LangChain": {"messages": [LANGCHAIN]},
    "LangChain constructors": {"messages": [[_constructor(message) for message in LANGCHAIN]]},
    "LangChain to dict": [{"type": message["type"], "data": message} for message in LANGCHAIN],
    "LangGraph state": {"input": {"messages": LANGCHAIN}},
    "LlamaIndex": {
        "messages": [
            {"role": "system", "additional_kwargs": {}, "blocks": [{"block_type": "text", "text": "Be brief."}]},
            {"role": "user", "additional_kwargs": {}, "blocks": [{"block_type": "text", "text": CHAT[1]["content"]}]},
            {"role": "assistant", "additional_kwargs": {"tool_calls": CHAT[2]["tool_calls"]}, "blocks": []},
            {
                "role": "tool",
                "additional_kwargs": {"tool_call_id": "c1", "name": "weather"},
                "blocks": [{"block_type": "text", "text": '{"rain": true}'}],
            },
        ]
    },
    "Langfuse": CHAT,
    "Langfuse object": {"messages": CHAT, "tools": []},
    "Ollama": {
        "messages": [
            CHAT[0],
            CHAT[1],
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": ARGUMENTS}}],
            },
            CHAT[3],
        ]
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request_of_each_sender_has_equal_messages(name: str) -> None:
    assert asked(REQUESTS[name]) == ASKED


OTEL_PARTS = [
    {"role": "user", "parts": [{"type": "text", "content": "Is it raining in Berlin?"}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": ARGUMENTS}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"rain": True}}]},
]
SPANS: dict[str, dict[str, object]] = {
    "OpenTelemetry": {
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": json.dumps(OTEL_PARTS),
    },
    "OpenTelemetry with an attribute of Traceloop": {
        "traceloop.entity.input": json.dumps({"inputs": "another text"}),
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": json.dumps(OTEL_PARTS),
    },
    "OpenInference": {
        "openinference.span.kind": "LLM",
        "input.value": "an abstract",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "text",
        "llm.input_messages.1.message.contents.0.message_content.text": "Is it raining in Berlin?",
        "llm.input_messages.2.message.role": "assistant",
        "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
        "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": ARGUMENTS_TEXT,
        "llm.input_messages.3.message.role": "tool",
        "llm.input_messages.3.message.tool_call_id": "c1",
        "llm.input_messages.3.message.content": '{"rain": true}',
    },
    "OpenInference with the request": {
        "input.value": json.dumps({"messages": CHAT, "model": "gpt-5"}),
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "less than the request",
    },
    "OpenLLMetry": {
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Is it raining in Berlin?",
        "gen_ai.prompt.2.role": "assistant",
        "gen_ai.prompt.2.tool_calls.0.id": "c1",
        "gen_ai.prompt.2.tool_calls.0.name": "weather",
        "gen_ai.prompt.2.tool_calls.0.arguments": ARGUMENTS_TEXT,
        "gen_ai.prompt.3.role": "tool",
        "gen_ai.prompt.3.tool_call_id": "c1",
        "gen_ai.prompt.3.content": '{"rain": true}',
    },
    "Vercel": {
        "ai.prompt.messages": json.dumps(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Is it raining in Berlin?"}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "weather", "input": ARGUMENTS}],
                },
                {
                    "role": "tool",
                    "content": [
                        {
                            "type": "tool-result",
                            "toolCallId": "c1",
                            "toolName": "weather",
                            "output": {"type": "json", "value": {"rain": True}},
                        }
                    ],
                },
            ]
        ),
        "ai.prompt.toolChoice": '{"type":"auto"}',
    },
    "Vercel's outer span": {"ai.prompt": json.dumps({"system": "Be brief.", "messages": CHAT[1:]})},
    "MLflow": {"mlflow.spanInputs": json.dumps({"messages": CHAT, "model": "gpt-5"})},
    "Langfuse": {"langfuse.observation.input": json.dumps(CHAT)},
    "Google ADK": {"gcp.vertex.agent.llm_request": json.dumps(REQUESTS["Gemini"])},
}


@pytest.mark.parametrize("name", SPANS)
def test_span_of_each_convention_has_equal_messages(name: str) -> None:
    payloads = of(SPANS[name])

    assert asked(payloads["inputs"], payloads["attributes"]) == ASKED


def test_events_of_a_span_are_messages() -> None:
    events: dict[str, dict[str, object]] = {
        "gen_ai.system.message": {"content": "Be brief."},
        "gen_ai.user.message": {"content": "Is it raining in Berlin?"},
        "gen_ai.assistant.message": {"tool_calls": json.dumps(CHAT[2]["tool_calls"])},
        "gen_ai.tool.message": {"id": "c1", "content": '{"rain": true}'},
        "gen_ai.choice": {
            "index": 0,
            "finish_reason": "stop",
            "message": json.dumps({"role": "assistant", "content": "Yes, it is."}),
        },
    }
    payloads = of(
        {"gen_ai.system": "openai"},
        events=[Span.Event(name=name, attributes=pairs(attributes)) for name, attributes in events.items()],
    )

    assert asked(payloads["inputs"], payloads["attributes"]) == ASKED
    assert answered(payloads["output"], payloads["attributes"]) == ANSWERED


RESPONSES: dict[str, tuple[object, str | None]] = {
    "OpenAI chat": (
        {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Yes, it is.", "refusal": None},
                }
            ],
        },
        "stop",
    ),
    "OpenAI responses": (
        {
            "object": "response",
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "id": "m",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Yes, it is.", "annotations": []}],
                }
            ],
        },
        "completed",
    ),
    "Anthropic": (
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Yes, it is.", "citations": None}],
            "stop_reason": "end_turn",
        },
        "end_turn",
    ),
    "Gemini": (
        {"candidates": [{"content": {"parts": [{"text": "Yes, it is."}], "role": "model"}, "finishReason": "STOP"}]},
        "STOP",
    ),
    "Bedrock": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Yes, it is."}]}},
            "stopReason": "end_turn",
            "metrics": {"latencyMs": 1},
        },
        "end_turn",
    ),
    "Cohere": (
        {
            "id": "x",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Yes, it is."}]},
        },
        "COMPLETE",
    ),
    "Cohere's first API": (
        {
            "text": "Yes, it is.",
            "chat_history": [{"role": "USER", "message": "x"}],
            "finish_reason": "COMPLETE",
            "meta": {"a": "b"},
        },
        "COMPLETE",
    ),
    "LangChain": (
        {
            "generations": [
                [
                    {
                        "text": "Yes, it is.",
                        "generation_info": {"finish_reason": "stop"},
                        "type": "ChatGeneration",
                        "message": _constructor({"type": "ai", "content": "Yes, it is."}),
                    }
                ]
            ],
            "llm_output": {"token_usage": {}},
        },
        "stop",
    ),
    "LangChain message": (
        {"type": "ai", "content": "Yes, it is.", "response_metadata": {"finish_reason": "stop"}},
        "stop",
    ),
    "LlamaIndex": (
        {
            "message": {
                "role": "assistant",
                "additional_kwargs": {},
                "blocks": [{"block_type": "text", "text": "Yes, it is."}],
            },
            "raw": {"choices": []},
            "delta": None,
        },
        None,
    ),
    "Langfuse": ({"role": "assistant", "content": "Yes, it is."}, None),
    "Ollama": (
        {"model": "m", "message": {"role": "assistant", "content": "Yes, it is."}, "done": True, "done_reason": "stop"},
        "stop",
    ),
    "Weave": (
        {
            "_type": "ChatCompletion",
            "_class_name": "ChatCompletion",
            "_bases": ["BaseModel"],
            "id": "x",
            "choices": [
                {
                    "finish_reason": "stop",
                    "index": 0,
                    "message": {"content": "Yes, it is.", "role": "assistant", "tool_calls": None},
                }
            ],
        },
        "stop",
    ),
    "text completion": (
        {"object": "text_completion", "choices": [{"text": "Yes, it is.", "index": 0, "finish_reason": "length"}]},
        "length",
    ),
    "Amazon Titan": (
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 4, "outputText": "Yes, it is.", "completionReason": "FINISH"}],
        },
        "FINISH",
    ),
    "last chunk of Amazon Titan": (
        {
            "outputText": "Yes, it is.",
            "index": 0,
            "totalOutputTextTokenCount": 4,
            "completionReason": "LENGTH",
            "inputTextTokenCount": 5,
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5},
        },
        "LENGTH",
    ),
    "Bedrock's invoke_model": (
        {
            "ResponseMetadata": {"RequestId": "r", "HTTPHeaders": {"content-type": "application/json"}},
            "contentType": "application/json",
            "body": {"results": [{"outputText": "Yes, it is.", "completionReason": "FINISH"}]},
        },
        "FINISH",
    ),
    "Cohere's first API with citations": (
        {
            "text": "Yes, it is.",
            "generation_id": "g",
            "finish_reason": "COMPLETE",
            "citations": [{"start": 0, "end": 3, "text": "Yes", "document_ids": ["doc_0"]}],
            "documents": [{"id": "doc_0", "snippet": "Rain all day."}],
        },
        "COMPLETE",
    ),
    "Cohere's second API with citations": (
        {
            "id": "c",
            "finish_reason": "COMPLETE",
            "message": {
                "role": "assistant",
                "content": [{"type": "text", "text": "Yes, it is."}],
                "citations": [{"start": 0, "end": 3, "text": "Yes", "sources": [{"type": "document", "id": "d"}]}],
            },
        },
        "COMPLETE",
    ),
    "text": ("Yes, it is.", None),
    "a result": ({"result": "Yes, it is."}, None),
    "an answer": ({"answer": "Yes, it is.", "score": 0.4}, None),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_response_of_each_sender_has_equal_messages(name: str) -> None:
    output, finish_reason = RESPONSES[name]
    messages = output_messages({}, output)

    assert shown(messages) == ANSWERED
    assert messages[0]["finish_reason"] == finish_reason


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "id": "x", "choices": [choice]}


def _event(kind: str, **members: object) -> dict[str, object]:
    return {"type": kind, **members}


STREAMS: dict[str, list[dict[str, Any]]] = {
    "OpenAI chat": [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "Let me "}),
        _chunk({"content": "look."}),
        _chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Berlin"}'}}]}),
        _chunk({}, "tool_calls"),
        {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 3}},
    ],
    "Anthropic": [
        _event("message_start", message={"id": "m", "role": "assistant", "content": [], "stop_reason": None}),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Let me "}),
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "look."}),
        _event("content_block_stop", index=0),
        _event(
            "content_block_start",
            index=1,
            content_block={"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
        ),
        _event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"city": '}),
        _event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '"Berlin"}'}),
        _event("message_delta", delta={"stop_reason": "tool_calls"}, usage={"output_tokens": 3}),
        _event("message_stop"),
    ],
    "OpenAI responses": [
        _event("response.created", response={"output": []}),
        _event("response.output_text.delta", delta="Let me "),
        _event(
            "response.completed",
            response={
                "status": "tool_calls",
                "output": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "Let me look."}],
                    },
                    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS_TEXT},
                ],
            },
        ),
    ],
    "Gemini": [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Let me "}]}}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "look."}]}}]},
        {
            "candidates": [
                {
                    "finishReason": "tool_calls",
                    "content": {"parts": [{"functionCall": {"id": "c1", "name": "weather", "args": ARGUMENTS}}]},
                }
            ]
        },
    ],
    "Bedrock": [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Let me "}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": "look."}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {
            "contentBlockStart": {
                "start": {"toolUse": {"toolUseId": "c1", "name": "weather"}},
                "contentBlockIndex": 1,
            }
        },
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ARGUMENTS_TEXT}}, "contentBlockIndex": 1}},
        {"messageStop": {"stopReason": "tool_calls"}},
    ],
    "Ollama": [
        {"message": {"role": "assistant", "content": "Let me "}, "done": False},
        {"message": {"role": "assistant", "content": "look."}, "done": False},
        {
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": ARGUMENTS}}],
            },
            "done": True,
            "done_reason": "tool_calls",
        },
    ],
}


@pytest.mark.parametrize("name", STREAMS)
def test_chunks_of_a_stream_are_one_message(name: str) -> None:
    messages = output_messages({}, STREAMS[name])

    assert shown(messages) == CALLED
    assert messages[0]["finish_reason"] == "tool_calls"


def _titan(text: str, reason: str | None = None) -> dict[str, Any]:
    count = {"inputTextTokenCount": None if reason else 5, "totalOutputTextTokenCount": 4 if reason else None}
    return {"outputText": text, "index": 0, "completionReason": reason, **count}


def test_chunks_of_amazon_titan_are_one_message() -> None:
    messages = output_messages({}, [_titan("Yes, "), _titan("it "), _titan("is.", "FINISH")])

    assert shown(messages) == ANSWERED
    assert messages[0]["finish_reason"] == "FINISH"
    assert output_messages({}, [_titan("Yes, it is.")])[0]["finish_reason"] is None


def test_citation_in_a_stream_of_bedrock_leaves_its_text() -> None:
    deltas = [{"text": "Yes, "}, {"citation": {"title": "a", "source": "b"}}, {"text": "it is."}]

    assert answered([{"contentBlockDelta": {"delta": delta, "contentBlockIndex": 0}} for delta in deltas]) == ANSWERED


def test_reasoning_between_the_texts_of_a_stream_is_joined() -> None:
    def thought(text: str) -> dict[str, Any]:
        return _chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]})

    chunks = [_chunk({"content": ""}), thought("Rain "), thought("falls."), _chunk({"content": "Yes, "})]
    messages = output_messages({}, [*chunks, _chunk({"content": "it is."}, "stop")])

    assert shown(messages) == [("assistant", ["reasoning: Rain falls.", "text: Yes, it is."])]


VALUES: list[Any] = ["a", "", ["a"], [{"x": "a"}], [{"index": 0, "x": "a"}], {"x": "a"}, {"x": {"y": 1}}, 1, None]


@pytest.mark.parametrize("name", ["content", "tool_calls", "text", "input"])
@pytest.mark.parametrize(
    "event",
    [
        _chunk,
        lambda delta: _event("content_block_start", index=0, content_block=delta),
        lambda delta: _event("content_block_delta", index=0, delta=delta),
        lambda delta: {"contentBlockDelta": {"delta": delta, "contentBlockIndex": 0}},
        lambda message: {"message": message, "done": False},
        lambda chunk: {"outputText": chunk.get("text", chunk), "inputTextTokenCount": 1, "completionReason": chunk},
    ],
)
def test_value_of_a_stream_may_change_its_type(event: Callable[[dict[str, Any]], dict[str, Any]], name: str) -> None:
    marks = [_event("content_block_delta", index=1)] if event({}).get("type") == "content_block_start" else []
    for values in itertools.product(VALUES, VALUES, ["a", [{"x": "a"}]]):
        chunks = [*(event({name: value}) for value in values), *marks]
        assert isinstance(output_messages(None, chunks), list), values


def test_richer_attribute_without_instructions_gets_those_of_the_other() -> None:
    guarded = [{"guardContent": {"text": {"text": text}}} for text in ("Rain.", "hi")]
    flat = {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "input.value": json.dumps([{"role": "user", "content": guarded}]),
    }
    payloads = of({"openinference.span.kind": "LLM", **flat})

    assert asked(payloads["inputs"], payloads["attributes"]) == [
        ("system", ["text: Be brief."]),
        ("user", ["text: Rain.", "text: hi"]),
    ]


def test_second_message_in_a_list_of_events_replaces_the_first() -> None:
    def block(text: str) -> list[dict[str, object]]:
        return [
            _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
        ]

    assert answered([_event("message_start"), *block("No"), *block("Yes, "), *block("Yes, it is.")]) == ANSWERED


MEDIA: dict[str, tuple[object, str]] = {
    "remote URL": (
        {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
        'image {"url": "https://a.b/c.png"}',
    ),
    "URL alone": ({"type": "input_image", "image_url": "https://a.b/c.png"}, 'image {"url": "https://a.b/c.png"}'),
    "data URL": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        'image {"media_type": "image/png", "data": "AAAA"}',
    ),
    "stored data URL": (
        {
            "type": "image_url",
            "image_url": {
                "url": {
                    "_type": "CustomWeaveType",
                    "weave_type": {"type": "weave.type_wrappers.Content.content.Content"},
                    "files": {"content": "abc", "metadata.json": "def"},
                }
            },
        },
        'image {"file": "abc"}',
    ),
    "Weave's image": (
        {"_type": "CustomWeaveType", "weave_type": {"type": "PIL.Image.Image"}, "files": {"image.png": "abc"}},
        'image {"media_type": "image/png", "file": "abc"}',
    ),
    "Anthropic's image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        'image {"media_type": "image/jpeg", "data": "AAAA"}',
    ),
    "Anthropic's document": (
        {"type": "document", "title": "a", "source": {"type": "url", "url": "https://a.b/c.pdf"}},
        'file {"url": "https://a.b/c.pdf", "name": "a"}',
    ),
    "OpenAI's audio": (
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        'audio {"media_type": "audio/wav", "data": "AAAA"}',
    ),
    "OpenAI's file": ({"type": "input_file", "file_id": "file-1"}, 'file {"file_id": "file-1"}'),
    "Gemini's inline data": (
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        'audio {"media_type": "audio/mp3", "data": "AAAA"}',
    ),
    "Gemini's file": (
        {"file_data": {"mime_type": "application/pdf", "file_uri": "gs://a/b"}},
        'file {"media_type": "application/pdf", "url": "gs://a/b"}',
    ),
    "Bedrock's image": (
        {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
        'image {"media_type": "image/png", "data": "AAAA"}',
    ),
    "Bedrock's document": (
        {"document": {"format": "pdf", "name": "a", "source": {"s3Location": {"uri": "s3://a/b"}}}},
        'file {"media_type": "application/pdf", "url": "s3://a/b", "name": "a"}',
    ),
    "OpenTelemetry's blob": (
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAAA"},
        'image {"media_type": "image/png", "data": "AAAA"}',
    ),
    "OpenTelemetry's URI": (
        {"type": "uri", "modality": "audio", "uri": "https://a.b/c.wav"},
        'audio {"url": "https://a.b/c.wav"}',
    ),
    "OpenTelemetry's file": ({"type": "file", "modality": "image", "file_id": "f"}, 'image {"file_id": "f"}'),
    "Vercel's file": (
        {"type": "file", "mediaType": "application/pdf", "data": "AAAA", "filename": "a.pdf"},
        'file {"media_type": "application/pdf", "data": "AAAA", "name": "a.pdf"}',
    ),
    "LlamaIndex's image": (
        {"block_type": "image", "url": "https://a.b/c.png", "image_mimetype": "image/png"},
        'image {"media_type": "image/png", "url": "https://a.b/c.png"}',
    ),
    "OpenInference's image": (
        {"message_content": {"type": "image", "image": {"image": {"url": "https://a.b/c.png"}}}},
        'image {"url": "https://a.b/c.png"}',
    ),
    "image for a guardrail of Bedrock": (
        {"guardContent": {"image": {"format": "png", "source": {"bytes": "AAAA"}}}},
        'image {"media_type": "image/png", "data": "AAAA"}',
    ),
    "image without content": ({"type": "image", "alt": "cat"}, 'text: {"type":"image","alt":"cat"}'),
}


@pytest.mark.parametrize("name", MEDIA)
def test_media_of_each_sender_are_parts(name: str) -> None:
    content, expected = MEDIA[name]

    assert asked([{"role": "user", "content": [content]}]) == [("user", [expected])]


CONTENTS: dict[str, tuple[object, list[str]]] = {
    "encrypted reasoning": ({"type": "redacted_thinking", "data": "x"}, ["reasoning: "]),
    "thinking": ({"type": "thinking", "thinking": "Hm.", "signature": "x"}, ["reasoning: Hm."]),
    "summaries": (
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "A"}, {"type": "summary_text", "text": "B"}],
        },
        ["reasoning: A\n\nB"],
    ),
    "Mistral's thinking": ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, ["reasoning: Hm."]),
    "reasoning without a summary": (
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        ["reasoning: Hm."],
    ),
    "OpenTelemetry's server tool": (
        {"type": "server_tool_call_response", "id": "s", "server_tool_call_response": {"type": "web", "found": 1}},
        ['result s {"type": "web", "found": 1}'],
    ),
    "document with a context": (
        {"type": "document", "context": "Of Ann.", "source": {"type": "url", "url": "https://a.b/c.pdf"}},
        ['file {"url": "https://a.b/c.pdf"}', "text: Of Ann."],
    ),
    "LangChain's plain text": ({"type": "text-plain", "text": "Hi.", "mime_type": "text/plain"}, ["text: Hi."]),
    "request for approval": (
        {"type": "mcp_approval_request", "id": "m", "name": "f", "arguments": "{}", "server_label": "s"},
        ["call m f {}"],
    ),
    "Bedrock's reasoning": (
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "x"}}},
        ["reasoning: Hm."],
    ),
    "Gemini's thought": ({"text": "Hm.", "thought": True}, ["reasoning: Hm."]),
    "OpenTelemetry's reasoning": ({"type": "reasoning", "content": "Hm."}, ["reasoning: Hm."]),
    "refusal": ({"type": "refusal", "refusal": "No."}, ["refusal: No."]),
    "server tool": (
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        ['call s web_search {"query": "x"}'],
    ),
    "result of a server tool": (
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
        ['result s [{"url": "u"}]'],
    ),
    "built-in tool": (
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"query": "x"}},
        ['call w web_search {"query": "x"}'],
    ),
    "built-in tool with results": (
        {"type": "file_search_call", "id": "f", "queries": ["x"], "results": [{"text": "y", "score": 1}]},
        ['call f file_search ["x"]', 'result f [{"text": "y", "score": 1}]'],
    ),
    "audio with a transcript": (
        {"audio": {"id": "a", "data": "AAAA", "transcript": "Hi."}},
        ['audio {"data": "AAAA"}', "text: Hi."],
    ),
    "document in plain text": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi."}},
        ['file {"media_type": "text/plain"}', "text: Hi."],
    ),
    "text for a guardrail of Bedrock": (
        {"guardContent": {"text": {"text": "Hi.", "qualifiers": ["grounding_source", "query"]}}},
        ["text: Hi."],
    ),
    "text for a guardrail in LangChain": ({"type": "guard_content", "text": "Hi."}, ["text: Hi."]),
    "guarded text that LangChain returns": (
        {"type": "guard_content", "guard_content": {"type": "text", "text": "Hi."}},
        ["text: Hi."],
    ),
    "text for a guardrail in LiteLLM": ({"type": "guarded_text", "text": "Hi."}, ["text: Hi."]),
    "guardrail content of a wrong type": (
        {"guardContent": {"text": {"text": 5}}},
        ['text: {"guardContent":{"text":{"text":5}}}'],
    ),
    "guardrail content that is a text": ({"guardContent": "Hi."}, ['text: {"guardContent":"Hi."}']),
    "guardrail content with two members": (
        {"guardContent": {"text": {"text": "Hi."}, "image": {"format": "png"}}},
        ['text: {"guardContent":{"text":{"text":"Hi."},"image":{"format":"png"}}}'],
    ),
    "Bedrock's text with citations": (
        {"citationsContent": {"content": [{"text": "A"}, {"text": "B"}], "citations": [{"title": "c"}]}},
        ["text: A", "text: B"],
    ),
    "citations of a wrong type": ({"citationsContent": {"content": 5}}, ['text: {"citationsContent":{"content":5}}']),
    "cache point": ({"cachePoint": {"type": "default"}}, []),
    "unknown type": ({"type": "hologram", "beam": 1}, ['text: {"type":"hologram","beam":1}']),
    "number": (5, ["text: 5"]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_content_of_each_sender_are_parts(name: str) -> None:
    content, expected = CONTENTS[name]

    assert asked([{"role": "assistant", "content": [content]}]) == [("assistant", expected)]


def test_request_with_one_content_keeps_its_instructions() -> None:
    content = {"parts": [{"text": "hi"}]}
    brief = {"role": "system", "parts": [{"text": "Be brief."}]}
    expected = [("system", ["text: Be brief."]), ("user", ["text: hi"])]

    assert asked({"contents": content, "system_instruction": brief}) == expected
    assert asked({"contents": content, "config": {"system_instruction": "Be brief."}}) == expected
    assert asked({"system": "Be brief.", "message": {"role": "user", "content": "hi"}}) == expected


def test_history_and_results_of_cohere_first_api_are_messages() -> None:
    call = {"name": "weather", "parameters": ARGUMENTS}
    request = {
        "model": "command-r",
        "preamble": "Be brief.",
        "message": "And tomorrow?",
        "chat_history": [
            {"role": "USER", "message": "Is it raining?"},
            {"role": "CHATBOT", "message": "Let me look.", "tool_calls": [call]},
            {"role": "TOOL", "tool_results": [{"call": call, "outputs": [{"rain": True}]}]},
        ],
        "tool_results": [{"call": call, "outputs": [{"rain": False}]}],
    }

    assert asked(request) == [
        ("system", ["text: Be brief."]),
        ("user", ["text: Is it raining?"]),
        ("assistant", ["text: Let me look.", 'call None weather {"city": "Berlin"}']),
        ("tool", ['result None [{"rain": true}]']),
        ("user", ["text: And tomorrow?"]),
        ("tool", ['result None [{"rain": false}]']),
    ]


DOCUMENTS: dict[str, tuple[object, list[str]]] = {
    "text": ("Rain all day.", ["file {}", "text: Rain all day."]),
    "first API": ({"title": "Today", "snippet": "Rain all day."}, ['file {"name": "Today"}', "text: Rain all day."]),
    "URL": (
        {"url": "https://a.b", "text": "Rain.", "author": "Ann"},
        ['file {"url": "https://a.b"}', "text: Rain.", 'text: {"author":"Ann"}'],
    ),
    "unusual field": ({"id": "d", "rain": "yes"}, ['file {"name": "d"}', 'text: {"rain":"yes"}']),
    "second API": ({"id": "d", "data": {"title": "Today", "text": "Rain."}}, ['file {"name": "Today"}', "text: Rain."]),
    "id alone": ({"id": "d", "data": {"text": "Rain."}}, ['file {"name": "d"}', "text: Rain."]),
    "text as data": ({"id": "d", "data": "Rain."}, ['file {"name": "d"}', "text: Rain."]),
    "LangChain": (
        {"page_content": "Rain.", "metadata": {"page": 1}},
        ["file {}", "text: Rain.", 'text: {"metadata":{"page":1}}'],
    ),
    "object of the client": (
        {"_type": "Document", "_class_name": "Document", "_bases": ["BaseModel"], "data": {"text": "Rain."}},
        ["file {}", "text: Rain."],
    ),
    "fields of wrong types": (
        {"id": 5, "title": ["a"], "text": None},
        ["file {}", 'text: {"id":5,"title":["a"]}'],
    ),
    "data of a wrong type": ({"data": [1]}, ["file {}", 'text: {"data":[1]}']),
    "data in data": (
        {"data": {"data": {"text": "Rain."}}},
        ["file {}", 'text: {"data":{"text":"Rain."}}'],
    ),
    "number": (5, ["text: 5"]),
    "false": (False, ["text: false"]),
    "list": (["Rain."], ['text: ["Rain."]']),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_of_a_request_follow_its_instructions(name: str) -> None:
    document, parts = DOCUMENTS[name]
    expected = [("system", ["text: Be brief."]), ("system", parts), ("user", ["text: hi"])]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]

    assert asked({"model": "m", "messages": messages, "documents": [document]}) == expected
    assert asked({"preamble": "Be brief.", "message": "hi", "documents": [document]}) == expected


@pytest.mark.parametrize("documents", [None, [], "", {}, [None], [""], [{}], [{"data": {}}, {}]])
def test_empty_documents_are_no_message(documents: object) -> None:
    assert asked({"message": "hi", "documents": documents}) == [("user", ["text: hi"])]


def test_documents_that_are_no_list_are_read_as_one() -> None:
    assert asked({"message": "hi", "documents": "Rain."})[0] == ("system", ["file {}", "text: Rain."])
    assert asked({"message": "hi", "documents": {"text": "Rain."}})[0] == ("system", ["file {}", "text: Rain."])
    assert asked({"message": "hi", "documents": 7})[0] == ("system", ["text: 7"])


def test_documents_of_an_output_are_no_instructions() -> None:
    state = {"messages": [{"role": "assistant", "content": "Yes, it is."}], "documents": ["Rain."]}

    assert answered(state) == ANSWERED


def test_a_hundred_thousand_and_deep_documents_are_read() -> None:
    documents: list[object] = [{"id": str(number), "data": {"text": "x"}} for number in range(100_000)]
    deep: object = "x"
    for _ in range(400):
        deep = {"data": deep}
    found = input_messages(None, {"message": "hi", "documents": [*documents, deep]})

    assert [len(message["parts"]) for message in found] == [200_002, 1]
    assert "x" in found[0]["parts"][-1]["text"]


@pytest.mark.parametrize(
    "results", [[5], ["a"], [[]], [{"outputText": 5}], [{"outputText": {"a": 1}}, None], {"outputText": "a"}, "a", 5]
)
def test_results_of_other_types_than_those_of_titan_are_json(results: object) -> None:
    output = {"inputTextTokenCount": 5, "results": results}

    assert answered(output) == [("assistant", ["text: " + json.dumps(output, separators=(",", ":"))])]


def test_results_beside_one_of_titan_are_kept() -> None:
    results = [{"outputText": "Yes, it is."}, 5, {"a": 1}, {"outputText": "", "completionReason": "LENGTH"}]

    assert answered({"results": results}) == [
        *ANSWERED,
        ("assistant", ["text: 5"]),
        ("assistant", ['text: {"a":1}']),
        ("assistant", []),
    ]


@pytest.mark.parametrize(
    "request_",
    [
        {"body": '{"messages": [{"role": "user", "content": "hi"}]}', "modelId": "m", "accept": "application/json"},
        {"body": '{"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 5}}', "modelId": "m"},
        {"body": {"inputText": "hi", "dimensions": 256, "embeddingTypes": ["float"]}, "modelId": "m"},
        {"self": {"_type": "Bot", "prompt": "long"}, "question": "hi"},
    ],
)
def test_question_in_a_body_or_beside_an_object_is_read(request_: object) -> None:
    assert asked(request_) == [("user", ["text: hi"])]


def test_response_of_openai_is_read_without_its_type() -> None:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes, it is."}]}
    response = {"id": "resp_1", "status": "completed", "output": [message], "text": {"format": {"type": "text"}}}

    assert answered(response) == ANSWERED


def test_members_of_the_provider_message_fill_what_is_empty() -> None:
    message = {"type": "ai", "content": "Hi.", "reasoning_content": "", "tool_calls": []}
    extra = {"reasoning": "Hm.", "refusal": "No.", "tool_calls": CHAT[2]["tool_calls"]}

    assert answered({**message, "additional_kwargs": extra}) == [
        ("assistant", ["reasoning: Hm.", "text: Hi.", "refusal: No.", 'call c1 weather {"city": "Berlin"}'])
    ]


def test_unknown_role_is_kept_as_sent() -> None:
    assert asked({"messages": [{"role": "Critic", "content": "x"}]}) == [("Critic", ["text: x"])]


def test_arguments_that_are_no_json_are_a_text() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{city: Lund"}}]
    assert asked([{"role": "assistant", "tool_calls": calls}]) == [("assistant", ['call c f "{city: Lund"'])]


def test_payload_that_no_rule_recognises_is_its_json() -> None:
    assert asked({"a": "b", "c": ["d"]}) == [("user", ['text: {"a":"b","c":["d"]}'])]
    assert answered([1, {"a": "b"}]) == [("assistant", ['text: [1,{"a":"b"}]'])]
    assert asked({"question": "why?", "context": "because"}) == [
        ("user", ['text: {"question":"why?","context":"because"}'])
    ]
    assert answered('{"mood": "calm"}') == [("assistant", ['text: {"mood": "calm"}'])]
    assert answered(0) == [("assistant", ["text: 0"])]


def test_tool_definition_among_messages_is_none() -> None:
    function = {"name": "weather", "parameters": {"type": "object"}}
    definition = {"role": "tool", "content": {"type": "function", "function": function}}

    assert asked([*CHAT, definition]) == ASKED


def test_value_that_a_client_left_unset_is_no_tool_call() -> None:
    unset = {"_type": "Unset", "_class_name": "Unset", "_bases": ["BaseModel"]}

    assert answered({"role": "assistant", "content": "Yes, it is.", "tool_calls": unset}) == ANSWERED


@pytest.mark.parametrize("empty", [None, "", {}, []])
def test_empty_payload_has_no_message(empty: object) -> None:
    assert asked(empty) == answered(empty) == []


def test_span_of_a_tool_is_a_call_and_its_result() -> None:
    payloads = of(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.id": "c1",
            "gen_ai.tool.call.arguments": ARGUMENTS_TEXT,
            "gen_ai.tool.call.result": "rain",
        }
    )

    assert asked(payloads["inputs"], payloads["attributes"]) == [("assistant", ['call c1 weather {"city": "Berlin"}'])]
    assert answered(payloads["output"], payloads["attributes"]) == [("tool", ['result c1 "rain"'])]


def test_ten_megabytes_and_a_hundred_thousand_messages_are_read() -> None:
    large = input_messages(None, {"messages": [{"role": "user", "content": "x" * 10_000_000}]})
    many = input_messages(None, {"messages": [{"role": "user", "content": "x"}] * 100_000})

    assert [len(message["parts"][0]["text"]) for message in large] == [10_000_000]
    assert len(many) == 100_000


def test_deep_payload_becomes_text() -> None:
    for shell in ("[%s]", '{"content":%s}', '{"role":"user","content":[%s]}', '{"message":%s}', '{"inputs":%s}'):
        text = '"x"'
        for _ in range(400):
            text = shell % text
        found = asked(json.loads(text))
        assert "x" in json.dumps(found), shell


KEYS = st.sampled_from(
    [
        *("role", "content", "type", "text", "parts", "message", "messages", "choices", "delta", "tool_calls", "id"),
        *("function", "name", "arguments", "input", "output", "candidates", "generations", "kwargs", "data", "image"),
        *("image_url", "source", "files", "_type", "weave_type", "reasoning", "summary", "object", "0", "1", "system"),
        *("documents", "results", "outputText", "guardContent", "citationsContent", "inputTextTokenCount", "url"),
        *("inputs", "response", "prompt", "audio", "toolUse", "message_content", "finish_reason", "additional_kwargs"),
    ]
)
WORDS = st.sampled_from(
    [
        *("user", "assistant", "tool", "human", "text", "image", "tool_use", "reasoning", "function_call", "response"),
        *("message_start", "content_block_delta", "response.completed", "CustomWeaveType", "constructor", "file", "x"),
        *("chat.completion.chunk", "{}", "[", '{"role":"user"}', "https://a.b", "data:image/png;base64,AAAA", ""),
    ]
)
LIKE_PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=cases(600), deadline=None)
@given(LIKE_PAYLOADS, LIKE_PAYLOADS)
def test_any_payload_has_messages_of_known_parts(payload: Any, attributes: Any) -> None:
    span = {"kind": "tool", "otel_span": {"attributes": attributes}}
    for messages in (
        input_messages(None, payload),
        output_messages(None, payload),
        input_messages(span, payload),
        output_messages(span, payload),
    ):
        for message in messages:
            assert isinstance(message["role"], str)
            assert message["name"] is None or isinstance(message["name"], str)
            assert message["finish_reason"] is None or isinstance(message["finish_reason"], str)
            for part in message["parts"]:
                assert part.keys() == FIELDS[part["type"]], part
                for name, value in part.items():
                    if name not in ("arguments", "result"):
                        assert value is None or isinstance(value, str), part


MEDIA_FIELDS = {"type", "media_type", "url", "file", "data", "name", "file_id"}
FIELDS = {
    **{kind: {"type", "text"} for kind in ("text", "reasoning", "refusal")},
    **dict.fromkeys(("image", "audio", "file"), MEDIA_FIELDS),
    "tool_call": {"type", "id", "name", "arguments"},
    "tool_result": {"type", "id", "result"},
}


def texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from texts_in(each)
        case dict():
            for each in value.values():
                yield from texts_in(each)


@settings(max_examples=cases(300), deadline=None)
@given(
    st.recursive(st.text("abc", min_size=1), lambda inner: st.dictionaries(st.sampled_from("pqr"), inner, min_size=1))
)
def test_no_text_of_an_unknown_payload_is_lost(payload: Any) -> None:
    for messages in (input_messages(None, payload), output_messages(None, payload)):
        shown_text = json.dumps(messages)
        assert all(text in shown_text for text in texts_in(payload))
