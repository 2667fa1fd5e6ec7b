"""Validation rule that refuses introspection."""

import re
from collections.abc import Iterable
from typing import Final

from graphql import ASTValidationRule, FieldNode, GraphQLError

_SUGGESTION: Final = re.compile(r" ?Did you mean [^?]*\?")
_INTROSPECTION_FIELDS: Final = frozenset({"__schema", "__type"})


class NoIntrospection(ASTValidationRule):
    """Refuses `__schema` and `__type` at any depth; `__typename` reveals nothing new."""

    def enter_field(self, node: FieldNode, *_args: object) -> None:
        """Report an error for an introspection field."""
        if node.name.value in _INTROSPECTION_FIELDS:
            self.report_error(
                GraphQLError(
                    f"{node.name.value} is refused: introspection is off (LOOMQL_INTROSPECTION=false). The schema is "
                    "in schema.graphql of LoomQL's source, and `loomql schema` prints it.",
                    node,
                    extensions={"code": "FORBIDDEN"},
                )
            )


def hide_names(errors: Iterable[GraphQLError]) -> None:
    """Remove name suggestions from errors in place, including those for variables."""
    for error in errors:
        error.message = _SUGGESTION.sub("", error.message)
