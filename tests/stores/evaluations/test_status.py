"""Tests of the four statuses of runs, for every client and for incomplete runs."""

import pytest

from stores.calls import CallsStore
from stores.errors import BadInputError
from stores.evaluations import EvaluationsStore
from stores.evaluations.logged_runs import Complete, Failed, NotFound, Running
from stores.objects import ObjectsStore, ObjectVersion
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.evaluations.builders import graded, of_run, prediction_id, run_id, whole_run

OTHER = "acme/other"


async def test_finished_run_has_its_summary(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4)], output={"helpfulness": {"grade": {"mean": 4.0}}}))

    assert await evaluations.status(PROJECT, run_id()) == Complete('{"helpfulness":{"grade":{"mean":4.0}}}')


@pytest.mark.parametrize("output", [None, "none", [1], 5])
async def test_non_object_summary_is_empty(evaluations: EvaluationsStore, calls: CallsStore, output: object) -> None:
    await calls.write(of_run(output=output))

    assert await evaluations.status(PROJECT, run_id()) == Complete("{}")


async def test_failed_run_has_a_reason(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4)], output=None, exception="out of tea"))

    assert await evaluations.status(PROJECT, run_id()) == Failed("out of tea")


async def test_missing_run_is_not_found(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write([*of_run(1), *of_run(2)])
    await calls.delete(PROJECT, [run_id(2)])

    assert await evaluations.status(OTHER, run_id(1)) == NotFound()
    assert await evaluations.status(PROJECT, run_id(2)) == NotFound()
    assert await evaluations.status(PROJECT, call_id(404)) == NotFound()
    assert await evaluations.status(PROJECT, "no id at all $") == NotFound()


@pytest.mark.parametrize("name", ["answer", "Evaluation.predict_and_score", "evaluate"])
async def test_status_of_a_call_that_is_no_run_names_its_op(
    evaluations: EvaluationsStore, calls: CallsStore, name: str
) -> None:
    await calls.write([start(1, op_name=name), end(1)])

    with pytest.raises(BadInputError, match=f"^the call is not an evaluation: its op is '{name}'") as refused:
        await evaluations.status(PROJECT, call_id(1))
    assert refused.value.argument == "call_id"


async def publish(objects: ObjectsStore, name: str, value: dict[str, object]) -> str:
    digest = await objects.create(ObjectVersion(PROJECT, name, value))
    return f"weave:///{PROJECT}/object/{name}:{digest}"


@pytest.mark.parametrize(("trials", "total"), [(1, 5), (3, 15), (None, 5), ("many", 5), (0, 5), (2**31, 5)])
async def test_running_run_has_its_progress(
    evaluations: EvaluationsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    tables: TablesStore,
    commands: Commands,
    trials: object,
    total: int,
) -> None:
    digest, _ = await tables.create(PROJECT, [{"n": n} for n in range(5)])
    dataset = await publish(objects, "Questions", {"rows": f"weave:///{PROJECT}/table/{digest}"})
    evaluation = await publish(objects, "quality", {"dataset": dataset, "scorers": [], "trials": trials})
    predictions = [graded(1, 4), graded(2, 3, exception="failed"), graded(3, 1, is_running=True)]
    await calls.write(whole_run(predictions, inputs={"self": evaluation, "model": "m"}, runs=True))
    commands.sent.clear()

    assert await evaluations.status(PROJECT, run_id()) == Running(2, total)
    assert len(commands.names) <= 6


async def test_run_with_a_missing_dataset_counts_finished_rows(
    evaluations: EvaluationsStore, calls: CallsStore, objects: ObjectsStore
) -> None:
    dataset = await publish(objects, "Questions", {"rows": f"weave:///{PROJECT}/table/{'0' * 64}"})
    evaluation = await publish(objects, "quality", {"dataset": dataset})
    for number, inputs in enumerate(
        [{"self": evaluation}, {"self": {"dataset": {"rows": [1, 2, 3]}}}, {}, {"self": "quality"}, {"self": [1]}], 1
    ):
        await calls.write(whole_run([graded(1, 4)], number, inputs=inputs, runs=True))

    found = [await evaluations.status(PROJECT, run_id(number)) for number in range(1, 6)]
    assert found == [Running(1, 1), Running(1, 3), Running(1, 1), Running(1, 1), Running(1, 1)]
    await objects.delete(PROJECT, "Questions")
    assert await evaluations.status(PROJECT, run_id(1)) == Running(1, 1)


async def test_progress_is_capped_at_the_dataset_size(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    inputs = {"self": {"dataset": [{"n": 1}]}}
    await calls.write(whole_run([graded(1, 4), graded(2, 4)], inputs=inputs, runs=True))

    assert await evaluations.status(PROJECT, run_id()) == Running(2, 2)
    await calls.delete(PROJECT, [prediction_id(0)])
    assert await evaluations.status(PROJECT, run_id()) == Running(1, 1)
