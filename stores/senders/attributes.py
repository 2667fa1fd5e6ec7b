"""Attributes of spans: their nesting, and the conventions by which `conventions.toml` gives them roles.

`{"llm.model_name": "m"}` becomes `{"llm": {"model_name": "m"}}`. If a prefix of a key is a key itself, the rest keeps
its dots: `{"a.b": 1, "a.b.c.d": 2}` becomes `{"a": {"b": 1, "b.c.d": 2}}`.

Programs send the same few sets of keys repeatedly, so the layout of a set is computed once and cached: how values nest,
and which keys have a role.
"""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from stores.errors import BadInputError
from stores.input_checks import check_count
from stores.json import AnyJson


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("stores.senders") / name).read_text("utf-8"))


_TABLES: Final = _read("conventions.toml")

COLUMN_RULES: Final = _read("columns.toml")
"""The rules of the columns of calls, by column."""

MEMBERS: Final = "[]"
"""Step of a path that stands for each member of a list."""


def _roles(table: str) -> dict[str, tuple[str, ...]]:
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

ATTRIBUTE_RULES: Final = tuple((column, rule) for column, rules in COLUMN_RULES.items() for rule in rules["attributes"])
"""The rules of columns that read attributes, each with its column, in order of precedence."""

_COLUMN_KEYS: Final = tuple(rule[0].partition(MEMBERS)[0] for _, rule in ATTRIBUTE_RULES)

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


MAX_LEVELS: Final = 64
"""Limit on the nesting levels from the dots of one key."""

MAX_KEYS: Final = 10_000
"""Limit on the attributes of one span, event, link, scope or resource."""

_MAX_LAYOUTS: Final = 1_000
_MAX_LAYOUT_KEYS: Final = 128
_MAX_LAYOUT_CHARACTERS: Final = 8_192
"""Limits on cached layouts: their number, the keys of each, and the characters of these keys."""

Place = int | tuple[tuple[str, Any], ...]
"""Location of a value: its position among the values, or a subtree as pairs of name and location."""


class Candidate(NamedTuple):
    """A key of a convention, the location of its value, and the remaining path inside a JSON value."""

    key: str
    location: Place
    rest: tuple[str, ...]

    def value(self, values: list[object]) -> object:
        """Return the value, with objects that have keys 0, 1, ... as lists; None if it does not exist."""
        location = self.location
        value: object = values[location] if isinstance(location, int) else _nest_with_lists(location, values)
        rest = self.rest
        while rest:
            if not isinstance(value, dict):
                return None
            step, rest = _next_step(value, rest)
            value = value.get(step)
        return value


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one set of keys.

    Attributes:
        found: by role in `conventions.ROLES` the keys present, in order of precedence.
        columns: the keys that may give a column of the call, each with the position of its rule in `ATTRIBUTE_RULES`.
        json_at: positions of values that may be quoted JSON strings.
    """

    root: tuple[tuple[str, Any], ...]
    found: dict[str, list[Candidate]]
    json_at: tuple[int, ...]
    columns: tuple[tuple[int, Candidate], ...]


STORED_LAYOUT: Final = Layout(
    root=(),
    found={role: [Candidate(key, 0, tuple(key.split("."))) for key in keys] for role, keys in ROLES.items()},
    json_at=(),
    columns=tuple((number, Candidate(key, 0, tuple(key.split(".")))) for number, key in enumerate(_COLUMN_KEYS)),
)
"""Layout of a span's attributes as stored in a call: a single nested value."""


class Attributes:
    """Attributes by flat key: the layout of their keys, and their values in the same order."""

    def __init__(self, layout: Layout, values: list[Any]) -> None:
        self.layout = layout
        self.values = values

    def nested(self) -> dict[str, Any]:
        """Return the values in nested objects."""
        return _nest(self.layout.root, self.values)

    def found(self, role: str) -> Iterator[tuple[str, Any]]:
        """Yield the keys of a role in order of precedence, with their values."""
        for candidate in self.layout.found.get(role, ()):
            yield candidate.key, candidate.value(self.values)

    def first(self, role: str) -> tuple[str, Any] | None:
        """Return the first key of a role with a truthy value, and the value."""
        for candidate in self.layout.found.get(role, ()):
            key, at, rest = candidate
            # Most values are a whole attribute, and the call of a method takes longer than to read it.
            value = self.values[at] if type(at) is int and not rest else candidate.value(self.values)
            if value:
                return key, value
        return None

    def pick(self, role: str) -> AnyJson:
        """Return the value of `first` alone."""
        key_and_value = self.first(role)
        return key_and_value and key_and_value[1]


def layout_of(keys: tuple[str, ...]) -> Layout:
    """Return the layout of a set of keys.

    Raises:
        BadInputError: a key has too many dots, or there are too many keys.
    """
    check_count(len(keys), MAX_KEYS, "attributes")
    is_small = len(keys) <= _MAX_LAYOUT_KEYS and len("".join(keys)) <= _MAX_LAYOUT_CHARACTERS
    return _cached_layout(keys) if is_small else _compute_layout(keys)


def nested(attributes: dict[str, object]) -> dict[str, Any]:
    """Nest attributes.

    Raises:
        BadInputError: as for `layout_of`.
    """
    return _nest(layout_of(tuple(attributes)).root, list(attributes.values())) if attributes else {}


def indexed_list(value: AnyJson) -> AnyJson:
    """Return the list that nesting leaves as an object with the keys 0, 1, ...; any other value unchanged."""
    if isinstance(value, dict) and "0" in value and all(str(index) in value for index in range(len(value))):
        return [value[str(index)] for index in range(len(value))]
    return value


def _compute_layout(keys: tuple[str, ...]) -> Layout:
    tree: dict[str, Any] = {}
    known = frozenset(keys)
    for position, key in enumerate(keys):
        *steps, last = _steps(key, known)
        node = tree
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = position
    return Layout(
        root=_frozen(tree),
        found={role: found for role, names in ROLES.items() if (found := list(_candidates(tree, names)))},
        json_at=tuple(at for at, key in enumerate(keys) if key.startswith(JSON_PREFIXES)),
        columns=tuple((number, found) for number, key in enumerate(_COLUMN_KEYS) for found in _candidates(tree, [key])),
    )


_cached_layout: Final = lru_cache(_MAX_LAYOUTS)(_compute_layout)


def _steps(key: str, known: frozenset[str]) -> list[str]:
    steps = key.split(".")
    if len(steps) > MAX_LEVELS:
        raise BadInputError(f"the key {key[:64]!r}… has {len(steps) - 1:,} dots; the limit is {MAX_LEVELS - 1}")
    for depth in range(len(steps) - 1):
        if ".".join(steps[: depth + 1]) in known:
            return [*steps[:depth], ".".join(steps[depth:])]
    return steps


def _frozen(tree: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _frozen(child) if isinstance(child, dict) else child) for name, child in tree.items())


def _candidates(tree: dict[str, Any], keys: Iterable[str]) -> Iterable[Candidate]:
    for key in keys:
        rest = tuple(key.split("."))
        location: Any = tree
        while rest and isinstance(location, dict):
            step, left = _next_step(location, rest)
            if step not in location:
                break
            location, rest = location[step], left
        if isinstance(location, int) or not rest:
            yield Candidate(key, _frozen(location) if isinstance(location, dict) else location, rest)


def _next_step(members: dict[str, Any], steps: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the next member name (possibly all remaining steps joined by dots), and the steps after it."""
    whole = ".".join(steps)
    return (whole, ()) if whole in members else (steps[0], steps[1:])


def _nest(places: tuple[tuple[str, Any], ...], values: list[object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, at in places:
        tree[name] = values[at] if type(at) is int else _nest(at, values)
    return tree


def _nest_with_lists(places: tuple[tuple[str, Any], ...], values: list[object]) -> dict[str, Any] | list[Any]:
    """Build the nested value; objects with the keys 0, 1, 2, ... in any order become lists."""
    members = {name: values[at] if type(at) is int else _nest_with_lists(at, values) for name, at in places}
    indexes = [str(index) for index in range(len(members))]
    return [members[index] for index in indexes] if indexes and members.keys() == set(indexes) else members
