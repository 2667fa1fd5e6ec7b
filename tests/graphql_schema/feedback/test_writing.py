"""Writes of feedback: the answers of each mutation, and the arguments that its errors name."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.feedback.builders import call_ref, spec
from tests.stores.feedback.conftest import store as store  # noqa: PLC0414 -- a fixture

CREATE = """
mutation (
    $project: ID!, $about: String!, $type: String!, $payload: JSON!, $id: ID, $creator: String, $annotation: String,
    $runnable: String, $call: String, $trigger: String, $user: String
) {
    feedbackCreate(
        projectId: $project, weaveRef: $about, feedbackType: $type, payload: $payload, id: $id, creator: $creator,
        annotationRef: $annotation, runnableRef: $runnable, callRef: $call, triggerRef: $trigger, wbUserId: $user
    ) { id wbUserId createdAt payload alias: payload(path: "alias") }
}
"""
BATCH = "mutation ($batch: [FeedbackCreateReq!]!) { feedbackCreateBatch(batch: $batch) { res { id payload } } }"
REPLACE = """
mutation ($project: ID!, $gone: ID!, $about: String!, $payload: JSON!, $id: ID) {
    feedbackReplace(
        projectId: $project, feedbackId: $gone, weaveRef: $about, feedbackType: "wandb.note.1", payload: $payload,
        id: $id
    ) { id wbUserId createdAt payload }
}
"""
PURGE = (
    "mutation ($project: ID!, $query: QueryInput!) { feedbackPurge(projectId: $project, query: $query) { numPurged } }"
)
READ = """
query ($project: ID!) { feedback(projectId: $project) { nodes {
    id projectId weaveRef creator feedbackType payload annotationRef runnableRef callRef triggerRef wbUserId
} } }
"""


def given(**changes: object) -> dict[str, Any]:
    return {"project": PROJECT, "about": call_ref(), "type": "wandb.note.1", "payload": {"note": "hi"}} | changes


def item(**changes: object) -> dict[str, Any]:
    plain = {"projectId": PROJECT, "weaveRef": call_ref(), "feedbackType": "wandb.note.1", "payload": {"note": "hi"}}
    return plain | changes


async def test_reaction_is_created_and_read_as_stored(run: Run) -> None:
    created = await run(CREATE, **given(type="wandb.reaction.1", payload={"emoji": "🎉"}, creator="Ann", user="ann"))

    made = created.data["feedbackCreate"]
    payload = {"emoji": "🎉", "alias": ":party_popper:", "detoned": "🎉", "detoned_alias": ":party_popper:"}
    assert (made["wbUserId"], made["payload"], made["alias"]) == ("ann", payload, ":party_popper:")
    assert made["createdAt"].endswith("Z")
    assert (await run(READ, project=PROJECT)).data["feedback"]["nodes"] == [
        {
            "id": made["id"],
            "projectId": PROJECT,
            "weaveRef": call_ref(),
            "creator": "Ann",
            "feedbackType": "wandb.reaction.1",
            "payload": payload,
            "annotationRef": None,
            "runnableRef": None,
            "callRef": None,
            "triggerRef": None,
            "wbUserId": "ann",
        }
    ]


async def test_runnable_feedback_keeps_its_refs(run: Run) -> None:
    op, call, trigger = (f"weave:///{PROJECT}/{rest}" for rest in ("op/judge:v", "call/c", "object/monitor:v"))

    await run(
        CREATE,
        **given(type="wandb.runnable.judge", payload={"output": 1}, runnable=op, call=call, trigger=trigger),
    )

    [node] = (await run(READ, project=PROJECT)).data["feedback"]["nodes"]
    assert (node["runnableRef"], node["callRef"], node["triggerRef"]) == (op, call, trigger)
    assert (node["payload"], node["wbUserId"]) == ({"output": 1}, "local")


async def test_annotation_that_violates_its_schema_is_refused_with_the_path(run: Run, objects: ObjectsStore) -> None:
    ref = await spec(objects, {"properties": {"lines": {"items": {"enum": ["good", "bad"]}}}})
    annotated = given(type="wandb.annotation.score", annotation=ref)

    good = await run(CREATE, **annotated | {"payload": {"value": {"lines": ["good"]}}})
    bad = await run(CREATE, **annotated | {"payload": {"value": {"lines": ["good", "ugly"]}}})

    assert good.data["feedbackCreate"]["payload"] == {"value": {"lines": ["good"]}}
    assert bad.code == "BAD_USER_INPUT"
    assert bad.errors[0]["extensions"]["argument"] == "payload.value.lines.1"
    assert bad.errors[0]["message"] == (
        "payload.value.lines.1: does not match its schema: 'ugly' is not one of ['good', 'bad']"
    )


@pytest.mark.parametrize(
    ("changes", "code", "argument"),
    [
        ({"payload": {"note": "x" * 1025}}, "BAD_USER_INPUT", "payload.note"),
        ({"type": "wandb.reaction.1", "payload": {"emoji": "👍👎"}}, "BAD_USER_INPUT", "payload.emoji"),
        ({"payload": {"note": "hi", "more": "x" * 1024 * 1024}}, "PAYLOAD_TOO_LARGE", "payload"),
        ({"payload": None}, "BAD_USER_INPUT", None),
        ({"payload": [1]}, "BAD_USER_INPUT", "payload"),
        ({"about": None}, "BAD_USER_INPUT", None),
        ({"about": 5}, "BAD_USER_INPUT", None),
        ({"project": "acme"}, "BAD_USER_INPUT", "projectId"),
        ({"type": "wandb.annotation.score", "payload": {"value": 1}}, "BAD_USER_INPUT", "annotationRef"),
        (
            {
                "type": "wandb.annotation.score",
                "payload": {"value": 1},
                "annotation": "weave:///acme/other/object/score:v",
            },
            "BAD_USER_INPUT",
            "annotationRef",
        ),
        (
            {
                "type": "wandb.annotation.score",
                "payload": {"value": 1},
                "annotation": f"weave:///{PROJECT}/object/score:v",
            },
            "NOT_FOUND",
            "annotationRef",
        ),
        ({"trigger": "weave:///a/b/op/c:d"}, "BAD_USER_INPUT", "triggerRef"),
        ({"about": "elsewhere"}, "BAD_USER_INPUT", "weaveRef"),
        ({"id": "taken"}, "CONFLICT", "id"),
    ],
    ids=str,
)
async def test_invalid_input_is_named_and_nothing_is_stored(
    run: Run, store: FeedbackStore, changes: dict[str, Any], code: str, argument: str | None
) -> None:
    await run(CREATE, **given(id="taken", about=call_ref(2)))

    answer = await run(CREATE, **given(**changes))

    assert answer.code == code
    assert answer.errors[0]["extensions"].get("argument") == argument
    assert await store.count(PROJECT) == 1


async def test_feedback_on_a_bare_call_id_is_on_that_call(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1), start(2), start(3), start(4, id="0123456789abcdef")])
    created = await run(CREATE, **given(about=call_id(1), payload={"note": "one"}))
    batch = [item(weaveRef=call_id(2), payload={"note": "two"}), item(weaveRef="0123456789abcdef", id="span")]
    await run(BATCH, batch=batch)
    await run(REPLACE, **given(gone=created.data["feedbackCreate"]["id"], about=call_id(3), id="new"))
    again = await run(REPLACE, **given(gone="span", about="0123456789abcdef", id="span", payload={"note": "again"}))

    read = await run(
        "query ($project: ID!) { calls(projectId: $project) { nodes { feedback { nodes { weaveRef payload } } } } }",
        project=PROJECT,
    )

    assert again.errors == []
    found = [call["feedback"]["nodes"] for call in read.data["calls"]["nodes"]]
    assert found == [
        [],
        [{"weaveRef": call_ref(2), "payload": {"note": "two"}}],
        [{"weaveRef": call_ref(3), "payload": {"note": "hi"}}],
        [{"weaveRef": f"weave:///{PROJECT}/call/0123456789abcdef", "payload": {"note": "again"}}],
    ]


@pytest.mark.parametrize(
    "ref",
    [
        *(f"weave:///{PROJECT}/{rest}" for rest in ("trace/" + "0" * 32, "thread/a%20b", "table/d", "feedback/f")),
        f"weave:///{PROJECT}/object/prompt:latest/key/a%20b",
        "weave:///acme/other/op/f:v",
        "weave:///a/chatter",
        "wandb-artifact:///acme/chat/x",
    ],
)
async def test_feedback_on_a_ref_keeps_that_ref(run: Run, ref: str) -> None:
    answer = await run(CREATE, **given(about=ref))

    assert answer.errors == []
    assert (await run(READ, project=PROJECT)).data["feedback"]["nodes"][0]["weaveRef"] == ref


NEITHER = "is neither a ref nor a call id; use a ref, such as weave:///acme/chat/call/<id>, or a bare call id"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", f"'' {NEITHER}"),
        ("0123456789abcde", f"'0123456789abcde' {NEITHER}"),
        (call_id(0xABC).upper(), NEITHER),
        ("slash/0123456789", NEITHER),
        ("https://example.com", NEITHER),
        (f"weave:///{PROJECT}/call/{call_id(0xABC).upper()}", "is not a call id; use a lowercase UUID"),
        (f"weave:///{PROJECT}/call/{call_id(1)}/attr/output", "is not a call id; use a lowercase UUID"),
        (f"weave:///{PROJECT}/calls/{call_id(1)}", "its kind must be call, trace, thread"),
        ("weave:///abc", "is not a project id"),
        ("weave-trace-internal:///x", "is reserved for internal refs; write refs with weave:///"),
    ],
)
async def test_feedback_on_neither_a_ref_nor_a_call_id_is_refused(
    run: Run, store: FeedbackStore, text: str, reason: str
) -> None:
    one = await run(CREATE, **given(about=text))
    among = await run(BATCH, batch=[item(), item(weaveRef=text)])

    assert one.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "weaveRef"}
    assert among.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "batch.1.weaveRef"}
    assert reason in one.errors[0]["message"]
    assert await store.count(PROJECT) == 0


async def test_batch_results_are_in_order_or_the_invalid_item_is_named(run: Run, store: FeedbackStore) -> None:
    answer = await run(BATCH, batch=[item(id="a"), item(feedbackType="x", payload={}), item(id="b")])
    broken = await run(BATCH, batch=[item(), item(payload={"note": ""}), item()])
    taken = await run(BATCH, batch=[item(), item(id="a", wbUserId="bob")])
    empty = await run(BATCH, batch=[])

    first, second, third = answer.data["feedbackCreateBatch"]["res"]
    assert (first["id"], third["id"], second["payload"]) == ("a", "b", {})
    assert broken.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "batch.1.payload.note"}
    assert taken.errors[0]["extensions"] == {"code": "CONFLICT", "argument": "batch.1.id"}
    assert empty.data == {"feedbackCreateBatch": {"res": []}}
    assert await store.count(PROJECT) == 3


async def test_refused_replacement_keeps_the_old_feedback(run: Run) -> None:
    await run(CREATE, **given(id="old"))

    refused = await run(REPLACE, **given(gone="old", payload={"note": "x" * 1025}))
    before = await run(READ, project=PROJECT)
    replaced = await run(REPLACE, **given(gone="old", payload={"note": "new"}))
    after = await run(READ, project=PROJECT)

    assert refused.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "payload.note"}
    assert [node["id"] for node in before.data["feedback"]["nodes"]] == ["old"]
    assert replaced.data["feedbackReplace"]["id"] not in ("old", None)
    assert [node["payload"] for node in after.data["feedback"]["nodes"]] == [{"note": "new"}]
    again = await run(REPLACE, **given(gone="old", payload={"note": "newer"}))
    assert again.errors[0]["extensions"] == {"code": "NOT_FOUND", "argument": "feedbackId"}


async def test_replacement_names_the_old_feedback_and_no_id_of_another(run: Run, store: FeedbackStore) -> None:
    await run(CREATE, **given(id="theirs", user="ann"))

    taken = await run(REPLACE, **given(gone="theirs", id="theirs"))
    empty = await run(REPLACE, **given(gone=""))
    huge = await run(REPLACE, **given(gone="x" * 1_000_000))

    assert taken.errors[0]["extensions"] == {"code": "CONFLICT", "argument": "id"}
    assert [answer.errors[0]["extensions"]["argument"] for answer in (empty, huge)] == ["feedbackId", "feedbackId"]
    assert huge.errors[0]["message"] == "feedbackId: has 1,000,000 characters; the limit is 128"
    assert await store.count(PROJECT) == 1


async def test_purge_accepts_ids_in_both_query_forms(run: Run) -> None:
    await run(BATCH, batch=[item(id=name) for name in "abc"])
    equals = [{"eq": [{"getField": "id"}, {"literal": name}]} for name in "ab"]

    typed = await run(PURGE, project=PROJECT, query={"expr": {"or": equals}})
    raw = await run(
        PURGE, project=PROJECT, query={"json": {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": "c"}]}}}
    )
    refused = await run(PURGE, project=PROJECT, query={"expr": {"not": [equals[0]]}})

    assert typed.data == {"feedbackPurge": {"numPurged": 2}}
    assert raw.data == {"feedbackPurge": {"numPurged": 1}}
    assert refused.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "query"}
    assert "must name ids" in refused.errors[0]["message"]
