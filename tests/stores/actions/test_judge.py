"""Tests of judges: requests to the model, the handling of its answers, and failures."""

import asyncio
import json
import threading
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from starlette.responses import JSONResponse, Response

from app.providers import EnvironmentProviders
from stores import actions as actions_store
from stores.actions import CONCURRENT_JUDGEMENTS, ActionsStore
from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.stand_in_provider import KEY, StandIn
from tests.stores.actions.specs import SCORE, action, judging
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import call_ref
from tests.stores.feedback.stored import everything
from tests.waiting import TIMEOUT, until_found

ANSWER = '{"score": 7, "why": "clear"}'


def judged(body: dict[str, Any]) -> Any:
    """Return the part of a call that the judge sent to the model."""
    return json.loads(body["messages"][1]["content"])


async def has_judged(feedback: FeedbackStore, count: int) -> bool:
    return len(await everything(feedback)) >= count


async def store(calls: CallsStore, *outputs: object) -> list[str]:
    """Store one call for each output and return their ids."""
    for number, output in enumerate(outputs, 1):
        await calls.write([start(number, inputs={"question": number}), end(number, output=output)])
    return [call_id(number) for number in range(1, len(outputs) + 1)]


async def test_judge_request_has_prompt_call_and_schema(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, stand_in: StandIn
) -> None:
    await calls.write([start(inputs={"q": "Größe?", "n": 2**70}), end(output={"a": ["x"]})])
    ref = await action(objects, judging(prompt="Be strict."), "scorer")
    stand_in.reply = lambda _body: ANSWER

    done = await actions.execute(PROJECT, ref, [call_id(1)], "ann")

    [request] = stand_in.requests
    assert request.body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be strict."},
            {"role": "user", "content": f'{{"inputs": {{"q":"Größe?","n":{2**70}}}, "output": {{"a":["x"]}}}}'},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "response_format", "schema": SCORE}},
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"
    [row] = done.results
    assert row["json"]["output"] == '{"score":7,"why":"clear"}'
    [kept] = await everything(feedback)
    assert kept["json"]["payload"] == '{"output":{"score":7,"why":"clear"}}'
    assert (kept["weave_ref"], kept["feedback_type"]) == (call_ref(), "wandb.runnable.scorer")
    assert (row["feedback"]["runnable_ref"], row["feedback"]["wb_user_id"]) == (ref, "ann")


async def test_judge_request_creates_no_call(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    ids = await store(calls, "x")
    stand_in.reply = lambda _body: ANSWER

    await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert await calls.count(PROJECT) == 1


@pytest.mark.parametrize(
    ("schema", "answer", "output"),
    [
        ({"type": "boolean"}, '{"response": true}', "true"),
        ({"enum": ["good", "bad"]}, '{"response": "bad"}', '"bad"'),
        ({"type": ["object", "null"]}, '{"response": null}', "null"),
        (
            {"type": "array", "items": {"$ref": "#/$defs/s"}, "$defs": {"s": {"type": "string"}}},
            '{"response": ["a"]}',
            '["a"]',
        ),
    ],
)
async def test_non_object_response_schema_is_wrapped_and_unwrapped(
    actions: ActionsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    stand_in: StandIn,
    schema: dict[str, Any],
    answer: str,
    output: str,
) -> None:
    ids = await store(calls, "x")
    stand_in.reply = lambda _body: answer

    done = await actions.execute(PROJECT, await action(objects, judging(response_schema=schema)), ids)

    asked = stand_in.bodies[0]["response_format"]["json_schema"]["schema"]
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    assert asked == {
        "type": "object",
        "properties": {"response": {name: part for name, part in schema.items() if name != "$defs"}},
        "required": ["response"],
        "additionalProperties": False,
        **definitions,
    }
    assert done.results[0]["json"] == {"output": output}


async def test_running_call_is_judged_without_an_output(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    await calls.write([start()])
    stand_in.reply = lambda _body: ANSWER

    done = await actions.execute(PROJECT, await action(objects, judging()), [call_id(1)])

    assert judged(stand_in.bodies[0]) == {"inputs": {}, "output": None}
    assert done.num_failed == 0


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ("not JSON at all", "PROVIDER_ERROR", "the model's response is not JSON"),
        ('{"score": 7', "PROVIDER_ERROR", "the model's response is not JSON"),
        (
            '{"score": 11}',
            "PROVIDER_ERROR",
            "response does not match its schema: 11 is greater than the maximum of 10 at score",
        ),
        (
            '{"score": "7"}',
            "PROVIDER_ERROR",
            "response does not match its schema: '7' is not of type 'integer' at score",
        ),
        ("{}", "PROVIDER_ERROR", "the model's response does not match its schema: 'score' is a required property"),
        ("[]", "PROVIDER_ERROR", "the model's response does not match its schema: [] is not of type 'object'"),
        ("", "PROVIDER_ERROR", "the model's response has no text"),
        ({"role": "assistant", "content": None}, "PROVIDER_ERROR", "the model's response has no text"),
        (
            {"role": "assistant", "content": None, "refusal": "I will not."},
            "PROVIDER_ERROR",
            "the model refused to judge: 'I will not.'",
        ),
        ({"role": "assistant", "content": ["text"]}, "PROVIDER_ERROR", "the model's response has no text"),
        (
            json.dumps({"score": 1, "why": "x" * actions_store.MAX_RESPONSE_CHARACTERS}),
            "PAYLOAD_TOO_LARGE",
            "the model's response has 65,559 characters; the limit is 65,536",
        ),
        ('{"score": 7, "why": "\\ud800"}', "PROVIDER_ERROR", "JSON with a lone surrogate"),
        (Response("<html>", media_type="text/html"), "PROVIDER_ERROR", "not JSON"),
        (JSONResponse({"choices": []}), "PROVIDER_ERROR", "the model's response has no text"),
        (JSONResponse({"choices": [3]}), "PROVIDER_ERROR", "the model's response has no text"),
        (JSONResponse({"error": {"message": "Overloaded."}}, 500), "PROVIDER_ERROR", "500"),
        (JSONResponse({"error": {"message": "Slower."}}, 429, {"Retry-After": "60"}), "PROVIDER_ERROR", "429"),
    ],
)
async def test_failure_of_one_call_is_reported_and_the_others_are_judged(
    actions: ActionsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    feedback: FeedbackStore,
    stand_in: StandIn,
    answer: Any,
    code: str,
    message: str,
) -> None:
    ids = await store(calls, "a", "odd", "c")
    stand_in.reply = lambda body: answer if judged(body)["output"] == "odd" else ANSWER

    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert ["error" in row for row in done.results] == [False, True, False]
    assert done.results[1]["error"]["code"] == code
    assert message in done.results[1]["error"]["message"]
    assert KEY not in done.results[1]["error"]["message"]
    assert {row["weave_ref"] for row in await everything(feedback)} == {call_ref(1), call_ref(3)}


async def test_wrapped_response_without_its_key_is_reported(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    ids = await store(calls, "x")
    stand_in.reply = lambda _body: '{"answer": true}'

    done = await actions.execute(PROJECT, await action(objects, judging(response_schema={"type": "boolean"})), ids)

    assert "lacks the key 'response' of its schema" in done.results[0]["error"]["message"]


async def test_authentication_failure_stops_further_requests(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    ids = await store(calls, *range(60))
    stand_in.reply = lambda _body: JSONResponse({"error": {"message": "No."}}, 401)

    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert {row["error"]["code"] for row in done.results} == {"PROVIDER_ERROR"}
    assert all("401" in row["error"]["message"] for row in done.results)
    assert 1 <= len(stand_in.requests) <= CONCURRENT_JUDGEMENTS


async def test_missing_api_key_is_named_for_each_call(
    calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, database: Database
) -> None:
    ids = await store(calls, "x", "y")
    completions = CompletionsStore(database, objects, calls, EnvironmentProviders({}))
    actions = ActionsStore(calls, objects, feedback, completions)

    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert ["OPENAI_API_KEY" in row["error"]["message"] for row in done.results] == [True, True]


async def test_too_large_call_is_reported_before_any_request(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    ids = await store(calls, "x" * 2_000_000, "y")
    stand_in.reply = lambda _body: ANSWER

    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert done.results[0]["error"] == {
        "code": "PAYLOAD_TOO_LARGE",
        "message": "the inputs and output have 2,000,016 characters of JSON; the limit is 1,048,576",
    }
    assert [judged(body)["output"] for body in stand_in.bodies] == ["y"]


async def test_too_large_total_is_reported_before_the_remaining_requests(
    actions: ActionsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    feedback: FeedbackStore,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stores.actions.MAX_OUTPUT_CHARACTERS", 100_000)
    ids = await store(calls, *range(40))
    stand_in.reply = lambda _body: json.dumps({"score": 7, "why": "x" * 10_000})

    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    failed = [row["error"] for row in done.results if "error" in row]
    assert {error["code"] for error in failed} == {"PAYLOAD_TOO_LARGE"}
    assert "the limit is 100,000, so send the remaining calls" in failed[0]["message"]
    judged_ones = len(ids) - len(failed)
    assert 10 <= judged_ones <= 10 + CONCURRENT_JUDGEMENTS
    assert len(stand_in.requests) == len(await everything(feedback)) == judged_ones


async def test_size_of_attributes_and_summary_does_not_matter(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, stand_in: StandIn
) -> None:
    await calls.write([start(attributes={"log": "x" * 2_000_000}), end(output="y", summary={"log": "x" * 2_000_000})])
    stand_in.reply = lambda _body: ANSWER

    done = await actions.execute(PROJECT, await action(objects, judging()), [call_id(1)])

    assert done.num_failed == 0


async def test_thousand_calls_are_judged_in_batches(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, stand_in: StandIn
) -> None:
    numbers = range(1, 1_001)
    await calls.write([part for number in numbers for part in (start(number), end(number, output=number % 10))])
    stand_in.reply = lambda body: json.dumps({"score": judged(body)["output"]})

    ids = [call_id(number) for number in numbers]
    done = await actions.execute(PROJECT, await action(objects, judging()), ids)

    assert [row["json"]["output"] for row in done.results] == [f'{{"score":{number % 10}}}' for number in numbers]
    assert len(await everything(feedback)) == len(stand_in.requests) == 1_000


async def test_concurrent_batches_share_the_request_limit(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, stand_in: StandIn
) -> None:
    ids = await store(calls, *range(20))
    at_once: list[int] = []
    under_way, lock, are_all_there = [0], threading.Lock(), asyncio.Event()
    judges = actions._completions

    class Watched:
        async def complete(self, project_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
            with lock:
                under_way[0] += 1
                at_once.append(under_way[0])
            if under_way[0] == CONCURRENT_JUDGEMENTS:
                are_all_there.set()
            try:
                await asyncio.wait_for(are_all_there.wait(), TIMEOUT)
                await asyncio.sleep(0.01)  # leaves time for one request too many
                return await judges.complete(project_id, inputs)
            finally:
                under_way[0] -= 1

    actions._completions = Watched()
    stand_in.reply = lambda _body: ANSWER
    ref = await action(objects, judging())

    both = await asyncio.gather(*(actions.execute(PROJECT, ref, ids) for _ in range(2)))

    assert max(at_once) == CONCURRENT_JUDGEMENTS
    assert [done.num_failed for done in both] == [0, 0]
    assert len({row["feedback"]["id"] for done in both for row in done.results}) == 40
    assert len(await everything(feedback)) == 40


async def test_results_for_a_project_purged_meanwhile_are_not_stored(
    calls: CallsStore,
    objects: ObjectsStore,
    stand_in: StandIn,
    providers: EnvironmentProviders,
    mongodb_uri: str,
    database_name: str,
) -> None:
    ids = await store(calls, "x", "y")
    ref = await action(objects, judging())
    other = Database.open(mongodb_uri, database_name)  # this connection has not registered the project yet
    completions = CompletionsStore(other, objects, calls, providers)
    actions = ActionsStore(calls, objects, FeedbackStore(other), completions)

    def reply(_body: object) -> str:
        with MongoClient[dict[str, object]](mongodb_uri) as client:
            client[database_name].projects.update_one({"_id": PROJECT}, {"$set": {"created_at": 1}})
        return ANSWER

    stand_in.reply = reply
    done = await actions.execute(PROJECT, ref, ids)
    other.close()

    assert [row["error"]["code"] for row in done.results] == ["UNAVAILABLE"] * 2
    assert "acme/chat was purged during this request" in done.results[0]["error"]["message"]
    assert await FeedbackStore(calls.database).count(PROJECT) == 0


async def _at_rest(feedback: FeedbackStore) -> list[dict[str, Any]]:
    """Return all feedback once no more arrives; no caller waits for the writes that were under way."""
    found = await everything(feedback)
    async with asyncio.timeout(TIMEOUT):
        while True:
            await asyncio.sleep(1)
            before, found = found, await everything(feedback)
            if found == before:
                return found


async def test_completed_results_are_kept_if_the_rest_fails(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, stand_in: StandIn
) -> None:
    ids = await store(calls, *range(40))
    ref = await action(objects, judging())
    stand_in.reply = lambda _body: ANSWER
    work = asyncio.create_task(actions.execute(PROJECT, ref, ids))
    await until_found(partial(has_judged, feedback, 5))

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    stood = await _at_rest(feedback)
    assert 5 <= len(stood) < 40
    again = await actions.execute(PROJECT, ref, ids)
    assert again.num_failed == 0
    assert len(await everything(feedback)) == 40 + len(stood)
