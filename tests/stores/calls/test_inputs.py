"""Tests of the rules for each field that a client sends; each refusal names the field."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.inputs import MAX_DISPLAY_NAME, MAX_EXCEPTION, MAX_OP_NAME
from stores.errors import BadInputError
from stores.input_checks import MAX_NAME
from tests.stores.calls.builders import PROJECT, call_id, end, start


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("project_id", "acme", "write entity/project"),
        ("id", "X", "lowercase UUID"),
        ("trace_id", "z" * 16, "lowercase UUID"),
        ("parent_id", "", "lowercase UUID"),
        ("op_name", "o" * (MAX_OP_NAME + 1), "has 129 characters; the limit is 128"),
        ("op_name", "weave:///acme/chat/object/o:v1", "must be the ref of an op"),
        ("op_name", "weave:///acme/chat/op/o", "name:version"),
        ("op_name", "weave-trace-internal:///p/op/o:v", "write weave:///"),
        ("op_name", f"weave:///acme/chat/op/{'o' * MAX_NAME}:v1", "the limit is 1,024"),
        ("display_name", "d" * (MAX_DISPLAY_NAME + 1), "the limit is 1,024"),
        ("thread_id", "t" * (MAX_NAME + 1), "the limit is 1,024"),
        ("wb_user_id", "u" * (MAX_NAME + 1), "the limit is 1,024"),
        *(
            ("wb_run_id", run_id, "write entity/project/run")
            for run_id in (
                "run",
                "",
                "acme/run",
                "acme/chat/",
                "acme/chat/a/b",
                "acme/chat/a:b",
                "/chat/r",
                "a/b/" + "r" * 129,
            )
        ),
        ("attributes", [1], "JSON object"),
        ("inputs", None, "JSON object"),
        ("inputs", {"a": ["weave-trace-internal:///p/object/o:v"]}, "is reserved for internal refs"),
        ("wb_run_step", -1, "from 0 to 2^63 - 1"),
        ("wb_run_step", 1 << 63, "from 0 to 2^63 - 1"),
    ],
)
async def test_invalid_start_is_refused(calls: CallsStore, field: str, value: Any, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        await calls.write([start(**{field: value})])

    assert refused.value.argument == f"batch.0.start.{field}"
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("project_id", "a/b/c", "write entity/project"),
        ("id", "X" * 16, "lowercase UUID"),
        ("exception", "e" * (MAX_EXCEPTION + 1), "the limit is 262,144"),
        ("summary", "fine", "JSON object"),
        ("output", "weave-trace-internal:///p/object/o:v", "is reserved for internal refs"),
        ("wb_run_step_end", -1, "from 0 to 2^63 - 1"),
    ],
)
async def test_invalid_end_is_refused(calls: CallsStore, field: str, value: Any, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        await calls.write([end(**{field: value})])

    assert refused.value.argument == f"batch.0.end.{field}"
    assert reason in refused.value.message


@pytest.mark.parametrize(
    "op_name", ["", "o" * MAX_OP_NAME, "weave:///acme/chat/op/Ünï-code.op_1:*", "a:b", "$op", "\0"]
)
async def test_op_names_are_text_or_refs_of_ops(calls: CallsStore, op_name: str) -> None:
    await calls.write([start(op_name=op_name)])

    assert await calls.one(PROJECT, call_id(1), {"op_name"}) == {"id": call_id(1), "op_name": op_name}


@pytest.mark.parametrize("identifier", ["", "NOPE", "x" * 10_000])
async def test_rename_or_delete_of_an_invalid_call_id_is_refused(calls: CallsStore, identifier: str) -> None:
    with pytest.raises(BadInputError, match="is not a call id") as rename:
        await calls.rename(PROJECT, identifier, "name")
    with pytest.raises(BadInputError, match="is not a call id") as delete:
        await calls.delete(PROJECT, [call_id(1), identifier])

    assert (rename.value.argument, delete.value.argument) == ("call_id", "call_ids.1")


async def test_rename_needs_a_name_within_the_length_limit(calls: CallsStore) -> None:
    with pytest.raises(BadInputError, match="is required"):
        await calls.rename(PROJECT, call_id(1), None)
    with pytest.raises(BadInputError, match="the limit is 1,024"):
        await calls.rename(PROJECT, call_id(1), "n" * (MAX_DISPLAY_NAME + 1))


async def test_invalid_call_id_is_read_as_missing(calls: CallsStore) -> None:
    assert await calls.one(PROJECT, "NOPE", {"id"}) is None
