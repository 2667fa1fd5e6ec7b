"""What a query says, whatever form it came in: a small tree of immutable nodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from stores.query.fields import Access


class Comparison(StrEnum):
    """How two values are compared."""

    EQ = "eq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    STARTS_WITH = "startsWith"


class Target(StrEnum):
    """What a value is converted to."""

    DOUBLE = "double"
    STRING = "string"
    INT = "int"
    BOOL = "bool"
    EXISTS = "exists"


Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that the client wrote: data, never anything else."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Get:
    """The value of a field, under the name that the client used."""

    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Convert:
    """A value as another type; null where it has no counterpart there."""

    operand: "Operand"
    to: Target


@dataclass(frozen=True, slots=True)
class And:
    """True where all of its terms are."""

    terms: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where one of its terms is."""

    terms: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True exactly where its term is not."""

    term: "Operand"


@dataclass(frozen=True, slots=True)
class Compare:
    """Numbers with numbers, strings with strings, and for equality any value with one of its type.

    Lists and objects are equal if their members are, in the same order. Values of two types are unequal. Only strings
    start with strings.
    """

    comparison: Comparison
    left: "Operand"
    right: "Operand"


@dataclass(frozen=True, slots=True)
class In:
    """True where the operand equals one of the members."""

    operand: "Operand"
    members: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """True where the text of `input` holds the text of `substr`, letter case folded if asked."""

    input: "Operand"
    substr: "Operand"
    case_insensitive: bool = False


Operation = And | Or | Not | Compare | In | Contains | Convert
Operand = Operation | Literal | Get


def operands(node: Operand) -> tuple[Operand, ...]:
    """The operands of a node, in their order; none of a field or a literal."""
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


def gets(node: Operand) -> Iterator[Get]:
    """Every field that a node names, as often as it does."""
    if isinstance(node, Get):
        yield node
    for operand in operands(node):
        yield from gets(operand)


def gets_of_texts(node: Operand) -> Iterator[Get]:
    """Every field whose text a node needs."""
    below = operands(node)
    if isinstance(node, Contains) or (isinstance(node, Convert) and node.to is Target.STRING):
        yield from (operand for operand in below if isinstance(operand, Get))
    for operand in below:
        yield from gets_of_texts(operand)


def with_operands(node: Operand, change: Callable[[Operand], Operand]) -> Operand:
    """A node with each of its operands changed; one that has none as it is."""
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
