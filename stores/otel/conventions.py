"""Attribute conventions of LLM instrumentation: the tables of `conventions.toml`, and their exceptions."""

import tomllib
from importlib.resources import files
from typing import Any, Final

_TABLES: Final[dict[str, dict[str, Any]]] = tomllib.loads(
    (files("stores.otel") / "conventions.toml").read_text("utf-8")
)

Roles = dict[str, tuple[str, ...]]
"""Keys by role, in order of precedence."""


def _roles(table: str) -> Roles:
    return {role: tuple(keys) for role, keys in _TABLES[table].items()}


NOTED: Final = _roles("noted")
"""Attributes of the call besides `otel_span`, by their names there."""

COUNTS: Final = _roles("counts")
"""Usage counts of the call's model, by name."""

PARTS: Final = _roles("parts")
"""Parts of those counts, by their names in `stores.usage.rules`."""

OTHER_USAGE: Final = _roles("other_usage")
"""Langfuse's whole usage object, and costs in US dollars that the sender states."""

ROLES: Final = _roles("call") | NOTED | COUNTS | PARTS | OTHER_USAGE
"""Keys of every role."""

EVENT_ATTRIBUTES: Final[dict[str, dict[str, str]]] = _TABLES["event_attributes"]
"""By role, events with an attribute for it, and the attribute's key."""

EVENT_MESSAGES: Final[dict[str, dict[str, str]]] = _TABLES["event_messages"]
"""By role, events that are one message each, and the message's default role."""

SUMMING_PREFIX: Final = "ai."
SPEAKING_MARK: Final = ".do"
"""Vercel's operations report the usage of their inner operations, which have names such as
`ai.generateText.doGenerate`.
"""

GATEWAY: Final = "gateway"
"""Provider name in Vercel's AI SDK for models behind Vercel's gateway."""

AGENT_OPERATIONS: Final = frozenset({"invoke_agent", "invoke_workflow"})
"""Operations that report the usage of the models they call, unless those run in another program."""

UNNESTED: Final = frozenset({"input", "inputs", "output", "outputs"})
"""Keys without meaning beyond the role, so the value is stored without the key."""

MESSAGES: Final = {"inputs": "gen_ai.input.messages", "output": "gen_ai.output.messages"}
"""By role, the key of messages."""

SENT_WITH_INPUT_MESSAGES: Final = ("system_instructions", "tool_definitions")
"""Roles of a model's inputs besides messages, ignored if there are no messages."""

JSON_PREFIXES: Final = ("mlflow.",)
"""Prefixes of keys whose string values are all JSON, including quoted strings."""
