"""Depth and number of aliases of a document, limited by a validation rule."""

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
    OperationDefinitionNode,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits

_UNCOUNTED: Final = -1_000_000
_MAX_COUNT: Final = 1_000_000
_MAX_COMPARISONS: Final = 50_000


def bound_comparisons() -> None:
    """Lower graphql-core's limit of compared fields, process-wide: its default lets 50 kB of document take seconds."""
    overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = _MAX_COMPARISONS


def rule(limits: Limits) -> type[ASTValidationRule]:
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
                inner = _UNCOUNTED if selection.name.value in {"__schema", "__type"} else level + 1
                nesting.depth = max(nesting.depth, inner)
                nesting.aliases += selection.alias is not None
            if nested := getattr(selection, "selection_set", None):
                waiting.append((nested, inner))
    return nesting
