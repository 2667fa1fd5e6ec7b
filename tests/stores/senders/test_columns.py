"""Tests of the columns of calls: odd telemetry, equal results for flat and stored attributes, and linear time."""

import itertools
import time
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.documents import stored_part
from stores.calls.store import RankedPart, store_ranked
from stores.senders.attributes import Attributes, layout_of, nested
from stores.senders.columns import MAX_TAGS, columns_of_end, columns_of_start, error_type_of
from tests.stores.calls.builders import PROJECT, call_id, end, start

SUMMARY: dict[str, Any] = {"usage": {"gpt-4o-2024": {"prompt_tokens": 3}}}
FRAME = '  File "a.py", line 1, in f\n    f()\n'


def of(attributes: dict[str, Any], op_name: str = "answer", **inputs: Any) -> dict[str, Any]:
    """Return the columns of a start."""
    return columns_of_start(op_name, attributes, inputs, 0, is_root=True)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (["a,b", "c"], ["a,b", "c"]),
        ("a, b", ["a", "b"]),
        ('["a,b", "c"]', ["a,b", "c"]),
        ('["a,b"', ['["a', 'b"']),
        ({"0": "a,b", "1": "c"}, ["a,b", "c"]),
        ({"team": "red", "paid": True, "deep": {"x": 1}}, ["team:red", "paid:true"]),
        ([{"x": 1}, ["y"], None, "", "  ", 7, "a", "a"], ["7", "a"]),
        ([{"x": 1}], None),
        ("a" * 257, None),
        ([f"t{number}" for number in range(5_000)], [f"t{number}" for number in range(MAX_TAGS)]),
        (5, ["5"]),
        (True, ["true"]),
    ],
)
def test_tags_split_only_a_text_that_is_the_whole_value(value: object, tags: list[str] | None) -> None:
    assert of({"tags": value}).get("tags") == tags


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("eve", "eve"),
        (123_456_789_012_345_678, "123456789012345678"),
        (10**101, None),
        ("u" * 10_000, None),
        ({"id": 1}, None),
        (True, None),
        ("", None),
        (float("nan"), None),
    ],
)
def test_odd_user_ids_are_missing_and_the_next_source_applies(value: object, user: str | None) -> None:
    assert of({"user.id": value}).get("user_id") == user
    assert of({"user.id": value, "userId": "ann"})["user_id"] == (user or "ann")


@pytest.mark.parametrize(
    "flat",
    [
        {"tags.0": "a", "tags.1": "b,c"},
        {"tags": {"0": "a"}},
        {"gen_ai.response.finish_reasons.0": "end_turn"},
        {"gen_ai.completion.0.finish_reason": "stop", "gen_ai.completion.1.finish_reason": "length"},
        {"gen_ai": "x", "gen_ai.response.model": "m", "user": "u", "user.id": "v"},
        {"wandb.thread_id": "t", "wandb.is_turn": True, "session.id": "s"},
    ],
)
def test_attributes_of_a_span_give_equal_columns_flat_and_stored(flat: dict[str, Any]) -> None:
    stored = {"otel_span": {"attributes": nested(flat)}}
    read = Attributes(layout_of(tuple(flat)), list(flat.values()))
    found = columns_of_start("answer", stored, {}, 0, is_root=True, span_attributes=read)
    assert found
    assert found == of(stored)


@pytest.mark.parametrize(
    "exception",
    [
        "Traceback (most recent call last)\n" + "  File a\n" * 29_000 + "!",
        "Traceback (most recent call last)\n  File a\n" + "  b\n" * 65_000 + "!",
        "Traceback (most recent call last)\n" + " " * 262_000,
        "Error" + " " * 262_000 + "x",
        "aError" * 43_000,
        "a." * 131_000,
    ],
)
def test_hostile_exceptions_are_read_in_linear_time(exception: str) -> None:
    began = time.process_time()
    assert error_type_of(exception) is None
    assert time.process_time() - began < 1, "29,000 frames took 75 s when a search continued into the next frame"


def test_class_of_an_exception() -> None:
    assert error_type_of(f"Traceback (most recent call last):\n{FRAME}{FRAME}openai.RateLimitError: 429") == (
        "RateLimitError"
    )
    assert error_type_of('{"type": "KeyError", "message": "a"}') == "KeyError"
    assert error_type_of("ValueError: no") == "ValueError"
    assert error_type_of("the tool failed") is None


def test_usage_without_a_scope_names_the_model() -> None:
    assert columns_of_end(None, {}, None, {"usage": [{"model": "m"}]}) == {"model": "m"}


def test_op_of_an_integration_corrects_only_the_kind_llm() -> None:
    assert of({"weave": {"kind": "llm"}}, "openai.embeddings.create")["kind"] == "embedding"
    assert of({"weave": {"kind": "agent"}}, "openai.embeddings.create")["kind"] == "agent"


def test_only_the_response_of_a_model_names_it() -> None:
    assert columns_of_end({"model": "m", "a": 1}, {}, None, {}) == {}
    assert columns_of_end({"model": "m", "choices": []}, {}, None, {}) == {"model": "m"}


@pytest.mark.parametrize(("code", "error_type"), [("ERROR", "B"), ("OK", None), ("UNSET", None)])
def test_recorded_exception_counts_only_for_a_failed_span(code: str, error_type: str | None) -> None:
    event = {"name": "exception", "attributes": {"exception": {"type": "a.B"}}}
    span = {"attributes": {}, "events": [event], "status": {"code": code}}
    assert of({"otel_span": span}).get("error_type") == error_type


@pytest.mark.parametrize("value", [0.25, 250])
def test_ambiguous_time_is_a_fraction_in_seconds_or_whole_milliseconds(value: float) -> None:
    assert of({"gen_ai.server.time_to_first_token": value})["time_to_first_token_ms"] == 250


async def test_columns_do_not_depend_on_the_order_and_number_of_writes(calls: CallsStore) -> None:
    first = start(1, attributes={"kind": "agent", "model": "m", "tags": ["old"]})
    changed = start(1, op_name="openai.chat.completions.create", inputs={"model": "gpt-4o", "user": "eve"})
    ended = end(1, output={"choices": [{"finish_reason": "stop"}]}, summary=SUMMARY)
    expected: dict[str, Any] | None = None
    parts: list[CallStart | CallEnd] = [first, first, ended, ended]
    for order in itertools.permutations(parts):
        await calls.database.calls.delete_many({})
        for part in (*order, changed):  # the last start wins, and nothing of the first one stays
            await calls.write([part])
        found = await calls.database.calls.find_one({"id": call_id(1)}, {"search_due": 0})
        expected = expected or found
        assert found == expected
    assert expected
    assert "tags" not in expected
    names = ("kind", "model", "provider", "user_id", "finish_reasons")
    assert [expected[name] for name in names] == ["llm", "gpt-4o-2024", "openai", "eve", ["stop"]]
    await calls.write([end(1, output={"a": 1})])
    found = await calls.database.calls.find_one({"id": call_id(1)}) or {}
    assert "finish_reasons" not in found
    assert found["model"] == "gpt-4o"


async def test_start_of_a_higher_rank_replaces_all_columns_in_any_order(calls: CallsStore) -> None:
    old = stored_part(start(1, attributes={"kind": "agent", "tags": ["old"], "user_id": "eve"}))
    new = stored_part(start(1, attributes={"user_id": "ann"}))
    for order in itertools.permutations([RankedPart.of_start(old, 0), RankedPart.of_start(new, 1)]):
        await calls.database.calls.delete_many({})
        for part in order:
            await store_ranked(calls.database, [part])
        found = await calls.database.calls.find_one({"id": call_id(1)}) or {}
        assert [found.get(name) for name in ("kind", "tags", "user_id")] == [None, None, "ann"]


async def test_exported_calls_get_equal_columns_when_imported(calls: CallsStore) -> None:
    attributes = {"session_id": "s", "tags": "a,b", "kind": "llm", "release": 2.5, "model": "m"}
    original = start(1, attributes=attributes)
    await calls.write([original, end(1, summary=SUMMARY)])
    stored = await calls.database.calls.find_one({"id": call_id(1)}, {"search_due": 0}) or {}
    await calls.database.calls.delete_many({})
    exported = {name: stored[name] for name in ("thread_id", "turn_id")}
    await calls.write([start(1, attributes=attributes, **exported), end(1, summary=SUMMARY)])
    assert await calls.database.calls.find_one({"id": call_id(1)}, {"search_due": 0}) == stored
    assert stored["thread_id"] == "s"
    assert stored["project_id"] == PROJECT


async def test_odd_characters_reject_no_call(calls: CallsStore) -> None:
    attributes = dict.fromkeys(("user_id", "thread_id", "kind", "provider", "environment"), "a\x00b")
    tags = '["\\ud83d"]'  # JSON of half a character
    await calls.write([start(1, attributes=attributes | {"tags": tags}), end(1, exception='{"type": "\\ud83dError"}')])
    assert await calls.count(PROJECT) == 1


def test_id_of_a_project_in_langsmith_is_no_thread() -> None:
    found = of({"langsmith.trace.session_id": "4f3a", "langsmith.span.kind": "llm"})

    assert "thread_id" not in found
    assert of({"langsmith.trace.session_id": "4f3a", "langsmith.metadata.thread_id": "t"})["thread_id"] == "t"


def test_provider_that_langsmith_states_precedes_the_one_that_it_guesses() -> None:
    guessed = {"gen_ai.system": "openai", "langsmith.metadata.ls_provider": "azure"}

    assert of(guessed)["provider"] == "azure.ai.openai"
    assert of({**guessed, "gen_ai.provider.name": "groq"})["provider"] == "groq"
    assert of({**guessed, "langsmith.metadata.ls_provider": ["a"]})["provider"] == "openai"


def test_revision_in_langsmith_is_the_release() -> None:
    assert of({"langsmith.metadata.revision_id": "v3"})["release"] == "v3"


@pytest.mark.parametrize(("operation", "kind"), [("responses", "llm"), ("evaluate", "evaluator"), ("handoff", "other")])
def test_operations_of_sentry_have_kinds(operation: str, kind: str) -> None:
    assert of({"gen_ai.operation.name": operation})["kind"] == kind


def test_first_token_of_vllm_is_in_seconds() -> None:
    assert of({"gen_ai.latency.time_to_first_token": 2})["time_to_first_token_ms"] == 2_000


@pytest.mark.parametrize(
    ("completion", "reasons"),
    [("FINISH", ["stop"]), ("STOP_CRITERIA_MET", ["stop"]), ("CONTENT_FILTERED", ["content_filter"]), (5, None)],
)
def test_completion_reason_of_amazon_titan_is_a_finish_reason(completion: object, reasons: list[str] | None) -> None:
    output = {"results": [{"outputText": "a", "completionReason": completion}]}

    for each in (output, {"body": output}):
        assert columns_of_end(each, {}, None, {}).get("finish_reasons") == reasons
    assert columns_of_end({"results": completion}, {}, None, {}) == {}
