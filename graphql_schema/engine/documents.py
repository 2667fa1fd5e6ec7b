"""Documents: parsed, checked against the limits, validated, and cached."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, cast

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    TypeNode,
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

from graphql_schema import limits as bounds
from graphql_schema.limits import TOO_COMPLEX, Limits

_CACHED_CHARACTERS: Final = 256_000
MAX_CACHED_LENGTH: Final = _CACHED_CHARACTERS // 4
"""Maximum length in characters of a cached document."""

LONG_DOCUMENT: Final = 500
"""Length in characters above which a thread reads a document: parsing and validation take 10 microseconds each per
character.
"""

_MAX_HEADS: Final = 1_000
"""Maximum number of long documents whose operation type and first field are cached, by a digest of text and operation
name.
"""

SEVERAL: Final = "several"


_RULES_OF_MISSING_DIRECTIVES: Final = {
    DeferStreamDirectiveLabel,
    DeferStreamDirectiveOnRootField,
    DeferStreamDirectiveOnValidOperationsRule,
    StreamDirectiveOnListField,
}
"""Rules for `@defer` and `@stream`, which the schema does not have: it rejects them as unknown directives.

The last of these rules fails on unions.
"""


class ValidDocuments:
    """LRU cache of parsed and valid documents by their text.

    An AST takes at least 150 bytes per character, so the total length of the texts is bounded.
    """

    def __init__(self, max_characters: int = _CACHED_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def get(self, text: str) -> DocumentNode | None:
        """Return the document of a text, or None if it is not cached."""
        document = self._documents.get(text)
        if document is not None:
            self._documents.move_to_end(text)
        return document

    def add(self, text: str, document: DocumentNode) -> None:
        """Cache a document, unless it would take more than a quarter of the cache."""
        if text in self._documents or len(text) > min(self._max_characters // 4, MAX_CACHED_LENGTH):
            return
        self._documents[text] = document
        self._characters += len(text)
        while self._characters > self._max_characters:
            oldest, _document = self._documents.popitem(last=False)
            self._characters -= len(oldest)


def _unlink(document: DocumentNode) -> None:
    """Remove the links of tokens to their predecessors: these cycles would keep old documents until a full collection.

    Only the parser needs these links.
    """
    token = document.loc.start_token if document.loc else None
    while token:
        token.prev = None
        token = token.next


def _digest(text: str, operation_name: str | None) -> bytes:
    """Return a short digest of a document and the requested operation name."""
    whole = f"{len(text)}:{text}" if operation_name is None else f"{len(text)}:{text}:{operation_name}"
    return hashlib.blake2b(whole.encode(errors="surrogatepass"), digest_size=16).digest()


class InvalidDocumentError(Exception):
    """A document that cannot be executed, with all its errors."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(*(error.message for error in errors))
        self.errors = errors


class OperationHead(NamedTuple):
    """Type of an operation and its first field; "" if a fragment contains that field."""

    kind: OperationType
    field: str


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


def _kind(document: DocumentNode, operation_name: str | None, allowed: Iterable[OperationType]) -> OperationType:
    kind = OperationType(_requested_operation(document, operation_name).operation.value)
    if kind not in allowed:
        raise InvalidOperationTypeError(kind)
    return kind


def _head(operation: OperationDefinitionNode) -> OperationHead:
    first = operation.selection_set.selections[0]
    return OperationHead(
        OperationType(operation.operation.value), first.name.value if isinstance(first, FieldNode) else ""
    )


def _parsed_head(parsed: Callable[[str], DocumentNode], text: str, operation_name: str | None) -> OperationHead | None:
    try:
        return _head(_requested_operation(parsed(text), operation_name))
    except Exception:  # noqa: BLE001 -- executing the operation reports the error
        return None


def _named(kind: TypeNode) -> str:
    while not isinstance(kind, NamedTypeNode):
        kind = cast("ListTypeNode | NonNullTypeNode", kind).type
    return kind.name.value


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
    """Documents of a schema: each is checked and validated once while it is cached."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        introspection_rules = () if limits.introspection else (bounds.NoIntrospection,)
        strawberry_rules = (MaybeNullValidationRule, OneOfInputValidationRule)
        rules = [rule for rule in specified_rules if rule not in _RULES_OF_MISSING_DIRECTIVES]
        self._rules = (bounds.rule(limits), *introspection_rules, *rules, *strawberry_rules)
        self._valid = ValidDocuments()
        self._heads: dict[bytes, OperationHead | None] = {}

    def read(
        self, text: str | None, operation_name: str | None, allowed: Iterable[OperationType]
    ) -> tuple[DocumentNode, OperationType]:
        """Return a document that may be executed, and the type of its requested operation.

        Raises:
            MissingQueryError: if there is no text.
            InvalidDocumentError: if it has a syntax error, exceeds a limit, or is invalid for the schema.
            OperationChoiceError: if the requested operation is missing or ambiguous.
            InvalidOperationTypeError: if the type of the operation is not allowed.
        """
        if not text:
            raise MissingQueryError
        cached = self._valid.get(text)
        if cached is not None:
            return cached, _kind(cached, operation_name, allowed)
        found = self._read_uncached(text, operation_name, allowed)
        self._valid.add(text, found[0])
        return found

    async def read_in_thread(
        self, text: str | None, operation_name: str | None, allowed: Iterable[OperationType]
    ) -> tuple[DocumentNode, OperationType]:
        """Like `read`, but read a long document in a thread if it is not cached."""
        if not text or len(text) <= LONG_DOCUMENT or self._valid.get(text) is not None:
            return self.read(text, operation_name, allowed)
        found = await asyncio.to_thread(self._read_uncached, text, operation_name, allowed)
        self._valid.add(text, found[0])
        return found

    def _read_uncached(
        self, text: str, operation_name: str | None, allowed: Iterable[OperationType]
    ) -> tuple[DocumentNode, OperationType]:
        document = self._parsed(text)
        kind = _kind(document, operation_name, allowed)
        self._validate(document)
        return document, kind

    async def prepare_head(self, text: str | None, operation_name: str | None) -> None:
        """Determine the type and first field of a long document in a thread, so that `head_of` does not block."""
        if (
            not text
            or not LONG_DOCUMENT < len(text) <= self._limits.max_characters
            or self._valid.get(text) is not None
        ):
            return
        key = _digest(text, operation_name)
        if key not in self._heads:
            self._cache_head(key, await asyncio.to_thread(_parsed_head, self._parsed, text, operation_name))

    def head_of(self, text: str | None, operation_name: str | None) -> OperationHead | None:
        """Return the type and first field of an operation, which need not be valid; None if it cannot be parsed."""
        if not text or len(text) > self._limits.max_characters:
            return None

        def parsed(text: str) -> DocumentNode:
            return self._valid.get(text) or self._parsed(text)

        if len(text) <= LONG_DOCUMENT:
            return _parsed_head(parsed, text, operation_name)
        key = _digest(text, operation_name)
        if key not in self._heads:
            self._cache_head(key, _parsed_head(parsed, text, operation_name))
        return self._heads[key]

    def _cache_head(self, key: bytes, head: OperationHead | None) -> None:
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        self._heads[key] = head

    def root_field_of(self, text: str, operation_name: str | None) -> str:
        """Return the root field of a cached document's operation; "several" if there are more, "" if not cached."""
        document = self._valid.get(text)
        if document is None:
            return ""
        try:
            selected = _requested_operation(document, operation_name).selection_set.selections
        except OperationChoiceError:
            return ""
        names = {node.name.value if isinstance(node, FieldNode) else "" for node in selected}
        return SEVERAL if len(names) > 1 or "" in names else names.pop()

    async def variable_types(self, text: str | None, operation_name: str | None) -> dict[str, str]:
        """Return the named type of each variable of an operation, without list and non-null markers.

        Raises:
            MissingQueryError, InvalidDocumentError, OperationChoiceError: as `read` does.
        """
        document, _kind = await self.read_in_thread(text, operation_name, OperationType)
        return {
            definition.variable.name.value: _named(definition.type)
            for definition in _requested_operation(document, operation_name).variable_definitions or ()
        }

    def _parsed(self, text: str) -> DocumentNode:
        try:
            bounds.check_length(text, self._limits)
            document = parse(text, max_tokens=self._limits.max_tokens)
            bounds.check_lengths(document)
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
