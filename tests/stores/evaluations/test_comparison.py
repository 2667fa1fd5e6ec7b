"""Tests of the comparison of runs: which runs are comparable, and how their examples are joined."""

import pytest

from stores.calls import CallsStore
from stores.errors import BadInputError, NotFoundError
from stores.evaluations import EvaluationsStore
from stores.objects import ObjectsStore, ObjectVersion
from stores.paging import PageRequest
from stores.query.sort import SortBy
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.evaluations.builders import MODEL, Prediction, graded, row_ref, run_id, whole_run

RUNS = [run_id(1), run_id(2)]
GRADE = "scores.helpfulness.grade"


@pytest.fixture
async def two_runs(calls: CallsStore) -> None:
    """Write runs over datasets that share examples 1, 2 and 3; the grades of 1 fall, and those of 3 rise."""
    first = [graded(n, grade) for n, grade in ((3, 1), (1, 5), (2, 3), (7, 2), (3, 2), (1, 4), (2, 3))]
    second = [graded(n, grade) for n, grade in ((1, 1), (2, 3), (3, 5), (8, 5), (9, None), (3, 4))]
    await calls.write([*whole_run(first), *whole_run(second, 2)])


async def joined(
    evaluations: EvaluationsStore, sort_by: list[SortBy] | None = None, *, only_common: bool = True, size: int = 2
) -> list[int]:
    """Return the examples of both runs, and check that paging forward and backward gives equal lists."""
    walks: list[list[int]] = []
    for backward in (False, True):
        rows: list[int] = []
        cursor = None
        while True:
            request = PageRequest(size, cursor, backward)
            page = await evaluations.joined_rows(PROJECT, RUNS, request, set(), sort_by, only_common=only_common)
            found = [int(row["id"]) for row in page.rows]
            rows = found + rows if backward else rows + found
            if not (page.has_previous if backward else page.has_next):
                break
            cursor = page.cursor(page.rows[0] if backward else page.rows[-1])
        walks.append(rows)
    assert walks[0] == walks[1]
    return walks[0]


@pytest.mark.usefixtures("two_runs")
async def test_examples_are_matched_in_the_order_of_the_first_run(evaluations: EvaluationsStore) -> None:
    assert await joined(evaluations) == [3, 1, 2]
    assert await joined(evaluations, only_common=False) == [3, 1, 2, 7, 8, 9]
    assert await evaluations.count_joined_rows(PROJECT, RUNS) == 3
    assert await evaluations.count_joined_rows(PROJECT, RUNS, only_common=False) == 6


@pytest.mark.usefixtures("two_runs")
async def test_examples_are_sorted_by_their_change(evaluations: EvaluationsStore) -> None:
    # 3 rises from 1.5 to 4.5, 1 falls from 4.5 to 1, and 2 stays equal; the other examples are in one run only.
    assert await joined(evaluations, [SortBy(GRADE)]) == [1, 2, 3]
    assert await joined(evaluations, [SortBy(GRADE, descending=True)], only_common=False) == [3, 2, 1, 9, 8, 7]


@pytest.mark.usefixtures("two_runs")
async def test_example_has_its_changes(evaluations: EvaluationsStore, commands: Commands) -> None:
    commands.sent.clear()

    page = await evaluations.joined_rows(PROJECT, RUNS, PageRequest(), set(), only_common=False, with_metrics=True)

    assert commands.names == ["aggregate", "aggregate"]
    name = "helpfulness.grade"
    found = {int(row["id"]): [run["metrics"] for run in row["runs"]] for row in page.rows}
    assert [found[number] for number in (1, 7, 9)] == [
        [[{"name": name, "mean": 4.5, "difference": None}], [{"name": name, "mean": 1.0, "difference": -3.5}]],
        [[{"name": name, "mean": 2.0, "difference": None}], []],
        [[], []],
    ]
    assert [[run["run_id"] for run in row["runs"]] for row in page.rows] == [RUNS] * 6


async def test_example_is_matched_across_datasets(
    evaluations: EvaluationsStore, calls: CallsStore, tables: TablesStore
) -> None:
    _, [digest, _] = await tables.create(PROJECT, [{"question": "Why?"}, {"question": "How?"}])
    await calls.write([*whole_run([Prediction(row_ref(digest))]), *whole_run([Prediction({"question": "Why?"})], 2)])

    page = await evaluations.joined_rows(PROJECT, RUNS, PageRequest(), {"example"})

    assert [row["json"]["example"] for row in page.rows] == ['{"question":"Why?"}']


async def test_compared_runs_have_their_inputs(
    evaluations: EvaluationsStore, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    dataset, scorer = f"weave:///{PROJECT}/object/Questions:{'q' * 43}", f"weave:///{PROJECT}/op/ok:{'o' * 43}"
    value = {"dataset": dataset, "scorers": [scorer, {"inline": 1}, 5], "trials": 3}
    digest = await objects.create(ObjectVersion(PROJECT, "quality", value))
    evaluation = f"weave:///{PROJECT}/object/quality:{digest}"
    await calls.write(
        [
            *whole_run([], 1, inputs={"self": evaluation, "model": MODEL}, display_name="first", output={"a": 1}),
            *whole_run([], 2, inputs={"self": {"dataset": "none"}, "model": {"name": "inline"}}, runs=True),
            *whole_run([], 3, exception="out of tea", output=None),
        ]
    )
    wanted = {
        "evaluation",
        "model",
        "dataset",
        "scorers",
        "trials",
        "output",
        "display_name",
        "latency_ms",
        "exception",
    }
    commands.sent.clear()

    first, second, third = await evaluations.runs(PROJECT, [*RUNS, run_id(3)], wanted)

    assert len(commands.names) == 2
    assert [(run["id"], run["status"]) for run in (first, second, third)] == [
        (run_id(1), "complete"),
        (run_id(2), "running"),
        (run_id(3), "failed"),
    ]
    assert first["evaluation"] == {"project_id": PROJECT, "ref": evaluation}
    assert first["model"] == {"project_id": PROJECT, "ref": MODEL}
    assert first["dataset"] == {"project_id": PROJECT, "ref": dataset}
    assert first["scorers"] == [{"project_id": PROJECT, "ref": scorer}]
    assert (first["trials"], first["display_name"], first["latency_ms"]) == (3, "first", 3_600_000)
    assert first["json"] == {"output": '{"a":1}'}
    assert (second["evaluation"], second["model"], second["dataset"], second["scorers"]) == (None, None, None, [])
    assert (third["exception"], third["json"], third["trials"]) == ("out of tea", {"output": "{}"}, 1)
    assert await evaluations.run(PROJECT, run_id(1), wanted) == first
    assert await evaluations.run("acme/other", run_id(1), wanted) is None


@pytest.mark.parametrize(
    ("call_ids", "argument", "message"),
    [
        ([], "call_ids", "has 0 runs; compare 2 to 10"),
        ([run_id(1)], "call_ids", "has 1 runs; compare 2 to 10"),
        ([run_id(n) for n in range(11)], "call_ids", "has 11 runs; compare 2 to 10"),
        ([run_id(1), run_id(2), run_id(1)], "call_ids.2", "is repeated"),
        ([run_id(1), call_id(5)], "call_ids.1", "the call is not an evaluation: its op is 'answer'"),
    ],
)
@pytest.mark.usefixtures("two_runs")
async def test_incomparable_runs_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, call_ids: list[str], argument: str, message: str
) -> None:
    await calls.write([start(5), end(5)])

    with pytest.raises(BadInputError, match=message) as refused:
        await evaluations.runs(PROJECT, call_ids, set())
    assert refused.value.argument == argument


@pytest.mark.usefixtures("two_runs")
async def test_missing_run_is_named(evaluations: EvaluationsStore) -> None:
    for project, missing, argument in ((PROJECT, run_id(4), "call_ids.1"), ("acme/other", run_id(2), "call_ids.0")):
        with pytest.raises(NotFoundError, match="there is no call") as refused:
            await evaluations.runs(project, [run_id(1), missing], set())
        assert refused.value.argument == argument
