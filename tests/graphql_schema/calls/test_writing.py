"""Writes of calls: the answers and errors of each mutation, and the documents that it stores."""

from typing import Any

import pytest

from stores.calls import CallsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id

START = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id traceId } }"
END = "mutation ($end: EndedCallSchemaForInsert!) { callEnd(end: $end) { id } }"
CREATE = "mutation ($call: CompletedCallSchemaForInsert!) { callCreate(call: $call) { id traceId } }"
BATCH = """
    mutation ($batch: [CallBatchMode!]!) {
        callCreateBatch(batch: $batch) {
            res { __typename ... on CallStartRes { id traceId } ... on CallEndRes { id } }
        }
    }
"""
UPDATE = """
    mutation ($id: ID!, $name: String) {
        callUpdate(projectId: "acme/chat", callId: $id, displayName: $name) { numUpdated }
    }
"""
DELETE = 'mutation ($ids: [ID!]!) { callsDelete(projectId: "acme/chat", callIds: $ids) { numDeleted } }'


def started(**changes: Any) -> dict[str, Any]:
    plain = {"projectId": PROJECT, "opName": "f", "startedAt": "2026-01-01T00:00:00Z", "attributes": {}, "inputs": {}}
    return plain | changes


def ended(**changes: Any) -> dict[str, Any]:
    return {"projectId": PROJECT, "id": call_id(1), "endedAt": "2026-01-01T00:00:01Z", "summary": {}} | changes


def whole(**changes: Any) -> dict[str, Any]:
    end = ended()
    return started() | {name: end[name] for name in ("endedAt", "summary")} | changes


READ_WHOLE = """
    query ($id: ID!) { call(projectId: "acme/chat", id: $id) {
        opName displayName traceId parentId threadId turnId startedAt endedAt exception status latencyMs inputs output
        attributes summary wbUserId wbRunId wbRunStep wbRunStepEnd usage { model promptTokens }
    } }
"""


async def test_complete_call_is_one_write_and_read_as_sent(run: Run, commands: Commands) -> None:
    usage = {"m": {"prompt_tokens": 5}}
    sent = {
        "opName": "answer",
        "displayName": "Nora",
        "traceId": trace_id(7),
        "parentId": call_id(6),
        "threadId": "t",
        "turnId": call_id(1),
        "startedAt": "2026-01-01T00:00:00.000000Z",
        "endedAt": "2026-01-01T00:00:01.500000Z",
        "exception": "ValueError: no",
        "inputs": {"q": 1},
        "output": ["a"],
        "attributes": {"env": "test"},
        "summary": {"usage": usage},
        "wbUserId": "ann",
        "wbRunId": "acme/chat/run",
        "wbRunStep": 3,
        "wbRunStepEnd": 4,
    }

    created = await run(CREATE, call=whole(id=call_id(1), **sent))

    to_calls = [body for _, body in commands.sent if body.get(next(iter(body))) == "calls"]
    assert [next(iter(body)) for body in to_calls] == ["insert"]
    assert len(to_calls[0]["documents"]) == 1
    assert created.data == {"callCreate": {"id": call_id(1), "traceId": trace_id(7)}}
    read = (await run(READ_WHOLE, id=call_id(1))).data["call"]
    weave = {"status": "error", "display_name": "Nora", "latency_ms": 1500}
    assert read == sent | {
        "summary": {"usage": usage, "weave": weave},
        "status": "ERROR",
        "latencyMs": 1500,
        "usage": [{"model": "m", "promptTokens": 5}],
    }


async def test_repeated_complete_call_replaces_its_start_and_end(run: Run, calls: CallsStore) -> None:
    await run(CREATE, call=whole(id=call_id(1), inputs={"old": 1}, output="old", exception="old"))

    await run(CREATE, call=whole(id=call_id(1), inputs={"new": 1}))

    read = (await run(READ_WHOLE, id=call_id(1))).data["call"]
    assert (read["inputs"], read["output"], read["exception"]) == ({"new": 1}, None, None)
    assert read["status"] == "SUCCESS"
    assert await calls.count(PROJECT) == 1


async def test_missing_ids_of_a_complete_call_are_generated(run: Run, calls: CallsStore) -> None:
    ids = (await run(CREATE, call=whole())).data["callCreate"]

    assert await calls.one(PROJECT, ids["id"], ["id", "trace_id", "status"]) == {
        "id": ids["id"],
        "trace_id": ids["traceId"],
        "status": "success",
    }
    assert ids["id"][14] == "7"


@pytest.mark.parametrize(
    ("changes", "code", "argument"),
    [
        ({"id": "x"}, "BAD_USER_INPUT", "call.id"),
        ({"projectId": "acme"}, "BAD_USER_INPUT", "call.projectId"),
        ({"traceId": "0" * 31}, "BAD_USER_INPUT", "call.traceId"),
        ({"inputs": []}, "BAD_USER_INPUT", "call.inputs"),
        ({"summary": "text"}, "BAD_USER_INPUT", "call.summary"),
        ({"exception": "x" * 262_145}, "BAD_USER_INPUT", "call.exception"),
        ({"wbRunStepEnd": -1}, "BAD_USER_INPUT", "call.wbRunStepEnd"),
        ({"output": ["weave-trace-internal:///x/object/f:v"]}, "BAD_USER_INPUT", "call.output"),
        ({"inputs": {"text": "x" * 8_000_000}}, "PAYLOAD_TOO_LARGE", "call.inputs"),
        ({"output": "x" * 8_000_000}, "PAYLOAD_TOO_LARGE", "call.output"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_invalid_complete_call_is_refused_and_not_stored(
    run: Run, calls: CallsStore, changes: dict[str, Any], code: str, argument: str
) -> None:
    answer = await run(CREATE, call=whole(**changes))

    assert answer.errors[0]["extensions"] == {"code": code, "argument": argument}
    assert await calls.database.calls.count_documents({}) == 0


async def test_complete_call_needs_its_end(run: Run) -> None:
    answer = await run(CREATE, call=started())

    assert answer.code == "BAD_USER_INPUT"
    assert "endedAt" in answer.errors[0]["message"]


async def test_missing_ids_are_generated_and_returned(run: Run, calls: CallsStore) -> None:
    answer = await run(START, start=started())

    ids = answer.data["callStart"]
    row = await calls.one(PROJECT, ids["id"], ["id", "trace_id"])
    assert row == {"id": ids["id"], "trace_id": ids["traceId"]}
    assert ids["id"][14] == "7"


async def test_each_write_of_a_call_returns_its_ref(run: Run) -> None:
    parts = [{"start": started(id=call_id(3))}, {"end": ended(id=call_id(4))}]

    answers = [
        await run("mutation ($it: StartedCallSchemaForInsert!) { it: callStart(start: $it) { ref } }", it=started()),
        await run("mutation ($it: EndedCallSchemaForInsert!) { it: callEnd(end: $it) { ref } }", it=ended()),
        await run("mutation ($it: CompletedCallSchemaForInsert!) { it: callCreate(call: $it) { id ref } }", it=whole()),
        await run(
            "mutation ($it: [CallBatchMode!]!) { callCreateBatch(batch: $it) { "
            "res { ... on CallStartRes { ref } ... on CallEndRes { ref } } } }",
            it=parts,
        ),
    ]

    one, two, three, batch = (answer.data for answer in answers)
    [found] = (await run("query ($ids: [ID!]!) { nodes(ids: $ids) { ref } }", ids=[one["it"]["ref"]])).data["nodes"]
    assert found == one["it"]
    assert two["it"]["ref"] == f"weave:///{PROJECT}/call/{call_id(1)}"
    assert three["it"]["ref"] == f"weave:///{PROJECT}/call/{three['it']['id']}"
    assert batch["callCreateBatch"]["res"] == [{"ref": f"weave:///{PROJECT}/call/{call_id(n)}"} for n in (3, 4)]


@pytest.mark.parametrize("left_out", [{}, {"attributes": None, "summary": None}])
async def test_missing_attributes_and_summary_are_empty(run: Run, left_out: dict[str, None]) -> None:
    attributes = {"attributes": None} if left_out else {}
    summary = {"summary": None} if left_out else {}
    new_start = {name: value for name, value in started(id=call_id(1)).items() if name != "attributes"} | attributes
    new_end = {name: value for name, value in ended().items() if name != "summary"} | summary
    one = {name: value for name, value in whole().items() if name not in ("attributes", "summary")} | left_out

    answers = [
        await run(START, start=new_start),
        await run(END, end=new_end),
        await run(BATCH, batch=[{"start": new_start | {"id": call_id(2)}}, {"end": new_end | {"id": call_id(2)}}]),
        await run(CREATE, call=one | {"id": call_id(3)}),
    ]

    assert [answer.errors for answer in answers] == [[], [], [], []]
    read = await run(f'{{ calls(projectId: "{PROJECT}") {{ nodes {{ attributes summary }} }} }}')
    weave = {"status": "success", "trace_name": "f", "latency_ms": 1000}
    assert read.data["calls"]["nodes"] == [{"attributes": {}, "summary": {"weave": weave}}] * 3


@pytest.mark.parametrize("value", [0, "", [], False])
async def test_non_object_attributes_and_summary_are_refused(run: Run, value: object) -> None:
    start_answer = await run(START, start=started(attributes=value))
    end_answer = await run(END, end=ended(summary=value))

    assert start_answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "start.attributes"}
    assert end_answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "end.summary"}


async def test_end_may_arrive_before_its_start(run: Run) -> None:
    read = f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ status output }} }}'

    assert (await run(END, end=ended(output=[1]))).data == {"callEnd": {"id": call_id(1)}}
    before = await run(read)
    await run(START, start=started(id=call_id(1)))

    assert before.data["call"] is None
    assert (await run(read)).data["call"] == {"status": "SUCCESS", "output": [1]}


async def test_batch_returns_one_result_per_item(run: Run, calls: CallsStore) -> None:
    answer = await run(
        BATCH,
        batch=[{"start": started(id=call_id(1), traceId=trace_id(1))}, {"end": ended()}, {"end": ended(id=call_id(2))}],
    )

    assert answer.data["callCreateBatch"]["res"] == [
        {"__typename": "CallStartRes", "id": call_id(1), "traceId": trace_id(1)},
        {"__typename": "CallEndRes", "id": call_id(1)},
        {"__typename": "CallEndRes", "id": call_id(2)},
    ]
    assert await calls.count(PROJECT) == 1


async def test_empty_batch_does_nothing(run: Run) -> None:
    assert (await run(BATCH, batch=[])).data == {"callCreateBatch": {"res": []}}


async def test_invalid_item_is_named_and_nothing_is_stored(run: Run, calls: CallsStore) -> None:
    good = [{"start": started(id=call_id(number))} for number in range(4)]

    answer = await run(BATCH, batch=[*good[:2], {"start": started(id="UPPER")}, *good[2:]])

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "batch.2.start.id"}
    assert "lowercase UUID or 16 lowercase characters" in answer.errors[0]["message"]
    assert await calls.count(PROJECT) == 0


@pytest.mark.parametrize("item", [{}, {"start": None}, {"start": started(), "end": ended()}])
async def test_item_is_exactly_one_of_start_and_end(run: Run, item: dict[str, Any]) -> None:
    answer = await run(BATCH, batch=[{"start": started()}, {"end": ended()}, item, {"end": ended()}])

    assert answer.code == "BAD_USER_INPUT"
    assert "at [2]" in answer.errors[0]["message"]
    assert "exactly one field must be specified" in answer.errors[0]["message"]


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"projectId": "acme"}, "start.projectId"),
        ({"projectId": "acme/chat/more"}, "start.projectId"),
        ({"projectId": "acme/ch:at"}, "start.projectId"),
        ({"id": "x"}, "start.id"),
        ({"id": call_id(0xABC).upper()}, "start.id"),
        ({"traceId": "0" * 31}, "start.traceId"),
        ({"parentId": ""}, "start.parentId"),
        ({"opName": "n" * 129}, "start.opName"),
        ({"opName": "weave:///acme/chat/object/f:v"}, "start.opName"),
        ({"opName": "weave:///acme/chat/op/f"}, "start.opName"),
        ({"displayName": "n" * 1025}, "start.displayName"),
        ({"inputs": []}, "start.inputs"),
        ({"attributes": "text"}, "start.attributes"),
        ({"wbRunStep": -1}, "start.wbRunStep"),
        ({"inputs": {"ref": "weave-trace-internal:///x/object/f:v"}}, "start.inputs"),
    ],
)
async def test_invalid_start_is_refused_by_name(
    run: Run, calls: CallsStore, changes: dict[str, Any], argument: str
) -> None:
    answer = await run(START, start=started(**changes))

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert await calls.count(PROJECT) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "z" * 16, "traceId": "z" * 32, "parentId": "0123456789abcdef"},
        {"opName": "n" * 128, "displayName": "n" * 1024, "wbRunStep": 2**63 - 1},
        {"opName": "", "threadId": "", "id": call_id(7)},
        {"opName": "weave:///acme/chat/op/f:v"},
    ],
)
async def test_start_at_the_limits_is_stored(run: Run, calls: CallsStore, changes: dict[str, Any]) -> None:
    answer = await run(START, start=started(**changes))

    assert answer.errors == []
    assert await calls.count(PROJECT) == 1


async def test_display_name_is_set_cleared_and_counted(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), end(1)])
    read = f'{{ call(projectId: "{PROJECT}", id: "{call_id(1)}") {{ displayName traceName summary(path: "weave") }} }}'

    given = await run(UPDATE, id=call_id(1), name="Nora")
    named = await run(read)
    await run(UPDATE, id=call_id(1), name="")
    cleared = await run(read)

    assert given.data == {"callUpdate": {"numUpdated": 1}}
    assert named.data["call"] == {
        "displayName": "Nora",
        "traceName": "Nora",
        "summary": {"status": "success", "display_name": "Nora", "latency_ms": 500},
    }
    assert cleared.data["call"] == {
        "displayName": None,
        "traceName": "answer",
        "summary": {"status": "success", "trace_name": "answer", "latency_ms": 500},
    }


async def test_rename_of_a_missing_call_counts_zero(run: Run) -> None:
    assert (await run(UPDATE, id=call_id(1), name="Nora")).data == {"callUpdate": {"numUpdated": 0}}


@pytest.mark.parametrize(("name", "reason"), [(None, "is required"), ("n" * 1025, "the limit is 1,024")])
async def test_invalid_display_name_is_refused(run: Run, name: str | None, reason: str) -> None:
    answer = await run(UPDATE, id=call_id(1), name=name)

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "displayName"}
    assert reason in answer.errors[0]["message"]


async def test_delete_includes_descendants_and_is_visible_at_once(run: Run, calls: CallsStore) -> None:
    in_trace = {"trace_id": trace_id(1)}
    await calls.write(
        [
            start(1),
            start(2, parent_id=call_id(1), **in_trace),
            start(3, parent_id=call_id(2), **in_trace),
            start(4, parent_id=call_id(1)),
        ]
    )

    first = await run(DELETE, ids=[call_id(1), call_id(99)])
    again = await run(DELETE, ids=[call_id(1)])
    await run(START, start=started(id=call_id(99)))

    assert first.data == {"callsDelete": {"numDeleted": 3}}
    assert again.data == {"callsDelete": {"numDeleted": 0}}
    left = await run(f'{{ calls(projectId: "{PROJECT}") {{ totalCount nodes {{ id }} }} }}')
    assert left.data["calls"] == {"totalCount": 1, "nodes": [{"id": call_id(4)}]}


async def test_delete_of_too_many_calls_is_refused(run: Run) -> None:
    answer = await run(DELETE, ids=[call_id(number) for number in range(1001)])

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "callIds"}


async def test_payload_over_the_document_limit_is_refused_before_any_write(run: Run, calls: CallsStore) -> None:
    answer = await run(
        BATCH, batch=[{"start": started(id=call_id(1))}, {"start": started(inputs={"text": "x" * 20_000_000})}]
    )

    assert answer.code == "PAYLOAD_TOO_LARGE"
    assert answer.errors[0]["extensions"]["argument"] == "batch.1.start.inputs"
    assert await calls.count(PROJECT) == 0
