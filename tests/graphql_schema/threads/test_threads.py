"""Threads in the API: fields, calls, pages and errors."""

from typing import Any

import pytest

from stores import threads as stored
from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.rollups.settling import Settling
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.test_settling import settle
from tests.stores.threads.builders import at, turn

LIST = """
query ($project: ID!, $filter: ThreadsQueryFilter, $sort: [SortBy!], $first: Int, $after: String, $last: Int,
    $before: String, $offset: Int) {
  threads(projectId: $project, filter: $filter, sortBy: $sort, first: $first, after: $after, last: $last,
      before: $before, offset: $offset) {
    totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { threadId } }
  }
}
"""


@pytest.fixture
async def stock(calls: CallsStore, commands: Commands) -> None:
    """Store twelve threads of five turns each, with a step after each turn; thread n ends n-th."""
    parts = []
    for number in range(60):
        thread, place = divmod(number, 5)
        parts += turn(number, f"thread {thread:02}", 1000 * number, 100 * (place + 1))
        parts += turn(500 + number, f"thread {thread:02}", 1000 * number + 1, is_turn=False)
    await calls.write(parts)
    commands.sent.clear()


@pytest.mark.usefixtures("stock")
async def test_thread_has_all_its_fields_and_its_calls(run: Run) -> None:
    answer = await run(
        """
        query ($project: ID!, $after: DateTime!) {
            threads(projectId: $project, filter: {threadIds: ["thread 03"], afterDatetime: $after}) {
                totalCount
                nodes {
                    projectId threadId turnCount startTime lastUpdated firstTurnId lastTurnId
                    p50TurnDurationMs p99TurnDurationMs
                    turns(first: 2) { totalCount nodes { id turnId latencyMs } pageInfo { hasNextPage endCursor } }
                    calls(last: 2) { totalCount edges { node { id threadId } } }
                }
            }
        }
        """,
        project=PROJECT,
        after=times.to_text(at(16_000)),
    )

    [thread] = answer.data["threads"]["nodes"]
    cursor = thread["turns"]["pageInfo"].pop("endCursor")
    assert answer.data["threads"]["totalCount"] == 1
    assert thread == {
        "projectId": PROJECT,
        "threadId": "thread 03",
        "turnCount": 3,
        "startTime": "2026-01-31T12:00:17.000000Z",
        "lastUpdated": "2026-01-31T12:00:19.500000Z",
        "firstTurnId": call_id(17),
        "lastTurnId": call_id(19),
        "p50TurnDurationMs": 400.0,
        "p99TurnDurationMs": 498.0,
        "turns": {
            "totalCount": 3,
            "nodes": [{"id": call_id(n), "turnId": call_id(n), "latencyMs": 100 * (n - 14)} for n in (17, 18)],
            "pageInfo": {"hasNextPage": True},
        },
        "calls": {
            "totalCount": 10,
            "edges": [{"node": {"id": call_id(n), "threadId": "thread 03"}} for n in (19, 519)],
        },
    }
    rest = await run(
        """
        query ($project: ID!, $after: DateTime!, $cursor: String!) {
            threads(projectId: $project, filter: {threadIds: ["thread 03"], afterDatetime: $after}) {
                nodes { turns(after: $cursor) { nodes { id } } }
            }
        }
        """,
        project=PROJECT,
        after=times.to_text(at(16_000)),
        cursor=cursor,
    )
    assert rest.data == {"threads": {"nodes": [{"turns": {"nodes": [{"id": call_id(19)}]}}]}}


@pytest.mark.usefixtures("stock")
async def test_pages_go_both_ways_with_any_sort(run: Run) -> None:
    async def page(**variables: Any) -> dict[str, Any]:
        answer = await run(LIST, project=PROJECT, **variables)
        assert answer.errors == []
        found: dict[str, Any] = answer.data["threads"]
        return found

    def names(found: dict[str, Any]) -> list[int]:
        return [int(edge["node"]["threadId"][-2:]) for edge in found["edges"]]

    newest = await page(first=5)
    onward = await page(first=5, after=newest["pageInfo"]["endCursor"])
    back = await page(last=3, before=onward["pageInfo"]["startCursor"])
    skipped = await page(first=3, offset=9)
    beyond = await page(first=3, offset=2**31 - 1)
    # All percentiles are equal, so the id decides.
    alike = await page(sort=[{"field": "p99_turn_duration_ms", "direction": "DESC"}], first=3)
    alike_on = await page(
        sort=[{"field": "p99_turn_duration_ms", "direction": "DESC"}], first=3, after=alike["edges"][0]["cursor"]
    )
    by_id = await page(sort=[{"field": "threadId", "direction": "DESC"}], last=2)

    assert names(newest) == [11, 10, 9, 8, 7]
    assert names(onward) == [6, 5, 4, 3, 2]
    assert names(back) == [9, 8, 7]
    assert [newest["pageInfo"]["hasPreviousPage"], onward["pageInfo"]["hasNextPage"]] == [False, True]
    assert names(skipped) == [2, 1, 0]
    assert (names(beyond), beyond["totalCount"]) == ([], 12)
    assert names(alike) == [11, 10, 9]
    assert names(alike_on) == [10, 9, 8]
    assert names(by_id) == [1, 0]


@pytest.mark.usefixtures("stock")
async def test_command_count_does_not_depend_on_page_size(run: Run, commands: Commands) -> None:
    document = """
    query ($project: ID!, $first: Int!) {
        threads(projectId: $project, first: $first) {
            totalCount
            nodes {
                threadId p99TurnDurationMs lastTurnId
                turns(first: 3) { totalCount nodes { id inputs } } calls(first: 2) { totalCount nodes { id } }
            }
        }
    }
    """

    async def sent(first: int) -> list[str]:
        commands.sent.clear()
        answer = await run(document, project=PROJECT, first=first)
        assert len(answer.data["threads"]["nodes"]) == first
        assert answer.data["threads"]["nodes"][0]["turns"]["totalCount"] == 5
        return commands.names

    assert sorted(await sent(2)) == sorted(await sent(12)) == ["aggregate"] * 7 + ["find"] * 3


@pytest.mark.usefixtures("stock")
async def test_cursor_does_not_depend_on_the_selection(run: Run) -> None:
    answer = await run(LIST, project=PROJECT, first=1)

    onward = await run(
        """
        query ($project: ID!, $after: String!) {
            threads(projectId: $project, first: 1, after: $after) { nodes { threadId p50TurnDurationMs lastTurnId } }
        }
        """,
        project=PROJECT,
        after=answer.data["threads"]["pageInfo"]["endCursor"],
    )

    assert onward.data == {
        "threads": {"nodes": [{"threadId": "thread 10", "p50TurnDurationMs": 300.0, "lastTurnId": call_id(54)}]}
    }


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"sort": [{"field": "turncount", "direction": "ASC"}]}, "sortBy.0.field", "did you mean turn_count"),
    ({"sort": [{"field": "latency", "direction": "ASC"}]}, "sortBy.0.field", "the fields are thread_id, turn_count"),
    (
        {"sort": [{"field": "turn_count", "direction": "ASC"}, {"field": "turnCount", "direction": "DESC"}]},
        "sortBy.1.field",
        "is named twice",
    ),
    ({"filter": {"threadIds": ["t"] * 10_000}}, "filter.threadIds", "has 10,000 members; the limit is 1,000"),
    ({"offset": -1}, "offset", "negative"),
    ({"first": 10_001}, "first", "the limit of 10,000"),
    ({"after": "garbage"}, "after", "not a cursor of this query"),
    ({"last": 2, "before": "Z2FyYmFnZQ=="}, "before", "not a cursor of this query"),
]


async def test_invalid_arguments_are_named(run: Run) -> None:
    for variables, argument, expected in REFUSED:
        answer = await run(LIST, project=PROJECT, **variables)

        assert answer.code == "BAD_USER_INPUT"
        assert expected in answer.errors[0]["message"]
        assert argument in answer.errors[0]["message"]


async def test_invalid_time_is_refused(run: Run) -> None:
    for name in ("afterDatetime", "beforeDatetime"):
        for time in ("yesterday", "2026-13-01T00:00:00Z", "", 5, True):
            answer = await run(LIST, project=PROJECT, filter={name: time})

            assert answer.code == "BAD_USER_INPUT"
            assert name in answer.errors[0]["message"]


@pytest.mark.usefixtures("stock")
async def test_cursor_of_another_filter_is_refused(run: Run) -> None:
    cursor = (await run(LIST, project=PROJECT, first=1)).data["threads"]["pageInfo"]["endCursor"]

    answer = await run(LIST, project=PROJECT, after=cursor, filter={"threadIds": ["thread 01"]})

    assert answer.code == "BAD_USER_INPUT"


async def test_ids_with_special_characters_round_trip(run: Run, calls: CallsStore) -> None:
    odd = ["$t", "a.b", "a\0b", "'\"`\\", "😀", "x" * 1024, "\u202e", "weave:///a/b"]
    await calls.write([part for number, name in enumerate(odd) for part in turn(number, name, number)])

    answer = await run(LIST, project=PROJECT, sort=[{"field": "start_time", "direction": "ASC"}])
    one_by_one = [await run(LIST, project=PROJECT, filter={"threadIds": [name]}) for name in odd]

    assert [edge["node"]["threadId"] for edge in answer.data["threads"]["edges"]] == odd
    assert [found.data["threads"]["edges"][0]["node"]["threadId"] for found in one_by_one] == odd


async def test_thread_has_the_sums_of_its_traces_and_is_found_by_id(run: Run, calls: CallsStore) -> None:
    usage = {"m": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}}
    parts = [*turn(1, "t", 0), *turn(2, "t", 10), *turn(3, "other", 20), *turn(4, "running", 30, None)]
    parts += [
        start(5, trace_id=trace_id(1), parent_id=call_id(1), attributes={"user_id": "zoe"}),
        end(5, summary={"usage": usage}, exception="broke"),
        start(6, trace_id=trace_id(2), parent_id=call_id(2), attributes={"user_id": "ada"}),
    ]
    await calls.write(parts)
    fields = "threadId turnCount numCalls numErrors totalTokens totalCost users"
    document = f"""query ($p: ID!, $query: QueryInput) {{
      thread(projectId: $p, threadId: "t") {{ {fields} }}
      none: thread(projectId: $p, threadId: "running") {{ {fields} }}
      threads(projectId: $p, query: $query, sortBy: [{{field: "num_errors", direction: DESC}}]) {{
        totalCount nodes {{ {fields} }}
      }}
    }}"""

    answer = await run(document, p=PROJECT)
    second = {"json": {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": call_id(3)}]}}}
    of_turn = await run(document, p=PROJECT, query=second)

    assert answer.errors == of_turn.errors == []
    first = {
        "threadId": "t",
        "turnCount": 2,
        "numCalls": 4,
        "numErrors": 1,
        "totalTokens": 3,
        "totalCost": None,
        "users": ["ada", "zoe"],
    }
    assert answer.data["thread"] == first
    assert answer.data["none"] is None
    assert answer.data["threads"]["totalCount"] == 2
    assert answer.data["threads"]["nodes"][0] == first
    assert [node["threadId"] for node in of_turn.data["threads"]["nodes"]] == ["other"]


async def test_too_many_users_of_a_thread_are_refused(
    run: Run, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_USERS", 1)
    parts = turn(1, "t", 0)
    for number, user in ((2, "zoe"), (3, "ada")):
        of_turn = start(number, trace_id=trace_id(1), parent_id=call_id(1), attributes={"user_id": user})
        parts.append(of_turn)
    await calls.write(parts)

    answer = await run('query ($p: ID!) { thread(projectId: $p, threadId: "t") { numCalls users } }', p=PROJECT)

    assert answer.code == "BAD_USER_INPUT"
    assert "more than 1 users" in answer.errors[0]["message"]


BY_TOTALS = """
query ($totals: QueryInput, $sort: [SortBy!]) {
  project(projectId: "acme/chat") {
    threads(totals: $totals, sortBy: $sort) { totalCount nodes { threadId } }
  }
  threads(projectId: "acme/chat", totals: $totals, sortBy: $sort) { totalCount nodes { threadId } }
  explainThreads(projectId: "acme/chat", totals: $totals, sortBy: $sort) { readsTotals indexes sortsInMemory }
}
"""


@pytest.mark.usefixtures("stock")
@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_condition_on_totals_and_plan(run: Run, database: Database, calls: CallsStore) -> None:
    await calls.write([*turn(900, "thread 03", 99_000), *turn(901, "thread 07", 99_000)])
    more = {"expr": {"gt": [{"getField": "turn_count"}, {"literal": 5}]}}
    by_turns = [{"field": "turn_count", "direction": "DESC"}]
    for is_settled in (False, True):
        if is_settled:
            await settle(Settling(database))

        answer = (await run(BY_TOTALS, totals=more, sort=by_turns)).data

        found = {"totalCount": 2, "nodes": [{"threadId": "thread 07"}, {"threadId": "thread 03"}]}
        assert answer["threads"] == answer["project"]["threads"] == found
        assert answer["explainThreads"]["readsTotals"] is is_settled
    assert answer["explainThreads"] == {
        "readsTotals": True,
        "indexes": ["turn_count_id_compressed"],
        "sortsInMemory": False,
    }
    by_time = (await run(BY_TOTALS)).data["explainThreads"]
    assert by_time == {
        "readsTotals": False,
        "indexes": ["ended_at_turn_of_started_at_compressed"],
        "sortsInMemory": False,
    }


async def test_bad_condition_on_totals_is_refused(run: Run) -> None:
    costly = {"expr": {"gt": [{"getField": "total_costs"}, {"literal": 5}]}}

    errors = (await run(BY_TOTALS, totals=costly)).errors

    assert len(errors) == 2  # the project has no call, so it is null
    for error in errors:
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["extensions"]["argument"].startswith("totals.expr")
        assert "did you mean total_cost" in error["message"]
