"""Docstrings of types, attributes and resolvers are their descriptions in the SDL."""

import sys
from enum import Enum
from types import ModuleType
from typing import Annotated

import pytest
import strawberry
from graphql import GraphQLEnumType, GraphQLField, GraphQLObjectType

from graphql_schema.fields import docstrings_of_attributes, plain_field, resolved_field
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema


@strawberry.enum
class Size(Enum):
    """Size of a word."""

    LONG = "long"
    """More than ten
    letters."""


@strawberry.interface
class Item:
    """Part of a text."""

    position: int
    """Number of items before this one."""
    length: int
    """Length of an item."""


@strawberry.type
class Word(Item):
    """Word of a text.

    Words are separated by spaces,
    or by line breaks.
    """

    size: Size = plain_field("Size of the word.")
    length: int
    """Number of letters."""
    is_first: bool = strawberry.field(resolver=lambda: True)
    r"""True if no word precedes it, as in \n."""


def _count(starts_with: str) -> int:
    return len(starts_with)


@strawberry.type
class Query:
    """Read operations."""

    count = strawberry.field(resolver=_count)
    """Number of words.

    Args:
        starts_with: Prefix of the words.
    """

    @resolved_field()
    def word(self) -> Word:
        """First word of the text.

        It is never empty.

        Raises:
            NotFoundError: if there is no text.
        """
        return Word(position=0, length=11, size=Size.LONG)

    @resolved_field("Last word of the text.")
    def last(
        self, number: int, before: Annotated[int, strawberry.argument(description="End.")], starts_with: str
    ) -> Word:
        """Return the last word.

        Args:
            number: Number of words to skip,
                from the end: 0
                for the last.
            starts_with: Prefix of the word: any text.

        Raises:
            KeyError: if no size has this name.
        """
        return Word(position=number, length=before, size=Size[starts_with])


def _fields() -> dict[str, GraphQLField]:
    kind = LoomSchema(Query, limits=Limits())._schema.query_type
    assert kind is not None
    fields: dict[str, GraphQLField] = kind.fields
    return fields


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
    assert fields == {
        "count": "Number of words.",
        "word": "First word of the text. It is never empty.",
        "last": "Last word of the text.",
    }


def test_docstring_below_an_attribute_describes_the_field() -> None:
    kind = LoomSchema(Query, limits=Limits())._schema.type_map["Word"]
    assert isinstance(kind, GraphQLObjectType)

    assert {name: field.description for name, field in kind.fields.items()} == {
        "position": "Number of items before this one.",
        "length": "Number of letters.",
        "size": "Size of the word.",
        "isFirst": "True if no word precedes it, as in \\n.",
    }


def test_section_of_a_docstring_describes_the_arguments() -> None:
    arguments = {
        field: {name: argument.description for name, argument in of.args.items()} for field, of in _fields().items()
    }

    assert arguments["count"] == {"startsWith": "Prefix of the words."}
    assert arguments["last"] == {
        "number": "Number of words to skip, from the end: 0 for the last.",
        "before": "End.",
        "startsWith": "Prefix of the word: any text.",
    }


def test_description_of_a_missing_argument_is_refused() -> None:
    @strawberry.type
    class Stale:
        @resolved_field()
        def word(self, number: int) -> str:
            """Word of the text.

            Args:
                number: Number of words to skip.
                prefix: Prefix of the word.
            """
            return str(number)

    with pytest.raises(ValueError, match=r"the docstring of word describes arguments .* not have: prefix"):
        LoomSchema(Stale, limits=Limits())


def test_docstring_below_a_member_describes_the_value_of_an_enum() -> None:
    kind = LoomSchema(Query, limits=Limits())._schema.type_map["Size"]
    assert isinstance(kind, GraphQLEnumType)

    assert {name: value.description for name, value in kind.values.items()} == {"LONG": "More than ten letters."}


def test_class_without_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("without_source")
    monkeypatch.setitem(sys.modules, "without_source", module)
    exec("import strawberry\n@strawberry.type\nclass Word:\n    length: int", vars(module))  # noqa: S102

    with pytest.raises(RuntimeError, match=r"the source of without_source is missing.*\.py files"):
        docstrings_of_attributes(module.Word)
