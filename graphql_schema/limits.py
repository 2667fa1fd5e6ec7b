"""What one GraphQL document may cost: its depth, aliases and tokens are bounded before anything runs."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
)
from graphql.validation import ASTValidationContext
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError

_CODE: Final = "QUERY_TOO_COMPLEX"
_UNCOUNTED: Final = -1_000_000
_MOST_COUNTED: Final = 1_000_000
_CACHED_CHARACTERS: Final = 256_000

# What graphql-core spends at most on comparing fields of one name; its own bound lets a document of 50 kB take seconds.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 50_000


@dataclass(frozen=True)
class Limits:
    """What a document and its lists may ask for at most; `app.settings` says what each one is."""

    max_depth: int = 20
    max_aliases: int = 100
    max_tokens: int = 20_000
    max_page_size: int = 10_000


def extensions(limits: Limits) -> list[Callable[[], SchemaExtension]]:
    """What a schema takes as `extensions` to hold every operation to the limits.

    A document that was parsed and found valid is kept, so that sending it again costs neither; the
    memory belongs to the returned list, hence to one schema and these limits.
    """
    return [partial(BoundedDocument, limits, rule(limits), ValidDocuments())]


def rule(limits: Limits) -> type[ASTValidationRule]:
    """The validation rule for depth and aliases, in time linear in the document, fragment bombs included.

    It ends the validation at the first operation beyond a limit, before the slow rules.
    """

    class BoundedOperations(ASTValidationRule):
        def __init__(self, context: ASTValidationContext) -> None:
            super().__init__(context)
            self.limits = limits

        def enter_document(self, document: DocumentNode, *_args: object) -> None:
            for operation, size in measure(document):
                _check("field levels", size.depth, self.limits.max_depth, "LOOMQL_MAX_QUERY_DEPTH", operation)
                _check("aliases", size.aliases, self.limits.max_aliases, "LOOMQL_MAX_QUERY_ALIASES", operation)

    return BoundedOperations


def _check(what: str, found: int, limit: int, setting: str, operation: OperationDefinitionNode) -> None:
    if found <= limit:
        return
    count = f"at least {_MOST_COUNTED:,}" if found >= _MOST_COUNTED else f"{found:,}"
    raise ValidationAbortedError(
        f"The operation has {count} {what}, fragments included; the limit is {limit:,}. "
        f"Split it into smaller ones, or raise {setting} on the server.",
        [operation],
        extensions={"code": _CODE, "limit": limit, "found": found, "setting": setting},
    )


@dataclass
class Size:
    """Levels of nested fields, number of aliases, and the fragments (with their level) that add to both."""

    depth: int = 0
    aliases: int = 0
    spreads: list[tuple[str, int]] = field(default_factory=list)

    def with_fragments(self, fragments: dict[str, "Size"]) -> "Size":
        """The size when every spread counts what its fragment holds, each time anew."""
        depth, aliases = self.depth, self.aliases
        for name, level in self.spreads:
            fragment = fragments.get(name, Size())
            depth = max(depth, level + fragment.depth)
            aliases = min(aliases + fragment.aliases, _MOST_COUNTED)
        return Size(depth, aliases)


def measure(document: DocumentNode) -> list[tuple[OperationDefinitionNode, Size]]:
    """The size of each operation with its fragments spread; nothing where fragments spread in a circle."""
    fragments = {
        node.name.value: _own_size(node) for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    graph = {name: {spread for spread, _level in size.spreads} for name, size in fragments.items()}
    whole: dict[str, Size] = {}
    try:
        for name in TopologicalSorter(graph).static_order():
            whole[name] = fragments.get(name, Size()).with_fragments(whole)
    except CycleError:
        # The standard rule NoFragmentCycles refuses such a document, so it never runs.
        return []
    operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return [(operation, _own_size(operation).with_fragments(whole)) for operation in operations]


def _own_size(definition: ExecutableDefinitionNode) -> Size:
    size = Size()
    waiting = [(definition.selection_set, 0)]
    while waiting:
        selection_set, level = waiting.pop()
        for selection in selection_set.selections:
            inner = level
            if isinstance(selection, FragmentSpreadNode):
                size.spreads.append((selection.name.value, level))
                continue
            if isinstance(selection, FieldNode):
                # Introspection nests by the schema's shape; graphql-core's own rule bounds it.
                inner = _UNCOUNTED if selection.name.value in {"__schema", "__type"} else level + 1
                size.depth = max(size.depth, inner)
                size.aliases += selection.alias is not None
            if nested := getattr(selection, "selection_set", None):
                waiting.append((nested, inner))
    return size


class ValidDocuments:
    """The documents that were parsed and found valid, by their text, the least recently used dropped first.

    An AST takes 150 bytes and more for each character, so the texts' total length is what is bounded.
    """

    def __init__(self, max_characters: int = _CACHED_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def get(self, text: str) -> DocumentNode | None:
        """The document of this text, or None when it is not kept."""
        document = self._documents.get(text)
        if document is not None:
            self._documents.move_to_end(text)
        return document

    def keep(self, text: str, document: DocumentNode) -> None:
        """Keep a document; one that would take more than a quarter of the room is not kept."""
        if text in self._documents or len(text) > self._max_characters // 4:
            return
        self._documents[text] = document
        self._characters += len(text)
        while self._characters > self._max_characters:
            oldest, _document = self._documents.popitem(last=False)
            self._characters -= len(oldest)


class OperationChoiceError(CannotGetOperationTypeError):
    """The document lacks the operation asked for, or holds several and none was asked for."""

    def __init__(self, asked: str | None, operations: list[OperationDefinitionNode]) -> None:
        super().__init__(asked)
        self.operations = operations

    def as_http_error_reason(self) -> str:
        """What is wrong and what to change."""
        if not self.operations:
            return "The document has no operation to run; add a query, mutation or subscription."
        names = ", ".join(node.name.value for node in self.operations if node.name) or "none with a name"
        if self.operation_name is None:
            return f"The document has several operations; set operationName to one of them ({names})."
        return f'No operation is named "{self.operation_name}"; the document has: {names}.'


def _require_choice(document: DocumentNode, asked: str | None) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    chosen = [node for node in operations if asked is None or (node.name and node.name.value == asked)]
    if not chosen or (asked is None and len(chosen) > 1):
        raise OperationChoiceError(asked, operations)


def _explain_abort(error: GraphQLError, limits: Limits) -> None:
    """Give graphql-core's own emergency stops our code and words; other errors stay as they are."""
    if "tokens. Parsing aborted." in error.message:
        error.message = (
            f"The document has more than {limits.max_tokens:,} tokens, the limit. "
            "Move literals into variables or split it, or raise LOOMQL_MAX_QUERY_TOKENS on the server."
        )
        error.extensions = {"code": _CODE, "limit": limits.max_tokens, "setting": "LOOMQL_MAX_QUERY_TOKENS"}
    elif "nested too deeply" in error.message or error.message == "Validation aborted.":
        error.message = (
            "The document nests too deeply, or repeats fields and fragments too often, to be checked; simplify it."
        )
        error.extensions = {"code": _CODE}


class BoundedDocument(SchemaExtension):
    """Hold one operation to the limits, and skip parsing and validation for a document known to be valid."""

    def __init__(self, limits: Limits, rule: type[ASTValidationRule], valid: ValidDocuments) -> None:
        super().__init__()
        self.limits = limits
        self.rule = rule
        self.valid = valid

    def on_operation(self) -> Iterator[None]:
        """Hand the limits to the parser and the validation."""
        context = self.execution_context
        context.parse_options["max_tokens"] = self.limits.max_tokens
        context.validation_rules = (self.rule, *context.validation_rules)
        yield

    def on_parse(self) -> Iterator[None]:
        """Take the document from the kept ones, else see what the parser made of it.

        Raises:
            OperationChoiceError: it is open which of the document's operations is to run.
        """
        context = self.execution_context
        context.graphql_document = self.valid.get(context.query or "")
        yield
        for error in context.pre_execution_errors or ():
            _explain_abort(error, self.limits)
        if context.graphql_document is not None:
            # The public `operation_name` hides that none was asked for behind the first operation's.
            asked = context._provided_operation_name  # noqa: SLF001 - there is no public way to it
            _require_choice(context.graphql_document, asked)

    def on_validate(self) -> Iterator[None]:
        """Validate a document once; one that passed these rules is not checked again."""
        context = self.execution_context
        text, document = context.query or "", context.graphql_document
        if document is not None and self.valid.get(text) is document:
            context.pre_execution_errors = []
        yield
        if document is not None and not context.pre_execution_errors:
            self.valid.keep(text, document)
        for error in context.pre_execution_errors or ():
            _explain_abort(error, self.limits)
