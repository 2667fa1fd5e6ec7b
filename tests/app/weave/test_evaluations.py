"""Tests that evaluations of the real Weave SDK are read as rows with their scores and calls."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.weave.asking import graphql_data
from tests.app.weave.sdks import VERSIONS, Sdk
from tests.waiting import TIMEOUT

PROGRAM = Path(__file__).parent / "programs" / "evaluations.py"

RESULTS = """
query ($project: ID!, $id: ID!) {
  evaluationStatus(projectId: $project, callId: $id) { ... on EvaluationStatusComplete { code output } }
  evaluationRun(projectId: $project, callId: $id) {
    displayName status trials
    evaluation { obj { objectId } } model { value } dataset { obj { objectId } } scorers { kind }
    metrics { name mean count trueCount }
    usage { totalTokens requests }
  }
  evaluationResults(projectId: $project, evaluationCallId: $id) {
    totalCount
    nodes {
      example exampleRef { kind }
      predictions {
        trial status exception output modelLatencyMs
        modelCall { opName traceName usage { totalTokens } }
        scores { name value scorer { kind } call { traceName output } }
      }
    }
  }
}
"""

COMPARE = """
query ($project: ID!, $ids: [ID!]!) {
  evaluationCompare(projectId: $project, callIds: $ids) {
    numInCommon
    metrics { name runs { mean difference numLower } }
    rows { nodes { example(path: "question") runs { metrics { name difference } } } }
  }
}
"""


def project_of(version: str) -> str:
    return f"acme/evaluations-{version}"


@pytest.fixture(scope="module")
def ran(url: str, sdks: dict[str, Sdk], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the program under each version and return its error output, which is empty after a success."""
    started = {
        version: sdk.start([PROGRAM, project_of(version)], f"{url}/weave", tmp_path_factory.mktemp("weave"))
        for version, sdk in sdks.items()
    }
    ended = {version: process.communicate(timeout=TIMEOUT) for version, process in started.items()}
    return {version: "" if '"version"' in out.splitlines()[-1:][-1] else err for version, (out, err) in ended.items()}


@pytest.fixture(params=VERSIONS)
def project(request: pytest.FixtureRequest, ran: dict[str, str]) -> str:
    """Return a project that the program logged into."""
    assert ran[request.param] == ""
    return project_of(request.param)


def runs_of(graphql: httpx.Client, project: str) -> list[str]:
    """Return the ids of the project's three runs, oldest first."""
    document = (
        "query ($project: ID!) { calls(projectId: $project, filter: {traceRootsOnly: true}) { nodes { id opName } } }"
    )
    nodes = graphql_data(graphql, document, project=project)["calls"]["nodes"]
    found = [node["id"] for node in nodes if "Evaluation.evaluate" in node["opName"]]
    assert len(found) == 3
    return found


def test_each_row_has_its_trials_with_scores_and_their_calls(graphql: httpx.Client, project: str) -> None:
    first, *_ = runs_of(graphql, project)

    found = graphql_data(graphql, RESULTS, project=project, id=first)

    results = found["evaluationResults"]
    assert results["totalCount"] == 3
    assert sorted(node["example"]["question"] for node in results["nodes"]) == ["one", "three", "two"]
    assert {node["exampleRef"]["kind"] for node in results["nodes"]} == {"object"}
    for node in results["nodes"]:
        assert [each["trial"] for each in node["predictions"]] == [0, 1]
        text = node["example"]["question"].upper()
        for each in node["predictions"]:
            assert (each["status"], each["exception"], each["output"]) == ("SUCCESS", None, {"text": text})
            assert each["modelLatencyMs"] > 0
            assert each["modelCall"]["traceName"] == "Upper.predict"
            assert [usage["totalTokens"] for usage in each["modelCall"]["usage"]] == [110]
            scores = {score["name"]: score for score in each["scores"]}
            assert set(scores) == {"CloseEnough", "exact"}
            assert scores["exact"]["value"] is (text == node["example"]["expected"])
            assert scores["CloseEnough"]["value"]["long"] is (text == "THREE")
            assert scores["CloseEnough"]["scorer"] == {"kind": "object"}
            assert scores["exact"]["scorer"] == {"kind": "op"}
            assert {score["call"]["traceName"] for score in each["scores"]} == {"CloseEnough.score", "exact"}
            assert all(score["call"]["output"] == score["value"] for score in each["scores"])


def test_run_has_its_inputs_and_summary(graphql: httpx.Client, project: str) -> None:
    first, *_ = runs_of(graphql, project)

    found = graphql_data(graphql, RESULTS, project=project, id=first)
    run = found["evaluationRun"]

    assert (run["status"], run["trials"], run["evaluation"]["obj"]["objectId"]) == ("COMPLETE", 2, "shouting")
    assert run["model"]["value"]["marks"] == ""
    assert run["dataset"]["obj"]["objectId"]
    assert len(run["scorers"]) == 2
    assert run["usage"] == {"totalTokens": 660, "requests": 6}
    means = {metric["name"]: (metric["count"], metric["trueCount"]) for metric in run["metrics"]}
    assert means == {"CloseEnough.long": (6, 2), "CloseEnough.share": (6, None), "exact": (6, 4)}
    summed_up = found["evaluationStatus"]["output"]
    assert summed_up["exact"] == {"true_count": 4, "true_fraction": pytest.approx(2 / 3)}
    reservation = next(metric["mean"] for metric in run["metrics"] if metric["name"] == "CloseEnough.share")
    assert summed_up["CloseEnough"]["share"]["mean"] == pytest.approx(reservation)


def test_model_that_fails_on_a_row_has_no_scores_there(graphql: httpx.Client, project: str) -> None:
    _, second, _ = runs_of(graphql, project)

    nodes = graphql_data(graphql, RESULTS, project=project, id=second)["evaluationResults"]["nodes"]

    [failed] = [node for node in nodes if node["example"]["question"] == "three"]
    for each in failed["predictions"]:
        assert (each["output"], each["scores"]) == (None, [])
        assert json.loads(each["exception"])["message"] == "out of tea"
        assert each["modelCall"]["traceName"] == "Upper.predict"


def test_two_runs_of_an_evaluation_are_compared_by_its_rows(graphql: httpx.Client, project: str) -> None:
    found = graphql_data(graphql, COMPARE, project=project, ids=runs_of(graphql, project)[:2])["evaluationCompare"]

    assert found["numInCommon"] == 3
    [exact] = [metric["runs"] for metric in found["metrics"] if metric["name"] == "exact"]
    assert [(each["mean"], each["difference"], each["numLower"]) for each in exact] == [
        (pytest.approx(2 / 3), None, None),
        (0, pytest.approx(-2 / 3), 1),
    ]
    changes: dict[str, Any] = {
        row["example"]: {metric["name"]: metric["difference"] for metric in row["runs"][1]["metrics"]}
        for row in found["rows"]["nodes"]
    }
    assert changes["one"]["exact"] == -1
    assert changes["two"]["exact"] == 0
    assert changes["three"] == {}


def test_evaluation_logger_runs_are_read_like_others(graphql: httpx.Client, project: str) -> None:
    *_, logged = runs_of(graphql, project)

    found = graphql_data(graphql, RESULTS, project=project, id=logged)

    assert found["evaluationRun"]["displayName"] == "logged by hand"
    assert found["evaluationStatus"]["output"]["output"] == {"by": "hand"}
    first, second = found["evaluationResults"]["nodes"]
    assert (first["example"], first["exampleRef"]) == ({"question": "one", "expected": "ONE"}, None)
    [prediction] = second["predictions"]
    assert prediction["output"] == {"text": "two"}
    assert prediction["modelCall"]["traceName"] == "Model.predict"
    scores = {score["name"]: (score["value"], score["call"]["traceName"]) for score in prediction["scores"]}
    assert scores == {"exactness": (0.5, "exactness"), "polite": (True, "polite")}
    means = {metric["name"]: metric["mean"] for metric in found["evaluationRun"]["metrics"]}
    assert means == {"exactness": 0.25, "polite": 1}
