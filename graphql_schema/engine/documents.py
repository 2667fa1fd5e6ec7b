"""Documents: parsed, checked against the limits and validated; their operations are prepared once for all requests."""

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, Final, NamedTuple, TypeGuard, cast

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    default_field_resolver,
    default_type_resolver,
    get_variable_values,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.executor import Executor
from strawberry.exceptions import MissingQueryError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.graphql import OperationType

from graphql_schema.errors import TOO_COMPLEX
from graphql_schema.execution import CompilingExecutor
from graphql_schema.execution.input_values import VariableCoercion
from graphql_schema.execution.plans import Plans
from graphql_schema.limits import Limits, NoIntrospection, bounding_rule, check_length, check_lengths
from graphql_schema.limits.cost import CostFormula
from graphql_schema.limits.cost_weights import Weights

is_awaitable: Final = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)

SEVERAL: Final = "several"
_USES_OF_CURSOR: Final = 2
"""Uses of a variable in an operation: its declaration, and one argument."""

RESUMES: Final = "after"
"""Argument of a subscription field with the cursor to start after."""

_FINITE_SUBSCRIPTIONS: Final = frozenset({"completionsCreateStream"})
"""Subscriptions that end by themselves, within the timeout of a provider."""

LONG_DOCUMENT: Final = 500
"""Length in characters above which a thread reads a document: parsing and validation take 10 microseconds each per
character.
"""

_CACHED_CHARACTERS: Final = 400_000
_CHARACTERS_PER_PLANNED_FIELD: Final = 7
"""A field of a plan takes one kilobyte, and a character of a document 150 bytes as AST."""

_MISSING_DIRECTIVES: Final = "DeferStreamDirective", "StreamDirective"
"""Prefixes of the rules for `@defer` and `@stream`. The schema does not have these: it rejects them as unknown.

One of these rules fails on unions.
"""

_MAX_COERCION_ERRORS: Final = 50
_RESOLVERS: Final = default_field_resolver, default_type_resolver, default_field_resolver
ExecutorClass = type[StrawberryGraphQLCoreExecutionContext]


class ExecutionInput(NamedTuple):
    """Input of an execution besides the operation."""

    variable_values: dict[str, Any] | None = None
    context_value: object = None
    root_value: object = None
    operation_extensions: dict[str, Any] | None = None


class PreparedOperation:
    """One operation of a valid document, for all its requests.

    Args:
        text: the document's text, which identifies equal subscriptions.
        document: the document, parsed and valid.
        node: the chosen operation of the document.
        executor_class: the class of its executors.
        weights: the weights of the fields of its schema.
        limits: the limits of its cost.
        on_growth: called with the number of fields by which its plans grow.
    """

    def __init__(
        self,
        text: str,
        document: DocumentNode,
        node: OperationDefinitionNode,
        executor_class: ExecutorClass,
        weights: Weights,
        limits: Limits,
        on_growth: Callable[[int], None],
    ) -> None:
        self.text = text
        self.node = node
        self.kind = OperationType(node.operation.value)
        self.root_field = _root_field(node)
        """The root field as a label of metrics; "several" if there are more, or a fragment."""
        self.is_query = self.kind is OperationType.QUERY
        """True for a query, which may be cancelled at any time."""
        self.is_subscription = self.kind is OperationType.SUBSCRIPTION
        """True for a subscription."""
        self.is_finite_subscription = self.is_subscription and self.root_field in _FINITE_SUBSCRIPTIONS
        """True for a subscription that ends by itself; it keeps its input in memory until then."""
        self.is_open_ended_subscription = self.is_subscription and not self.is_finite_subscription
        """True for a subscription that may run for days."""
        self.fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._fragment_details = {name: FragmentDetails(definition) for name, definition in self.fragments.items()}
        self._schema, self._executor_class = weights.schema, executor_class
        self._weights, self._limits = weights, limits
        self._on_growth = on_growth

    @cached_property
    def variable_types(self) -> dict[str, str]:
        """The named type of each variable, without list and non-null markers."""
        return {
            definition.variable.name.value: graphql.print_ast(definition.type).strip("[]!")
            for definition in self.node.variable_definitions or ()
        }

    @cached_property
    def variables(self) -> VariableCoercion:
        """Counts and coerces the values of its variables."""
        return VariableCoercion(self._schema, self.node.variable_definitions or ())

    @cached_property
    def cost(self) -> CostFormula:
        """Its cost as a function of the values of its variables."""
        return CostFormula(self._weights, self._limits, self.node, self.fragments)

    @cached_property
    def plans(self) -> Plans:
        """Its compiled selections."""
        return Plans(self.node, self.fragments.values(), self._on_growth)

    def executor(self, given: ExecutionInput) -> list[GraphQLError] | Executor[Any]:
        """Return the executor of one request, or the errors of its variables."""
        compiles = issubclass(self._executor_class, CompilingExecutor)
        raw = given.variable_values or {}
        values = self.variables.coerce_plain(raw) if compiles else None
        if values is None:
            # Unusual and invalid values.
            definitions = self.node.variable_definitions or ()
            coerced = get_variable_values(self._schema, definitions, raw, max_errors=_MAX_COERCION_ERRORS)
            if isinstance(coerced, list):
                return coerced
            values = coerced
        executor = self._executor_class(
            self._schema,
            self.fragments,
            self._fragment_details,
            given.root_value,
            given.context_value,
            self.node,
            values,
            *_RESOLVERS,
            is_awaitable=is_awaitable,
            operation_extensions=given.operation_extensions,
        )
        if isinstance(executor, CompilingExecutor):
            executor.plans = self.plans
        return executor

    def subscription_key(self, variables: Mapping[str, Any] | None, visible: object = None) -> bytes:
        """Return the key of a subscription: equal for equal requests whose callers see the same data.

        The cursor to resume from may differ: it determines the start of a subscription but not its results.
        """
        name = self.node.name.value if self.node.name else None
        others = sorted((key, value) for key, value in (variables or {}).items() if key != self._resuming_variable)
        request = repr((self.text, name, others, visible)).encode(errors="surrogatepass")
        return hashlib.blake2b(request, digest_size=32).digest()

    @cached_property
    def _resuming_variable(self) -> str | None:
        """The variable with the cursor to resume from, if it has no other use; None otherwise."""
        first = self.node.selection_set.selections[0]
        for argument in first.arguments or () if isinstance(first, FieldNode) else ():
            if argument.name.value == RESUMES and isinstance(argument.value, VariableNode):
                uses = _VariableUses()
                for part in (self.node, *self.fragments.values()):
                    graphql.visit(part, uses)
                variable = argument.value.name.value
                return variable if uses.counts[variable] == _USES_OF_CURSOR else None
        return None


def _root_field(node: OperationDefinitionNode) -> str:
    """Return the label of the root field; the schema's fields bound the number of labels, whatever clients send."""
    selected = node.selection_set.selections
    names = {selection.name.value if isinstance(selection, FieldNode) else SEVERAL for selection in selected}
    return names.pop() if len(names) == 1 else SEVERAL


class _VariableUses(Visitor):
    """Counts the uses of each variable."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def enter_variable(self, node: VariableNode, *_rest: object) -> None:
        """Count one use."""
        self.counts[node.name.value] += 1


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
        rules = [rule for rule in specified_rules if not rule.__name__.startswith(_MISSING_DIRECTIVES)]
        self._rules = (bounding_rule(limits), *introspection_rules, *rules, *strawberry_rules)
        self._weights = Weights(schema)
        self._cache = DocumentCache()

    def has_cached(self, text: str) -> bool:
        """Return True if a document is cached."""
        return self._cache.get(text) is not None

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
        try:
            check_length(text, self._limits)
            document = parse(text, max_tokens=self._limits.max_tokens)
            check_lengths(document)
        except GraphQLError as error:
            raise self._invalid([error]) from error
        _unlink(document)
        requested = _requested_operation(document, operation_name)
        _check_type(OperationType(requested.operation.value), allowed)
        # Suggestions for a misspelt field would reveal names of the schema.
        errors = validate(self._schema, document, self._rules, hide_suggestions=not self._limits.introspection)
        if errors:
            raise self._invalid(errors)
        return document

    def _invalid(self, errors: list[GraphQLError]) -> InvalidDocumentError:
        for error in errors:
            _explain_abort(error, self._limits)
        return InvalidDocumentError(errors)
