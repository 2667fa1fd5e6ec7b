"""The drafts of JSON Schema, as validators that keep the limits."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import attrs
from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft3Validator, Draft202012Validator, extend, validator_for

from stores.json_schema.keywords import OWN
from stores.json_schema.time_limit import SchemaFaultError, check_time_limit


def draft_of(schema: dict[str, Any]) -> type[Validator]:
    """Return the validator class for a schema's `$schema`, by default for draft 2020-12.

    Raises:
        SchemaFaultError: if `$schema` is no URI, or names draft 3.
    """
    try:
        draft = validator_for(schema, default=Draft202012Validator) if "$schema" in schema else Draft202012Validator
    except (ValueError, AttributeError, TypeError):
        raise SchemaFaultError("is not a JSON Schema: its $schema is not the URI of a draft") from None
    if draft is Draft3Validator:
        raise SchemaFaultError("uses draft 3, which is not supported; use a later draft")
    return _bounded(draft)


@cache
def _bounded(draft: type[Validator]) -> type[Validator]:
    own = {name: OWN[name] for name in OWN if name in draft.VALIDATORS}
    bounded: Any = extend(draft, own)  # type: ignore[no-untyped-call]
    descend = bounded.descend

    def evolve(validator: Validator, **changes: Any) -> Validator:  # noqa: ANN401 -- as jsonschema calls it
        # Replaces jsonschema's method, which uses the unlimited validator for an inner schema with its own $schema.
        check_time_limit()
        return attrs.evolve(validator, **changes)  # type: ignore[misc] # it is one of attrs, which the protocol hides

    def descend_limited(
        validator: Validator,
        instance: Any,  # noqa: ANN401 -- any JSON
        schema: Any,  # noqa: ANN401 -- as above
        path: str | int | None = None,
        **locations: Any,  # noqa: ANN401 -- as jsonschema calls it
    ) -> Iterator[ValidationError]:
        if schema is not False:
            return descend(validator, instance, schema, path, **locations)  # type: ignore[no-any-return]
        # For a false schema jsonschema puts the whole value into each error, but no path.
        check_time_limit()
        return iter([ValidationError("no value is allowed here", path=[] if path is None else [path])])

    def is_valid(validator: Validator, instance: Any) -> bool:  # noqa: ANN401 -- any JSON
        return validator.schema is not False and next(validator.iter_errors(instance), None) is None

    bounded.evolve, bounded.descend, bounded.is_valid = evolve, descend_limited, is_valid
    kind: type[Validator] = bounded
    return kind
