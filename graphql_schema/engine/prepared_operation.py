"""Prepared operations: all that the requests for one operation of a document share, computed once."""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeGuard, cast

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    default_field_resolver,
    default_type_resolver,
    get_variable_values,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.executor import Executor
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.graphql import OperationType

from graphql_schema.execution import CompilingExecutor
from graphql_schema.execution.plans import Plans
from graphql_schema.execution.variable_coercion import VariableCoercion
from graphql_schema.limits import Limits
from graphql_schema.limits.cost import CostFormula
from graphql_schema.limits.cost_weights import Weights

is_awaitable: Final = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)

SEVERAL: Final = "several"
RESUMES: Final = "after"
"""Argument of a subscription field with the cursor to start after."""

_FINITE_SUBSCRIPTIONS: Final = frozenset({"completionsCreateStream"})
"""Subscriptions that end by themselves, within the timeout of a provider."""

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
    def root_field(self) -> str:
        """The root field as a label of metrics; "several" if there are more, or a fragment.

        The number of labels is bounded by the schema's root fields, whatever clients send.
        """
        selected = self.node.selection_set.selections
        names = {selection.name.value if isinstance(selection, FieldNode) else SEVERAL for selection in selected}
        return names.pop() if len(names) == 1 else SEVERAL

    @property
    def is_query(self) -> bool:
        """True for a query, which may be cancelled at any time."""
        return self.kind is OperationType.QUERY

    @property
    def is_subscription(self) -> bool:
        """True for a subscription."""
        return self.kind is OperationType.SUBSCRIPTION

    @property
    def is_finite_subscription(self) -> bool:
        """True for a subscription that ends by itself; it keeps its input in memory until then."""
        return self.is_subscription and self.root_field in _FINITE_SUBSCRIPTIONS

    @property
    def is_open_ended_subscription(self) -> bool:
        """True for a subscription that may run for days."""
        return self.is_subscription and self.root_field not in _FINITE_SUBSCRIPTIONS

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
                # One use is the declaration, the other the argument.
                return variable if uses.counts[variable] == 2 else None  # noqa: PLR2004 -- as the comment says
        return None


class _VariableUses(Visitor):
    """Counts the uses of each variable."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def enter_variable(self, node: VariableNode, *_rest: object) -> None:
        """Count one use."""
        self.counts[node.name.value] += 1
