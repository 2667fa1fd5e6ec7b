"""Queries of calls by their feedback, in the typed form and in the raw one, in all lists and counts of calls."""

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.feedback import FeedbackStore
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.query_trees import Tree, eq, field, lit, typed
from tests.stores.calls.builders import call_id, end, start
from tests.stores.feedback.builders import call_ref, note, reaction

EMOJI = "feedback.[wandb.reaction.1].payload.emoji"
NOTE = "feedback.[wandb.note.1].payload.note"
DOWN = eq(EMOJI, "👎")

ASK = """
    query ($query: QueryInput, $sortBy: [SortBy!], $first: Int, $after: String, $last: Int, $before: String) {
        calls(projectId: "acme/chat", query: $query, sortBy: $sortBy,
              first: $first, after: $after, last: $last, before: $before) {
            totalCount
            nodes { id }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
        callsStats(projectId: "acme/chat", query: $query) { count }
        callsAggregate(projectId: "acme/chat", query: $query) { rows { count } }
        explain(projectId: "acme/chat", query: $query, sortBy: $sortBy) { indexes stages pipeline }
    }
"""


@pytest.fixture(autouse=True)
async def stocked(calls: CallsStore, database: Database) -> None:
    """Store six calls: 1 and 4 have a thumbs-down, 2 has a thumbs-up, 2 to 5 have notes."""
    await calls.write([part for number in range(6) for part in (start(number), end(number))])
    reactions = [("👎", 1), ("👍", 2), ("👎", 4)]
    await FeedbackStore(database).create([reaction(emoji, weave_ref=call_ref(number)) for emoji, number in reactions])
    await FeedbackStore(database).create(
        [note(f"note {-number}", weave_ref=call_ref(number)) for number in range(2, 6)]
    )


def numbers(data: Tree) -> list[int]:
    return [int(node["id"][-12:], 16) for node in data["calls"]["nodes"]]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (DOWN, [1, 4]),
        ({"$not": [DOWN]}, [0, 2, 3, 5]),
        ({"$and": [DOWN, {"$contains": {"input": field(NOTE), "substr": lit("note")}}]}, [4]),
        ({"$eq": [{"$convert": {"input": field("feedback.[*]"), "to": "exists"}}, {"$literal": False}]}, [0]),
        ({"$in": [field(EMOJI), [lit("👍"), lit(None)]]}, [0, 2, 3, 5]),
    ],
)
@pytest.mark.parametrize("form", ["typed", "raw"])
async def test_every_list_and_count_of_calls_applies_feedback_conditions(
    run: Run, tree: Tree, expected: list[int], form: str
) -> None:
    query = {"expr": typed(tree)} if form == "typed" else {"json": {"$expr": tree}}

    answer = await run(ASK, query=query)

    assert answer.errors == []
    assert numbers(answer.data) == expected
    assert answer.data["calls"]["totalCount"] == answer.data["callsStats"]["count"] == len(expected)
    assert [int(row["count"]) for row in answer.data["callsAggregate"]["rows"]] == [len(expected)]
    assert answer.data["explain"]["pipeline"]


@pytest.mark.parametrize(("direction", "expected"), [("ASC", [2, 3, 4, 5, 0, 1]), ("DESC", [5, 4, 3, 2, 1, 0])])
async def test_sort_by_feedback_is_paged_in_both_directions(run: Run, direction: str, expected: list[int]) -> None:
    sort_by = [{"field": NOTE, "direction": direction}]
    forward: list[int] = []
    backward: list[int] = []
    after, before = None, None

    for _ in range(3):
        ahead = (await run(ASK, sortBy=sort_by, first=2, after=after)).data
        behind = (await run(ASK, sortBy=sort_by, last=2, before=before)).data
        forward += numbers(ahead)
        backward = numbers(behind) + backward
        after, before = ahead["calls"]["pageInfo"]["endCursor"], behind["calls"]["pageInfo"]["startCursor"]

    assert forward == backward == expected
    assert ahead["calls"]["pageInfo"]["hasNextPage"] is behind["calls"]["pageInfo"]["hasPreviousPage"] is False


@pytest.mark.parametrize(
    ("arguments", "at", "message"),
    [
        (
            {"query": {"json": {"$expr": eq("feedback.x", 1)}}},
            "query.json.$expr.$eq.0.$getField",
            "write feedback.[type]",
        ),
        ({"query": {"expr": typed(eq("feedback.[x", 1))}}, "query.expr.eq.0.getField", "write feedback.[type]"),
        (
            {"query": {"expr": typed(eq("feedback.[x].y", 1))}},
            "query.expr.eq.0.getField",
            "the fields are id, project_id",
        ),
        (
            {"sortBy": [{"field": "feedback.[x].y", "direction": "ASC"}]},
            "sortBy.0.field",
            "the fields are id, project_id",
        ),
    ],
)
async def test_invalid_field_name_is_refused_with_its_path(run: Run, arguments: Tree, at: str, message: str) -> None:
    answer = await run(ASK, **arguments)

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
    assert {error["extensions"]["argument"] for error in answer.errors} == {at}
    assert all(message in error["message"] for error in answer.errors)


async def test_deleted_call_disappears_and_its_feedback_is_harmless(run: Run, calls: CallsStore) -> None:
    await calls.delete("acme/chat", [call_id(4)])

    answer = await run(ASK, query={"json": {"$expr": DOWN}}, sortBy=[{"field": EMOJI, "direction": "DESC"}])

    assert (numbers(answer.data), answer.data["callsStats"]["count"]) == ([1], 1)
