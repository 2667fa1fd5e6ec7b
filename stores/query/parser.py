"""Parser and printer of queries: `{"$expr": …}` in JSON, or the same tree with bare operator names.

The two forms differ only in the sigil before a name: `$eq` in JSON, `eq` in the typed form. A query beyond a limit is
refused with an error that names the limit; nothing is truncated.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError, StoreError
from stores.query.fields import FieldTable, Kind
from stores.query.syntax_tree import (
    And,
    Compare,
    Comparison,
    Contains,
    Convert,
    Get,
    In,
    Literal,
    Not,
    Operand,
    Operation,
    Or,
    Target,
)
from stores.query.text_expressions import MAX_FOLDED_LENGTH
from stores.query.value_expressions import (
    check_comparable,
    check_condition_literal,
    check_conversion_literal,
    normalize_literal,
    normalize_substring,
)
from stores.refs import check_external

MAX_NODES: Final = 10_000
MAX_FIELD_ACCESSES: Final = 2_000
"""Fields that MongoDB plans in one or two seconds with a cold cache; literals, such as `$in` members, cost nothing."""

MAX_TOTAL_PATH_KEYS: Final = 5_000
"""Keys in the paths of all fields together: these compile in about 0.1 seconds; 45,000 took MongoDB a minute."""

MAX_DEPTH: Final = 32
MAX_LITERAL_LENGTH: Final = 100_000
SIGIL: Final = "$"

Tree = Any
"""JSON as the client sent it."""


def parse_query(query: Tree, table: FieldTable, argument: str = "query") -> Operation:
    """Parse a query in its JSON form, `{"$expr": {"$gt": […]}}`.

    Raises:
        BadInputError: if it is not a query over the table's fields; the error's argument is the JSON path.
    """
    if not isinstance(query, dict) or list(query) != ["$expr"]:
        raise BadInputError('must be an object with the one key $expr, as in {"$expr": {"$eq": […]}}', argument)
    return parse_operation(query["$expr"], table, f"{argument}.$expr", SIGIL)


def parse_operation(tree: Tree, table: FieldTable, argument: str, sigil: str = "") -> Operation:
    """Parse an operation such as `{"eq": [{"getField": "op_name"}, {"literal": "f"}]}`.

    Raises:
        BadInputError: if it is not an operation over the table's fields; the error's argument is the JSON path.
    """
    try:
        return _Parser(table, sigil).operation(tree)
    except BadInputError as error:
        raise error.prefixed(argument) from None


@dataclass(slots=True)
class _Parser:
    """Recursive-descent parser; errors collect their path while they propagate, so valid input pays nothing."""

    table: FieldTable
    sigil: str
    nodes: int = 0
    fields: int = 0
    steps: int = 0

    def operation(self, tree: Tree) -> Operation:
        operand = self.operand(tree, 1)
        if list(tree) == [f"{self.sigil}convert"]:
            self._check_condition(operand)
        if isinstance(operand, Literal | Get):
            raise BadInputError(f"must be one of {self._names(_OPERATIONS)}")
        return operand

    def condition_operands(self, trees: Tree, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        """Parse the operands of `$and`, `$or` or `$not`; refuse operands that are never true."""
        operands = self.operands(trees, depth, count)
        for position, operand in enumerate(operands):
            try:
                self._check_condition(operand)
            except BadInputError as error:
                raise error.prefixed(str(position)) from None
        return operands

    def _check_condition(self, node: Operand) -> None:
        match node:
            case Convert(_, to) if to not in (Target.BOOL, Target.EXISTS):
                at = f"{self.sigil}convert.to"
                raise BadInputError(f"a {to} is never a condition; compare it, or convert to bool or exists", at)
            case Literal(scalar) if not isinstance(scalar, bool):
                raise BadInputError("is not a condition; write a condition, or true or false", f"{self.sigil}literal")
            case Get(name, access) if access.field.kind is not Kind.JSON:
                raise BadInputError(f"{name} is not a condition; compare it with a value", f"{self.sigil}getField")

    def operand(self, tree: Tree, depth: int) -> Operand:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise BadInputError(f"the query has more than {MAX_NODES:,} operations, fields and literals")
        if depth > MAX_DEPTH:
            raise BadInputError(f"the query nests deeper than {MAX_DEPTH} levels")
        if not isinstance(tree, dict) or len(tree) != 1:
            raise BadInputError(f"must be an object with one key, out of {self._names(_READERS)}")
        [(name, inner)] = tree.items()
        reader = _READERS.get(name.removeprefix(self.sigil)) if name.startswith(self.sigil) else None
        if reader is None:
            raise BadInputError(f"there is no operation {name[:100]!r}; {self._suggest(name)}")
        try:
            return reader(self, inner, depth + 1)
        except StoreError as error:
            raise error.prefixed(name) from None

    def member(self, tree: Tree, at: str, depth: int) -> Operand:
        """Parse an operand at a key or position of its operation; errors name that key."""
        try:
            return self.operand(tree, depth)
        except BadInputError as error:
            raise error.prefixed(at) from None

    def operands(self, trees: Tree, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        if not isinstance(trees, list) or not trees or (count and len(trees) != count):
            expected = "one operand" if count == 1 else f"{count or 'one or more'} operands"
            raise BadInputError(f"must be a list of {expected}")
        return tuple([self.member(tree, str(position), depth) for position, tree in enumerate(trees)])

    def literal(self, value: Tree, _depth: int) -> Literal:
        match value:
            case str():
                if len(value) > MAX_LITERAL_LENGTH:
                    raise BadInputError(f"has {len(value):,} characters; the limit is {MAX_LITERAL_LENGTH:,}")
                check_external(value)
            case float() if not math.isfinite(value):
                raise BadInputError("a number must be finite")
            case dict() | list():
                raise BadInputError("a literal is a string, a number, a boolean or null, not a list or an object")
        return Literal(value)

    def get_field(self, name: Tree, _depth: int) -> Get:
        if not isinstance(name, str):
            raise BadInputError("must be the name of a field, such as started_at or inputs.question")
        self.fields += 1
        if self.fields > MAX_FIELD_ACCESSES:
            raise BadInputError(f"the query names fields more than {MAX_FIELD_ACCESSES:,} times; name fewer")
        access = self.table[name]
        self.steps += len(access.steps)
        if self.steps > MAX_TOTAL_PATH_KEYS:
            raise BadInputError(f"the paths of the query's fields have more than {MAX_TOTAL_PATH_KEYS:,} keys")
        return Get(name, access)

    def convert(self, tree: Tree, depth: int) -> Convert | Get:
        members = self._members(tree, ("input", "to"))
        if members["to"] not in list(Target):
            raise BadInputError(f"must be one of {', '.join(Target)}", "to")
        operand, to = self.member(members["input"], "input", depth), Target(members["to"])
        if to is Target.STRING and isinstance(operand, Get) and operand.access.is_text:
            return (
                operand  # Kept as a plain field, so that field-specific rules, such as those for op names, still apply.
            )
        return Convert(operand, to)

    def contains(self, tree: Tree, depth: int) -> Contains:
        members = self._members(tree, ("input", "substr"), ("case_insensitive",))
        folded = members.get("case_insensitive")
        if folded is None:
            folded = False
        if not isinstance(folded, bool):
            raise BadInputError("must be true or false", "case_insensitive")
        haystack, needle = (self.member(members[name], name, depth) for name in ("input", "substr"))
        if isinstance(needle, Literal) and not isinstance(needle.value, str):
            raise BadInputError("must be a string, the text to look for", "substr")
        if folded:
            _check_folded(needle)
        if isinstance(haystack, Get) and isinstance(needle, Literal):
            try:
                needle = Literal(normalize_substring(str(needle.value), haystack.name, haystack.access.field))
            except BadInputError as error:
                raise error.prefixed("substr") from None
        return Contains(haystack, needle, folded)

    def membership(self, tree: Tree, depth: int) -> In | Or:
        if not isinstance(tree, list) or len(tree) != 2 or not isinstance(tree[1], list):  # noqa: PLR2004 -- operand, members
            raise BadInputError("must be a list of an operand and a list of operands")
        first, second = ("0", "1") if self.sigil else ("input", "values")
        operand = self.member(tree[0], first, depth)
        try:
            members = self.operands(tree[1], depth) if tree[1] else ()
        except BadInputError as error:
            raise error.prefixed(second) from None
        normalized = tuple(
            [_normalized(each, operand, f"{second}.{position}") for position, each in enumerate(members)]
        )
        if not isinstance(operand, Literal):
            return In(operand, normalized)
        # Fields may normalize the literal differently; those that change it are compared separately.
        normalized_pairs = [(member, _normalized(operand, member, first)) for member in members]
        others = [Compare(Comparison.EQ, member, literal) for member, literal in normalized_pairs if literal != operand]
        same_literal = In(operand, tuple([member for member, literal in normalized_pairs if literal == operand]))
        return Or((same_literal, *others)) if others else same_literal

    def _members(self, tree: Tree, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tree]:
        if not isinstance(tree, dict):
            raise BadInputError(f"must be an object with {' and '.join(needed)}")
        for name in needed:
            if name not in tree:
                raise BadInputError(f"{name} is missing")
        for name in tree:
            if name not in (*needed, *optional):
                raise BadInputError(f"unknown key {name[:100]!r}; the keys are {', '.join((*needed, *optional))}")
        return tree

    def _names(self, table: dict[str, Any] | tuple[str, ...]) -> str:
        return ", ".join(self.sigil + name for name in table)

    def _suggest(self, name: str) -> str:
        similar = difflib.get_close_matches(name[:100], [self.sigil + operator for operator in _READERS], 2)
        return f"did you mean {' or '.join(similar)}?" if similar else f"the operations are {self._names(_READERS)}"


def _check_folded(substr: Operand) -> None:
    if not isinstance(substr, Literal):
        raise BadInputError("must be a literal if letter case is ignored", "substr")
    if len(str(substr.value)) > MAX_FOLDED_LENGTH:
        raise BadInputError(
            f"has more than {MAX_FOLDED_LENGTH:,} characters, the limit if letter case is ignored", "substr"
        )


def _normalized(operand: Operand, other: Operand, argument: str, comparison: Comparison = Comparison.EQ) -> Operand:
    """Normalize a literal to the form stored by the field it is compared with; return other operands unchanged."""
    if isinstance(other, Literal) and not isinstance(operand, Literal):
        return operand  # The call for the literal's side checks both operands.
    try:
        match operand, other:
            case Literal(scalar), Get(name, access):
                return Literal(normalize_literal(scalar, name, access, comparison))
            case Literal(scalar), Convert(_, to):
                check_conversion_literal(scalar, to)
            case Literal(scalar), And() | Or() | Not() | Compare() | In() | Contains():
                check_condition_literal(scalar)
            case _:
                check_comparable(comparison, other, operand)
    except BadInputError as error:
        raise error.prefixed(argument) from None
    return operand


_Reader = Callable[[_Parser, Tree, int], Operand]


def _comparison(comparison: Comparison) -> _Reader:
    def read(parser: _Parser, tree: Tree, depth: int) -> Compare:
        left, right = parser.operands(tree, depth, 2)
        if comparison is not Comparison.EQ:
            _check_ordered(comparison, left, right)
        return Compare(comparison, _normalized(left, right, "0", comparison), _normalized(right, left, "1", comparison))

    return read


def _check_ordered(comparison: Comparison, *operands: Operand) -> None:
    for position, operand in enumerate(operands):
        if not isinstance(operand, Literal) or isinstance(operand.value, str):
            continue
        if comparison is Comparison.STARTS_WITH:
            raise BadInputError("must be a string: startsWith compares strings", str(position))
        if operand.value is None or isinstance(operand.value, bool):
            raise BadInputError(
                "has no order; compare with a number or a string, or use isNull or exists", str(position)
            )


_equal: Final = _comparison(Comparison.EQ)


_READERS: Final[dict[str, _Reader]] = {
    "and": lambda parser, tree, depth: And(parser.condition_operands(tree, depth)),
    "or": lambda parser, tree, depth: Or(parser.condition_operands(tree, depth)),
    "not": lambda parser, tree, depth: Not(parser.condition_operands(tree, depth, 1)[0]),
    **{comparison.value: _comparison(comparison) for comparison in Comparison},
    "ne": lambda parser, tree, depth: Not(_equal(parser, tree, depth)),
    "isNull": lambda parser, tree, depth: Compare(Comparison.EQ, parser.operand(tree, depth), Literal(None)),
    "exists": lambda parser, tree, depth: Convert(parser.operand(tree, depth), Target.EXISTS),
    "in": _Parser.membership,
    "contains": _Parser.contains,
    "literal": _Parser.literal,
    "getField": _Parser.get_field,
    "convert": _Parser.convert,
}
_OPERATIONS: Final = tuple(name for name in _READERS if name not in ("literal", "getField"))


def print_operand(node: Operand) -> dict[str, Tree]:
    """Print a node in the JSON form that parses back to it."""
    match node:
        case Literal(value):
            return {"$literal": value}
        case Get(name):
            return {"$getField": name}
        case Convert(operand, to):
            return {"$convert": {"input": print_operand(operand), "to": to.value}}
        case And(terms):
            return {"$and": [print_operand(term) for term in terms]}
        case Or(terms):
            return {"$or": [print_operand(term) for term in terms]}
        case Not(term):
            return {"$not": [print_operand(term)]}
        case Compare(comparison, left, right):
            return {f"${comparison.value}": [print_operand(left), print_operand(right)]}
        case In(operand, members):
            return {"$in": [print_operand(operand), [print_operand(member) for member in members]]}
        case Contains(operand, substr, folded):
            arguments = {"input": print_operand(operand), "substr": print_operand(substr)}
            return {"$contains": arguments | ({"case_insensitive": True} if folded else {})}
