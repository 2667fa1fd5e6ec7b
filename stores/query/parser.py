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
from stores.query.expressions import (
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
from stores.query.fields import FieldTable
from stores.query.texts import MAX_FOLDED
from stores.refs import check_external

MAX_NODES: Final = 10_000
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
    return _Parser(table, sigil).operation(tree, argument, 1)


@dataclass(slots=True)
class _Parser:
    table: FieldTable
    sigil: str
    nodes: int = 0

    def operation(self, tree: Tree, at: str, depth: int) -> Operation:
        found = self.operand(tree, at, depth)
        if isinstance(found, Literal | Get | Convert):
            raise BadInputError(f"must be one of {self._names(_OPERATIONS)}", at)
        return found

    def operand(self, tree: Tree, at: str, depth: int) -> Operand:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise BadInputError(f"the query has more than {MAX_NODES:,} operations, fields and literals", at)
        if depth > MAX_DEPTH:
            raise BadInputError(f"the query nests deeper than {MAX_DEPTH} levels", at)
        if not isinstance(tree, dict) or len(tree) != 1:
            raise BadInputError(f"must be an object with one key, out of {self._names(_READERS)}", at)
        [(name, inner)] = tree.items()
        read = _READERS.get(name.removeprefix(self.sigil)) if name.startswith(self.sigil) else None
        if read is None:
            raise BadInputError(f"there is no operation {name[:100]!r}; {self._near(name)}", at)
        return read(self, inner, f"{at}.{name}", depth + 1)

    def operands(self, trees: Tree, at: str, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        if not isinstance(trees, list) or not trees or (count and len(trees) != count):
            raise BadInputError(f"must be a list of {count or 'one or more'} operands", at)
        return tuple(self.operand(tree, f"{at}.{position}", depth) for position, tree in enumerate(trees))

    def literal(self, value: Tree, at: str, _depth: int) -> Literal:
        if isinstance(value, dict | list):
            raise BadInputError("a literal is a string, a number, a boolean or null, not a list or an object", at)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInputError("a number must be finite", at)
        if isinstance(value, str) and len(value) > MAX_LITERAL:
            raise BadInputError(f"has {len(value):,} characters; the limit is {MAX_LITERAL:,}", at)
        if isinstance(value, str):
            check_external(value, at)
        return Literal(value)

    def get_field(self, name: Tree, at: str, _depth: int) -> Get:
        if not isinstance(name, str):
            raise BadInputError("must be the name of a field, such as started_at or inputs.question", at)
        try:
            return Get(name, self.table[name])
        except StoreError as error:
            raise BadInputError(error.message, at) from None

    def convert(self, tree: Tree, at: str, depth: int) -> Convert:
        members = self._members(tree, at, ("input", "to"))
        if members["to"] not in list(Target):
            raise BadInputError(f"must be one of {', '.join(Target)}", f"{at}.to")
        return Convert(self.operand(members["input"], f"{at}.input", depth), Target(members["to"]))

    def contains(self, tree: Tree, at: str, depth: int) -> Contains:
        members = self._members(tree, at, ("input", "substr"), ("case_insensitive",))
        folded = members.get("case_insensitive")
        if folded is None:
            folded = False
        if not isinstance(folded, bool):
            raise BadInputError("must be true or false", f"{at}.case_insensitive")
        parts = [self.operand(members[name], f"{at}.{name}", depth) for name in ("input", "substr")]
        if isinstance(parts[1], Literal) and not isinstance(parts[1].value, str):
            raise BadInputError("must be a string, the text to look for", f"{at}.substr")
        if folded:
            _check_folded(parts[1], f"{at}.substr")
        return Contains(parts[0], parts[1], folded)

    def is_in(self, tree: Tree, at: str, depth: int) -> In:
        if not isinstance(tree, list) or len(tree) != 2 or not isinstance(tree[1], list):  # noqa: PLR2004 -- operand, members
            raise BadInputError("must be a list of an operand and a list of operands", at)
        first, second = ("0", "1") if self.sigil else ("input", "values")
        operand = self.operand(tree[0], f"{at}.{first}", depth)
        members = self.operands(tree[1], f"{at}.{second}", depth) if tree[1] else ()
        return In(operand, members)

    def _members(self, tree: Tree, at: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tree]:
        if not isinstance(tree, dict):
            raise BadInputError(f"must be an object with {' and '.join(needed)}", at)
        for name in needed:
            if name not in tree:
                raise BadInputError(f"{name} is missing", at)
        for name in tree:
            if name not in (*needed, *optional):
                raise BadInputError(f"has no {name[:100]!r}; there are {', '.join((*needed, *optional))}", at)
        return tree

    def _names(self, table: dict[str, Any] | tuple[str, ...]) -> str:
        return ", ".join(self.sigil + name for name in table)

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], [self.sigil + known for known in _READERS], 2)
        return f"did you mean {' or '.join(near)}?" if near else f"there are {self._names(_READERS)}"


def _check_folded(substr: Operand, at: str) -> None:
    if not isinstance(substr, Literal):
        raise BadInputError("must be a literal where letter case is folded", at)
    if len(str(substr.value)) > MAX_FOLDED:
        raise BadInputError(f"has more than {MAX_FOLDED:,} characters, the limit where letter case is folded", at)


_Reader = Callable[[_Parser, Tree, str, int], Operand]


def _comparison(comparison: Comparison) -> _Reader:
    def read(parser: _Parser, tree: Tree, at: str, depth: int) -> Compare:
        left, right = parser.operands(tree, at, depth, 2)
        return Compare(comparison, left, right)

    return read


_READERS: Final[dict[str, _Reader]] = {
    "and": lambda parser, tree, at, depth: And(parser.operands(tree, at, depth)),
    "or": lambda parser, tree, at, depth: Or(parser.operands(tree, at, depth)),
    "not": lambda parser, tree, at, depth: Not(parser.operands(tree, at, depth, 1)[0]),
    **{comparison.value: _comparison(comparison) for comparison in Comparison},
    "in": _Parser.is_in,
    "contains": _Parser.contains,
    "literal": _Parser.literal,
    "getField": _Parser.get_field,
    "convert": _Parser.convert,
}
_OPERATIONS: Final = tuple(name for name in _READERS if name not in ("literal", "getField", "convert"))


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
