"""Hints: likely causes of an empty answer about the calls of a project.

A hint compares a condition with a sample: the newest calls, of which MongoDB returns the keys, the types of values, and
the names of ops and models, but no values. A hint is help, never an answer: where making one fails or takes too long,
there is none.
"""

import asyncio
import difflib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from time import monotonic, thread_time
from typing import Any, Final, NamedTuple, TypeVar

from pymongo.errors import ExecutionTimeout

from stores.calls.feedback import FeedbackNames
from stores.calls.fields import CALL_FIELDS, OP_NAME
from stores.calls.filters import CallsFilter
from stores.calls.inputs import op_trace_name
from stores.calls.op_names import OpNames, op_names
from stores.database import Database
from stores.errors import StoreError
from stores.json import paths as json_paths
from stores.json.bson_copy import unescape_key
from stores.projects import ProjectsFilter
from stores.query import Query
from stores.query.fields import Access, is_index
from stores.query.syntax_tree import (
    And,
    Compare,
    Comparison,
    Convert,
    Get,
    In,
    Literal,
    Not,
    Operand,
    Or,
    Scalar,
    Target,
    operands,
)
from stores.query.text_expressions import starting_with
from stores.query.value_expressions import Expression, reach

MOST_CALLS: Final = 1_000
MOST_HINTS: Final = 10
"""Of one answer."""

READ_SECONDS: Final = 0.25
"""Time for the sample, and again for its keys."""

_READ_MS: Final = round(READ_SECONDS * 1_000)

_KEPT_SECONDS: Final = 10.0
"""Time for which a sample is used again, so that a client that asks again and again does not pay each time."""

COMPARE_SECONDS: Final = 0.1
"""Time of the processor for comparing names, in a thread that nothing else ends; after it, hints suggest nothing."""

_MOST_READS: Final = 2
"""Samples that a process reads at a time; while it does, other empty answers get no hints from a new sample."""

_MOST_KEPT: Final = 100
_PARTS: Final = (2, 18, 180, MOST_CALLS - 200)
"""Calls of each command that reads a sample: where payloads are too large for the time, the first ones are read."""

_KEYS_OF: Final = 200
"""Calls whose keys are read; of the others only those with an op that these do not have. Keys cost ten times as much
as the types at a few paths."""

_MOST_PATHS: Final = 20
_MOST_TERMS: Final = 10
"""Of one condition; of ops and of models, half as many."""

_MOST_OPS: Final = 5
_MOST_VERSIONS: Final = 3
_MOST_SHAPES: Final = 50
"""Of one command: calls of a project have few that differ, unless their keys are data."""

_MOST_SHAPE_BYTES: Final = 20_000
_WIDTHS: Final = (100, 60, 40, 20, 10, 10)
"""Keys that are read of an object, by depth."""

_MOST_PROJECTS: Final = 1_000
_MOST_NAMES: Final = 200
"""Names of keys, ops or models that one is compared with, the most frequent ones first; of ops and models no others are
kept, and none longer than `_LONGEST_NAME`."""

_LONGEST_NAME: Final = 300

_CUTOFF: Final = 0.7
"""Ratio of `difflib` from which names are similar: 0.89 for `gpt-4` and `gpt-4o`, 0.67 for `user` and `usage`."""

_LONGEST: Final = 100
"""Characters of a literal in a message, and of a name as it is compared."""

_FIRST: Final = "0"
_JSON: Final = ("inputs", "output", "attributes", "summary")
_KINDS: Final = {
    **dict.fromkeys(("int", "long", "double", "decimal"), "numbers"),
    "string": "strings",
    "bool": "booleans",
    "array": "lists",
    "object": "objects",
}
"""What a path holds, by MongoDB's name of a type; null and what is missing are neither."""

_Key = TypeVar("_Key")
_Read = TypeVar("_Read")

Path = tuple[str, ...]
"""Keys from a field of calls on, spelled as the mirror spells them."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A likely cause of an empty answer; `suggestion` is what to write instead, None where nothing is similar."""

    code: str
    message: str
    suggestion: str | None = None


class CallsCondition(NamedTuple):
    """The filter and the query of a list, a count or an aggregate of calls."""

    calls_filter: CallsFilter | None = None
    query: Query | None = None


class _Term(NamedTuple):
    """A place in the JSON of calls that a condition needs, and the literals that it compares the place with."""

    name: str
    access: Access
    literals: tuple[Scalar, ...] = ()
    is_prefix: bool = False
    """Whether the literal is a prefix: no number can replace it."""


@dataclass(slots=True)
class _Asked:
    """The parts of a condition that a sample can explain: one op of each tuple must occur, and one of the models."""

    terms: list[_Term] = field(default_factory=list)
    ops: list[tuple[str, ...]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Newest:
    """The number of calls of a sample, the newest of a project."""

    calls: int = 0

    @property
    def name(self) -> str:
        """The calls as messages name them."""
        return f"the newest {self.calls:,}"


@dataclass(slots=True)
class _Names(_Newest):
    """The names of ops and models, and how many calls have each. Where models are `cut`, calls may have others."""

    ops: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    cut: bool = False


@dataclass(slots=True)
class _Sample(_Newest):
    """How many calls have what at some paths."""

    kinds: dict[Path, Counter[str]] = field(default_factory=dict)

    @property
    def lacks_paths(self) -> bool:
        """Whether no call has one of the asked paths."""
        return any(map(_is_missing, self.kinds.values()))


@dataclass(slots=True)
class _Keys(_Newest):
    """The paths, and how many of the calls have each. Where it is `cut`, more may have it."""

    cut: bool = False
    paths: Counter[Path] = field(default_factory=Counter)
    ops: set[str] = field(default_factory=set)


class HintsStore:
    """Makes hints from what MongoDB has."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._kept: dict[tuple[str, frozenset[Path]], tuple[float, _Sample]] = {}
        self._kept_names: dict[str, tuple[float, _Names]] = {}
        self._kept_keys: dict[str, tuple[float, _Keys]] = {}
        self._reads = 0
        self._thread = asyncio.Lock()

    async def of(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        """The hints for each of some empty answers about a project, None for one without a condition on calls.

        Args:
            project_id: a project that the caller may read, whether it exists or not.
            conditions: those of the answers.
            readable: the projects that hints may name, as `ProjectsFilter.among`.

        Raises:
            StoreError: the database was away, or a query makes no sense of the fields of calls.
        """
        return await self.database.run(self._of(project_id, conditions, readable))

    async def _of(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        if await self.database.projects.find_one({"_id": project_id}, {"_id": 1}, max_time_ms=_READ_MS) is None:
            hints = await self._of_missing(project_id, readable)
            return [hints for _ in conditions]
        asked = await self._in_thread(
            lambda until: [_asked(condition) if thread_time() < until else _Asked() for condition in conditions]
        )
        paths = {term.access.spelling: term.access for each in asked for term in each.terms}
        if not paths and not any(each.ops or each.models for each in asked):
            return [[] for _ in conditions]
        read = await self._read(project_id, dict(islice(paths.items(), _MOST_PATHS)))
        if read is None or not read[0].calls:
            return [[] for _ in conditions]
        ops = list(dict.fromkeys(names for each in asked for names in each.ops))[:_MOST_OPS]
        unknown = await self._unknown(project_id, ops, read[1]) if ops else []
        return await self._in_thread(lambda until: [_of_calls(each, unknown, *read, until) for each in asked])

    async def _in_thread(self, work: Callable[[float], _Read]) -> _Read:
        """Do some work until a time of a thread: only one at a time, so that other requests have threads."""
        async with self._thread:
            return await asyncio.to_thread(lambda: work(thread_time() + COMPARE_SECONDS))

    async def _of_missing(self, project_id: str, readable: tuple[str, ...] | None) -> list[Hint]:
        """The hint that a project does not exist, if one with a similar name does that may be named."""
        entity, _, name = project_id.partition("/")
        among = ProjectsFilter(among=readable).match()
        found: dict[str, list[str]] = {}
        for match in ({"_id": starting_with(f"{entity}/")}, {}):
            condition = {"$and": [match, among]}
            rows = self.database.projects.find(condition, {"_id": 1}, limit=_MOST_PROJECTS, max_time_ms=_READ_MS)
            for row in await rows.to_list(None):
                whose, _, what = row["_id"].partition("/")
                found.setdefault(whose, []).append(what)

        def hints(until: float) -> list[Hint]:
            for whose in _similar(entity, found, until, most=3):
                if similar := _similar(name, found[whose], until):
                    other = f"{whose}/{similar[0]}"
                    message = f"The project {project_id} does not exist. A similar one is {other}."
                    return [Hint("PROJECT_NOT_FOUND", message, other)]
            return []

        return await self._in_thread(hints)

    async def _unknown(self, project_id: str, ops: Sequence[tuple[str, ...]], names: _Names) -> list[tuple[str, ...]]:
        """Those of some tuples of ops of which no call of the project has one, nor one older than the sample."""

        def outside(_until: float) -> dict[tuple[str, ...], OpNames]:
            found = {wanted: op_names(project_id, wanted) for wanted in ops}
            return {wanted: each for wanted, each in found.items() if not _occurs(each, names.ops)}

        unknown = []
        for wanted, found in (await self._in_thread(outside)).items():
            prefixed = [{"op_name": starting_with(prefix)} for prefix in found.prefixes]
            branches = [{"op_name": {"$in": list(found.exact)}}, *prefixed]
            match = {"project_id": project_id, "visible": True, "$or": branches}
            if await self.database.calls.find_one(match, {"_id": 1}, max_time_ms=_READ_MS) is None:
                unknown.append(wanted)
        return unknown

    async def _read(self, project_id: str, asked: Mapping[Path, Access]) -> tuple[_Sample, _Names, _Keys] | None:
        """Read the sample, and its keys if it lacks one of the asked paths; None where too many are being read."""
        key = (project_id, frozenset(asked))
        sample, names = _still(self._kept.get(key)), _still(self._kept_names.get(project_id))
        keys = _still(self._kept_keys.get(project_id))
        if sample and names and (keys or not sample.lacks_paths):
            return sample, names, keys or _Keys()
        if self._reads >= _MOST_READS:
            return None
        self._reads += 1
        try:
            if sample is None or names is None:
                sample, names = await self._read_sample(project_id, asked)
                _keep(self._kept, key, sample)
                _keep(self._kept_names, project_id, names)
            if sample.lacks_paths and keys is None:
                keys = await self._read_keys(project_id)
                _keep(self._kept_keys, project_id, keys)
        finally:
            self._reads -= 1
        return sample, names, keys or _Keys()

    async def _read_sample(self, project_id: str, asked: Mapping[Path, Access]) -> tuple[_Sample, _Names]:
        sample, ops, models = _Sample(kinds={path: Counter() for path in asked}), Counter[str](), Counter[str]()
        kinds = [{"$type": reach(access)} for access in asked.values()]
        stages = [{"$project": {"_id": 0, "kinds": kinds, "op": "$op_name", "models": _MODELS}}, _SAMPLE_COUNTS]
        async for found in self._parts(project_id, lambda: stages):
            sample.calls += _count(found)
            for row in found["kinds"]:
                for counted, name in zip(sample.kinds.values(), row["_id"], strict=True):
                    counted[name] += row["n"]
            ops.update({row["_id"]: row["n"] for row in found["ops"]})
            models.update({row["_id"]: row["n"] for row in found["models"]})
        kept = _most(models)
        return sample, _Names(sample.calls, _most(ops), kept, cut=len(kept) < len(models))

    async def _read_keys(self, project_id: str) -> _Keys:
        keys = _Keys()

        def stages() -> list[dict[str, Any]]:
            known = sorted(keys.ops) if keys.calls >= _KEYS_OF else []
            return [{"$match": {"op_name": {"$nin": known}}}, *_KEYS]

        async for found in self._parts(project_id, stages):
            keys.calls += _count(found)
            keys.ops.update(row["_id"] for row in found["ops"])
            keys.cut |= len(found["shapes"]) == _MOST_SHAPES or any(not row["_id"] for row in found["shapes"])
            for row in found["shapes"]:
                for path in _paths(row["_id"]):
                    keys.paths[path] += row["n"]
        return keys

    async def _parts(
        self, project_id: str, stages: Callable[[], list[dict[str, Any]]]
    ) -> AsyncIterator[dict[str, Any]]:
        """What some stages make of the newest calls, part by part, as far as the time allows."""
        skipped, deadline = 0, monotonic() + READ_SECONDS
        for limit in _PARTS:
            left = round((deadline - monotonic()) * 1_000)
            if left <= 0:
                return
            newest: list[dict[str, Any]] = [
                {"$match": {"project_id": project_id, "visible": True}},
                {"$sort": {"started_at": -1, "id": 1}},
                {"$skip": skipped},
                {"$limit": limit},
            ]
            try:
                [found] = await self.database.calls.aggregate([*newest, *stages()], maxTimeMS=left).to_list(1)
            except ExecutionTimeout:
                return
            yield found
            skipped += limit
            if _count(found) < limit:
                return


def _still(kept: tuple[float, _Read] | None) -> _Read | None:
    """The value that was kept, unless that is too long ago."""
    return kept[1] if kept and monotonic() - kept[0] < _KEPT_SECONDS else None


def _keep(kept: dict[_Key, tuple[float, _Read]], key: _Key, read: _Read) -> None:
    for each in [each for each, value in kept.items() if _still(value) is None]:
        del kept[each]
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[key] = monotonic(), read


def _most(counts: Counter[str]) -> Counter[str]:
    """The most frequent names, without those that are too long to be kept."""
    short = Counter({name: count for name, count in counts.items() if len(name) <= _LONGEST_NAME})
    return Counter(dict(short.most_common(_MOST_NAMES)))


def _count(found: Mapping[str, Any]) -> int:
    """The number of calls that a part of a sample counts."""
    return int(found["calls"][0]["n"]) if found["calls"] else 0


def _shape(found: Expression, depth: int = 0) -> Expression:
    """The keys of an object, each with those below it; a list has the key 0, of its first member."""
    if depth == len(_WIDTHS):
        return []
    name = f"m{depth}"
    is_object = {"$eq": [{"$type": found}, "object"]}
    keys = {"$slice": [{"$objectToArray": found}, _WIDTHS[depth]]}
    first = [{"k": _FIRST, "v": {"$first": found}}]
    branches = [{"case": is_object, "then": keys}, {"case": {"$isArray": found}, "then": first}]
    below = {"k": f"$${name}.k", "v": _shape(f"$${name}.v", depth + 1)}
    return {"$map": {"input": {"$switch": {"branches": branches, "default": []}}, "as": name, "in": below}}


def _counts(**by: str) -> dict[str, Any]:
    """The stage that counts calls, and how many have each value of some fields."""
    return {"calls": [{"$count": "n"}], **{name: [_group(path)] for name, path in by.items()}}


def _group(path: str) -> dict[str, Any]:
    return {"$group": {"_id": path, "n": {"$sum": 1}}}


_MODELS: Final = "$usage.model"
_SAMPLE_COUNTS: Final = {
    "$facet": _counts(kinds="$kinds", ops="$op") | {"models": [{"$unwind": "$models"}, _group("$models")]}
}
_SHAPES: Final = {"$cond": [{"$gt": [{"$bsonSize": {"s": "$shape"}}, _MOST_SHAPE_BYTES]}, [], "$shape"]}
_KEYS: Final = (
    {"$project": {"_id": 0, "op": "$op_name", "shape": [{"k": name, "v": _shape(f"${name}")} for name in _JSON]}},
    {"$set": {"shape": _SHAPES}},
    {"$facet": _counts(ops="$op") | {"shapes": [_group("$shape"), {"$limit": _MOST_SHAPES}]}},
)


def _paths(shape: Iterable[Mapping[str, Any]], above: Path = ()) -> Iterator[Path]:
    for entry in shape:
        path = (*above, entry["k"])
        yield path
        yield from _paths(entry["v"], path)


def _asked(condition: CallsCondition | None) -> _Asked:
    """What a sample can explain of a condition.

    Raises:
        BadInputError: the query makes no sense of the fields of calls.
    """
    asked = _Asked()
    if condition is None:
        return asked
    calls_filter, query = condition
    ops: list[tuple[str, ...]] = []
    if calls_filter:
        ops = [tuple(calls_filter.op_names)] if calls_filter.op_names else []
        asked.models = calls_filter.models or []
    terms: dict[tuple[Path, frozenset[str | None], bool], _Term] = {}
    for term in _terms(query.operation(FeedbackNames(CALL_FIELDS))) if query else ():
        if term.access.field is OP_NAME:
            ops.append(tuple([literal for literal in term.literals if isinstance(literal, str)]))
        elif term.access.field.name in _JSON and term.access.steps:
            terms.setdefault((term.access.spelling, frozenset(map(_kind, term.literals)), term.is_prefix), term)
    asked.ops = list(filter(None, dict.fromkeys(ops)))[:_MOST_OPS]
    asked.terms = list(terms.values())[:_MOST_TERMS]
    return asked


def _terms(node: Operand, *, holds: bool = True) -> Iterator[_Term]:
    """The fields that must be there for a node to hold, or not to hold, with the literals beside them."""
    match node:
        case Not(term):
            yield from _terms(term, holds=not holds)
            return
        case And(terms) | Or(terms):
            for term in terms:
                yield from _terms(term, holds=holds)
            return
        case Compare(Comparison.EQ, term, Literal(bool() as value)) | Compare(
            Comparison.EQ, Literal(bool() as value), term
        ) if _is_never_null(term):
            yield from _terms(term, holds=holds is value)
            return
        case _:
            below = operands(node)
    literals = tuple([each.value for each in below if isinstance(each, Literal)])
    comparison = node.comparison if isinstance(node, Compare) else Comparison.EQ if isinstance(node, In) else None
    # A missing value equals null. What a text contains says nothing of the whole value.
    for get in _needed(below) if holds is not (None in literals) else ():
        is_whole = comparison is Comparison.EQ or (comparison is not None and get.access.field is not OP_NAME)
        is_plain = is_whole and get in below and None not in literals
        is_prefix = comparison is Comparison.STARTS_WITH
        yield _Term(get.name, get.access, literals if is_plain else (), is_prefix)


def _needed(nodes: Iterable[Operand]) -> Iterator[Get]:
    """The fields that must be there for each of some operands to have a value."""
    for node in nodes:
        if isinstance(node, Get):
            yield node
        elif isinstance(node, Convert) and not _is_never_null(node):
            yield from _needed([node.operand])


def _is_never_null(node: Operand) -> bool:
    """Whether an operand is true or false even of a call without its fields."""
    if isinstance(node, Convert):
        return node.to is Target.EXISTS
    return not isinstance(node, Literal | Get)


def _of_calls(
    asked: _Asked, unknown: Sequence[tuple[str, ...]], sample: _Sample, names: _Names, keys: _Keys, until: float
) -> list[Hint]:
    """The hints on a condition, of whose ops some are unknown."""
    hints = [_of_term(term, sample, keys, until) for term in asked.terms]
    if ops := dict.fromkeys(op for wanted in asked.ops if wanted in unknown for op in wanted):
        plain = {each: _plain(each) for each in names.ops}
        hints += [_of_op(op, plain, names, until) for op in islice(ops, _MOST_OPS)]
    if not names.cut and names.models.keys().isdisjoint(asked.models):
        said = f"No call among {names.name} reports usage of"
        models = islice(dict.fromkeys(asked.models), _MOST_OPS)
        hints += [_of_name("MODEL_NOT_FOUND", said, name, names.models, names, until) for name in models]
    return list(dict.fromkeys(hint for hint in hints if hint))


def _occurs(wanted: OpNames, ops: Mapping[str, int]) -> bool:
    prefixes = tuple(wanted.prefixes)
    return not ops.keys().isdisjoint(wanted.exact) or any(op.startswith(prefixes) for op in ops)


def _of_term(term: _Term, sample: _Sample, keys: _Keys, until: float) -> Hint | None:
    kinds = sample.kinds.get(term.access.spelling)
    if kinds is None:
        return None
    if _is_missing(kinds):
        return _of_path(term, sample, keys, until)
    held = {_KINDS[name] for name in kinds if name in _KINDS}
    written = {_kind(literal) for literal in term.literals}
    if len(held) != 1 or not written or written & {*held, None}:
        return None
    [kind], count = held, sum(kinds[name] for name in kinds if name in _KINDS)
    literal = term.literals[0]
    message = (
        f"{term.name} holds {kind} in all {count:,} of {sample.name} calls that have it, "
        f"and {_json(literal)} is of another type."
    )
    if term.is_prefix:
        return Hint("TYPE_MISMATCH", f"{message} Convert the field to a string.")
    fitting = _fitting(literal, kind)
    if fitting is None:
        return Hint("TYPE_MISMATCH", message)
    return Hint("TYPE_MISMATCH", f"{message} Write {fitting}, or convert the field.", fitting)


def _is_missing(kinds: Counter[str]) -> bool:
    """Whether no call has a path, by the types of what is there."""
    return set(kinds) == {"missing"}


def _of_path(term: _Term, sample: _Sample, keys: _Keys, until: float) -> Hint:
    message = f"No call among {sample.name} has {term.name}."
    similar = _similar_path(term.access.spelling, keys.paths, until) if thread_time() < until else None
    if similar is None:
        return Hint("PATH_NOT_FOUND", message)
    name = json_paths.join(map(unescape_key, similar))
    of = "them" if keys.calls == sample.calls else f"the {keys.calls:,} whose keys were read"
    count = f"{'at least ' if keys.cut else ''}{keys.paths[similar]:,}"
    return Hint("PATH_NOT_FOUND", f"{message} {name} occurs in {count} of {of}.", name)


def _of_op(op: str, plain: Mapping[str, str], names: _Names, until: float) -> Hint:
    """The hint that an op does not occur, and which of its versions or which similar op does, by their plain names."""
    name = _plain(op)
    counts = Counter[str]()
    for each, count in names.ops.items():
        counts[plain[each]] += count
    if name not in counts:
        return _of_name("OP_NOT_FOUND", "No call has the op", name, counts, names, until)
    versions = sorted((each for each in plain if plain[each] == name), key=lambda each: (-names.ops[each], each))
    message = (
        f"No call has the op {op[:200]}. {name} occurs in {counts[name]:,} of {names.name}, "
        f"as {', '.join(versions[:_MOST_VERSIONS])}{', ...' if len(versions) > _MOST_VERSIONS else '.'}"
    )
    return Hint("OP_NOT_FOUND", message, versions[0])


def _of_name(code: str, said: str, name: str, counts: Counter[str], names: _Names, until: float) -> Hint:
    """The hint that a name does not occur, and which similar one does."""
    message = f"{said} {name[:200]}."
    similar = _similar(name, [each for each, _ in counts.most_common()], until)
    if not similar:
        return Hint(code, message)
    return Hint(code, f"{message} {similar[0]} occurs in {counts[similar[0]]:,} of {names.name}.", similar[0])


def _plain(op: str) -> str:
    """The plain name in a name of an op; the name itself where it has none."""
    try:
        return op_trace_name(op.removesuffix(":*"))
    except StoreError:
        return op


def _similar_path(wanted: Path, paths: Counter[Path], until: float) -> Path | None:
    """The path most similar to one that does not occur: with similar keys, or with the same keys in another place."""
    keys: dict[Path, list[str]] = {}
    for path, _ in paths.most_common():
        keys.setdefault(path[:-1], []).append(path[-1])
    found: Path = ()
    for step in wanted:
        names = keys.get(found, [])
        same = step if step in names else _FIRST if is_index(step) and names == [_FIRST] else None
        similar = [same] if same else _similar(step, names[:_MOST_NAMES], until)
        if not similar:
            break
        found = (*found, similar[0])
    if len(found) == len(wanted):
        return found
    tail = [_folded(step) for step in wanted[1:]]
    ends = (path for path, _ in paths.most_common() if [_folded(step) for step in path[-len(tail) :]] == tail)
    return next(ends, None)


def _similar(name: str, names: Iterable[str], until: float, most: int = 1) -> list[str]:
    """The names most similar to one, letter case, `_` and `-` aside; of equally similar ones the first.

    Those that are not compared until a time are left out.
    """
    folded: dict[str, str] = {}
    for each in names:
        folded.setdefault(_folded(each), each)
    matcher = difflib.SequenceMatcher(b=_folded(name))
    found: list[tuple[float, str]] = []
    for text, each in folded.items():
        if thread_time() > until:
            break
        matcher.set_seq1(text)
        # The quick ones are upper bounds.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= _CUTOFF and (ratio := matcher.ratio()) >= _CUTOFF:
            found.append((ratio, each))
    return [each for _, each in sorted(found, key=itemgetter(0), reverse=True)[:most]]


def _folded(name: str) -> str:
    return name[:_LONGEST].lower().replace("_", "").replace("-", "")


def _kind(literal: Scalar) -> str | None:
    match literal:
        case bool():
            return "booleans"
        case int() | float():
            return "numbers"
        case str():
            return "strings"
        case _:
            return None


def _fitting(literal: Scalar, kind: str) -> str | None:
    """A literal as JSON of another type; None where that type has no such value."""
    if kind == "strings":
        return None if isinstance(literal, str) else json.dumps(_json(literal))
    try:
        value = json.loads(literal) if isinstance(literal, str) and len(literal) <= _LONGEST else None
    except ValueError:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _json(value) if value is not None and _kind(value) == kind else None


def _json(literal: Scalar) -> str:
    text = json.dumps(literal, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
