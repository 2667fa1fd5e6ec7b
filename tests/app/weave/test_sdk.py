"""Tests that unchanged programs with the real Weave SDK log into LoomQL."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.weave.asking import graphql_data
from tests.app.weave.sdks import NEWEST, VERSIONS, Sdk
from tests.docs.pages import page
from tests.waiting import TIMEOUT

PROGRAM = Path(__file__).parent / "programs" / "everything.py"
GUIDE = page("how-to/send-traces")
QUESTION = "x" * 20 + "ü🍵"
RUNTIMES = [pytest.param(version, id=version) for version in VERSIONS]


def project_of(version: str) -> str:
    return f"acme/everything-{version}"


@pytest.fixture(scope="module")
def runs(
    url: str, sdks: dict[str, Sdk], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, "subprocess.CompletedProcess[str]"]:
    """Run the program under each version and the guide's program under the newest, all at once."""
    started = {
        version: sdk.start([PROGRAM, project_of(version)], f"{url}/weave", tmp_path_factory.mktemp("weave"))
        for version, sdk in sdks.items()
    }
    program = GUIDE.containing("import weave\n", "python")
    started["guide"] = sdks[NEWEST].start(["-c", program], f"{url}/weave", tmp_path_factory.mktemp("weave"))
    ended = {}
    for name, process in started.items():
        out, err = process.communicate(timeout=TIMEOUT)
        ended[name] = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    return ended


@pytest.fixture(params=RUNTIMES)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(runs: dict[str, "subprocess.CompletedProcess[str]"], version: str) -> dict[str, Any]:
    """Return the JSON that the program printed."""
    run = runs[version]
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    assert found["version"] == version
    return found


def calls_of(graphql: httpx.Client, project: str) -> list[dict[str, Any]]:
    """Return all calls of a project, oldest first."""
    document = (
        "query ($project: ID!) { calls(projectId: $project) {"
        " nodes { id parentId traceId opName traceName status threadId output exception } } }"
    )
    found: list[dict[str, Any]] = graphql_data(graphql, document, project=project)["calls"]["nodes"]
    return found


def test_sdk_links_lead_to_the_named_entities(
    runs: dict[str, "subprocess.CompletedProcess[str]"], seen: dict[str, Any], version: str, url: str
) -> None:
    printed = re.findall(rf"{url}/weave/\S+", runs[version].stderr + runs[version].stdout)
    led = {}
    with httpx.Client(headers={"accept": "application/json"}, follow_redirects=True, timeout=TIMEOUT) as person:
        for link in set(printed):
            answer = person.get(link)
            assert answer.url.path == "/graphql"
            led[link] = answer.json()["data"]

    calls = {link.partition("/r/call/")[2]: data["call"] for link, data in led.items() if "/r/call/" in link}
    missing = {call_id for call_id, call in calls.items() if call is None}
    # The program deletes one call, and gives another call a thread name that is too long.
    assert (seen["answer"]["id"] in missing, len(missing)) == (True, 2)
    assert len(calls) > 5
    assert {call["id"] for call in calls.values() if call} == calls.keys() - missing
    assert led[f"{url}/weave/{project_of(version)}/weave"]["calls"]["nodes"][0]["id"] in calls
    versions = {data["node"]["ref"] for link, data in led.items() if "/versions/" in link}
    assert versions >= set(seen["published"]["config"])


def test_calls_are_stored_as_created(seen: dict[str, Any], version: str, graphql: httpx.Client) -> None:
    stored = calls_of(graphql, project_of(version))

    assert seen["answer"]["result"] == {"text": QUESTION.upper(), "sum": 6}
    assert seen["read"]["question"] == QUESTION
    assert seen["read"]["output"] == {"text": QUESTION.upper(), "sum": 6}
    assert seen["read"]["errors"] == ["out of tea"]
    assert seen["read"]["found"] == [6, 6, 6]
    assert seen["read"]["page"] is True
    assert len(stored) == seen["left"]
    # The program deleted the first trace at its end, with all calls below the root.
    assert seen["answer"]["trace_id"] not in {call["traceId"] for call in stored}
    [failed] = [call for call in stored if call["status"] == "ERROR"]
    assert (failed["traceName"], json.loads(failed["exception"])["message"]) == ("fail", "out of tea")


def test_invalid_call_does_not_lose_the_others(seen: dict[str, Any]) -> None:
    # One call is in a thread whose name is too long; of the twenty calls made, only that one is missing.
    assert seen["read"]["count"] == [19, 19]
    assert seen["left"] == 16


def test_threads_are_returned(version: str, seen: dict[str, Any], graphql: httpx.Client) -> None:
    threads = graphql_data(
        graphql,
        "query ($project: ID!) { threads(projectId: $project) { nodes {"
        " threadId turnCount turns { nodes { id traceName output } } } } }",
        project=project_of(version),
    )["threads"]["nodes"]

    assert seen
    [thread] = threads
    turns = thread["turns"]["nodes"]
    assert (thread["threadId"], thread["turnCount"]) == ("tea time", 2)
    assert [(turn["traceName"], turn["output"]["text"]) for turn in turns] == [("answer", "ONE"), ("answer", "TWO")]
    below = [call for call in calls_of(graphql, project_of(version)) if call["parentId"] in {t["id"] for t in turns}]
    assert [(call["traceName"], call["threadId"], call["output"]) for call in below] == [
        ("add", "tea time", 5),
        ("add", "tea time", 6),
    ] * 2


def test_published_object_can_be_read(version: str, seen: dict[str, Any], graphql: httpx.Client) -> None:
    versions = graphql_data(
        graphql,
        'query ($project: ID!) { objs(projectId: $project, filter: {objectIds: ["config"]}) {'
        " nodes { versionIndex isLatest val ref wbUserId } } }",
        project=project_of(version),
    )["objs"]["nodes"]

    assert seen["published"]["got"] == {"a": 1, "nested": {"b": [1, 2.5, None]}}
    assert seen["published"]["latest"] == 2
    assert seen["published"]["rows"] == [250, 250, {"question": "q249", "wide": 2**40 + 249}]
    assert seen["published"]["picture"] == [[3, 2], [255, 0, 128]]
    assert seen["model"] == [3, 15]
    assert [(each["val"], each["versionIndex"], each["isLatest"]) for each in versions] == [
        ({"a": 1, "nested": {"b": [1, 2.5, None]}}, 0, 0),
        ({"a": 2}, 1, 1),
    ]
    assert [each["ref"] for each in versions] == seen["published"]["config"]
    assert {each["wbUserId"] for each in versions} == {"local"}


def test_op_with_an_objects_name_can_be_read(seen: dict[str, Any]) -> None:
    assert seen["shared"] == ["add", 23, 1]


def test_evaluation_runs_and_is_stored(version: str, seen: dict[str, Any], graphql: httpx.Client) -> None:
    calls = calls_of(graphql, project_of(version))

    assert seen["evaluation"] == {"right": {"true_count": 2, "true_fraction": 1.0}}
    [root] = [call for call in calls if "/op/Evaluation.evaluate:" in call["opName"]]
    assert root["status"] == "SUCCESS"
    assert root["output"]["is_triple"] == seen["evaluation"]
    below = [call for call in calls if call["parentId"] == root["id"]]
    assert sorted(call["traceName"] for call in below) == [
        "Evaluation.predict_and_score",
        "Evaluation.predict_and_score",
        "Evaluation.summarize",
    ]
    steps = {call["id"] for call in below if call["traceName"] == "Evaluation.predict_and_score"}
    assert sorted(call["traceName"] for call in calls if call["parentId"] in steps) == [
        "Tripler.predict",
        "Tripler.predict",
        "is_triple",
        "is_triple",
    ]


def test_calls_are_found_by_the_scorer_that_scored_them(seen: dict[str, Any]) -> None:
    # The evaluation scored two predictions; the project has about twenty calls.
    assert sorted(seen["scored"].pop("by_name"), key=str) == [3, 6]
    assert seen["scored"] == {"by_ref": 2, "by_none": 0}


def test_feedback_names_and_prices_are_accepted(version: str, seen: dict[str, Any], graphql: httpx.Client) -> None:
    feedback = graphql_data(
        graphql,
        "query ($project: ID!) { feedback(projectId: $project) { nodes { feedbackType weaveRef } } }",
        project=project_of(version),
    )["feedback"]["nodes"]

    thumb = {"emoji": "👍", "alias": ":thumbs_up:", "detoned": "👍", "detoned_alias": ":thumbs_up:"}
    assert seen["feedback"] == [
        ["wandb.reaction.1", thumb],
        ["wandb.note.1", {"note": "well said"}],
        ["stars", {"stars": 5}],
    ]
    assert seen["feedback_left"] == ["wandb.reaction.1", "wandb.note.1"]
    # The scores of the two predictions are feedback on them.
    named = [each for each in feedback if each["feedbackType"] != "wandb.runnable.is_triple"]
    assert len(feedback) - len(named) == 2
    assert [each["feedbackType"] for each in named] == seen["feedback_left"]
    assert {each["weaveRef"] for each in named} == {f"weave:///{project_of(version)}/call/{seen['answer']['id']}"}
    assert seen["costs"] == {
        "prices": [["my-model", 0.5, 2.0]],
        "of_call": 50.0,
        "feedback_on_call": ["wandb.reaction.1", "wandb.note.1"],
        "left": 0,
    }
    assert seen["renamed"] == "renamed"


def test_program_in_the_guide_logs_its_calls(
    runs: dict[str, "subprocess.CompletedProcess[str]"], graphql: httpx.Client
) -> None:
    run = runs["guide"]
    query = GUIDE.containing("acme/weave-demo")

    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-1] == "YOU ASKED: WHAT IS A TRACE?"
    answer = "YOU ASKED: WHAT IS A TRACE?"
    assert graphql_data(graphql, query)["calls"]["nodes"] == [
        {"traceName": "chat", "status": "SUCCESS", "inputs": {"question": "what is a trace?"}, "output": answer},
        {"traceName": "shout", "status": "SUCCESS", "inputs": {"text": answer.lower()}, "output": answer},
    ]


@pytest.mark.parametrize("name", ["README", "how-to/send-traces"])
def test_guide_names_the_variables_of_the_programs(name: str) -> None:
    named = page(name).environment
    given = {key: named[key] for key in ("WANDB_BASE_URL", "WF_TRACE_SERVER_URL", "WANDB_API_KEY")}

    assert given["WANDB_BASE_URL"] == given["WF_TRACE_SERVER_URL"] == "http://127.0.0.1:8000/weave"
    assert len(given["WANDB_API_KEY"]) == 40
