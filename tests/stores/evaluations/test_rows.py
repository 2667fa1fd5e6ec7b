"""Tests of a run's rows by example: order, pages, filters and sorts by scores, and a constant count of commands."""

import random
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError, NotFoundError
from stores.evaluations import EvaluationsStore
from stores.evaluations.result_rows import PredictionSelection
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.explain import explain
from stores.query.sort import SortBy
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.evaluations.builders import (
    Json,
    Prediction,
    digest_of,
    graded,
    of_prediction,
    of_run,
    prediction_id,
    row_ref,
    run_id,
    whole_run,
)

ROWS = 12
GRADE = "scores.helpfulness.grade"


def ids(page: Page) -> list[int]:
    return [int(row["id"]) for row in page.rows]


async def all_rows(
    evaluations: EvaluationsStore, size: int, *, backward: bool, sort_by: list[SortBy] | None = None
) -> list[Row]:
    rows: list[Row] = []
    cursor = None
    while True:
        page = await evaluations.rows(PROJECT, run_id(), PageRequest(size, cursor, backward), set(), sort_by)
        assert len(page.rows) <= size
        rows = page.rows + rows if backward else rows + page.rows
        if not (page.has_previous if backward else page.has_next):
            return rows
        cursor = page.cursor(page.rows[0] if backward else page.rows[-1])


@pytest.fixture
async def trials(calls: CallsStore) -> list[int]:
    """Write a run that tries twelve examples three times each, and return the examples in the run's order."""
    order = random.Random(8).sample(range(ROWS), ROWS)
    tried = [graded(number, (number * 7 + trial) % 5) for trial in range(3) for number in order]
    await calls.write([*whole_run(tried), *whole_run([graded(90, 1), graded(3, 1)], 2)])
    return order


@pytest.mark.parametrize("size", [1, 5, 100])
async def test_each_example_is_one_row_in_start_order(
    evaluations: EvaluationsStore, trials: list[int], size: int
) -> None:
    for backward in (False, True):
        rows = await all_rows(evaluations, size, backward=backward)
        assert [int(row["id"]) for row in rows] == trials
    assert await evaluations.count_rows(PROJECT, run_id()) == ROWS


@pytest.mark.parametrize("size", [1, 5, 100])
async def test_rows_are_sorted_by_the_mean_of_a_score(
    evaluations: EvaluationsStore, trials: list[int], size: int
) -> None:
    means = {number: sum((number * 7 + trial) % 5 for trial in range(3)) / 3 for number in trials}
    position = {number: place for place, number in enumerate(trials)}

    for descending, sign in ((False, 1), (True, -1)):
        order = [SortBy(GRADE, descending), SortBy("started_at")]
        rows = await all_rows(evaluations, size, backward=descending, sort_by=order)
        expected = sorted(trials, key=lambda n, sign=sign: (sign * means[n], position[n]))  # type: ignore[misc] # bound
        assert [int(row["id"]) for row in rows] == expected


async def test_booleans_sort_as_one_and_zero_and_non_numbers_last(
    evaluations: EvaluationsStore, calls: CallsStore
) -> None:
    values: list[Any] = [True, False, "passed", None, {"passed": True}, 0.5]
    await calls.write(
        whole_run([Prediction(row_ref(digest_of(n)), scores={"ok": value}) for n, value in enumerate(values)])
    )

    for descending, expected in ((False, [1, 5, 0, 2, 3, 4]), (True, [0, 5, 1, 4, 3, 2])):
        page = await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), [SortBy("scores.ok", descending)])
        assert ids(page) == expected


def contains(field: str, text: str) -> Json:
    return {"$contains": {"input": {"$getField": field}, "substr": {"$literal": text}, "case_insensitive": True}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"$gt": [{"$getField": GRADE}, {"$literal": 3}]}, [4, 5]),
        ({"$eq": [{"$getField": "scores.passed"}, {"$literal": False}]}, [1, 2, 3]),
        ({"$eq": [{"$getField": "status"}, {"$literal": "error"}]}, [0]),
        (contains("output", "ANSWER 3"), [3]),
        (contains("scores.helpfulness.reason", "s"), [1, 2, 3, 4, 5]),
        (contains("scores", '"Reason":'), [1, 2, 3, 4, 5]),
        (contains("scores", "absent"), []),
        (contains("exception", "tea"), [0]),
        ({"$gte": [{"$getField": "latency_ms"}, {"$literal": 10_000}]}, []),
    ],
)
async def test_rows_are_filtered_by_their_predictions(
    evaluations: EvaluationsStore, calls: CallsStore, query: Json, expected: list[int]
) -> None:
    failed = graded(0, None, exception="out of tea", own_output="nothing")
    await calls.write(whole_run([failed, *(graded(n, n, passed=n > 3) for n in range(1, 6))]))
    which = Query({"$expr": query})

    page = await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), None, which)

    assert ids(page) == expected
    assert await evaluations.count_rows(PROJECT, run_id(), which) == len(expected)


async def test_command_count_does_not_depend_on_page_size(
    evaluations: EvaluationsStore, calls: CallsStore, database: Database, commands: Commands
) -> None:
    await calls.write(whole_run([graded(n, n % 5) for n in range(300)]))
    names = []
    for size in (3, 300):
        commands.sent.clear()
        page = await evaluations.rows(PROJECT, run_id(), PageRequest(size), {"example"})
        keys = [(PROJECT, run_id(), row["id"]) for row in page.rows]
        await evaluations.predictions(keys, PredictionSelection(frozenset({"output", "scores", "model_call"})))
        names.append(commands.names)

    assert names[0] == names[1]
    assert len(names[0]) == 6
    [pipeline] = [body["pipeline"] for name, body in commands.sent if name == "aggregate"][:1]
    plan = await explain(database.calls, pipeline)
    assert plan.indexes == {"parent_id_example_digest_started_at_id"}
    assert plan.documents_examined == 0
    assert plan.keys_examined == 300


async def test_outputs_under_their_older_name_are_filtered_and_sorted(
    evaluations: EvaluationsStore, calls: CallsStore
) -> None:
    # Weave's client for TypeScript writes this name, and so does that for Python if a scorer takes model_output.
    for run, name in ((1, "model_output"), (2, "output")):
        made = [Prediction(row_ref(digest_of(n)), own_output={name: {"words": n % 3}}) for n in range(4)]
        await calls.write(whole_run(made, run))
    words = SortBy("output.words", descending=True)
    few = Query({"$expr": {"$lte": [{"$getField": "output.words"}, {"$literal": 0}]}})

    assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), [words])) == [2, 1, 3, 0]
    assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), None, few)) == [0, 3]
    assert await evaluations.count_rows(PROJECT, run_id(), few) == 2
    joined = await evaluations.joined_rows(PROJECT, [run_id(1), run_id(2)], PageRequest(), set(), [words])
    assert [row["_by_0"] for row in joined.rows] == [0, 0, 0, 0]


async def test_condition_compares_lists_and_objects_in_outputs_as_text(
    evaluations: EvaluationsStore, calls: CallsStore
) -> None:
    names = ("output", "model_output")
    outputs = [
        {"scores": {"model_output": [n]}, name: {"tools": [{"name": f"é{n}"}]}} for n in range(2) for name in names
    ]
    await calls.write(whole_run([Prediction(row_ref(digest_of(n)), own_output=each) for n, each in enumerate(outputs)]))
    texts = {
        "output": '{"tools":[{"name":"é1"}]}',
        "output.tools": '[{"name":"é1"}]',
        "output.tools.0": '{"name":"é1"}',
    }

    for path, text in texts.items():
        equal = {"$eq": [{"$convert": {"input": {"$getField": path}, "to": "string"}}, {"$literal": text}]}
        query = Query({"$expr": equal})
        assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), None, query)) == [2, 3]
    older = Query(
        {"$expr": {"$contains": {"input": {"$getField": "scores.model_output"}, "substr": {"$literal": "1"}}}}
    )
    assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), None, older)) == [2, 3]


async def test_rows_are_sorted_by_a_metric_name(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    scores = [{"a.b": {"$c": n % 3, "%": n}} for n in range(4)]
    await calls.write(whole_run([Prediction(row_ref(digest_of(n)), scores=each) for n, each in enumerate(scores)]))
    [metrics] = (await evaluations.metrics([(PROJECT, run_id())])).values()

    names = [metric["name"] for metric in metrics]
    pages = [
        await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), [SortBy(f"scores.{name}", descending=True)])
        for name in names
    ]

    assert dict(zip(names, map(ids, pages), strict=True)) == {r"a\.b.$c": [2, 1, 3, 0], r"a\.b.%": [3, 2, 1, 0]}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("status", "is not a number"),
        ("scores", "is not a number"),
        ("grade", "no field 'grade'"),
        ("output", "is not a number"),
    ],
)
async def test_sort_by_a_non_number_is_refused(
    evaluations: EvaluationsStore, calls: CallsStore, field: str, message: str
) -> None:
    await calls.write(of_run())

    with pytest.raises(BadInputError, match=message) as refused:
        await evaluations.rows(PROJECT, run_id(), PageRequest(), set(), [SortBy("started_at"), SortBy(field)])
    assert refused.value.argument == "sort_by.1.field"


async def test_call_other_than_a_run_has_no_rows(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write([*whole_run([graded(1, 1)]), start(1), end(1)])

    for project, run in ((PROJECT, call_id(404)), ("acme/other", run_id())):
        with pytest.raises(NotFoundError, match="there is no call") as missing:
            await evaluations.rows(project, run, PageRequest(), set())
        assert missing.value.argument == "evaluation_call_id"
    with pytest.raises(BadInputError, match="the call is not an evaluation") as refused:
        await evaluations.rows(PROJECT, call_id(1), PageRequest(), set())
    assert refused.value.argument == "evaluation_call_id"
    with pytest.raises(BadInputError, match="not a cursor of this query"):
        await evaluations.rows(PROJECT, run_id(), PageRequest(5, "nonsense"), set())


@pytest.mark.usefixtures("trials")
async def test_cursor_is_valid_for_one_run(evaluations: EvaluationsStore) -> None:
    page = await evaluations.rows(PROJECT, run_id(1), PageRequest(2), set())

    with pytest.raises(BadInputError, match="not a cursor of this query"):
        await evaluations.rows(PROJECT, run_id(2), PageRequest(2, page.cursor(page.rows[-1])), set())


async def test_rows_disappear_with_their_calls(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write([*of_run(runs=True), *(part for n in range(3) for part in of_prediction(n, graded(n, n)))])
    await calls.delete(PROJECT, [prediction_id(1)])

    assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set())) == [0, 2]
    await calls.write(of_prediction(7, graded(1, 5)))
    assert ids(await evaluations.rows(PROJECT, run_id(), PageRequest(), set())) == [0, 2, 1]
    assert await evaluations.count_rows(PROJECT, run_id()) == 3


async def examples(evaluations: EvaluationsStore) -> list[Any]:
    page = await evaluations.rows(PROJECT, run_id(), PageRequest(), {"example"})
    return [(row.get("example_ref", {}).get("ref"), row.get("json", {}).get("example")) for row in page.rows]


async def test_example_is_the_referenced_row_or_the_inline_value(
    evaluations: EvaluationsStore, calls: CallsStore, tables: TablesStore
) -> None:
    _, [digest] = await tables.create(PROJECT, [{"question": "Why?", "n": 2**70}])
    _, [foreign, secret] = await tables.create("acme/other", [{"question": "How?"}, {"question": "What?"}])
    given: list[Any] = [
        row_ref(digest),
        f"weave:///{PROJECT}/table/{'0' * 64}/id/{'9' * 43}",
        row_ref("lost".ljust(43, "x")),
        row_ref(foreign).replace(PROJECT, "acme/other"),
        row_ref(secret),
        {"question": "Who?", "big": "x" * 1_000_000, "n": 2**70},
        "in words",
        None,
        [1, {"a": None}],
    ]
    await calls.write(whole_run([Prediction(example) for example in given]))

    found = await examples(evaluations)

    assert found[0] == (given[0], f'{{"question":"Why?","n":{2**70}}}')
    assert found[1:5] == [(None, None) if "/table/" in ref else (ref, None) for ref in given[1:5]]
    assert found[5][1] == f'{{"question":"Who?","big":"{"x" * 1_000_000}","n":{2**70}}}'
    assert found[6:] == [(None, '"in words"'), (None, "null"), (None, '[1,{"a":null}]')]


async def test_inline_and_referenced_example_are_equal(
    evaluations: EvaluationsStore, calls: CallsStore, tables: TablesStore
) -> None:
    _, [digest] = await tables.create(PROJECT, [{"question": "Why?", "n": 1}])
    await calls.write(whole_run([Prediction({"n": 1, "question": "Why?"}), Prediction(row_ref(digest))]))

    assert len(await examples(evaluations)) == 1
    found = await evaluations.predictions([(PROJECT, run_id(), digest)], PredictionSelection(frozenset({"output"})))
    assert [row["id"] for row in found[PROJECT, run_id(), digest]] == [prediction_id(0), prediction_id(1)]
