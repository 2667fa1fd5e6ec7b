"""The schema: root types with the fields of all packages."""

import functools
import sys
from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLOneOfDirective,
    GraphQLSchema,
    Undefined,
    get_nullable_type,
    print_directive,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext

from graphql_schema.aggregates import AggregateQueries
from graphql_schema.calls import CallMutations, CallQueries, CallSubscriptions, OtelMutations
from graphql_schema.completions import CompletionMutations, CompletionSubscriptions, ImageMutations
from graphql_schema.costs import CostMutations, CostQueries
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.errors import assign_codes
from graphql_schema.evaluations import EvaluationMutations, EvaluationQueries, EvaluationSubscriptions
from graphql_schema.execution import CompilingExecutor, LimitedRootsExecutor, call_directly, field_of
from graphql_schema.execution.input_values import coerce_to_inputs
from graphql_schema.execution.scalars import SCALARS
from graphql_schema.facets import FacetQueries
from graphql_schema.feedback import ActionMutations, FeedbackMutations, FeedbackQueries
from graphql_schema.fields import describe, skip_type_checks
from graphql_schema.fields.connections import ConnectionNames
from graphql_schema.files import FileMutations, FileQueries
from graphql_schema.limits import Limits
from graphql_schema.objects import ObjectMutations, ObjectQueries
from graphql_schema.permissions import FIELD_PERMISSIONS, RootPermissions, guard_root_fields
from graphql_schema.projects import ProjectMutations, ProjectQueries
from graphql_schema.refs import NodeQueries, RefQueries
from graphql_schema.tables import TableMutations, TableQueries
from graphql_schema.text_search import SearchIndexMutations, SearchQueries
from graphql_schema.traces import ThreadQueries, TraceQueries


@strawberry.type
class Query(
    NodeQueries,
    CallQueries,
    TraceQueries,
    AggregateQueries,
    FacetQueries,
    ObjectQueries,
    RefQueries,
    FileQueries,
    TableQueries,
    ThreadQueries,
    EvaluationQueries,
    FeedbackQueries,
    CostQueries,
    ProjectQueries,
    SearchQueries,
):
    """Read operations."""


@strawberry.type
class Mutation(
    CallMutations,
    ObjectMutations,
    FileMutations,
    TableMutations,
    FeedbackMutations,
    CostMutations,
    CompletionMutations,
    EvaluationMutations,
    OtelMutations,
    ProjectMutations,
    SearchIndexMutations,
    ActionMutations,
    ImageMutations,
):
    """Write operations."""


@strawberry.type
class Subscription(CallSubscriptions, CompletionSubscriptions, EvaluationSubscriptions):
    """Streams of events."""


class LoomSchema(LimitedSchema):
    """A schema that sets a code on every error, and removes null defaults of optional arguments.

    With `permissions`, each root field first checks the role of the caller.
    """

    def __init__(self, *args: Any, permissions: RootPermissions | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for argument in _arguments(self._schema):
            if argument.default_value is None:
                argument.default_value = Undefined
        coerce_to_inputs(self._schema)
        skip_type_checks(self._schema)
        describe(self._schema)
        call_directly(self._schema)
        if permissions is not None:
            guard_root_fields(self._schema, permissions)

    def process_errors(
        self,
        errors: list[GraphQLError],
        execution_context: ExecutionContext | None = None,  # noqa: ARG002 -- Strawberry's signature
    ) -> None:
        """Set the codes of an operation's errors."""
        assign_codes(errors)


def _arguments(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields.values()
        elif isinstance(kind, GraphQLObjectType):
            yield from (argument for field in kind.fields.values() for argument in field.args.values())


def build_schema(bounds: Limits, *, compiled: bool = True) -> LoomSchema:
    """Build the schema with limits on operations.

    `compiled` selects LoomQL's compiled execution of rows, otherwise graphql-core's. Each field of Query and Mutation
    is nullable, so that an error leaves the results of other fields intact. A subscription has only one field.

    Raises:
        RuntimeError: if Python removes docstrings, which are the schema's descriptions.
    """
    if sys.flags.optimize > 1:
        raise RuntimeError(
            "Python removes docstrings, and the schema takes its descriptions from them. Run Python without -OO: use "
            "-O, or set PYTHONOPTIMIZE to 1 or to nothing."
        )
    schema = LoomSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(default_resolver=field_of, name_converter=ConnectionNames(), scalar_map=dict(SCALARS)),
        limits=bounds,
        permissions=FIELD_PERMISSIONS,
        execution_context_class=CompilingExecutor if compiled else LimitedRootsExecutor,
    )
    for root in (schema._schema.query_type, schema._schema.mutation_type):  # noqa: SLF001 -- no public way
        for field in root.fields.values() if root else ():
            field.type = get_nullable_type(field.type)
    return schema


@functools.cache
def sdl() -> str:
    """Return the schema in the GraphQL schema definition language."""
    # Strawberry prints @oneOf without its description.
    described = print_directive(GraphQLOneOfDirective)
    return build_schema(Limits()).as_str().replace("directive @oneOf on INPUT_OBJECT", described) + "\n"
