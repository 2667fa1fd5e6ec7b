"""Limits of a GraphQL operation, and the rules of its document: length, depth, aliases, introspection, suggestions."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    Token,
    TokenKind,
)
from graphql.pyutils.suggestion_list import LexicalDistance
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError

from graphql_schema.errors import TOO_COMPLEX

MAX_LENGTH: Final = 1000
"""Maximum length in characters: Python parses no number of more than 4,300 digits, and suggestions for long names are
slow.
"""

_BARE: Final = {TokenKind.NAME: "name", TokenKind.INT: "number", TokenKind.FLOAT: "number"}

_UNCOUNTED: Final = -1_000_000
_MAX_COUNT: Final = 1_000_000
_MAX_COMPARISONS: Final = 50_000
_SUGGESTION: Final = re.compile(r" ?Did you mean [^?]*\?")
_INTROSPECTION_FIELDS: Final = frozenset({"__schema", "__type"})


@dataclass(frozen=True)
class Limits:
    """Limits of a document and its lists; `app.settings` describes each.

    Without `max_cost` no cost is counted or returned; without `max_seconds` a query has no timeout. Without
    `introspection` no response reveals the schema.
    """

    max_depth: int = 20
    max_aliases: int = 100
    max_tokens: int = 20_000
    max_characters: int = 500_000
    max_cost: int | None = None
    max_page_size: int = 10_000
    max_input_values: int = 500_000
    max_seconds: float | None = None
    introspection: bool = True


def bounding_rule(limits: Limits) -> type[ASTValidationRule]:
    """Return the validation rule for depth and aliases, in linear time even for fragment bombs.

    It aborts the validation at the first operation that exceeds a limit, before the slow rules.
    """

    class BoundedOperations(ASTValidationRule):
        def enter_document(self, document: DocumentNode, *_args: object) -> None:
            for operation, nesting in measure(document):
                _check("field levels", nesting.depth, limits.max_depth, "LOOMQL_MAX_QUERY_DEPTH", operation)
                _check("aliases", nesting.aliases, limits.max_aliases, "LOOMQL_MAX_QUERY_ALIASES", operation)

    return BoundedOperations


def _check(what: str, found: int, limit: int, setting: str, operation: OperationDefinitionNode) -> None:
    if found <= limit:
        return
    count = f"at least {_MAX_COUNT:,}" if found >= _MAX_COUNT else f"{found:,}"
    raise ValidationAbortedError(
        f"The operation has {count} {what}, fragments included; the limit is {limit:,}. Split it into smaller "
        f"operations, or raise {setting} on the server.",
        [operation],
        extensions={"code": TOO_COMPLEX, "limit": limit, "found": found, "setting": setting},
    )


@dataclass
class Nesting:
    """Levels of nested fields, number of aliases, and the fragments (with their level) that add to both."""

    depth: int = 0
    aliases: int = 0
    spreads: list[tuple[str, int]] = field(default_factory=list)

    def with_fragments(self, fragments: dict[str, "Nesting"]) -> "Nesting":
        """Return the nesting with fragments spread; each spread counts separately."""
        depth, aliases = self.depth, self.aliases
        for name, level in self.spreads:
            fragment = fragments.get(name, Nesting())
            depth = max(depth, level + fragment.depth)
            aliases = min(aliases + fragment.aliases, _MAX_COUNT)
        return Nesting(depth, aliases)


def measure(document: DocumentNode) -> list[tuple[OperationDefinitionNode, Nesting]]:
    """Return the nesting of each operation with its fragments; empty if fragments form a cycle."""
    fragments = {
        node.name.value: _own_nesting(node) for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    graph = {name: {spread for spread, _level in nesting.spreads} for name, nesting in fragments.items()}
    whole: dict[str, Nesting] = {}
    try:
        for name in TopologicalSorter(graph).static_order():
            whole[name] = fragments.get(name, Nesting()).with_fragments(whole)
    except CycleError:
        # The standard rule NoFragmentCycles rejects such a document, so it never runs.
        return []
    operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return [(operation, _own_nesting(operation).with_fragments(whole)) for operation in operations]


def _own_nesting(definition: ExecutableDefinitionNode) -> Nesting:
    nesting = Nesting()
    waiting = [(definition.selection_set, 0)]
    while waiting:
        selection_set, level = waiting.pop()
        for selection in selection_set.selections:
            inner = level
            if isinstance(selection, FragmentSpreadNode):
                nesting.spreads.append((selection.name.value, level))
                continue
            if isinstance(selection, FieldNode):
                # Introspection nests as the schema requires; graphql-core's own rule limits it.
                inner = _UNCOUNTED if selection.name.value in _INTROSPECTION_FIELDS else level + 1
                nesting.depth = max(nesting.depth, inner)
                nesting.aliases += selection.alias is not None
            if nested := getattr(selection, "selection_set", None):
                waiting.append((nested, inner))
    return nesting


def check_length(text: str, limits: Limits) -> None:
    """Check the length of a document: parsing one of some megabytes would block the event loop for seconds.

    Raises:
        GraphQLError: if it exceeds the limit.
    """
    if len(text) > limits.max_characters:
        raise GraphQLError(
            f"The document has {len(text):,} characters; the limit is {limits.max_characters:,}. "
            "Move literals into variables, or raise LOOMQL_MAX_QUERY_CHARACTERS on the server.",
            extensions={
                "code": TOO_COMPLEX,
                "limit": limits.max_characters,
                "found": len(text),
                "setting": "LOOMQL_MAX_QUERY_CHARACTERS",
            },
        )


def check_lengths(document: DocumentNode) -> None:
    """Check the length of names and numbers of a document; strings may have any length.

    Raises:
        GraphQLError: if one exceeds the limit.
    """
    token: Token | None = document.loc.start_token if document.loc else None
    while token:
        length = token.end - token.start
        if length > MAX_LENGTH and token.kind in _BARE:
            raise GraphQLError(
                f"A {_BARE[token.kind]} in the document has {length:,} characters; the limit is {MAX_LENGTH:,}.",
                extensions={"code": TOO_COMPLEX, "limit": MAX_LENGTH, "found": length},
            )
        token = token.next


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


class CaseFoldSafeDistance(LexicalDistance):
    """A distance with room for the lower-case name, which may be longer: dotted capital I becomes two characters."""

    def __init__(self, input_: str) -> None:
        super().__init__(input_.lower())


def patch_graphql_core() -> None:
    """Mend two faults of graphql-core, process-wide.

    Its limit of compared fields lets 50 kB of document take seconds, and a name that grows in lower case is an internal
    error when a variable has it.
    """
    overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = _MAX_COMPARISONS
    # The package exports a function of the same name as the module, so the module is only in `sys.modules`.
    vars(sys.modules[LexicalDistance.__module__])["LexicalDistance"] = CaseFoldSafeDistance
