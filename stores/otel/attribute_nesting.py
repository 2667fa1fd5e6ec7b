"""Flat keys made nested: `{"llm.model_name": "m"}` is `{"llm": {"model_name": "m"}}`.

A key whose beginning is a key itself keeps its dots from there on: `{"a.b": 1, "a.b.c.d": 2}` is
`{"a": {"b": 1, "b.c.d": 2}}`.

Programs send the same few sets of keys again and again, so what a set of keys comes to is worked out once, its layout:
how the values nest, and at which of the keys `stores.otel.conventions` has something to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from stores.errors import BadInputError
from stores.json.inspection import ODD_KEY
from stores.otel.conventions import JSON_PREFIXES, ROLES

MAX_LEVELS: Final = 64
"""Levels of nesting that the dots of one key may make."""

MAX_KEYS: Final = 10_000
"""Attributes of one span, event, link, scope or resource."""

_MOST_KEPT: Final = 1_000
_MOST_KEYS: Final = 128
_LONGEST_KEYS: Final = 8_192
"""Layouts that are kept, the keys of each, and the characters of these together."""

Place = int | tuple[tuple[str, Any], ...]
"""Where a value is: its position among the values, or what nests there: names with their own places."""


class Candidate(NamedTuple):
    """A key that a convention names, where its value is, and what leads on from there into a value of JSON."""

    key: str
    place: Place
    rest: tuple[str, ...]

    def value(self, values: list[object]) -> object:
        """What it comes to, with a list where all keys of an object count from 0; None where it leads nowhere."""
        place = self.place
        found: object = values[place] if isinstance(place, int) else _listed(place, values)
        rest = self.rest
        while rest:
            if not isinstance(found, dict):
                return None
            step, rest = _next_step(found, rest)
            found = found.get(step)
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """What one set of keys comes to.

    Attributes:
        separators: commas and colons of the nested object, that of values which are objects themselves aside.
        is_odd: whether MongoDB takes one of the names only with signs escaped.
        found: by role in `conventions.ROLES` the keys that are there, the first first.
        json_at: where strings of JSON are that may be quoted.
    """

    root: tuple[tuple[str, Any], ...]
    separators: int
    is_odd: bool
    found: dict[str, list[Candidate]]
    json_at: tuple[int, ...]

    def nest(self, values: list[object]) -> dict[str, Any]:
        """The nested object of values in the order of the keys."""
        return _built(self.root, values)

    def first(self, role: str, values: list[object]) -> tuple[str, Any] | None:
        """The first key of a role whose value says something, and that value."""
        for candidate in self.found.get(role, ()):
            value = candidate.value(values)
            if value:
                return candidate.key, value
        return None

    def pick(self, role: str, values: list[object]) -> Any:  # noqa: ANN401 -- JSON
        """The same, the value alone."""
        if role not in self.found:
            return None
        found = self.first(role, values)
        return found and found[1]


_layouts: dict[tuple[str, ...], Layout] = {}


def layout_of(keys: tuple[str, ...]) -> Layout:
    """The layout of a set of keys.

    Raises:
        BadInputError: a key has too many dots, or there are too many keys.
    """
    layout = _layouts.get(keys)
    if layout is None:
        if len(keys) > MAX_KEYS:
            raise BadInputError(f"has {len(keys):,} attributes; the limit is {MAX_KEYS:,}")
        layout = _made(keys)
        if len(keys) <= _MOST_KEYS and sum(map(len, keys)) <= _LONGEST_KEYS:
            if len(_layouts) >= _MOST_KEPT:
                _layouts.clear()
            _layouts[keys] = layout
    return layout


def nested(attributes: dict[str, object]) -> dict[str, Any]:
    """Attributes as a nested object.

    Raises:
        BadInputError: as for `layout_of`.
    """
    return layout_of(tuple(attributes)).nest(list(attributes.values())) if attributes else {}


def _made(keys: tuple[str, ...]) -> Layout:
    tree: dict[str, Any] = {}
    known = frozenset(keys)
    for position, key in enumerate(keys):
        *steps, last = _steps(key, known)
        node = tree
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = position
    nodes = list(_nodes(tree))
    return Layout(
        root=_frozen(tree),
        separators=sum(2 * len(node) - 1 for node in nodes if node),
        is_odd=any(ODD_KEY.search(name) for node in nodes for name in node),
        found={role: found for role, names in ROLES.items() if (found := list(_candidates(tree, names)))},
        json_at=tuple(at for at, key in enumerate(keys) if key.startswith(JSON_PREFIXES)),
    )


def _steps(key: str, known: frozenset[str]) -> list[str]:
    steps = key.split(".")
    if len(steps) > MAX_LEVELS:
        raise BadInputError(f"the key {key[:64]!r}… has {len(steps) - 1:,} dots; the limit is {MAX_LEVELS - 1}")
    for depth in range(len(steps) - 1):
        if ".".join(steps[: depth + 1]) in known:
            return [*steps[:depth], ".".join(steps[depth:])]
    return steps


def _nodes(tree: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield tree
    for child in tree.values():
        if isinstance(child, dict):
            yield from _nodes(child)


def _frozen(tree: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _frozen(child) if isinstance(child, dict) else child) for name, child in tree.items())


def _candidates(tree: dict[str, Any], keys: Iterable[str]) -> Iterable[Candidate]:
    for key in keys:
        rest = tuple(key.split("."))
        place: Any = tree
        while rest and isinstance(place, dict):
            step, left = _next_step(place, rest)
            if step not in place:
                break
            place, rest = place[step], left
        if isinstance(place, int) or not rest:
            yield Candidate(key, _frozen(place) if isinstance(place, dict) else place, rest)


def _next_step(members: dict[str, Any], steps: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The member to which steps lead, whose name may be all of them with their dots, and the steps from there."""
    whole = ".".join(steps)
    return (whole, ()) if whole in members else (steps[0], steps[1:])


def _built(places: tuple[tuple[str, Any], ...], values: list[object]) -> dict[str, Any]:
    return {name: values[at] if type(at) is int else _built(at, values) for name, at in places}


def _listed(places: tuple[tuple[str, Any], ...], values: list[object]) -> dict[str, Any] | list[Any]:
    """The same, but a list where all names are 0, 1, 2 and so on, in whatever order they came."""
    members = {name: values[at] if type(at) is int else _listed(at, values) for name, at in places}
    if "0" in members and all(str(index) in members for index in range(len(members))):
        return [members[str(index)] for index in range(len(members))]
    return members
