"""Tests of lists and counts of calls by their feedback: the results, the database commands, and the snapshot."""

from collections.abc import Sequence
from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore, Expansion
from stores.calls import list_query as searches
from stores.calls.feedback import conditions
from stores.database import Database
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from stores.paging import PageRequest
from stores.query import Query
from stores.query.explain import explain
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import call_ref, note, reaction
from tests.stores.feedback.builders import feedback as said
from tests.stores.objects.builders import version

Tree = Any

EMOJI = "feedback.[wandb.reaction.1].payload.emoji"
NOTE = "feedback.[wandb.note.1].payload.note"
BOUND = "stores.calls.feedback.conditions.MAX_FEEDBACK"


def get(name: str) -> Tree:
    return {"$getField": name}


def compared(comparison: str, name: str, value: object) -> Tree:
    return {f"${comparison}": [get(name), {"$literal": value}]}


def there(name: str) -> Tree:
    return {"$convert": {"input": get(name), "to": "exists"}}


DOWN = compared("eq", EMOJI, "👎")
UP = compared("eq", EMOJI, "👍")


async def found(calls: CallsStore, tree: Tree, sort_by: Sequence[SortBy] | None = None, **options: Any) -> list[int]:
    """Return the numbers of the listed calls, and check that the count is the same."""
    query = Query({"$expr": tree}) if tree else None
    page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=sort_by, query=query, **options)
    assert await calls.count(PROJECT, query=query, **options) == len(page.rows)
    return [int(row["id"][-12:], 16) for row in page.rows]


@pytest.fixture(params=[50_000, 0], ids=["asked before", "looked up"])
def bound(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set the bound so that the store reads feedback before the calls, or looks it up for each call."""
    monkeypatch.setattr(BOUND, request.param)
    return int(request.param)


@pytest.fixture
async def reactions(calls: CallsStore, feedback: FeedbackStore) -> None:
    """Write five calls: one praised, one blamed, one both, one with a note, one without feedback."""
    await calls.write([part for number in range(5) for part in (start(number), end(number, output=number))])
    batch = [("👍", 0), ("👎", 1), ("👍", 2), ("👎", 2)]
    await feedback.create([reaction(emoji, weave_ref=call_ref(number)) for emoji, number in batch])
    await feedback.create([note("please mend", weave_ref=call_ref(3))])


MEANT = [
    pytest.param(DOWN, [1, 2], id="any will do"),
    pytest.param({"$not": [DOWN]}, [0, 3, 4], id="not is the exact opposite"),
    pytest.param({"$and": [DOWN, UP]}, [2], id="each of two may be met by another one"),
    pytest.param({"$or": [DOWN, compared("gte", NOTE, "p")]}, [1, 2, 3], id="or"),
    pytest.param({"$and": [DOWN, compared("gt", "output", 1)]}, [2], id="beside a field of the call"),
    pytest.param({"$and": [there("feedback.[wandb.reaction.1]"), {"$not": [UP]}]}, [1], id="there is one, and not"),
    pytest.param({"$and": [there("feedback.[*]")]}, [0, 1, 2, 3], id="there is any"),
    pytest.param({"$not": [there("feedback.[*]")]}, [4], id="there is none"),
    pytest.param({"$eq": [there("feedback.[wandb.note.1]"), {"$literal": False}]}, [0, 1, 2, 4], id="exists is false"),
    pytest.param(compared("eq", NOTE, None), [0, 1, 2, 4], id="missing is null"),
    pytest.param(compared("eq", "feedback.[*].payload.note", None), [0, 1, 2, 4], id="missing in all"),
    pytest.param(compared("eq", NOTE, ""), [0, 1, 2, 4], id="missing equals the empty text"),
    pytest.param({"$not": [{"$eq": [{"$literal": ""}, get(NOTE)]}]}, [3], id="scored by, as the Weave SDK asks"),
    pytest.param(compared("eq", "feedback.[*].payload.note", ""), [0, 1, 2, 4], id="empty in all"),
    pytest.param({"$in": [get(EMOJI), [{"$literal": "👎"}, {"$literal": ""}]]}, [1, 2, 3, 4], id="among, with empty"),
    pytest.param({"$in": [{"$literal": ""}, [get(EMOJI), {"$literal": "x"}]]}, [3, 4], id="empty among"),
    pytest.param(compared("gte", NOTE, ""), [3], id="missing has no order"),
    pytest.param(
        {"$eq": [{"$convert": {"input": get(NOTE), "to": "string"}}, {"$literal": ""}]}, [], id="converted is null"
    ),
    pytest.param({"$in": [get(EMOJI), [{"$literal": "👎"}, {"$literal": None}]]}, [1, 2, 3, 4], id="among, with null"),
    pytest.param(
        {
            "$contains": {
                "input": get("feedback.[*]"),
                "substr": {"$literal": '"note":"Please'},
                "case_insensitive": True,
            }
        },
        [3],
        id="in the payload as a whole",
    ),
    pytest.param(compared("eq", "feedback.[*].feedback_type", "wandb.note.1"), [3], id="its type"),
    pytest.param(
        {"$gt": [get("feedback.[*].createdAt"), get("started_at")]}, [0, 1, 2, 3], id="beside the call's time"
    ),
    pytest.param(compared("lt", "feedback.[*].created_at", "2020-01-01T00:00:00Z"), [], id="before a time"),
    pytest.param({"$eq": [DOWN, UP]}, [2, 3, 4], id="one inside another"),
    pytest.param(
        {"$in": [{"$literal": "x"}, [get(NOTE), {"$literal": "x"}]]}, [0, 1, 2, 3, 4], id="true whatever there is"
    ),
]


@pytest.mark.usefixtures("reactions", "bound")
@pytest.mark.parametrize(("tree", "expected"), MEANT)
async def test_calls_are_found_by_their_feedback(calls: CallsStore, tree: Tree, expected: list[int]) -> None:
    assert await found(calls, tree) == expected


@pytest.mark.usefixtures("bound")
async def test_sort_uses_the_latest_feedback_and_puts_calls_without_it_last(
    calls: CallsStore, feedback: FeedbackStore, database: Database
) -> None:
    await calls.write([start(number) for number in range(6)])
    marks: dict[int, list[object]] = {0: [9, 3], 1: [None, 5], 2: ["b"], 3: ["a"], 4: [5, [1]]}
    said_at = [(number, mark, at) for number, each in marks.items() for at, mark in enumerate(each)]
    batch = [said({"mark": mark}, weave_ref=call_ref(number), id=f"{number}{at}") for number, mark, at in said_at]
    await feedback.create([*batch, *(note(weave_ref=call_ref(number)) for number in range(6))])
    for number, _, at in said_at:
        await database.feedback.update_one(
            {"project_id": PROJECT, "id": f"{number}{at}"}, {"$set": {"created_at": at if number else 7}}
        )

    ascending = await found(calls, None, [SortBy("feedback.[custom].payload.mark")])
    descending = await found(calls, None, [SortBy("feedback.[custom].payload.mark", descending=True)])

    assert ascending == [0, 1, 3, 2, 4, 5]
    assert descending == [1, 0, 2, 3, 4, 5]
    both = [SortBy("feedback.[custom].created_at", descending=True), SortBy("feedback.[wandb.note.1].id", True)]  # noqa: FBT003 -- descending
    assert await found(calls, None, both) == [0, 4, 1, 3, 2, 5]


@pytest.mark.usefixtures("reactions")
async def test_filters_counts_and_sizes_apply_feedback_conditions(calls: CallsStore) -> None:
    stats = await calls.stats(PROJECT, {"count", "total_storage_size_bytes"}, query=Query({"$expr": DOWN}))
    few = await calls.stats(PROJECT, {"count"}, limit=1, query=Query({"$expr": DOWN}))

    rows = (await calls.page(PROJECT, PageRequest(), {"id", "total_storage_size_bytes"})).rows
    assert stats.count == 2
    assert stats.total_storage_size_bytes == sum(rows[number]["total_storage_size_bytes"] for number in (1, 2)) > 0
    assert few.count == 1
    assert await found(calls, DOWN, calls_filter=CallsFilter(call_ids=[call_id(2), call_id(3)])) == [2]


@pytest.mark.usefixtures("bound")
async def test_feedback_is_compared_with_values_behind_refs(
    calls: CallsStore, feedback: FeedbackStore, objects: ObjectsStore
) -> None:
    digest = await objects.create(version({"limit": 5}, object_id="model"))
    ref = f"weave:///{PROJECT}/object/model:{digest}"
    await calls.write([start(number, inputs={"model": ref if number else "none"}) for number in range(3)])
    await feedback.create([said({"score": score}, weave_ref=call_ref(score // 3)) for score in (2, 4, 7)])
    above = {"$gt": [get("feedback.[custom].payload.score"), get("inputs.model.limit")]}
    expansion = Expansion(["inputs.model"])

    assert await found(calls, above, expansion=expansion) == [2]
    assert await found(calls, {"$not": [above]}, [SortBy("inputs.model.limit")], expansion=expansion) == [1, 0]


@pytest.mark.usefixtures("reactions")
@pytest.mark.parametrize("number", [1, 60])
async def test_command_count_does_not_depend_on_page_size(
    calls: CallsStore, feedback: FeedbackStore, commands: Commands, number: int
) -> None:
    await calls.write([start(100 + each) for each in range(number)])
    await feedback.create([reaction("👎", weave_ref=call_ref(100 + each)) for each in range(number)])
    commands.sent.clear()

    query, sort_by = Query({"$expr": {"$and": [DOWN, {"$not": [UP]}]}}), [SortBy(NOTE), SortBy("op_name")]
    page = await calls.page(PROJECT, PageRequest(1_000), {"id"}, sort_by=sort_by, query=query)

    assert len(page.rows) == 1 + number
    assert commands.names == ["aggregate"] * 4
    moments = [body["readConcern"].get("atClusterTime") for _, body in commands.sent]
    assert moments[0] in (None, moments[1])  # a cluster is asked for the time first
    assert None not in moments[1:]
    assert len({str(moment) for moment in moments[1:]}) == 1


@pytest.mark.usefixtures("reactions")
async def test_query_without_feedback_fields_reads_no_feedback(calls: CallsStore, commands: Commands) -> None:
    commands.sent.clear()

    await found(calls, compared("gt", "output", 1))

    assert {body.get("find") or body.get("aggregate") for _, body in commands.sent} == {"calls", "hour_marks"}
    assert "feedback" not in repr(commands.sent)


@pytest.mark.usefixtures("reactions")
async def test_page_is_a_snapshot_at_the_time_of_the_feedback_read(
    calls: CallsStore, feedback: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_prequeries = conditions.run_prequeries

    async def ask_slowly(*arguments: Any) -> Any:
        answers = await run_prequeries(*arguments)
        await calls.delete(PROJECT, [call_id(1)])
        await feedback.create([note("zzz", weave_ref=call_ref(2)), reaction("👎", weave_ref=call_ref(0))])
        return answers

    by_note = [SortBy(NOTE, descending=True)]
    monkeypatch.setattr(conditions, "run_prequeries", ask_slowly)
    page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=by_note, query=Query({"$expr": DOWN}))
    monkeypatch.undo()

    assert [row["id"] for row in page.rows] == [call_id(2), call_id(1)]
    assert await found(calls, DOWN, by_note) == [2, 0]


@pytest.mark.usefixtures("reactions")
async def test_cursor_continues_after_new_feedback(calls: CallsStore, feedback: FeedbackStore) -> None:
    query = Query({"$expr": DOWN})
    for sort_by in (None, [SortBy("feedback.[*].created_at")]):
        first = await calls.page(PROJECT, PageRequest(1), {"id"}, sort_by=sort_by, query=query)
        after = PageRequest(9, first.cursor(first.rows[0]))
        await feedback.create([reaction("👎", weave_ref=call_ref(4))])

        rest = await calls.page(PROJECT, after, {"id"}, sort_by=sort_by, query=query)

        assert [row["id"] for row in rest.rows] == [call_id(2), call_id(4)]
        for other in (Query({"$expr": UP}), Query({"$expr": {"$not": [DOWN]}}), None):
            with pytest.raises(BadInputError, match="not a cursor of this query"):
                await calls.page(PROJECT, after, {"id"}, sort_by=sort_by, query=other)
    for name in ("feedback.[wandb.note.1].created_at", "feedback.[*].id"):
        with pytest.raises(BadInputError, match="not a cursor of this query"):
            await calls.page(PROJECT, after, {"id"}, sort_by=[SortBy(name)], query=query)


@pytest.mark.not_on("cluster", reason="a shard reads documents unless the index has the shard key")
async def test_rare_feedback_condition_drives_the_query(
    calls: CallsStore, feedback: FeedbackStore, database: Database, commands: Commands
) -> None:
    await calls.write([start(number) for number in range(600)])
    await feedback.create([reaction("👎", weave_ref=call_ref(number)) for number in range(0, 600, 120)])
    down = Query({"$expr": DOWN})

    plan = await calls.explain(PROJECT, query=down)
    with_or = await calls.explain(PROJECT, query=Query({"$expr": {"$or": [DOWN, compared("eq", "op_name", "none")]}}))

    assert plan.indexes == {"_id_"}
    assert plan.returned == plan.documents_examined == 5
    assert not any("$lookup" in stage for stage in [*plan.pipeline, *with_or.pipeline])
    assert with_or.returned == 5
    await calls.count(PROJECT, query=Query({"$expr": {"$not": [DOWN]}}))
    counted = await explain(database.calls, commands.last("aggregate")["pipeline"])
    assert (counted.returned, counted.documents_examined) == (595, 0)
    sort = await calls.explain(PROJECT, sort_by=[SortBy(EMOJI)])
    assert sort.indexes == {"feedback_type_created_at_desc_id_desc"}
    mixed = await calls.explain(PROJECT, sort_by=[SortBy(EMOJI), SortBy("op_name")])
    stages = [next(iter(stage)) for stage in mixed.pipeline]
    assert stages[:5] == ["$match", "$match", "$lookup", "$set", "$unionWith"]


async def test_common_feedback_condition_is_checked_call_by_call(
    calls: CallsStore, feedback: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BOUND, 100)
    await calls.write([start(number) for number in range(300)])
    await feedback.create([reaction("👎", weave_ref=call_ref(number)) for number in range(300)])

    plan = await calls.explain(PROJECT, query=Query({"$expr": {"$and": [DOWN, compared("gt", "op_name", "a")]}}))

    stages = [next(iter(stage)) for stage in plan.pipeline]
    assert stages == ["$match", "$sort", "$lookup", "$set", "$match", "$limit", "$project"]
    assert not plan.sorts_in_memory
    assert await calls.count(PROJECT, query=Query({"$expr": DOWN})) == 300


async def test_feedback_results_fit_into_commands_with_a_long_project_name(
    calls: CallsStore, feedback: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = f"{'é' * 128}/{'🧵' * 128}"
    await calls.write([start(number, project_id=project_id) for number in range(9)])
    await feedback.create([reaction("👎", project_id=project_id, weave_ref=call_ref(1, project_id))])
    monkeypatch.setattr(searches, "_MAX_BYTES", 2 * 1_000)
    by_one = await calls.explain(project_id, query=Query({"$expr": DOWN}))
    monkeypatch.setattr(searches, "_MAX_BYTES", 2 * 700)

    by_none = await calls.explain(project_id, query=Query({"$expr": DOWN}))

    assert [any("$lookup" in stage for stage in plan.pipeline) for plan in (by_one, by_none)] == [False, True]
    assert by_one.returned == 1
    page = await calls.page(project_id, PageRequest(), {"id"}, query=Query({"$expr": DOWN}))
    assert [row["id"] for row in page.rows] == [call_id(1)]


@pytest.mark.parametrize(
    ("name", "index", "examined"),
    [
        ("feedback.[wandb.reaction.1].payload.emoji", "feedback_type_created_at_desc_id_desc", 40),
        ("feedback.[*].payload.emoji", "call_id_created_at_id", 800),
    ],
)
async def test_feedback_query_uses_the_index_of_its_type(
    calls: CallsStore,
    feedback: FeedbackStore,
    database: Database,
    commands: Commands,
    name: str,
    index: str,
    examined: int,
) -> None:
    await calls.write([start(number) for number in range(40)])
    await feedback.create([note(weave_ref=call_ref(number % 40)) for number in range(760)])
    await feedback.create([said(weave_ref="nothing") for _ in range(500)])
    await feedback.create([reaction("👎", weave_ref=call_ref(number)) for number in range(40)])

    assert await calls.count(PROJECT, query=Query({"$expr": compared("eq", name, "👎")})) == 40

    pipeline = next(body["pipeline"] for _, body in commands.sent if body.get("aggregate") == "feedback")
    plan = await explain(database.feedback, pipeline)
    assert index in plan.indexes
    assert plan.documents_examined == examined
    assert not plan.sorts_in_memory


async def test_feedback_condition_compares_lists_and_objects_as_text(
    calls: CallsStore, feedback: FeedbackStore
) -> None:
    payload = {"tags": ["a", {"b": 1.0}]}
    await calls.write([start(n, inputs={"rules": [{"text": "please mend"}, n]}) for n in range(3)])
    await feedback.create([said(feedback_type="tags", payload=payload, weave_ref=call_ref(0))])
    await feedback.create([note("mend", weave_ref=call_ref(1)), note("leave", weave_ref=call_ref(2))])
    tags = {"$convert": {"input": get("feedback.[tags].payload.tags"), "to": "string"}}

    assert await found(calls, {"$eq": [tags, {"$literal": '["a",{"b":1.0}]'}]}) == [0]
    assert await found(calls, {"$contains": {"input": get("inputs.rules"), "substr": get(NOTE)}}) == [1]
