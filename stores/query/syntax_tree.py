"""Syntax tree of a query: immutable nodes, independent of the form in which the client sent it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from stores.query.fields import Access


class Comparison(StrEnum):
    """Comparison operators of two operands."""

    EQ = "eq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    STARTS_WITH = "startsWith"


class Target(StrEnum):
    """Target types of `$convert`."""

    DOUBLE = "double"
    STRING = "string"
    INT = "int"
    BOOL = "bool"
    EXISTS = "exists"


Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant from the query; never interpreted as an operator or a path."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Get:
    """The value of a field; `name` is the name that the client used."""

    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Convert:
    """The operand converted to another type; null if the value cannot be converted."""

    operand: "Operand"
    to: Target


@dataclass(frozen=True, slots=True)
class And:
    """True if all terms are true."""

    terms: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if at least one term is true."""

    terms: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True if the term is not true."""

    term: "Operand"


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison within one type: numbers with numbers, strings with strings; equality also covers all other types.

    Lists and objects are equal if their members are equal and in the same order. Values of different types are unequal.
    `STARTS_WITH` is true only between strings.
    """

    comparison: Comparison
    left: "Operand"
    right: "Operand"


@dataclass(frozen=True, slots=True)
class In:
    """True if the operand equals one of the members."""

    operand: "Operand"
    members: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """True if the text of `input` contains the text of `substr`, optionally ignoring letter case."""

    input: "Operand"
    substr: "Operand"
    case_insensitive: bool = False


Operation = And | Or | Not | Compare | In | Contains | Convert
Operand = Operation | Literal | Get


def operands(node: Operand) -> tuple[Operand, ...]:
    """Return the node's operands in order; empty for a field or a literal."""
    match node:
        case And(terms) | Or(terms):
            return terms
        case Not(operand) | Convert(operand):
            return (operand,)
        case Compare(_, left, right) | Contains(left, right):
            return left, right
        case In(operand, members):
            return operand, *members
        case _:
            return ()


def iter_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access below the node, once per occurrence."""
    if isinstance(node, Get):
        yield node
    for operand in operands(node):
        yield from iter_gets(operand)


def iter_text_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access whose text the node needs: for `$contains` or a conversion to string."""
    below = operands(node)
    if isinstance(node, Contains) or (isinstance(node, Convert) and node.to is Target.STRING):
        yield from (operand for operand in below if isinstance(operand, Get))
    for operand in below:
        yield from iter_text_gets(operand)


def map_operands(node: Operand, change: Callable[[Operand], Operand]) -> Operand:
    """Copy a node with `change` applied to each operand; return a field or literal unchanged."""
    match node:
        case And(terms):
            return And(tuple([change(term) for term in terms]))
        case Or(terms):
            return Or(tuple([change(term) for term in terms]))
        case Not(term):
            return Not(change(term))
        case Convert(operand, to):
            return Convert(change(operand), to)
        case Compare(comparison, left, right):
            return Compare(comparison, change(left), change(right))
        case Contains(where, what, folded):
            return Contains(change(where), change(what), folded)
        case In(operand, members):
            return In(change(operand), tuple([change(member) for member in members]))
        case _:
            return node
