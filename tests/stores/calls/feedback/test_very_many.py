"""Tests of the database commands when very much feedback matches a condition or sorts a list."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.feedback.conditions import FoundCalls
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.feedback.builders import call_ref, reaction

EMOJI = "feedback.[wandb.reaction.1].payload.emoji"
DOWN = Query({"$expr": {"$eq": [{"$getField": EMOJI}, {"$literal": "👎"}]}})
CALLS = 300


@pytest.fixture
async def written(calls: CallsStore, feedback: FeedbackStore) -> None:
    """Write calls of which all but the last ten have a reaction; every other one is a thumbs-down."""
    await calls.write([start(number) for number in range(CALLS)])
    await feedback.create([reaction("👎👍"[number % 2], weave_ref=call_ref(number)) for number in range(CALLS - 10)])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.calls.feedback.conditions.FIRST_MAX_FEEDBACK", 100)
    monkeypatch.setattr("stores.calls.list_query._FIRST_LOOKED_UP", 50)


def stages_sent(commands: Commands) -> list[tuple[str, set[str]]]:
    """Return the collection and the pipeline stages of each command; a `find` has no stages."""
    return [
        (body[name], {name for stage in body.get("pipeline", ()) for name in stage}) for name, body in commands.sent
    ]


@pytest.mark.usefixtures("written", "hasty")
async def test_page_of_a_common_condition_reads_the_first_calls(calls: CallsStore, commands: Commands) -> None:
    for backward, numbers in ((False, range(0, 20, 2)), (True, range(270, 290, 2))):
        commands.sent.clear()
        page = await calls.page(PROJECT, PageRequest(10, backward=backward), {"id"}, query=DOWN)

        assert [row["id"] for row in page.rows] == [call_id(number) for number in numbers]
        (first, _), (then, stages) = stages_sent(commands)
        assert (first, then) == ("feedback", "calls")
        assert "$lookup" in stages
        assert commands.sent[0][1]["pipeline"][2] == {"$limit": 101}
        assert {"$limit": 50} in commands.sent[1][1]["pipeline"]


@pytest.mark.usefixtures("written", "hasty")
async def test_page_not_filled_by_first_calls_is_driven_by_feedback(calls: CallsStore, commands: Commands) -> None:
    commands.sent.clear()
    page = await calls.page(PROJECT, PageRequest(60), {"id"}, query=DOWN)

    assert [row["id"] for row in page.rows] == [call_id(number) for number in range(0, 120, 2)]
    assert page.has_next
    assert [collection for collection, _ in stages_sent(commands)] == ["feedback", "calls", "feedback", "calls"]
    assert "$lookup" not in stages_sent(commands)[-1][1]
    rest = await calls.page(PROJECT, PageRequest(200, page.cursor(page.rows[-1])), {"id"}, query=DOWN)
    assert [row["id"] for row in rest.rows] == [call_id(number) for number in range(120, 290, 2)]
    assert not rest.has_next


@pytest.mark.usefixtures("written", "hasty")
async def test_count_reads_all_matching_feedback_in_one_command(calls: CallsStore, commands: Commands) -> None:
    commands.sent.clear()

    assert await calls.count(PROJECT, query=DOWN) == (CALLS - 10) // 2
    assert [collection for collection, _ in stages_sent(commands)] == ["feedback", "calls"]


def test_ids_are_encoded_once_without_traversal() -> None:
    found = FoundCalls(["b", "a"], 2)
    matches: list[tuple[dict[str, Any], str, list[str]]] = [
        (found.by_id, "id", ["b", "a"]),
        (found.by_key(PROJECT), "_id", [f"{PROJECT}:b", f"{PROJECT}:a"]),
    ]
    for match, path, members in matches:
        assert not isinstance(match[path], dict)  # code that walks through queries would walk through a dict
        assert dict(match[path]) == {"$in": members}
    assert found.by_id is found.by_id


@pytest.mark.not_on("cluster", reason="the plan names no documents that a lookup on other shards examined")
@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("name", [EMOJI, "feedback.[wandb.reaction.1].created_at", "feedback.[*].payload.emoji"])
@pytest.mark.parametrize("descending", [False, True])
async def test_feedback_sort_looks_up_only_the_calls_of_its_page(
    calls: CallsStore, database: Database, commands: Commands, name: str, *, descending: bool
) -> None:
    commands.sent.clear()
    page = await calls.page(PROJECT, PageRequest(10), {"id"}, sort_by=[SortBy(name, descending)])

    assert len(page.rows) == 10
    assert [collection for collection, _ in stages_sent(commands)] == ["feedback"]
    command = {"aggregate": "feedback", "pipeline": commands.last("aggregate")["pipeline"], "cursor": {}}
    explained = await database.feedback.database.command("explain", command, verbosity="executionStats")
    [lookup] = [stage for stage in explained["stages"] if "$lookup" in stage]
    assert lookup["totalDocsExamined"] == 11


@pytest.mark.usefixtures("written")
async def test_calls_without_feedback_are_read_only_if_a_page_reaches_them(
    calls: CallsStore, commands: Commands
) -> None:
    sort_by = [SortBy(EMOJI), SortBy("id", descending=True)]
    ups, downs = ([call_id(number) for number in range(288 + odd, -1, -2)] for odd in (1, 0))
    ordered = [*sorted((ups, downs), key=lambda ids: "👎👍"[ids is ups])]
    expected = [*ordered[0], *ordered[1], *(call_id(number) for number in range(299, 289, -1))]
    commands.sent.clear()

    page = await calls.page(PROJECT, PageRequest(15, offset=280), {"id"}, sort_by=sort_by)

    assert [row["id"] for row in page.rows] == expected[280:295]
    assert [collection for collection, _ in stages_sent(commands)] == ["feedback", "feedback", "calls"]
    commands.sent.clear()
    last = await calls.page(PROJECT, PageRequest(5, backward=True), {"id"}, sort_by=sort_by)
    assert [row["id"] for row in last.rows] == expected[-5:]
    assert [collection for collection, _ in stages_sent(commands)] == ["feedback", "calls"]
    before: dict[str, Any] = {"cursor": last.cursor(last.rows[0]), "backward": True}
    page = await calls.page(PROJECT, PageRequest(10, **before), {"id"}, sort_by=sort_by)
    assert [row["id"] for row in page.rows] == expected[-15:-5]
    assert (page.has_previous, page.has_next) == (True, True)
