"""Tests that spans of real senders in separate processes arrive as sent."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.otlp.conftest import FRAME, Program, Receiver
from tests.app.otlp.provider import ANSWER, provider
from tests.chance import cases


@pytest.fixture
def model() -> Iterator[str]:
    with provider() as url:
        yield url


def check_frames(sent: list[dict[str, Any]], stored: dict[str, Any]) -> None:
    """Check that each span is stored once, with its name, place in the trace and times in microseconds."""
    assert len({span["id"] for span in sent}) == len(sent) == len(stored)
    for span in sent:
        call = stored[span["id"]]
        assert {key: call.get(key) for key in ("trace_id", "parent_id", "op_name")} == {
            "trace_id": span["trace_id"],
            "parent_id": span["parent_id"],
            "op_name": span["name"],
        }
        assert (call["started_at"], call["ended_at"]) == (span["start"] // 1000, span["end"] // 1000)
        assert call["latency_ms"] == (span["end"] // 1000 - span["start"] // 1000) // 1000


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return attributes nested like LoomQL nests them, by a simple implementation."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        node = found
        for step in path:
            node = node.setdefault(step, {})
        is_json = isinstance(value, str) and value[:1] in "[{" and value != ""
        node[last] = json.loads(value) if is_json else value
    return found


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_one_environment_variable_configures_an_exporter(
    protocol: str, program: Program, receiver: Receiver
) -> None:
    endpoint = receiver.url if protocol == "http" else receiver.grpc_endpoint
    sent = await program("sdk_program", protocol, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    traces = {span["trace_id"] for span in sent}
    stored = {key: call for key, call in (await receiver.stored("otel/weather")).items() if call["trace_id"] in traces}
    check_frames(sent, stored)
    by_name = {call["op_name"]: call for call in stored.values()}
    for span in sent:
        assert stored[span["id"]]["attributes"]["otel_span"]["attributes"] == nested(span["attributes"])
    answer, fetch, search = by_name["answer"], by_name["fetch"], by_name["search"]
    assert (answer["inputs"], answer["output"]) == ({"input.value": "Rain?"}, {"output.value": "No."})
    assert (answer["thread_id"], answer["turn_id"], answer["status"]) == ("s-1", answer["id"], "success")
    assert (fetch["exception"], fetch["status"]) == ("ValueError: no such page", "error")
    otel_span = search["attributes"]["otel_span"]
    assert (otel_span["kind"], otel_span["scope"]) == ("CLIENT", {"name": "tests.weather", "version": "1.2.3"})
    assert otel_span["resource"]["attributes"]["service"]["name"] == "weather"
    assert [(event["name"], event["attributes"]) for event in otel_span["events"]] == [("found", {"count": 3})]
    [link] = by_name["later, renamed"]["attributes"]["otel_span"]["links"]
    assert link["context"] == {"trace_id": answer["trace_id"], "span_id": answer["id"], "trace_state": ""}
    assert link["attributes"] == {"why": "follow-up"}


async def test_header_selects_the_project(program: Program, receiver: Receiver) -> None:
    header = "project_id=acme%2Fweather"
    over_http, over_grpc = await asyncio.gather(
        program("sdk_program", "http", OTEL_EXPORTER_OTLP_HEADERS=header),
        program(
            "sdk_program",
            "grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc_endpoint,
            OTEL_EXPORTER_OTLP_HEADERS=header,
        ),
    )

    check_frames(over_http + over_grpc, await receiver.stored("acme/weather"))


async def test_openinference_spans_have_prompt_and_response(program: Program, receiver: Receiver, model: str) -> None:
    sent = await program("openai_program", "openinference", model, OTEL_SERVICE_NAME="openinference")

    stored = await receiver.stored("otel/openinference")
    check_frames(sent, stored)
    root, first, second = stored.values()
    assert (root["op_name"], root["inputs"], root["output"], root["summary"]) == ("ask", {}, {}, {})
    for call, span in zip((first, second), sent[:2], strict=True):
        flat = span["attributes"]
        assert call["inputs"] == {"input.value": json.loads(flat["input.value"])}
        assert call["output"] == {"output.value": json.loads(flat["output.value"])}
        noted = call["attributes"]
        assert (noted["kind"], noted["system"], noted["model"]) == ("LLM", "openai", "tiny-1-2026")
        assert noted["model_parameters"] == json.loads(flat["llm.invocation_parameters"])
        assert call["summary"]["usage"]["tiny-1-2026"] == {
            "prompt_tokens": 21,
            "completion_tokens": 8,
            "input_tokens": None,
            "output_tokens": None,
            "total_tokens": 29,
        }
    assert first["output"]["output.value"]["choices"][0]["message"]["content"] == ANSWER
    tool_call = second["attributes"]["otel_span"]["attributes"]["llm"]["output_messages"]["0"]["message"]["tool_calls"]
    assert tool_call["0"]["tool_call"]["function"] == {"name": "weather", "arguments": {"city": "Lund"}}


async def test_openllmetry_spans_have_prompt_and_response(program: Program, receiver: Receiver, model: str) -> None:
    sent = await program("openai_program", "openllmetry", model, OTEL_SERVICE_NAME="openllmetry")

    stored = await receiver.stored("otel/openllmetry")
    check_frames(sent, stored)
    root, first, second = stored.values()
    assert (root["op_name"], root["inputs"]) == ("ask", {})
    for call, span in zip((first, second), sent[:2], strict=True):
        flat = span["attributes"]
        assert call["inputs"]["gen_ai.input.messages"] == json.loads(flat["gen_ai.input.messages"])
        assert call["output"] == {"gen_ai.output.messages": json.loads(flat["gen_ai.output.messages"])}
        noted = call["attributes"]
        assert (noted["kind"], noted["provider"], noted["model"]) == ("chat", "openai", "tiny-1-2026")
        assert noted["model_parameters"]["model"] == "tiny-1"
        assert call["summary"]["usage"]["tiny-1-2026"] == {
            "prompt_tokens": None,
            "completion_tokens": None,
            "input_tokens": 21,
            "output_tokens": 8,
            "total_tokens": 29,
        }
    assert second["inputs"]["gen_ai.tool.definitions"][0]["name"] == "weather"
    assert second["output"]["gen_ai.output.messages"][0]["parts"][0]["arguments"] == {"city": "Lund"}


async def test_each_of_thousands_of_spans_from_8_senders_is_stored_once(program: Program, receiver: Receiver) -> None:
    each = 5 * cases(250)  # spans of whole traces
    parts = await asyncio.gather(*(program("many_program", "4", f"{each}", "many") for _ in range(2)))

    sent = [span for part in parts for span in part]
    assert len(sent) == 8 * each
    check_frames(sent, await receiver.stored("otel/many", FRAME))
