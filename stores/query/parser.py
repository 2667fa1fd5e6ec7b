"""Reading and printing a query: `{"$expr": …}` as clients write it, or the same tree with bare names.

The two spellings differ only in the sigil before a name: `$eq` in JSON, `eq` from the typed form. What is beyond a
limit is refused by name, never cut.
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
from stores.query.text_expressions import MAX_FOLDED
from stores.query.value_expressions import check_condition, check_converted, check_kinds, fitting, fitting_part
from stores.refs import check_external

MAX_NODES: Final = 10_000
MAX_FIELDS: Final = 2_000
"""What a cold MongoDB plans in a second or two; literals, such as the members of an `$in`, cost it nothing."""

MAX_ALL_STEPS: Final = 5_000
"""Keys in the paths of all fields, to compile which takes some 0.1 seconds; 45,000 of them took MongoDB a minute."""

MAX_DEPTH: Final = 32
MAX_LITERAL: Final = 100_000
SIGIL: Final = "$"

Tree = Any
"""JSON: what a client sent."""


def parse_query(query: Tree, table: FieldTable, argument: str = "query") -> Operation:
    """The operation of a query in its JSON form, `{"$expr": {"$gt": […]}}`.

    Raises:
        BadInputError: it is not a query over the table's fields; the error leads to the place.
    """
    if not isinstance(query, dict) or list(query) != ["$expr"]:
        raise BadInputError('must be an object with the one key $expr, as in {"$expr": {"$eq": […]}}', argument)
    return parse_operation(query["$expr"], table, f"{argument}.$expr", SIGIL)


def parse_operation(tree: Tree, table: FieldTable, argument: str, sigil: str = "") -> Operation:
    """The operation of a tree such as `{"eq": [{"getField": "op_name"}, {"literal": "f"}]}`.

    Raises:
        BadInputError: it is not an operation over the table's fields; the error leads to the place.
    """
    try:
        return _Parser(table, sigil).operation(tree)
    except BadInputError as error:
        raise error.prefixed(argument) from None


@dataclass(slots=True)
class _Parser:
    """Reads trees; the argument of an error is put together on its way up, so that good input does not pay for it."""

    table: FieldTable
    sigil: str
    nodes: int = 0
    fields: int = 0
    steps: int = 0

    def operation(self, tree: Tree) -> Operation:
        found = self.operand(tree, 1)
        if list(tree) == [f"{self.sigil}convert"]:
            self._check_condition(found)
        if isinstance(found, Literal | Get):
            raise BadInputError(f"must be one of {self._names(_OPERATIONS)}")
        return found

    def conditions(self, trees: Tree, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        """The operands of a junction, of which each may be true."""
        found = self.operands(trees, depth, count)
        for position, operand in enumerate(found):
            try:
                self._check_condition(operand)
            except BadInputError as error:
                raise error.prefixed(str(position)) from None
        return found

    def _check_condition(self, node: Operand) -> None:
        match node:
            case Convert(_, to) if to not in (Target.BOOL, Target.EXISTS):
                at = f"{self.sigil}convert.to"
                raise BadInputError(f"a {to} is never true; compare it, or convert to bool or exists", at)
            case Literal(scalar) if not isinstance(scalar, bool):
                raise BadInputError("is never true; write a condition, or true or false", f"{self.sigil}literal")
            case Get(name, access) if access.field.kind is not Kind.JSON:
                raise BadInputError(f"{name} is never true; compare it", f"{self.sigil}getField")

    def operand(self, tree: Tree, depth: int) -> Operand:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise BadInputError(f"the query has more than {MAX_NODES:,} operations, fields and literals")
        if depth > MAX_DEPTH:
            raise BadInputError(f"the query nests deeper than {MAX_DEPTH} levels")
        if not isinstance(tree, dict) or len(tree) != 1:
            raise BadInputError(f"must be an object with one key, out of {self._names(_READERS)}")
        [(name, inner)] = tree.items()
        read = _READERS.get(name.removeprefix(self.sigil)) if name.startswith(self.sigil) else None
        if read is None:
            raise BadInputError(f"there is no operation {name[:100]!r}; {self._near(name)}")
        try:
            return read(self, inner, depth + 1)
        except StoreError as error:
            raise error.prefixed(name) from None

    def member(self, tree: Tree, at: str, depth: int) -> Operand:
        """An operand that stands at a key or a position of its operation."""
        try:
            return self.operand(tree, depth)
        except BadInputError as error:
            raise error.prefixed(at) from None

    def operands(self, trees: Tree, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        if not isinstance(trees, list) or not trees or (count and len(trees) != count):
            wanted = "one operand" if count == 1 else f"{count or 'one or more'} operands"
            raise BadInputError(f"must be a list of {wanted}")
        return tuple([self.member(tree, str(position), depth) for position, tree in enumerate(trees)])

    def literal(self, value: Tree, _depth: int) -> Literal:
        match value:
            case str():
                if len(value) > MAX_LITERAL:
                    raise BadInputError(f"has {len(value):,} characters; the limit is {MAX_LITERAL:,}")
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
        if self.fields > MAX_FIELDS:
            raise BadInputError(f"the query names fields more than {MAX_FIELDS:,} times")
        access = self.table[name]
        self.steps += len(access.steps)
        if self.steps > MAX_ALL_STEPS:
            raise BadInputError(f"the paths of the query's fields have more than {MAX_ALL_STEPS:,} keys")
        return Get(name, access)

    def convert(self, tree: Tree, depth: int) -> Convert | Get:
        members = self._members(tree, ("input", "to"))
        if members["to"] not in list(Target):
            raise BadInputError(f"must be one of {', '.join(Target)}", "to")
        operand, to = self.member(members["input"], "input", depth), Target(members["to"])
        if to is Target.STRING and isinstance(operand, Get) and operand.access.is_text:
            return operand  # so that the rules of the column hold, such as those of op names
        return Convert(operand, to)

    def contains(self, tree: Tree, depth: int) -> Contains:
        members = self._members(tree, ("input", "substr"), ("case_insensitive",))
        folded = members.get("case_insensitive")
        if folded is None:
            folded = False
        if not isinstance(folded, bool):
            raise BadInputError("must be true or false", "case_insensitive")
        where, what = (self.member(members[name], name, depth) for name in ("input", "substr"))
        if isinstance(what, Literal) and not isinstance(what.value, str):
            raise BadInputError("must be a string, the text to look for", "substr")
        if folded:
            _check_folded(what)
        if isinstance(where, Get) and isinstance(what, Literal):
            try:
                what = Literal(fitting_part(str(what.value), where.name, where.access.field))
            except BadInputError as error:
                raise error.prefixed("substr") from None
        return Contains(where, what, folded)

    def is_in(self, tree: Tree, depth: int) -> In | Or:
        if not isinstance(tree, list) or len(tree) != 2 or not isinstance(tree[1], list):  # noqa: PLR2004 -- operand, members
            raise BadInputError("must be a list of an operand and a list of operands")
        first, second = ("0", "1") if self.sigil else ("input", "values")
        operand = self.member(tree[0], first, depth)
        try:
            members = self.operands(tree[1], depth) if tree[1] else ()
        except BadInputError as error:
            raise error.prefixed(second) from None
        fitted = tuple([_fitted(each, operand, f"{second}.{at}") for at, each in enumerate(members)])
        if not isinstance(operand, Literal):
            return In(operand, fitted)
        # Fields may spell the one literal differently: one that does is compared by itself.
        spelled = [(member, _fitted(operand, member, first)) for member in members]
        others = [Compare(Comparison.EQ, member, literal) for member, literal in spelled if literal != operand]
        alike = In(operand, tuple([member for member, literal in spelled if literal == operand]))
        return Or((alike, *others)) if others else alike

    def _members(self, tree: Tree, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tree]:
        if not isinstance(tree, dict):
            raise BadInputError(f"must be an object with {' and '.join(needed)}")
        for name in needed:
            if name not in tree:
                raise BadInputError(f"{name} is missing")
        for name in tree:
            if name not in (*needed, *optional):
                raise BadInputError(f"has no {name[:100]!r}; there are {', '.join((*needed, *optional))}")
        return tree

    def _names(self, table: dict[str, Any] | tuple[str, ...]) -> str:
        return ", ".join(self.sigil + name for name in table)

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], [self.sigil + known for known in _READERS], 2)
        return f"did you mean {' or '.join(near)}?" if near else f"there are {self._names(_READERS)}"


def _check_folded(substr: Operand) -> None:
    if not isinstance(substr, Literal):
        raise BadInputError("must be a literal where letter case is folded", "substr")
    if len(str(substr.value)) > MAX_FOLDED:
        raise BadInputError(f"has more than {MAX_FOLDED:,} characters, the limit where letter case is folded", "substr")


def _fitted(operand: Operand, beside: Operand, at: str, comparison: Comparison = Comparison.EQ) -> Operand:
    """A literal as the field beside it spells its values; any other operand as it is."""
    if isinstance(beside, Literal) and not isinstance(operand, Literal):
        return operand  # the call for the literal looks at both
    try:
        match operand, beside:
            case Literal(scalar), Get(name, access):
                return Literal(fitting(scalar, name, access, comparison))
            case Literal(scalar), Convert(_, to):
                check_converted(scalar, to)
            case Literal(scalar), And() | Or() | Not() | Compare() | In() | Contains():
                check_condition(scalar)
            case _:
                check_kinds(comparison, beside, operand)
    except BadInputError as error:
        raise error.prefixed(at) from None
    return operand


_Reader = Callable[[_Parser, Tree, int], Operand]


def _comparison(comparison: Comparison) -> _Reader:
    def read(parser: _Parser, tree: Tree, depth: int) -> Compare:
        left, right = parser.operands(tree, depth, 2)
        if comparison is not Comparison.EQ:
            _check_ordered(comparison, left, right)
        return Compare(comparison, _fitted(left, right, "0", comparison), _fitted(right, left, "1", comparison))

    return read


def _check_ordered(comparison: Comparison, *operands: Operand) -> None:
    for position, operand in enumerate(operands):
        if not isinstance(operand, Literal) or isinstance(operand.value, str):
            continue
        if comparison is Comparison.STARTS_WITH:
            raise BadInputError("must be a string: startsWith compares strings", str(position))
        if operand.value is None or isinstance(operand.value, bool):
            raise BadInputError(
                "has no order; compare with a number or a string, or ask isNull or exists", str(position)
            )


_equal: Final = _comparison(Comparison.EQ)


_READERS: Final[dict[str, _Reader]] = {
    "and": lambda parser, tree, depth: And(parser.conditions(tree, depth)),
    "or": lambda parser, tree, depth: Or(parser.conditions(tree, depth)),
    "not": lambda parser, tree, depth: Not(parser.conditions(tree, depth, 1)[0]),
    **{comparison.value: _comparison(comparison) for comparison in Comparison},
    "ne": lambda parser, tree, depth: Not(_equal(parser, tree, depth)),
    "isNull": lambda parser, tree, depth: Compare(Comparison.EQ, parser.operand(tree, depth), Literal(None)),
    "exists": lambda parser, tree, depth: Convert(parser.operand(tree, depth), Target.EXISTS),
    "in": _Parser.is_in,
    "contains": _Parser.contains,
    "literal": _Parser.literal,
    "getField": _Parser.get_field,
    "convert": _Parser.convert,
}
_OPERATIONS: Final = tuple(name for name in _READERS if name not in ("literal", "getField"))


def print_operand(node: Operand) -> dict[str, Tree]:
    """A node in the JSON form that parses to it."""
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
            said = {"input": print_operand(operand), "substr": print_operand(substr)}
            return {"$contains": said | ({"case_insensitive": True} if folded else {})}
