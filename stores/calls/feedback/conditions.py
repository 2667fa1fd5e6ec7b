"""What a query asks of the feedback on a call, taken out of it: a condition stands there as a field that is true.

Where a condition is on feedback alone, and stands under nothing but `$and`, `$or` and `$not`, the calls that meet it
can be found beforehand. All others are looked up call by call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.feedback.prequeries import Answers, FeedbackPrequery
from stores.errors import BadInputError
from stores.query.fields import Access, Field, Kind, Known
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
    Or,
    Scalar,
    Target,
    gets,
    with_operands,
)

MAX_CONDITIONS: Final = 10
"""Conditions of a query on feedback."""

_KNOWN: Final = Field("known", "known", Kind.JSON)
_UNKNOWN: Final = object()
_EMPTY: Final = (Literal(""), Literal(None))


@dataclass(frozen=True, slots=True)
class Condition:
    """That some feedback of a type on a call meets an operation; that there is any, if that is None."""

    feedback_type: str | None
    operation: Operand | None
    holds: Get

    @property
    def is_of_feedback_alone(self) -> bool:
        """Whether no field of the call itself plays a part."""
        return self.operation is None or all(isinstance(get.access, FeedbackAccess) for get in gets(self.operation))


class Conditions:
    """The conditions of a query on feedback, and the query over what they come to."""

    def __init__(self, operation: Operand) -> None:
        self._found: list[Condition] = []
        self._known: dict[Get, FeedbackPrequery] = {}
        self._any_of: dict[tuple[str | None, bool], Get] = {}
        self._operation = self._term(operation, is_inner=False)
        count = sum(condition.operation is not None for condition in self._found)
        if count > MAX_CONDITIONS:
            raise BadInputError(f"has {count:,} conditions on feedback; the limit is {MAX_CONDITIONS}", "query")

    @property
    def questions(self) -> list[FeedbackPrequery]:
        """What can be asked of all feedback beforehand."""
        return list(self._known.values())

    def operation(self, project_id: str, answers: Answers) -> Operand:
        """The query, with the calls that are known by now to meet a condition in its place."""
        return self._answered(self._operation, project_id, answers)

    def looked_up(self, answers: Answers) -> Sequence[Condition]:
        """The conditions that the query is over still."""
        return [each for each in self._found if answers.get(self._known.get(each.holds)) is None]

    def is_on_feedback(self, operation: Operand) -> bool:
        """Whether a part of the query is over a condition that is looked up."""
        fields = {condition.holds.access.field for condition in self._found}
        return any(get.access.field in fields for get in gets(operation))

    def _term(self, node: Operand, *, is_inner: bool) -> Operand:
        if isinstance(node, And | Or | Not):
            return with_operands(node, lambda term: self._term(term, is_inner=is_inner))
        return self._comparison(with_operands(node, self._operand), is_inner=is_inner)

    def _operand(self, node: Operand) -> Operand:
        """An operand with the operations inside it made conditions of their own."""
        if isinstance(node, Literal | Get | Convert):
            return with_operands(node, self._operand)
        return self._term(node, is_inner=True)

    def _comparison(self, node: Operand, *, is_inner: bool) -> Operand:
        types = {get.access.feedback_type: get for get in gets(node) if isinstance(get.access, FeedbackAccess)}
        if not types:
            return node
        node = _with_empty(node)
        if len(types) > 1:
            first, second, *_ = (get.name[:100] for get in types.values())
            raise BadInputError(f"compares {first} with {second}; a comparison is on feedback of one type", "query")
        [feedback_type] = types
        holds = self._condition(feedback_type, node, is_inner=is_inner)
        if _takes_feedback(node):
            return holds
        none = Not(self._any(feedback_type, is_inner=is_inner))
        return Or((holds, And((none, _without_feedback(node)))))

    def _any(self, feedback_type: str | None, *, is_inner: bool) -> Get:
        found = self._any_of.get((feedback_type, is_inner))
        if found is None:
            found = self._condition(feedback_type, None, is_inner=is_inner)
            self._any_of[feedback_type, is_inner] = found
        return found

    def _condition(self, feedback_type: str | None, node: Operand | None, *, is_inner: bool) -> Get:
        name = f"_feedback_{len(self._found)}"
        condition = Condition(feedback_type, node, Get(name, Access(Field(name, name, Kind.JSON))))
        self._found.append(condition)
        if condition.is_of_feedback_alone and not is_inner:
            self._known[condition.holds] = FeedbackPrequery(feedback_type, node)
        return condition.holds

    def _answered(self, node: Operand, project_id: str, answers: Answers, *, is_negated: bool = False) -> Operand:
        if isinstance(node, And | Or | Not):
            inner = is_negated or isinstance(node, Not)
            return with_operands(node, lambda term: self._answered(term, project_id, answers, is_negated=inner))
        calls = answers.get(self._known[node]) if isinstance(node, Get) and node in self._known else None
        if not isinstance(node, Get) or calls is None:
            return node
        # Every index ends in the id, so that none of these calls is read.
        match = calls.by_id if is_negated else calls.by_key(project_id)
        return Get(node.name, Known(_KNOWN, match=match))


def _with_empty(node: Operand) -> Operand:
    """A comparison in which a field of feedback that equals null also equals the literal `""`.

    The Weave SDK finds the calls that a scorer scored by `$not` of `$eq` with `""`.
    """
    match node:
        case Compare(Comparison.EQ, Get(_, FeedbackAccess()) as get, Literal("")):
            return In(get, _EMPTY)
        case Compare(Comparison.EQ, Literal(""), Get(_, FeedbackAccess()) as get):
            return In(get, _EMPTY)
        case In(Get(_, FeedbackAccess()) as get, members) if Literal("") in members:
            return In(get, (*members, Literal(None)))
        case In(Literal(""), members):
            fields = [each for each in members if isinstance(each, Get) and isinstance(each.access, FeedbackAccess)]
            return Or((node, In(Literal(None), tuple(fields)))) if fields else node
        case _:
            return node


def _takes_feedback(node: Operand) -> bool:
    """Whether a comparison certainly fails where all that it names of feedback is null."""
    match node:
        case Compare(Comparison.EQ, left, right):
            return _differ(_of_nulls(left), _of_nulls(right))
        case Compare(_, left, right):
            return not all(map(_may_be_ordered, (left, right)))
        case In(operand, members):
            known = _of_nulls(operand)
            return all(_differ(known, _of_nulls(member)) for member in members)
        case Contains(where, what):
            return not all(map(_may_be_ordered, (where, what)))
        case _:
            return _of_nulls(node) is not _UNKNOWN


def _may_be_ordered(node: Operand) -> bool:
    return _of_nulls(node) is not None


def _differ(first: object, second: object) -> bool:
    """Whether two values are known and cannot be equal."""
    return _UNKNOWN not in (first, second) and first != second


def _of_nulls(node: Operand) -> Scalar | object:
    """The value of an operand where what it names of feedback is null; null and false are told, and literals."""
    match node:
        case Literal(value):
            return value
        case Get(_, access):
            return None if isinstance(access, FeedbackAccess) else _UNKNOWN
        case Convert(operand, to) if _of_nulls(operand) is None:
            return False if to is Target.EXISTS else None
        case _:
            return _UNKNOWN


def _without_feedback(node: Operand) -> Operand:
    """A comparison with null for all that it names of feedback."""
    if isinstance(node, Get) and isinstance(node.access, FeedbackAccess):
        return Literal(None)
    return with_operands(node, _without_feedback)
