"""Fields with token counts by class, shared by all types that report usage."""

from typing import TypeVar

from graphql_schema.fields import plain_field
from graphql_schema.scalars import BigInt
from stores.usage.classes import BY_NAME
from stores.usage.counts import FIELDS

_Type = TypeVar("_Type", bound=type)


def with_class_counts(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.type`: add a field for each class of tokens."""
    for name, field in FIELDS.items():
        cls.__annotations__[field] = BigInt
        setattr(cls, field, plain_field(f"{BY_NAME[name].description}; 0 if there are none."))
    return cls
