"""Random cases, each a document with data, and a report of the smallest document that shows a difference."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

from graphql import (
    REMOVE,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    Node,
    NoUnusedVariablesRule,
    Visitor,
    parse,
    print_ast,
    specified_rules,
    validate,
    visit,
)

from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution.comparing import Outcome, difference, outcomes
from tests.graphql_schema.execution.example_data import Sources
from tests.graphql_schema.execution.random_documents import RandomDocument

DATA_PER_DOCUMENT: Final = 4

_RULES: Final = [rule for rule in specified_rules if rule is not NoUnusedVariablesRule]
"""Validation rules that a document still passes while it is reduced."""


class Case(NamedTuple):
    """A document with variables, the names of its fields, and the seed of its data."""

    document: DocumentNode
    operation: str
    names: frozenset[str]
    variables: dict[str, Any]
    seed: str

    async def outcomes(self, ours: LoomSchema, stock: LoomSchema) -> tuple[Outcome, Outcome]:
        """Run the case by both schemas and return the outcomes."""
        return await outcomes(ours, stock, self.document, self._root(stock), self.variables)

    def _root(self, schema: LoomSchema) -> Callable[[], object]:
        kept: list[object] = []

        def root() -> object:
            """Return the root value; return a new equal one if a part of it can be read only once."""
            if kept:
                return kept[0]
            sources = Sources(schema._schema, self.names, self.seed)
            made = sources.root(self.operation.capitalize())
            kept.extend([] if sources.is_read_once else [made])
            return made

        return root


def random_cases(schema: LoomSchema, seed: int, numbers: range, counts: Counter[str]) -> Iterator[Case]:
    """Yield the cases of documents by their numbers; invalid documents are only counted."""
    for number in numbers:
        pick = Random(f"{seed}/{number}")
        operation = pick.choice(["query"] * 9 + ["mutation"])
        made = RandomDocument(schema._schema, pick, operation)
        document = parse(made.text())
        counts["documents"] += 1
        if validate(schema._schema, document):
            counts["invalid documents"] += 1
            continue
        names = _names(document)
        values = [made.values(), made.values()]
        for data in range(DATA_PER_DOCUMENT):
            counts["cases"] += 1
            yield Case(document, operation, names, values[data % 2], f"{seed}/{number}/{data}")


def _names(document: DocumentNode) -> frozenset[str]:
    found = set[str]()

    class Names(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            found.add(node.name.value)

    visit(document, Names())
    return frozenset(found)


async def minimal_difference(case: Case, ours: LoomSchema, stock: LoomSchema) -> str | None:
    """Return the difference that a case shows, with a minimal document that shows it, or None."""

    async def difference_of(document: DocumentNode) -> str | None:
        return difference(*await case._replace(document=document).outcomes(ours, stock))

    found = await difference_of(case.document)
    if found is None:
        return None
    smallest = await _smallest(stock, case.document, difference_of)
    return (
        f"case {case.seed}, variables {case.variables!r}\n{print_ast(smallest)}\n"
        f"parts at {await difference_of(smallest) or found}"
    )


async def _smallest(
    schema: LoomSchema, document: DocumentNode, difference_of: Callable[[DocumentNode], Awaitable[str | None]]
) -> DocumentNode:
    position = 0
    while True:
        smaller = _without(document, position)
        if smaller is None:
            return document
        if not validate(schema._schema, smaller, _RULES) and await difference_of(smaller):
            document = smaller
        else:
            position += 1


def _without(document: DocumentNode, position: int) -> DocumentNode | None:
    """Return the document without one of its selections and without fragments that became unused."""
    seen = 0

    class Leaving(Visitor):
        def enter(self, node: Node, *_: object) -> object:
            nonlocal seen
            if isinstance(node, FieldNode | InlineFragmentNode | FragmentSpreadNode):
                seen += 1
                return REMOVE if seen == position + 1 else None
            return None

    smaller: DocumentNode = visit(document, Leaving())
    if smaller is document:
        return None
    while True:
        spread = set(_spread(smaller))
        kept = [
            node
            for node in smaller.definitions
            if not isinstance(node, FragmentDefinitionNode) or node.name.value in spread
        ]
        if len(kept) == len(smaller.definitions):
            return smaller
        smaller = DocumentNode(definitions=tuple(kept))


def _spread(document: DocumentNode) -> list[str]:
    found = list[str]()

    class Spreads(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
            found.append(node.name.value)

    visit(document, Spreads())
    return found
