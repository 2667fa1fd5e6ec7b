"""Tests of coding agents' events, as Claude Code and Codex sent them, in any order, number and split."""

import asyncio
import copy
import itertools
import json
import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorCollection

from stores.calls import CallEnd, CallsStore
from stores.calls.store import write_updates
from stores.database import Collection, Document
from stores.errors import UnavailableError
from stores.otel import LOGS, OtelStore, Projects, agents
from stores.otel.mapping import call_of
from stores.senders.messages import output_messages
from tests.commands import Commands
from tests.stores.otel.conftest import PROJECT, Stored
from tests.stores.otel.messages import NOON, SECOND, body, log, logs_body, span, span_id
from tests.waiting import TIMEOUT

RECORDED = Path(__file__).parents[2] / "recorded" / "logs"
PROJECTS = Projects(PROJECT)


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def split(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a request for each log record."""
    found = []
    for request in requests:
        for record in request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            one = copy.deepcopy(request)
            one["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = [record]
            found.append(one)
    return found


async def export(otel: OtelStore, requests: Iterable[dict[str, Any]]) -> int:
    return sum([(await otel.export_json(request, PROJECTS, signal=LOGS)).rejected for request in requests])


def summary(calls: dict[str, Any]) -> list[Any]:
    """Return what a reader sees of calls, by their ids."""
    names = ("trace_id", "parent_id", "op_name", "started_at", "ended_at", "latency_ms", "status", "thread_id")
    more = ("turn_id", "exception", "inputs", "output", "attributes", "summary", "usage", "visible")
    for call in calls.values():
        assert call["storage_size_bytes"] == sum(len(json.dumps(call[name])) for name in call["json"]), call["op_name"]
    return sorted((key, [call.get(name) for name in (*names, *more)]) for key, call in calls.items())


async def test_prompt_of_claude_code_is_one_trace(otel: OtelStore, stored: Stored) -> None:
    assert await export(otel, [recorded("claude_code/redacted-1"), recorded("claude_code/redacted-2")]) == 0

    calls = await stored()
    [root] = [call for call in calls.values() if "parent_id" not in call]
    children = [call for call in calls.values() if call is not root]
    assert {call["trace_id"] for call in calls.values()} == {root["trace_id"]}
    assert {call["parent_id"] for call in children} == {root["id"]}
    assert sorted(call["op_name"] for call in children) == ["chat claude-opus-4-8"] * 3 + ["execute_tool Bash"] * 2
    assert (root["op_name"], root["inputs"], root["status"]) == ("invoke_agent Claude Code", {}, "descendant_error")
    assert root["thread_id"] == "0be1e524-a54f-4265-8662-f31ff6365d4c"
    assert root["turn_id"] == root["id"]
    assert root["ended_at"] == max(call["ended_at"] for call in children)
    tools = sorted(
        (call["status"], call["latency_ms"], call.get("exception")) for call in children if "tool" in call["op_name"]
    )
    assert tools == [("error", 645, "ShellError"), ("success", 1711, None)]


async def test_usage_cost_and_texts_of_claude_code(otel: OtelStore, stored: Stored) -> None:
    assert await export(otel, [recorded("claude_code/tools-1"), recorded("claude_code/tools-2")]) == 0

    calls = await stored()
    prompt = "USETOOL please: which is the capital of France?"
    [root] = [call for call in calls.values() if call["inputs"] and call["op_name"] == "invoke_agent Claude Code"]
    answer = "The stand-in says that Paris is the capital of France."
    assert root["inputs"]["gen_ai.input.messages"][0]["parts"] == [{"type": "text", "content": prompt}]
    assert root["output"]["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": answer}]
    of_root = [call for call in calls.values() if call.get("parent_id") == root["id"]]
    requests = [call for call in of_root if call["op_name"].startswith("chat")]
    assert [call["latency_ms"] for call in requests] == [285, 126]
    for call in requests:
        [counts] = call["summary"]["usage"].values()
        assert list(call["summary"]["usage"]) == ["claude-opus-4-8"]
        assert counts["cost"] == 0.00828
        assert counts["total_tokens"] == 21 + 37 + 2000 + 1000
    assert requests[-1]["output"]["gen_ai.output.messages"][0]["parts"][0]["content"] == answer
    [echo] = [call for call in of_root if call["status"] == "success" and "tool" in call["op_name"]]
    assert echo["inputs"]["gen_ai.tool.call.arguments"]["command"] == "echo hello from the tool"


async def test_failed_request_of_claude_code(otel: OtelStore, stored: Stored) -> None:
    assert await export(otel, [recorded("claude_code/error")]) == 0

    [failed] = [call for call in (await stored()).values() if call["status"] == "error"]
    assert (failed["exception"], failed["latency_ms"]) == ("the stand-in refuses this", 89)
    assert failed["attributes"]["model"] == "claude-opus-4-8[1m]"


async def test_prompts_of_a_session_are_turns_of_one_thread(otel: OtelStore, stored: Stored) -> None:
    await export(otel, map(recorded, ("claude_code/tools-1", "claude_code/tools-2", "claude_code/continued")))

    turns = [call for call in (await stored()).values() if call.get("turn_of") and call["inputs"]]
    assert [turn["inputs"]["gen_ai.input.messages"][0]["parts"][0]["content"] for turn in turns] == [
        "USETOOL please: which is the capital of France?",
        "And of Italy?",
    ]
    assert len({turn["thread_id"] for turn in turns}) == 1
    assert len({turn["trace_id"] for turn in turns}) == 2


async def test_prompt_of_codex_is_one_trace(otel: OtelStore, stored: Stored) -> None:
    assert await export(otel, [recorded("codex/tools-1"), recorded("codex/tools-2")]) == 0

    calls = await stored()
    [root] = [call for call in calls.values() if "parent_id" not in call]
    children = [call for call in calls.values() if call is not root]
    assert sorted(call["op_name"] for call in children) == ["chat gpt-5", "chat gpt-5", "execute_tool exec_command"]
    assert {(call["trace_id"], call["parent_id"]) for call in children} == {(root["trace_id"], root["id"])}
    parts = root["inputs"]["gen_ai.input.messages"][0]["parts"]
    assert parts[0]["content"] == "USETOOL please: which is the capital of France?"
    assert root["ended_at"] == max(call["ended_at"] for call in children)
    first = next(call for call in children if call["op_name"] == "chat gpt-5")
    [counts] = first["summary"]["usage"].values()
    assert (counts["total_tokens"], counts["input_tokens"], counts["output_tokens"]) == (1290, 1234, 56)
    assert first["latency_ms"] >= 91
    [tool] = [call for call in children if "tool" in call["op_name"]]
    assert tool["latency_ms"] == 729
    assert tool["inputs"]["gen_ai.tool.call.arguments"] == {"cmd": "echo hello from the tool"}
    assert [call.get("model") for call in (root, first, tool)] == [None, "gpt-5", None]
    assert [call["kind"] for call in (root, first, tool)] == ["agent", "llm", "tool"]
    assert "hello from the tool" in tool["output"]["gen_ai.tool.call.result"]


RUNS = {
    "claude_code": ("claude_code/tools-1", "claude_code/tools-2", "claude_code/continued", "claude_code/error"),
    "codex": ("codex/tools-1", "codex/tools-2"),
}


@pytest.mark.parametrize("agent", RUNS)
async def test_repeated_shuffled_and_concurrent_events_change_nothing(
    agent: str, otel: OtelStore, stored: Stored
) -> None:
    requests = [recorded(name) for name in RUNS[agent]]
    await export(otel, requests)
    once = summary(await stored())

    await export(otel, requests)
    assert summary(await stored()) == once
    await asyncio.gather(*(export(otel, [request]) for request in requests * 3))
    assert summary(await stored()) == once


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("agent", RUNS)
async def test_single_events_in_any_order_give_the_same_calls(
    agent: str, seed: int, otel: OtelStore, stored: Stored
) -> None:
    whole = [recorded(name) for name in RUNS[agent]]
    await export(otel, whole)
    expected = summary(await stored())
    events = split(*whole)
    random.Random(seed).shuffle(events)

    other = Projects("acme/shuffled")
    for event in events:
        await otel.export_json(event, other, signal=LOGS)

    assert summary(await stored("acme/shuffled")) == expected


def codex(session: str, kind: str, at: int, **attributes: object) -> Any:
    return log(f"codex.{kind}", {"conversation.id": session, **attributes}, time_unix_nano=NOON + at * SECOND)


async def send(otel: OtelStore, *records: Any, projects: Projects = PROJECTS) -> None:
    assert (await otel.export_protobuf(logs_body(*records), projects, signal=LOGS)).reasons == []


async def in_order(otel: OtelStore, stored: Stored, *records: Any) -> list[Any]:
    """Return what a reader sees if each record arrives after the one before it."""
    for record in records:
        await send(otel, record, projects=Projects("acme/in-order"))
    return summary(await stored("acme/in-order"))


async def test_sessions_with_separators_in_their_names_stay_apart(otel: OtelStore, stored: Stored) -> None:
    named = [("a\0b", "c"), ("a", "b\0c"), ("a", "b"), ("a\0", "b"), ('a","b', "c")]
    records = [
        log("claude_code.user_prompt", {"session.id": session, "prompt.id": prompt, "prompt": "hi"})
        for session, prompt in named
    ]
    await send(otel, *records)

    turns = [call["thread_id"] for call in (await stored()).values()]
    assert sorted(turns) == sorted(session for session, _ in named)


async def test_spans_of_an_agent_are_no_prompts_of_its_events(otel: OtelStore, stored: Stored) -> None:
    traced = {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "s"}
    await otel.export_protobuf(body(span(1, traced, name="invoke_agent Codex"), span(2, {}, 1)), PROJECTS)
    await send(
        otel, codex("s", "user_prompt", 0, prompt="hi"), codex("s", "tool_result", 9, tool_name="ls", call_id="1")
    )
    await send(otel, codex("s", "user_prompt", 8, prompt="and"))

    calls = await stored()
    [tool] = [call for call in calls.values() if call["op_name"] == "execute_tool ls"]
    assert calls[tool["parent_id"]]["inputs"]["gen_ai.input.messages"][0]["parts"][0]["content"] == "and"
    assert calls[span_id(2)]["parent_id"] == span_id(1)


@pytest.mark.parametrize("per_request", [1, 5])
async def test_tool_belongs_to_the_last_of_many_prompts_before_it(
    per_request: int, otel: OtelStore, stored: Stored
) -> None:
    prompts = {at: codex("s", "user_prompt", at, prompt=f"at {at}") for at in range(0, 40, 4)}
    first, missing = prompts.pop(0), prompts.pop(20)
    await send(otel, *reversed(prompts.values()))
    tools = [codex("s", "tool_result", at, tool_name=f"{at}", call_id=f"{at}") for at in (1, 13, 17, 22, 38)]
    for number in range(0, len(tools), per_request):
        await send(otel, *tools[number : number + per_request])
    await send(otel, missing)
    await send(otel, first)

    calls = await stored()
    parents = {
        call["op_name"].removeprefix("execute_tool "): calls[call["parent_id"]]["inputs"]["gen_ai.input.messages"][0]
        for call in calls.values()
        if "parent_id" in call
    }
    found = {tool: message["parts"][0]["content"] for tool, message in parents.items()}
    assert found == {"1": "at 0", "13": "at 12", "17": "at 16", "22": "at 20", "38": "at 36"}


@pytest.mark.parametrize("number", [1, 12])
async def test_one_command_reads_the_prompts_of_a_session(number: int, otel: OtelStore, commands: Commands) -> None:
    await send(otel, *(codex("s", "user_prompt", at, prompt="hi") for at in range(0, 100, 10)))
    commands.sent.clear()
    await send(otel, *(codex("s", "tool_result", at, tool_name="ls", call_id=f"{at}") for at in range(number)))

    matches = [body["pipeline"][0]["$match"] for name, body in commands.sent if name == "aggregate"]
    assert sum("turn_of" in match for match in matches) == 2  # before and after the write
    assert sum("turn_of" not in match for match in matches) <= 2  # the hours that one or two commands change


async def test_calls_of_large_events_are_built_in_a_thread(
    otel: OtelStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[bool] = []

    def watched(*arguments: Any) -> Any:
        here.append(threading.current_thread() is threading.main_thread())
        return call_of(*arguments)

    monkeypatch.setattr(agents, "call_of", watched)
    await send(otel, codex("s", "tool_result", 1, tool_name="ls", call_id="1", output="x" * 20_000))
    assert set(here) == {False}
    here.clear()
    await send(otel, codex("s", "tool_result", 2, tool_name="ls", call_id="2"))

    assert set(here) == {True}
    assert [call["op_name"] for call in (await stored()).values() if "parent_id" in call] == ["execute_tool ls"] * 2


async def test_failure_that_came_before_its_prompt_is_kept(otel: OtelStore, stored: Stored) -> None:
    failed = codex("s", "tool_result", 1, tool_name="ls", call_id="1", success="false")
    await send(otel, failed)
    await send(otel, codex("s", "user_prompt", 0, prompt="hi"))
    await send(otel, codex("s", "tool_result", 2, tool_name="ls", call_id="2"))

    [root] = [call for call in (await stored()).values() if "parent_id" not in call]
    assert root["status"] == "descendant_error"


async def test_events_that_arrive_again_keep_the_name_that_a_user_gave(
    otel: OtelStore, calls: CallsStore, stored: Stored
) -> None:
    await send(otel, codex("s", "user_prompt", 0, prompt="hi"))
    [call_id] = await stored()
    await calls.rename(PROJECT, call_id, "The good one")
    await send(otel, codex("s", "user_prompt", 0, prompt="hi"))

    assert (await stored())[call_id]["display_name"] == "The good one"


@pytest.mark.parametrize("is_shuffled", [False, True])
async def test_raw_response_is_the_output_of_its_request(*, is_shuffled: bool, otel: OtelStore, stored: Stored) -> None:
    names = ("claude_code/bodies-1", "claude_code/bodies-2", "claude_code/bodies-3")
    events = split(*map(recorded, names))
    await export(otel, reversed(events) if is_shuffled else events)

    requests = [call for call in (await stored()).values() if call["op_name"].startswith("chat")]
    assert [call["finish_reasons"] for call in requests] == [["stop"], ["tool_calls"], ["stop"]]
    parts = [part for message in output_messages({}, requests[1]["output"]) for part in message["parts"]]
    assert [(part["type"], part.get("name")) for part in parts] == [("tool_call", "Bash")] * 2
    assert all(call["inputs"] == {} and call["total_tokens"] == 3058 for call in requests)


async def test_end_over_another_api_replaces_the_size_of_the_output(
    otel: OtelStore, calls: CallsStore, stored: Stored
) -> None:
    names = {"session.id": "s", "prompt.id": "p"}
    await send(otel, log("claude_code.assistant_response", names | {"response": "a long answer" * 9}))
    [root] = [call for call in (await stored()).values() if call["visible"]]
    await calls.write_one(CallEnd(PROJECT, root["id"], NOON // 1000, {}, output="short"))

    ended = (await stored())[root["id"]]
    assert ended["output"] == "short"
    assert ended["storage_size_bytes"] == sum(len(json.dumps(ended[name])) for name in ended["json"])


async def test_response_to_a_request_of_the_agent_itself_is_no_answer_to_the_prompt(
    otel: OtelStore, stored: Stored
) -> None:
    names = {"session.id": "s", "prompt.id": "p"}
    responses = {"repl_main_thread": "Paris", "prompt_suggestion": "And of Italy?"}
    await send(otel, log("claude_code.user_prompt", names | {"prompt": "The capital of France?"}))
    for number, (source, text) in enumerate(responses.items()):
        attributes = names | {"query_source": source, "response": text, "request_id": source}
        await send(otel, log("claude_code.assistant_response", attributes, time_unix_nano=NOON + number * SECOND))

    [root] = [call for call in (await stored()).values() if call["visible"]]
    assert root["output"]["gen_ai.output.messages"][0]["parts"][0]["content"] == "Paris"


PROMPT = {"session.id": "s", "prompt.id": "p"}


@pytest.mark.parametrize(
    ("decision", "exceptions"),
    [("accept", []), ("approved_for_session", []), ("reject", ["the tool was not allowed to run: reject"])],
)
async def test_tool_that_was_not_allowed_to_run_is_a_failed_call(
    decision: str, exceptions: list[str], otel: OtelStore, stored: Stored
) -> None:
    decided = PROMPT | {"tool_name": "Bash", "tool_use_id": "1", "decision": decision}
    await send(otel, log("claude_code.user_prompt", PROMPT), log("claude_code.tool_decision", decided))

    tools = [call for call in (await stored()).values() if call["op_name"] == "execute_tool Bash"]
    assert [call["exception"] for call in tools] == exceptions


async def test_parameters_of_a_tool_stand_for_its_missing_input(otel: OtelStore, stored: Stored) -> None:
    done = PROMPT | {"tool_name": "Bash", "tool_use_id": "1", "tool_parameters": '{"command": "ls"}'}
    await send(otel, log("claude_code.tool_result", done))

    [tool] = [call for call in (await stored()).values() if call["op_name"] == "execute_tool Bash"]
    assert tool["inputs"]["gen_ai.tool.call.arguments"] == {"command": "ls"}


@pytest.mark.parametrize("is_cut", [False, True])
async def test_cut_response_is_no_output(*, is_cut: bool, otel: OtelStore, stored: Stored) -> None:
    request = PROMPT | {"request_id": "r", "model": "m"}
    cut: dict[str, object] = {"body_truncated": True} if is_cut else {}
    await send(
        otel,
        log("claude_code.api_request", request),
        log("claude_code.api_response_body", {**request, "body": '{"content": []}', **cut}),
    )

    [call] = [call for call in (await stored()).values() if call["op_name"] == "chat m"]
    assert call.get("output") == (None if is_cut else {"output.value": {"content": []}})


@pytest.mark.parametrize("seed", range(6))
async def test_requests_of_codex_that_come_before_their_prompt_move_to_it(
    seed: int, otel: OtelStore, stored: Stored
) -> None:
    events = [
        codex("s", "user_prompt", 0, prompt="hi"),
        codex("s", "sse_event", 5, model="m", input_token_count=1, output_token_count=2),
        codex("s", "user_prompt", 10, prompt="and"),
        codex("s", "sse_event", 15, model="m", input_token_count=3, output_token_count=4),
        codex("s", "sse_event", 20, model="m", input_token_count=5, output_token_count=6),
    ]
    random.Random(seed).shuffle(events)
    for event in events:
        await send(otel, event)

    calls = await stored()
    starts = {call["id"]: call["started_at"] // 1_000_000 for call in calls.values()}
    first = NOON // SECOND
    found = sorted(
        (starts[call["parent_id"]] - first, starts[call["id"]] - first, call["ended_at"] // 1_000_000 - first)
        for call in calls.values()
        if "parent_id" in call
    )
    assert found == [(0, 0, 5), (10, 10, 15), (10, 15, 20)]


FIRST_PROMPT = codex("s", "user_prompt", 0, prompt="hi")
FIRST_TOOL = codex("s", "tool_result", 2, tool_name="ls", call_id="1")
PROMPT_OF_CODEX = codex("s", "user_prompt", 8, prompt="and")
TOOL = codex("s", "tool_result", 9, tool_name="cat", call_id="2")


@pytest.mark.parametrize("earlier", [[], [FIRST_TOOL], [FIRST_PROMPT, FIRST_TOOL]])
async def test_prompt_that_arrives_during_the_write_of_its_call_leaves_no_trace_in_the_prompt_before_it(
    earlier: list[Any], otel: OtelStore, calls: CallsStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for record in earlier:
        await send(otel, record)
    is_placed, may_write = asyncio.Event(), asyncio.Event()
    write = calls.write_ranked

    async def late(parts: Any) -> None:
        is_placed.set()
        await may_write.wait()
        await write(parts)

    with monkeypatch.context() as patched:
        patched.setattr(calls, "write_ranked", late)
        sending = asyncio.create_task(send(otel, TOOL))
        await asyncio.wait_for(is_placed.wait(), TIMEOUT)
    await send(otel, PROMPT_OF_CODEX)
    may_write.set()
    await sending

    assert summary(await stored()) == await in_order(otel, stored, *earlier, PROMPT_OF_CODEX, TOOL)


async def nothing(*_: Any) -> list[Any]:
    return []


@pytest.mark.parametrize("failing", ["_move", "_end_with_calls", "_start_requests"])
@pytest.mark.parametrize("earlier", [[], [FIRST_TOOL], [FIRST_PROMPT, FIRST_TOOL]])
async def test_prompt_that_arrives_again_after_a_failure_completes_the_move_of_its_calls(
    earlier: list[Any], failing: str, otel: OtelStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = codex("s", "user_prompt", 20, prompt="more")
    request = codex("s", "sse_event", 25, model="m", input_token_count=1, output_token_count=2)
    for record in [*earlier, TOOL, request]:
        await send(otel, record)
    fails_after = getattr(agents, failing)

    async def failed(*arguments: Any) -> Any:
        result = await fails_after(*arguments)
        if result is None or result:
            raise UnavailableError("the database went away")
        return result

    with monkeypatch.context() as patched:
        patched.setattr(agents, "_adopt", nothing)  # as if the prompt before it had arrived, but got no calls yet
        await send(otel, later)
    with monkeypatch.context() as patched:
        patched.setattr(agents, failing, failed)
        with pytest.raises(UnavailableError):
            await send(otel, PROMPT_OF_CODEX)
    await send(otel, PROMPT_OF_CODEX)

    assert summary(await stored()) == await in_order(otel, stored, *earlier, PROMPT_OF_CODEX, TOOL, later, request)


def claude(kind: str, at: int, **attributes: object) -> Any:
    return log(f"claude_code.{kind}", {"session.id": "s", **attributes}, time_unix_nano=NOON + at * SECOND)


async def test_response_does_not_end_the_prompt_and_alone_makes_none(otel: OtelStore, stored: Stored) -> None:
    named = {"prompt.id": "p", "request_id": "r"}
    await send(otel, claude("assistant_response", 1, response="Hello", query_source="generate_session_title"))
    assert not [call for call in (await stored()).values() if call["visible"]]
    await send(otel, claude("user_prompt", 2, **named, prompt="hi"))
    await send(otel, claude("api_request", 3, **named), claude("assistant_response", 4, **named, response="Hello"))

    [root] = [call for call in (await stored()).values() if call["visible"] and "parent_id" not in call]
    assert root["ended_at"] == (NOON + 3 * SECOND) // 1000
    assert root["output"]["gen_ai.output.messages"][0]["parts"][0]["content"] == "Hello"


@pytest.mark.parametrize("earlier", [[], [TOOL], [FIRST_PROMPT, TOOL]])
async def test_invalid_prompt_receives_no_calls(earlier: list[Any], otel: OtelStore, stored: Stored) -> None:
    invalid = codex("s", "user_prompt", 8, prompt="weave-trace-internal:///a/b")
    for record in earlier:
        await send(otel, record)

    exported = await otel.export_protobuf(logs_body(invalid, TOOL), PROJECTS, signal=LOGS)

    assert exported.rejected == 1
    assert summary(await stored()) == await in_order(otel, stored, *earlier, TOOL)


async def test_call_that_arrives_again_after_a_failure_leaves_no_empty_root(
    otel: OtelStore, calls: CallsStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = calls.write_ranked

    async def failed(parts: Any) -> None:
        await write(parts)
        raise UnavailableError("the database went away")

    with monkeypatch.context() as patched:
        patched.setattr(calls, "write_ranked", failed)
        with pytest.raises(UnavailableError):
            await send(otel, TOOL)
    with monkeypatch.context() as patched:
        patched.setattr(agents, "_adopt", nothing)  # as if it had looked before the write
        await send(otel, PROMPT_OF_CODEX)
    await send(otel, TOOL)

    assert summary(await stored()) == await in_order(otel, stored, PROMPT_OF_CODEX, TOOL)


async def test_missing_prompt_that_a_user_deleted_stays_deleted(
    otel: OtelStore, calls: CallsStore, stored: Stored
) -> None:
    await send(otel, TOOL)
    [missing] = [key for key, call in (await stored()).items() if "parent_id" not in call]
    await calls.delete(PROJECT, [missing], "ada")
    await send(otel, PROMPT_OF_CODEX)
    await send(otel, FIRST_TOOL)

    assert not (await stored())[missing]["visible"]


REQUESTS = [codex("s", "sse_event", at, model="m", input_token_count=at, output_token_count=2) for at in (3, 5)]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize(
    "records", [[FIRST_TOOL, PROMPT_OF_CODEX, TOOL], [codex("s", "conversation_starts", 1), *REQUESTS]]
)
async def test_calls_before_the_first_prompt_start_and_end_alike_in_any_order(
    records: list[Any], order: tuple[int, ...], otel: OtelStore, stored: Stored
) -> None:
    for position in order:
        await send(otel, records[position])

    assert summary(await stored()) == await in_order(otel, stored, *records)


async def test_requests_before_the_first_prompt_start_when_the_one_before_them_ended(
    otel: OtelStore, stored: Stored
) -> None:
    await send(otel, *REQUESTS)

    calls = (await stored()).values()
    times = [[call[name] // 1_000_000 - NOON // SECOND for name in ("started_at", "ended_at")] for call in calls]
    assert sorted(times) == [[3, 3], [3, 5], [3, 5]]  # the root and two requests


async def test_call_without_a_prompt_that_arrives_while_the_last_one_moves_keeps_its_root(
    otel: OtelStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(otel, TOOL)
    delete_one = AsyncIOMotorCollection.delete_one

    with monkeypatch.context() as patched:

        async def late(collection: Collection, match: Document) -> Any:
            patched.undo()
            await send(otel, FIRST_TOOL)
            return await delete_one(collection, match)

        patched.setattr(AsyncIOMotorCollection, "delete_one", late)
        await send(otel, PROMPT_OF_CODEX)

    assert summary(await stored()) == await in_order(otel, stored, FIRST_TOOL, PROMPT_OF_CODEX, TOOL)


async def test_request_that_arrives_while_a_later_one_starts_is_before_it(
    otel: OtelStore, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(otel, FIRST_PROMPT)

    with monkeypatch.context() as patched:

        async def late(*arguments: Any) -> None:
            patched.undo()
            await send(otel, REQUESTS[0])
            await write_updates(*arguments)

        patched.setattr(agents, "write_updates", late)
        await send(otel, REQUESTS[1])

    assert summary(await stored()) == await in_order(otel, stored, FIRST_PROMPT, *REQUESTS)


@pytest.mark.parametrize("seed", range(4))
async def test_session_that_several_exporters_send_at_once_equals_one_in_order(
    seed: int, otel: OtelStore, calls: CallsStore, stored: Stored
) -> None:
    failed = (13, 24)
    in_time = sorted(
        [
            codex("s", "conversation_starts", 1),
            *(codex("s", "user_prompt", at, prompt=f"at {at}") for at in (4, 10, 20, 30)),
            *(
                codex("s", "sse_event", at, model="m", input_token_count=at, output_token_count=2)
                for at in (2, 5, 7, 12, 15, 22, 27, 31, 35)
            ),
            *(
                codex(
                    "s",
                    "tool_result",
                    at,
                    tool_name="ls",
                    call_id=f"{at}",
                    success=f"{at not in failed}",
                    duration_ms=1500,
                )
                for at in (3, 6, 11, 13, 21, 24, 33)
            ),
        ],
        key=lambda record: record.time_unix_nano,
    )
    shuffled = random.Random(seed).sample(in_time, len(in_time))

    async def export_part(exporter: int) -> None:
        own, chance, records = OtelStore(calls), random.Random(seed * 8 + exporter), shuffled[exporter::8]
        while records:
            number = chance.randint(1, 3)
            await send(own, *records[:number])
            records = records[number:]

    await asyncio.gather(*map(export_part, range(8)))

    assert summary(await stored()) == await in_order(otel, stored, *in_time)


async def test_call_that_names_its_prompt_stays_there(otel: OtelStore, stored: Stored) -> None:
    first, second = {"prompt.id": "a"}, {"prompt.id": "b"}
    await send(otel, claude("user_prompt", 0, **first, prompt="first"))
    await send(otel, claude("tool_result", 20, **first, tool_name="Bash", tool_use_id="1"))
    await send(otel, claude("user_prompt", 10, **second, prompt="second"))

    calls = await stored()
    [tool] = [call for call in calls.values() if call["op_name"] == "execute_tool Bash"]
    assert calls[tool["parent_id"]]["inputs"]["gen_ai.input.messages"][0]["parts"][0]["content"] == "first"
