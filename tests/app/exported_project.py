"""A project with every kind of data that exports contain."""

from typing import Final

from graphql_schema.context import Stores
from stores.calls import CallEnd, CallStart
from tests.stores.calls.builders import NOON, SECOND, call_id, end, start
from tests.stores.feedback.builders import feedback, note
from tests.stores.objects.builders import version

Part = CallStart | CallEnd

COUNT: Final = 1_200
"""Number of calls, large enough that a process of its own exports them."""

NORMALISED: Final = {
    "kind": "llm",
    "provider": "OpenAI",
    "user_id": "ada",
    "tags": ["a", "b"],
    "environment": "test",
    "release": "1.2",
    "time_to_first_token_ms": 120.5,
    "gen_ai.response.finish_reasons": ["stop"],
}
"""Attributes of the first call, which give its columns."""

SPAN: Final = {
    "attributes": {"openinference": {"span": {"kind": "LLM"}}, "llm": {"model_name": "m"}, "tag": {"tags": ["c"]}},
    "resource": {"attributes": {"service": {"version": "7"}, "deployment": {"environment": {"name": "live"}}}},
    "status": {"code": "ERROR"},
    "events": [
        {"name": "exception", "attributes": {"exception": {"type": "httpx.ReadTimeout"}}},
        {"name": "First Token Stream Event", "timestamp": "2026-01-31T12:00:03.25Z"},
    ],
}
"""Span of another call."""

EMPTY: Final = "acme/empty"


async def fill(stores: Stores) -> None:
    """Write calls of every kind, versions, feedback and a thread; delete one call and one version."""
    parts: list[Part] = [part for number in range(COUNT) for part in (start(number, inputs={"n": number}), end(number))]
    odd: list[Part] = [
        start(
            0,
            inputs={"big": 10**30, "a.b": None, "text": 'quo"te\n'},
            attributes=NORMALISED,
            display_name="first",
            wb_run_step=7,
        ),
        end(0, output=[1, "1", None, 1.5], summary={"weave": {"mine": 1}, "usage": {"m": {"requests": 1}}}),
        end(
            2, summary={"usage": {"gpt-4o": {"prompt_tokens": 900, "completion_tokens": 80}, "x": {"input_tokens": 7}}}
        ),
        start(1, turn_id=call_id(1), thread_id="thread", started_at=NOON + SECOND + 1),
        end(1, exception="ValueError: no", ended_at=NOON + SECOND + 2_000_123),
        start(3, attributes={"otel_span": SPAN}, inputs={"n": 3}),
        end(3, output={"choices": [{"finish_reason": "length"}]}),
        start(COUNT),
        start(COUNT + 1),
    ]
    await stores.calls.write([*parts, *odd])
    await stores.calls.delete("acme/chat", [call_id(COUNT + 1)])
    for value in ("one", "two", "three", {"_type": "Op"}):
        await stores.objects.create(version(value))
    await stores.objects.create(version("one"))
    await stores.objects.delete("acme/chat", "prompt", ["v1"])
    await stores.feedback.create([note("fine"), feedback({"score": 0.5}, creator="Ada")])
