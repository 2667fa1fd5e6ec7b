"""The condition on a call's terms that a query implies: every call that matches the query has such terms.

It is a tree of `AllOf` and `AnyOf` over ranges of keys. A query that calls without any term may match implies none.
Some terms also decide: a call with them is known to match before it is read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stores.json.bson_copy import to_bson
from stores.query import text_expressions
from stores.query.evaluator import fold
from stores.query.fields import Access, is_index
from stores.query.parser import COMPARISONS, Get, Literal, Operand, Operation, Operator, Scalar
from stores.terms import keys

MAX_RANGES: Final = 300
"""Maximum ranges of keys, each of which a reader looks up in each segment."""

_MAX_MEMBERS: Final = 40
"""Maximum members of an `in` with ranges of their own; those of a longer one are tested within one range."""

Test = Callable[[bytes], bool]
"""Function of a key."""


@dataclass(frozen=True, slots=True, eq=False)  # a reader has dictionaries by range for each segment
class KeyRange:
    """Calls with a key of at least `first` and less than `end`, for which `test` is true if there is one.

    With a `text`, all keys in the range begin with `first`, and those count that contain the text after it. The
    condition decides if `is_exact`: each of these calls makes the operation true of which it is the condition.
    """

    first: bytes
    end: bytes
    test: Test | None = None
    is_exact: bool = False
    text: bytes = b""

    @property
    def is_one_key(self) -> bool:
        """True if no other key than `first` is in the range, and this one always counts."""
        return self.end == self.first + b"\0" and self.test is None and not self.text


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Calls that satisfy one of some conditions; none if there are none."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Calls that satisfy all of some conditions. It decides if `is_exact` and all conditions do."""

    conditions: tuple["Condition", ...]
    is_exact: bool = True


Condition = KeyRange | AnyOf | AllOf

NEVER: Final = AnyOf(())

_FLIPPED: Final = {
    Operator.GT: Operator.LT,
    Operator.GTE: Operator.LTE,
    Operator.LT: Operator.GT,
    Operator.LTE: Operator.GTE,
}
_NUMBER_CONVERSIONS: Final = (Operator.DOUBLE, Operator.INT)
_MAX_EXACT: Final = 1 << 53
_STARTS_OF_NUMBERS: Final = b"+-.0123456789"
_STARTS_OF_OTHER_TEXTS: Final = tuple("-.0123456789Itf[{")
"""First characters of texts that a conversion to string makes of numbers, booleans, lists and objects."""

_END: Final = b"\xff"
"""Greater than each byte of a text in UTF-8."""


def implied_by(terms: Iterable[Operand]) -> Condition | None:
    """Return the condition that every call satisfies that matches all terms of a query.

    It is None if there is none, or if it has more than `MAX_RANGES` ranges.
    """
    condition = all_of(map(implied, terms))
    return None if condition and _count_ranges(condition) > MAX_RANGES else condition


def _count_ranges(condition: Condition) -> int:
    return 1 if isinstance(condition, KeyRange) else sum(map(_count_ranges, condition.conditions))


def implied(node: Operand) -> Condition | None:
    """Return the condition that every matching call satisfies; None if the query implies none."""
    match node:
        case Literal(scalar):
            return None if scalar is True else NEVER
        case Operation(Operator.AND, terms):
            return all_of(map(implied, terms))
        case Operation(Operator.OR, terms):
            return any_of(map(implied, terms))
        case Operation(Operator.NOT, (term,)):
            return _negated(term)
        case Operation(Operator.IN, (operand, *members)):
            return _is_in(operand, members)
        case Operation(Operator.CONTAINS, (operand, substr), folded):
            return _contains(operand, substr, folded=folded)
        case Operation(operator, (left, right)) if operator in COMPARISONS:
            return _compare(operator, left, right)
        case Operation(Operator.EXISTS, (operand,)):
            return _has_value(operand, is_exact=True)
        case Get() | Operation(_, (_,)):  # a field or a conversion
            return _compare_scalar(Operator.EQ, node, scalar=True)
        case _:
            return None


def _negated(node: Operand) -> Condition | None:
    """Return the condition for calls that do not match a query."""
    match node:
        case Operation(Operator.NOT, (term,)):
            return implied(term)
        case Operation(Operator.AND, terms):
            return any_of(map(_negated, terms))
        case Operation(Operator.OR, terms):
            return all_of(map(_negated, terms))
        case Literal(scalar):
            return NEVER if scalar is True else None
        case Operation(Operator.EQ, (operand, Literal(None)) | (Literal(None), operand)):
            return _has_value(operand, is_exact=True)
        case _:
            return None


def all_of(conditions: Iterable[Condition | None]) -> Condition | None:
    """Join conditions; a None sets no condition, and leaves open whether the others decide."""
    given = list(conditions)
    known = tuple([each for each in given if each is not None])
    if known == tuple(given) and len(known) == 1:
        return known[0]
    return AllOf(known, is_exact=len(known) == len(given)) if known else None


def any_of(conditions: Iterable[Condition | None]) -> Condition | None:
    """Return the condition that one of some conditions holds; None if one of them is None."""
    alternatives: list[Condition] = []
    for each in conditions:
        if each is None:
            return None
        alternatives.append(each)
    return alternatives[0] if len(alternatives) == 1 else AnyOf(tuple(alternatives))


def _compare(operator: Operator, left: Operand, right: Operand) -> Condition | None:
    if isinstance(right, Literal):
        return None if isinstance(left, Literal) else _compare_scalar(operator, left, right.value)
    if isinstance(left, Literal) and operator is not Operator.STARTS_WITH:
        return _compare_scalar(_FLIPPED.get(operator, operator), right, left.value)
    # Two missing values are equal, but have no order.
    return None if operator is Operator.EQ else all_of((_has_value(left), _has_value(right)))


def _compare_scalar(operator: Operator, left: Operand, scalar: Scalar) -> Condition | None:
    is_equality = operator is Operator.EQ
    if scalar is None:
        return None if is_equality else NEVER
    match left:
        case Get(_, access) if _has_terms(access):
            return _Path(access).compares(operator, scalar)
        case Operation(conversion, (Get(_, access),)) if conversion in _NUMBER_CONVERSIONS and _has_terms(access):
            if isinstance(scalar, bool | str) or abs(scalar) >= _MAX_EXACT:
                return _has_value(left)
            path = _Path(access)
            at = path.text_at

            def may_be_number(key: bytes) -> bool:
                return key[at : at + 1] in _STARTS_OF_NUMBERS

            texts = (path.values(tag, tag + _END, may_be_number) for tag in (keys.TEXT, keys.LONG_TEXT))
            # The conversion to an integer has no fractions.
            return any_of((path.compares(operator, scalar, is_exact=conversion is Operator.DOUBLE), *texts))
        case Operation(Operator.STRING, (Get(_, access),)) if _has_terms(access) and isinstance(scalar, str):
            is_text = is_equality and scalar and not scalar.startswith(_STARTS_OF_OTHER_TEXTS)
            return _Path(access).compares(operator, scalar) if is_text else _has_value(left)
        case Operation(Operator.EXISTS, (operand,)):
            return _has_value(operand, is_exact=is_equality) if scalar is True else None
        case _:
            return _has_value(left)


def _has_value(operand: Operand, *, is_exact: bool = False) -> Condition | None:
    """Return the condition that an operand is not null."""
    match operand:
        case Get(_, access):
            return _Path(access).values(is_exact=is_exact) if _has_terms(access) else None
        case Operation(Operator.DOUBLE | Operator.INT | Operator.STRING | Operator.BOOL, (inner,)):
            return _has_value(inner)
        case _:
            return None  # conditions are never null


def _is_in(operand: Operand, members: Sequence[Operand]) -> Condition | None:
    if len(members) <= _MAX_MEMBERS:
        return any_of(_compare(Operator.EQ, operand, member) for member in members)
    scalars = [each.value for each in members if isinstance(each, Literal)]
    if None in scalars or len(scalars) < len(members):
        return None
    match operand:
        case Get(_, access) if _has_terms(access):
            path, tails = _Path(access), list(map(_tail, scalars))
            span, is_exact = (min(tails), max(tails) + b"\0"), all(map(_is_exact, scalars))
            return path.values(*span, path.keys_with(tails).__contains__, is_exact=is_exact)
        case _:
            return _has_value(operand)


def _contains(operand: Operand, substr: Operand, *, folded: bool) -> Condition | None:
    inner = operand.operands[0] if operand.operator is Operator.STRING else operand
    match inner, substr:
        case Get(_, access), Literal(str() as text) if _has_terms(access):
            path = _Path(access)
            in_texts = path.contains(text, folded=folded)
            # The keys of lists, objects and long texts do not say it. Numbers and booleans contain few texts.
            only_in_strings = text_expressions.is_only_in_strings(text)
            others = (keys.NESTED, keys.NUMBER) if only_in_strings else (b"\0", keys.TEXT)
            return AnyOf((in_texts, path.values(*others), path.values(keys.LONG_TEXT, b"\1")))
        case _:
            return all_of((_has_value(operand), _has_value(substr)))


def _has_terms(access: Access) -> bool:
    # Subclasses of `Access` read other values. An index with a leading zero is also a key that is no index.
    return (
        type(access) is Access
        and access.field.path in keys.FIELDS
        and access.field.text_path is not None
        and not any(is_index(step) and step != str(int(step)) for step in access.steps)
    )


def _tail(scalar: Scalar) -> bytes:
    """Return the tag and the value that a call's key has for an equal value."""
    return keys.tail_of(to_bson(scalar))


def _is_exact(scalar: Scalar) -> bool:
    """Return True if the keys of all values that equal a scalar are of no other value."""
    return len(keys.encode(scalar)) <= keys.MAX_TEXT if isinstance(scalar, str) else abs(scalar or 0) < _MAX_EXACT


class _Path:
    """A path into the JSON of calls, with the keys of the lists and objects that may hide it."""

    def __init__(self, access: Access) -> None:
        steps = access.stored_path
        self._name = keys.path_of(steps)
        self._is_exact = len(self._name) <= keys.MAX_PATH and keys.HASHED not in self._name
        self.text_at = len(self._name) + len(keys.TEXT)
        outer = [keys.LEFT_OUT + keys.path_of(steps[:count]) for count in range(1, len(steps))]
        self._hidden = [KeyRange(key, key + b"\0") for key in outer]

    def values(
        self,
        first: bytes = b"\0",
        end: bytes = b"\1",
        test: Test | None = None,
        *,
        is_exact: bool = False,
        text: bytes = b"",
    ) -> Condition:
        """Return the condition that the path has a value in a range of tags and values."""
        wanted = KeyRange(self._name + first, self._name + end, test, is_exact and self._is_exact, text)
        return AnyOf((wanted, *self._hidden)) if self._hidden else wanted

    def keys_with(self, tails: Iterable[bytes]) -> frozenset[bytes]:
        """Return the keys with some tags and values."""
        return frozenset(self._name + tail for tail in tails)

    def contains(self, substr: str, *, folded: bool) -> Condition:
        """Return the condition that the value is a text of which the key holds all, and which contains another one."""
        at, span = self.text_at, (keys.TEXT, keys.TEXT + _END)
        if folded:
            wanted = fold(substr)
            return self.values(*span, lambda key: wanted in fold(key[at:].decode()), is_exact=True)
        return self.values(*span, is_exact=True, text=keys.encode(substr))

    def compares(self, operator: Operator, scalar: Scalar, *, is_exact: bool = True) -> Condition:
        """Return the condition that the value compares with a scalar, which is not null."""
        if operator is Operator.EQ:
            tail = _tail(scalar)
            return self.values(tail, tail + b"\0", is_exact=is_exact and _is_exact(scalar))
        if isinstance(scalar, str):
            bound = keys.encode(scalar)
            kept = bound[: keys.LONG_TEXT_BYTES]
            short = self.values(*_range_of(operator, keys.TEXT, bound, is_strict=True), is_exact=is_exact)
            return AnyOf((short, self.values(*_range_of(operator, keys.LONG_TEXT, kept, is_strict=False))))
        if isinstance(scalar, bool) or scalar is None:
            return NEVER
        # Integers beyond 53 bits may share the key of the number.
        exactly = _is_exact(scalar)
        bound = _tail(scalar)[len(keys.NUMBER) :]
        return self.values(*_range_of(operator, keys.NUMBER, bound, is_strict=exactly), is_exact=is_exact and exactly)


def _range_of(operator: Operator, tag: bytes, bound: bytes, *, is_strict: bool) -> tuple[bytes, bytes]:
    """Return the first key of a range of values, and its end, without the path.

    Args:
        operator: the comparison.
        tag: the tag of the values.
        bound: the value that they are compared with.
        is_strict: True if the keys hold the values as a whole; otherwise they begin with the bound if that is equal.
    """
    after = b"\0" if is_strict else _END
    first, end = tag, tag + _END
    match operator:
        case Operator.STARTS_WITH:
            return first + bound, first + bound + _END
        case Operator.GT:
            return first + bound + (after if is_strict else b""), end
        case Operator.GTE:
            return first + bound, end
        case Operator.LT:
            return first, first + bound + (b"" if is_strict else after)
        case _:
            return first, first + bound + after
