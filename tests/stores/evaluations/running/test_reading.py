"""Tests that the rows, scores, metrics, usage and comparisons of the server's own runs read as those of other runs."""

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from app.providers import EnvironmentProviders
from graphql_schema.context import Stores
from stores.database import Database
from stores.evaluations.result_rows import PredictionSelection
from stores.paging import PageRequest, Row
from stores.query.sort import SortBy
from tests.stand_in_provider import USAGE, StandIn
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT, ROWS, Grader

ALL = PredictionSelection(frozenset({"output", "scores", "model_call", "model_latency_ms", "exception"}))


@pytest.fixture
def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return all stores, with a stand-in instead of OpenAI."""
    return Stores(database, providers)


async def read(stores: Stores, call_id: str, sort_by: list[SortBy] | None = None) -> dict[str, list[Row]]:
    """Return the predictions of a run by their question, in the order of the run's rows."""
    page = await stores.evaluations.rows(PROJECT, call_id, PageRequest(), {"example"}, sort_by)
    keys = [(PROJECT, call_id, row["id"]) for row in page.rows]
    found = await stores.evaluations.predictions(keys, ALL)
    return {
        json.loads(row["json"]["example"])["question"]: found[key] for row, key in zip(page.rows, keys, strict=True)
    }


def scores(prediction: Row) -> dict[str, Any]:
    return {score["name"]: json.loads(score["json"].get("value", "null")) for score in prediction["scores"]}


async def test_scores_are_matched_with_their_judge_calls(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader(fails={"Grade Of What is a warp?": "no JSON"})
    judges = [await orders.judge(stores), await orders.judge(stores, name="tone", prompt="Rate {output}.")]
    model = await orders.model(stores)

    call_id = await orders.run(stores, await orders.evaluation(stores, judges, trials=2), model)

    found = await read(stores, call_id)
    assert set(found) == {row["question"] for row in ROWS}
    for question, predictions in found.items():
        assert [each["trial"] for each in predictions] == [0, 1]
        for each in predictions:
            assert json.loads(each["json"]["output"]) == f"Of {question}"
            assert each["model_latency_ms"] > 0
            assert [score["name"] for score in each["scores"]] == ["helpfulness", "tone"]
            assert [score["scorer"]["ref"] for score in each["scores"]] == judges
            assert scores(each)["tone"] == {"grade": len(f"Rate Of {question}."), "passed": True}
            [helpful, tone] = each["scores"]
            assert (helpful["exception"] is not None) == ("warp" in question)
            assert tone["exception"] is None
            model_call = await stores.calls.one(PROJECT, each["model_call_id"], ["trace_name"])
            assert model_call is not None
            assert model_call["trace_name"] == "LLMStructuredCompletionModel.predict"
    assert scores(found["What is a warp?"][0])["helpfulness"] is None


async def test_metrics_are_the_runs_summary(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 1, "passed": False}, {"grade": 4, "passed": True}, {"grade": 5, "passed": True}])
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    summed_up = (await orders.tree(stores, call_id)).root["output"]["helpfulness"]
    grade, passed = (await stores.evaluations.metrics([(PROJECT, call_id)]))[PROJECT, call_id]
    assert (grade["name"], passed["name"]) == ("helpfulness.grade", "helpfulness.passed")
    assert grade["mean"] == pytest.approx(summed_up["grade"]["mean"])
    assert (passed["true_count"], passed["mean"]) == (2, pytest.approx(summed_up["passed"]["true_fraction"]))
    usage = (await stores.evaluations.usage([(PROJECT, call_id)]))[PROJECT, call_id]
    assert usage["total_tokens"] == 6 * USAGE["total_tokens"]
    worst = await read(stores, call_id, [SortBy("scores.helpfulness.grade")])
    assert [scores(each)["helpfulness"]["grade"] for [each] in worst.values()] == [1, 4, 5]


async def test_models_are_compared_over_the_same_rows(stores: Stores, stand_in: StandIn) -> None:
    broken = JSONResponse({"error": {"message": "It fell over."}}, 500)
    judge = await orders.judge(stores)
    evaluation = await orders.evaluation(stores, [judge])
    stand_in.reply = Grader([{"grade": 3}] * 3)
    first = await orders.run(stores, evaluation, await orders.model(stores))
    stand_in.reply = Grader([{"grade": 5}] * 3, {"What is a loom?": broken})
    second = await orders.run(stores, evaluation, await orders.model(stores, "large", name="other"))

    runs = await stores.evaluations.runs(PROJECT, [first, second], {"model", "dataset", "scorers"})
    [metric] = await stores.evaluations.compared_metrics(PROJECT, [first, second])

    assert [run["model"]["ref"].split("/")[-1].split(":")[0] for run in runs] == ["answerer", "other"]
    assert {run["scorers"][0]["ref"] for run in runs} == {judge}
    assert await stores.evaluations.count_joined_rows(PROJECT, [first, second]) == 3
    assert metric["name"] == "helpfulness.grade"
    assert metric["runs"][1].items() >= {"difference": 2, "num_higher": 2, "num_lower": 0, "count": 2}.items()
    [failed] = (await read(stores, second))["What is a loom?"]
    assert ("It fell over." in failed["exception"], failed["scores"], failed["json"]) == (True, [], {})
