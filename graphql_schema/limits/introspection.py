"""Keeping the schema to oneself: a rule of validation that refuses introspection."""

import re
from collections.abc import Iterable
from typing import Final

from graphql import ASTValidationRule, FieldNode, GraphQLError

_NEAR: Final = re.compile(r" ?Did you mean [^?]*\?")
_TELLING: Final = frozenset({"__schema", "__type"})


class NoIntrospection(ASTValidationRule):
    """Refuses `__schema` and `__type`, wherever they are asked for; `__typename` tells nothing that is not known."""

    def enter_field(self, node: FieldNode, *_args: object) -> None:
        """Refuse a field."""
        if node.name.value in _TELLING:
            self.report_error(
                GraphQLError(
                    f"{node.name.value} is not answered here: introspection is off (LOOMQL_INTROSPECTION=false). The "
                    "schema is in schema.graphql of LoomQL's source, and `loomql schema` prints it.",
                    node,
                    extensions={"code": "FORBIDDEN"},
                )
            )


def hide_names(errors: Iterable[GraphQLError]) -> None:
    """Take out of errors, in place, which names are near a wrong one; those of variables come with them."""
    for error in errors:
        error.message = _NEAR.sub("", error.message)
