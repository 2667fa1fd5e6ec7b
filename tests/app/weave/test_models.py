"""Tests of completions, images and actions at the Weave API over plain HTTP."""

import base64
import json
import time

import httpx
import pytest

from tests.app.weave.asking import call_ref, end, graphql_data, posted, refused, start, streamed
from tests.stand_in_provider import KEY, PNG, USAGE, StandIn
from tests.waiting import TIMEOUT

SPEC = {"name": "checker", "config": {"action_type": "contains_words", "target_words": ["weft"]}}
FEEDBACK = "query ($project: ID!) { feedback(projectId: $project) { nodes { weaveRef feedbackType payload } } }"


@pytest.fixture(autouse=True)
def provider(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return the server's provider; the server reads its environment on each request."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    return stand_in


HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stop": None, "vertex": None}


def test_completion_is_returned_and_stored(weave_api: httpx.Client, project: str) -> None:
    made = posted(
        weave_api, "/completions/create", project_id=project, inputs=HELLO, wb_user_id="ada", track_llm_call=True
    )

    call = posted(weave_api, "/call/read", project_id=project, id=made["weave_call_id"])["call"]
    assert made["response"]["choices"][0]["message"]["content"] == "You said: Hello"
    assert (call["op_name"], call["wb_user_id"], call["output"]) == (
        "weave.completions_create",
        "ada",
        made["response"],
    )
    assert call["summary"]["usage"] == {"gpt-4o": USAGE}


def test_untracked_completion_is_not_stored(weave_api: httpx.Client, project: str) -> None:
    made = posted(weave_api, "/completions/create", project_id=project, inputs=HELLO, track_llm_call=False)
    lines = streamed(weave_api, "/completions/create_stream", project_id=project, inputs=HELLO, track_llm_call=False)

    assert (made["weave_call_id"], made["response"]["usage"]) == (None, USAGE)
    assert not any("_meta" in line for line in lines)
    assert posted(weave_api, "/calls/query_stats", project_id=project)["count"] == 0


def test_completion_streams_as_json_lines(weave_api: httpx.Client, project: str) -> None:
    meta, *chunks = streamed(
        weave_api, "/completions/create_stream", project_id=project, inputs={**HELLO, "stream": True}
    )

    call = posted(weave_api, "/call/read", project_id=project, id=meta["_meta"]["weave_call_id"])["call"]
    texts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(texts) == call["output"]["choices"][0]["message"]["content"] == "You said: Hello"
    assert len(chunks) > 3


def test_interrupted_stream_ends_with_the_error(weave_api: httpx.Client, project: str) -> None:
    cut = streamed(weave_api, "/completions/create_stream", project_id=project, inputs={**HELLO, "model": "cut"})
    nobody = streamed(
        weave_api, "/completions/create_stream", project_id=project, inputs={**HELLO, "model": "custom::x"}
    )

    call = posted(weave_api, "/call/read", project_id=project, id=cut[0]["_meta"]["weave_call_id"])["call"]
    assert cut[-1] == {"error": call["exception"]}
    assert "broke off the connection" in call["exception"]
    assert [line.keys() for line in nobody] == [{"error"}]


def test_disconnect_ends_the_provider_stream(weave_api: httpx.Client, project: str, provider: StandIn) -> None:
    provider.reply = lambda _body: "word " * 10_000
    body = {"project_id": project, "inputs": {**HELLO, "model": "drip"}}
    with weave_api.stream("POST", "/completions/create_stream", json=body) as answer:
        lines = answer.iter_lines()
        call_id = json.loads(next(lines))["_meta"]["weave_call_id"]
        next(lines)

    deadline = time.monotonic() + TIMEOUT
    while not (call := posted(weave_api, "/call/read", project_id=project, id=call_id)["call"])["ended_at"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert call["exception"].startswith("The response is incomplete")
    assert provider.left == 1


def test_image_is_generated_and_read_back_as_a_file(weave_api: httpx.Client, project: str) -> None:
    inputs = {"model": "gpt-image-1", "prompt": "a weft"}

    made = posted(weave_api, "/image/create", project_id=project, inputs=inputs, wb_user_id=None, track_llm_call=None)

    files = made["response"]["data"][0]["b64_json"]["files"]
    content = weave_api.post("/files/content", json={"project_id": project, "digest": files["content"]})
    call = posted(weave_api, "/call/read", project_id=project, id=made["weave_call_id"])["call"]
    assert content.content == PNG
    assert (call["op_name"], call["inputs"]) == ("weave.image_generation_create", inputs)
    assert call["output"] == made["response"]


def test_provider_error_is_returned_in_the_response(weave_api: httpx.Client, project: str, provider: StandIn) -> None:
    provider.reply = lambda _body: {"data": [{"b64_json": base64.b64encode(b"text").decode()}]}

    made = posted(weave_api, "/image/create", project_id=project, inputs={"model": "gpt-image-1", "prompt": "a weft"})

    assert made["response"].keys() == {"error"}
    assert made["weave_call_id"] is None


def test_action_runs_and_reports_failures(weave_api: httpx.Client, graphql: httpx.Client, project: str) -> None:
    batch = [start(project), start(project)]
    first, second = [str(item["req"]["start"]["id"]) for item in batch]
    posted(weave_api, "/call/upsert_batch", batch=[batch[0], end(project, first, output="a weft")])
    obj = {"project_id": project, "object_id": "checker", "val": SPEC, "builtin_object_class": "ActionSpec"}
    ref = f"weave:///{project}/object/checker:{posted(weave_api, '/obj/create', obj=obj)['digest']}"

    done = posted(weave_api, "/actions/execute_batch", project_id=project, action_ref=ref, call_ids=[first, second])

    assert done == {"num_failed": 1, "errors": {second: f"there is no call '{second}' in {project}, or it is deleted"}}
    [node] = graphql_data(graphql, FEEDBACK, project=project)["feedback"]["nodes"]
    assert node == {
        "weaveRef": call_ref(project, first),
        "feedbackType": "wandb.runnable.checker",
        "payload": {"output": True},
    }


def test_invalid_requests_are_refused(weave_api: httpx.Client, project: str) -> None:
    inputs = {"model": "dall-e-3", "prompt": "a weft", "n": 2}

    assert refused(weave_api, "/image/create", project_id=project, inputs=inputs)[0] == 400
    assert refused(weave_api, "/image/create", project_id=project, inputs={"model": "x"})[0] == 422
    assert refused(weave_api, "/actions/execute_batch", project_id=project, action_ref="x", call_ids=[])[0] == 400
    assert weave_api.get("/image/create").status_code == 405
    for path in ("/completions/create", "/completions/create_stream"):
        assert refused(weave_api, path, project_id=project, inputs={**HELLO, "stop": 5})[0] == 400
        assert refused(weave_api, path, project_id=project, inputs=5)[0] == 422
        assert weave_api.get(path).status_code == 405
