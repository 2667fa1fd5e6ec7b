"""Feedback conditions of a query: each is replaced by a boolean field, which a prequery or a lookup per call fills.

If a condition uses feedback alone, and stands only below `$and`, `$or` and `$not`, a prequery finds its calls. All
other conditions are looked up call by call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from stores.calls.feedback.field_names import FeedbackAccess, type_match
from stores.calls.feedback.prequeries import FeedbackPrequery, PrequeryResults
from stores.errors import BadInputError
from stores.query import text_expressions
from stores.query.fields import Access, CompiledMatch, Field, Kind
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import (
    COMPARISONS,
    JUNCTIONS,
    TARGETS,
    Get,
    Literal,
    Operand,
    Operation,
    Operator,
    Scalar,
    iter_gets,
    map_operands,
)
from stores.query.text_expressions import Expression
from stores.query.value_expressions import condition_expression, list_or_object_text, path_expression

MAX_CONDITIONS: Final = 10
"""Conditions on feedback per query."""

_RESULT_FIELD: Final = Field("known", "known", Kind.JSON)
_UNKNOWN: Final = object()
_EMPTY: Final = (Literal(""), Literal(None))


Pipeline = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that some feedback of a type on a call satisfies `operation`; that any exists, if it is None.

    `result` is the boolean field that replaces the condition in the query.
    """

    feedback_type: str | None
    operation: Operand | None
    result: Get

    @property
    def uses_feedback_only(self) -> bool:
        """True if the condition uses no field of the call itself."""
        return self.operation is None or all(
            isinstance(get.access, FeedbackAccess) for get in iter_gets(self.operation)
        )


class Conditions:
    """The feedback conditions of a query, and the query over their results."""

    def __init__(self, operation: Operand) -> None:
        self._conditions: list[Condition] = []
        self._prequeries: dict[Get, FeedbackPrequery] = {}
        self._any_conditions: dict[tuple[str | None, bool], Get] = {}
        self._operation = self._term(operation, is_inner=False)
        count = sum(condition.operation is not None for condition in self._conditions)
        if count > MAX_CONDITIONS:
            raise BadInputError(f"has {count:,} conditions on feedback; the limit is {MAX_CONDITIONS}", "query")

    @property
    def prequeries(self) -> list[FeedbackPrequery]:
        """The prequeries, one per condition that uses feedback alone."""
        return list(self._prequeries.values())

    def operation(self, project_id: str, results: PrequeryResults) -> Operand:
        """Return the query with each condition that has a prequery result replaced by a match of its calls."""
        return self._with_results(self._operation, project_id, results)

    def without_result(self, results: PrequeryResults) -> Sequence[Condition]:
        """Return the conditions without a prequery result, which must be looked up."""
        return [each for each in self._conditions if results.get(self._prequeries.get(each.result)) is None]

    def is_on_feedback(self, operation: Operand) -> bool:
        """Return True if an operation uses the result of a looked-up condition."""
        fields = {condition.result.access.field for condition in self._conditions}
        return any(get.access.field in fields for get in iter_gets(operation))

    def _term(self, node: Operand, *, is_inner: bool) -> Operand:
        if node.operator in JUNCTIONS:
            return map_operands(node, lambda term: self._term(term, is_inner=is_inner))
        return self._comparison(map_operands(node, self._operand), is_inner=is_inner)

    def _operand(self, node: Operand) -> Operand:
        """Turn operations nested in an operand into conditions of their own."""
        if not isinstance(node, Operation) or node.operator in TARGETS:
            return map_operands(node, self._operand)
        return self._term(node, is_inner=True)

    def _comparison(self, node: Operand, *, is_inner: bool) -> Operand:
        types = {get.access.feedback_type: get for get in iter_gets(node) if isinstance(get.access, FeedbackAccess)}
        if not types:
            return node
        node = _with_empty(node)
        if len(types) > 1:
            first, second, *_ = (get.name[:100] for get in types.values())
            raise BadInputError(f"compares {first} with {second}; a comparison may use only one feedback type", "query")
        [feedback_type] = types
        result = self._condition(feedback_type, node, is_inner=is_inner)
        if _fails_for_nulls(node):
            return result
        has_none = Operation(Operator.NOT, (self._any(feedback_type, is_inner=is_inner),))
        is_true_without = Operation(Operator.AND, (has_none, _without_feedback(node)))
        return Operation(Operator.OR, (result, is_true_without))

    def _any(self, feedback_type: str | None, *, is_inner: bool) -> Get:
        condition = self._any_conditions.get((feedback_type, is_inner))
        if condition is None:
            condition = self._condition(feedback_type, None, is_inner=is_inner)
            self._any_conditions[feedback_type, is_inner] = condition
        return condition

    def _condition(self, feedback_type: str | None, node: Operand | None, *, is_inner: bool) -> Get:
        name = f"_feedback_{len(self._conditions)}"
        condition = Condition(feedback_type, node, Get(name, Access(Field(name, name, Kind.JSON))))
        self._conditions.append(condition)
        if condition.uses_feedback_only and not is_inner:
            self._prequeries[condition.result] = FeedbackPrequery(feedback_type, node)
        return condition.result

    def _with_results(
        self, node: Operand, project_id: str, results: PrequeryResults, *, is_negated: bool = False
    ) -> Operand:
        if node.operator in JUNCTIONS:
            is_term_negated = is_negated or node.operator is Operator.NOT
            return map_operands(
                node, lambda term: self._with_results(term, project_id, results, is_negated=is_term_negated)
            )
        calls = results.get(self._prequeries[node]) if isinstance(node, Get) and node in self._prequeries else None
        if not isinstance(node, Get) or calls is None:
            return node
        # Every index ends in the id, so matching by id reads none of these calls.
        match = calls.by_id if is_negated else calls.by_key(project_id)
        return Get(node.name, CompiledMatch(_RESULT_FIELD, match=match))


def _with_empty(node: Operand) -> Operand:
    """Let a feedback field that equals null also equal the literal `""`.

    The Weave SDK finds calls that a scorer has scored with `$not` of `$eq` with `""`.
    """
    match node:
        case Operation(
            Operator.EQ,
            (Get(_, FeedbackAccess()) as get, Literal("")) | (Literal(""), Get(_, FeedbackAccess()) as get),
        ):
            return Operation(Operator.IN, (get, *_EMPTY))
        case Operation(Operator.IN, (Get(_, FeedbackAccess()), *members) as operands) if Literal("") in members:
            return Operation(Operator.IN, (*operands, Literal(None)))
        case Operation(Operator.IN, (Literal(""), *members)):
            fields = [each for each in members if isinstance(each, Get) and isinstance(each.access, FeedbackAccess)]
            is_null = Operation(Operator.IN, (Literal(None), *fields))
            return Operation(Operator.OR, (node, is_null)) if fields else node
        case _:
            return node


def _fails_for_nulls(node: Operand) -> bool:
    """Return True if a comparison is certainly false when all its feedback fields are null."""
    match node:
        case Operation(Operator.EQ | Operator.IN, (operand, *members)):
            value = _value_for_nulls(operand)
            return all(_differ(value, _value_for_nulls(member)) for member in members)
        case Operation(operator, operands) if operator in (*COMPARISONS, Operator.CONTAINS):
            return not all(map(_may_not_be_null, operands))
        case _:
            return _value_for_nulls(node) is not _UNKNOWN


def _may_not_be_null(node: Operand) -> bool:
    return _value_for_nulls(node) is not None


def _differ(first: object, second: object) -> bool:
    """Return True if both values are known and differ."""
    return _UNKNOWN not in (first, second) and first != second


def _value_for_nulls(node: Operand) -> Scalar | object:
    """Evaluate an operand with null feedback fields; only nulls, false and literals are known."""
    match node:
        case Literal(value):
            return value
        case Get(_, access):
            return None if isinstance(access, FeedbackAccess) else _UNKNOWN
        case Operation(operator, (operand,)) if operator in TARGETS and _value_for_nulls(operand) is None:
            return False if operator is Operator.EXISTS else None
        case _:
            return _UNKNOWN


def _without_feedback(node: Operand) -> Operand:
    """Replace all feedback fields with null."""
    if isinstance(node, Get) and isinstance(node.access, FeedbackAccess):
        return Literal(None)
    return map_operands(node, _without_feedback)


def feedback_lookup(
    feedback: str,
    project_id: str,
    feedback_type: str | None,
    stages: Pipeline,
    path: str,
    names: dict[str, Expression] | None = None,
) -> dict[str, Any]:
    """Build the lookup of a call's feedback of a type; `stages` transform it."""
    of_type = {"$match": {"project_id": project_id, **type_match(feedback_type)}}
    lookup = {
        "from": feedback,
        "localField": "id",
        "foreignField": "call_id",
        "pipeline": [of_type, *stages],
        "as": path,
    }
    return {"$lookup": lookup | ({"let": names} if names else {})}


def condition_lookup(feedback: str, project_id: str, condition: Condition) -> Pipeline:
    """Build the stages that set a condition's field to its result for each call."""
    path = condition.result.access.field.path
    names: dict[str, Expression] = {}
    stages: Pipeline = [{"$limit": 1}, {"$project": {"_id": 1}}]
    if condition.operation is not None and condition.uses_feedback_only:
        stages.insert(0, {"$match": compile_match(condition.operation)})
    elif condition.operation is not None:
        stages.insert(0, {"$match": {"$expr": condition_expression(_with_variables(condition.operation, names))}})
    stage = feedback_lookup(feedback, project_id, condition.feedback_type, stages, path, names)
    return [stage, {"$set": {path: {"$ne": [f"${path}", []]}}}]


def _with_variables(node: Operand, names: dict[str, Expression]) -> Operand:
    """Replace the call's fields in a comparison with lookup variables, whose values are added to `names`."""
    if isinstance(node, Get):
        is_of_call = not isinstance(node.access, FeedbackAccess)
        return Get(node.name, Access(_variable(node.access, names))) if is_of_call else node
    return map_operands(node, lambda operand: _with_variables(operand, names))


def _variable(access: Access, names: dict[str, Expression]) -> Field:
    """Return the field for a call's value inside a lookup; a path that starts with a dollar sign is a variable."""
    name = f"call_{len(names)}"
    names[name] = {"$ifNull": [path_expression(access), None]}
    text_path = None
    if access.field.text_path:
        names[f"{name}_text"] = text_expressions.of_json(path_expression(access), list_or_object_text(access))
        text_path = f"${name}_text"
    return replace(access.field, path=f"${name}", text_path=text_path)
