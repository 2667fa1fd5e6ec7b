"""Tests of log records that refer to spans: messages and evaluations, before or after their spans, and bad ones."""

import asyncio
import itertools
import json
from random import Random
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.errors import BadInputError, ForbiddenError
from stores.json import codec
from stores.otel import LOGS, Exported, OtelStore, Projects
from stores.senders.messages import input_messages, output_messages
from tests.fuzz.endpoints import otlp
from tests.stores.otel.conftest import PROJECT, Stored
from tests.stores.otel.messages import NOON, SECOND, TRACE, body, log, logs_body, span, span_id

PROJECTS = Projects(PROJECT)
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small"}
USER = log("gen_ai.user.message", {"gen_ai.system": "openai"}, 1, {"content": "hi"}, time_unix_nano=NOON + 1)
SYSTEM = log("gen_ai.system.message", {"gen_ai.system": "openai"}, 1, {"content": "be brief"})
CHOICE = log(
    "gen_ai.choice",
    {"gen_ai.system": "openai"},
    1,
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}},
    time_unix_nano=NOON + SECOND,
)
INPUTS = {
    "gen_ai.input.messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
}
OUTPUT = {
    "gen_ai.output.messages": [
        {
            "role": "assistant",
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hello"},
        }
    ]
}


async def logs(otel: OtelStore, *records: Any) -> Exported:
    return await otel.export_protobuf(logs_body(*records), PROJECTS, signal=LOGS)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_messages_of_a_span_arrive_in_any_order(order: tuple[int, ...], otel: OtelStore, stored: Stored) -> None:
    for step in order:
        if step == 3:
            await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)
        else:
            await logs(otel, (USER, SYSTEM, CHOICE)[step])

    [call] = (await stored()).values()
    assert (call["inputs"], call["output"], call["attributes"]["model"]) == (INPUTS, OUTPUT, "small")
    assert [message["role"] for message in input_messages(call["attributes"], call["inputs"])] == ["system", "user"]
    [answer] = output_messages(call["attributes"], call["output"])
    assert (answer["parts"], answer["finish_reason"]) == ([{"type": "text", "text": "hello"}], "stop")


async def test_messages_survive_repetition_and_a_span_that_is_sent_again(otel: OtelStore, stored: Stored) -> None:
    for _ in range(2):
        await logs(otel, USER, SYSTEM, CHOICE)
        await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)

    [call] = (await stored()).values()
    assert (call["inputs"], call["output"]) == (INPUTS, OUTPUT)


async def test_concurrent_records_and_spans_lose_nothing(otel: OtelStore, stored: Stored) -> None:
    for _ in range(5):
        await asyncio.gather(
            *(logs(otel, record) for record in (USER, SYSTEM, CHOICE)),
            otel.export_protobuf(body(span(1, CHAT)), PROJECTS),
        )

        [call] = (await stored()).values()
        assert (call["inputs"], call["output"]) == (INPUTS, OUTPUT)


async def test_payload_of_a_span_wins(otel: OtelStore, stored: Stored) -> None:
    await logs(otel, USER, CHOICE)
    own = {"input.value": "own", "output.value": "mine"}
    await otel.export_protobuf(body(span(1, own)), PROJECTS)
    await logs(otel, SYSTEM)

    [call] = (await stored()).values()
    assert (call["inputs"], call["output"]) == ({"input.value": "own"}, {"output.value": "mine"})


async def test_running_span_gets_its_output_at_its_end(otel: OtelStore, stored: Stored) -> None:
    await otel.export_protobuf(body(span(1, CHAT, end_time_unix_nano=0)), PROJECTS)
    await logs(otel, USER, CHOICE)
    [running] = (await stored()).values()
    await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)
    [ended] = (await stored()).values()

    assert (running["status"], "output" in running) == ("running", False)
    assert ended["output"] == OUTPUT


async def test_details_of_an_operation_are_inputs_and_output(otel: OtelStore, stored: Stored) -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    details = {"gen_ai.input.messages": messages, "gen_ai.output.messages": messages}
    await logs(otel, log("gen_ai.client.inference.operation.details", details, 1))
    await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)

    [call] = (await stored()).values()
    assert call["inputs"] == {"gen_ai.input.messages": messages}
    assert call["output"] == {"gen_ai.output.messages": messages}


async def test_details_of_an_operation_may_be_in_attributes_and_body(otel: OtelStore, stored: Stored) -> None:
    asked, answered = {"gen_ai.input.messages": [{"role": "user"}]}, {"gen_ai.output.messages": [{"role": "assistant"}]}
    await logs(otel, log("gen_ai.client.inference.operation.details", asked, 1, answered))
    await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)

    [call] = (await stored()).values()
    assert (call["inputs"], call["output"]) == (asked, answered)


async def test_body_that_is_a_text_is_the_content_of_its_message(otel: OtelStore, stored: Stored) -> None:
    await logs(otel, log("gen_ai.user.message", {}, 1, "hi"))
    await otel.export_protobuf(body(span(1, CHAT)), PROJECTS)

    [call] = (await stored()).values()
    assert call["inputs"] == {"gen_ai.input.messages": [{"role": "user", "content": "hi"}]}


EVALUATION = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "relevant",
    "gen_ai.evaluation.explanation": "it answers",
}


async def feedback(database: Database) -> list[dict[str, Any]]:
    return await database.feedback.find({"project_id": PROJECT}).sort("id", 1).to_list(None)


async def test_evaluation_is_feedback_on_its_span(otel: OtelStore, database: Database) -> None:
    for _ in range(2):
        result = await logs(otel, log("gen_ai.evaluation.result", EVALUATION, 1))
        await otel.export_protobuf(body(span(1)), PROJECTS)
        assert result.rejected == 0

    [found] = await feedback(database)
    assert (found["call_id"], found["feedback_type"]) == (span_id(1), "evaluation.Relevance")
    assert found["created_at"] == NOON // 1000
    payload = {name: found["payload"][name] for name in ("name", "score", "label", "explanation")}
    assert payload == {"name": "Relevance", "score": 0.75, "label": "relevant", "explanation": "it answers"}


async def test_evaluation_in_a_span_event_is_feedback_too(otel: OtelStore, database: Database, stored: Stored) -> None:
    evaluated = span(1)
    for attributes in (EVALUATION, {"gen_ai.evaluation.name": 7}):
        event = evaluated.events.add(name="gen_ai.evaluation.result", time_unix_nano=NOON)
        event.attributes.extend(log("", attributes).attributes)
    for _ in range(2):
        assert (await otel.export_protobuf(body(evaluated), PROJECTS)).rejected == 0
        await logs(otel, log("gen_ai.evaluation.result", EVALUATION, 1))

    [found] = await feedback(database)
    assert (found["call_id"], found["payload"]["score"]) == (span_id(1), 0.75)
    assert list(await stored()) == [span_id(1)]


ANNOTATIONS = {
    "annotations.0.annotation.name": "tone",
    "annotations.0.annotation.score": 1,
    "annotations.0.annotation.label": "kind",
    "annotations.0.annotation.annotator_kind": "HUMAN",
    "evaluations.0.evaluation.name": "Relevance",
    "evaluations.0.evaluation.score": 0.25,
    "trace.evaluations.0.evaluation.name": "Relevance",
    "trace.evaluations.0.evaluation.score": 0.5,
    "annotations.1.annotation.score": 7,
}


@pytest.mark.parametrize("sent", ["span", "log"])
async def test_annotations_of_openinference_are_feedback(
    sent: str, otel: OtelStore, database: Database, stored: Stored
) -> None:
    for _ in range(2):
        if sent == "span":
            assert (await otel.export_protobuf(body(span(1, ANNOTATIONS)), PROJECTS)).rejected == 0
        else:
            assert (await logs(otel, log("", ANNOTATIONS, 1))).rejected == 0

    found = sorted(
        (row["feedback_type"], row["payload"]["scope"], row["payload"]["score"]) for row in await feedback(database)
    )
    assert found == [
        ("annotation.tone", "span", 1),
        ("evaluation.Relevance", "span", 0.25),
        ("evaluation.Relevance", "trace", 0.5),
    ]
    assert {row["call_id"] for row in await feedback(database)} == {span_id(1)}
    assert list(await stored()) == ([span_id(1)] if sent == "span" else [])


BAD = {
    "no session": (log("claude_code.user_prompt", {"prompt": "hi"}), "has no session.id of 1 to 1,024 characters"),
    "session is a number": (log("claude_code.user_prompt", {"session.id": 7}), "has no session.id"),
    "long session": (log("codex.user_prompt", {"conversation.id": "x" * 2_000}), "has no conversation.id"),
    "no span": (log("gen_ai.user.message", body={"content": "hi"}), "refers to no span"),
    "no name": (log("gen_ai.evaluation.result", {}, 1), "has no gen_ai.evaluation.name"),
    "long name": (log("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "x" * 2_000}, 1), "feedback_type: has"),
    "many attributes": (
        log("codex.x", {str(number): 1 for number in range(10_001)}),
        "has 10,001 attributes; the limit",
    ),
    "many dots": (log("codex.user_prompt", {"conversation.id": "s", "." * 64: 1}), "dots; the limit is 63"),
    "large": (log("codex.user_prompt", {"conversation.id": "s", "prompt": "x" * 9_000_000}), "bytes; the limit is 8,"),
    "large message": (log("gen_ai.user.message", {}, 1, {"content": "x" * 3_000_000}), "the limit is 1,048,576 bytes"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_record_is_rejected_and_the_others_are_stored(case: str, otel: OtelStore, stored: Stored) -> None:
    record, reason = BAD[case]
    good = log("claude_code.user_prompt", {"session.id": "s", "prompt.id": "p", "prompt": "hello"})

    result = await logs(otel, record, good)

    assert result.rejected == 1
    assert reason in result.error_message
    [call] = [call for call in (await stored()).values() if call["visible"]]
    assert call["thread_id"] == "s"


ODD = {
    "duration_ms": ["-5", "1e400", "NaN", "x", True, [1], {"a": 1}, 10**15],
    "input_tokens": ["many", -1, 1.5, [3], {}, 2**62],
    "cost_usd": ["free", -1.0, float("nan"), [1]],
    "success": [0, "FALSE", [], {}],
    "error": [7, ["list"], {"a": 1}, ""],
    "model": [7, ["m"], {"name": "m"}, "m" * 5_000],
    "tool_input": ["{not json", "[" * 200, 7],
    "request_id": [7, [1], {"a": 1}],
    "prompt.id": [7, [], {"a": 1}, "p" * 5_000],
    "event.timestamp": ["yesterday", 7],
    "query_source": [7, []],
    "response": [7, [], {"a": 1}],
    "prompt": [7, [], {"a": 1}],
    "status_code": ["x", 1e300, -400],
}


@pytest.mark.parametrize(
    "kind", ["user_prompt", "api_request", "api_error", "tool_result", "tool_decision", "assistant_response"]
)
async def test_odd_values_never_reject_an_event(kind: str, otel: OtelStore, stored: Stored) -> None:
    usual = {"prompt.id": "p", "model": "m", "response": "hi"}
    records = [
        log(f"claude_code.{kind}", {"session.id": f"{name} {number}", **usual, name: value})
        for name, values in ODD.items()
        for number, value in enumerate(values)
    ]

    result = await logs(otel, *records)

    assert result.reasons == []
    of_no_prompt = len(ODD["response"]) if kind == "assistant_response" else 0  # a response without text
    roots = [call for call in (await stored()).values() if call.get("turn_of")]
    assert len(roots) == len(records) - of_no_prompt


async def test_call_has_room_for_few_large_messages(otel: OtelStore, stored: Stored) -> None:
    records = [
        log("gen_ai.user.message", {}, 1, {"content": f"{number}" * 300_000}, time_unix_nano=NOON + number)
        for number in range(5)
    ]
    for _ in range(2):
        assert [(await logs(otel, record)).rejected for record in records] == [0, 0, 0, 1, 1]
    await otel.export_protobuf(body(span(1, CHAT | {"output.value": "x" * 3_000_000})), PROJECTS)

    [call] = (await stored()).values()
    assert [message["content"][0] for message in call["inputs"]["gen_ai.input.messages"]] == ["0", "1", "2"]


async def test_span_that_fills_its_document_is_stored_without_the_messages(otel: OtelStore, stored: Stored) -> None:
    for number in range(3):
        await logs(otel, log("gen_ai.user.message", {}, 1, {"content": f"{number}" * 300_000}))
    result = await otel.export_protobuf(body(span(1, {"output.value": "x" * 3_780_000})), PROJECTS)

    [call] = (await stored()).values()
    assert (result.rejected, call["inputs"], len(call["output"]["output.value"])) == (0, {}, 3_780_000)


async def test_sender_without_rights_is_refused(otel: OtelStore, stored: Stored, calls: CallsStore) -> None:
    def check(_project_id: str) -> None:
        raise ForbiddenError("you need the role WRITER")

    records = log("codex.user_prompt", {"conversation.id": "s"}), log("gen_ai.evaluation.result", EVALUATION, 1)
    with pytest.raises(ForbiddenError):
        await otel.export_protobuf(logs_body(*records), Projects(check=check), signal=LOGS)

    assert await stored() == {}
    assert await calls.database.feedback.count_documents({}) == 0


@pytest.mark.parametrize("seed", range(4))
async def test_random_records_cause_no_internal_error(seed: int, otel: OtelStore) -> None:
    chance, stored = Random(seed), 0
    for _ in range(60):
        message = otlp.logs(chance)
        try:
            if chance.random() < 0.5:
                exported = await otel.export_protobuf(message.SerializeToString(), PROJECTS, signal=LOGS)
            else:
                exported = await otel.export_json(codec.loads(otlp.json_of(chance, message)), PROJECTS, signal=LOGS)
        except BadInputError:
            continue
        stored += exported.stored

    assert stored


async def test_columns_follow_from_logged_messages_in_any_order(otel: OtelStore, stored: Stored) -> None:
    def span_again() -> Any:
        return otel.export_protobuf(body(span(1, CHAT)), PROJECTS)

    for steps in itertools.permutations([lambda: logs(otel, USER, CHOICE), span_again]):
        for step in steps:
            await step()
        await span_again()
        [call] = (await stored()).values()
        assert (call["finish_reasons"], call["model"], call["kind"]) == (["stop"], "small", "llm")
        assert call["storage_size_bytes"] == sum(len(json.dumps(call[name])) for name in call["json"])
        await otel._calls.database.calls.delete_many({})


@pytest.mark.parametrize("trace_id", [b"", bytes(16), b"\x01" * 16], ids=["none", "zeros", "other"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_record_of_another_trace_changes_no_call(
    trace_id: bytes, *, is_first: bool, otel: OtelStore, calls: CallsStore, stored: Stored
) -> None:
    record = log("gen_ai.user.message", {}, 1, {"content": "hi"}, trace_id=trace_id)
    start = CallStart(PROJECT, "op", NOON // 1000, {}, {}, id=span_id(1), trace_id=TRACE)
    if is_first:
        await logs(otel, record)
    await calls.write_one(start)
    await calls.write_one(CallEnd(PROJECT, span_id(1), NOON // 1000, {}))
    await otel.export_protobuf(body(span(2)), PROJECTS)
    result = await logs(otel, record)

    assert result.rejected == int(trace_id != b"\x01" * 16)
    call = (await stored())[span_id(1)]
    assert (call["inputs"], call["output"]) == ({}, None)


async def test_times_of_the_last_year_are_kept(otel: OtelStore, stored: Stored) -> None:
    last = (1 << 64) - 1
    names = {"session.id": "s", "prompt.id": "p"}
    records = [
        log(f"claude_code.{kind}", names | more, time_unix_nano=last)
        for kind, more in {"user_prompt": {"prompt": "hi"}, "assistant_response": {"response": "hello"}}.items()
    ]
    last_message = log("gen_ai.user.message", {}, 1, {"content": "hi"}, time_unix_nano=last)

    assert (await logs(otel, *records, last_message)).reasons == []

    root = next(call for call in (await stored()).values() if call.get("turn_of"))
    assert (root["started_at"], root["ended_at"]) == (last // 1000, last // 1000)
    assert root["output"]["gen_ai.output.messages"][0]["parts"][0]["content"] == "hello"


async def test_many_annotations_lose_no_span(
    otel: OtelStore, database: Database, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("stores.feedback.store", "stores.otel.store"):
        monkeypatch.setattr(f"{module}.MAX_BATCH", 10)
    names = {f"annotations.{number}.annotation.name": "x" for number in range(6)}
    result = await otel.export_protobuf(body(span(1, names), span(2, names)), PROJECTS)

    assert (result.rejected, len(await stored())) == (0, 2)
    assert await database.feedback.count_documents({}) == 12


@pytest.mark.parametrize("sent", ["span", "log"])
async def test_feedback_of_another_user_rejects_no_other_record(
    sent: str, otel: OtelStore, database: Database, stored: Stored
) -> None:
    other = "someone else"
    await logs(otel, log("gen_ai.evaluation.result", EVALUATION, 1))
    await database.feedback.update_many({}, {"$set": {"wb_user_id": other}})
    if sent == "log":
        more = EVALUATION | {"gen_ai.evaluation.name": "Tone"}
        records = [log("gen_ai.evaluation.result", attributes, 1) for attributes in (EVALUATION, more)]
        result = await logs(otel, *records)
        assert (result.rejected, result.stored) == (1, 1)
        assert "of another user" in result.error_message
    else:
        evaluated = span(1)
        event = evaluated.events.add(name="gen_ai.evaluation.result", time_unix_nano=NOON)
        event.attributes.extend(log("", EVALUATION).attributes)
        result = await otel.export_protobuf(body(evaluated, span(2)), PROJECTS)
        assert (result.rejected, len(await stored())) == (0, 2)
    assert await database.feedback.count_documents({"wb_user_id": other}) == 1
