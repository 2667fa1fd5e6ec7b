"""Executors copied from a template, so that data common to all requests of an operation is computed once."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfoHelpers,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    get_operation_ast,
)
from graphql.execution.executor import CollectedErrors, Executor
from graphql.execution.values import VariableValues
from graphql.pyutils import RefMap

from graphql_schema.execution.roots import LimitedRootsExecutor
from graphql_schema.execution.variable_coercion import coerced, declared

_LAZY_ATTRIBUTES: Final[Mapping[str, Callable[[], object]]] = {
    "pending_incremental_futures": set,
    "background_futures": set,
    "_relevant_sub_fields": dict,
    "_stream_usages": RefMap,
    "_initial_execution_plans": RefMap,
    "_deferred_execution_plans": RefMap,
}
"""Attributes of executors that rows do not use; created on first access."""

_RESOLVERS: Final = default_field_resolver, default_type_resolver, default_field_resolver


class TemplateExecutor(LimitedRootsExecutor):
    """An executor copied from a template, with variables coerced by compiled functions."""

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        root_value: Any = None,  # noqa: ANN401 -- the base's own
        context_value: Any = None,  # noqa: ANN401 -- the base's own
        raw_variable_values: dict[str, Any] | None = None,
        operation_name: str | None = None,
        *rest: Any,  # noqa: ANN401 -- the base's own
        **more: Any,  # noqa: ANN401 -- the base's own
    ) -> list[GraphQLError] | Executor[Any]:
        """Return an executor of an operation, or the errors of its variables."""
        operation = get_operation_ast(document, operation_name)
        known = declared(schema, document, operation) if operation and not rest else None
        values = coerced(known, raw_variable_values or {}) if known else None
        if operation is None or known is None or values is None:
            arguments = root_value, context_value, raw_variable_values, operation_name, *rest
            return super().build(schema, document, *arguments, **more)
        kind = cls, more.pop("is_awaitable", None)
        extensions = more.pop("operation_extensions", None)
        template = None if more else known.executors.get(kind)
        if template is None:
            definitions = {name: details.definition for name, details in known.fragments.items()}
            arguments = None, None, operation, values, *_RESOLVERS
            template = cls(schema, definitions, known.fragments, *arguments, is_awaitable=kind[1], **more)
            # The template lives as long as the operation, so it must not refer to it; the values belong to one request.
            del template.operation, template.variable_values
            for name in _LAZY_ATTRIBUTES:
                delattr(template, name)
            if not more:
                known.executors[kind] = template
        return template.for_request(operation, values, root_value, context_value, extensions)

    def for_request(
        self,
        operation: OperationDefinitionNode,
        values: VariableValues,
        root_value: Any,  # noqa: ANN401 -- the base's own
        context_value: Any,  # noqa: ANN401 -- the base's own
        extensions: dict[str, Any] | None,
    ) -> Self:
        """Return a copy of this executor for another request; the two share no mutable state."""
        made = object.__new__(type(self))
        made.__dict__ = {
            **self.__dict__,
            "operation": operation,
            "root_value": root_value,
            "context_value": context_value,
            "variable_values": values,
            "operation_extensions": extensions,
            "collected_errors": CollectedErrors(),
            "groups": [],
            "tasks": [],
            "streams": [],
        }
        return made

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """Return new helpers each time: stored ones would form a cycle with the executor."""
        return GraphQLResolveInfoHelpers(gather=self.gather_async_work, track=self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, _made: GraphQLResolveInfoHelpers) -> None:
        pass

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever has the name
        """Create a rarely used attribute on first access."""
        make = _LAZY_ATTRIBUTES.get(name)
        if make is None:
            raise AttributeError(name, name=name, obj=self)
        made = self.__dict__[name] = make()
        return made
