"""Tables of fields: which names a collection's clients may use, and where each is stored."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property, lru_cache
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import paths
from stores.json.bson_copy import escape_key

MAX_PATH: Final = 1_000
MAX_STEPS: Final = 50
"""Keys of a path; each takes two of the 200 levels that MongoDB lets a command nest."""

_NEAR_NAMES: Final = 3
_REMEMBERED: Final = 1_000
_TOO_LONG_FOR_AN_INDEX: Final = 10


class Kind(Enum):
    """What a field holds."""

    TEXT = auto()
    NUMBER = auto()
    TIME = auto()
    """Microseconds since the epoch; to clients a time, which they write in ISO 8601 or as unix seconds."""
    JSON = auto()
    """Any JSON value, as its mirror; clients reach into it by paths."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name for clients, its path in the document, what it holds, and whether it may be null there.

    `text_path` leads to the exact JSON text of the value at the first key of `path`; without it, a JSON field holds no
    lists or objects but lists of strings. A `coarse` field has an index in which a great many documents share each
    value. A field with `values` holds one of these, all in lower case, and nothing else. A JSON field that is always a
    list or an object says in `instead` how to compare what is in it.
    """

    name: str
    path: str
    kind: Kind = Kind.TEXT
    optional: bool = True
    coarse: bool = False
    text_path: str | None = None
    values: tuple[str, ...] = ()
    instead: str | None = None


@dataclass(frozen=True)
class Access:
    """A field and, for JSON, the keys that lead into it, spelled as the mirror spells them."""

    field: Field
    steps: tuple[str, ...] = ()

    @property
    def is_whole_json(self) -> bool:
        """Whether this is a JSON value as a whole, which has a text."""
        return self.field.kind is Kind.JSON and not self.steps

    @property
    def is_text(self) -> bool:
        """Whether this is a column of texts, which a conversion to string leaves as they are."""
        return self.field.kind is Kind.TEXT

    @cached_property
    def spelling(self) -> tuple[str, ...]:
        """Where it leads, the same for two names of one field."""
        return (self.field.path, *self.steps)

    @cached_property
    def text_steps(self) -> tuple[str, ...]:
        """The keys that lead from the value whose text is at the field's `text_path` to this place."""
        return (*self.field.path.split(".")[1:], *self.steps)

    @cached_property
    def path(self) -> str | None:
        """The path in match language; None where it has no unambiguous one: an index, or an empty key."""
        if any(not step or is_index(step) for step in self.steps):
            return None
        return ".".join(self.spelling)

    @cached_property
    def loose_path(self) -> str | None:
        """A path in match language that leads there, and elsewhere in lists; None for a JSON field as a whole.

        Nor is there one through an index with a leading zero, which in match language is a key only.
        """
        if not self.steps or any(not step or (is_index(step) and step != str(int(step))) for step in self.steps):
            return None
        return ".".join(self.spelling)


@dataclass(frozen=True, eq=False)
class Known(Access):
    """What is known to be true just where a match holds; a query names it by itself, under `$and`, `$or` and `$not`."""

    match: Mapping[str, Any] = field(default_factory=dict)


class FieldTable:
    """The fields of one collection, by name; a name in camelCase finds the field, too.

    Places in JSON fields where there is never anything are refused, each with a word on where it is instead.
    """

    def __init__(self, fields: Iterable[Field], elsewhere: Mapping[tuple[str, ...], str] | None = None) -> None:
        self._elsewhere = elsewhere or {}
        self._by_name = {each.name: each for each in fields}
        self._by_camel = {_camel(name): each for name, each in self._by_name.items()}
        self._look_up = lru_cache(_REMEMBERED)(self._access)

    def __iter__(self) -> Iterator[Field]:
        """Yield the fields in the order of their declaration."""
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Access:
        """The field of that name, or the place in a JSON field that a dotted name leads to.

        Raises:
            BadInputError: there is none (the message lists near names, or says where it is), or the path is too long.
        """
        return self._look_up(name)

    def _access(self, name: str) -> Access:
        found = self._find(name)
        if found:
            return Access(found)
        found = self._find(name.partition(".")[0])
        if found and found.kind is Kind.JSON:
            return self._checked(Access(found, _steps(name)))
        raise BadInputError(f"there is no field {name[:100]!r}; {self._near(name)}")

    def _checked(self, access: Access) -> Access:
        for place, instead in self._elsewhere.items():
            if access.spelling[: len(place)] == place:
                raise BadInputError(f"there is no field {'.'.join(access.spelling)[:100]!r}; {instead}")
        return access

    def _find(self, name: str) -> Field | None:
        return self._by_name.get(name) or self._by_camel.get(name)

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], self._by_name, _NEAR_NAMES)
        return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self._by_name)}"


def _steps(name: str) -> tuple[str, ...]:
    if len(name) > MAX_PATH:
        raise BadInputError(f"a path of {len(name):,} characters; the limit is {MAX_PATH:,}")
    _, *steps = paths.split(name)
    if len(steps) > MAX_STEPS:
        raise BadInputError(f"a path of {len(steps)} keys into a field; the limit is {MAX_STEPS}")
    return tuple(escape_key(step) for step in steps)


def is_index(step: str) -> bool:
    """Whether a step may be a list's index, beside a key; no list has more than nine digits of members."""
    return step.isascii() and step.isdigit() and len(step) < _TOO_LONG_FOR_AN_INDEX


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
