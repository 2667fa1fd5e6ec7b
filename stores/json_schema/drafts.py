"""The drafts of JSON Schema, as validators that keep to the bounds."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import attrs
from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft3Validator, Draft202012Validator, extend, validator_for

from stores.json_schema.keywords import OWN
from stores.json_schema.time_limit import SchemaFaultError, check_clock


def draft_of(schema: dict[str, Any]) -> type[Validator]:
    """The validator of the draft that a schema's `$schema` names, or else of 2020-12.

    Raises:
        SchemaFaultError: `$schema` is no address, or that of draft 3.
    """
    try:
        draft = validator_for(schema, default=Draft202012Validator) if "$schema" in schema else Draft202012Validator
    except (ValueError, AttributeError, TypeError):
        raise SchemaFaultError("is no JSON Schema at $schema, which is the address of a draft") from None
    if draft is Draft3Validator:
        raise SchemaFaultError("is of draft 3, which is not known here; write it by a later one")
    return _bounded(draft)


@cache
def _bounded(draft: type[Validator]) -> type[Validator]:
    own = {name: OWN[name] for name in OWN if name in draft.VALIDATORS}
    bounded: Any = extend(draft, own)  # type: ignore[no-untyped-call]
    descend = bounded.descend

    def evolved(validator: Validator, **changes: Any) -> Validator:  # noqa: ANN401 -- as jsonschema calls it
        # Not jsonschema's: by that a schema inside that names its own $schema would get that draft's own validator.
        check_clock()
        return attrs.evolve(validator, **changes)  # type: ignore[misc] # it is one of attrs, which the protocol hides

    def descended(
        validator: Validator,
        instance: Any,  # noqa: ANN401 -- any JSON
        schema: Any,  # noqa: ANN401 -- as above
        path: str | int | None = None,
        **places: Any,  # noqa: ANN401 -- as jsonschema calls it
    ) -> Iterator[ValidationError]:
        if schema is not False:
            return descend(validator, instance, schema, path, **places)  # type: ignore[no-any-return]
        # jsonschema writes the whole value into the error, however many such schemas there are, but no path.
        check_clock()
        return iter([ValidationError("nothing is allowed here", path=[] if path is None else [path])])

    def is_valid(validator: Validator, instance: Any) -> bool:  # noqa: ANN401 -- any JSON
        return validator.schema is not False and next(validator.iter_errors(instance), None) is None

    bounded.evolve, bounded.descend, bounded.is_valid = evolved, descended, is_valid
    kind: type[Validator] = bounded
    return kind
