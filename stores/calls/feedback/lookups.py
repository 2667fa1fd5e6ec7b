"""The stages that look up, call by call, whether its feedback meets a condition."""

from dataclasses import replace
from typing import Any

from stores.calls.feedback.conditions import Condition
from stores.calls.feedback.field_names import FeedbackAccess, match_of_type
from stores.query import text_expressions
from stores.query.fields import Access, Field
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import Get, Operand, with_operands
from stores.query.value_expressions import Expression, nested_text, reach, truth

Pipeline = list[dict[str, Any]]


def joined(
    feedback: str,
    project_id: str,
    feedback_type: str | None,
    stages: Pipeline,
    path: str,
    names: dict[str, Expression] | None = None,
) -> dict[str, Any]:
    """The stage that reads, to a path, what stages make of the feedback of a type on a call."""
    of_type = {"$match": {"project_id": project_id, **match_of_type(feedback_type)}}
    lookup = {
        "from": feedback,
        "localField": "id",
        "foreignField": "call_id",
        "pipeline": [of_type, *stages],
        "as": path,
    }
    return {"$lookup": lookup | ({"let": names} if names else {})}


def lookup(feedback: str, project_id: str, condition: Condition) -> Pipeline:
    """The stages that set a condition's field to whether the feedback on a call meets it."""
    path = condition.holds.access.field.path
    names: dict[str, Expression] = {}
    stages: Pipeline = [{"$limit": 1}, {"$project": {"_id": 1}}]
    if condition.operation is not None and condition.is_of_feedback_alone:
        stages.insert(0, {"$match": compile_match(condition.operation)})
    elif condition.operation is not None:
        stages.insert(0, {"$match": {"$expr": truth(_with_variables(condition.operation, names))}})
    found = joined(feedback, project_id, condition.feedback_type, stages, path, names)
    return [found, {"$set": {path: {"$ne": [f"${path}", []]}}}]


def _with_variables(node: Operand, names: dict[str, Expression]) -> Operand:
    """A comparison with variables for what it names of the call; their values are put under their names."""
    if isinstance(node, Get):
        is_of_call = not isinstance(node.access, FeedbackAccess)
        return Get(node.name, Access(_variable(node.access, names))) if is_of_call else node
    return with_operands(node, lambda operand: _with_variables(operand, names))


def _variable(access: Access, names: dict[str, Expression]) -> Field:
    """The field that a place in the call is inside of a lookup: a path that starts with a dollar is a variable's."""
    name = f"call_{len(names)}"
    names[name] = {"$ifNull": [reach(access), None]}
    text_path = None
    if access.field.text_path:
        names[f"{name}_text"] = text_expressions.of_json(reach(access), nested_text(access))
        text_path = f"${name}_text"
    return replace(access.field, path=f"${name}", text_path=text_path)
