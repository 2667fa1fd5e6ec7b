"""Field tables: the field names that clients may use per collection, and the stored path of each."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property, lru_cache
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import paths
from stores.json.bson_copy import escape_key

MAX_PATH_LENGTH: Final = 1_000
MAX_PATH_KEYS: Final = 50
"""Keys of a path; each uses two of the 200 nesting levels that MongoDB allows in a command."""

_TOO_LONG_FOR_AN_INDEX: Final = 10


class Kind(Enum):
    """Type of a field's stored values."""

    TEXT = auto()
    NUMBER = auto()
    TIME = auto()
    """Microseconds since the epoch; clients write a time in ISO 8601 or as unix seconds."""
    JSON = auto()
    """Any JSON value, stored as its BSON copy; clients address values inside it by path."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its public name, stored path and kind, and whether its value may be null (`optional`).

    Attributes:
        low_cardinality: many documents share each value, so the field's index narrows little.
        text_path: path of the field's exact JSON text, which covers the value at the first key of `path`. A JSON field
            without it holds only scalars and lists of strings.
        values: the allowed values in lower case; empty if any value is allowed.
        is_sparse: most documents lack the value, a number, so that the field's index leaves these out.
        comparison_hint: set for a JSON field that is always a list or an object: how to compare its members instead.
    """

    name: str
    path: str
    kind: Kind = Kind.TEXT
    optional: bool = True
    low_cardinality: bool = False
    text_path: str | None = None
    values: tuple[str, ...] = ()
    is_sparse: bool = False
    comparison_hint: str | None = None

    @property
    def is_object(self) -> bool:
        """True if the value is always a JSON object."""
        return bool(self.text_path and self.comparison_hint)


@dataclass(frozen=True)
class Access:
    """A field, plus the keys into its value for JSON, escaped as in the BSON copy."""

    field: Field
    steps: tuple[str, ...] = ()

    @property
    def is_whole_json(self) -> bool:
        """True for a JSON field accessed as a whole, whose text is stored."""
        return self.field.kind is Kind.JSON and not self.steps

    @property
    def is_text(self) -> bool:
        """True for a text field, which a conversion to string leaves unchanged."""
        return self.field.kind is Kind.TEXT

    @cached_property
    def stored_path(self) -> tuple[str, ...]:
        """The stored path in keys, equal for two names of one field."""
        return (self.field.path, *self.steps)

    @cached_property
    def text_steps(self) -> tuple[str, ...]:
        """The keys from the value whose text is stored at `text_path` to the accessed value."""
        return (*self.field.path.split(".")[1:], *self.steps)

    @cached_property
    def path(self) -> str | None:
        """The path for MongoDB's match language; None if it is ambiguous there: with a list index or an empty key."""
        if any(not step or is_index(step) for step in self.steps):
            return None
        return ".".join(self.stored_path)

    @cached_property
    def loose_path(self) -> str | None:
        """A match-language path that reaches the value but may also reach into lists; None for a JSON field as a whole.

        Also None for an index with a leading zero, which match language reads only as a key.
        """
        if not self.steps or any(not step or (is_index(step) and step != str(int(step))) for step in self.steps):
            return None
        return ".".join(self.stored_path)


@dataclass(frozen=True, eq=False)
class CompiledMatch(Access):
    """A pseudo-field, true for the documents of `match`; it may stand only under `$and`, `$or` and `$not`."""

    match: Mapping[str, Any] = field(default_factory=dict)


class FieldTable:
    """The fields of one collection by name; the camelCase form of a name finds the same field.

    Args:
        fields: the fields.
        absent_paths: paths inside JSON fields that never hold a value; each maps to a hint that the error shows.
    """

    def __init__(self, fields: Iterable[Field], absent_paths: Mapping[tuple[str, ...], str] | None = None) -> None:
        self._absent_paths = absent_paths or {}
        self._by_name = {each.name: each for each in fields}
        self._by_camel = {camel(name): each for name, each in self._by_name.items()}
        self._cached_access = lru_cache(1_000)(self._access)

    def __iter__(self) -> Iterator[Field]:
        """Yield the fields in the order of their declaration."""
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Access:
        """Return the access for a field name, or for a dotted path into a JSON field.

        Raises:
            BadInputError: if no such field exists (the message suggests similar names or shows the hint), or if the
                path is too long.
        """
        return self._cached_access(name)

    def _access(self, name: str) -> Access:
        field = self._field_named(name)
        if field:
            return Access(field)
        field = self._field_named(name.partition(".")[0])
        if field and field.kind is Kind.JSON:
            access = Access(field, _steps(name))
            for path, hint in self._absent_paths.items():
                if access.stored_path[: len(path)] == path:
                    raise BadInputError(f"there is no field {'.'.join(access.stored_path)[:100]!r}; {hint}")
            return access
        raise BadInputError(f"there is no field {name[:100]!r}; {self._suggest(name)}")

    def _field_named(self, name: str) -> Field | None:
        return self._by_name.get(name) or self._by_camel.get(name)

    def _suggest(self, name: str) -> str:
        similar = difflib.get_close_matches(name[:100], self._by_name, 3)
        return f"did you mean {' or '.join(similar)}?" if similar else f"the fields are {', '.join(self._by_name)}"


def _steps(name: str) -> tuple[str, ...]:
    if len(name) > MAX_PATH_LENGTH:
        raise BadInputError(f"the path has {len(name):,} characters; the limit is {MAX_PATH_LENGTH:,}")
    _, *steps = paths.split(name)
    if len(steps) > MAX_PATH_KEYS:
        raise BadInputError(f"the path has {len(steps)} keys inside the field; the limit is {MAX_PATH_KEYS}")
    return tuple(escape_key(step) for step in steps)


def is_index(step: str) -> bool:
    """Return True if a step may be a list index as well as a key: one to nine digits."""
    return step.isascii() and step.isdigit() and len(step) < _TOO_LONG_FOR_AN_INDEX


def camel(name: str) -> str:
    """Return the camelCase form of a snake_case name."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
