"""Reads of feedback: lists, counts, and links between feedback, calls and specs."""

from collections import Counter
from typing import Any

from stores.calls import CallsStore
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.feedback.builders import annotation, call_ref, feedback, note, reaction, spec
from tests.stores.feedback.conftest import store as store  # noqa: PLC0414 -- a fixture


async def test_feedback_list_is_queried_sorted_paged_and_counted(run: Run, store: FeedbackStore) -> None:
    await store.create([feedback({"value": {"score": n % 5}}, id=f"f{n}") for n in range(10)])
    document = """
    query ($project: ID!, $after: String) {
        feedback(
            projectId: $project, first: 3, after: $after,
            query: {expr: {gte: [{getField: "payload.value.score"}, {literal: 2}]}},
            sortBy: [{field: "payload.value.score", direction: DESC}, {field: "id", direction: ASC}]
        ) { totalCount nodes { id score: payload(path: "value.score") } pageInfo { hasNextPage endCursor } }
    }
    """

    first = (await run(document, project=PROJECT)).data["feedback"]
    second = (await run(document, project=PROJECT, after=first["pageInfo"]["endCursor"])).data["feedback"]

    assert first["totalCount"] == 6
    assert [(node["id"], node["score"]) for node in first["nodes"]] == [("f4", 4), ("f9", 4), ("f3", 3)]
    assert [node["id"] for node in second["nodes"]] == ["f8", "f2", "f7"]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)


async def test_stats_by_type_apply_a_query(run: Run, store: FeedbackStore) -> None:
    await store.create([note("a", creator="Ann"), note("b"), reaction(creator="Ann"), feedback(feedback_type="")])

    answer = await run(
        """
        query ($project: ID!) {
            all: feedbackStats(projectId: $project) { count types { feedbackType count } }
            anns: feedbackStats(
                projectId: $project, query: {expr: {eq: [{getField: "creator"}, {literal: "Ann"}]}}
            ) { count types { feedbackType lastCreatedAt } }
            newest: feedback(projectId: $project, last: 2) { nodes { createdAt feedbackType } }
        }
        """,
        project=PROJECT,
    )

    types = [("wandb.note.1", 2), ("", 1), ("wandb.reaction.1", 1)]
    assert answer.data["all"]["count"] == 4
    assert [(row["feedbackType"], row["count"]) for row in answer.data["all"]["types"]] == types
    assert answer.data["anns"]["count"] == 2
    assert [row["feedbackType"] for row in answer.data["anns"]["types"]] == ["wandb.note.1", "wandb.reaction.1"]


async def test_calls_have_feedback_and_feedback_has_its_call(
    run: Run, store: FeedbackStore, calls: CallsStore, objects: ObjectsStore
) -> None:
    await calls.write([start(n) for n in range(3)])
    ref = await spec(objects, {"type": "integer"})
    await store.create(
        [
            note("first", weave_ref=call_ref(0)),
            reaction(weave_ref=call_ref(0)),
            note("second", weave_ref=call_ref(0)),
            annotation(ref, 3, weave_ref=call_ref(1)),
            note("on an object", weave_ref=ref),
            note("on nothing", weave_ref=call_ref(9)),
        ]
    )

    answer = await run(
        """
        query ($project: ID!) {
            calls(projectId: $project) { nodes {
                id
                feedback(last: 2) { totalCount nodes { feedbackType payload(path: "note") call { id } } }
                notes: feedback(types: ["wandb.note.1"], first: 1) { totalCount nodes { payload } }
            } }
            feedback(projectId: $project) { nodes { call { id feedback { totalCount } } annotation { objectId val } } }
        }
        """,
        project=PROJECT,
    )

    assert not answer.errors
    first, second, third = answer.data["calls"]["nodes"]
    here = {"call": {"id": call_id(0)}}
    assert first["feedback"] == {
        "totalCount": 3,
        "nodes": [
            {"feedbackType": "wandb.reaction.1", "payload": None, **here},
            {"feedbackType": "wandb.note.1", "payload": "second", **here},
        ],
    }
    assert first["notes"] == {"totalCount": 2, "nodes": [{"payload": {"note": "first"}}]}
    assert [node["feedbackType"] for node in second["feedback"]["nodes"]] == ["wandb.annotation.score"]
    assert second["notes"] == third["notes"] == {"totalCount": 0, "nodes": []}
    nodes = answer.data["feedback"]["nodes"]
    assert [node["call"] and node["call"]["id"] for node in nodes] == [
        *[call_id(0)] * 3,
        call_id(1),
        None,
        None,
    ]
    assert nodes[0]["call"]["feedback"] == {"totalCount": 3}
    assert [node["annotation"] and node["annotation"]["objectId"] for node in nodes] == [
        *[None] * 3,
        "score",
        None,
        None,
    ]


async def test_feedback_on_a_deleted_call_remains_without_its_call(
    run: Run, store: FeedbackStore, calls: CallsStore
) -> None:
    await calls.write([start(1)])
    await store.create_one(note())
    document = "query ($project: ID!) { feedback(projectId: $project) { nodes { weaveRef call { id } } } }"

    before = await run(document, project=PROJECT)
    await calls.delete(PROJECT, [call_id(1)])
    after = await run(document, project=PROJECT)

    assert before.data["feedback"]["nodes"] == [{"weaveRef": call_ref(), "call": {"id": call_id(1)}}]
    assert after.data["feedback"]["nodes"] == [{"weaveRef": call_ref(), "call": None}]


async def test_too_many_types_are_refused(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])

    answer = await run(
        "query ($project: ID!, $types: [String!]) { calls(projectId: $project) { nodes { feedback(types: $types) "
        "{ totalCount } } } }",
        project=PROJECT,
        types=[f"kind{n}" for n in range(1001)],
    )

    assert answer.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "types"}


WALKS = {
    "calls": """
query ($project: ID!, $first: Int!) {
    calls(projectId: $project, first: $first) { nodes {
        id feedback(first: 2) { totalCount nodes { id call { opName } } }
    } }
}
""",
    "feedback": """
query ($project: ID!, $first: Int!) {
    feedback(projectId: $project, first: $first) { nodes { call { id totalStorageSizeBytes } annotation { digest } } }
}
""",
}


async def test_command_count_does_not_depend_on_page_size(
    run: Run, store: FeedbackStore, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    await calls.write([start(n) for n in range(60)])
    refs = [await spec(objects, {"minimum": -n}) for n in range(5)]
    await store.create([annotation(refs[n % 5], n, weave_ref=call_ref(n % 60)) for n in range(180)])

    # The queries run separately: in one document, the order of results decides whether two lists load calls together.
    async def walk(name: str, first: int) -> tuple[Any, Counter[str]]:
        commands.sent.clear()
        answer = await run(WALKS[name], project=PROJECT, first=first)
        assert not answer.errors
        return answer.data[name]["nodes"], Counter(commands.names)

    of_few = {name: (await walk(name, 2))[1] for name in WALKS}
    calls_read, of_calls = await walk("calls", 60)
    feedback_read, of_feedback = await walk("feedback", 60)

    assert [node["feedback"]["totalCount"] for node in calls_read] == [3] * 60
    assert all(node["call"]["totalStorageSizeBytes"] for node in feedback_read)
    assert all(node["annotation"]["digest"] for node in feedback_read)
    assert {"calls": of_calls, "feedback": of_feedback} == of_few
    assert sum((of_calls + of_feedback).values()) <= 9
