"""Groups of arguments that several fields share, passed to the resolver as one value."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar

from graphql_schema.context import Info
from graphql_schema.execution import BATCH_RESOLVER

_Answer = TypeVar("_Answer")


def optional(annotations: Mapping[str, object]) -> list[Parameter]:
    """Return keyword parameters with the default None, one for each annotated type."""
    kind = Parameter.KEYWORD_ONLY
    return [Parameter(name, kind, default=None, annotation=annotation) for name, annotation in annotations.items()]


def grouped_arguments(
    name: str, parameters: list[Parameter], make: Callable[[Info, dict[str, Any]], object]
) -> Callable[[Callable[..., Awaitable[_Answer]]], Callable[..., Awaitable[_Answer]]]:
    """Decorate an async resolver: replace its argument `name` by `parameters`, whose values `make` combines.

    Strawberry reads the field's arguments from the signature of the decorated resolver.
    """

    def spread(resolver: Callable[..., Awaitable[_Answer]]) -> Callable[..., Awaitable[_Answer]]:
        def put(info: Info, arguments: dict[str, Any]) -> dict[str, Any]:
            grouped = {each.name: arguments.pop(each.name) for each in parameters if each.name in arguments}
            return {name: make(info, grouped), **arguments}

        @wraps(resolver)
        async def resolve(*source: object, info: Info, **arguments: Any) -> _Answer:
            return await resolver(*source, info=info, **put(info, arguments))

        if hasattr(resolver, BATCH_RESOLVER):
            of_all = getattr(resolver, BATCH_RESOLVER)
            setattr(
                resolve,
                BATCH_RESOLVER,
                lambda info, sources, **arguments: of_all(info, sources, **put(info, arguments)),
            )
        original = signature(resolver)
        spread_out: list[Parameter] = []
        for own, parameter in original.parameters.items():
            spread_out += parameters if own == name else [parameter]
        resolve.__signature__ = original.replace(parameters=spread_out)  # type: ignore[attr-defined] # of functions in general
        return resolve

    return spread
