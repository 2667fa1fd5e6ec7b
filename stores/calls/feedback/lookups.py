"""Pipeline stages that evaluate feedback conditions by a lookup per call."""

from dataclasses import replace
from typing import Any

from stores.calls.feedback.conditions import Condition
from stores.calls.feedback.field_names import FeedbackAccess, type_match
from stores.query import text_expressions
from stores.query.fields import Access, Field
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import Get, Operand, map_operands
from stores.query.value_expressions import Expression, condition_expression, list_or_object_text, path_expression

Pipeline = list[dict[str, Any]]


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
