"""Documents: parsed, checked against the limits, validated, and their operations prepared."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.rules.defer_stream_directive_label import DeferStreamDirectiveLabel
from graphql.validation.rules.defer_stream_directive_on_root_field import DeferStreamDirectiveOnRootField
from graphql.validation.rules.defer_stream_directive_on_valid_operations_rule import (
    DeferStreamDirectiveOnValidOperationsRule,
)
from graphql.validation.rules.stream_directive_on_list_field import StreamDirectiveOnListField
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.graphql import OperationType

from graphql_schema.engine.prepared_operation import ExecutorClass, PreparedOperation
from graphql_schema.limits import TOO_COMPLEX, Limits
from graphql_schema.limits.cost_weights import Weights
from graphql_schema.limits.document_rules import NoIntrospection, bounding_rule, check_length, check_lengths

LONG_DOCUMENT: Final = 500
"""Length in characters above which a thread reads a document: parsing and validation take 10 microseconds each per
character.
"""

_CACHED_CHARACTERS: Final = 400_000
_CHARACTERS_PER_PLANNED_FIELD: Final = 7
"""A field of a plan takes one kilobyte, and a character of a document 150 bytes as AST."""

_RULES_OF_MISSING_DIRECTIVES: Final = {
    DeferStreamDirectiveLabel,
    DeferStreamDirectiveOnRootField,
    DeferStreamDirectiveOnValidOperationsRule,
    StreamDirectiveOnListField,
}
"""Rules for `@defer` and `@stream`, which the schema does not have: it rejects them as unknown directives.

The last of these rules fails on unions.
"""


def _unlink(document: DocumentNode) -> None:
    """Remove the links of tokens to their predecessors: these cycles would keep old documents until a full collection.

    Only the parser needs these links.
    """
    token = document.loc.start_token if document.loc else None
    while token:
        token.prev = None
        token = token.next


class InvalidDocumentError(Exception):
    """A document that cannot be executed, with all its errors."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(*(error.message for error in errors))
        self.errors = errors


class OperationChoiceError(CannotGetOperationTypeError):
    """The requested operation is missing, or none was requested of several."""

    def __init__(self, operation_name: str | None, operations: list[OperationDefinitionNode]) -> None:
        super().__init__(operation_name)
        self.operations = operations

    def as_http_error_reason(self) -> str:
        """Return the error message, with a remedy."""
        if not self.operations:
            return "The document has no operation to run; add a query, mutation or subscription."
        names = ", ".join(node.name.value for node in self.operations if node.name) or "none with a name"
        if self.operation_name is None:
            return f"The document has several operations; set operationName to one of them ({names})."
        return f'No operation is named "{self.operation_name}"; the document has: {names}.'


def _requested_operation(document: DocumentNode, operation_name: str | None) -> OperationDefinitionNode:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    chosen = [
        node for node in operations if operation_name is None or (node.name and node.name.value == operation_name)
    ]
    if not chosen or (operation_name is None and len(chosen) > 1):
        raise OperationChoiceError(operation_name, operations)
    return chosen[0]


class PreparedDocument:
    """A valid document, and those of its operations that requests have named.

    Args:
        text: the text of the document.
        node: the parsed document.
        prepare: prepares one of its operations.
    """

    def __init__(
        self, text: str, node: DocumentNode, prepare: Callable[[OperationDefinitionNode], PreparedOperation]
    ) -> None:
        self.text = text
        self.size = len(text)
        """Size in memory, in characters of a document; grows with the plans of its operations."""
        self._node = node
        self._prepare = prepare
        self.operations: dict[str | None, PreparedOperation] = {}
        """The prepared operations by the names that requests gave."""

    def operation(self, name: str | None) -> PreparedOperation:
        """Return the operation with a name, or the only one for None.

        Raises:
            OperationChoiceError: if the operation is missing or ambiguous.
        """
        operation = self.operations.get(name)
        if operation is None:
            node = _requested_operation(self._node, name)
            known = (each for each in self.operations.values() if each.node is node)
            operation = self.operations[name] = next(known, None) or self._prepare(node)
        return operation


class DocumentCache:
    """LRU cache of valid documents by their text, bounded by the size of the documents and their plans.

    A document whose text takes more than a quarter of the cache is not kept.
    """

    def __init__(self, max_characters: int = _CACHED_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._documents: OrderedDict[str, PreparedDocument] = OrderedDict()

    def get(self, text: str) -> PreparedDocument | None:
        """Return a document; None if it is not cached."""
        document = self._documents.get(text)
        if document is not None:
            self._documents.move_to_end(text)
        return document

    def add(self, document: PreparedDocument) -> None:
        """Keep a document, unless it is too long or another request has added it."""
        if document.text not in self._documents and len(document.text) <= self._max_characters // 4:
            self._documents[document.text] = document
            self._characters += document.size
            self._evict()

    def grow(self, text: str, fields: int) -> None:
        """Count fields by which the plans of a document grew, if it is cached."""
        document = self._documents.get(text)
        if document is not None:
            document.size += _CHARACTERS_PER_PLANNED_FIELD * fields
            self._characters += _CHARACTERS_PER_PLANNED_FIELD * fields
            self._evict()

    def _evict(self) -> None:
        while self._characters > self._max_characters:
            _text, oldest = self._documents.popitem(last=False)
            self._characters -= oldest.size


def _check_type(kind: OperationType, allowed: Iterable[OperationType]) -> None:
    if kind not in allowed:
        raise InvalidOperationTypeError(kind)


def _explain_abort(error: GraphQLError, limits: Limits) -> None:
    """Replace the messages of graphql-core's own limits, and set a code; leave other errors unchanged."""
    if "tokens. Parsing aborted." in error.message:
        error.message = (
            f"The document has more than {limits.max_tokens:,} tokens, the limit. "
            "Move literals into variables or split it, or raise LOOMQL_MAX_QUERY_TOKENS on the server."
        )
        error.extensions = {"code": TOO_COMPLEX, "limit": limits.max_tokens, "setting": "LOOMQL_MAX_QUERY_TOKENS"}
    elif "nested too deeply" in error.message or error.message == "Validation aborted.":
        error.message = (
            "The document nests too deeply, or repeats fields and fragments too often, to be checked; simplify it."
        )
        error.extensions = {"code": TOO_COMPLEX}


class Documents:
    """Documents of a schema, and their operations as they are prepared once for all requests.

    Args:
        schema: the schema of the documents.
        executor_class: the class of the executors.
        limits: limits of a document, and of the costs of its operations.
    """

    def __init__(self, schema: GraphQLSchema, executor_class: ExecutorClass, limits: Limits) -> None:
        self._schema = schema
        self._executor_class = executor_class
        self._limits = limits
        introspection_rules = () if limits.introspection else (NoIntrospection,)
        strawberry_rules = (MaybeNullValidationRule, OneOfInputValidationRule)
        rules = [rule for rule in specified_rules if rule not in _RULES_OF_MISSING_DIRECTIVES]
        self._rules = (bounding_rule(limits), *introspection_rules, *rules, *strawberry_rules)
        self._weights = Weights(schema)
        self._cache = DocumentCache()

    async def prepare(
        self, text: str | None, operation_name: str | None, allowed: Iterable[OperationType]
    ) -> PreparedOperation:
        """Return the requested operation of a document that may be executed; a thread reads a long document.

        Raises:
            MissingQueryError: if there is no text.
            InvalidDocumentError: if it has a syntax error, exceeds a limit, or is invalid for the schema.
            OperationChoiceError: if the requested operation is missing or ambiguous.
            InvalidOperationTypeError: if the type of the operation is not allowed.
        """
        if not text:
            raise MissingQueryError
        document = self._cache.get(text)
        if document is None:
            request = text, operation_name, allowed
            is_long = LONG_DOCUMENT < len(text) <= self._limits.max_characters
            node = await asyncio.to_thread(self._read, *request) if is_long else self._read(*request)
            document = self._prepared(text, node)
            self._cache.add(document)
        operation = document.operation(operation_name)
        _check_type(operation.kind, allowed)
        return operation

    def _prepared(self, text: str, node: DocumentNode) -> PreparedDocument:
        # Without a reference to the document: it is freed at once when it is evicted.
        def prepare(operation: OperationDefinitionNode) -> PreparedOperation:
            shared = self._executor_class, self._weights, self._limits
            return PreparedOperation(text, node, operation, *shared, partial(self._cache.grow, text))

        return PreparedDocument(text, node, prepare)

    def _read(self, text: str, operation_name: str | None, allowed: Iterable[OperationType]) -> DocumentNode:
        document = self._parsed(text)
        requested = _requested_operation(document, operation_name)
        _check_type(OperationType(requested.operation.value), allowed)
        self._validate(document)
        return document

    def _parsed(self, text: str) -> DocumentNode:
        try:
            check_length(text, self._limits)
            document = parse(text, max_tokens=self._limits.max_tokens)
            check_lengths(document)
        except GraphQLError as error:
            raise self._invalid([error]) from error
        _unlink(document)
        return document

    def _validate(self, document: DocumentNode) -> None:
        # Suggestions for a misspelt field would reveal names of the schema.
        hidden = not self._limits.introspection
        errors = validate(self._schema, document, self._rules, hide_suggestions=hidden)
        if errors:
            raise self._invalid(errors)

    def _invalid(self, errors: list[GraphQLError]) -> InvalidDocumentError:
        for error in errors:
            _explain_abort(error, self._limits)
        return InvalidDocumentError(errors)
