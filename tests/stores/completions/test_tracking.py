"""Tests of the call that each completion stores: its request, response and usage."""

import asyncio
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.concurrency.quotas import Limiter, quota_refusal
from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError, RateLimitedError, UnavailableError
from stores.json import codec
from stores.paging import Row
from stores.purges import PurgesStore
from stores.security import audit
from tests.stand_in_provider import KEY, USAGE, StandIn
from tests.waiting import until, until_found

PROJECT = "acme/support"
HELLO = [{"role": "user", "content": "Hello"}]
FIELDS = ["op_name", "status", "exception", "wb_user_id", "usage", "inputs", "output", "summary", "attributes"]


async def kept(calls: CallsStore, call_id: str | None) -> Row:
    """Return a call with its JSON decoded."""
    row = await calls.one(PROJECT, str(call_id), FIELDS)
    assert row is not None
    return {**row, **{name: codec.loads(text.encode()) for name, text in row["json"].items()}}


async def count(database: Database) -> int:
    return await database.calls.count_documents({})


async def test_completion_is_stored_as_a_call(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    inputs = {"model": "gpt-4o", "messages": HELLO, "temperature": 0.2, "seed": None}

    completion = await completions.create(PROJECT, inputs, wb_user_id="ada")

    call = await kept(calls, completion.call_id)
    assert completion.response["choices"][0]["message"]["content"] == "You said: Hello"
    assert call["op_name"] == "weave.completions_create"
    assert (call["status"], call["wb_user_id"]) == ("success", "ada")
    assert call["inputs"] == {"model": "gpt-4o", "messages": HELLO, "temperature": 0.2}
    assert call["output"] == completion.response
    assert call["summary"] == {"usage": {"gpt-4o": USAGE}}
    assert stand_in.bodies == [{"model": "gpt-4o", "messages": HELLO, "temperature": 0.2}]


@pytest.mark.parametrize(
    ("model", "counted"), [("openai/gpt-4o", "gpt-4o"), ("openai/our-own", "openai/our-own"), ("gpt-4o", "gpt-4o")]
)
async def test_usage_is_stored_under_a_priced_model_name(
    completions: CompletionsStore, calls: CallsStore, model: str, counted: str
) -> None:
    completion = await completions.create(PROJECT, {"model": model, "messages": HELLO})

    assert (await kept(calls, completion.call_id))["summary"] == {"usage": {counted: USAGE}}


async def test_untracked_completion_stores_nothing(completions: CompletionsStore, database: Database) -> None:
    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO}, is_tracked=False)

    assert completion.call_id is None
    assert completion.response["usage"] == USAGE
    assert await count(database) == 0


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("status-401", "answered 401, it refuses the key; check OPENAI_API_KEY"),
        ("status-429", "answered 429, it has enough requests for now"),
        ("status-500", "answered 500, it failed; ask again later"),
        ("cut", "broke off the connection in the middle of its answer"),
        ("no-json", "the answer is not JSON"),
        ("huge", "larger than 8,388,608 bytes"),
    ],
)
async def test_provider_error_is_returned_and_stored(
    completions: CompletionsStore, calls: CallsStore, model: str, expected: str
) -> None:
    completion = await completions.create(PROJECT, {"model": model, "messages": HELLO})

    call = await kept(calls, completion.call_id)
    assert expected in completion.response["error"]
    assert f"openai (model {model})" in completion.response["error"]
    assert call["status"] == "error"
    assert call["exception"] == completion.response["error"]
    assert call["output"] == completion.response
    assert KEY not in str(call)


async def test_timeout_is_returned_and_stored(completions: CompletionsStore, calls: CallsStore) -> None:
    completion = await completions.create(PROJECT, {"model": "slow-30", "messages": HELLO, "timeout": 0.2})

    call = await kept(calls, completion.call_id)
    assert "did not answer within 0.2 seconds" in completion.response["error"]
    assert (call["status"], call["exception"]) == ("error", completion.response["error"])
    assert call["inputs"]["timeout"] == 0.2


async def test_secrets_are_neither_stored_nor_returned(
    completions: CompletionsStore, database: Database, stand_in: StandIn
) -> None:
    headers = {"X-Team": "weavers", "Authorization": "Bearer sk-of-ada-0123456789", "X-Api-Key": "mine-0123456789"}

    completed = [
        await completions.create(PROJECT, {"model": model, "messages": HELLO, "extra_headers": headers})
        for model in ("repeats-key", "status-401", "status-400")
    ]
    mine = await completions.create(
        PROJECT, {"model": "repeats-key", "messages": HELLO, "extra_headers": {"api_key": "sk-own-0123456789"}}
    )
    servers = await completions.create(PROJECT, {"model": "repeats-key", "messages": HELLO})

    everything = str([document async for document in database.calls.find({})]) + str([*completed, mine, servers])
    sent = [request.headers["authorization"] for request in stand_in.requests]
    assert sent == ["Bearer sk-of-ada-0123456789"] * 3 + ["Bearer sk-own-0123456789", f"Bearer {KEY}"]
    assert "extra_headers" not in everything
    for secret in ("sk-of-ada", "mine-0123456789", "sk-own", KEY):
        assert secret not in everything
    for completion in (completed[0], mine, servers):
        assert completion.response["choices"][0]["message"]["content"] == "Your key is ***."


async def test_messages_too_large_for_a_document_are_not_sent(
    completions: CompletionsStore, database: Database, stand_in: StandIn
) -> None:
    ten_megabytes = [{"role": "user", "content": "word " * 2_000_000}]

    stand_in.reply = lambda body: f"You sent {len(body['messages'][0]['content']):,} characters."

    with pytest.raises(PayloadTooLargeError, match="the limit is 7,700,000") as refused:
        await completions.create(PROJECT, {"model": "gpt-4o", "messages": ten_megabytes})
    untracked = await completions.create(PROJECT, {"model": "gpt-4o", "messages": ten_megabytes}, is_tracked=False)

    assert refused.value.argument == "inputs"
    assert len(stand_in.requests) == 1
    assert untracked.response["choices"][0]["message"]["content"] == "You sent 10,000,000 characters."
    assert await count(database) == 0


async def test_too_large_response_is_noted_in_its_call(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: "word " * 1_500_000

    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})

    call = await kept(calls, completion.call_id)
    assert len(completion.response["choices"][0]["message"]["content"]) == 7_500_000
    assert call["status"] == "error"
    assert "The response cannot be stored: output and summary take" in call["exception"]
    assert call["summary"] == {"usage": {"gpt-4o": USAGE}}


async def test_too_large_response_is_billed_by_token_class(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    usage = {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 0},
        "cost": 0.0123,
    }
    choice = {"message": {"role": "assistant", "content": "word " * 1_500_000}, "finish_reason": "stop"}
    stand_in.reply = lambda _body: JSONResponse({"choices": [choice], "usage": usage})

    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})

    call = await kept(calls, completion.call_id)
    assert "The response cannot be stored: output and summary take" in call["exception"]
    assert call["usage"] == [
        {
            "model": "gpt-4o",
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "requests": 0,
            "total_tokens": 2306,
            "classes": {"cache_read": 1920, "reasoning": 100},
            "stated_cost": 0.0123,
        }
    ]


@pytest.mark.parametrize("where", ["content", "usage"])
async def test_invalid_response_still_ends_its_call(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn, where: str
) -> None:
    evil = "weave-trace-internal:///x"
    usage = USAGE | ({"tier": evil} if where == "usage" else {})
    choice = {"message": {"content": evil if where == "content" else "Hello"}, "finish_reason": "stop"}
    stand_in.reply = lambda _body: JSONResponse({"choices": [choice], "usage": usage})

    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})

    call = await kept(calls, completion.call_id)
    assert completion.response["choices"] == [choice]
    assert call["status"] == "error"
    assert call["exception"].startswith(
        "The response cannot be stored: weave-trace-internal:/// is reserved for internal refs"
    )
    assert call["summary"] == {"usage": {"gpt-4o": USAGE}}


async def test_unstorable_error_text_still_ends_its_call(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: Response(r'{"error": {"message": "odd \ud800 sign"}}', 400)

    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})

    call = await kept(calls, completion.call_id)
    assert call["status"] == "error"
    assert call["exception"].endswith("odd ? sign")


async def test_stream_parameter_is_refused_for_completions(completions: CompletionsStore, stand_in: StandIn) -> None:
    with pytest.raises(BadInputError, match="is only for completionsCreateStream"):
        await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO, "stream": True})

    assert stand_in.requests == []


async def test_call_runs_during_the_request_and_ends_on_disconnect(
    completions: CompletionsStore, calls: CallsStore, database: Database
) -> None:
    asking = asyncio.create_task(completions.create(PROJECT, {"model": "slow-30", "messages": HELLO}))
    await until_found(lambda: database.calls.find_one({"status": "running"}))
    [running] = [document async for document in database.calls.find({})]

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await completions.close()

    call = await kept(calls, running["id"])
    assert call["status"] == "error"
    assert call["exception"].startswith("The response is incomplete")


@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_project_purged_meanwhile_gets_no_call(
    completions: CompletionsStore, database: Database, stand_in: StandIn
) -> None:
    asking = asyncio.create_task(completions.create(PROJECT, {"model": "held", "messages": HELLO}))
    await until(lambda: bool(stand_in.requests))

    purged = await PurgesStore(database).purge(PROJECT, PROJECT)
    stand_in.is_released = True
    completion = await asking

    assert purged.is_done

    assert completion.response["choices"][0]["message"]["content"] == "You said: Hello"
    assert await count(database) == 0
    assert await database.projects.count_documents({}) == 0


async def test_concurrent_completions_are_limited(completions: CompletionsStore, database: Database) -> None:
    completions.limiter = Limiter(2, quota_refusal("completions", "LOOMQL_MAX_COMPLETIONS"))
    slow = {"model": "slow-1", "messages": HELLO}
    asking = [asyncio.create_task(completions.create(PROJECT, slow)) for _ in range(2)]
    await until_found(lambda: _are_two(database))

    with pytest.raises(UnavailableError, match="LOOMQL_MAX_COMPLETIONS"):
        await completions.create(PROJECT, slow)
    answers = await asyncio.gather(*asking)
    later = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})

    assert all("choices" in each.response for each in [*answers, later])


async def test_authenticated_caller_may_use_half_of_the_completions(completions: CompletionsStore) -> None:
    completions.limiter = Limiter(3, quota_refusal("completions", "LOOMQL_MAX_COMPLETIONS"))
    slow = {"model": "slow-1", "messages": HELLO}
    acting = audit.CALLER.set("a key")
    asking = [asyncio.create_task(completions.create(PROJECT, slow))]
    with pytest.raises(RateLimitedError, match="you already have 1 completions, the maximum for one caller"):
        await asyncio.gather(*(completions.create(PROJECT, slow) for _ in range(2)))
    audit.CALLER.set("another")
    others = await completions.create(PROJECT, {"model": "gpt-4o", "messages": HELLO})
    audit.CALLER.reset(acting)

    assert all("choices" in each.response for each in [others, *await asyncio.gather(*asking)])


async def _are_two(database: Database) -> bool:
    return await count(database) == 2


async def test_data_urls_are_sent_to_the_provider_and_stored_as_files(
    completions: CompletionsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "AAAA" * 500}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]

    completion = await completions.create(PROJECT, {"model": "gpt-4o", "messages": messages})

    [body] = stand_in.bodies
    url = (await kept(calls, completion.call_id))["inputs"]["messages"][0]["content"][1]["image_url"]["url"]
    assert body["messages"] == messages
    assert url["_type"] == "CustomWeaveType"
