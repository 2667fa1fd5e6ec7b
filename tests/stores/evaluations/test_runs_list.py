"""The list of a project's evaluation runs: order, pages, filters and bad input."""

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.evaluations import EvaluationsStore, RunsFilter, store
from stores.paging import PageRequest
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start

DIGEST = "x" * 43
PLAIN = "Evaluation.evaluate"


def object_of(name: str, digest: str = DIGEST) -> str:
    return f"weave:///{PROJECT}/object/{name}:{digest}"


@pytest.fixture
async def evaluations(database: Database, calls: CallsStore) -> EvaluationsStore:
    """Write five runs of two evaluations and two models, a call of another op, and a run of another project."""
    ref, subclass = f"weave:///{PROJECT}/op/{PLAIN}:{DIGEST}", f"weave:///{PROJECT}/op/My{PLAIN}:{DIGEST}"
    ops = [PLAIN, ref, subclass, PLAIN, ref]
    for number, op in enumerate(ops, 1):
        inputs = {
            "self": object_of("even" if number % 2 == 0 else "odd", f"{number:043}"),
            "model": object_of("fast" if number < 3 else "slow"),
        }
        await calls.write([start(number, op_name=op, inputs=inputs, display_name=f"run {6 - number}")])
    await calls.write([end(1), end(2, exception="broke"), end(3, summary={"status_counts": {"error": 1}}), end(4)])
    await calls.write([start(7, op_name="Evaluation.predict_and_score"), start(8, op_name=PLAIN, project_id="acme/x")])
    await calls.write([start(9, op_name=PLAIN)])
    await calls.delete(PROJECT, [call_id(9)])
    return EvaluationsStore(database)


async def listed(
    evaluations: EvaluationsStore, which: RunsFilter | None = None, sort_by: list[SortBy] | None = None
) -> list[int]:
    found: list[str] = []
    cursor = None
    while True:
        page = await evaluations.page(PROJECT, PageRequest(2, cursor), {"status"}, which, sort_by)
        found += [row["id"] for row in page.rows]
        if not page.has_next:
            break
        cursor = page.end_cursor
    assert await evaluations.count(PROJECT, which) == len(found)
    return [int(each[-12:], 16) for each in found]


async def test_newest_runs_of_all_evaluations_come_first(evaluations: EvaluationsStore) -> None:
    assert await listed(evaluations) == [5, 4, 3, 2, 1]
    assert await listed(evaluations, None, [SortBy("started_at")]) == [1, 2, 3, 4, 5]
    assert await listed(evaluations, None, [SortBy("display_name")]) == [5, 4, 3, 2, 1]
    assert await listed(evaluations, None, [SortBy("ended_at", descending=True)]) == [4, 3, 2, 1, 5]


@pytest.mark.parametrize(
    ("which", "numbers"),
    [
        (RunsFilter(evaluation_refs=[object_of("odd", f"{3:043}")]), [3]),
        (RunsFilter(evaluation_refs=[object_of("odd", "*")]), [5, 3, 1]),
        (RunsFilter(evaluation_refs=[object_of("odd", "*"), object_of("even", f"{2:043}")]), [5, 3, 2, 1]),
        (RunsFilter(evaluation_refs=[object_of("odd", "*")], model_refs=[object_of("fast")]), [1]),
        (RunsFilter(model_refs=[object_of("odd", f"{3:043}")]), []),
        (RunsFilter(statuses=["running"]), [5]),
        (RunsFilter(statuses=["failed", "running"]), [5, 2]),
        (RunsFilter(statuses=["complete"]), [4, 3, 1]),
        (RunsFilter(started_after=NOON + SECOND, started_before=NOON + 4 * SECOND), [3, 2]),
        (RunsFilter(evaluation_refs=[], statuses=[]), [5, 4, 3, 2, 1]),
    ],
)
async def test_filter_selects_runs(evaluations: EvaluationsStore, which: RunsFilter, numbers: list[int]) -> None:
    assert await listed(evaluations, which) == numbers


async def test_runs_of_too_many_ops_are_found_without_an_index(
    evaluations: EvaluationsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MAX_VERSIONS", 1)

    assert await listed(evaluations) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("which", "sort_by", "argument"),
    [
        (RunsFilter(evaluation_refs=["odd"]), None, "filter.evaluation_refs.0"),
        (RunsFilter(model_refs=[object_of("fast"), ""]), None, "filter.model_refs.1"),
        (RunsFilter(model_refs=[object_of("fast")] * 1_001), None, "filter.model_refs"),
        (RunsFilter(evaluation_refs=[f"weave:///{PROJECT}/call/{call_id(1)}"]), None, "filter.evaluation_refs.0"),
        (RunsFilter(statuses=["not_found"]), None, "filter.statuses.0"),
        (None, [SortBy("started")], "sort_by.0.field"),
    ],
)
async def test_bad_input_is_refused(
    evaluations: EvaluationsStore, which: RunsFilter | None, sort_by: list[SortBy] | None, argument: str
) -> None:
    with pytest.raises(BadInputError) as refused:
        await evaluations.page(PROJECT, PageRequest(2), set(), which, sort_by)

    assert refused.value.argument == argument


async def test_runs_are_found_by_the_names_of_their_ops(
    evaluations: EvaluationsStore, calls: CallsStore, commands: Commands, database: Database
) -> None:
    await calls.write([part for number in range(100, 400) for part in (start(number), end(number))])
    commands.sent.clear()
    await evaluations.page(PROJECT, PageRequest(3), {"status"})

    assert commands.names == ["aggregate", "find"]
    read = {"aggregate": "calls", "pipeline": commands.last("aggregate")["pipeline"], "cursor": {}}
    plan = await database.calls.database.command("explain", read, verbosity="executionStats")
    assert "DISTINCT_SCAN" in str(plan)
    assert "'totalDocsExamined': 0" in str(plan)
