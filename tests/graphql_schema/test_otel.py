"""Exports of spans in the API."""

from tests.graphql_schema.conftest import Run
from tests.stores.otel.messages import otlp_json, request, span, span_id

EXPORT = """
mutation ($project: ID!, $traces: JSON!, $user: String) {
  otelExport(projectId: $project, traces: $traces, wbUserId: $user) { partialSuccess { rejectedSpans errorMessage } }
}
"""
CALLS = '{ calls(projectId: "acme/chat") { nodes { id opName wbUserId inputs usage { model totalTokens } } } }'


async def test_spans_are_stored_in_the_project_of_the_mutation(run: Run) -> None:
    attributes = {"input.value": "hi", "gen_ai.usage.input_tokens": 3, "gen_ai.response.model": "m"}
    elsewhere = {"wandb.entity": "other", "wandb.project": "project"}
    traces = otlp_json(request(span(1, attributes), resource=elsewhere))

    answer = await run(EXPORT, project="acme/chat", traces=traces, user="ada")

    assert answer.data == {"otelExport": {"partialSuccess": None}}
    assert (await run(CALLS)).data["calls"]["nodes"] == [
        {
            "id": span_id(1),
            "opName": "step 1",
            "wbUserId": "ada",
            "inputs": {"input.value": "hi"},
            "usage": [{"model": "m", "totalTokens": 3}],
        }
    ]


async def test_rejected_spans_are_reported(run: Run) -> None:
    answer = await run(EXPORT, project="acme/chat", traces=otlp_json(request(span(1), span(2, {"." * 64: 1}))))

    partial = answer.data["otelExport"]["partialSuccess"]
    assert partial["rejectedSpans"] == 1
    assert partial["errorMessage"].startswith("span 0000000000000002 (step 2): the key")
    assert [node["id"] for node in (await run(CALLS)).data["calls"]["nodes"]] == [span_id(1)]


async def test_invalid_request_is_refused_by_name(run: Run) -> None:
    traces = await run(EXPORT, project="acme/chat", traces={"spans": []})
    project = await run(EXPORT, project="nonsense", traces={})
    user = await run(EXPORT, project="acme/chat", traces={}, user="u" * 1025)

    arguments = [answer.errors[0]["extensions"]["argument"] for answer in (traces, project, user)]
    assert arguments == ["traces", "projectId", "wbUserId"]
    assert {answer.code for answer in (traces, project, user)} == {"BAD_USER_INPUT"}


PUBLISH = """
mutation ($val: JSON!, $name: String!) {
  objCreate(obj: { projectId: "acme/chat", objectId: $name, val: $val }) { digest }
}
"""
PROMPTS = """
{
  calls(projectId: "acme/chat", sortBy: [{ field: "id", direction: ASC }]) {
    nodes { prompt { objectId versionIndex val } }
  }
}
"""


async def test_prompt_that_a_span_names_is_linked(run: Run) -> None:
    digests = [
        (await run(PUBLISH, name="greet-er", val={"content": text})).data["objCreate"]["digest"] for text in ("a", "b")
    ]
    versions = [None, "latest", "v0", "0", 1, digests[0], "v7", "nope", [1], ""]
    named = [
        {"gen_ai.prompt.name": "greet er", **({} if version is None else {"gen_ai.prompt.version": version})}
        for version in versions
    ]
    others: list[dict[str, object]] = [
        {"gen_ai.prompt.name": "other"},
        {"gen_ai.prompt.name": 7},
        {"gen_ai.prompt": "greet-er"},
        {},
    ]
    spans = [span(number + 1, attributes) for number, attributes in enumerate([*named, *others])]
    await run(EXPORT, project="acme/chat", traces=otlp_json(request(*spans)))

    nodes = (await run(PROMPTS)).data["calls"]["nodes"]
    assert [node["prompt"] and node["prompt"]["versionIndex"] for node in nodes] == [
        *(1, 1, 0, 0, 1, 0, None, None, None, 1),
        *(None, None, None, None),
    ]
    assert nodes[0]["prompt"] == {"objectId": "greet-er", "versionIndex": 1, "val": {"content": "b"}}
