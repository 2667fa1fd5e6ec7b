"""`@skip` and `@include`: whether they include a selection, and their variables."""

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    DirectiveNode,
    FragmentDefinitionNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)


def is_included(selection: SelectionNode, variables: Mapping[str, Any]) -> bool:
    """Return True if the directives of a selection include it for these variable values."""
    return all(_holds(directive, variables) for directive in selection.directives or ())


def _holds(directive: DirectiveNode, variables: Mapping[str, Any]) -> bool:
    if directive.name.value not in ("skip", "include"):
        return True
    [argument] = directive.arguments or ()
    condition = argument.value
    value = (
        variables.get(condition.name.value)
        if isinstance(condition, VariableNode)
        else getattr(condition, "value", None)
    )
    return bool(value) == (directive.name.value == "include")


def flags(operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]) -> tuple[str, ...]:
    """Return the names of the variables that `@skip` and `@include` use."""
    found: dict[str, None] = {}
    waiting: list[SelectionSetNode] = [operation.selection_set, *(fragment.selection_set for fragment in fragments)]
    while waiting:
        for selection in waiting.pop().selections:
            for directive in selection.directives or ():
                values = (argument.value for argument in directive.arguments or ())
                found |= dict.fromkeys(value.name.value for value in values if isinstance(value, VariableNode))
            nested = getattr(selection, "selection_set", None)
            waiting += [nested] if nested else []
    return tuple(found)
