"""Comparison of a query's conditions with a sample of calls, which yields the hints."""

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from time import thread_time
from typing import Final, NamedTuple

from stores.calls.feedback.conditions import FeedbackFieldTable
from stores.calls.fields import CALL_FIELDS, OP_NAME
from stores.calls.filters import CallsFilter
from stores.calls.inputs import op_trace_name
from stores.calls.op_names import OpNames
from stores.errors import StoreError
from stores.hints.sample import FIRST_INDEX, JSON_FIELDS, MAX_NAMES, Names, Path, Paths, Sample, Types, is_missing
from stores.json import paths as json_paths
from stores.json.bson_copy import unescape_key
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

MAX_OPS: Final = 5
"""Maximum ops, and maximum models, of one condition that get hints."""

_MAX_TERMS: Final = 10
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
        elif term.access.field.name in JSON_FIELDS and term.access.steps:
            terms.setdefault((term.access.stored_path, frozenset(map(_kind, term.literals)), term.is_prefix), term)
    checks.ops = list(filter(None, dict.fromkeys(ops)))[:MAX_OPS]
    checks.terms = list(terms.values())[:_MAX_TERMS]
    return checks


def _terms(node: Operand, *, holds: bool = True) -> Iterator[Term]:
    """Yield the fields that a node needs to be true (or false, unless `holds`), with the literals compared to them."""
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
    # A missing value equals null. A `contains` condition says nothing about the type of the whole value.
    for get in _required_fields(below) if holds is not (None in literals) else ():
        is_whole = comparison is Comparison.EQ or (comparison is not None and get.access.field is not OP_NAME)
        is_plain = is_whole and get in below and None not in literals
        is_prefix = comparison is Comparison.STARTS_WITH
        yield Term(get.name, get.access, literals if is_plain else (), is_prefix)


def _required_fields(nodes: Iterable[Operand]) -> Iterator[Get]:
    """Yield the fields that must exist for each operand to have a value."""
    for node in nodes:
        if isinstance(node, Get):
            yield node
        elif isinstance(node, Convert) and not _is_never_null(node):
            yield from _required_fields([node.operand])


def _is_never_null(node: Operand) -> bool:
    """True if an operand is true or false even for a call without its fields."""
    if isinstance(node, Convert):
        return node.to is Target.EXISTS
    return not isinstance(node, Literal | Get)


def hints_of(checks: Checks, unknown: Sequence[tuple[str, ...]], sample: Sample, until: float) -> list[Hint]:
    """Return the hints on one condition; `unknown` contains the tuples of ops that occur in no call."""
    names = sample.names
    hints = [_term_hint(term, sample.types, sample.paths, until) for term in checks.terms]
    if ops := dict.fromkeys(op for wanted in checks.ops if wanted in unknown for op in wanted):
        plain = {each: _plain_name(each) for each in names.ops}
        hints += [_op_hint(op, plain, names, until) for op in islice(ops, MAX_OPS)]
    if not names.cut and names.models.keys().isdisjoint(checks.models):
        statement = f"No call among {names.name} reports usage of"
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
    if is_missing(types_here):
        return _path_hint(term, types, paths, until)
    kinds_held = {_KINDS[name] for name in types_here if name in _KINDS}
    kinds_written = {_kind(literal) for literal in term.literals}
    if len(kinds_held) != 1 or not kinds_written or kinds_written & {*kinds_held, None}:
        return None
    [kind], count = kinds_held, sum(types_here[name] for name in types_here if name in _KINDS)
    literal = term.literals[0]
    message = (
        f"{term.name} holds {kind} in all {count:,} of {types.name} calls that have it, "
        f"and {_json(literal)} is of another type."
    )
    if term.is_prefix:
        return Hint("TYPE_MISMATCH", f"{message} Convert the field to a string.")
    converted = _converted(literal, kind)
    if converted is None:
        return Hint("TYPE_MISMATCH", message)
    return Hint("TYPE_MISMATCH", f"{message} Write {converted}, or convert the field.", converted)


def _path_hint(term: Term, types: Types, paths: Paths, until: float) -> Hint:
    message = f"No call among {types.name} has {term.name}."
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
        f"No call has the op {op[:200]}. {name} occurs in {counts[name]:,} of {names.name}, "
        f"as {', '.join(versions[:_MAX_VERSIONS])}{', ...' if len(versions) > _MAX_VERSIONS else '.'}"
    )
    return Hint("OP_NOT_FOUND", message, versions[0])


def _name_hint(code: str, statement: str, name: str, counts: Counter[str], names: Names, until: float) -> Hint:
    """Return the hint that a name does not occur, with a similar one that does."""
    message = f"{statement} {name[:200]}."
    similar = similar_names(name, [each for each, _ in counts.most_common()], until)
    if not similar:
        return Hint(code, message)
    return Hint(code, f"{message} {similar[0]} occurs in {counts[similar[0]]:,} of {names.name}.", similar[0])


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
        same = step if step in names else FIRST_INDEX if is_index(step) and names == [FIRST_INDEX] else None
        similar = [same] if same else similar_names(step, names[:MAX_NAMES], until)
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
    match literal:
        case bool():
            return "booleans"
        case int() | float():
            return "numbers"
        case str():
            return "strings"
        case _:
            return None


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
