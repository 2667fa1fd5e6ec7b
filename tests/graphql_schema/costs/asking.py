"""Documents and helpers that set, list and purge prices."""

from typing import Any

from tests.graphql_schema.conftest import Run

CREATE = """mutation ($costs: [CostCreateInput!]!, $project: ID = "acme/chat", $user: String) {
  costCreate(projectId: $project, costs: $costs, wbUserId: $user) { ids { id llmId } }
}"""

LIST = """query ($query: QueryInput, $sort: [SortBy!], $project: ID = "acme/chat", $first: Int, $after: String) {
  costs(projectId: $project, query: $query, sortBy: $sort, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    nodes {
      id llmId promptTokenCost completionTokenCost promptTokenCostUnit completionTokenCostUnit effectiveDate providerId
      cacheReadTokenCost cacheReadAudioTokenCost cacheWrite5mTokenCost cacheWrite1hTokenCost audioInputTokenCost
      imageInputTokenCost reasoningTokenCost audioOutputTokenCost imageOutputTokenCost webSearchCost
    }
  }
}"""

PURGE = """mutation ($query: QueryInput!, $project: ID = "acme/chat") {
  costPurge(projectId: $project, query: $query) { numPurged }
}"""


RATES = (
    "cacheReadTokenCost",
    "cacheReadAudioTokenCost",
    "cacheWrite5mTokenCost",
    "cacheWrite1hTokenCost",
    "audioInputTokenCost",
    "imageInputTokenCost",
    "reasoningTokenCost",
    "audioOutputTokenCost",
    "imageOutputTokenCost",
    "webSearchCost",
)


def cost(**changes: Any) -> dict[str, Any]:
    """Return a price of the model `m` from long ago."""
    return {
        "llmId": "m",
        "promptTokenCost": 0.001,
        "completionTokenCost": 0.002,
        "effectiveDate": "2020-01-01T00:00:00Z",
    } | changes


async def create(run: Run, *costs: dict[str, Any], **variables: Any) -> list[str]:
    answer = await run(CREATE, costs=list(costs), **variables)
    assert answer.errors == []
    assert [made["llmId"] for made in answer.data["costCreate"]["ids"]] == [each["llmId"] for each in costs]
    return [made["id"] for made in answer.data["costCreate"]["ids"]]


async def listed(run: Run, **variables: Any) -> list[dict[str, Any]]:
    answer = await run(LIST, **variables)
    assert answer.errors == []
    nodes: list[dict[str, Any]] = answer.data["costs"]["nodes"]
    return nodes


def by_id(cost_id: str) -> dict[str, Any]:
    return {"eq": [{"getField": "id"}, {"literal": cost_id}]}
