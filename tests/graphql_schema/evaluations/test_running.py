"""Evaluation runs started in the API: answers and errors."""

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from app.providers import EnvironmentProviders
from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.database import Database
from stores.json import codec
from tests.stand_in_provider import USAGE, StandIn
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT, Grader

EVALUATE = """
mutation ($projectId: ID!, $evaluationRef: String!, $modelRef: String!) {
  evaluateModel(projectId: $projectId, evaluationRef: $evaluationRef, modelRef: $modelRef, wbUserId: "ada") { callId }
}
"""
CANCEL = """
mutation ($projectId: ID!, $callId: ID!) {
  evaluationCancel(projectId: $projectId, callId: $callId) { callId isCanceled }
}
"""
PROGRESS = """
subscription ($projectId: ID!, $callId: ID!) {
  evaluationProgress(projectId: $projectId, callId: $callId) {
    __typename
    ... on EvaluationStatusRunning { code completedRows totalRows }
    ... on EvaluationStatusComplete { code output }
    ... on EvaluationStatusFailed { code error }
  }
}
"""
RESULTS = """
query ($projectId: ID!, $callId: ID!) {
  evaluationRun(projectId: $projectId, callId: $callId) {
    status
    metrics { name mean count trueCount }
    usage { totalTokens }
  }
  evaluationResults(projectId: $projectId, evaluationCallId: $callId) {
    totalCount
    nodes {
      question: example(path: "question")
      predictions {
        output
        status
        modelCall { op { objectId } exception usage { model totalTokens } }
        scores { name value exception scorer { ref } call { op { objectId } } }
      }
    }
  }
}
"""


@pytest.fixture
def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return all stores, with the stand-in instead of OpenAI."""
    return Stores(database, providers)


class Api:
    """The API on some stores."""

    def __init__(self, schema: LoomSchema, stores: Stores) -> None:
        self._schema = schema
        self._context = Context(stores)

    async def ask(self, document: str, **variables: str) -> Any:
        return await self._schema.execute(
            document, variable_values={"projectId": PROJECT, **variables}, context_value=self._context
        )

    async def watch(self, document: str, **variables: str) -> list[Any]:
        events = await self._schema.subscribe(
            document, variable_values={"projectId": PROJECT, **variables}, context_value=self._context
        )
        return [event async for event in events]


@pytest.fixture
def api(schema: LoomSchema, stores: Stores) -> Api:
    return Api(schema, stores)


async def test_run_is_ordered_watched_and_read(api: Api, stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 3}] * 3)
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    answer = await api.ask(EVALUATE, evaluationRef=evaluation, modelRef=await orders.model(stores))
    assert answer.errors is None
    call_id = answer.data["evaluateModel"]["callId"]
    watching = asyncio.create_task(api.watch(PROGRESS, callId=call_id))
    await asyncio.sleep(0.2)
    await stores.evaluation_runs.execute(PROJECT, call_id)
    progress = [event.data["evaluationProgress"] for event in await watching]

    running = {"__typename": "EvaluationStatusRunning", "code": "RUNNING", "completedRows": 0, "totalRows": 3}
    assert progress[0] == running
    assert progress[-1]["__typename"] == "EvaluationStatusComplete"
    assert progress[-1]["code"] == "COMPLETE"
    root = (await orders.tree(stores, call_id)).root
    assert (root["wb_user_id"], root["output"]["helpfulness"]) == ("ada", {"grade": {"mean": 3.0}})


async def test_run_is_canceled(api: Api, stores: Stores) -> None:
    evaluation = await orders.evaluation(stores, [])
    answer = await api.ask(EVALUATE, evaluationRef=evaluation, modelRef=await orders.model(stores))
    call_id = answer.data["evaluateModel"]["callId"]

    first, again = [await api.ask(CANCEL, callId=call_id) for _ in range(2)]

    assert first.data == {"evaluationCancel": {"callId": call_id, "isCanceled": True}}
    assert again.data == {"evaluationCancel": {"callId": call_id, "isCanceled": False}}
    [event] = await api.watch(PROGRESS, callId=call_id)
    assert event.data["evaluationProgress"] == {
        "__typename": "EvaluationStatusFailed",
        "code": "FAILED",
        "error": "The run was canceled by local",
    }


async def test_invalid_arguments_are_named(api: Api, stores: Stores) -> None:
    evaluation, model = await orders.evaluation(stores, []), await orders.model(stores)
    unknown = "01a21651-a452-74ae-b3c2-2054a3e440ec"

    swapped = await api.ask(EVALUATE, evaluationRef=model, modelRef=evaluation)
    no_model = await api.ask(EVALUATE, evaluationRef=evaluation, modelRef=model.replace("answerer", "nobody"))
    no_call = await api.ask(CANCEL, callId=unknown)
    [no_run] = await api.watch(PROGRESS, callId=unknown)

    extensions = [answer.errors[0].extensions for answer in (swapped, no_model, no_call)]
    assert extensions == [
        {"code": "BAD_USER_INPUT", "argument": "evaluationRef"},
        {"code": "NOT_FOUND", "argument": "modelRef"},
        {"code": "NOT_FOUND", "argument": "callId"},
    ]
    assert swapped.errors[0].message == (
        "evaluationRef: has the class LLMStructuredCompletionModel; the server only runs objects of class Evaluation"
    )
    assert no_run.data["evaluationProgress"] == {"__typename": "EvaluationStatusNotFound"}


async def test_run_of_the_server_is_read_like_any_other(api: Api, stores: Stores, stand_in: StandIn) -> None:
    fails = {"answer to What is a warp?": "no JSON", "What is a loom?": JSONResponse({"error": "broken"}, 500)}
    stand_in.reply = Grader([{"grade": 3, "good": True}], fails)
    judge = await orders.judge(stores)
    evaluation = await orders.evaluation(stores, [judge])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    answer = await api.ask(RESULTS, callId=call_id)
    assert answer.errors is None
    data = json.loads(codec.dumps(answer.data))
    run, results = data["evaluationRun"], data["evaluationResults"]
    assert run["status"] == "COMPLETE"
    assert run["metrics"] == [
        {"name": "helpfulness.good", "mean": 1.0, "count": 1, "trueCount": 1},
        {"name": "helpfulness.grade", "mean": 3.0, "count": 1, "trueCount": None},
    ]
    assert run["usage"] == {"totalTokens": 4 * USAGE["total_tokens"]}
    assert results["totalCount"] == 3
    by_question = {node["question"]: node["predictions"] for node in results["nodes"]}
    [[weft], [warp], [loom]] = (by_question[row["question"]] for row in orders.ROWS)
    predict = {"op": {"objectId": "LLMStructuredCompletionModel.predict"}, "exception": None}
    usage = [{"model": "small", "totalTokens": USAGE["total_tokens"]}]
    score: dict[str, Any] = {"name": "helpfulness", "exception": None, "scorer": {"ref": judge}}
    score["call"] = {"op": {"objectId": "LLMAsAJudgeScorer.score"}}
    assert weft == {
        "output": "Of What is a weft?",
        "status": "SUCCESS",
        "modelCall": predict | {"usage": usage},
        "scores": [score | {"value": {"grade": 3, "good": True}}],
    }
    refused = "The model was to return JSON but returned 'no JSON'"
    assert warp["scores"] == [score | {"value": None, "exception": refused}]
    assert (loom["output"], loom["scores"]) == (None, [])
    assert "answered 500" in loom["modelCall"]["exception"]
