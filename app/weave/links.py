"""Links to W&B pages that the Weave SDK prints: LoomQL redirects them to GraphiQL with a query filled in."""

import json
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

_QUERIES: Final = Path(__file__).with_name("links.graphql").read_text().split("\n\n")
_CALL, _VERSION, _PROJECT = (f"{query.strip()}\n" for query in _QUERIES)

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
