"""`@skip` and `@include`: what they leave in, and which variables they look at."""

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
    """Whether a selection is left in, with these values of the variables."""
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
    """The variables that decide what is selected: those of `@skip` and `@include`."""
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
