"""Tests that @graphql-eslint reports nothing for the committed SDL, and that it reports real problems."""

import json
from pathlib import Path
from typing import Any

from tests.clients.released import PRESENT
from tests.installation import ROOT
from tests.node import Node

SOURCES = Path(__file__).parent
SDL = "graphql_schema/schema.graphql"
FLAWED = '''
"""A page of a list."""
type FlawConnection {
  """The entries."""
  edges: [FlawEdge!]!
}

"""One entry."""
type FlawEdge {
  """Its place."""
  cursor: String!

  """The entry."""
  node: Flaw!
}

type Flaw {
  """Its id."""
  id: ID!

  """A name."""
  flaw_name: String
}

extend type Query {
  """Flaws."""
  flaws: FlawConnection!
}
'''


async def lint(node: Node, folder: Path) -> tuple[int | None, list[dict[str, Any]]]:
    """Run ESLint on the SDL in a folder and return its exit code and its messages."""
    config = ["--config", str(SOURCES / "eslint.config.js")]
    eslint = str(node.packages / "eslint" / "bin" / "eslint.js")
    code, output, complaint = await node.outcome(eslint, *config, "--format", "json", SDL, folder=folder)
    assert output, complaint
    [file] = json.loads(output)
    return code, file["messages"]


async def test_schema_follows_the_recommended_and_relay_rules(node: Node) -> None:
    assert await lint(node, ROOT) == (0, [])


async def test_unneeded_exception_is_reported(node: Node, tmp_path: Path) -> None:
    mended = tmp_path / SDL
    mended.parent.mkdir()
    mended.write_text(PRESENT.read_text().replace("feedbackType:", "kind:"))

    code, [found] = await lint(node, tmp_path)

    assert (code, found["message"]) == (1, "Feedback.feedbackType needs no exception.")


async def test_rule_violations_are_reported(node: Node, tmp_path: Path) -> None:
    flawed = tmp_path / SDL
    flawed.parent.mkdir()
    flawed.write_text(PRESENT.read_text() + FLAWED)

    code, found = await lint(node, tmp_path)

    assert code == 1
    assert {message["ruleId"].removeprefix("@graphql-eslint/") for message in found} == {
        "naming-convention",
        "no-typename-prefix",
        "relay-arguments",
        "relay-connection-types",
        "relay-edge-types",
        "require-description",
        "strict-id-in-types",
    }
