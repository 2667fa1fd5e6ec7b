"""One case for each field of the calls filter and for each column of calls; the tests fail for a row without a case."""

from typing import Any, Final

from stores.calls import CallEnd, CallStart
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

REF: Final = "weave:///acme/chat/object/prompt:"
OP: Final = "weave:///acme/chat/op/foo:"
ONE_MODEL: Final[dict[str, Any]] = {"usage": {"gpt-4o": {"total_tokens": 5}}}
TWO_MODELS: Final[dict[str, Any]] = {"usage": {"gpt-4o": {}, "o3": {"total_tokens": 7}}}


LLM: Final[dict[str, Any]] = {
    "kind": "LLM",
    "gen_ai.request.model": "gpt-4o",
    "provider": "OpenAI",
    "user.id": "eve",
    "tags": ["a", "b"],
    "environment": "production",
    "release": "1.2",
    "time_to_first_token_ms": 250,
}
TOOL: Final[dict[str, Any]] = {"kind": "tool", "user_id": "mia", "tags": ["b"], "time_to_first_token_ms": 900.5}


def six_calls() -> list[CallStart | CallEnd]:
    """Return the starts and ends of six calls that differ in every filtered field."""
    return [
        start(1, op_name="foo:v1", thread_id="t1", turn_id=call_id(1), wb_user_id="ann", wb_run_id="acme/chat/r1"),
        start(
            2,
            op_name="foo:v2",
            parent_id=call_id(1),
            attributes=LLM,
            inputs={"a": f"{REF}v1"},
            thread_id="t1",
            turn_id=call_id(1),
        ),
        start(
            3,
            op_name="foobar:v1",
            parent_id=call_id(2),
            inputs={"a": [f"{REF}v1", f"{REF}v2"]},
            wb_run_id="acme/chat/r2",
        ),
        start(4, op_name=f"{OP}v1", trace_id=trace_id(1), thread_id="t2", wb_user_id="bob"),
        start(5, op_name=f"{OP}v2", trace_id=trace_id(1), parent_id=call_id(4), attributes=TOOL),
        start(6, op_name="foo"),
        end(6, output={"deep": [f"{REF}v2"], "stop_reason": "max_tokens"}, summary=ONE_MODEL),
        end(4, exception="KeyError: 'a'", summary=TWO_MODELS),
        end(1, summary={"status_counts": {"error": 1}}),
    ]


FILTER_CASES: Final[dict[str, tuple[Any, list[int]]]] = {
    "op_names": (["foo"], [4, 5, 6]),
    "input_refs": ([f"{REF}v1"], [2, 3]),
    "output_refs": ([f"{REF}v2"], [6]),
    "parent_ids": ([call_id(1), call_id(4)], [2, 5]),
    "trace_ids": ([trace_id(1)], [1, 4, 5]),
    "call_ids": ([call_id(6), call_id(2)], [2, 6]),
    "thread_ids": (["t1"], [1, 2]),
    "turn_ids": ([call_id(1)], [1, 2]),
    "trace_roots_only": (True, [1, 4, 6]),
    "wb_user_ids": (["ann", "bob"], [1, 4]),
    "wb_run_ids": (["acme/chat/r2", "acme/chat/r1"], [1, 3]),
    "statuses": (["error", "success"], [4, 6]),
    "kinds": (["llm", "tool"], [2, 5]),
    "models": (["gpt-4o"], [2, 4, 6]),
    "providers": (["openai"], [2]),
    "user_ids": (["eve", "mia"], [2, 5]),
    "tags": (["a", "c"], [2]),
    "environments": (["production"], [2]),
    "releases": (["1.2"], [2]),
    "error_types": (["KeyError"], [4]),
    "finish_reasons": (["length", "stop"], [6]),
    "min_time_to_first_token_ms": (250, [2, 5]),
    "max_time_to_first_token_ms": (250, [2]),
    "started_after": (NOON + 3 * SECOND, [4, 5, 6]),
    "started_before": (NOON + 3 * SECOND, [1, 2]),
    "errors_only": (True, [4]),
}
"""A value of each field of the filter, and the numbers of the calls among `six_calls` that it matches."""


MODEL: Final = "our-model"
PRICE: Final = 0.0625
"""US dollars per prompt token of the model; the tests of costs set it."""


ATTRIBUTES: Final[dict[str, Any]] = {
    "kind": "llm",
    "provider": "OpenAI",
    "user_id": "eve",
    "tags": ["a", "b"],
    "environment": "production",
    "release": "1.2",
    "time_to_first_token_ms": 250.5,
}
OUTPUT: Final[dict[str, Any]] = {"c": 3, "finish_reason": "end_turn"}


def two_calls() -> list[CallStart | CallEnd]:
    """Return the start and the end of a root with every value, and the start of a running child with the fewest."""
    root = start(
        1,
        op_name="foo",
        display_name="Foo",
        thread_id="t1",
        turn_id=call_id(1),
        wb_user_id="ann",
        wb_run_id="acme/chat/r1",
        wb_run_step=3,
        attributes=ATTRIBUTES,
        inputs={"b": [2]},
    )
    usage = {MODEL: {"prompt_tokens": 4}}
    ended = end(1, output=OUTPUT, summary={"usage": usage}, exception="ValueError: broken", wb_run_step_end=5)
    return [root, ended, start(2, trace_id=trace_id(1), parent_id=call_id(1))]


COLUMN_CASES: Final[dict[str, tuple[Any, Any]]] = {
    "id": (call_id(1), call_id(2)),
    "project_id": (PROJECT, PROJECT),
    "op_name": ("foo", "answer"),
    "display_name": ("Foo", None),
    "trace_id": (trace_id(1), trace_id(1)),
    "parent_id": (None, call_id(1)),
    "thread_id": ("t1", None),
    "turn_id": (call_id(1), None),
    "started_at": ("2026-01-31T12:00:01.000000Z", "2026-01-31T12:00:02.000000Z"),
    "ended_at": ("2026-01-31T12:00:01.500000Z", None),
    "exception": ("ValueError: broken", None),
    "kind": ("LLM", None),
    "model": (MODEL, None),
    "provider": ("openai", None),
    "user_id": ("eve", None),
    "tags": (["a", "b"], None),
    "environment": ("production", None),
    "release": ("1.2", None),
    "error_type": ("ValueError", None),
    "time_to_first_token_ms": (250.5, None),
    "finish_reasons": (["stop"], None),
    "wb_user_id": ("ann", "local"),
    "wb_run_id": ("acme/chat/r1", None),
    "wb_run_step": (3, None),
    "wb_run_step_end": (5, None),
    "deleted_at": (None, None),
    "status": ("ERROR", "RUNNING"),
    "latency_ms": (500, None),
    "trace_name": ("Foo", "answer"),
    "total_tokens": (4, None),
    "storage_size_bytes": (248, 4),
    "total_storage_size_bytes": (252, None),
    "attributes": (ATTRIBUTES, {}),
    "inputs": ({"b": [2]}, {}),
    "output": (OUTPUT, None),
    "summary": (
        {
            "usage": {MODEL: {"prompt_tokens": 4}},
            "weave": {"status": "error", "display_name": "Foo", "latency_ms": 500},
        },
        {"weave": {"status": "running", "trace_name": "answer"}},
    ),
    "total_cost": (0.25, None),
}
"""The values of each column of `two_calls`, as GraphQL returns them."""
