"""All that a schema leads to: its parts, what its references name, and the parts of that."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from stores.json_schema.patterns import Patterns
from stores.json_schema.time_limit import SchemaFaultError, check_clock

_REFS: Final = ("$ref", "$dynamicRef")
_SHOWN: Final = 200


Draft = Any
"""A validator's class; its protocol leaves out what it is asked here."""


def check_reach(draft: Draft, schema: dict[str, Any], patterns: Patterns, check: Callable[[object], None]) -> None:
    """See that all references of a schema lead to schemas, and admit all patterns; others are met when they are used.

    `check` holds to the draft what a reference leads to outside of the places for schemas.

    Raises:
        SchemaFaultError: a reference or an `$id` leads nowhere or to what is no schema, or a pattern is not admitted.
    """
    for part in _reached(draft, schema, check):
        names = part.get("patternProperties", ())
        for pattern in (*names, part.get("pattern")):
            if isinstance(pattern, str):
                patterns.admit(pattern)


def _reached(draft: Draft, schema: dict[str, Any], check: Callable[[object], None]) -> Iterator[dict[str, Any]]:
    specification = specification_with(draft.ID_OF(draft.META_SCHEMA))
    seen: set[int] = set()
    parts = [(schema, REGISTRY.resolver_with_root(specification.create_resource(schema)))]
    refs: list[tuple[Any, str]] = []
    while parts or refs:
        check_clock()
        if not parts:
            found = _followed(*refs.pop())
            if id(found.contents) not in seen:
                check(found.contents)
                parts.append((found.contents, found.resolver))
            continue
        part, resolver = parts.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        refs += [(resolver, part[name]) for name in _REFS if isinstance(part.get(name), str)]
        inner = (each for each in specification.subresources_of(part) if isinstance(each, dict))
        parts.extend((each, _inside(resolver, specification.create_resource(each))) for each in inner)


def _inside(resolver: Any, resource: Any) -> Any:  # noqa: ANN401 -- referencing's, of any schema
    try:
        return resolver.in_subresource(resource)
    except ValueError:
        raise SchemaFaultError(f"has the $id {resource.id()[:_SHOWN]!r}, which is no address") from None


def _followed(resolver: Any, ref: str) -> Any:  # noqa: ANN401 -- as above
    try:
        return resolver.lookup(ref)
    except (Unresolvable, ValueError, LookupError, TypeError, AttributeError):
        # The last four come of addresses that are none, and of steps into what has no parts.
        raise SchemaFaultError(f"has the $ref {ref[:_SHOWN]!r}, which leads to nothing inside it") from None
