"""Samples of the newest calls of a project: paths, types of values, and names of ops and models, but no values."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from pymongo.errors import ExecutionTimeout

from stores.calls.fields import calls_match
from stores.database import Database
from stores.query.fields import Access
from stores.query.text_expressions import Expression
from stores.query.value_expressions import path_expression

MAX_CALLS: Final = 1_000

JSON_FIELDS: Final = ("inputs", "output", "attributes", "summary")

FIRST_INDEX: Final = "0"
"""Path step of a list's first member, which stands for all members."""

MAX_NAMES: Final = 200
"""Maximum names of ops, and of models, in a sample, the most frequent ones."""

_MAX_NAME_LENGTH: Final = 300

_MAX_CACHED: Final = 300
"""Maximum parts of samples in the cache."""

_MAX_READS: Final = 2
"""Samples that a process reads at a time; meanwhile other empty results get hints from cached samples only."""

_BATCH_SIZES: Final = (2, 18, 180, MAX_CALLS - 200)
"""Calls per command: if payloads are too large for the time limit, at least the first batches are read."""

_CALLS_WITH_PATHS: Final = 200
"""Calls whose paths are read; of the others, only those of further ops. All paths cost ten times as much as the types
at a few paths."""

_MAX_KEY_TREES: Final = 50
"""Maximum different key trees per command; calls of a project have few, unless their keys are data."""

_MAX_KEY_TREE_BYTES: Final = 20_000

_WIDTHS: Final = (100, 60, 40, 20, 10, 10)
"""Maximum keys read per object, by depth."""

_Part = TypeVar("_Part")

Path = tuple[str, ...]
"""Keys from a field of calls on, escaped as in the BSON copy."""


@dataclass(slots=True)
class Names:
    """Names of ops and models with their numbers of calls. If `cut`, calls may have further models."""

    calls: int
    ops: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    cut: bool = False


@dataclass(slots=True)
class Types:
    """Number of calls per MongoDB type of the value at each requested path."""

    by_path: dict[Path, Counter[str]]
    calls: int = 0

    @property
    def lacks_paths(self) -> bool:
        """True if a requested path occurs in no call."""
        return any(map(is_missing, self.by_path.values()))


@dataclass(slots=True)
class Paths:
    """All paths with their numbers of calls. If `cut`, more calls may have them."""

    calls: int = 0
    cut: bool = False
    counts: Counter[Path] = field(default_factory=Counter)
    ops: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample of the newest calls of one project. `paths` is empty unless a requested path is missing.

    `calls` of each part is the number of calls read.
    """

    types: Types
    names: Names
    paths: Paths


def is_missing(types: Counter[str]) -> bool:
    """True if no call has a value at a path, not even null."""
    return set(types) == {"missing"}


class SampleReader:
    """Reads samples, caches them for ten seconds, and limits concurrent reads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[tuple[object, ...], tuple[float, Types | Names | Paths]] = {}
        self._reads = 0

    async def read(self, project_id: str, requested: Mapping[Path, Access]) -> Sample | None:
        """Return a sample with the types at the requested paths; None if too many samples are being read."""
        wanted = frozenset(requested)
        types, names = self._cached(Types, project_id, wanted), self._cached(Names, project_id)
        paths = self._cached(Paths, project_id)
        if types and names and (paths or not types.lacks_paths):
            return Sample(types, names, paths or Paths())
        if self._reads >= _MAX_READS:
            return None
        self._reads += 1
        try:
            if types is None or names is None:
                types, names = await self._read_types_and_names(project_id, requested)
                self._keep(types, project_id, wanted)
                self._keep(names, project_id)
            if types.lacks_paths and paths is None:
                paths = await self._read_paths(project_id)
                self._keep(paths, project_id)
        finally:
            self._reads -= 1
        return Sample(types, names, paths or Paths())

    def _cached(self, kind: type[_Part], *key: object) -> _Part | None:
        """Return a part of a sample from the cache, unless it has expired."""
        entry = self._cache.get((kind, *key))
        return entry[1] if entry and self._is_fresh(*entry) and isinstance(entry[1], kind) else None

    def _keep(self, part: Types | Names | Paths, *key: object) -> None:
        self._cache = {each: entry for each, entry in self._cache.items() if self._is_fresh(*entry)}
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[type(part), *key] = monotonic(), part

    def _is_fresh(self, kept_at: float, part: Types | Names | Paths) -> bool:
        timings = self._database.timings
        return monotonic() - kept_at < (timings.sample_cache_seconds if part.calls else timings.empty_sample_seconds)

    async def _read_types_and_names(self, project_id: str, requested: Mapping[Path, Access]) -> tuple[Types, Names]:
        types, ops, models = Types({path: Counter() for path in requested}), Counter[str](), Counter[str]()
        expressions = [{"$type": path_expression(access)} for access in requested.values()]
        projection = {"_id": 0, "types": expressions, "op": "$op_name", "models": "$usage.model"}
        stages = [{"$project": projection}, _COUNT_STAGE]
        async for counts in self._batches(project_id, lambda: stages):
            types.calls += _call_count(counts)
            for row in counts["types"]:
                for counter, name in zip(types.by_path.values(), row["_id"], strict=True):
                    counter[name] += row["n"]
            ops.update({row["_id"]: row["n"] for row in counts["ops"]})
            models.update({row["_id"]: row["n"] for row in counts["models"]})
        frequent = _most_frequent(models)
        return types, Names(types.calls, _most_frequent(ops), frequent, cut=len(frequent) < len(models))

    async def _read_paths(self, project_id: str) -> Paths:
        paths = Paths()

        def stages() -> list[dict[str, Any]]:
            known = sorted(paths.ops) if paths.calls >= _CALLS_WITH_PATHS else []
            return [{"$match": {"op_name": {"$nin": known}}}, *_PATH_STAGES]

        async for counts in self._batches(project_id, stages):
            trees = counts["key_trees"]
            paths.calls += _call_count(counts)
            paths.ops.update(row["_id"] for row in counts["ops"])
            paths.cut |= len(trees) == _MAX_KEY_TREES or any(not row["_id"] for row in trees)
            for row in trees:
                for path in _paths_of(row["_id"]):
                    paths.counts[path] += row["n"]
        return paths

    async def _batches(
        self, project_id: str, stages: Callable[[], list[dict[str, Any]]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the result of the stages for each batch of the newest calls, within the time limit."""
        skipped, deadline = 0, monotonic() + self._database.timings.sample_read_seconds
        for limit in _BATCH_SIZES:
            milliseconds = round((deadline - monotonic()) * 1_000)
            if milliseconds <= 0:
                return
            newest: list[dict[str, Any]] = [
                {"$match": calls_match(project_id)},
                {"$sort": {"started_at": -1, "id": -1}},
                {"$skip": skipped},
                {"$limit": limit},
            ]
            pipeline = [*newest, *stages()]
            try:
                [counts] = await self._database.calls.aggregate(pipeline, maxTimeMS=milliseconds).to_list(1)
            except ExecutionTimeout:
                return
            yield counts
            skipped += limit
            if _call_count(counts) < limit:
                return


def _most_frequent(counts: Counter[str]) -> Counter[str]:
    """Return the most frequent names, without very long ones."""
    short = Counter({name: count for name, count in counts.items() if len(name) <= _MAX_NAME_LENGTH})
    return Counter(dict(short.most_common(MAX_NAMES)))


def _call_count(counts: Mapping[str, Any]) -> int:
    """Return the number of calls in a batch."""
    return int(counts["calls"][0]["n"]) if counts["calls"] else 0


def _key_tree(value: Expression, depth: int = 0) -> Expression:
    """Return the expression for an object's keys with the keys below each; a list has the key 0, of its first member.

    Each entry has the form `{k: key, v: [entries below]}`.
    """
    if depth == len(_WIDTHS):
        return []
    name = f"m{depth}"
    is_object = {"$eq": [{"$type": value}, "object"]}
    keys = {"$slice": [{"$objectToArray": value}, _WIDTHS[depth]]}
    first = [{"k": FIRST_INDEX, "v": {"$first": value}}]
    branches = [{"case": is_object, "then": keys}, {"case": {"$isArray": value}, "then": first}]
    below = {"k": f"$${name}.k", "v": _key_tree(f"$${name}.v", depth + 1)}
    return {"$map": {"input": {"$switch": {"branches": branches, "default": []}}, "as": name, "in": below}}


def _counts(**by: str) -> dict[str, Any]:
    """Return facets that count all calls, and the calls per value of each field in `by`."""
    return {"calls": [{"$count": "n"}], **{name: [_group(path)] for name, path in by.items()}}


def _group(path: str) -> dict[str, Any]:
    return {"$group": {"_id": path, "n": {"$sum": 1}}}


_COUNT_STAGE: Final = {
    "$facet": _counts(types="$types", ops="$op") | {"models": [{"$unwind": "$models"}, _group("$models")]}
}
_KEY_TREES: Final = [{"k": name, "v": _key_tree(f"${name}")} for name in JSON_FIELDS]
_PATH_STAGES: Final = (
    {"$project": {"_id": 0, "op": "$op_name", "keys": _KEY_TREES}},
    {"$set": {"keys": {"$cond": [{"$gt": [{"$bsonSize": {"s": "$keys"}}, _MAX_KEY_TREE_BYTES]}, [], "$keys"]}}},
    {"$facet": _counts(ops="$op") | {"key_trees": [_group("$keys"), {"$limit": _MAX_KEY_TREES}]}},
)


def _paths_of(key_tree: Iterable[Mapping[str, Any]], above: Path = ()) -> Iterator[Path]:
    for entry in key_tree:
        path = (*above, entry["k"])
        yield path
        yield from _paths_of(entry["v"], path)
