"""The store of hints, which compares a query's conditions with a sample of calls.

A hint that fails or takes too long is left out: the empty result is valid without it.
"""

import asyncio
import difflib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from time import thread_time
from typing import Final, NamedTuple, TypeVar

from stores.calls.feedback.conditions import FeedbackFieldTable
from stores.calls.fields import CALL_FIELDS, OP_NAME, CallsFilter, OpNames, calls_match, op_names
from stores.calls.inputs import op_trace_name
from stores.database import Database
from stores.errors import StoreError
from stores.hints import sample as samples
from stores.hints.sample import Names, Path, Paths, Sample, SampleReader, Types
from stores.json import paths as json_paths
from stores.json.bson_copy import unescape_key
from stores.paging import starting_with
from stores.projects import ProjectsFilter
from stores.query import Query
from stores.query.fields import Access, is_index
from stores.query.parser import COMPARISONS, JUNCTIONS, TARGETS, Get, Literal, Operand, Operation, Operator, Scalar

MAX_HINTS: Final = 10
"""Maximum hints of one result."""

COMPARE_SECONDS: Final = 0.1
"""CPU time for comparing names in a thread; hints after it have no suggestion."""

_R = TypeVar("_R")

MAX_OPS: Final = 5
"""Maximum ops, and maximum models, of one condition that get hints."""

_MAX_VERSIONS: Final = 3

_CUTOFF: Final = 0.7
"""Ratio of `difflib` from which names are similar: 0.89 for `gpt-4` and `gpt-4o`, 0.67 for `user` and `usage`."""

_MAX_LENGTH: Final = 100
"""Maximum characters of a literal in a message, and of a compared name."""

_KINDS: Final = {
    **dict.fromkeys(("int", "long", "double", "decimal"), "numbers"),
    "string": "strings",
    "bool": "booleans",
    "array": "lists",
    "object": "objects",
}
"""Kinds of values by MongoDB's type names; null and missing values have none."""

_LITERAL_KINDS: Final[dict[type, str]] = {bool: "booleans", int: "numbers", float: "numbers", str: "strings"}


@dataclass(frozen=True, slots=True)
class Hint:
    """A likely cause of an empty result; `suggestion` replaces the wrong text, None if nothing is similar."""

    code: str
    message: str
    suggestion: str | None = None


class CallsCondition(NamedTuple):
    """The filter and the query of a list, count or aggregate of calls."""

    calls_filter: CallsFilter | None = None
    query: Query | None = None


class Term(NamedTuple):
    """A JSON path that a condition requires in calls, and the literals that it compares the value with."""

    name: str
    access: Access
    literals: tuple[Scalar, ...] = ()
    is_prefix: bool = False
    """True if the literal is a prefix, which no number can replace."""


@dataclass(slots=True)
class Checks:
    """The parts of a condition that a sample can check: one op of each tuple must occur, and one of the models."""

    terms: list[Term] = field(default_factory=list)
    ops: list[tuple[str, ...]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


def checks_of(condition: CallsCondition | None) -> Checks:
    """Return the parts of a condition that a sample can check.

    Raises:
        BadInputError: if the query is invalid for the fields of calls.
    """
    checks = Checks()
    if condition is None:
        return checks
    calls_filter, query = condition
    ops: list[tuple[str, ...]] = []
    if calls_filter:
        ops = [tuple(calls_filter.op_names)] if calls_filter.op_names else []
        checks.models = calls_filter.models or []
    terms: dict[tuple[Path, frozenset[str | None], bool], Term] = {}
    for term in _terms(query.operation(FeedbackFieldTable(CALL_FIELDS))) if query else ():
        if term.access.field is OP_NAME:
            ops.append(tuple([literal for literal in term.literals if isinstance(literal, str)]))
        elif term.access.field.name in samples.JSON_FIELDS and term.access.steps:
            terms.setdefault((term.access.stored_path, frozenset(map(_kind, term.literals)), term.is_prefix), term)
    checks.ops = list(filter(None, dict.fromkeys(ops)))[:MAX_OPS]
    checks.terms = list(terms.values())[:10]
    return checks


def _terms(node: Operand, *, holds: bool = True) -> Iterator[Term]:
    """Yield the fields that a node needs to be true (or false, unless `holds`), with the literals compared to them."""
    match node:
        case Operation(operator, terms) if operator in JUNCTIONS:
            for term in terms:
                yield from _terms(term, holds=holds != (operator is Operator.NOT))
            return
        case Operation(Operator.EQ, (term, Literal(bool() as value)) | (Literal(bool() as value), term)) if (
            _is_never_null(term)
        ):
            yield from _terms(term, holds=holds is value)
            return
    literals = tuple([each.value for each in node.operands if isinstance(each, Literal)])
    is_equality = node.operator in (Operator.EQ, Operator.IN)
    # A missing value equals null. A `contains` condition says nothing about the type of the whole value.
    for get in _required_fields(node.operands) if holds is not (None in literals) else ():
        is_whole = is_equality or (node.operator in COMPARISONS and get.access.field is not OP_NAME)
        is_plain = is_whole and get in node.operands and None not in literals
        yield Term(get.name, get.access, literals if is_plain else (), node.operator is Operator.STARTS_WITH)


def _required_fields(nodes: Iterable[Operand]) -> Iterator[Get]:
    """Yield the fields that must exist for each operand to have a value."""
    for node in nodes:
        if isinstance(node, Get):
            yield node
        elif not _is_never_null(node):
            yield from _required_fields(node.operands)


def _is_never_null(node: Operand) -> bool:
    """True if an operand is true or false even for a call without its fields."""
    return isinstance(node, Operation) and (node.operator is Operator.EXISTS or node.operator not in TARGETS)


def hints_of(checks: Checks, unknown: Sequence[tuple[str, ...]], sample: Sample, until: float) -> list[Hint]:
    """Return the hints on one condition; `unknown` contains the tuples of ops that occur in no call."""
    names = sample.names
    hints = [_term_hint(term, sample.types, sample.paths, until) for term in checks.terms]
    if ops := dict.fromkeys(op for wanted in checks.ops if wanted in unknown for op in wanted):
        plain = {each: _plain_name(each) for each in names.ops}
        hints += [_op_hint(op, plain, names, until) for op in islice(ops, MAX_OPS)]
    if not names.cut and names.models.keys().isdisjoint(checks.models):
        statement = f"No call among the newest {names.calls:,} reports usage of"
        models = islice(dict.fromkeys(checks.models), MAX_OPS)
        hints += [_name_hint("MODEL_NOT_FOUND", statement, name, names.models, names, until) for name in models]
    return list(dict.fromkeys(hint for hint in hints if hint))


def occurs(wanted: OpNames, ops: Mapping[str, int]) -> bool:
    """True if one of the wanted names occurs among the ops."""
    prefixes = tuple(wanted.prefixes)
    return not ops.keys().isdisjoint(wanted.exact) or any(op.startswith(prefixes) for op in ops)


def _term_hint(term: Term, types: Types, paths: Paths, until: float) -> Hint | None:
    types_here = types.by_path.get(term.access.stored_path)
    if types_here is None:
        return None
    if samples.is_missing(types_here):
        return _path_hint(term, types, paths, until)
    kinds_held = {_KINDS[name] for name in types_here if name in _KINDS}
    kinds_written = {_kind(literal) for literal in term.literals}
    if len(kinds_held) != 1 or not kinds_written or kinds_written & {*kinds_held, None}:
        return None
    [kind], count = kinds_held, sum(types_here[name] for name in types_here if name in _KINDS)
    literal = term.literals[0]
    message = (
        f"{term.name} holds {kind} in all {count:,} of the newest {types.calls:,} calls that have it, "
        f"and {_json(literal)} is of another type."
    )
    if term.is_prefix:
        return Hint("TYPE_MISMATCH", f"{message} Convert the field to a string.")
    converted = _converted(literal, kind)
    if converted is None:
        return Hint("TYPE_MISMATCH", message)
    return Hint("TYPE_MISMATCH", f"{message} Write {converted}, or convert the field.", converted)


def _path_hint(term: Term, types: Types, paths: Paths, until: float) -> Hint:
    message = f"No call among the newest {types.calls:,} has {term.name}."
    similar = _similar_path(term.access.stored_path, paths.counts, until) if thread_time() < until else None
    if similar is None:
        return Hint("PATH_NOT_FOUND", message)
    name = json_paths.join(map(unescape_key, similar))
    of = "them" if paths.calls == types.calls else f"the {paths.calls:,} whose keys were read"
    count = f"{'at least ' if paths.cut else ''}{paths.counts[similar]:,}"
    return Hint("PATH_NOT_FOUND", f"{message} {name} occurs in {count} of {of}.", name)


def _op_hint(op: str, plain: Mapping[str, str], names: Names, until: float) -> Hint:
    """Return the hint that an op does not occur, with the versions or similar ops that do."""
    name = _plain_name(op)
    counts = Counter[str]()
    for each, count in names.ops.items():
        counts[plain[each]] += count
    if name not in counts:
        return _name_hint("OP_NOT_FOUND", "No call has the op", name, counts, names, until)
    versions = sorted((each for each in plain if plain[each] == name), key=lambda each: (-names.ops[each], each))
    message = (
        f"No call has the op {op[:200]}. {name} occurs in {counts[name]:,} of the newest {names.calls:,}, "
        f"as {', '.join(versions[:_MAX_VERSIONS])}{', ...' if len(versions) > _MAX_VERSIONS else '.'}"
    )
    return Hint("OP_NOT_FOUND", message, versions[0])


def _name_hint(code: str, statement: str, name: str, counts: Counter[str], names: Names, until: float) -> Hint:
    """Return the hint that a name does not occur, with a similar one that does."""
    message = f"{statement} {name[:200]}."
    similar = similar_names(name, [each for each, _ in counts.most_common()], until)
    if not similar:
        return Hint(code, message)
    count = f"{counts[similar[0]]:,} of the newest {names.calls:,}"
    return Hint(code, f"{message} {similar[0]} occurs in {count}.", similar[0])


def _plain_name(op: str) -> str:
    """Return the plain name of an op's ref; any other text unchanged."""
    try:
        return op_trace_name(op.removesuffix(":*"))
    except StoreError:
        return op


def _similar_path(wanted: Path, paths: Counter[Path], until: float) -> Path | None:
    """Return the most similar path that occurs: with similar keys, or with the same last keys below another parent."""
    keys: dict[Path, list[str]] = {}
    for path, _ in paths.most_common():
        keys.setdefault(path[:-1], []).append(path[-1])
    found: Path = ()
    for step in wanted:
        names = keys.get(found, [])
        is_in_list = is_index(step) and names == [samples.FIRST_INDEX]
        same = names if is_in_list else [step] if step in names else []
        similar = same or similar_names(step, names[: samples.MAX_NAMES], until)
        if not similar:
            break
        found = (*found, similar[0])
    if len(found) == len(wanted):
        return found
    tail = [_normalised(step) for step in wanted[1:]]
    ends = (path for path, _ in paths.most_common() if [_normalised(step) for step in path[-len(tail) :]] == tail)
    return next(ends, None)


def similar_names(name: str, names: Iterable[str], until: float, limit: int = 1) -> list[str]:
    """Return the most similar names, ignoring letter case, `_` and `-`; the first of equally similar ones.

    Names that are not compared before the thread time `until` are left out.
    """
    folded: dict[str, str] = {}
    for each in names:
        folded.setdefault(_normalised(each), each)
    matcher = difflib.SequenceMatcher(b=_normalised(name))
    found: list[tuple[float, str]] = []
    for text, each in folded.items():
        if thread_time() > until:
            break
        matcher.set_seq1(text)
        # The quick ratios are upper bounds.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= _CUTOFF and (ratio := matcher.ratio()) >= _CUTOFF:
            found.append((ratio, each))
    return [each for _, each in sorted(found, key=itemgetter(0), reverse=True)[:limit]]


def _normalised(name: str) -> str:
    return name[:_MAX_LENGTH].lower().replace("_", "").replace("-", "")


def _kind(literal: Scalar) -> str | None:
    return _LITERAL_KINDS.get(type(literal))


def _converted(literal: Scalar, kind: str) -> str | None:
    """Return the literal as JSON of another kind; None if that kind has no such value."""
    if kind == "strings":
        return None if isinstance(literal, str) else json.dumps(_json(literal))
    try:
        value = json.loads(literal) if isinstance(literal, str) and len(literal) <= _MAX_LENGTH else None
    except ValueError:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _json(value) if value is not None and _kind(value) == kind else None


def _json(literal: Scalar) -> str:
    text = json.dumps(literal, ensure_ascii=False)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


class HintsStore:
    """Makes hints from a sample of the calls in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._samples = SampleReader(database)
        self._read_ms = round(database.timings.sample_read_seconds * 1_000)
        self._thread = asyncio.Lock()

    async def hints_for(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        """Return the hints for each of several empty results on one project.

        Args:
            project_id: a project that the caller may read, whether it exists or not.
            conditions: the condition of each result, None if it has none on calls.
            readable: the projects that hints may name, as `ProjectsFilter.among`.

        Raises:
            StoreError: if the database is unreachable, or a query is invalid for the fields of calls.
        """
        return await self.database.run(self._hints_for(project_id, conditions, readable))

    async def _hints_for(
        self, project_id: str, conditions: Sequence[CallsCondition | None], readable: tuple[str, ...] | None
    ) -> list[list[Hint]]:
        if await self.database.projects.find_one({"_id": project_id}, {"_id": 1}, max_time_ms=self._read_ms) is None:
            hints = await self._missing_project_hints(project_id, readable)
            return [hints for _ in conditions]
        checks = await self._in_thread(
            lambda until: [checks_of(condition) if thread_time() < until else Checks() for condition in conditions]
        )
        paths = {term.access.stored_path: term.access for each in checks for term in each.terms}
        if not paths and not any(each.ops or each.models for each in checks):
            return [[] for _ in conditions]
        sample = await self._samples.read(project_id, dict(islice(paths.items(), 20)))
        if sample is None or not sample.types.calls:
            return [[] for _ in conditions]
        ops = list(dict.fromkeys(names for each in checks for names in each.ops))[:MAX_OPS]
        unknown = await self._unknown_ops(project_id, ops, sample.names) if ops else []
        return await self._in_thread(lambda until: [hints_of(each, unknown, sample, until) for each in checks])

    async def _in_thread(self, work: Callable[[float], _R]) -> _R:
        """Run CPU work in a thread until a thread time; one at a time, so that other requests have threads."""
        async with self._thread:
            return await asyncio.to_thread(lambda: work(thread_time() + COMPARE_SECONDS))

    async def _missing_project_hints(self, project_id: str, readable: tuple[str, ...] | None) -> list[Hint]:
        """Return a hint that the project does not exist, if a readable project has a similar name."""
        entity, _, name = project_id.partition("/")
        among = ProjectsFilter(among=readable).match()
        projects: dict[str, list[str]] = {}
        for match in ({"_id": starting_with(f"{entity}/")}, {}):
            condition = {"$and": [match, among]}
            rows = self.database.projects.find(condition, {"_id": 1}, limit=1_000, max_time_ms=self._read_ms)
            for row in await rows.to_list(None):
                other_entity, _, other_name = row["_id"].partition("/")
                projects.setdefault(other_entity, []).append(other_name)

        def hints(until: float) -> list[Hint]:
            for other_entity in similar_names(entity, projects, until, limit=3):
                if similar := similar_names(name, projects[other_entity], until):
                    other = f"{other_entity}/{similar[0]}"
                    message = f"The project {project_id} does not exist. A similar one is {other}."
                    return [Hint("PROJECT_NOT_FOUND", message, other)]
            return []

        return await self._in_thread(hints)

    async def _unknown_ops(
        self, project_id: str, ops: Sequence[tuple[str, ...]], names: Names
    ) -> list[tuple[str, ...]]:
        """Return the tuples of ops that occur in no call of the project, neither in the sample nor in an older one."""

        def not_sampled(_until: float) -> dict[tuple[str, ...], OpNames]:
            matches = {wanted: op_names(project_id, wanted) for wanted in ops}
            return {wanted: each for wanted, each in matches.items() if not occurs(each, names.ops)}

        unknown = []
        for wanted, match_names in (await self._in_thread(not_sampled)).items():
            prefixed = [{"op_name": starting_with(prefix)} for prefix in match_names.prefixes]
            branches = [{"op_name": {"$in": list(match_names.exact)}}, *prefixed]
            match = calls_match(project_id) | {"$or": branches}
            if await self.database.calls.find_one(match, {"_id": 1}, max_time_ms=self._read_ms) is None:
                unknown.append(wanted)
        return unknown
