"""Links to W&B pages that the Weave SDK prints: LoomQL redirects them to GraphiQL with a query filled in."""

import json
import re
from typing import Final
from urllib.parse import quote, urlencode

_CALL: Final = """\
query Call($projectId: ID!, $id: ID!) {
  call(projectId: $projectId, id: $id) {
    id
    traceName
    displayName
    status
    startedAt
    latencyMs
    totalTokens
    totalCost
    inputs
    output
    exception
    children(first: 50) { nodes { id traceName status latencyMs } }
  }
}
"""
_VERSION: Final = """\
query Version($ref: ID!) {
  node(id: $ref) {
    ... on ObjSchema { ref kind objectId digest versionIndex isLatest createdAt baseObjectClass val }
  }
}
"""
_PROJECT: Final = """\
query LatestTraces($projectId: ID!) {
  calls(
    projectId: $projectId
    filter: { traceRootsOnly: true }
    sortBy: [{ field: "started_at", direction: DESC }]
    first: 20
  ) {
    nodes { id traceName status startedAt latencyMs totalTokens totalCost }
  }
}
"""

_LINK: Final = re.compile(
    r"/(?P<project>[^/]+/[^/]+)/(?:r/call/(?P<call>[^/]+)"
    r"|weave/(?P<kind>object|op)s/(?P<name>[^/]+)/versions/(?P<digest>[^/]+)|weave(?:/.*)?)",
    re.DOTALL,
)


def query_string_of(path: str) -> str | None:
    """Return GraphiQL's query string for the path of a link below the prefix, None if the SDK prints no such link.

    A link to a call or to a version of an object or op queries that entity. Any other page of a project lists its
    latest traces.
    """
    link = _LINK.fullmatch(path)
    if link is None:
        return None
    project_id = link["project"]
    query, variables = _PROJECT, {"projectId": project_id}
    if link["call"]:
        query, variables = _CALL, {"projectId": project_id, "id": link["call"]}
    elif link["kind"]:
        query = _VERSION
        variables = {"ref": f"weave:///{project_id}/{link['kind']}/{link['name']}:{link['digest']}"}
    return urlencode({"query": query, "variables": json.dumps(variables, indent=2)}, quote_via=quote)
