"""Tests that secrets in provider responses are removed, whole or in parts."""

import json
from typing import Any

import pytest
from starlette.responses import Response

from app.providers import EnvironmentProviders
from app.providers.secrets import StreamedSecrets
from stores.providers import Endpoint
from stores.senders.stream_assembly import AssembledCompletion
from tests.stand_in_provider import KEY, StandIn

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("key", [KEY, "sk/with/slashes+and=more", 'sk-with-a-"quote"'])
@pytest.mark.parametrize("escaped", ["", "s", "/"])
async def test_key_is_redacted_in_any_spelling(
    providers: EnvironmentProviders, stand_in: StandIn, key: str, escaped: str
) -> None:
    spelled = json.dumps(key)[1:-1]
    if escaped:
        spelled = spelled.replace(escaped, rf"\u{ord(escaped):04x}" if escaped == "s" else r"\/")
    stand_in.reply = lambda _body: Response(f'{{"choices": [{{"a": "\\n{spelled}!"}}], "{spelled}": 1}}')

    answer = await providers.complete(Endpoint(stand_in.base_url, key), {"model": "small", **HELLO})

    assert answer == {"choices": [{"a": "\n***!"}], "***": 1}


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}, "dXNlcjpwYXNzd29yZA=="),
        ({"Cookie": "session=0123456789abcdef; theme=dark"}, "0123456789abcdef"),
        ({"X-Session": "0123456789abcdef"}, "0123456789abcdef"),
        ({"X-Acme-Pass": "with some words"}, "with some words"),
    ],
)
async def test_secret_header_values_are_redacted(
    providers: EnvironmentProviders, stand_in: StandIn, headers: dict[str, str], secret: str
) -> None:
    stand_in.reply = lambda _body: f"You sent {secret}."

    answer = await providers.complete(
        Endpoint(stand_in.base_url, headers=headers, is_custom=False), {"model": "small", **HELLO}
    )

    assert answer["choices"][0]["message"]["content"] == "You sent ***."


def chunk(delta: object, finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def passed(*chunks: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text sent for the chunks, and the completion kept of them."""
    secrets, whole = StreamedSecrets([KEY, "another-secret"]), AssembledCompletion()
    safe_chunks = [safe for one in chunks for safe in secrets.passed(json.loads(json.dumps(one)))] + list(
        secrets.rest()
    )
    for one in safe_chunks:
        whole.add(one)
    assert KEY not in str(whole.completion)
    return json.dumps(safe_chunks), whole.completion


@pytest.mark.parametrize("size", [1, 2, 5, 13, 27, 100])
def test_key_split_over_chunks_is_redacted(size: int) -> None:
    text = f"sk-stand Your key is {KEY}{KEY}, sk-stand-in is none; another-secret sk"

    safe, whole = passed(
        *(chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)), chunk({}, "stop")
    )

    assert whole["choices"][0]["message"]["content"] == "sk-stand Your key is ******, sk-stand-in is none; *** sk"
    assert "0123456789" not in safe


@pytest.mark.parametrize("end", [{}, {"content": ""}, {"content": "f"}, None])
def test_withheld_text_is_sent_at_the_end_and_redacted_if_mostly_a_key(end: dict[str, Any] | None) -> None:
    last = [] if end is None else [chunk(end, "stop")]

    _, short = passed(chunk({"content": "It is sk-st"}), *last)
    _, long = passed(chunk({"content": f"It is {KEY[:-1]}"}), *last)

    assert short["choices"][0]["message"]["content"] == "It is sk-st" + (end or {}).get("content", "")
    assert long["choices"][0]["message"]["content"] == "It is ***"


def test_each_choice_and_tool_text_is_redacted_separately() -> None:
    def call(part: str, tool: int) -> dict[str, Any]:
        return {"tool_calls": [{"index": tool, "function": {"arguments": part}}]}

    _, whole = passed(
        *(chunk(call(KEY[at], tool), index=index) for at in range(len(KEY)) for index in (0, 1) for tool in (0, 1)),
        chunk(call("sk-", 0)),
        chunk({}, "stop"),
        chunk({}, "stop", index=1),
    )

    found = [[one["function"]["arguments"] for one in each["message"]["tool_calls"]] for each in whole["choices"]]
    assert found == [["***sk-", "***"], ["***", "***"]]


def test_chunks_of_any_form_pass() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"choices": 5},
        {"choices": [None, {"index": "x"}, {"delta": 5}, {"delta": {"a": [1]}}]},
    ]

    text, _ = passed(*odd)

    assert json.loads(text) == odd


async def test_stream_that_repeats_the_key_never_contains_it(
    providers: EnvironmentProviders, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: f"Your key is {KEY}."
    whole = AssembledCompletion()

    async for one in providers.stream(Endpoint(stand_in.base_url, KEY), {"model": "small", **HELLO}):
        whole.add(one)

    assert whole.completion["choices"][0]["message"]["content"] == "Your key is ***."
