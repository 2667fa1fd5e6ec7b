"""Traversal of everything that a schema reaches: its subschemas, and the targets of its references."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from stores.json_schema.patterns import Patterns
from stores.json_schema.time_limit import SchemaFaultError, check_time_limit

_REFS: Final = ("$ref", "$dynamicRef")
_MAX_SHOWN: Final = 200


Draft = Any
"""A validator class; jsonschema's protocol lacks attributes that are used here."""


def check_references(draft: Draft, schema: dict[str, Any], patterns: Patterns, check: Callable[[object], None]) -> None:
    """Check that all references resolve inside the schema, and check its patterns against the limits.

    `check` validates reference targets that lie outside of the places for subschemas.

    Raises:
        SchemaFaultError: if a reference or an `$id` does not resolve to a schema, or a pattern exceeds a limit.
    """
    for part in _reachable(draft, schema, check):
        names = part.get("patternProperties", ())
        for pattern in (*names, part.get("pattern")):
            if isinstance(pattern, str):
                patterns.compile(pattern)


def _reachable(draft: Draft, schema: dict[str, Any], check: Callable[[object], None]) -> Iterator[dict[str, Any]]:
    specification = specification_with(draft.ID_OF(draft.META_SCHEMA))
    seen: set[int] = set()
    parts = [(schema, REGISTRY.resolver_with_root(specification.create_resource(schema)))]
    refs: list[tuple[Any, str]] = []
    while parts or refs:
        check_time_limit()
        if not parts:
            target = _resolved(*refs.pop())
            if id(target.contents) not in seen:
                check(target.contents)
                parts.append((target.contents, target.resolver))
            continue
        part, resolver = parts.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        refs += [(resolver, part[name]) for name in _REFS if isinstance(part.get(name), str)]
        inner = (each for each in specification.subresources_of(part) if isinstance(each, dict))
        parts.extend((each, _in_subresource(resolver, specification.create_resource(each))) for each in inner)


def _in_subresource(resolver: Any, resource: Any) -> Any:  # noqa: ANN401 -- referencing's, of any schema
    try:
        return resolver.in_subresource(resource)
    except ValueError:
        raise SchemaFaultError(f"has the $id {resource.id()[:_MAX_SHOWN]!r}, which is not a URI") from None


def _resolved(resolver: Any, ref: str) -> Any:  # noqa: ANN401 -- as above
    try:
        return resolver.lookup(ref)
    except (Unresolvable, ValueError, LookupError, TypeError, AttributeError):
        # The last four come from malformed URIs, and from paths into values without members.
        raise SchemaFaultError(f"has the $ref {ref[:_MAX_SHOWN]!r}, which does not resolve inside the schema") from None
