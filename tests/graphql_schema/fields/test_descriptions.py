"""Docstrings of types and resolvers are their descriptions in the SDL."""

from enum import Enum

import strawberry

from graphql_schema.fields import plain_field, resolved_field
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema


@strawberry.enum
class Size(Enum):
    """Size of a word."""

    LONG = "long"


@strawberry.type
class Word:
    """Word of a text.

    Words are separated by spaces,
    or by line breaks.
    """

    size: Size = plain_field("Size of the word.")


@strawberry.type
class Query:
    """Read operations."""

    @resolved_field()
    def word(self) -> Word:
        """First word of the text.

        It is never empty.
        """
        return Word(size=Size.LONG)

    @resolved_field("Last word of the text.")
    def last(self) -> Word:
        """Return the last word."""
        return Word(size=Size.LONG)


def test_docstring_in_one_line_is_the_description() -> None:
    schema = LoomSchema(Query, limits=Limits())

    types = {
        name: kind.description for name, kind in schema._schema.type_map.items() if name in {"Query", "Word", "Size"}
    }
    fields = {name: field.description for name, field in schema._schema.query_type.fields.items()}  # type: ignore[union-attr]

    assert types == {
        "Query": "Read operations.",
        "Word": "Word of a text. Words are separated by spaces, or by line breaks.",
        "Size": "Size of a word.",
    }
    assert fields == {"word": "First word of the text. It is never empty.", "last": "Last word of the text."}
