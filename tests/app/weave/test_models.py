"""Images and actions at the Weave SDK's door, by plain HTTP."""

import base64

import httpx
import pytest

from tests.app.weave.asking import asked, call_ref, end, posted, refused, start
from tests.stand_in_provider import KEY, PNG, StandIn

SPEC = {"name": "checker", "config": {"action_type": "contains_words", "target_words": ["weft"]}}
FEEDBACK = "query ($project: ID!) { feedback(projectId: $project) { nodes { weaveRef feedbackType payload } } }"


@pytest.fixture(autouse=True)
def provider(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The provider of the server, which looks into its environment whenever it is asked."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    return stand_in


def test_an_image_is_painted_and_read_back_as_a_file(door: httpx.Client, project: str) -> None:
    inputs = {"model": "gpt-image-1", "prompt": "a weft"}

    made = posted(door, "/image/create", project_id=project, inputs=inputs, wb_user_id=None, track_llm_call=None)

    files = made["response"]["data"][0]["b64_json"]["files"]
    content = door.post("/files/content", json={"project_id": project, "digest": files["content"]})
    call = posted(door, "/call/read", project_id=project, id=made["weave_call_id"])["call"]
    assert content.content == PNG
    assert (call["op_name"], call["inputs"]) == ("weave.image_generation_create", inputs)
    assert call["output"] == made["response"]


def test_what_a_provider_does_wrong_is_told_in_the_response(
    door: httpx.Client, project: str, provider: StandIn
) -> None:
    provider.reply = lambda _body: {"data": [{"b64_json": base64.b64encode(b"text").decode()}]}

    made = posted(door, "/image/create", project_id=project, inputs={"model": "gpt-image-1", "prompt": "a weft"})

    assert made["response"].keys() == {"error"}
    assert made["weave_call_id"] is None


def test_an_action_is_carried_out_and_says_what_it_could_not(
    door: httpx.Client, graphql: httpx.Client, project: str
) -> None:
    batch = [start(project), start(project)]
    first, second = [str(item["req"]["start"]["id"]) for item in batch]
    posted(door, "/call/upsert_batch", batch=[batch[0], end(project, first, output="a weft")])
    obj = {"project_id": project, "object_id": "checker", "val": SPEC, "builtin_object_class": "ActionSpec"}
    ref = f"weave:///{project}/object/checker:{posted(door, '/obj/create', obj=obj)['digest']}"

    done = posted(door, "/actions/execute_batch", project_id=project, action_ref=ref, call_ids=[first, second])

    assert done == {"num_failed": 1, "errors": {second: f"there is no call '{second}' in {project}, or it is deleted"}}
    [node] = asked(graphql, FEEDBACK, project=project)["feedback"]["nodes"]
    assert node == {
        "weaveRef": call_ref(project, first),
        "feedbackType": "wandb.runnable.checker",
        "payload": {"output": True},
    }


def test_what_breaks_a_rule_is_refused(door: httpx.Client, project: str) -> None:
    inputs = {"model": "dall-e-3", "prompt": "a weft", "n": 2}

    assert refused(door, "/image/create", project_id=project, inputs=inputs)[0] == 400
    assert refused(door, "/image/create", project_id=project, inputs={"model": "x"})[0] == 422
    assert refused(door, "/actions/execute_batch", project_id=project, action_ref="x", call_ids=[])[0] == 400
    assert door.get("/image/create").status_code == 405
