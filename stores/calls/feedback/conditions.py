"""Feedback fields and conditions of a query over calls.

Fields are named `feedback.[<type>].<field>`, with `*` for any type. The brackets protect the dots in types. The field
is a feedback column or a path into the payload. Without a field, the name means the whole payload, which every feedback
has. A backslash escapes `]`, `*` or itself within a type.

Each condition is replaced by a boolean field. If a condition uses feedback alone, and stands only below `$and`, `$or`
and `$not`, a prequery finds its calls before the list query runs, so that only matching calls are read. All other
conditions, and those whose result would be too large, are looked up call by call.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument

from stores.database import Collection
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.feedback.inputs import FEEDBACK_FIELDS
from stores.input_checks import MAX_NAME, check_count
from stores.query import text_expressions
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.fields import MAX_PATH_LENGTH, Access, CompiledMatch, Field, FieldTable, Kind
from stores.query.match_compiler import ANY_TEXT, compile_match
from stores.query.parser import (
    COMPARISONS,
    JUNCTIONS,
    TARGETS,
    Get,
    Literal,
    Operand,
    Operation,
    Operator,
    iter_gets,
    map_operands,
)
from stores.query.text_expressions import Expression
from stores.query.value_expressions import condition_expression, list_or_object_text, path_expression

Pipeline = list[dict[str, Any]]

MAX_FEEDBACK: Final = 50_000
"""Feedback documents behind all prequery results of one list query."""

FIRST_MAX_FEEDBACK: Final = 5_000
"""Lower limit for the first attempt at a page: with more feedback, the first calls looked up probably fill the page."""

_BYTES_PER_CALL: Final = 60
"""BSON bytes of a call's `_id` in a list, without its project id."""

MAX_CONDITIONS: Final = 10
"""Conditions on feedback per query."""

_FALSE_FOR_NULL: Final = ({*COMPARISONS} - {Operator.EQ}) | {Operator.CONTAINS}
"""Operators that are false if an operand is null."""

PREFIX: Final = "feedback."
_MAX_NAME: Final = 2 * MAX_NAME + MAX_PATH_LENGTH
"""Characters of a field name: a type with every character escaped, plus a path."""

_NAME: Final = re.compile(r"feedback\.\[((?:[^\]\\]|\\.)*)\](?:\.(.*))?", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\]*\\])")
_FORM: Final = (
    "write feedback.[type].payload.path or feedback.[type].column, with the type in brackets, such as "
    "feedback.[wandb.reaction.1].payload.emoji, and [*] for any type"
)


@dataclass(frozen=True)
class FeedbackAccess(Access):
    """A field of the feedback on a call; `feedback_type` None means any type."""

    feedback_type: str | None = None

    @property
    def is_text(self) -> bool:
        """False: a missing feedback field equals an empty text, but its conversion to string does not."""
        return False


def type_match(feedback_type: str | None) -> dict[str, Any]:
    """Return the match of feedback of a type; all feedback if it is None."""
    return {} if feedback_type is None else {"feedback_type": {"$eq": feedback_type}}


class FeedbackFieldTable(FieldTable):
    """The fields of another table plus feedback fields."""

    def __init__(self, table: FieldTable) -> None:
        super().__init__(())
        self._table = table

    def __getitem__(self, name: str) -> Access:
        """Return the access of a field name.

        Raises:
            BadInputError: if no such field exists; the message explains the valid names.
        """
        return _feedback_access(name) if name.startswith(PREFIX) else self._table[name]


def _feedback_access(name: str) -> FeedbackAccess:
    if len(name) > _MAX_NAME:
        raise BadInputError(f"the field name has {len(name):,} characters; the limit is {_MAX_NAME:,}")
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise BadInputError(f"there is no field {name[:100]!r}; {_FORM}")
    type_text, field = parsed.groups()
    feedback_type = None if type_text == "*" else _ESCAPED.sub(r"\1", type_text)
    try:
        access = FEEDBACK_FIELDS["payload" if field is None else field]
    except BadInputError as error:
        raise BadInputError(f"in feedback {error.message}") from None
    return FeedbackAccess(access.field, access.steps, feedback_type)


@dataclass(frozen=True, eq=False, slots=True)
class Condition:
    """A condition that some feedback of a type on a call satisfies `operation`; that any exists, if it is None.

    Conditions are compared by identity.
    """

    feedback_type: str | None
    operation: Operand | None = None

    @property
    def uses_feedback_only(self) -> bool:
        """True if the condition uses no field of the call itself."""
        return self.operation is None or all(
            isinstance(get.access, FeedbackAccess) for get in iter_gets(self.operation)
        )

    def match(self, project_id: str) -> dict[str, Any]:
        """Return the match of the feedback, for a prequery."""
        on_calls = {"project_id": project_id, "call_id": ANY_TEXT, **type_match(self.feedback_type)}
        return on_calls if self.operation is None else {**on_calls, "$and": [compile_match(self.operation)]}

    @property
    def order(self) -> dict[str, int]:
        """The sort that makes MongoDB use the index that reads the least feedback."""
        first = "call_id" if self.feedback_type is None else "feedback_type"
        return {first: 1, "created_at": 1, "id": 1}

    def lookup(self, feedback: str, project_id: str, path: str) -> Pipeline:
        """Build the stages that set a field to the condition's result for each call."""
        names: dict[str, Expression] = {}
        stages: Pipeline = [{"$limit": 1}, {"$project": {"_id": 1}}]
        if self.operation is not None and self.uses_feedback_only:
            stages.insert(0, {"$match": compile_match(self.operation)})
        elif self.operation is not None:
            stages.insert(0, {"$match": {"$expr": condition_expression(_with_variables(self.operation, names))}})
        stage = feedback_lookup(feedback, project_id, self.feedback_type, stages, path, names)
        return [stage, {"$set": {path: {"$ne": [f"${path}", []]}}}]


@dataclass(frozen=True, eq=False)
class FoundCalls:
    """Distinct call ids, with matches that are encoded only once."""

    ids: Sequence[str]
    num_feedback: int = 0
    """Number of feedback documents from which they come."""

    @cached_property
    def by_id(self) -> dict[str, Any]:
        """The match by call id."""
        return {"id": _encoded_in(self.ids)}

    def by_key(self, project_id: str) -> dict[str, Any]:
        """Return the match by `_id`."""
        return {"_id": _encoded_in([f"{project_id}:{call}" for call in self.ids])}


def _encoded_in(members: Sequence[str]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$in": members}))


PrequeryResults = Mapping[Condition | None, FoundCalls | None]
"""The calls found by each condition's prequery; None if there are too many."""


async def run_prequeries(
    feedback: Collection,
    project_id: str,
    conditions: Sequence[Condition],
    max_bytes: int,
    session: Session,
    limit: int = MAX_FEEDBACK,
) -> PrequeryResults:
    """Run the prequeries, one command each; their results take at most `max_bytes` of a pipeline in total."""
    remaining = min(limit, MAX_FEEDBACK, max_bytes // (len(project_id.encode()) + _BYTES_PER_CALL))
    results: dict[Condition | None, FoundCalls | None] = {}
    for condition in conditions:
        stages: Pipeline = [{"$match": condition.match(project_id)}, {"$sort": condition.order}]
        calls = results[condition] = await find_calls(feedback, stages, remaining, session)
        remaining -= calls.num_feedback if calls else 0
    return results


async def find_calls(feedback: Collection, stages: Pipeline, limit: int, session: Session) -> FoundCalls | None:
    """Return the calls with the feedback that some stages find; None if it is more than `limit`."""
    grouped = {"_id": None, "calls": {"$addToSet": "$call_id"}, "feedback": {"$sum": 1}}
    cursor = feedback.aggregate([*stages, {"$limit": limit + 1}, {"$group": grouped}], session=session)
    async for row in cursor:
        return FoundCalls(row["calls"], row["feedback"]) if row["feedback"] <= limit else None
    return FoundCalls([])


class Conditions:
    """The feedback conditions of a query, each with the boolean field that replaces it, and the query over these."""

    def __init__(self, operation: Operand) -> None:
        self._conditions: dict[Get, Condition] = {}
        self._prequeries: dict[Get, Condition] = {}
        self._any_conditions: dict[tuple[str | None, bool], Get] = {}
        self._operation = self._term(operation, is_inner=False)
        count = sum(condition.operation is not None for condition in self._conditions.values())
        check_count(count, MAX_CONDITIONS, "conditions on feedback", "query")

    @property
    def prequeries(self) -> list[Condition]:
        """The conditions that a prequery can find: those that use feedback alone."""
        return list(self._prequeries.values())

    def operation(self, project_id: str, results: PrequeryResults) -> Operand:
        """Return the query with each condition that has a prequery result replaced by a match of its calls."""
        return self._with_results(self._operation, project_id, results)

    def lookups(self, feedback: str, project_id: str, results: PrequeryResults) -> Pipeline:
        """Build the stages that look up the conditions without a prequery result."""
        return [
            stage
            for field, condition in self._conditions.items()
            if results.get(self._prequeries.get(field)) is None
            for stage in condition.lookup(feedback, project_id, field.access.field.path)
        ]

    def has_result(self, get: Get) -> bool:
        """Return True if a field is the result of a looked-up condition."""
        return get in self._conditions

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
        without = _without_feedback(node)
        if not _may_hold(without):
            return result
        has_none = Operation(Operator.NOT, (self._any(feedback_type, is_inner=is_inner),))
        return Operation(Operator.OR, (result, Operation(Operator.AND, (has_none, without))))

    def _any(self, feedback_type: str | None, *, is_inner: bool) -> Get:
        key = feedback_type, is_inner
        if key not in self._any_conditions:
            self._any_conditions[key] = self._condition(feedback_type, None, is_inner=is_inner)
        return self._any_conditions[key]

    def _condition(self, feedback_type: str | None, node: Operand | None, *, is_inner: bool) -> Get:
        name = f"_feedback_{len(self._conditions)}"
        field = Get(name, Access(Field(name, name, Kind.JSON)))
        condition = self._conditions[field] = Condition(feedback_type, node)
        if condition.uses_feedback_only and not is_inner:
            self._prequeries[field] = condition
        return field

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
        return Get(node.name, CompiledMatch(Field("known", "known", Kind.JSON), match=match))


def _with_empty(node: Operand) -> Operand:
    """Let a feedback field that equals null also equal the literal `""`.

    The Weave SDK finds calls that a scorer has scored with `$not` of `$eq` with `""`.
    """
    match node:
        case Operation(
            Operator.EQ, (Get(_, FeedbackAccess()) as get, Literal("")) | (Literal(""), Get(_, FeedbackAccess()) as get)
        ):
            return Operation(Operator.IN, (get, Literal(""), Literal(None)))
        case Operation(Operator.IN, (Get(_, FeedbackAccess()), *members) as operands) if Literal("") in members:
            return Operation(Operator.IN, (*operands, Literal(None)))
        case Operation(Operator.IN, (Literal(""), *members)):
            fields = [each for each in members if isinstance(each, Get) and isinstance(each.access, FeedbackAccess)]
            is_null = Operation(Operator.IN, (Literal(None), *fields))
            return Operation(Operator.OR, (node, is_null)) if fields else node
        case _:
            return node


def _without_feedback(node: Operand) -> Operand:
    """Replace all feedback fields with null, and conversions of null with their result."""
    if isinstance(node, Get) and isinstance(node.access, FeedbackAccess):
        return Literal(None)
    replaced = map_operands(node, _without_feedback)
    if replaced.operator in TARGETS and replaced.operands == (Literal(None),):
        return Literal(False if replaced.operator is Operator.EXISTS else None)
    return replaced


def _may_hold(node: Operand) -> bool:
    """Return False if a comparison is certainly false, whatever the fields of the call."""
    if node.operator in _FALSE_FOR_NULL and Literal(None) in node.operands:
        return False
    return any(True for _ in iter_gets(node)) or compile_test(node)(DocumentValues({}))


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
