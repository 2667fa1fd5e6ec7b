"""Paths in the JSON of a project's newest calls, with the types of their values."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from stores.calls import CallsFilter
from stores.calls.fields import CALL_FIELDS, calls_match
from stores.concurrency.time_slices import cooperative
from stores.database import Database, database_query
from stores.database.connection import always, in_scan_slot
from stores.database.scan_order import scan_hint
from stores.errors import BadInputError, ErrorsAt
from stores.ids import check_project_id
from stores.json import codec, paths
from stores.query.fields import MAX_PATH_KEYS, MAX_PATH_LENGTH

MAX_CALLS: Final = 1_000
MAX_CHARACTERS: Final = 20_000_000
"""Characters of JSON that one request reads; the calls after them are not read."""

MAX_MEMBERS: Final = 20
"""Members of each list that are read."""

MAX_VALUES: Final = 10_000
"""Values of each call that are read."""

MAX_KNOWN: Final = 10_000
"""Distinct paths that are counted; further ones are left out."""

MAX_PATHS: Final = 1_000
"""Paths that are returned, the most frequent ones."""

MAX_EXAMPLE: Final = 200
"""Characters of an example."""

INDEX: Final = "0"
"""Step of a path that stands for all members of a list."""

ROOTS: Final = ("inputs", "output", "attributes", "summary")

Steps = tuple[str, ...]


class JsonType(Enum):
    """Type of a JSON value other than null."""

    STRING = "string"
    """String."""
    NUMBER = "number"
    """Number."""
    BOOLEAN = "boolean"
    """True or false."""
    LIST = "list"
    """List."""
    OBJECT = "object"
    """Object."""


_TYPES: Final[dict[type, JsonType]] = {
    str: JsonType.STRING,
    int: JsonType.NUMBER,
    float: JsonType.NUMBER,
    bool: JsonType.BOOLEAN,
    list: JsonType.LIST,
    dict: JsonType.OBJECT,
}


@dataclass(frozen=True, slots=True)
class TypeShare:
    """Share of the calls that have a value of a type at a path."""

    type: JsonType
    share: float


@dataclass(frozen=True, slots=True)
class CallPath:
    """A path, the share of calls that have a value there, and an example as JSON text, None for lists and objects."""

    path: str
    share: float
    types: list[TypeShare]
    example: str | None


@dataclass(frozen=True, slots=True)
class CallPaths:
    """The paths of some calls. `is_truncated` is True if the calls have further paths, or were not read as a whole."""

    num_calls: int
    paths: list[CallPath]
    is_truncated: bool


@dataclass(slots=True)
class _Known:
    """The paths of the calls read so far."""

    calls: int = 0
    is_truncated: bool = False
    counts: Counter[Steps] = field(default_factory=Counter)
    types: dict[Steps, Counter[JsonType]] = field(default_factory=dict)
    examples: dict[Steps, object] = field(default_factory=dict)

    def add(self, values: Sequence[tuple[Steps, object]]) -> None:
        """Add the JSON values of one call, each with the steps to it."""
        self.calls += 1
        found: dict[tuple[Steps, JsonType], None] = {}  # in the order of the values, outer ones first
        for number, (steps, value) in enumerate(self._values(values)):
            if number == MAX_VALUES:
                self.is_truncated = True
                break
            kind = _TYPES[type(value)]
            found[steps, kind] = None
            if steps not in self.examples and kind not in (JsonType.LIST, JsonType.OBJECT):
                self.examples[steps] = value
        for steps in dict.fromkeys(steps for steps, _ in found):
            if steps not in self.types:
                if len(self.types) == MAX_KNOWN:
                    self.is_truncated = True
                    continue
                self.types[steps] = Counter()
            self.counts[steps] += 1
        for steps, kind in found:
            if steps in self.types:
                self.types[steps][kind] += 1
        if len(self.examples) > MAX_KNOWN:
            self.examples = {steps: value for steps, value in self.examples.items() if steps in self.types}

    def _values(self, values: Sequence[tuple[Steps, object]]) -> Iterator[tuple[Steps, object]]:
        """Yield the values, and those inside them, that are not null."""
        stack = [*reversed(values)]
        while stack:
            steps, value = stack.pop()
            if value is None:
                continue
            yield steps, value
            if not isinstance(value, dict | list):
                continue
            if len(steps) > MAX_PATH_KEYS:
                self.is_truncated = self.is_truncated or bool(value)
            elif isinstance(value, dict):
                # A path cannot name an empty key.
                stack += [((*steps, key), inner) for key, inner in reversed(value.items()) if key]
            else:
                # Further members that are no objects or lists have no further paths.
                has_more = any(isinstance(inner, dict | list) for inner in value[MAX_MEMBERS:])
                self.is_truncated = self.is_truncated or has_more
                stack += [((*steps, INDEX), inner) for inner in reversed(value[:MAX_MEMBERS])]


class CallPathsStore:
    """Finds the paths in the JSON of calls."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @in_scan_slot(always)
    @database_query
    async def paths(
        self, project_id: str, under: str | None = None, calls_filter: CallsFilter | None = None
    ) -> CallPaths:
        """Return the paths of the newest matching calls, the most frequent ones first.

        Without `under`, these are all paths below the JSON fields of calls; with it, those below this path.

        Raises:
            BadInputError: the filter is invalid, or `under` is no path into the JSON of calls.
        """
        check_project_id(project_id)
        match = calls_match(project_id, calls_filter)
        start = _start(under) if under is not None else ()
        roots = start[:1] or ROOTS
        projection = {"_id": 0} | {f"json.{root}": 1 for root in roots}
        order = {"started_at": -1, "id": -1}
        hint = await scan_hint(self.database.calls, [{"$match": match}, {"$sort": order}])
        calls = self.database.calls.find(match, projection, sort=[*order.items()], limit=MAX_CALLS, **hint)
        read: list[dict[str, str]] = []
        known, characters = _Known(), 0
        async for row in calls:
            texts = {root: text for root in roots if (text := row.get("json", {}).get(root))}
            characters += sum(map(len, texts.values()))
            if characters > MAX_CHARACTERS and read:
                known.is_truncated = True
                break
            read.append(texts)
        async for texts in cooperative(read):
            values = [(root, codec.loads(text.encode())) for root, text in texts.items()]
            known.add([((root, *start[1:]), paths.follow(value, [*start[1:]])) for root, value in values])
        return _shown(known, len(start))


def _start(under: str) -> Steps:
    """Return the steps of a path into the JSON of calls."""
    root = under.partition(".")[0]
    with ErrorsAt("under"):
        if root not in ROOTS:
            similar = difflib.get_close_matches(root[:100], ROOTS, 1)
            hint = f"did you mean {similar[0]}?" if similar else f"start it with {', '.join(ROOTS[:-1])} or {ROOTS[-1]}"
            raise BadInputError(f"{under[:100]!r} is no path into the JSON of calls; {hint}")
        if CALL_FIELDS[under].field.name != root:
            raise BadInputError(f"{under[:100]} is computed from columns and has no inner paths")
        return tuple(paths.split(under))


def _shown(known: _Known, length: int) -> CallPaths:
    """Return the paths beyond their common start, which has `length` steps."""
    inner = [(steps, count) for steps, count in known.counts.items() if len(steps) > length]
    named = {steps: paths.join(steps) for steps, _ in inner}
    usable = [each for each in inner if len(named[each[0]]) <= MAX_PATH_LENGTH]
    frequent = sorted(usable, key=lambda each: (-each[1], named[each[0]]))[:MAX_PATHS]
    return CallPaths(
        known.calls,
        [
            CallPath(
                named[steps],
                count / known.calls,
                [TypeShare(kind, calls / known.calls) for kind, calls in _by_frequency(known.types[steps])],
                _example(known.examples.get(steps)),
            )
            for steps, count in frequent
        ],
        known.is_truncated or len(frequent) < len(inner),
    )


def _by_frequency(types: Counter[JsonType]) -> list[tuple[JsonType, int]]:
    return sorted(types.items(), key=lambda each: (-each[1], each[0].value))


def _example(value: object) -> str | None:
    if value is None:
        return None
    return codec.encode(value[:MAX_EXAMPLE] if isinstance(value, str) else value)
