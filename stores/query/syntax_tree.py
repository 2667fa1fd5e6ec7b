"""Syntax tree of a query: immutable nodes, independent of the form in which the client sent it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final, TypeGuard

from stores.query.fields import Access, Kind


class Operator(StrEnum):
    """Operators by their names in queries."""

    AND = "and"
    OR = "or"
    NOT = "not"

    EQ = "eq"
    """Equality within one type, as all comparisons; lists and objects are equal if their members are, in order."""
    GT = "gt"
    """Order, like the three below: between numbers or between strings only."""
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    STARTS_WITH = "startsWith"
    """Prefix test: true only between strings."""

    IN = "in"
    """Membership: true if the first operand equals one of the others."""
    CONTAINS = "contains"
    """Substring test: true if the text of the first operand contains the text of the second."""

    DOUBLE = "double"
    """Conversion of one operand, like those below; null if the value cannot be converted."""
    STRING = "string"
    INT = "int"
    BOOL = "bool"
    EXISTS = "exists"


JUNCTIONS: Final = (Operator.AND, Operator.OR, Operator.NOT)
COMPARISONS: Final = (Operator.EQ, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.STARTS_WITH)
TARGETS: Final = (Operator.DOUBLE, Operator.STRING, Operator.INT, Operator.BOOL, Operator.EXISTS)
"""Conversions, named after the type of their result."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant from the query; never interpreted as an operator or a path."""

    operator: ClassVar[None] = None
    operands: ClassVar[tuple[()]] = ()
    value: Scalar


@dataclass(frozen=True, slots=True)
class Get:
    """The value of a field; `name` is the name that the client used."""

    operator: ClassVar[None] = None
    operands: ClassVar[tuple[()]] = ()
    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator with its operands; `case_insensitive` is only for `CONTAINS`."""

    operator: Operator
    operands: tuple["Operand", ...]
    case_insensitive: bool = False


Operand = Operation | Literal | Get


def is_time(node: Operand) -> TypeGuard[Get]:
    """Return True for a time field; it compares with a literal in microseconds, with other operands in seconds."""
    return isinstance(node, Get) and node.access.field.kind is Kind.TIME


def iter_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access below the node, once per occurrence."""
    if isinstance(node, Get):
        yield node
    for operand in node.operands:
        yield from iter_gets(operand)


def iter_text_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access whose text the node needs: for `$contains` or a conversion to string."""
    if node.operator in (Operator.CONTAINS, Operator.STRING):
        yield from (operand for operand in node.operands if isinstance(operand, Get))
    for operand in node.operands:
        yield from iter_text_gets(operand)


def map_operands(node: Operand, change: Callable[[Operand], Operand]) -> Operand:
    """Copy a node with `change` applied to each operand; return a field or literal unchanged."""
    return replace(node, operands=tuple(map(change, node.operands))) if isinstance(node, Operation) else node
