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
