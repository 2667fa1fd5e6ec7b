"""Fields for rates by class of tokens, shared by the input and the type of prices."""

from typing import Final, TypeVar

from strawberry.utils.str_converters import to_camel_case

from graphql_schema.fields import optional_input, plain_field
from stores.costs.price_timeline import RATE_FIELDS
from stores.usage.classes import INPUT, OUTPUT, TokenClass

_Type = TypeVar("_Type", bound=type)


def with_rate_inputs(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.input`: add an optional field for each rate."""
    for name, each in RATE_FIELDS.items():
        cls.__annotations__[name] = float | None
        setattr(cls, name, optional_input(f"{_price(each)}, from 0 to 1,000,000; {_fallback(each)} if omitted."))
    return cls


def with_rates(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.type`: add a field for each rate."""
    for name, each in RATE_FIELDS.items():
        cls.__annotations__[name] = float | None
        setattr(cls, name, plain_field(f"{_price(each)}; null if none was set, then {_fallback(each)} applies."))
    return cls


def _price(each: TokenClass) -> str:
    return f"Unit price of {each.description[0].lower()}{each.description[1:]}"


def _fallback(each: TokenClass) -> str:
    return to_camel_case(_NAMES[each.like]) if each.like else "0"


_NAMES: Final = {INPUT: "prompt_token_cost", OUTPUT: "completion_token_cost"} | {
    each.name: name for name, each in RATE_FIELDS.items()
}
